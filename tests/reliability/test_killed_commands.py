"""A command that is killed and then continued as suggested leaves the folder that it would have
left undisturbed, file by file (same_folder.py).
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cli_process
import pytest
from harness import QUICK, record_measurement, row, run, start
from pauses import pause, plugin, wait_until_paused
from same_folder import differences, torn

from mlplab.cli import main

TRAIN = [*QUICK, "tracking=scalars", "tracking.checkpoint_seconds=0", "device=cpu"]
FEW_PICTURES = """\
from mlplab.pictures import style
from mlplab.pictures.gallery import pictures
from mlplab.pictures.registry import _registered

style.png.__defaults__ = (40,)
for picture in pictures():
    if picture.name not in ("decision", "curves"):
        del _registered[picture.name]
"""
"""A plug-in, since most of the time of a small run is spent on its pictures."""


def few_pictures() -> list[str]:
    path = Path("few_pictures.py").absolute()
    path.write_text(FEW_PICTURES)
    return ["tracking=full", "--plugin", str(path)]


def killed_while_paused(*command: str) -> None:
    """Start a command in the folder `killed`, and kill it at the pause of its plug-ins."""
    process = start(*command, cwd="killed")
    wait_until_paused(process)
    process.kill()
    process.communicate()


@row("A16")
@pytest.mark.slow
def test_a16_a_killed_and_resumed_run_leaves_the_folder_of_an_undisturbed_one():
    """With its pictures and all that TensorBoard shows of it."""
    for name in ("killed", "undisturbed"):
        Path(name).mkdir()
    plugins = [*few_pictures(), *pause(step=20)]
    command = ["train", *TRAIN, *plugins, "hydra.run.dir=run"]
    killed_while_paused(*command)
    Path("killed/run/.tmp-1-0123abcd").write_text("half")  # as if killed while writing
    run("resume", "run", *plugins[1:], cwd="killed")
    run(*command, cwd="undisturbed")
    assert differences(Path("killed/run"), Path("undisturbed/run")) == []


@row("A16")
def test_a16_a_killed_sweep_leaves_the_folder_of_an_undisturbed_one():
    for name in ("killed", "undisturbed"):
        Path(name).mkdir()
    command = ["train", "-m", *TRAIN, "seed=0,1", *pause(checkpoints=2), "hydra.sweep.dir=sweep"]
    killed_while_paused(*command)
    run("resume", "sweep", *plugin(), cwd="killed")
    run(*command, cwd="undisturbed")
    assert differences(Path("killed/sweep"), Path("undisturbed/sweep")) == []


@pytest.mark.parametrize("kind", ["sweep", "search"])
def test_a_resume_deletes_temporary_files_of_finished_folders(kind):
    """All jobs are done, and the reports are written again."""
    searches = ["optimizer.lr=interval(0.01,0.1)", "sweep.trials=2"]
    command = ["train", *TRAIN[:-2], "training.epochs=1", "hydra.sweep.dir=folder"]
    command += ["-m", "seed=0,1"] if kind == "sweep" else searches
    assert main(command) == 0
    Path("folder/.tmp-1-0123abcd").write_text("half")
    assert main(["resume", "folder"]) == 0
    assert not list(Path("folder").glob(".tmp-*"))


def test_every_difference_is_reported(tmp_path):
    """In the content and in the set of files, also of a file that nobody has thought of."""
    import mlplab

    mlplab.run([*TRAIN, "training.epochs=2"], tmp_path / "run")
    copy = Path(shutil.copytree(tmp_path / "run", tmp_path / "copy"))
    assert differences(copy, tmp_path / "run") == []
    (copy / "metrics.csv").write_text((copy / "metrics.csv").read_text().replace("1", "2"))
    (copy / "summary.json").write_text((copy / "summary.json").read_text().replace("done", "don"))
    next(copy.glob("events.*")).unlink()
    (copy / "checkpoints/last.safetensors").unlink()
    (copy / ".tmp-1-0123abcd").write_text("half")
    for folder in (copy, tmp_path / "run"):
        (folder / "new.bin").write_text("what is this?")
    wrong = "\n".join(differences(copy, tmp_path / "run"))
    for text in ("metrics.csv: line", "summary.json: status", "events", "last.safetensors"):
        assert text in wrong
    assert ".tmp-1-0123abcd" in wrong
    assert "new.bin: no entry of FILES" in wrong
    assert wrong.count("\n") == 5


@dataclass(frozen=True)
class Kind:
    """A command to be killed in the campaign, in a folder that holds a copy of `before`."""

    command: Sequence[str]
    folder: str
    num_kills: int
    needs: Sequence[str] = ()
    """The command that makes the folder `before`, and that is killed halfway for a resume."""


KINDS = {
    "train": Kind(["train", *TRAIN, "hydra.run.dir=run"], "run", 38),
    "train and draw": Kind(["train", *TRAIN, "PICTURES", "hydra.run.dir=run"], "run", 20),
    "resume": Kind(["resume", "run"], "run", 30, ["train", *TRAIN, "hydra.run.dir=run"]),
    "report": Kind(
        ["report", "run", "PLUGIN"], "run", 20, ["train", *TRAIN, "PICTURES", "hydra.run.dir=run"]
    ),
    "predict": Kind(
        ["predict", "run", "../rows.csv", "-o", "run/out.csv"],
        "run",
        20,
        ["train", *TRAIN, "hydra.run.dir=run"],
    ),
    "export": Kind(["export", "run"], "run", 12, ["train", *TRAIN, "hydra.run.dir=run"]),
    "sweep": Kind(
        [
            *("train", "-m", *TRAIN, "model.hidden=3,4", "seed=0,1"),
            *("optimizer.lr=0.01,1e30", "hydra.sweep.dir=sweep"),
        ],
        "sweep",
        32,
    ),
    "search": Kind(
        [
            *("train", *TRAIN, "optimizer.lr=tag(log,interval(0.001,0.1))", "sweep.trials=10"),
            *("sweep.parallel=4", "hydra.sweep.dir=search"),
        ],
        "search",
        28,
    ),
}
"""200 kills in total. PICTURES and PLUGIN stand for the arguments of `few_pictures`."""


class Killing:
    """Kills of one kind of command."""

    def __init__(self, kind: Kind) -> None:
        pictures = few_pictures()
        stands_for = {"PICTURES": pictures, "PLUGIN": pictures[1:]}
        self.kind = kind
        self.command, self.needs = (
            [token for name in command for token in stands_for.get(name, [name])]
            for command in (kind.command, kind.needs)
        )
        self.before, self.undisturbed = Path("before"), Path("undisturbed")
        self.before.mkdir()
        Path("rows.csv").write_text("x1,x2\n" + "0.1,0.2\n" * 100_000)
        if self.needs:
            count = self.count(self.needs, self.before)
            if self.command[0] == "resume":
                shutil.copytree(self.before, "whole")
                shutil.rmtree(self.before / kind.folder)
                self.run(self.needs, self.before, code=-9, kill_at=count // 2)
            shutil.rmtree(self.before / kind.folder / "pictures", ignore_errors=True)
        shutil.copytree(self.before, self.undisturbed)
        run("list", everything=True)  # starts the server
        started = time.monotonic()
        self.num_writes = self.count(self.command, self.undisturbed)
        self.seconds = time.monotonic() - started
        if self.command[0] == "resume":
            assert differences(self.undisturbed / "run", Path("whole/run")) == []

    def run(self, command: Sequence[str], cwd: Path, code: int | None = 0, **options) -> int:
        return run(*command, cwd=cwd, code=code, everything=True, **options).returncode

    def count(self, command: Sequence[str], cwd: Path) -> int:
        """Run a command; return how often it changes files."""
        code = self.run(command, cwd, code=None, count_file=Path("count").absolute())
        assert code in (0, 1), code  # 1: a job has diverged
        return int(Path("count").read_text())

    def killed(self, cwd: Path, draw: random.Random) -> bool:
        """Start the command and kill it, before one of its writes or after some time; return
        whether it had not ended before.
        """
        if draw.random() < 0.5:
            return self.run(self.command, cwd, None, kill_at=draw.randrange(self.num_writes)) == -9
        process = start(*self.command, cwd=cwd, everything=True)
        time.sleep(draw.uniform(0, self.seconds))
        process.kill()
        process.communicate()
        return process.returncode == -9

    def go_on(self, cwd: Path, draw: random.Random) -> None:
        """Continue as the documentation suggests: resume what can be resumed, or repeat the
        command. A sweep accepts both.
        """
        folder = cwd / self.kind.folder
        command = self.command
        begun = ["config.yaml", *(["plan.yaml", "search.yaml"] if draw.random() < 0.5 else [])]
        if command[0] == "train" and any((folder / name).exists() for name in begun):
            at = command.index("--plugin") if "--plugin" in command else len(command)
            plugins = command[at : at + 2]
            command = ["resume", self.kind.folder, *plugins]
        code = self.run(command, cwd, code=None)
        is_whole = command[0] in ("predict", "export") and code == 2  # the file exists already
        assert code in (0, 1) or is_whole, code


@row("A16")
@pytest.mark.campaign("kills")
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", KINDS)
def test_a16_commands_killed_at_random_moments(name):
    """Each leaves the folder of the undisturbed command; no file is half there at any time."""
    cpu_before, started = cli_process.cpu_seconds, time.monotonic()
    killing = Killing(KINDS[name])
    folder, kills, too_late, differing, wrong = KINDS[name].folder, 0, 0, 0, []
    while kills < KINDS[name].num_kills:
        draw = random.Random(f"{name} {kills} {too_late}")
        cwd = Path(f"case-{kills}-{too_late}")
        shutil.copytree(killing.before, cwd)
        if not killing.killed(cwd, draw):
            too_late += 1
            assert too_late < 100
            continue
        here, undisturbed = cwd / folder, killing.undisturbed / folder
        lines = torn(here, undisturbed) if here.exists() else []
        killing.go_on(cwd, draw)
        lines += differences(here, undisturbed)
        wrong += [f"{cwd}: {line}" for line in lines]
        kills, differing = kills + 1, differing + bool(lines)
        if not lines:
            shutil.rmtree(cwd)
    record_measurement(
        f"{name}, killed at random and continued",
        kills=kills,
        differing=differing,
        seconds=round(time.monotonic() - started, 1),
        processor_seconds=round(cli_process.cpu_seconds - cpu_before, 1),
    )
    assert wrong == []
