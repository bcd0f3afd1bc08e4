"""Exported models predict like their runs from raw columns.

The columns include empty cells and categories that training never saw.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from harness import size
from tiers import subset_by_default

import mlplab
from mlplab.cli import main
from mlplab.export import files
from mlplab.export.checking import difference, random_rows
from mlplab.export.columns import coded_inputs, inputs, raw_inputs
from mlplab.export.pipeline import Pipeline
from mlplab.model.model import Model
from mlplab.network.activations import ACTIVATIONS
from mlplab.runs.ensemble import Predictor
from mlplab.sweeps.open_job import predictor as predictor_of

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
    overrides = {
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
    return mlplab.run([f"{key}={value}" for key, value in {**overrides, **more}.items()])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a run, its exported file and the largest difference, exported once per module."""
    exports = {}

    def export(target, more, file_format):
        key = (target, *more.items(), file_format)
        if key not in exports:
            folder = tmp_path_factory.mktemp("exported")
            run = trained(folder, target, **more)
            exports[key] = (
                run,
                folder / "model",
                files.export(Predictor((run,)), file_format, folder / "model"),
            )
        return exports[key]

    return export


MODELS = [
    ("t", {"model.normalization": "batch", "model.dropout": 0.2}),
    ("t", {"dataset.encode": "ordinal", "dataset.scaling": "robust", "loss": "hinge"}),
    ("v", {"dataset.scaling": "quantile"}),
    ("[v,w]", {"dataset.scaling": "minmax", "dtype": "float64"}),
]
DEFAULT_FORMATS = {"t": "onnx", "[v,w]": "torch"}
"""Target -> the format it is exported in by default; the campaign exports all in both."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "more", "file_format"),
    subset_by_default(
        "fuzz",
        [(*model, file_format) for model in MODELS for file_format in ("onnx", "torch")],
        lambda target, more, file_format: (
            file_format == DEFAULT_FORMATS.get(target) and "dataset.encode" not in more
        ),
    ),
)
def test_ten_thousand_rows_agree(exported, target, more, file_format):
    run, out, largest = exported(target, more, file_format)
    predictor = Predictor((run,))
    assert largest <= 1e-5
    frame = random_rows(run, 10_000, seed=7)
    assert frame.isna().sum().gt(500)[["a", "when", "town of birth"]].all()
    assert (frame["town of birth"] == "never met").sum() > 500
    predict = files.predict_onnx if file_format == "onnx" else files.predict_torch
    scores = predict(out, inputs([run]), frame)
    assert difference([run], predictor.scores(frame, "rows")[0], scores) <= (
        1e-8 if run.settings.dtype == "float64" else 1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "file_format"),
    subset_by_default(
        "fuzz",
        [
            (features, file_format)
            for features in (
                "[x1,x1_squared,x1_x2,sin_x2,cos_x1,exp_x2]",
                "[x2_cubed,abs_x1,tanh_x2]",
            )
            for file_format in ("onnx", "torch")
        ],
        lambda features, file_format: (file_format == "onnx") == ("exp_x2" in features),
    ),
)
def test_computed_features_are_exported(tmp_path, features, file_format):
    run = mlplab.run(
        ["dataset=xor", f"dataset.features={features}", "training.epochs=3", "tracking=off"],
        tmp_path / "run",
    )
    files.export(Predictor((run,)), file_format, tmp_path / "model")
    frame = random_rows(run, 2000, seed=7)
    assert list(frame) == ["x1", "x2"]
    predict = files.predict_onnx if file_format == "onnx" else files.predict_torch
    scores = predict(tmp_path / "model", inputs([run]), frame)
    assert difference([run], run.predict_proba(frame), scores) <= 1e-5


@pytest.mark.slow
def test_the_onnx_file_describes_its_inputs_and_returns_labels(tmp_path, exported):
    run, path, _ = exported("t", MODELS[0][1], "onnx")
    session = ort.InferenceSession(str(path))
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == ["down", "flat", "up"]
    assert [one["kind"] for one in json.loads(metadata["inputs"])] == [
        "number",
        "number",
        "date",
        "category",
        "category",
        "boolean",
    ]
    assert [model_input.name for model_input in session.get_inputs()] == [
        "a",
        "count",
        "when",
        "town of birth",
        "code",
        "ok",
    ]
    frame = table(tmp_path / "again.csv", rows=57)
    label, probabilities = session.run(["label", "probabilities"], raw_inputs(inputs([run]), frame))
    expected = Predictor((run,)).table(frame, "rows")
    assert list(label) == list(expected.prediction)
    assert np.abs(probabilities - expected[["P(down)", "P(flat)", "P(up)"]].to_numpy()).max() < 1e-5
    one = session.run(
        ["label"], {name: values[:1] for name, values in raw_inputs(inputs([run]), frame).items()}
    )[0]
    assert one[0] == label[0]


@pytest.mark.slow
@pytest.mark.campaign("fuzz", small=True)
def test_every_activation_is_exported(tmp_path):
    """By default every third, in the campaign all."""
    names = sorted(set(ACTIVATIONS) - {"binary_step"})[:: size(3, 1)]
    hidden = ",".join(f"{{units:4,activation:{name}}}" for name in names)
    overrides = [
        "dataset=iris",
        f"model.hidden=[{hidden}]",
        "initializer=he_normal",
        "training.steps=1",
        "tracking=off",
        f"hydra.run.dir={tmp_path}/run",
    ]
    run = mlplab.run(overrides)
    assert files.export(Predictor((run,)), "onnx", tmp_path / "m.onnx") <= 1e-5


LOSSES = ["bce", "mse_onehot", "brier", "focal", "squared_hinge"]


@pytest.mark.campaign("fuzz")
@pytest.mark.parametrize("loss", LOSSES)
def test_the_predictions_of_a_loss_are_exported(tmp_path, loss):
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
def test_the_predictions_of_a_loss_are_in_the_module(tmp_path, loss):
    """The exported module predicts like the run; the campaign writes the files."""
    overrides = ["dataset=moons", f"loss={loss}", "training.epochs=2", "tracking=off"]
    run = mlplab.run([*overrides, f"hydra.run.dir={tmp_path}/run"])
    columns, frame = inputs([run]), random_rows(run, 50)
    with torch.no_grad():
        arrays = coded_inputs(columns, raw_inputs(columns, frame))
        scores = Pipeline([run]).eval()(*map(torch.from_numpy, arrays))[0].numpy()
    assert difference([run], Predictor((run,)).scores(frame, "rows")[0], scores) <= 1e-5


def test_folds_with_different_categories_are_one_module(tmp_path):
    """Like the test of the campaign: each fold has different codes for the categories."""
    frame = table("t.csv", rows=120)
    frame.loc[3, "town of birth"] = "once"
    frame.to_csv("t.csv", index=False)
    overrides = ["dataset=file", "dataset.path=t.csv", "dataset.target=t", "dataset.ignore=[v,w]"]
    overrides += ["dataset.missing=impute", "training.epochs=2", "tracking=off"]
    mlplab.sweep([*overrides, "validation=kfold", "validation.folds=3"], "kf")
    predictor = predictor_of(Path("kf"))
    rows, columns = random_rows(predictor.runs[0], 50), inputs(predictor.runs)
    with torch.no_grad():
        module = Pipeline(predictor.runs).eval()
        arrays = coded_inputs(columns, raw_inputs(columns, rows))
        scores = module(*map(torch.from_numpy, arrays))[0].numpy()
    assert len(predictor.runs) == 3
    assert difference(predictor.runs, predictor.scores(rows, "rows")[0], scores) <= 1e-5


@pytest.mark.campaign("fuzz")
def test_folds_with_different_categories_are_one_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = table("t.csv")
    frame.loc[3, "town of birth"] = "once"
    frame.to_csv("t.csv", index=False)
    overrides = [
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
                *overrides,
                "validation=kfold",
                "training.epochs=2",
                "tracking=off",
                "hydra.sweep.dir=kf",
            ]
        )
        == 0
    )
    capsys.readouterr()
    for file_format in ("onnx", "torch"):
        assert main(["export", "kf", "--format", file_format]) == 0
        out = capsys.readouterr().out
        assert "the mean of 5 runs" in out
        assert "town of birth: category" in out
    assert main(["export", "kf"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["export", "kf", "--force", "--best", "2"]) == 0


def test_a_file_with_other_predictions_is_not_written(tmp_path, monkeypatch):
    run = mlplab.run(
        ["dataset=moons", "training.epochs=1", "tracking=off", f"hydra.run.dir={tmp_path}/run"]
    )
    forward = Pipeline.forward

    def wrong(self, *columns):
        scores, index = forward(self, *columns)
        return scores * 0.999, index

    monkeypatch.setattr(Pipeline, "forward", wrong)
    with pytest.raises(ValueError, match="was not written"):
        files.export(Predictor((run,)), "torch", tmp_path / "m.pt2")
    assert not list(tmp_path.glob("*m.pt2*"))


def test_without_the_extra_the_error_names_what_to_install(tmp_path, monkeypatch, capsys):
    run = mlplab.run(
        ["dataset=moons", "training.epochs=1", "tracking=off", f"hydra.run.dir={tmp_path}/run"]
    )
    monkeypatch.setattr("mlplab.extras.find_spec", lambda name: None)
    assert main(["export", str(run.folder)]) == 2
    assert "pip install 'mlplab[export]'" in capsys.readouterr().err
    assert not (run.folder / "model.onnx").exists()


def test_a_batched_ensemble_predicts_like_single_networks(tmp_path, monkeypatch):
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
    predictor = predictor_of(Path(frame.attrs["folder"]))
    rows = random_rows(predictor.runs[0], 50)
    single = np.stack([run.predict_proba(rows.to_numpy()) for run in predictor.runs])
    mean, spread = predictor.scores(rows, "rows")
    np.testing.assert_allclose(mean, single.mean(0), rtol=1e-13)
    np.testing.assert_allclose(spread, single.std(0), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_predicts_in_a_population(activation, moons):
    kind = ACTIVATIONS[activation]
    runs = [run for run in moons if type(run.settings.layers[0].activation) is kind]
    assert len(runs) == 2
    x = np.random.default_rng(0).normal(size=(20, 2))
    batched = Model.stack([run.model for run in runs]).scores(x)
    for run, scores in zip(runs, batched, strict=True):
        assert np.array_equal(scores, run.scores(x))
        with torch.no_grad():
            outputs = run.module().double()(torch.from_numpy(x))
        expected = run.model.loss.predict(outputs.unsqueeze(0))[0].numpy()
        np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-15)


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    """Return two runs of each activation, trained as one sweep."""
    folder = tmp_path_factory.mktemp("moons") / "sweep"
    overrides = ["dataset=moons", "training.steps=2", "tracking=off", "seed=0,1"]
    hidden = [
        f"[{{units:6,activation:{name}}},{{units:6,activation:{name}}}]" for name in ACTIVATIONS
    ]
    mlplab.sweep([*overrides, f"model.hidden={','.join(hidden)}"], folder)
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
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    assert [data for name, data in content.items() if "sample_inputs" in name] == [b""]
    configs = [json.loads(data) for name, data in content.items() if name.endswith("config.json")]
    assert len(configs) == 2
    tensors = [tensor for config in configs for tensor in config["config"].values()]
    assert tensors
    assert not any(tensor["use_pickle"] for tensor in tensors)
    code = (
        "import sys; sys.modules['mlplab'] = None\n"
        "import torch, json\n"
        "extra = {'about.json': ''}\n"
        f"program = torch.export.load({path!r}, extra_files=extra)\n"
        "print(json.loads(json.loads(extra['about.json'])['classes']))\n"
        "row = torch.tensor([[5.1, 3.5, 1.4, 0.2]], dtype=torch.float64)\n"
        "print(program.module()(row)[0].tolist())"
    )
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    classes, probabilities = process.stdout.strip().splitlines()
    assert "setosa" in classes
    expected = run.predict_proba(np.array([[5.1, 3.5, 1.4, 0.2]]))[0]
    assert np.allclose(json.loads(probabilities)[0], expected, atol=1e-6)
    assert torch.__version__
