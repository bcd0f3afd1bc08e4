"""Invalid command lines are refused with exit code 2, one paragraph that names the most similar
valid input, and no new folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import run

from mlplab.cli import main

WRONG = [
    # misspelled groups, choices, keys
    ("optimzer=adam", "optimizer"),
    ("optimizer=adm", "adam"),
    ("activation=rellu", "relu"),
    ("dataset=irsi", "iris"),
    ("experiment=radial_66", "radial_6_6"),
    ("loss=cross_entrpy", "cross_entropy"),
    ("initializer=xavier", "xavier_"),
    ("schedule=cosin", "cosine"),
    ("training=mini_batch", "minibatch"),
    ("tracking=ful", "full"),
    ("optimizer.lrr=0.1", "optimizer.lr"),
    ("training.epoch=3", "training.epochs"),
    ("model.hiden=6-6", "model.hidden"),
    ("dataset.nois=0.1", "noise"),
    ("sed=3", "seed"),
    # the key of another component
    ("optimizer.momentum=0.9", "sgd"),
    ("dataset.turns=2", "spiral"),
    # wrong types
    ("optimizer.lr=fast", "number"),
    ("optimizer.lr='0.1'", "number"),
    ("training.epochs=2.5", "integer"),
    ("training.shuffle=maybe", "true or false"),
    ("seed=first", "seed"),
    ("training.epochs=true", "integer"),
    # values out of range
    ("optimizer.lr=nan", "finite"),
    ("optimizer.lr=inf", "finite"),
    ("optimizer.lr=-0.1", "> 0"),
    ("optimizer.lr=0", "> 0"),
    ("optimizer.beta1=1", "[0, 1)"),
    ("model.dropout=1", "[0, 1)"),
    ("model.dropout=nan", "finite"),
    ("model.hidden=0", "model.hidden"),
    ("model.hidden=[6,-3]", "model.hidden"),
    ("model.hidden=6-x", "model.hidden"),
    ("model.hidden=1000000000", "parameters"),
    ("training.batch_size=0", ">= 1"),
    ("training.batch_size=2.5", "integer"),
    ("training.epochs=0", ">= 1"),
    ("training.patience=0", ">= 1"),
    ("seed=-1", "seed"),
    ("seed=4294967296", "4294967295"),
    ("dataset.val=0.9", "test"),
    ("-m model.width=4,8 seeds=2", "mlp has hidden"),
    # components that do not fit each other or the machine
    ("loss=mse", "dataset"),
    ("dataset=iris loss=bce", "2 classes"),
    ("dataset=quadratic loss=cross_entropy", "dataset"),
    ("dataset=quadratic training.monitor=accuracy", "accuracy"),
    ("device=gpu", "cuda"),
    ("dtype=float16", "float32"),
    # code
    ("+model._target_=os.system", "_target_"),
    ("++optimizer.x._target_=builtins.eval", "_target_"),
    ("model.hidden=[{units:6,activation:{_target_:os.system}}]", "_target_"),
    ("model.hidden=[{units:6,activation:rellu}]", "relu"),
    ("hydra.launcher._target_=os.system", "_target_"),
    ("activation=[relu,tanh]", "model.hidden=[{units:8,activation:relu}"),
    ("hydra.sweeper.params={seed:1}", "sweep: {grid:"),
    ("--experiment xor_mlp", "experiment=xor_mlp"),
    ("--optimizer.lr=0.1", "optimizer.lr=0.1"),
    # syntax, and folders that cannot contain a run
    ("optimizer.lr=[", "optimizer.lr"),
    ("optimizer.lr", "optimizer.lr"),
    ("name=../../elsewhere", "name"),
    ("hydra.run.dir=a_file/run", "a_file"),
]


def test_there_are_enough():
    assert len(WRONG) >= 40


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(("overrides", "hint"), WRONG, ids=[overrides for overrides, _ in WRONG])
def test_it_is_refused_with_a_hint(overrides, hint, tmp_path, capfd):
    (tmp_path / "a_file").write_text("here first")
    assert main(["train", *overrides.split(" ")]) == 2
    output, errors = capfd.readouterr()
    assert output == ""
    assert hint in errors
    assert len(errors.strip().splitlines()) == 1
    assert "Traceback" not in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_file"]


@pytest.mark.parametrize(
    "overrides", ["optimizer=adm", "optimizer.lr=nan", "+x._target_=os.system"]
)
def test_the_command_itself_exits_with_2(overrides, tmp_path):
    result = run("train", overrides, code=2)
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(Path(tmp_path).iterdir())
