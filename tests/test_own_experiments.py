"""docs/experiments.md: its files and commands work as they are printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlplab.cli import main
from mlplab.runs.run_index import entries

PAGE = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text(encoding="utf-8")
FILES = re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.split("\n")
]


@pytest.mark.slow
@pytest.mark.usefixtures("one_picture")
def test_every_command_of_the_page_runs(capsys):
    for name, text in FILES:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    commands = [line for line in COMMANDS if line]
    for line in commands:
        assert main([*shlex.split(line)[1:]]) == 0, line
    capsys.readouterr()
    assert len(commands) == 7
    assert [entry.kind for entry in entries(Path("elsewhere"))] == ["sweep"]
    jobs = [entry for entry in entries(Path("elsewhere"), jobs=True) if entry.kind == "job"]
    assert len(jobs) == 6
    [sweep] = entries(Path("elsewhere"))
    best = re.search(r"mlplab (train .*outputs=.*)", (sweep.folder / "summary.md").read_text())[1]
    assert main(shlex.split(best)) == 0
    assert main(["rerun", str(jobs[0].folder), "outputs=elsewhere"]) == 0
    kinds = [entry.kind for entry in entries(Path("elsewhere"))]
    assert sorted(kinds) == ["run", "run", "sweep"]
    capsys.readouterr()
    assert main(["resume", "outputs=elsewhere"]) == 0
    assert "There is nothing to resume" in capsys.readouterr().out
