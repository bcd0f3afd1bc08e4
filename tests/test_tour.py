"""The notebook of the documentation runs from start to end, and what it and the pages show is
correctly typed.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOUR = ROOT / "docs" / "tour.ipynb"
CELLS = json.loads(TOUR.read_text(encoding="utf-8"))["cells"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def code_cells() -> list[str]:
    return ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def program() -> str:
    """The cells as one program, without their commands for the shell."""
    return "\n\n".join(re.sub(r"^!.*$", "", cell, flags=re.MULTILINE) for cell in code_cells())


def test_the_notebook_is_stored_without_outputs_and_shows_what_is_typical():
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None
        for cell in CELLS
        if cell["cell_type"] == "code"
    )
    assert len(code_cells()) >= 20
    ast.parse(program())
    for call in ("run", "fit", "sweep", "load", "resume", "list_runs"):
        assert f"mlplab.{call}(" in program(), call
    for text in ("mlplab.Callback)", "plot.decision(", "@register(", "@register_metric(", "Table"):
        assert text in program(), text
    assert max(len(line) for cell in code_cells() for line in cell.splitlines()) <= 120


@pytest.mark.campaign("fuzz")
def test_the_notebook_runs(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    notebook = nbformat.read(TOUR, 4)
    nbclient.execute(notebook, cwd=str(tmp_path), timeout=300, kernel_name="python3")
    shown = [
        (cell.source, output)
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type in ("display_data", "execute_result")
    ]
    pages = {source: output.data.get("text/html", "") for source, output in shown}
    assert "<svg" in pages["run"]
    assert "data:image/png" in pages["run"]
    assert any("interrupted after" in page for page in pages.values())
    assert any("val/accuracy [95 %]" in page for page in pages.values())
    figures = [source for source, output in shown if "image/png" in output.data]
    assert len(figures) >= 4
    texts = "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream"
    )
    assert "must return one number an example" in texts
    assert "model.pt2" in texts
    assert list(tmp_path.glob("outputs/runs/*/*/summary.json"))


@pytest.mark.campaign("fuzz")
def test_the_programs_of_the_pages_and_the_notebook_are_typed(tmp_path):
    pytest.importorskip("mypy")
    files = {"tour": program()}
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        files |= {f"{page.stem.lower()}_{i}": block for i, block in enumerate(blocks)}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    command = [
        *(sys.executable, "-m", "mypy", "--check-untyped-defs", "--ignore-missing-imports"),
        *("--config-file=", f"--cache-dir={ROOT / '.mypy_cache'}", "--namespace-packages"),
        *("--explicit-package-bases", "--follow-imports=silent"),
        "--disable-error-code=no-redef",  # a cell may define a class again
        *(str(path) for path in sorted(tmp_path.glob("*.py"))),
    ]
    checked = subprocess.run(
        command,
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
