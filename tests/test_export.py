"""Exported models say what the run says: raw columns in, with empty cells and words that training
never met.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from composing import composed_once  # noqa: F401
from harness import size
from tiers import few_by_default

import mlplab
from mlplab.cli import main
from mlplab.export import files
from mlplab.export.checking import difference, random_rows
from mlplab.export.columns import coded, inputs, raw
from mlplab.export.pipeline import Pipeline
from mlplab.network.activations import ACTIVATIONS
from mlplab.runs.predicting import Predictor

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def table(path, rows=400, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.normal(5, 3, rows),
            "count": rng.poisson(2, rows),  # repeats its quantiles
            "when": (
                pd.Timestamp("2019-01-01")
                + pd.to_timedelta(rng.integers(0, 900 * 86400, rows), unit="s")
            ),
            "town of birth": rng.choice(["x", "y", "zürich"], rows, p=[0.6, 0.38, 0.02]),
            "code": rng.choice([1, 2, 3], rows),
            "ok": rng.random(rows) < 0.4,
        }
    )
    frame["v"] = (
        frame.a * 2 + frame["count"] * (frame["town of birth"] == "x") + frame.when.dt.month
    )
    frame["w"] = 1e5 * (frame["count"] - frame.a)
    frame["t"] = np.where(frame.v > frame.v.median(), "up", np.where(frame.a > 5, "down", "flat"))
    for name in ("a", "town of birth", "when"):
        frame.loc[rng.random(rows) < 0.08, name] = None
    frame.to_csv(path, index=False)
    return frame


TARGETS = {"t": "[v,w]", "v": "[t,w]", "[v,w]": "[t]"}


def trained(folder, target, **more):
    table(folder / "t.csv")
    own = {
        "dataset": "file",
        "dataset.path": str(folder / "t.csv"),
        "dataset.target": target,
        "dataset.ignore": TARGETS[target],
        "dataset.missing": "impute",
        "dataset.categories": "[code]",
        "training.epochs": 3,
        "tracking": "summary",
        "hydra.run.dir": str(folder / "run"),
    }
    return mlplab.run([f"{key}={value}" for key, value in {**own, **more}.items()])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run, the file of it, and by how much the file is off; made once a module."""
    made = {}

    def export(target, more, form):
        key = (target, *more.items(), form)
        if key not in made:
            folder = tmp_path_factory.mktemp("exported")
            run = trained(folder, target, **more)
            made[key] = (
                run,
                folder / "model",
                files.export(Predictor((run,)), form, folder / "model"),
            )
        return made[key]

    return export


MODELS = [
    ("t", {"model.normalization": "batch", "model.dropout": 0.2}),
    ("t", {"dataset.encode": "ordinal", "dataset.scaling": "robust", "loss": "hinge"}),
    ("v", {"dataset.scaling": "quantile"}),
    ("[v,w]", {"dataset.scaling": "minmax", "dtype": "float64"}),
]
FORMS = {"t": "onnx", "[v,w]": "torch"}
"""In which form a target is exported by default; the campaign exports all in both."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "more", "form"),
    few_by_default(
        "fuzz",
        [(*model, form) for model in MODELS for form in ("onnx", "torch")],
        lambda target, more, form: form == FORMS.get(target) and "dataset.encode" not in more,
    ),
)
def test_ten_thousand_rows_agree(exported, target, more, form):
    run, out, off = exported(target, more, form)
    predictor = Predictor((run,))
    assert off <= 1e-5
    frame = random_rows(run, 10_000, seed=7)
    assert frame.isna().sum().gt(500)[["a", "when", "town of birth"]].all()
    assert (frame["town of birth"] == "never met").sum() > 500
    ask = files.ask_onnx if form == "onnx" else files.ask_torch
    found = ask(out, inputs([run]), frame)
    assert difference([run], predictor.scores(frame, "rows")[0], found) <= (
        1e-8 if run.settings.dtype == "float64" else 1e-5
    )


@pytest.mark.slow
def test_the_onnx_file_alone_says_what_to_give_it_and_gives_labels(tmp_path, exported):
    run, path, _ = exported("t", MODELS[0][1], "onnx")
    session = ort.InferenceSession(str(path))
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == ["down", "flat", "up"]
    assert [one["kind"] for one in json.loads(told["inputs"])] == [
        "number",
        "number",
        "date",
        "category",
        "category",
        "boolean",
    ]
    assert [given.name for given in session.get_inputs()] == [
        "a",
        "count",
        "when",
        "town of birth",
        "code",
        "ok",
    ]
    frame = table(tmp_path / "again.csv", rows=57)
    label, probabilities = session.run(["label", "probabilities"], raw(inputs([run]), frame))
    mine = Predictor((run,)).table(frame, "rows")
    assert list(label) == list(mine.prediction)
    assert np.abs(probabilities - mine[["P(down)", "P(flat)", "P(up)"]].to_numpy()).max() < 1e-5
    one = session.run(
        ["label"], {name: values[:1] for name, values in raw(inputs([run]), frame).items()}
    )[0]
    assert one[0] == label[0]


@pytest.mark.slow
@pytest.mark.campaign("fuzz", small=True)
def test_every_activation_is_exported(tmp_path):
    """By default every third, in the campaign all."""
    words = sorted(set(ACTIVATIONS) - {"binary_step"})[:: size(3, 1)]
    hidden = ",".join(f"{{units:4,activation:{word}}}" for word in words)
    own = [
        "dataset=iris",
        f"model.hidden=[{hidden}]",
        "initializer=he_normal",
        "training.steps=1",
        "tracking=off",
        f"hydra.run.dir={tmp_path}/run",
    ]
    run = mlplab.run(own)
    assert files.export(Predictor((run,)), "onnx", tmp_path / "m.onnx") <= 1e-5


LOSSES = ["bce", "mse_onehot", "brier", "focal", "squared_hinge"]


@pytest.mark.campaign("fuzz")
@pytest.mark.parametrize("loss", LOSSES)
def test_what_a_loss_makes_of_outputs_is_exported(tmp_path, loss):
    run = mlplab.run(
        [
            "dataset=moons",
            f"loss={loss}",
            "training.epochs=2",
            "tracking=off",
            f"hydra.run.dir={tmp_path}/run",
        ]
    )
    assert files.export(Predictor((run,)), "onnx", tmp_path / "m.onnx") <= 1e-5
    assert files.export(Predictor((run,)), "torch", tmp_path / "m.pt2") <= 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_what_a_loss_makes_of_outputs_is_inside(tmp_path, loss):
    """The module that is exported says what the run says; the campaign writes the files."""
    words = ["dataset=moons", f"loss={loss}", "training.epochs=2", "tracking=off"]
    run = mlplab.run([*words, f"hydra.run.dir={tmp_path}/run"])
    columns, frame = inputs([run]), random_rows(run, 50)
    with torch.no_grad():
        said = Pipeline([run]).eval()(*map(torch.from_numpy, coded(columns, raw(columns, frame))))
    assert difference([run], Predictor((run,)).scores(frame, "rows")[0], said[0].numpy()) <= 1e-5


def test_folds_that_met_different_words_are_one_module(tmp_path):
    """As the file of the campaign: each fold has codes of its own for the words of a category."""
    frame = table("t.csv", rows=120)
    frame.loc[3, "town of birth"] = "once"
    frame.to_csv("t.csv", index=False)
    words = ["dataset=file", "dataset.path=t.csv", "dataset.target=t", "dataset.ignore=[v,w]"]
    own = ["dataset.missing=impute", "training.epochs=2", "tracking=off"]
    mlplab.sweep([*words, *own, "validation=kfold", "validation.folds=3"], "kf")
    predictor = Predictor.of(Path("kf"))
    rows, columns = random_rows(predictor.runs[0], 50), inputs(predictor.runs)
    with torch.no_grad():
        module = Pipeline(predictor.runs).eval()
        said = module(*map(torch.from_numpy, coded(columns, raw(columns, rows))))[0].numpy()
    assert len(predictor.runs) == 3
    assert difference(predictor.runs, predictor.scores(rows, "rows")[0], said) <= 1e-5


@pytest.mark.campaign("fuzz")
def test_folds_that_met_different_words_are_one_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = table("t.csv")
    frame.loc[3, "town of birth"] = "once"
    frame.to_csv("t.csv", index=False)
    own = [
        "dataset=file",
        "dataset.path=t.csv",
        "dataset.target=t",
        "dataset.ignore=[v,w]",
        "dataset.missing=impute",
    ]
    assert (
        main(
            [
                "train",
                *own,
                "validation=kfold",
                "training.epochs=2",
                "tracking=off",
                "hydra.sweep.dir=kf",
            ]
        )
        == 0
    )
    capsys.readouterr()
    for form in ("onnx", "torch"):
        assert main(["export", "kf", "--format", form]) == 0
        out = capsys.readouterr().out
        assert "the mean of 5 runs" in out
        assert "town of birth: category" in out
    assert main(["export", "kf"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["export", "kf", "--force", "--best", "2"]) == 0


def test_a_file_that_would_say_something_else_is_not_written(tmp_path, monkeypatch):
    run = mlplab.run(
        ["dataset=moons", "training.epochs=1", "tracking=off", f"hydra.run.dir={tmp_path}/run"]
    )
    right = Pipeline.forward

    def wrong(self, *columns):
        scores, place = right(self, *columns)
        return scores * 0.999, place

    monkeypatch.setattr(Pipeline, "forward", wrong)
    with pytest.raises(ValueError, match="was not written"):
        files.export(Predictor((run,)), "torch", tmp_path / "m.pt2")
    assert not list(tmp_path.glob("*m.pt2*"))


def test_without_the_extra_one_paragraph_says_what_to_install(tmp_path, monkeypatch, capsys):
    run = mlplab.run(
        ["dataset=moons", "training.epochs=1", "tracking=off", f"hydra.run.dir={tmp_path}/run"]
    )
    monkeypatch.setattr("mlplab.extras.find_spec", lambda name: None)
    assert main(["export", str(run.folder)]) == 2
    assert "pip install 'mlplab[export]'" in capsys.readouterr().err
    assert not (run.folder / "model.onnx").exists()


def test_many_networks_predict_together_what_each_predicts_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = mlplab.sweep(
        [
            "dataset=iris",
            "model.hidden=4,6-3",
            "activation=tanh,leaky_relu",
            "training.epochs=2",
            "tracking=off",
            "seeds=2",
            "model.normalization=batch",
        ],
        quiet=True,
    )
    predictor = Predictor.of(Path(frame.attrs["folder"]))
    rows = random_rows(predictor.runs[0], 50)
    alone = np.stack([run.predict_proba(rows.to_numpy()) for run in predictor.runs])
    mean, spread = predictor.scores(rows, "rows")
    assert np.allclose(mean, alone.mean(0), atol=1e-6)
    assert np.allclose(spread, alone.std(0), atol=1e-6)


@pytest.mark.parametrize("word", sorted(ACTIVATIONS))
def test_every_activation_predicts_in_a_population(word, moons):
    from mlplab.runs.together import Together

    kind = ACTIVATIONS[word]
    runs = [run for run in moons if type(run.settings.layers[0].activation) is kind]
    assert len(runs) == 2
    x = np.random.default_rng(0).normal(size=(20, 2))
    found = Together(runs).predicted([x])
    for run, own in zip(runs, found, strict=True):
        assert np.allclose(own, run.scores(x), atol=1e-6)


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    """Two runs of each activation, trained as one sweep."""
    folder = tmp_path_factory.mktemp("moons") / "sweep"
    words = ["dataset=moons", "training.steps=2", "tracking=off", "seed=0,1"]
    hidden = [
        f"[{{units:6,activation:{word}}},{{units:6,activation:{word}}}]" for word in ACTIVATIONS
    ]
    mlplab.sweep([*words, f"model.hidden={','.join(hidden)}"], folder)
    return [mlplab.load(path) for path in sorted((folder / "jobs").iterdir())]


@pytest.mark.slow
def test_the_exported_program_runs_without_mlplab(tmp_path):
    import subprocess
    import sys

    run = mlplab.run(
        ["dataset=iris", "training.epochs=1", "tracking=off", f"hydra.run.dir={tmp_path}/run"]
    )
    files.export(Predictor((run,)), "torch", tmp_path / "m.pt2")
    path = str(tmp_path / "m.pt2")
    code = (
        "import sys; sys.modules['mlplab'] = None\n"
        "import torch, json\n"
        "extra = {'about.json': ''}\n"
        f"program = torch.export.load({path!r}, extra_files=extra)\n"
        "print(json.loads(json.loads(extra['about.json'])['classes']))\n"
        "row = torch.tensor([[5.1, 3.5, 1.4, 0.2]], dtype=torch.float64)\n"
        "print(program.module()(row)[0].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    classes, found = done.stdout.strip().splitlines()
    assert "setosa" in classes
    assert np.allclose(
        json.loads(found)[0], run.predict_proba(np.array([[5.1, 3.5, 1.4, 0.2]]))[0], atol=1e-6
    )
    assert torch.__version__
