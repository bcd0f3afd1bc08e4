"""Who may import whom. Lazy imports and imports for types count like any other."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from import_rules import (
    forbidden_imports,
    module_cycles,
    package_cycles,
    private_imports,
    shadowed_submodules,
    table_mistakes,
)
from known import assert_only_known, differences
from source_tree import REPOSITORY, Offender, SourceTree

BASE = {
    *("errors", "extras", "finite", "python_command", "run_names", "io", "terminal", "display"),
    *("schema", "task", "randomness", "stacking", "validation", "training_options"),
}
COMPONENTS = {
    *("data", "data.preparation", "embeddings", "losses", "network", "optimizers", "schedules"),
}
TRAINING = BASE | COMPONENTS | {"settings", "metrics", "native", "training"}
RUN = TRAINING | {"data.tabular", "config", "model", "tracking", "doctor", "explain", "runs"}
PICTURES = {"pictures", "pictures.gallery", "pictures.rendering"}
SWEEP = {"sweeps.plan", "sweeps.execution.engines", "sweeps.execution", "sweeps.report"}
# Every package, sub-package and top-level module, lower ones first: each may import only from
# lower ones, and of those only from the ones named here.
MAY_IMPORT = {
    "errors": set(),
    "extras": {"errors"},
    "finite": {"errors"},
    "python_command": set(),
    "run_names": {"errors"},
    "schema": {"errors"},
    "task": set(),
    "randomness": set(),
    "metric_names": set(),
    "user_metrics": {"errors"},
    "metrics": {"errors", "metric_names", "user_metrics"},
    "io": {"errors"},
    "terminal": set(),
    "tracking": {"errors", "io"},
    "display": {"errors", "extras", "io", "terminal"},
    "trackers": {"errors", "io"},
    "stacking": {"schema"},
    "validation": {"errors", "schema"},
    "training_options": {"errors", "schema"},
    "data": BASE,
    "data.tabular": BASE | {"data"},
    "data.preparation": BASE | {"data", "data.tabular"},
    "losses": BASE,
    "optimizers": BASE,
    "schedules": BASE,
    "network.activations": BASE,
    "network": BASE | {"network.activations"},
    "embeddings": BASE | {"data", "network", "network.activations"},
    "settings": BASE | COMPONENTS,
    "native": BASE | COMPONENTS | {"network.activations", "settings", "metrics"},
    "training": TRAINING - {"training"},
    "config": BASE | {"metric_names", "metrics", "native", "network", "settings", "trackers"},
    "model": TRAINING | {"data.tabular"},
    "doctor": TRAINING | {"network.activations", "data.tabular", "config", "model"},
    "explain": TRAINING | {"data.tabular", "config", "model"},
    "runs": RUN - {"runs"},
    "mirroring": BASE | {"config", "settings", "tracking", "trackers", "runs"},
    "pictures": RUN,
    "pictures.gallery": RUN | {"pictures"},
    "pictures.rendering": RUN | {"pictures", "pictures.gallery"},
    "pictures.lecture": BASE | COMPONENTS | {"network.activations", "pictures"},
    "one_step": RUN | {"pictures", "network.activations"},
    "playback": RUN | PICTURES,
    "ensembles": RUN | {"mirroring", "pictures", "pictures.rendering"},
    "experiment": RUN | {"mirroring", "pictures", "pictures.rendering", "ensembles"},
    "interactive": RUN | PICTURES,
    "sweeps.plan": RUN,
    "sweeps.execution.engines": BASE | {"config"},
    "sweeps.execution": RUN | PICTURES | {"sweeps.plan", "sweeps.execution.engines"},
    "sweeps.report": RUN | {"pictures", "sweeps.plan", "sweeps.execution"},
    "sweeps": RUN | SWEEP | {"mirroring", "experiment"},
    "sweeps.search": RUN | SWEEP | {"mirroring", "sweeps"},
    "fitting": TRAINING | {"config", "model", "tracking"},
    "sklearn_base": {"fitting", "training"},
    "sklearn": {"fitting", "sklearn_base", "training"},
    "__init__": {"terminal"}
    | {"config", "data.tabular", "settings", "training", "runs", "experiment", "sweeps"}
    | {"interactive"},
    "cli": {"errors", "config", "terminal"},
    "export": RUN | {"cli"},
    "commands": (
        RUN
        | PICTURES
        | SWEEP
        | {"pictures.lecture", "one_step", "playback", "experiment", "sweeps"}
        | {"sweeps.search", "cli", "export", "metric_names", "mirroring", "trackers"}
    ),
    "__main__": {"cli"},
    "hydra_plugins.mlplab_launcher": {"sweeps"},
}


@functools.cache
def source() -> SourceTree:
    return SourceTree(REPOSITORY / "src")


@pytest.mark.slow
@pytest.mark.usefixtures("parsed_folder")
@pytest.mark.parametrize("parsed_folder", ["src"], indirect=True)
def test_every_package_has_an_entry_and_imports_run_downward():
    assert_only_known(
        "forbidden_imports",
        forbidden_imports(source(), MAY_IMPORT),
        table_mistakes(source(), MAY_IMPORT),
    )


def test_packages_do_not_import_each_other_in_cycles():
    assert_only_known("package_cycles", package_cycles(source()))


def test_modules_of_a_package_do_not_import_each_other_in_cycles():
    assert_only_known("module_cycles", module_cycles(source()))


def test_no_package_binds_the_name_of_a_submodule():
    assert_only_known("shadowed_submodules", shadowed_submodules(source()))


def test_no_private_name_is_used_by_another_package():
    assert_only_known("private_imports", private_imports(source()))


# The checks themselves, on small source trees. Module names are relative to src/mlplab.

LAYERS = {"low": set(), "middle": {"low"}, "high": {"low", "middle"}}


@pytest.fixture
def make_tree(write):
    """(module -> text) -> the source tree; each package has an `__init__`."""

    def make(modules):
        files = {f"mlplab/{name}.py": text for name, text in modules.items()}
        packages = {folder for name in files for folder in Path(name).parents[:-1]}
        return SourceTree(write({f"{folder}/__init__.py": "" for folder in packages} | files))

    return make


@pytest.fixture
def layers(make_tree):
    """(module -> text) -> the source tree of those modules besides three packages."""
    names = {f"{layer}/a": "" for layer in LAYERS}
    return lambda modules={}: make_tree({**names, **modules})


TABLE = {"__init__": set(), **LAYERS}


def keys(offenders):
    return [offender.key for offender in offenders]


def test_check_of_the_table_a_missing_entry_a_stale_entry_and_an_entry_that_allows_a_cycle(layers):
    tree = layers({"low/inner/b": "", "top": ""})
    assert table_mistakes(layers(), TABLE | {"low.inner": set(), "top": set()}) == []
    assert table_mistakes(tree, TABLE) == ["no entry for low.inner", "no entry for top"]
    table = TABLE | {"low.inner": {"high"}, "top": set(), "gone": set()}
    assert table_mistakes(tree, table) == ["stale entry for gone"]
    table = {"low": {"top", "gone"}, "low.inner": set(), "top": {"low"}, **TABLE} | {
        "low": {"top", "gone"}
    }
    assert table_mistakes(tree, table) == [
        "low may import gone, which does not exist",
        "low may import top, which is not lower in the table",
    ]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("import mlplab.high.a", "top"),
        ("import mlplab.high.a as other", "top"),
        ("from mlplab.high import a", "top"),
        ("from mlplab.high.a import anything", "top"),
        ("from ..high import a", "top"),
        ("from .. import low\nfrom ..high.a import x as y", "top"),
        ("try:\n    from mlplab.high.a import x\nexcept ImportError:\n    pass", "top"),
        ("def work():\n    from mlplab.high import a", "lazy"),
        ("class Work:\n    async def work(self):\n        import mlplab.high.a", "lazy"),
        ("if TYPE_CHECKING:\n    from mlplab.high.a import Thing", "types"),
        ("import typing\nif typing.TYPE_CHECKING:\n    import mlplab.high.a", "types"),
        ("module = import_module('mlplab.high.a')", "top"),
    ],
)
def test_check_of_imports_upward_in_every_spelling(layers, statement, kind):
    tree = layers({"middle/b": f"import mlplab.low.a\n{statement}", "high/b": "import mlplab.low"})
    assert [(offender.key, offender.detail) for offender in forbidden_imports(tree, TABLE)] == [
        ("middle.b -> high.a", kind)
    ]


def test_check_of_imports_a_package_the_facade_and_the_line(layers):
    tree = layers(
        {"low/b": "import os\nfrom mlplab import high, missing\n", "low/c": "import json"}
    )
    assert [str(offender) for offender in forbidden_imports(tree, TABLE)] == [
        "mlplab/low/b.py:2: low.b -> high (top)",
        "mlplab/low/b.py:2: low.b -> mlplab (top)",
    ]


def test_check_of_imports_a_sub_package_is_not_its_package(layers):
    tree = layers({"low/inner/b": "", "high/b": "from mlplab.low.inner import b"})
    table = {"low.inner": set(), **TABLE}
    assert keys(forbidden_imports(tree, table)) == ["high.b -> low.inner.b"]
    assert forbidden_imports(tree, table | {"high": {"low.inner"}}) == []


def test_check_of_cycles_among_packages(layers):
    tree = layers({"low/b": "def f():\n    import mlplab.high.a", "high/b": "import mlplab.low.b"})
    assert [str(offender) for offender in package_cycles(tree)] == [
        "high <-> low: high -> low",
        "high <-> low: low -> high",
    ]
    assert module_cycles(tree) == []


def test_check_of_cycles_among_modules(make_tree):
    tree = make_tree(
        {
            "low/a": "from mlplab.low import b",
            "low/b": "def f():\n    from mlplab.low.c import x",
            "low/c": "if TYPE_CHECKING:\n    from mlplab.low.a import x",
            "low/d": "from mlplab.low import a, b, c",
        }
    )
    assert keys(module_cycles(tree)) == [
        "low.a -> low.b",
        "low.b -> low.c",
        "low.c -> low.a",
    ]
    assert package_cycles(tree) == []


@pytest.mark.parametrize(
    "text",
    [
        "from mlplab.low.a import a",
        "from mlplab.low.b import x as a",
        "from .a import a",
        "import json as a",
        "def a(): pass",
        "class a: pass",
        "a = 3",
        "a: int = 3",
        "x, (a, *y) = 1, (2, 3)",
        "if True:\n    a = 3",
        "try:\n    pass\nexcept ImportError:\n    a = None",
        "def __getattr__(name):\n    if name == 'a':\n        return 3",
        "LAZY = {'a': 'mlplab.low.b'}\ndef __getattr__(name):\n    return LAZY[name]",
        "__all__ = ['a']\ndef __getattr__(name):\n    return 3",
    ],
)
def test_check_of_names_that_shadow_a_submodule(make_tree, text):
    tree = make_tree({"low/__init__": text, "low/a": "", "low/b": "", "high/a": ""})
    assert keys(shadowed_submodules(tree)) == ["low.a"]


@pytest.mark.parametrize(
    "text",
    [
        "from mlplab.low import a",
        "from . import a",
        "import mlplab.low.a",
        "def f():\n    a = 3",
        "__all__ = ['a']",
        "from mlplab.low.a import x",
    ],
)
def test_check_of_names_a_submodule_may_be_imported_as_itself(make_tree, text):
    assert shadowed_submodules(make_tree({"low/__init__": text, "low/a": ""})) == []


@pytest.mark.parametrize(
    "text",
    [
        "from mlplab.low.a import _x",
        "from mlplab.low.a import _x as x",
        "def f():\n    from ..low.a import _x",
        "from mlplab.low import a\nprint(a._x)",
        "import mlplab.low.a\nprint(mlplab.low.a._x)",
        "import mlplab.low.a as module\nmodule._x()",
        "from mlplab.low.a import _x\nprint(_x)",
    ],
)
def test_check_of_private_names(layers, text):
    tree = layers({"high/b": text})
    assert keys(private_imports(tree)) == ["high.b -> low.a._x"]


def test_check_of_private_names_those_of_the_package_itself_and_of_others_are_allowed(layers):
    text = "from mlplab.high.a import _x\nfrom os import _exit\nimport json\njson._y\nself._z"
    text += "\nfrom mlplab.low import a\na.__doc__\nfrom mlplab._common import x"
    assert private_imports(layers({"_common": "", "high/b": text})) == []


def test_check_of_known_violations_they_may_only_shrink():
    offenders = [Offender("a", "a.py:1"), Offender("b", "b.py:2", "why")]
    assert differences(offenders, ["a", "b"], 2) == []
    assert differences(offenders, ["a"], 1) == ["new: b.py:2: b (why)"]
    assert differences(offenders, ["a", "b", "c"], 3) == [
        "fixed, so remove it from known_violations.yaml: c"
    ]
    assert differences(offenders, ["a", "b"], 1) == [
        "known_violations.yaml lists 2, but the list of 1 may only shrink"
    ]
    assert differences(offenders, ["a", "b"], 3) == [
        "the list shrank, so lower its number in known.py to 2"
    ]
    assert differences(offenders, ["a", "b", "b"], 3) == [
        "known_violations.yaml lists an entry twice"
    ]
