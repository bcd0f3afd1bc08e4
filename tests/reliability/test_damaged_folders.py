"""Every file of a run or sweep folder, damaged in five ways, under every command that reads it.

A command either does its work, because it does not need the file or because the damage is harmless
(a torn last line), or refuses: one paragraph that names the file or the folder, and exit code 2. No
exception of a library reaches the terminal.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import shutil
from pathlib import Path

import fake_tracker
import numpy as np
import pandas as pd
import pytest
from drawing import one_picture
from harness import FULL, row

import mlplab
from mlplab.cli import main


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    for i in range(max(0, middle - 20), min(len(data), middle + 20)):
        data[i] ^= 0xA5
    path.write_bytes(bytes(data))


def replace_by_another(path: Path) -> None:
    """A sound file of the same kind, and of something else."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({"other": np.zeros(3)}, path)
    elif path.suffix in (".json", ".yaml"):
        path.write_text("[1, 2]\n")
    else:
        path.write_text("a,b\n1,2\n")


DAMAGES = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut,
    "scrambled": scramble,
    "another": replace_by_another,
}
RUN_COMMANDS = {
    "evaluate": ["evaluate", "DIR"],
    "evaluate a file": ["evaluate", "DIR", "rows.csv"],
    "predict": ["predict", "DIR", "rows.csv", "-o", "out.csv"],
    "export": ["export", "DIR", "-o", "out.onnx"],
    "rerun": ["rerun", "DIR", "training.epochs=2"],
    "rerun --check": ["rerun", "DIR", "--check"],
    "resume": ["resume", "DIR", "training.epochs=4"],
    "report": ["report", "DIR"],
    "rebuild-events": ["rebuild-events", "DIR"],
    "runs": ["runs", "."],
    "compare": ["runs", "compare", "DIR", "sound"],
    "mirror": ["mirror", "DIR", "--to", fake_tracker.NAME],
}
SWEEP_COMMANDS = {
    "predict": ["predict", "DIR", "rows.csv", "-o", "out.csv"],
    "resume": ["resume", "DIR"],
    "report": ["report", "DIR"],
    "work": ["work", "DIR"],
    "mirror": ["mirror", "DIR", "--to", fake_tracker.NAME],
    "runs": ["runs", "."],
}


@pytest.fixture(autouse=True)
def _one_picture():
    """The tests are not about pictures, which take longer than all else."""
    with one_picture(in_campaigns=True):
        yield


@functools.cache
def sound_folders(root: Path) -> dict[str, Path]:
    """A run and sweeps of a table, and a run of a data frame, with everything that tracking=full
    leaves.
    """
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    frame["color"] = rng.choice(["red", "blue"], 60)
    frame["y"] = np.where(frame["a"] > 0, "yes", "no")
    frame.to_csv(root / "table.csv", index=False)
    overrides = [
        *("dataset=file", f"dataset.path={root / 'table.csv'}", "model.hidden=[3]"),
        *("training.epochs=3", "tracking.checkpoint_epochs=1", "device=cpu"),
    ]
    with one_picture(in_campaigns=True):
        mlplab.run(overrides, root / "run")
        mlplab.sweep([*overrides, "tracking=summary", "seed=0,1"], root / "sweep")
        packed = ["tracking=summary", "tracking.jobs=packed", "seed=0,1"]
        mlplab.sweep([*overrides, *packed], root / "packed")
        mlplab.fit(frame, "y", overrides[2:], folder=root / "fit")
    return {kind: root / kind for kind in ("run", "sweep", "packed", "fit")}


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    return sound_folders(tmp_path_factory.mktemp("sound"))


RUN_FILES = (
    *("config.yaml", "overrides.yaml", "summary.json", "provenance.json", "metrics.csv"),
    *("weights.safetensors", "frames.safetensors", "checkpoints/last.safetensors"),
    "checkpoints/best.safetensors",
    *("checkpoints/state-*.json", "checkpoints/state-*.safetensors", "checkpoints/history.bin"),
    *("events.out.tfevents.*", "log.txt", "data_report.md"),
)
SWEEP_FILES = (
    *("plan.yaml", "results.csv", "summary.md", "jobs/0/config.yaml", "jobs/0/summary.json"),
    *("jobs/0/weights.safetensors", "jobs/0/metrics.csv", "jobs/0/provenance.json"),
)
PACKED_FILES = ("plan.yaml", "packs/*.safetensors")
PACKED_COMMANDS = {
    **SWEEP_COMMANDS,
    "open": ["open", "DIR", "1"],
    "evaluate a job": ["evaluate", "DIR:1"],
    "rerun a job": ["rerun", "DIR:1", "--check"],
}
FIT_FILES = ("data.safetensors",)  # and those of a run
CASES = [
    *(("run", *case) for case in itertools.product(RUN_FILES, DAMAGES, RUN_COMMANDS)),
    *(("sweep", *case) for case in itertools.product(SWEEP_FILES, DAMAGES, SWEEP_COMMANDS)),
    *(("packed", *case) for case in itertools.product(PACKED_FILES, DAMAGES, PACKED_COMMANDS)),
    *(("fit", *case) for case in itertools.product(FIT_FILES, DAMAGES, RUN_COMMANDS)),
]


def rotate(kind, files, commands):
    """Every file once, each with the next damage and the next command."""
    turns = zip(files, itertools.cycle(DAMAGES), itertools.cycle(commands), strict=False)
    return [(kind, *turn) for turn in turns]


# By default a fixed sample that meets every file, every damage and every command.
SAMPLE = [
    *rotate("run", RUN_FILES, RUN_COMMANDS),
    *rotate("sweep", SWEEP_FILES, SWEEP_COMMANDS),
    *rotate("packed", PACKED_FILES[1:] * len(PACKED_COMMANDS), PACKED_COMMANDS),
    *(("run", "config.yaml", damage, "rerun") for damage in ("cut", "scrambled", "another")),
    *rotate("fit", FIT_FILES * len(DAMAGES), ("evaluate", "rerun", "resume", "report", "predict")),
]


@row("B27")
@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "file", "damage", "command"), CASES if FULL else SAMPLE, ids=lambda value: str(value)
)
def test_a_damaged_file_is_named(kind, file, damage, command, sound, tmp_path, capfd):
    folder = Path("damaged")
    shutil.copytree(sound[kind], folder)
    shutil.copytree(sound["run"], "sound")
    shutil.copy(sound[kind].parent / "table.csv", "rows.csv")
    targets = sorted(folder.glob(file))
    assert targets, f"the {kind} has no {file}: the case would prove nothing"
    for target in targets:
        DAMAGES[damage](target)
    commands = {"sweep": SWEEP_COMMANDS, "packed": PACKED_COMMANDS}.get(kind, RUN_COMMANDS)
    capfd.readouterr()
    code = main([argument.replace("DIR", str(folder)) for argument in commands[command]])
    output, errors = capfd.readouterr()
    complaint = [text for text in errors.splitlines() if text.startswith("mlplab: ")]
    assert "Traceback" not in errors
    if (file, command) == ("metrics.csv", "rerun --check") and code == 1:
        assert "rows of metrics.csv against" in output  # a cut file is a shorter history
        return
    assert code in (0, 2), errors
    if code == 2:
        assert len(complaint) == 1, errors
        assert "damaged" in complaint[0], complaint  # the folder, and most often the file in it
        assert not re.search(r"\b[A-Z]\w+Error\b", complaint[0]), complaint
        if command == "rerun":  # to suggest it again would not help
            assert f"mlplab rerun {folder}" not in complaint[0], complaint
    else:
        assert complaint == []


def test_the_sample_meets_every_file_damage_and_command():
    all_files = {*RUN_FILES, *SWEEP_FILES, *PACKED_FILES, *FIT_FILES}
    for position, all_values in ((1, all_files), (2, DAMAGES)):
        assert {case[position] for case in SAMPLE} == set(all_values)
    assert {case[3] for case in SAMPLE} == {*RUN_COMMANDS, *SWEEP_COMMANDS, *PACKED_COMMANDS}


@pytest.mark.parametrize(("kind", "files"), [("run", ()), ("fit", FIT_FILES)])
def test_the_cases_cover_every_file_of_a_run(kind, files, sound):
    names = {
        path.relative_to(sound[kind]).as_posix()
        for path in sound[kind].rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    covered = {
        path.relative_to(sound[kind]).as_posix()
        for file in (*RUN_FILES, *files)
        for path in sound[kind].glob(file)
    }
    pictures = {name for name in names if name.startswith(("pictures/", "projector"))}
    assert names - covered - pictures == set()
    assert json.loads((sound[kind] / "summary.json").read_text())["status"] == "done"
