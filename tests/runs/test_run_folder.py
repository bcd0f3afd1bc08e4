"""A folder has one owner, a name stays below the root, and a refusal writes nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlplab.errors import FolderError, FolderInUseError
from mlplab.run_names import check_name
from mlplab.runs import folder as module
from mlplab.runs.folder import LOCK, RunFolder, create, create_unique, default_folder

WORKER = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("folder", sys.argv[1])
folder = importlib.util.module_from_spec(spec)
spec.loader.exec_module(folder)
print("ready", flush=True)
sys.stdin.readline()
try:
    with getattr(folder, sys.argv[2])(Path(sys.argv[3])) as run:
        (run.path / "mine").open("x").close()
        print(run.path, flush=True)
        sys.stdin.readline()
except folder.FolderError as error:
    print(type(error).__name__, error, flush=True)
"""


def workers(function: str, run_dir: Path, number: int) -> list[subprocess.Popen[str]]:
    """Processes that call the function at the same moment and hold their folder until `end`."""
    command = [sys.executable, "-S", "-c", WORKER, str(module.__file__), function, str(run_dir)]
    # Without site-packages an interpreter starts in a moment, but does not find mlplab.
    environment = {**os.environ, "PYTHONPATH": str(Path(str(module.__file__)).parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [
        subprocess.Popen(command, env=environment, text=True, **pipes) for _ in range(number)
    ]
    assert all(process.stdout and process.stdout.readline() == "ready\n" for process in processes)
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


def answers(processes: list[subprocess.Popen[str]]) -> list[str]:
    return [process.stdout.readline().strip() for process in processes if process.stdout]


def end(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.communicate("end\n")


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_twenty_at_once_get_twenty_folders(tmp_path: Path) -> None:
    processes = workers("create_unique", tmp_path / "sub" / "run", 20)
    got = answers(processes)
    end(processes)
    assert sorted(got) == sorted(
        str(tmp_path / "sub" / name) for name in ["run", *(f"run-{n}" for n in range(2, 21))]
    )


@pytest.mark.parametrize("exists", [False, True])
def test_of_twenty_that_want_one_folder_one_gets_it(exists: bool, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    if exists:
        run_dir.mkdir()
    processes = workers("create", run_dir, 20)
    got = answers(processes)
    end(processes)
    assert got.count(str(run_dir)) == 1
    assert sum(answer.startswith("FolderInUseError") for answer in got) == 19


def test_a_killed_owner_leaves_no_stale_lock(tmp_path: Path) -> None:
    (owner,) = workers("create", tmp_path / "run", 1)
    answers([owner])
    with pytest.raises(
        FolderInUseError, match=rf"in use by \S+ process {owner.pid} since \d{{4}}-"
    ):
        create(tmp_path / "run")
    with pytest.raises(FolderInUseError, match="in use by"):
        RunFolder(tmp_path / "run").lock()
    owner.kill()
    owner.communicate()
    with pytest.raises(FolderInUseError, match="never overwrites another"):
        create(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    folder.lock()  # what resume does
    folder.close()


def test_a_folder_is_released_at_the_end_and_stays(tmp_path: Path) -> None:
    with create(tmp_path / "a" / "run") as folder:
        assert Path(folder) == folder.path == tmp_path / "a" / "run"
        assert os.listdir(folder) == [LOCK]
        with pytest.raises(FolderInUseError, match="in use"):
            create(folder.path)
    folder.close()
    create(folder.path).close()  # nothing but a lock that nobody holds: as good as empty
    assert os.listdir(folder) == [LOCK]


def test_a_refusal_changes_nothing(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with create(run_dir):
        (run_dir / "summary.json").write_text("{}")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run_dir.iterdir()}
    with pytest.raises(
        FolderInUseError, match=r"mlplab resume .*hydra\.run\.dir|hydra\.run\.dir.*mlplab resume"
    ) as error:
        create(run_dir)
    assert "\n" not in str(error.value)
    assert {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run_dir.iterdir()
    } == before
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "file").touch()
    with pytest.raises(FolderInUseError):
        create(foreign)
    assert os.listdir(foreign) == ["file"]


def a_file(root: Path) -> Path:
    (root / "file").touch()
    return root / "file"


def below_a_file(root: Path) -> Path:
    return a_file(root) / "sub" / "run"


def a_link(root: Path) -> Path:
    (root / "target").mkdir()
    (root / "link").symlink_to(root / "target")
    return root / "link"


def a_broken_link(root: Path) -> Path:
    (root / "link").symlink_to(root / "nowhere")
    return root / "link"


def below_a_broken_link(root: Path) -> Path:
    return a_broken_link(root) / "run"


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (a_file, "is not a folder"),
        (below_a_file, "file is not a folder"),
        (a_link, "symbolic link"),
        (a_broken_link, "symbolic link"),
        (below_a_broken_link, "link is not a folder"),
        (lambda root: root / ("x" * 300), "File name too long"),
        (lambda root: root / "a\0b", "null"),
        (lambda root: Path("~/runs/x"), "starts with ~"),
        (lambda root: Path("/proc/none/run"), "No such file"),
    ],
)
@pytest.mark.parametrize("function", [create, create_unique])
def test_what_cannot_hold_a_run_is_refused(
    plant: Callable[[Path], Path],
    message: str,
    function: Callable[[Path], RunFolder],
    tmp_path: Path,
) -> None:
    run_dir = plant(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(FolderError, match=message) as error:
        function(run_dir)
    assert not isinstance(error.value, FolderInUseError)
    assert "\n" not in str(error.value)
    assert tree(tmp_path) == before


def test_a_planted_lock_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "sentinel").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "sentinel")
    with pytest.raises(FolderError):
        create(tmp_path / "run")
    assert (tmp_path / "sentinel").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o555)
    with pytest.raises(FolderError, match="cannot be written"):
        create(tmp_path / "run")


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_folders_follow_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        create(tmp_path / "a" / "run").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "run").stat().st_mode) == 0o777 & ~mask
    assert stat.S_IMODE((tmp_path / "a" / "run" / LOCK).stat().st_mode) == 0o666 & ~mask


def test_without_file_locks_it_refuses_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.delenv("MLPLAB_NO_LOCK", raising=False)
    with pytest.raises(FolderError, match="MLPLAB_NO_LOCK=1"):
        create(tmp_path / "run")
    assert tree(tmp_path) == set()
    monkeypatch.setenv("MLPLAB_NO_LOCK", "1")
    with create(tmp_path / "run"), pytest.raises(FolderInUseError):
        create(tmp_path / "run")


GOOD = [
    "radial_6_6",
    "lecture/xor",
    "größe Ω",
    "50%",
    "lr=0.1,seed=3",
    "it's #1",
    "a.b",
    ".hidden",
    "console",
    "日本",
    "x" * 200,
    "a" * 100 + "/" + "b" * 150,
]
BAD = [
    "",
    "/",
    "/etc",
    "..",
    "../x",
    "a/..",
    "a/../../b",
    "a//b",
    "a/",
    ".",
    "~",
    "~root/x",
    "a/~b",
    "-rf",
    "a/-x",
    "a\0b",
    "a\nb",
    "a\x1b[2J",
    "a\\b",
    "C:x",
    "a*",
    "a?",
    'a"b',
    "<a>",
    "a|b",
    "con",
    "NUL",
    "com1.txt",
    "LPT9",
    "aux .txt",
    "a.",
    "a ",
    "x" * 201,
    "é" * 101,
    "\udcff",
]


@pytest.mark.parametrize("name", GOOD)
def test_good_names_get_a_folder_below_the_root(name: str, tmp_path: Path) -> None:
    with create(default_folder(tmp_path, name)) as folder:
        assert folder.path.parent == tmp_path / "runs" / name
        assert folder.path.resolve().is_relative_to(tmp_path.resolve())


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused_and_nothing_is_created(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        FolderError, match=r"cannot be a folder: .*\. Choose another name\.$"
    ) as error:
        default_folder(tmp_path, name)
    assert str(error.value).isprintable()
    with pytest.raises(FolderError):
        check_name(name)
    assert tree(tmp_path) == set()


def test_a_name_that_a_link_leads_out_is_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (root / "runs").mkdir(parents=True)
    (root / "runs" / "radial").symlink_to(outside)
    with pytest.raises(FolderError, match="leads out of"):
        default_folder(root, "radial")
    (tmp_path / "disk").symlink_to(root)  # the root itself may be a link
    default_folder(tmp_path / "disk", "xor")


def test_default_folders_of_one_second_differ(tmp_path: Path) -> None:
    run_dirs = {default_folder(tmp_path, "radial").name for _ in range(50)}
    assert len(run_dirs) == 50
    assert all(
        module.re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{8}", run_dir)
        for run_dir in run_dirs
    )
