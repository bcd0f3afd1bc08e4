"""mlplab without any extra, as installed by `pip install mlplab`.

Every command works, or is refused with the name of the extra that it needs.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = {
    Requirement(line).name
    for extra, lines in PROJECT["optional-dependencies"].items()
    if extra not in ("test", "dev")
    for line in lines
}

HIDE = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            return None
        return self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""

TABLE = "a,b,y\n" + "".join(f"{i},{i % 3},{'yes' if i % 2 else 'no'}\n" for i in range(40))

EVERY_COMMAND = """
import contextlib, io, json
from pathlib import Path
from mlplab.cli import COMMANDS, main

TINY = ["experiment=xor_mlp", "training.epochs=2", "dataset.num_samples=60"]
LINES = [  # arguments and the extra that they need
    (["train", *TINY, "hydra.run.dir=run"], None),
    (["train", *TINY, "-m", "seed=0,1", "hydra.sweep.dir=sweep"], None),
    (["plan", *TINY, "seed=0,1"], None),
    (["resume", "run", "training.epochs=3"], None),
    (["resume", "sweep"], None),
    (["work", "sweep"], None),
    (["evaluate", "run"], None),
    (["open", "sweep", "1"], None),
    (["explain", "run"], None),
    (["doctor", "run"], None),
    (["doctor", "sweep"], None),
    (["rerun", "run", "--check"], None),
    (["step", "run"], None),
    (["find-lr", *TINY, "--rates", "3", "--steps", "3"], None),
    (["schema"], None),
    (["runs", "."], None),
    (["compare", "sweep", "run"], None),
    (["runs", ".", "--jobs", "--json"], None),
    (["rebuild-events", "run"], None),
    (["report", "sweep"], None),
    (["list", "optimizer"], None),
    (["mirror", "run", "--to", "mlflow"], "mlflow"),
    (["mirror", "run", "--to", "wandb"], "wandb"),
    (["train", *TINY, "tracking.mirror=[mlflow]", "hydra.run.dir=x"], "mlflow"),
    (["train", *TINY, "tracking.mirror=[wandb]", "seeds=2", "hydra.sweep.dir=x"], "wandb"),
    (["train", "dataset=file", "dataset.path=t.csv", "dataset.target=y"], "files"),
    (["evaluate", "run", "t.csv"], "files"),
    (["predict", "run", "t.csv", "-o", "out.csv"], "files"),
    (["predict", "run", "t.csv", "-o", "out.parquet"], "files"),
    (["export", "run"], "export"),
    (["export", "run", "--format", "torch"], "export"),
    (["report", "sweep", "--parquet"], "files"),
    (["report", "run"], "pictures"),
    (["report", "run", "--gif"], "pictures"),
    (["draw", "losses"], "pictures"),
    (["step", "run", "-o", "step.svg"], "pictures"),
    (["find-lr", *TINY, "--rates", "3", "--steps", "3", "-o", "lr"], "pictures"),
    (["draw", "optimizers", "--gif"], "pictures"),
    (["train", *TINY, "-m", "sweep.trials=2", "hydra.sweep.dir=x"], "search"),
    (["train", *TINY, "-m", "seed=0,1", "sweep.engine=ray", "hydra.sweep.dir=x"], "ray"),
]
assert {line[0] for line, _ in LINES} == set(COMMANDS)
results = []
for line, extra in LINES:
    before = set(map(str, Path().rglob("*")))
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(line)
    left = sorted(set(map(str, Path().rglob("*"))) - before) if extra else []
    results.append([line, extra, code, errors.getvalue(), left])

import mlplab
from mlplab.errors import MlplabError

def fit(*overrides):
    X = [[i % 5, i % 7] for i in range(60)]
    run = mlplab.fit(X, ["ab"[i % 2] for i in range(60)], ["training.epochs=2", *overrides])
    assert mlplab.load(run.folder).predict(X).shape == (60,)
    assert main(["rerun", str(run.folder), "--check"]) == 0

for name, extra, call in [
    ("mlplab.sweep", "sweep", lambda: mlplab.sweep([*TINY, "seed=0,1"], "y")),
    ("mlplab.list_runs", "sweep", lambda: mlplab.list_runs(".")),
    ("to_frame", "sweep", lambda: mlplab.load("run").history.to_frame()),
    ("mlplab.fit", None, lambda: fit()),
    ("mlplab.fit", "files", lambda: fit("dataset.categories=[x1]")),
]:
    try:
        call()
    except Exception as error:
        code = 2 if isinstance(error, MlplabError) else 1
        left = ["y"] if Path("y").exists() else []
        results.append([[name], extra, code, str(error), left])
    else:
        results.append([[name], extra, 0, "", []])
Path("results.json").write_text(json.dumps(results))
"""


def modules(names) -> set[str]:
    """Return the modules of these distributions, installed or not."""
    distributions = {canonicalize_name(name) for name in names}
    return distributions | {
        module
        for module, providers in importlib.metadata.packages_distributions().items()
        if {canonicalize_name(provider) for provider in providers} & distributions
    }


def test_the_hidden_packages_are_the_extras_of_the_project():
    assert modules(OPTIONAL) >= {
        "matplotlib",
        "pandas",
        "PIL",
        "pyarrow",
        "plotly",
        "onnx",
        "ray",
    }
    assert modules(OPTIONAL) >= {"onnxruntime", "onnxscript", "optuna", "cmaes"}


def at_import(path: Path) -> set[str]:
    """Return the modules that a file imports when it is imported itself."""
    imported, waiting = set(), list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += [
                child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)
            ]
    return imported


def test_only_drawing_modules_and_the_frame_of_a_sweep_import_an_extra_at_the_top():
    """They are imported inside functions, after checking that it is installed; other modules import
    an extra there themselves.
    """
    source = ROOT / "src"
    imported = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): (
            at_import(path)
        )
        for path in (source / "mlplab").rglob("*.py")
    }
    hidden = modules(OPTIONAL)
    needing = {
        name
        for name, targets in imported.items()
        if {module.partition(".")[0] for module in targets} & hidden
    }
    while more := {name for name, targets in imported.items() if targets & needing} - needing:
        needing |= more
    allowed = {"animation", "explanation", "lr_range", "rendering.drawing", "rendering.step_images"}
    allowed |= {"scatter", "style"}
    assert {
        name
        for name in needing
        if not name.startswith(("mlplab.pictures.gallery.", "mlplab.pictures.lecture."))
    } == {*(f"mlplab.pictures.{name}" for name in allowed)} | {
        "mlplab.one_step.diagram",
        "mlplab.one_step.page",
        "mlplab.playback.animation",
        "mlplab.sweeps.report.frame",
    }


@pytest.mark.slow
def test_every_command_works_or_names_its_extra(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    code = f"HIDDEN = {modules(OPTIONAL)!r}\n{HIDE}{EVERY_COMMAND}"
    process = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    errors_of_line = {}
    for line, extra, code, errors, left in json.loads((tmp_path / "results.json").read_text()):
        errors_of_line[" ".join(line)] = errors
        assert "Traceback" not in errors, line
        assert "ModuleNotFoundError" not in errors, line
        assert code == (2 if extra else 0), (line, errors)
        assert not extra or f"pip install 'mlplab[{extra}]'" in errors, (line, errors)
        assert left == [], line  # a refusal creates no files
    assert "Traceback" not in process.stderr
    [trained] = [
        errors for line, errors in errors_of_line.items() if line.endswith("hydra.run.dir=run")
    ]
    assert trained.count("pip install 'mlplab[pictures]'") == 1
    assert (tmp_path / "run" / "frames.safetensors").is_file()
    assert not (tmp_path / "run" / "pictures").exists()
    assert (tmp_path / "sweep" / "results.csv").is_file()


def base_distributions(metadata: str) -> list[importlib.metadata.Distribution]:
    """Return the distributions that pip would install for these requirements without an extra."""
    lines = re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)
    waiting, distributions = [(Requirement(line), {""}) for line in lines], {}
    seen = set()
    while waiting:
        requirement, extras = waiting.pop()
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras
        ):
            continue
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        distributions[name] = importlib.metadata.distribution(name)
        waiting += [
            (Requirement(line), {"", *requirement.extras})
            for line in distributions[name].requires or ()
        ]
    return list(distributions.values())


@pytest.fixture(scope="module")
def installed_wheel(tmp_path_factory) -> tuple[Path, Path]:
    """Return the wheel, and a folder with only it and its base dependencies.

    The dependencies are links to the installed ones.
    """
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = folder.glob("*.whl")
    site = folder / "site"
    site.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        text = archive.read(metadata).decode()
    for distribution in base_distributions(text):
        for file in distribution.files or ():
            if file.parts[0] != ".." and not (site / file.parts[0]).exists():
                (site / file.parts[0]).symlink_to(distribution.locate_file(file.parts[0]))
    return wheel, site


def run_isolated(site: Path, code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run Python code with only the standard library and this folder."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(site)!r})\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_the_wheel_contains_configs_and_types(installed_wheel):
    wheel, site = installed_wheel
    names = zipfile.ZipFile(wheel).namelist()
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {f"mlplab/{name}" for name in configs} <= set(names)
    assert "mlplab/py.typed" in names
    assert {"mlplab/native/csrc/kernel.c", "mlplab/native/generated/loss.c"} <= set(names)
    assert "hydra_plugins/mlplab_launcher/__init__.py" in names
    assert not {name.partition("/")[0] for name in names} - {
        "mlplab",
        "hydra_plugins",
        f"mlplab-{PROJECT['version']}.dist-info",
    }
    assert not any((site / module).exists() for module in ("pandas", "matplotlib", "plotly"))


@pytest.mark.slow
def test_the_bare_wheel_trains_in_an_empty_folder(installed_wheel, tmp_path):
    line = ["train", "experiment=xor_mlp", "training.epochs=2", "hydra.run.dir=run"]
    code = f"from mlplab.cli import main; sys.exit(main({line!r}))"
    process = run_isolated(installed_wheel[1], code, tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "run"
    assert "pip install 'mlplab[pictures]'" in process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert (tmp_path / "run" / "weights.safetensors").is_file()


NOT_IN_A_TRAINING = {
    *("sklearn", "scipy", "pandas", "plotly", "optuna", "jinja2", "sympy", "onnx", "pyarrow"),
    *("torch._dynamo", "torch._inductor", "torch.onnx", "torch.utils.tensorboard"),
    *("tensorboard.backend", "tensorboard.program", "tensorboard.summary", "tensorflow"),
    *("matplotlib.pyplot", "mlplab.sweeps", "mlplab.playback", "mlplab.export", "mlplab.sklearn"),
}
"""Modules that neither a training nor its pictures need, and that take time to import."""


@pytest.mark.slow
def test_nothing_is_imported_without_need():
    """A training needs no other package than those that it uses, nor torch's compiler, whose
    import would cost each process half a second; pictures need no windows, and only a search needs
    optuna.
    """
    code = (
        "import sys, mlplab; run = mlplab.run(['experiment=xor_mlp', 'training.epochs=2'], 'run');"
        " assert len(list(run.folder.glob('pictures/*.png'))) > 5;"
        f" print({NOT_IN_A_TRAINING} & set(sys.modules));"
        " import mlplab.sweeps.run_sweep, mlplab.sweeps.search.search;"
        " import hydra_plugins.mlplab_launcher;"
        " print({'sympy', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "set()"]
