"""The shape of the code: who imports whom, and how long modules and functions may grow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "mlplab"
MODULES = sorted(SOURCE.rglob("*.py"))
BASE = {"schema", "stacking", "task", "randomness", "validation"}
MAY_IMPORT = {
    "schema": set(),
    "task": set(),
    "randomness": set(),
    "stacking": {"schema"},
    "validation": {"schema"},
    # for annotations
    "settings": {
        "schema",
        "validation",
        "data",
        "losses",
        "network",
        "optimizers",
        "schedules",
        "training",
    },
    "data": BASE,
    "losses": BASE,
    "metrics": BASE,
    "optimizers": BASE,
    "schedules": BASE,
    "network": BASE | {"settings"},
    "training": (
        BASE | {"settings", "data", "losses", "metrics", "network", "optimizers", "schedules"}
    ),
    "tracking": BASE | {"training"},
    "runs": (
        BASE
        | {"settings", "metrics", "data", "losses", "network", "training", "tracking", "config"}
    ),
    "pictures": (
        BASE
        | {
            "settings",
            "data",
            "losses",
            "metrics",
            "network",
            "optimizers",
            "schedules",
            "training",
            "tracking",
            "runs",
        }
    ),
    "playback": BASE | {"settings", "data", "network", "training", "tracking", "runs", "pictures"},
    "fitting": BASE | {"settings", "data", "losses", "network", "training", "config"},
    "sklearn_base": {"fitting"},
    "sklearn": {"fitting", "sklearn_base"},
    "experiment": BASE | {"settings", "data", "training", "tracking", "runs", "pictures"},
    "sweeps": (
        BASE
        | {
            "settings",
            "data",
            "metrics",
            "network",
            "training",
            "tracking",
            "runs",
            "config",
            "pictures",
            "experiment",
        }
    ),
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mlplab"):
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1] for alias in node.names if alias.name.startswith("mlplab.")
            }
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path):
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room in MAY_IMPORT:
        assert imports(path) - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_nothing_unsafe_is_called():
    banned = (
        "weights_only=False",
        "pickle.load",
        "joblib.load",
        "allow_pickle=True",
        "yaml.load(",
        "hydra.utils.instantiate",
        "cfg.get(",
    )
    found = [
        (path.name, words) for path in MODULES for words in banned if words in path.read_text()
    ]
    assert found == []
