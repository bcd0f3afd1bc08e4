#!/usr/bin/env python
"""Install the package as a user does, into an empty environment, and run every command once.

    scripts/check_install.py bare      # the wheel without extras, as constraints.txt has it
    scripts/check_install.py newest    # the same at the newest versions, except of torch
    scripts/check_install.py oldest    # the same at the lowest versions that pyproject.toml allows

Builds the sdist, and the wheel from the sdist. Exit code 1 if a command fails, or is not refused
with the name of the extra that it needs, or leaves files behind when it is refused.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODES = ("bare", "newest", "oldest")


def call(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command and return its output; exit with its errors if it fails."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))[:200]}\n{process.stdout}{process.stderr}")
    return process.stdout


def build(folder: Path) -> Path:
    """Return a wheel that is built from the sdist."""
    call(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder)
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    for name in ("README.md", "LICENSE", "CONTRIBUTING.md", "SECURITY.md", "configs", "src/mlplab"):
        if not (source / name).exists():
            sys.exit(f"the sdist lacks {name}")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source)
    [wheel] = folder.glob("*.whl")
    return wheel


def constraints(mode: str, folder: Path) -> Path:
    """The constraints file for pip. The newest torch may be a build for CUDA of several gigabytes,
    so that one is the tested version.
    """
    tested = ROOT / "constraints.txt"
    if mode == "bare":
        return tested
    if mode == "newest":
        lines = tested.read_text(encoding="utf-8").splitlines(keepends=True)
        path = folder / "newest.txt"
        path.write_text("".join(x for x in lines if x.startswith("torch==")), encoding="utf-8")
        return path
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    floors = [re.split(r">=|,", line)[:2] for line in project["dependencies"]]
    path = folder / "oldest.txt"
    path.write_text("".join(f"{name}=={floor}\n" for name, floor in floors), encoding="utf-8")
    return path


def commands() -> tuple[str, str]:
    """The table and the program with which the tests run every command without an extra."""
    tree = ast.parse((ROOT / "tests" / "test_without_extras.py").read_text(encoding="utf-8"))
    assigned = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name)
    }
    table = eval(compile(ast.Expression(assigned["TABLE"]), "table", "eval"))  # our own file
    return str(table), str(ast.literal_eval(assigned["EVERY_COMMAND"]))


def failures(folder: Path) -> list[str]:
    """A line for each command that neither works nor is refused as it should be."""
    lines = []
    for line, extra, code, errors, left in json.loads((folder / "results.json").read_text()):
        named = not extra or f"pip install 'mlplab[{extra}]'" in errors
        if code != (2 if extra else 0) or not named or left:
            lines.append(f"mlplab {' '.join(line)}: exit {code}, left {left}\n{errors}")
    return lines


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in MODES:
        print(__doc__, file=sys.stderr)
        return 2
    mode = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        limits = str(constraints(mode, folder))
        call(python, "-m", "pip", "install", "--quiet", wheel, PIP_CONSTRAINT=limits)
        work = folder / "work"
        work.mkdir()
        table, program = commands()
        (work / "t.csv").write_text(table, encoding="utf-8")
        call(python, "-P", "-c", program, cwd=work, CUDA_VISIBLE_DEVICES="")
        call(folder / "venv" / "bin" / "tensorboard", "--version", cwd=work)
        lines = failures(work)
    print("\n".join(lines) or f"{mode}: every command works or names its extra")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
