"""Folders that somebody else made: what they hold is bounded before it is expanded, and decides
neither what runs nor where.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlplab.cli import main
from mlplab.commands.predict import safe
from mlplab.io.files import parse_json, parse_yaml

DEEP = "[" * 100_000 + "]" * 100_000
ALIASES = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{','.join([f'*{old}'] * 9)}]}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
EXPLOSIVE_YAML = {
    "brackets": DEEP,
    "dashes": "- " * 5000,
    "aliases": ALIASES,
    "merge keys": MERGES,
    "a cycle": "&a [*a]",
}


@pytest.mark.parametrize("text", EXPLOSIVE_YAML.values(), ids=EXPLOSIVE_YAML.keys())
def test_yaml_is_bounded_before_it_is_expanded(text: str) -> None:
    with pytest.raises(ValueError, match=r"deep|aliases|alias"):
        parse_yaml(text)


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 70 + "1" + "}" * 70])
def test_json_is_bounded_before_it_is_expanded(text: str) -> None:
    with pytest.raises(ValueError, match="deep"):
        parse_json(text)


def test_ordinary_texts_are_within_the_bounds() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a\nc: {<<: {d: 3}}") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"d": 3},
    }
    assert parse_yaml("") is None
    assert parse_json('[[], {"a": [1]}, 2]') == [[], {"a": [1]}, 2]


@pytest.mark.parametrize("text", [DEEP, ALIASES, MERGES], ids=["deep", "aliases", "merges"])
def test_one_bad_folder_does_not_break_the_listing(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("optimizer: {name: adam}\n")
        (tmp_path / name / "summary.json").write_text('{"status": "done", "name": "x"}')
    (tmp_path / "bad" / "config.yaml").write_text(text)
    (tmp_path / "bad" / "summary.json").write_text(DEEP)
    assert main(["runs", str(tmp_path)]) == 0
    assert "skipped 1 with a damaged summary.json" in "".join(capsys.readouterr())
    assert main(["runs", "--where", "optimizer=adam", str(tmp_path)]) == 0
    assert main(["runs", "compare", str(tmp_path / "bad"), str(tmp_path / "good")]) in (0, 2)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_missing_standard_stream_is_harmless(closed: str, tmp_path: Path) -> None:
    """As under cron, daemons and pythonw: Python then has None in place of the stream."""
    assert _shell("list optimizer adam", closed, tmp_path) == 0


@pytest.mark.slow
def test_a_run_needs_no_standard_stream(tmp_path: Path) -> None:
    train = "train experiment=xor_mlp training.epochs=1 tracking=off hydra.run.dir=run"
    assert _shell(train, "<&- >&- 2>&-", tmp_path) == 0
    assert (tmp_path / "run" / "summary.json").is_file()
    assert not (tmp_path / "run" / "error.txt").exists()


def _shell(arguments: str, redirection: str, folder: Path) -> int:
    command = f"{sys.executable} -P -m mlplab {arguments} {redirection}"
    return subprocess.run(command, shell=True, cwd=folder, check=False).returncode


def test_names_of_columns_are_kept_from_being_formulas() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"=cmd()": [1.0], "@id": ["+x"], "fine": ["y"]})
    assert safe(table).to_csv(index=False) == "'=cmd(),'@id,fine\n1.0,'+x,y\n"
