"""Every command on folders in which every path that it writes is a symbolic link: what the links
lead to does not change, nothing is made there, and the command works or names the link.

The commands come from the parser and the paths from a recording of the command, undisturbed, so
that new ones are attacked without being listed here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import hostile
import pytest
from harness import FULL, row, tree
from tiers import in_campaign, subset_by_default

from mlplab.cli import main

CASES = [
    (kind, line)
    for line in hostile.command_lines()
    for kind in hostile.KINDS
    if kind == "finished" or hostile.FOLDER in " ".join(line)
]
BY_DEFAULT = {
    "resume": ("interrupted", "sweep"),
    "work": ("sweep", "packed"),
    "open": ("packed",),
    "train": (),  # rerun makes the same files
    "draw": (),
    "export": (),
}
"""The kinds of folders on which the default tier runs a command; the others on a finished run."""


def by_default(kind: str, line: tuple[str, ...]) -> bool:
    return kind in BY_DEFAULT.get(line[0], ("finished",)) and line not in hostile.MORE[-1:]


UNPREDICTABLE = re.compile(
    r"\.(tmp|aside|removed)-|\d{4}-\d\d-\d\d_|events.*\d{10}|packs/\d{7}-[0-9a-f]{12}\."
)
"""Names with random digits or the time, which nobody can plant."""


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("folders")


@pytest.fixture(autouse=True)
def _one_picture(monkeypatch):
    hostile.draw_one(monkeypatch)


def copy_to(folders: Path, kind: str, at: Path) -> None:
    """Make a working folder with a copy of the folder of this kind, and of its table."""
    at.mkdir()
    hostile.make_folder(folders, kind)
    shutil.copytree(folders / kind, at / hostile.FOLDER)
    shutil.copy(folders / hostile.TABLE, at)


def written_by(line: tuple[str, ...], work: Path) -> tuple[int, set[str], set[str]]:
    """Run the command; return its exit code, and the folders and the files that it writes below its
    folders under foreseeable names, as paths relative to the working folder.
    """
    with hostile.recorded() as recording:
        code = main(list(line))

    def inside(paths: Iterable[str]) -> set[Path]:
        roots = {work / hostile.FOLDER, work / "outputs"}
        return {path.relative_to(work) for path in map(Path, paths) if roots & set(path.parents)}

    files, folders = inside(recording.files), inside(recording.folders)
    folders |= {
        parent for path in files | folders for parent in path.parents if len(parent.parts) > 1
    }
    folders |= {path for path in files if path.is_dir()}
    names = [
        {str(path) for path in paths if not UNPREDICTABLE.search(str(path))}
        for paths in (folders, files - folders)
    ]
    return code, *names


def plant(names: Iterable[str], outside: Path, dangling: bool) -> list[str]:
    """Replace these paths, and none below another, by links into the folder `outside`: to where
    they are moved, or if there is nothing, to nothing or to an empty folder. Returns those paths.
    """
    outside.mkdir()
    links: list[str] = []
    for number, name in enumerate(sorted(names)):
        path, target = Path(name), outside / str(number)
        if any(str(parent) in links for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            shutil.move(path, target)
        elif not dangling:
            target.mkdir()
        path.symlink_to(target)
        links.append(name)
    return links


def named_in(errors: str, links: Sequence[str]) -> set[str]:
    """The links that a refusal names; a checkpoint stands for all of its folder, since one that is
    a link is not trusted, and the next is tried.
    """
    named = {name for name in links if f"{name} is a symbolic link" in errors}
    if "No checkpoint in" in errors:
        named |= {name for name in links if "checkpoints/" in name}
    if "leads out of outputs" in errors:
        named |= {name for name in links if name.startswith("outputs/")}
    return named


@row("B21", "C21")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "line"),
    subset_by_default("fuzz", CASES, by_default),
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_nothing_is_written_through_a_link(kind, line, folders, tmp_path, monkeypatch, capfd):
    copy_to(folders, kind, tmp_path / "undisturbed")
    monkeypatch.chdir(tmp_path / "undisturbed")
    undisturbed, directories, files = written_by(line, tmp_path / "undisturbed")
    made = {tmp_path / "undisturbed"}
    levels = {"files": files, "folders": directories}
    if FULL:
        levels["empty folders"] = directories
    for level, paths in levels.items():
        refused, code = set(), undisturbed + 1 if paths else undisturbed
        while code != undisturbed:  # until nothing is left that the command refuses
            work = tmp_path / f"{level} {len(refused)}"
            outside = tmp_path / f"outside {level} {len(refused)}"
            made |= {work, outside}
            copy_to(folders, kind, work)
            monkeypatch.chdir(work)
            links = plant(paths - refused, outside, level != "empty folders")
            before = tree(outside)
            capfd.readouterr()
            code = main(list(line))
            errors = capfd.readouterr().err
            assert tree(outside) == before, (line, links)
            assert "Traceback" not in errors
            complaint = [text for text in errors.splitlines() if text.startswith("mlplab: ")]
            if code != undisturbed:
                assert code == 2, errors
                assert len(complaint) == 1, errors
                named = named_in(complaint[0], links)
                assert named, (complaint, links)
                refused |= named
    assert set(tmp_path.iterdir()) == made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("interrupted", "log.txt checkpoints/history.bin .lock pictures pictures/curves.png"),
        in_campaign("fuzz", "search", "study.db jobs jobs/2 search.md .search/.lock"),
    ],
)
def test_the_recording_sees_what_is_written(kind, expected, folders, tmp_path, monkeypatch):
    """Files that grow, those that are renamed, folders, and the database."""
    line = ("resume", hostile.FOLDER)
    assert (kind, line) in CASES
    copy_to(folders, kind, tmp_path / kind)
    monkeypatch.chdir(tmp_path / kind)
    code, directories, files = written_by(line, tmp_path / kind)
    assert code == 0
    assert {f"{hostile.FOLDER}/{name}" for name in expected.split()} <= files | directories
