"""Section C of the fault matrix: what others made never runs, never writes outside, and reads
nothing that was not named.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import json
import os
import pickle
import pkgutil
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from harness import FULL, HERE, QUICK, record_measurement, refused, row, run, size, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import subset_by_default

import mlplab
from mlplab.cli import main
from mlplab.config import cluster_options, plugins
from mlplab.config.builder import build
from mlplab.config.composition import Composed, compose
from mlplab.config.stored import stored_config
from mlplab.errors import ConfigError
from mlplab.io.files import write_yaml
from mlplab.python_command import SAFE_PATH, environment
from mlplab.runs import tree_file
from mlplab.runs.checkpoints import newest
from mlplab.sweeps.execution.engines import ray, slurm
from mlplab.sweeps.execution.worker_pool import WorkerPool
from mlplab.sweeps.plan.plan import Options

CORPUS = HERE / "corpus"
SCALING = HERE.parents[1] / "docs" / "scaling.md"
TARGETS = [
    line for line in (CORPUS / "targets.txt").read_text().splitlines() if not line.startswith("#")
]
BAD_NAMES = (CORPUS / "names.txt").read_text().splitlines()
HYDRA = list(yaml.safe_load_all((CORPUS / "hydra.yaml").read_text()))


@pytest.fixture(autouse=True)
def _nothing_ran(tmp_path, monkeypatch):
    """A module that leaves a marker when it is imported, a secret, and a folder beside ours: all
    untouched at the end.
    """
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "planted_module.py").write_text(
        f"open({str(tmp_path / 'marker')!r}, 'w')\nanything = print\n"
    )
    monkeypatch.syspath_prepend(str(planted))
    monkeypatch.setenv("SECRET", "the-secret-word")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield
    assert not (tmp_path / "marker").exists()
    assert not (work / "marker").exists()
    assert "planted_module" not in sys.modules
    assert {path.name for path in tmp_path.iterdir()} == {"planted", "outside", "work"}
    assert list(tree(outside)) == ["file"]
    assert (outside / "file").read_text() == "mine"
    record_measurement("hostile corpus", executed=0, imported=0, outside=0)


class Payload:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def payloads():
    command_line = "touch marker"
    yield "exec", pickle.dumps(Payload(exec, ("open('marker', 'w')",)))
    yield "os.system", pickle.dumps(Payload(os.system, (command_line,)))
    yield "eval", pickle.dumps(Payload(eval, ("open('marker', 'w')",)))
    yield "nested", pickle.dumps({"optimizer": {"state": [Payload(os.system, (command_line,))]}})
    yield "protocol 0", pickle.dumps(Payload(os.system, (command_line,)), protocol=0)

    import io

    file = io.BytesIO()
    torch.save({"theta": Payload(os.system, (command_line,))}, file)
    yield "torch.save", file.getvalue()


def damaged_run(run_dir, data):
    """A run folder whose newest state are these bytes, with a manifest that vouches for them."""
    import hashlib
    import signal as signals

    from mlplab.runs.checkpoint_callback import CheckpointCallback

    real = CheckpointCallback.should_pause

    def should_pause(self, session, group):
        if group.stepper.step >= 10:
            self.signals.received = signals.SIGTERM
        return real(self, session, group)

    CheckpointCallback.should_pause = should_pause
    try:
        mlplab.run([*QUICK, "tracking.checkpoint_seconds=0"], run_dir)
    finally:
        CheckpointCallback.should_pause = real
    for manifest in (run_dir / "checkpoints").glob("state-*.json"):
        content = json.loads(manifest.read_text())
        (manifest.with_suffix(".safetensors")).write_bytes(data)
        content["state"] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        manifest.write_text(json.dumps(content))


@row("C1", "C2")
@pytest.mark.parametrize(
    ("name", "data"), list(payloads()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_c1_a_pickle_instead_of_a_checkpoint(name, data, capfd):
    run_dir = Path("run")
    damaged_run(run_dir, data)
    assert main(["resume", "run"]) == 2
    assert "Traceback" not in capfd.readouterr().err
    for file in ("weights.safetensors", "frames.safetensors"):
        (run_dir / file).write_bytes(data)
    with pytest.raises(Exception, match=r"header|safetensors|Safetensor|deserializ"):
        mlplab.load(run_dir)
    assert main(["report", "run"]) in (1, 2)


@row("C2")
def test_c2_no_full_pickle_anywhere():
    banned = (  # that no file of the package may hold
        "weights_only=False",
        "pickle.load",
        "joblib.load",
        "allow_pickle=True",
        "yaml.load(",
        "import pickle",
        "marshal",
        "shelve",
        "torch.load(",
    )
    source = Path(mlplab.__file__).parent
    assert [
        (path.name, phrase)
        for path in source.rglob("*.py")
        for phrase in banned
        if phrase in path.read_text()
    ] == []


def crafted():
    """Bytes in the form of a checkpoint that claim what is not there."""
    from safetensors.torch import save

    good = {"format": "mlplab-tree-1", "tree": json.dumps({"dict": [["a", {"tensor": "0"}]]})}

    def raw(header, body=b""):
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + body

    yield "a header beyond the file", (1 << 40).to_bytes(8, "little") + b"{}"
    yield (
        "1e12 numbers",
        raw(
            {
                "__metadata__": good,
                "0": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]},
            }
        ),
    )
    two = {
        "0": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "1": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
    }
    yield "overlapping", raw({"__metadata__": good, **two}, bytes(12))
    yield (
        "a hole",
        raw(
            {"__metadata__": good, "0": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}},
            bytes(12),
        ),
    )
    yield (
        "a shape that is not its size",
        raw(
            {"__metadata__": good, "0": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
            bytes(8),
        ),
    )
    yield "no tree", save({"0": torch.zeros(2)}, metadata={"format": "mlplab-tree-1"})
    yield "another format", save({"0": torch.zeros(2)}, metadata={"format": "x", "tree": "{}"})
    yield (
        "a tensor that is not there",
        save({"0": torch.zeros(2)}, metadata={**good, "tree": json.dumps({"tensor": "9"})}),
    )
    yield (
        "an unknown node",
        save({"0": torch.zeros(2)}, metadata={**good, "tree": json.dumps({"call": "os.system"})}),
    )
    yield (
        "deep nesting",
        save(
            {"0": torch.zeros(2)}, metadata={**good, "tree": '{"list":[' * 50_000 + "]}" * 50_000}
        ),
    )
    yield "another tree", save({"0": torch.zeros(2)}, metadata=good)
    yield (
        "negative shape",
        raw(
            {"__metadata__": good, "0": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
            bytes(4),
        ),
    )


@row("C3")
@pytest.mark.parametrize(
    ("name", "data"), list(crafted()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_c3_crafted_checkpoints(name, data, capfd):
    damaged_run(Path("run"), data)
    assert main(["resume", "run"]) == 2
    assert "Traceback" not in capfd.readouterr().err


@row("C3")
@pytest.mark.parametrize("what", ["shape", "type", "huge optimizer", "members"])
def test_c3_tensors_that_do_not_fit(what, capfd):
    run_dir = Path("run")
    damaged_run(run_dir, b"")
    # a good state first, then one thing changed in it
    overrides = [*QUICK, "tracking.checkpoint_seconds=0"]
    mlplab.run(overrides, "other")
    saved, _ = newest(Path("other/checkpoints"))
    state = saved.tree["loop"]["now"]
    if what == "shape":
        state["theta"] = state["theta"][:, :-1].contiguous()
    elif what == "type":
        state["theta"] = state["theta"].double()
    elif what == "huge optimizer":
        state["optimizer"]["more"] = torch.zeros(10**6)
    else:
        state["members"] = torch.tensor([5])
    import hashlib

    data = tree_file.dump(saved.tree)
    for manifest in (run_dir / "checkpoints").glob("state-*.json"):
        content = json.loads(manifest.read_text())
        manifest.with_suffix(".safetensors").write_bytes(data)
        content["state"] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        manifest.write_text(json.dumps(content))
    assert main(["resume", "run"]) == 2
    assert "does not fit" in (errors := capfd.readouterr().err) or "other members" in errors


@row("C4", "C6")
@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("line", TARGETS)
def test_c4_overrides_that_name_code(line, capfd):
    before = set(sys.modules)
    overrides = line.split(" ") if line.startswith("optimizer=torch") else [line]
    refused(["train", *QUICK, *overrides], capfd)
    if FULL or TARGETS.index(line) % 6 == 0:
        refused(["train", "-m", *QUICK, "seed=0,1", *overrides], capfd)
    allowed = (
        "mlplab",
        "torch",
        "numpy",
        "hydra",
        "omegaconf",
        "yaml",
        "antlr4",
        "pandas",
        "plotly",
        "sympy",
    )
    assert all(
        name.split(".")[0] in (*allowed, *{n.split(".")[0] for n in before})
        or name in sys.stdlib_module_names
        for name in set(sys.modules) - before
    )


def test_c4_there_are_enough():
    assert len(TARGETS) >= 40
    assert len(BAD_NAMES) >= 20
    assert len(HYDRA) >= 8


FORBIDDEN = st.sampled_from(["_target_", "_partial_", "_args_", "_recursive_", "_convert_", "()"])


@row("C5")
@pytest.mark.campaign("fuzz", small=True)
@settings(max_examples=size(120, 500), deadline=None)
@given(st.data())
def test_c5_a_key_that_names_code_at_any_depth(data):
    config = json.loads(json.dumps(BASE))
    node = config
    for _ in range(data.draw(st.integers(0, 3))):
        inside = [
            value
            for value in (node.values() if isinstance(node, dict) else node)
            if isinstance(value, (dict, list))
        ]
        if not inside:
            break
        node = data.draw(st.sampled_from(inside))
    planted = {data.draw(FORBIDDEN): "os.system"}
    for _ in range(data.draw(st.integers(0, 3))):
        planted = {"x": planted} if data.draw(st.booleans()) else [planted]
    if isinstance(node, list):
        node.append(planted)
    elif data.draw(st.booleans()) and isinstance(planted, dict):
        node.update(planted)
    else:
        node["y"] = planted
    with pytest.raises(ConfigError, match="nothing in a configuration may run code"):
        build(Composed(config))


BASE = compose(["model.hidden=[{units:6,activation:relu},4]"]).config


@row("C5")
def test_c5_through_an_interpolation(capfd):
    Path("own/optimizer").mkdir(parents=True)
    Path("own/optimizer/mine.yaml").write_text(
        "name: adam\nlr: 0.01\nx: {_target_: os.system}\ny: ${optimizer.x}\n"
    )
    refused(["train", "--config-dir", "own", "optimizer=mine"], capfd, "_target_")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    mlplab.run(QUICK, folder)
    return folder


@row("C7")
@pytest.mark.parametrize(
    "target", ["os.system", "builtins.eval", "planted_module.anything", "torch.load"]
)
@pytest.mark.parametrize("where", ["model", "optimizer", "root", "list"])
def test_c7_a_stored_configuration(target, where, trained, capfd):
    shutil.copytree(trained, "run")
    config = stored_config(Path("run"))
    planted = {"_target_": target, "_args_": ["touch marker"]}
    if where == "root":
        config["x"] = planted
    elif where == "list":
        config["model"]["hidden"] = [planted]
    else:
        config[where]["x"] = planted
    write_yaml(Path("run/config.yaml"), config)
    for arguments in (
        ["resume", "run", "training.epochs=20"],
        ["rerun", "run"],
        ["report", "run"],
        ["rebuild-events", "run"],
    ):
        refused(arguments, capfd, "nothing in a configuration may run code")
    with pytest.raises(ConfigError):
        mlplab.load("run")


@row("C7")
def test_c7_a_stored_plan(capfd):
    assert main(["train", "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=sweep"]) == 0
    path = Path("sweep/plan.yaml")
    text = path.read_text()
    for wrong in (
        text.replace("name: adam", "name: adam\n    _target_: os.system", 1),
        text.replace("plugins: []", "plugins: [planted_module]"),
    ):
        assert wrong != text
        path.write_text(wrong)
        assert main(["resume", "sweep"]) == 2


@row("C8")
@pytest.mark.parametrize(
    ("number", "many"),
    subset_by_default(
        "fuzz",
        [(number, many) for number in range(len(HYDRA)) for many in (False, True)],
        lambda number, many: many == (number % 3 == 0),
    ),
)
def test_c8_the_hydra_node_from_a_file(number, many, capfd):
    Path("own/experiment").mkdir(parents=True)
    text = "# @package _global_\n" + yaml.safe_dump({"hydra": HYDRA[number]})
    Path("own/experiment/mine.yaml").write_text(text)
    refused(
        ["train", "--config-dir", "own", "experiment=mine", *(["-m", "seed=0,1"] if many else [])],
        capfd,
    )
    assert "PLANTED" not in os.environ


@row("C9")
def test_c9_the_switch_that_allows_more(capfd, monkeypatch):
    monkeypatch.setenv("HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE", "os.system:builtins.eval")
    assert main(["train", *QUICK, "+model._target_=os.system"]) == 2
    assert "has no effect" in capfd.readouterr().err


@row("C10")
def test_c10_an_old_hydra(monkeypatch, capfd):
    import hydra

    module = importlib.import_module("mlplab.config.composition")

    for version in ("1.1.0", "1.3.2", "1.3.7", "1.4.0"):
        monkeypatch.setattr(hydra, "__version__", version)
        module._check_version.cache_clear()
        refused(["train", *QUICK], capfd, version)
    module._check_version.cache_clear()
    text = (HERE.parents[1] / "pyproject.toml").read_text()
    assert re.search(r"hydra-core>=1\.3\.8,<1\.4", text)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
WRONG_YAML = {
    "a tag": "name: !!python/object/apply:os.system ['touch marker']\n",
    "another tag": "name: !!python/name:os.system\n",
    "an alias bomb": BOMB + "name: adam\n",
    "a large file": "name: adam\n" + "# x\n" * 300_000,
    "many nodes": "name: adam\nx: [" + "1," * 20_000 + "1]\n",
    "a key twice": "name: adam\nlr: 0.1\nlr: 0.2\n",
}


@row("C11")
@pytest.mark.parametrize("name", WRONG_YAML)
@pytest.mark.parametrize("where", ["folder of one's own", "stored"])
def test_c11_yaml_that_is_made_to_harm(name, where, capfd):
    if where == "stored":
        mlplab.run(QUICK, "run")
        text = Path("run/config.yaml").read_text()
        Path("run/config.yaml").write_text(
            text
            + WRONG_YAML[name].replace(
                "name:", "name:" if "twice" not in name else "seed: 1\nseed:"
            )
        )
        arguments = ["resume", "run", "training.epochs=20"]
    else:
        Path("own/optimizer").mkdir(parents=True)
        Path("own/optimizer/mine.yaml").write_text(WRONG_YAML[name])
        arguments = ["train", "--config-dir", "own", *QUICK, "optimizer=mine"]
    refused(arguments, capfd)


@row("C12")
@pytest.mark.slow
@pytest.mark.usefixtures("one_picture")
def test_c12_secrets_of_the_environment_are_not_written(capfd):
    for override in (
        "name=${oc.env:SECRET}",
        "hydra.run.dir=${oc.env:SECRET}",
        "+x=${oc.env:SECRET}",
    ):
        refused(["train", *QUICK, override], capfd)
    mlplab.run(["experiment=xor_mlp", "training.epochs=2"], "run")
    assert main(["train", "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=sweep"]) == 0
    assert not [
        path
        for path in Path().rglob("*")
        if path.is_file() and b"the-secret-word" in path.read_bytes()
    ]


@pytest.mark.usefixtures("one_picture")
def test_the_command_is_kept_as_it_was_typed(monkeypatch):
    """The files that SECURITY.md names, and no others."""
    Path("s3cret").mkdir()
    rows = [f"{i % 17},{i % 13},{'yes' if i % 17 > 8 else 'no'}" for i in range(60)]
    Path("s3cret/t.csv").write_text("\n".join(["a,b,y", *rows]))
    overrides = ["dataset=file", "dataset.path=s3cret/t.csv", "dataset.target=y"]
    overrides += ["training.epochs=1", "hydra.run.dir=run"]
    monkeypatch.setattr(sys, "argv", ["mlplab", "train", *overrides])
    assert main(["train", *overrides]) == 0
    files = [path for path in Path("run").rglob("*") if path.is_file()]
    contract = Path(__file__).parents[2].joinpath("SECURITY.md").read_text()
    named = re.search(r"What is typed is kept(.*)\n(.*)", contract)
    for path in files:
        kept = b"s3cret" in path.read_bytes()
        name = {"events": "event files", "state-": "checkpoints"}.get(path.name[:6], path.name)
        assert (name in named[1]) == kept or path.suffix in (".safetensors", ".png"), path
        assert not kept or path.suffix != ".safetensors"
    assert {"config.yaml", "overrides.yaml", "provenance.json"} <= {path.name for path in files}


@row("C13")
def test_c13_no_spreadsheet_runs_what_is_in_a_table():
    from mlplab.tracking.metrics_file import table_bytes

    text = table_bytes(
        [["job", "=1+1", "-2+3", "@x", "\tx"], [-0.5, "=cmd()", "+1", "@SUM(A1)", "\tcmd"]]
    ).decode()
    cells = [cell for line in text.splitlines() for cell in line.split(",")]
    assert "-0.5" in cells
    assert not [
        cell
        for cell in cells
        if cell.strip('"')[:1] in ("=", "+", "@", "\t", "-") and cell != "-0.5"
    ]


@row("C14")
def test_c14_nothing_is_served():
    """No part of the package opens a socket or starts a server."""
    patterns = (
        "socket.socket",
        "http.server",
        "serve_forever",
        ".listen(",
        "bind_all",
        "tensorboard.program",
        "socketserver",
    )
    source = Path(mlplab.__file__).parent
    violations = [
        (path.name, pattern)
        for path in source.rglob("*.py")
        for pattern in patterns
        if pattern in path.read_text()
    ]
    assert violations == []
    assert "no authentication" in (HERE.parents[1] / "SECURITY.md").read_text()


@row("C15")
def test_c15_markup_and_escapes_in_names(capfd):
    hostile = "x\x1b[2J<script>alert(1)</script>"
    refused(["train", *QUICK, f"name='{hostile}'"], capfd)
    source = (
        "from dataclasses import dataclass\n"
        "from mlplab.config import register\n"
        "from mlplab.network.activations import Activation\n"
        "@register('activation', 'loud')\n"
        "@dataclass(frozen=True)\n"
        "class Loud(Activation):\n"
        "    '''Raises.'''\n"
        "    def __call__(self, x):\n"
        "        if x.numel() > size:\n"
        "            raise RuntimeError('\\x1b[2J<script>alert(1)</script>')\n"
        "        return x\n"
    )
    Path("parts.py").write_text("size = 64\n" + source)
    done = run(
        "train",
        "-m",
        "--plugin",
        "parts.py",
        *QUICK,
        "activation=loud,tanh",
        "hydra.sweep.dir=sweep",
        code=1,
    )
    assert "\x1b[2J" not in done.stderr + done.stdout
    assert "<script>alert(1)" not in Path("sweep/report.html").read_text()
    Path("parts.py").write_text("size = 0\n" + source)
    assert "\x1b" not in run("train", "--plugin", "parts.py", *QUICK, code=2).stderr


OTHERS = ("ray", "submitit", "joblib", "hydra_plugins", "sitecustomize", "usercustomize")


@functools.cache
def shadows():
    """Names of all modules of the standard library and of the installed packages, and of some that
    are imported if they are there.
    """
    installed = {module.name for module in pkgutil.iter_modules()}
    assert {"torch", "numpy", "hydra", "yaml", "mlplab"} <= installed
    return sorted({*sys.stdlib_module_names, *installed, *OTHERS})


def plant(folder):
    """Modules that leave a marker when they are imported."""
    text = f"open({str(Path('marker').resolve())!r}, 'w')\nraise SystemExit(9)\n"
    for name in shadows():
        (folder / f"{name}.py").write_text(text)


def undisturbed_by_modules(command, folder, **environment):
    """Run a command line in a folder full of modules; return its output."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=env | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not Path("marker").exists()
    return done.stdout


@row("C18")
@pytest.mark.slow
def test_c18_modules_in_the_working_folder_are_not_imported():
    """With a plug-in, which imports those beside it."""
    plant(Path())
    beside = Path("..", "planted").resolve()
    (beside / "parts.py").write_text("import beside_it\nassert beside_it.VALUE == 1\n")
    (beside / "beside_it.py").write_text("VALUE = 1\n")
    for name in ("beside_it", "parts"):
        Path(f"{name}.py").write_text(Path("torch.py").read_text())
    script = Path(sys.executable).with_name("mlplab")
    command = [script, "train", "--plugin", beside / "parts.py", *QUICK, "hydra.run.dir=run"]
    undisturbed_by_modules(command, Path())
    assert Path("run", "weights.safetensors").is_file()


def start_of_a_worker():
    """The command line of a worker, which then prints its version in place of working."""
    plan = SimpleNamespace(plugins=(), options=Options(workers=1))
    command = WorkerPool(plan, Path("sweep"), None)._command(0)
    index = command.index("mlplab")
    assert command[index + 1] == "work"
    return [*command[: index + 1], "--version"]


def on_slurm(command):
    """As `srun` would start it on another node, whose environment is not that of the driver."""
    client = Path("client").resolve()
    client.mkdir()
    (client / "srun").write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\n"$@"\n')
    (client / "srun").chmod(0o755)
    Path("worker.sh").write_text(slurm.script([command], 1))
    path = f"{client}:{os.environ['PATH']}"
    return undisturbed_by_modules(["sh", Path("worker.sh").resolve()], "sweep", PATH=path)


def on_ray(command):
    with contextlib.chdir("sweep"):
        assert ray.run_worker(command, 1, os.getcwd(), "worker.log") == 0
        return Path("worker.log").read_text()


def by_a_launcher(command):
    """A launcher of Hydra starts Python itself; what it inherits is the environment."""
    assert command[1] == "-P"
    with environment(SAFE_PATH):
        inherited = os.environ["PYTHONSAFEPATH"]
    return undisturbed_by_modules([command[0], *command[2:]], "sweep", PYTHONSAFEPATH=inherited)


def by_torchrun(command):
    """What docs/scaling.md says: `torchrun --no-python mlplab` starts this."""
    script = Path(sys.executable).with_name("mlplab")
    assert "torchrun --nproc-per-node 4 --no-python mlplab train" in SCALING.read_text()
    return undisturbed_by_modules([script, *command[command.index("mlplab") + 1 :]], "sweep")


WORKERS = {
    "local": lambda command: undisturbed_by_modules(command, "sweep"),
    "slurm": on_slurm,
    "ray": on_ray,
    "launcher": by_a_launcher,
    "torchrun": by_torchrun,
}


@row("C18")
@pytest.mark.parametrize("name", WORKERS)
def test_c18_a_worker_imports_no_module_of_the_working_folder(name, monkeypatch):
    """Its own command line, as far as the interpreter and the package."""
    assert set(cluster_options.ENGINES) <= set(WORKERS)
    Path("sweep").mkdir()
    plant(Path("sweep"))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    assert WORKERS[name](start_of_a_worker()).startswith("mlplab ")
    assert not Path("marker").exists()


@row("C18")
def test_c18_only_a_plugin_imports_what_lies_beside_it(monkeypatch):
    """Also after it was loaded; Python's own modules and those of packages come first."""
    beside = Path("..", "planted").resolve()
    for name in ("beside_it", "colorsys", "ray_of_mine"):
        (beside / f"{name}.py").write_text(f"WHERE = 'beside {name}'\n")
    (beside / "my_parts.py").write_text(
        "import beside_it\ndef later():\n    import colorsys, ray_of_mine\n"
        "    return colorsys, ray_of_mine\n"
    )
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(beside)])
    plugins.load([beside / "my_parts.py"])
    [module] = [module for name, module in sys.modules.items() if name.endswith("my_parts_py")]
    assert module.beside_it.WHERE == "beside beside_it"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("ray_of_mine")
    colorsys, ray_of_mine = module.later()
    assert not hasattr(colorsys, "WHERE")
    assert ray_of_mine.WHERE == "beside ray_of_mine"
    for name in ("beside_it", "ray_of_mine", module.__name__):
        monkeypatch.delitem(sys.modules, name)


@row("C18")
@pytest.mark.slow
def test_c18_a_sweep_with_workers_resumed_inside_its_folder(monkeypatch):
    """A driver that has one worker beside itself, because its jobs have a limit of time."""
    arguments = ["train", "-m", *QUICK, "seed=0,1", "sweep.cluster={minutes: 5}"]
    with monkeypatch.context() as patched:
        patched.setattr(WorkerPool, "run", lambda self: None)
        main([*arguments, "hydra.sweep.dir=sweep"])
    assert not list(Path("sweep/jobs").iterdir())
    plant(Path("sweep"))
    monkeypatch.chdir("sweep")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    assert main(["resume", "."]) == 0
    assert "started as worker 0 of 1" in Path("workers.log").read_text()
    monkeypatch.chdir("..")
    assert not Path("marker").exists()


@row("C18")
def test_c18_python_is_started_through_one_function():
    """Whose command line leaves the working folder out. Other programs are started by modules that
    are known here.
    """
    source, starting = Path(mlplab.__file__).parent, {}
    for path in source.rglob("*.py"):
        names = {
            ast.unparse(node)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
        }
        starts = {
            name
            for name in names
            if name == "sys.executable"
            or name.startswith(("subprocess.", "multiprocessing.", "os.exec", "os.spawn"))
            or name in ("os.system", "os.popen", "os.posix_spawn", "os.fork", "asyncio.subprocess")
        }
        starts -= {"subprocess.STDOUT", "subprocess.DEVNULL", "subprocess.SubprocessError"}
        if starts:
            starting[path.relative_to(source).as_posix()] = starts
    assert starting == {
        "python_command.py": {"sys.executable"},
        # this program, as `mlplab mirror`
        "mirroring/process.py": {
            *("subprocess.Popen", "subprocess.PIPE", "subprocess.TimeoutExpired"),
        },
        "native/compiler.py": {"subprocess.run", "subprocess.TimeoutExpired"},  # the C compiler
        "runs/provenance.py": {"subprocess.run"},  # git
        "sweeps/execution/engines/local.py": {"subprocess.Popen"},  # the worker's command
        "sweeps/execution/engines/ray.py": {"subprocess.call"},  # the same
        "sweeps/execution/engines/slurm.py": {"subprocess.run"},  # Slurm's client
    }


@row("B20")
@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("name", BAD_NAMES)
def test_b20_names_that_lead_out(name, capfd):
    before = {path: path.stat().st_mtime_ns for path in Path("..").iterdir() if path.name != "work"}
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    refused(["train", *QUICK, f"name='{quoted}'"], capfd)
    if FULL or BAD_NAMES.index(name) % 5 == 0:
        refused(["train", "-m", *QUICK, "seed=0,1", f"name='{quoted}'"], capfd)
    assert {
        path: path.stat().st_mtime_ns for path in Path("..").iterdir() if path.name != "work"
    } == before


@row("C22")
@pytest.mark.slow
def test_c22_a_search_loads_no_pickle_from_its_database():
    """Optuna's CMA-ES keeps its state as a pickle in the trials, and loads it from any of them."""
    pytest.importorskip("cmaes", reason="pip install 'mlplab[search]'")
    search = ["sweep.sampler=cmaes", "sweep.trials=12", "sweep.parallel=6"]
    space = ["optimizer.lr=interval(0.001,0.1)", "model.dropout=interval(0.0,0.3)"]
    overrides = [*QUICK, "training.epochs=1", "tracking=off", *search, *space]
    assert main(["train", "-m", *overrides, "hydra.sweep.dir=sweep"]) == 0
    with contextlib.closing(sqlite3.connect("sweep/study.db")) as database, database:
        table = "trial_system_attributes"
        assert not database.execute(f"SELECT * FROM {table}").fetchall()
        pickled = json.dumps(pickle.dumps(Payload(os.system, ("touch marker",))).hex())
        database.execute(
            f"INSERT INTO {table} (trial_id, key, value_json)"
            " SELECT trial_id, 'cma:optimizer:0', ? FROM trials",
            [pickled],
        )
    request = Path("sweep/search.yaml")
    request.write_text(request.read_text().replace("sweep.trials=12", "sweep.trials=14"))
    assert main(["resume", "sweep"]) == 0
    assert not Path("marker").exists()
    trials = json.loads(Path("sweep/summary.json").read_text())["planned"]
    assert trials == 14


@row("C19")
@pytest.mark.parametrize("name", ["plan.yaml", "search.yaml"])
def test_c19_a_folder_names_no_plugin_by_itself(name, capfd):
    """Workers load the plugins of both files."""
    Path("sweep").mkdir()
    plugins = "plugins: [planted; touch marker]"
    texts = {
        "plan.yaml": f"format: mlplab-plan-2\n{plugins}\n",
        "search.yaml": f"typed: [sweep.trials=2]\ndirs: []\n{plugins}\n",
    }
    Path("sweep", name).write_text(texts[name])
    refused(["resume", "sweep", "sweep.workers=2"], capfd, "--plugin 'planted; touch marker'")


@row("C19")
def test_c19_no_payload_files():
    """A sweep leaves no file that would be unpickled, and a configuration can name none."""
    assert main(["train", "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=sweep"]) == 0
    for path in Path("sweep").rglob("*"):
        if path.is_file():
            assert path.suffix not in (".pkl", ".pickle", ".pt", ".pth", ".joblib"), path
            assert not path.read_bytes()[:2].startswith(b"\x80")
