"""Every value of every stored YAML and JSON file, replaced by paths that lead out, code to call and
text for a shell, under every command: nothing outside is written, deleted or run, and the command
works or refuses with one paragraph.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest
import yaml
from harness import record_measurement, row, tree
from tiers import in_campaign

from mlplab.cli import main

VALUES = {
    "an absolute path": lambda work: str(work / "precious"),
    "a path that leads out": lambda work: "../../precious",
    "code to call": lambda work: {"_target_": "os.system", "_args_": ["touch marker"]},
    "text for a shell": lambda work: "x; touch marker; $(touch marker) `touch marker`",
    "a huge number": lambda work: 10**30,
}
FILES = {
    # kind of folder -> its files; by default those that decide what is done
    "sweep": ("plan.yaml", "summary.json", "jobs/0/summary.json", "jobs/0/config.yaml"),
    "interrupted": ("checkpoints/state-*.json", "config.yaml", "summary.json"),
    "packed": ("plan.yaml",),
    "search": ("search.yaml", "plan.yaml"),
    "finished": ("config.yaml", "summary.json", "provenance.json", "overrides.yaml"),
}
BY_DEFAULT = {"sweep": 1, "packed": 0, "interrupted": 0, "search": 0, "finished": 0}
"""How many of them the default tier edits."""
CHUNKS, CASES_PER_CHUNK, SEED = 10, 50, 0
"""The campaign tries at most CHUNKS * CASES_PER_CHUNK cases of each file, 5,975 of the 100,225
combinations of a value, a replacement and a command: those that come first when they are shuffled
with SEED. A chunk is a test, after which an interrupted campaign continues.
"""
CASES = [
    *((kind, name, None) for kind, names in FILES.items() for name in names[: BY_DEFAULT[kind]]),
    *(
        in_campaign("fuzz", kind, name, chunk)
        for kind, names in FILES.items()
        for name in names
        for chunk in range(CHUNKS)
    ),
]
ELSEWHERE = ("bases", "config", "set", "metrics")
"""Keys below which a file repeats others, which the campaign edits too."""
LINES = [
    line
    for line in hostile.command_lines()
    if line[0] not in ("train", "plan", "draw", "list", "export") and "remove" not in line
]


def leaves(tree: object, path: tuple = ()) -> Iterator[tuple]:
    """The path of each value of a tree: keys and positions. Of the entries of a list that are alike
    only the first is visited.
    """
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:1])
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)) and value:
            yield from leaves(value, (*path, key))


def edited(text: str, path: tuple, value: object, suffix: str) -> str:
    content = parse(text, suffix)
    node: Any = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    if suffix == ".json":
        return json.dumps(content)
    if isinstance(content, dict) and isinstance(jobs := content.get("jobs"), list):
        content["jobs"] = "".join(json.dumps(job) + "\n" for job in jobs)
    return yaml.safe_dump(content)


def parse(text: str, suffix: str) -> Any:
    """The values of a file, those in the lines of a plan's jobs included."""
    content = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
    if suffix == ".yaml" and isinstance(content, dict) and isinstance(content.get("jobs"), str):
        content["jobs"] = [json.loads(line) for line in content["jobs"].splitlines()]
    return content


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("folders")


def cases(path: Path, kind: str, chunk: int | None) -> Iterator[tuple[tuple, str, tuple[str, ...]]]:
    """The leaves of a file, each with a value and a command: those of a chunk of the campaign, or
    each leaf once.
    """
    all_leaves = list(leaves(parse(path.read_text(), path.suffix)))
    assert all_leaves
    if chunk is not None:
        product = list(itertools.product(all_leaves, VALUES, LINES))
        random.Random(SEED).shuffle(product)
        tried = product[chunk * CASES_PER_CHUNK : (chunk + 1) * CASES_PER_CHUNK]
        record_measurement(
            "hostile values",
            file=f"{kind}/{path.name}",
            chunk=chunk,
            cases=len(tried),
            of=len(product),
            seed=SEED,
        )
        yield from tried
        return
    few = [leaf for leaf in all_leaves if not set(leaf[:-1]) & set(ELSEWHERE)]
    yield from zip(few, itertools.cycle(VALUES), itertools.repeat(("resume", hostile.FOLDER)))


@row("C21")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "name", "chunk"), CASES)
def test_a_stored_value_decides_nothing_outside(
    kind, name, chunk, folders, tmp_path, monkeypatch, capfd
):
    hostile.make_folder(folders, kind)
    hostile.draw_one(monkeypatch)
    monkeypatch.chdir(tmp_path)
    shutil.copy(folders / hostile.TABLE, tmp_path)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    target = sorted((folders / kind).glob(name))[-1]
    text = target.read_text()
    faults = []
    for leaf, value, line in cases(target, kind, chunk):
        shutil.rmtree(hostile.FOLDER, ignore_errors=True)
        shutil.copytree(folders / kind, hostile.FOLDER)
        hostile_text = edited(text, leaf, VALUES[value](tmp_path), target.suffix)
        Path(hostile.FOLDER, target.relative_to(folders / kind)).write_text(hostile_text)
        capfd.readouterr()
        code = main(list(line))
        errors = capfd.readouterr().err
        Path("answers.csv").unlink(missing_ok=True)
        shutil.rmtree("outputs", ignore_errors=True)
        assert {path.name for path in tmp_path.iterdir()} == {
            *(hostile.FOLDER, "precious", str(hostile.TABLE))
        }, (leaf, value, line)
        assert list(tree(precious)) == ["file"], (leaf, value, line)
        complaint = [text for text in errors.splitlines() if text.startswith("mlplab: ")]
        if code not in (0, 2, 3) or len(complaint) != (code == 2) or "Traceback" in errors:
            faults.append((leaf, value, line[0], code, complaint or errors[-300:]))
    assert not faults, "\n".join(map(str, faults))
