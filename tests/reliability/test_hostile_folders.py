"""Folders that somebody else made: what they hold is bounded before it is expanded, and decides
neither what runs nor where.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drawing import draw_only
from harness import row

from mlplab.cli import main
from mlplab.commands.predict import safe
from mlplab.errors import ConfigError, FolderInUseError
from mlplab.io.files import parse_json, parse_yaml
from mlplab.pictures.rendering.live_plotter import LivePlotter
from mlplab.runs import create
from mlplab.runs.fingerprint import differences, fingerprint
from mlplab.sweeps.plan.plan import Options
from mlplab.sweeps.run_sweep import options_to_resume

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


@row("C23")
@pytest.mark.parametrize("text", EXPLOSIVE_YAML.values(), ids=EXPLOSIVE_YAML.keys())
def test_yaml_is_bounded_before_it_is_expanded(text: str) -> None:
    with pytest.raises(ValueError, match=r"deep|aliases|alias"):
        parse_yaml(text)


@row("C23")
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


def test_a_folder_does_not_decide_where_its_jobs_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = Options(workers=3, engine="ray", cluster={"address": "h:1"}, detach=True, retries=2)
    assert options_to_resume(stored, (), tmp_path) == Options(retries=2)
    assert "sweep.workers=3 sweep.engine=ray 'sweep.cluster={address: h:1}'" in (
        capsys.readouterr().err
    )
    limited = Options(cluster={"minutes": 5})
    assert options_to_resume(limited, (), tmp_path) == limited
    typed = ("sweep.workers=2", "sweep.cluster={minutes: 5}")
    assert options_to_resume(stored, typed, tmp_path) == Options(
        workers=2, cluster={"minutes": 5}, retries=2
    )
    with pytest.raises(ConfigError, match="frozen"):
        options_to_resume(stored, ["sweep.retries=1"], tmp_path)


def test_a_folder_of_another_user_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.yaml").write_text("format: none\n")
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert main(["resume", str(tmp_path)]) == 2
    assert "--other-owner" in capsys.readouterr().err
    assert main(["resume", str(tmp_path), "--other-owner"]) == 2
    assert "is not a plan of this version" in capsys.readouterr().err


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_really_belongs_to_another_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    os.chown(tmp_path, 12345, -1)
    assert main(["resume", str(tmp_path)]) == 2
    assert "belongs to another user (number 12345)" in capsys.readouterr().err


def test_another_instruction_set_is_another_condition() -> None:
    now = fingerprint(torch.device("cpu"), "float32", 1, "eager")
    assert differences({**now, "instructions": "DEFAULT-2"}, now) == [
        f"instructions DEFAULT-2 -> {torch.backends.cpu.get_cpu_capability()}"
    ]
    stored = {key: value for key, value in now.items() if key != "instructions"}
    assert differences(stored, now) == []  # a checkpoint of an older version


def test_a_run_killed_before_its_pictures_and_evaluation_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run leaves every file that an undisturbed run leaves."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 17},{i % 13},{'u' if i % 17 > 8 else 'v'}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["a,b,y", *rows]))
    draw_only(monkeypatch, "data", "decision")
    arguments = ["dataset=file", "dataset.path=t.csv", "dataset.target=y", "training.epochs=1"]
    draw = LivePlotter._draw_all

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LivePlotter, "_draw_all", interrupted)
    assert main(["train", *arguments, "hydra.run.dir=run"]) == 0
    assert not Path("run/pictures").exists()
    Path("run/evaluation.json").unlink()  # the process was killed before it
    monkeypatch.setattr(LivePlotter, "_draw_all", draw)
    before = Path("run/weights.safetensors").read_bytes(), Path("run/metrics.csv").read_bytes()
    assert main(["resume", "run"]) == 0
    assert Path("run/pictures/data.png").is_file()
    assert Path("run/evaluation.json").is_file()
    assert not Path("run/.drawing").exists()
    assert before == (
        Path("run/weights.safetensors").read_bytes(),
        Path("run/metrics.csv").read_bytes(),
    )


def test_a_folder_left_during_set_up_can_be_used_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    for name in (".lock", "log.txt", "data_report.md", ".tmp-1-abc"):
        (folder / name).touch()
    with create(folder):
        assert os.listdir(folder) == [".lock"]
    assert main(["resume", str(folder)]) == 2
    assert "ended during its set-up" in capsys.readouterr().err
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "state-1.json").touch()
    with pytest.raises(FolderInUseError, match="not empty"):
        create(folder)
    assert (folder / "checkpoints" / "state-1.json").is_file()
    assert main(["runs", "remove", "--yes", str(folder)]) == 0
    assert not folder.exists()
