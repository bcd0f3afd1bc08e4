"""A part's YAML file is its class: the same keys, defaults and comments, a file for each word and a
word for each file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from mlplab.config import compose
from mlplab.data import DATASETS
from mlplab.losses import LOSSES
from mlplab.network import ACTIVATIONS, INITIALIZERS
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.schema import rules
from mlplab.training import STYLES

ROOT = Path(__file__).parents[2]
TABLES = {
    "dataset": DATASETS,
    "loss": LOSSES,
    "activation": ACTIVATIONS,
    "initializer": INITIALIZERS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "training": STYLES,
}


def test_the_files_are_what_the_script_writes():
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "write_configs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_words_and_files_are_the_same():
    for group, table in TABLES.items():
        assert {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")} == set(table)


def test_keys_and_defaults_are_the_same():
    for group, table in TABLES.items():
        for word, part in table.items():
            text = (ROOT / "configs" / group / f"{word}.yaml").read_text()
            written = yaml.safe_load(text)
            assert written.pop("name") == word
            assert set(written) == set(rules(part)), (group, word)
            composed = compose([f"{group}={word}"], complete=False).config[group]
            composed.pop("name")
            if word == "file":  # its path has no default
                assert composed.pop("path") == "???"
                composed["path"] = "table.csv"
            if word == "openml":  # one of its two keys must be given
                composed["data_name"] = "adult"
            built = part(
                **{"file": {"path": "table.csv"}, "openml": {"data_name": "adult"}}.get(word, {})
            )
            for key, value in composed.items():
                mine = getattr(built, key)
                assert value == (list(mine) if isinstance(mine, tuple) else mine), (
                    group,
                    word,
                    key,
                )
