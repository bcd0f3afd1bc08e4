"""Symbolic links inside the folder of a run or a sweep, which somebody else may have made: nothing
is written, emptied or deleted through one.
"""

from __future__ import annotations

import ast
import contextlib
import shutil
from pathlib import Path

import pytest
from harness import QUICK, row, tree
from hostile import draw_one

import mlplab
from mlplab.cli import main
from mlplab.errors import LinkError
from mlplab.io.files import AppendFile, open_atomic
from mlplab.io.links import make_folder, open_to_append
from mlplab.sweeps.execution.engines.local import Process
from mlplab.sweeps.execution.worker_pool import WorkerPool
from mlplab.sweeps.folder import can_join
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.search.study import Study

FULL_RUN = [override for override in QUICK if not override.startswith("tracking")]
COMMANDS = (
    ("resume", "run", "training.epochs=13"),
    ("report", "run"),
    ("rebuild-events", "run"),
    ("evaluate", "run"),
)
REFUSED = ("checkpoints", "pictures", "projector", "log.txt", "checkpoints/history.bin")
"""What is written into and not replaced."""


@pytest.fixture(autouse=True)
def _one_picture(monkeypatch):
    draw_one(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that has written all that a run can write."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patched:
        draw_one(patched)
        mlplab.run([*FULL_RUN, "tracking.picture_share=0"], folder)
        for command in ("report", "evaluate"):
            assert main([command, str(folder)]) == 0
    return folder


def linked(path: Path, outside: Path) -> None:
    """Move it out of its folder, and leave a link to it."""
    outside.mkdir(parents=True, exist_ok=True)
    target = outside / path.name
    assert not target.exists()
    shutil.move(path, target)
    path.symlink_to(target)


def entries(run: Path) -> list[str]:
    return [str(path.relative_to(run)) for path in sorted(run.rglob("*")) if path.name != ".lock"]


@row("B21")
@pytest.mark.parametrize("name", REFUSED)
def test_b21_what_is_written_into_is_refused_as_a_link(name, finished, tmp_path, capfd):
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(finished, run)
    linked(run / name, outside)
    before = tree(outside)
    codes = {}
    for command in COMMANDS:
        codes[command[0]] = main(list(command))
        errors = capfd.readouterr().err
        assert "Traceback" not in errors
        assert tree(outside) == before, command
        if codes[command[0]] != 0:
            assert codes[command[0]] == 2
            assert str(run.name) in errors
    assert codes["resume"] == 2
    assert codes["report"] == (2 if name == "pictures" else 0)
    assert not list(run.glob("error.txt"))


@row("B21")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_b21_whatever_file_is_replaced_by_a_link_is_not_written_through(
    command, finished, tmp_path
):
    """All files of a run at once, save those that are refused."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(finished, run)
    assert len(entries(run)) >= 25
    for name in entries(run):
        if (run / name).is_file() and name not in REFUSED:
            linked(run / name, outside / Path(name).parent.name)
    before = tree(outside)
    # checkpoints that are links are not trusted
    assert main(list(command)) == (2 if command[0] == "resume" else 0)
    assert tree(outside) == before


@row("B21")
def test_b21_a_resumed_run_replaces_links_by_files(finished, tmp_path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(finished, run)
    kept = ("checkpoints/state", "checkpoints/history")
    for name in entries(run):
        if (run / name).is_file() and name not in REFUSED and not name.startswith(kept):
            linked(run / name, outside / Path(name).parent.name)
    before = tree(outside)
    assert main(["resume", "run", "training.epochs=13"]) == 0
    assert tree(outside) == before
    for name in ("metrics.csv", "weights.safetensors", "summary.json", "pictures/curves.png"):
        assert not (run / name).is_symlink()


@pytest.fixture
def sweep(tmp_path):
    overrides = [*QUICK, "training.epochs=1", "tracking=off", "seed=0,1"]
    mlplab.sweep(overrides, "sweep")
    return tmp_path / "sweep"


@row("B21")
def test_b21_folders_of_a_sweep_are_not_links(sweep, tmp_path, capfd):
    outside = tmp_path / "outside"
    shutil.rmtree(sweep / "jobs" / "1")
    for name in (
        "jobs",
        "jobs/0",
        ".locks",
        ".locks/0",
        ".checkpoints",
        ".checkpoints/0",
        ".checkpoints/0/abc",
        ".under-way",
        ".under-way/0",
        "workers",
        "workers/0.log",
    ):
        path = sweep / name
        if path.suffix and not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text("mine")
        elif not path.exists():
            path.mkdir(parents=True)
            (path / "old.json").write_text("{}")
        linked(path, outside)
        before = tree(outside)
        for command in ("resume", "report", "work"):
            assert main([command, "sweep"]) == 2, (command, name)
            errors = capfd.readouterr().err
            assert f"sweep/{name} is a symbolic link" in errors, errors
            assert tree(outside) == before, (command, name)
        path.unlink()
        shutil.move(outside / path.name, path)
    assert main(["resume", "sweep"]) == 0


@row("B21")
def test_b21_files_that_grow_are_not_links(sweep, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (sweep / "workers.log").symlink_to(precious)
    plan = read_plan(sweep)
    with pytest.raises(LinkError, match=r"workers\.log is a symbolic link"):
        WorkerPool(plan, sweep, None)._log("a line")
    (tmp_path / "0.log").symlink_to(precious)
    with pytest.raises(LinkError):
        Process(["true"], tmp_path / "0.log", {}, "worker 0")
    with pytest.raises(LinkError):
        AppendFile(tmp_path / "0.log", resume=True)
    with pytest.raises(LinkError):
        open_to_append(tmp_path / "0.log")
    (tmp_path / "nowhere").symlink_to(tmp_path / "made")
    for make in (open_to_append, make_folder):
        with pytest.raises(LinkError):
            make(tmp_path / "nowhere")
    assert not (tmp_path / "made").exists()
    assert precious.read_text() == "mine"


@row("B21")
@pytest.mark.parametrize("name", ["study.db", "study.db-journal", "study.db-wal"])
def test_b21_the_study_of_a_search_is_no_link(name, tmp_path):
    pytest.importorskip("optuna", reason="pip install 'mlplab[search]'")
    (tmp_path / name).symlink_to(tmp_path / "precious")
    with pytest.raises(LinkError, match=f"{name} is a symbolic link"):
        Study(tmp_path, ["val/loss"], [], "random", 0)
    assert not (tmp_path / "precious").exists()


@row("B21")
def test_b21_what_is_written_aside_has_a_name_that_nobody_can_guess(tmp_path):
    names = set()
    for _ in range(2):
        with open_atomic(tmp_path / "out.csv") as (staging_dir, file):
            names.add(staging_dir)
            assert staging_dir.parent == tmp_path
            file.write(b"rows")
    assert len(names) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    with contextlib.suppress(KeyboardInterrupt), open_atomic(tmp_path / "out.csv") as (_, file):
        file.write(b"half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == b"rows"


@row("B21")
def test_b21_the_folder_itself_may_be_reached_through_a_link(finished, tmp_path):
    """Only what lies inside is somebody else's."""
    shutil.copytree(finished, tmp_path / "real" / "run")
    (tmp_path / "run").symlink_to(tmp_path / "real" / "run")
    assert main(["report", "run"]) == 0
    assert main(["resume", "run", "training.epochs=13"]) == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "outputs").symlink_to(tmp_path / "elsewhere")
    assert main(["train", *QUICK, "tracking=off"]) == 0
    assert list((tmp_path / "elsewhere").rglob("weights.safetensors"))
    assert can_join(tmp_path / "run") is False


WRITING = {
    # the only ways in which a run or a sweep makes folders and opens files for writing
    "io/files.py": {"os.open", "os.fdopen"},
    "io/links.py": {"mkdir", "os.open", "os.fdopen"},
    "runs/folder.py": {"mkdir", "os.open"},  # the folders above it, and its lock, with O_NOFOLLOW
    "commands/draw.py": {"mkdir"},  # the folder that the user named
    "sweeps/open_job.py": {"mkdir"},  # those above -o, which the user named
    "fitting.py": {"mkdir"},  # log_dir, which the user named
    "cli.py": {"os.open"},  # os.devnull
    "terminal/modes.py": {"os.open"},  # the same
    # in the user's cache, whose folder must be private
    "native/library_cache.py": {"mkdir", "os.open", "touch", "os.fdopen", "open"},
    "native/prebuilt.py": {"mkdir"},  # called when a wheel is built, never by the program
}


def writes(call: ast.Call) -> str | None:
    """The name of a call that makes a folder which may be there, or opens a file for writing."""
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if last == "mkdir":
        return "mkdir" if any(key.arg == "exist_ok" for key in call.keywords) else None
    if name in ("os.open", "os.fdopen", "os.makedirs", "os.mkdir"):
        return name
    if last in ("FileHandler", "write_text", "write_bytes", "touch", "makedirs"):
        return last
    if last == "open":
        modes = [*call.args[:2], *(key.value for key in call.keywords if key.arg == "mode")]
        texts = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
        if any(isinstance(text, str) and set(text) & set("wax+") for text in texts):
            return "open"
    return None


@row("B21")
def test_b21_folders_and_files_are_created_by_few_modules():
    source, seen = Path(mlplab.__file__).parent, {}
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (name := writes(node)) is not None:
                seen.setdefault(path.relative_to(source).as_posix(), set()).add(name)
    assert seen == WRITING
