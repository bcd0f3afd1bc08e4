"""The playback page: its contents and size, and the errors of `mlplab report`."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import re
import shlex
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from drawing import draw_only
from PIL import Image
from studies import study_of

import mlplab
from mlplab.cli import main
from mlplab.pictures.study import Study
from mlplab.playback import page as page_module
from mlplab.playback.page import page, repeat_command
from mlplab.playback.payload import payload
from mlplab.playback.revisit import revisit

QUICK = ["experiment=xor_mlp", "training.epochs=5"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that tests read, or copy before changing it."""
    with pytest.MonkeyPatch.context() as patch:
        draw_only(patch, "decision", "units")
        return mlplab.run(
            [*QUICK, "tracking.picture_share=0"], tmp_path_factory.mktemp("trained") / "run"
        ).folder


@pytest.fixture
def folder(trained):
    return shutil.copytree(trained, Path("run"))


@pytest.fixture
def two_pictures(monkeypatch):
    draw_only(monkeypatch, "decision", "units")


def unpacked(study: Study):
    description, text = payload(study)
    data = zlib.decompress(base64.b64decode(text))

    def array(name):
        entry = description["arrays"][name]
        kind = np.dtype(entry["kind"])
        values = np.frombuffer(data, kind, int(np.prod(entry["shape"])), entry["at"]).reshape(
            entry["shape"]
        )
        return (
            values
            if kind != np.uint8
            else entry["low"] + (entry["high"] - entry["low"]) * values / 255
        )

    return description, array


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dataset": "iris"},
        {"dataset": "sine"},
        {"dataset": "diabetes"},
        {"hidden": (3,)},
        {"hidden": ()},
        {"dataset": "linnerud"},
    ],
    ids=str,
)
def test_maps_are_what_the_network_predicts_at_every_frame(fields):
    study = study_of(epochs=6, **fields)
    description, array = unpacked(study)
    grid = study.plane.grid(description["grid"])
    expected = study.outputs(grid, range(len(study.frames)))
    last = len(description["columns"]) - 1
    for output in range(expected.shape[2]):
        values = expected[:, :, output]
        span = 1.0 if study.classifies else values.max() - values.min()
        assert np.abs(array(f"map.{last}.{output}") - values).max() <= 0.0021 * span
    layers = study.layers(grid, range(len(study.frames)))
    for i, column in enumerate(description["columns"][1:-1], 1):
        units = [int(name.partition(".")[2]) - 1 for name in column["names"]]
        for j, unit in enumerate(units):
            values = layers[column["layer"] - 1][:, :, unit].double().numpy()
            assert np.abs(array(f"map.{i}.{j}") - values).max() <= 0.0021 * max(
                values.max() - values.min(), 1e-9
            )


def test_weights_and_points_are_the_run_s():
    study = study_of(epochs=4, hidden=(3, 2))
    description, array = unpacked(study)
    for frame in range(len(study.frames)):
        for i, (weight, bias) in enumerate(study.weights(frame), 1):
            np.testing.assert_allclose(
                array(f"weight.{i}")[frame].reshape(weight.shape), weight, rtol=1e-6
            )
            np.testing.assert_allclose(array(f"bias.{i}")[frame], bias, rtol=1e-6)
    assert description["splits"] == ["train", "test"]
    positions = study.plane.project(study.points("test", 250).x)
    np.testing.assert_allclose(array("position.test"), positions, rtol=1e-6)
    two = study.layers(study.points("test", 250).x, range(len(study.frames)))[1].numpy()
    np.testing.assert_allclose(array("space.2.test"), two, atol=0.0021 * (two.max() - two.min()))


@pytest.mark.slow
def test_a_hundred_frames_of_a_plane_stay_below_five_megabytes(tmp_path, two_pictures):
    run = mlplab.run(
        [
            "experiment=radial_6_6",
            "training.epochs=100",
            "dataset.num_samples=1200",  # the page shows at most 250 per split
            "tracking.picture_share=0",
        ],
        tmp_path / "run",
    )
    run, study = revisit(run.folder)
    assert len(study.frames) >= 100
    assert len(page(run, study).encode()) < 5_000_000


def test_large_networks_are_reduced_with_a_note():
    study = study_of(epochs=1, hidden=(9,) * 9, dataset="digits")
    description, _ = payload(study)
    assert [len(column["names"]) for column in description["columns"]] == [8, 8, 8, 8, 8, 8, 8, 10]
    assert "6 of 9 hidden layers" in description["left_out"]
    assert "principal components" in study.plane.note


def test_the_page_makes_no_request_and_escapes_names(trained):
    run, study = revisit(trained)
    run = dataclasses.replace(run, settings=dataclasses.replace(run.settings, name="<b>&amp"))
    text = page(run, study)
    assert "<b>&amp" not in text
    assert html.escape("<b>&amp") in text
    assert not re.search(
        r"https?:|@import|url\(|fetch\(|XMLHttpRequest|import\(",
        re.sub(r'id="arrays">[^<]*<', "", text),
    )
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["name"] == "<b>&amp"


def luminance(color):
    """Relative luminance of WCAG 2."""
    levels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_text_and_curves_are_legible_in_light_and_dark():
    style = (Path(page_module.__file__).parent / "assets" / "page.css").read_text()
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6});", rules)) for rules in style.split("@media")[:2]
    ]
    assert len(schemes) == 2
    for colors in schemes:
        paper = luminance(colors["paper"])
        for name in ("ink", "soft", "accent", "train", "val"):
            darker, lighter = sorted([luminance(colors[name]), paper])
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, name


def test_the_command_repeats_the_run(tmp_path, two_pictures):
    arguments = [*QUICK, "model.hidden=[3,2]", "seed=4", "tracking.picture_share=0"]
    run = mlplab.run([*arguments, "training.epochs=2"], tmp_path / "run")
    overrides = run.folder / "overrides.yaml"
    overrides.write_text(overrides.read_text() + f"- hydra.run.dir={run.folder}\n")
    command = repeat_command(mlplab.load(run.folder))
    arguments = shlex.split(command)
    assert not any("hydra" in argument for argument in arguments)
    assert arguments[:2] == ["mlplab", "train"]
    assert mlplab.run(arguments[2:], tmp_path / "again").metrics == run.metrics


def test_report_draws_again_what_was_deleted(folder, capsys, two_pictures):
    original = (folder / "pictures" / "decision.png").read_bytes()
    (folder / "pictures" / "decision.png").unlink()
    assert main(["report", str(folder)]) == 0
    assert (folder / "pictures" / "decision.png").read_bytes() == original
    assert capsys.readouterr().out.splitlines() == [str(folder / "report.html"), str(folder)]


def test_the_animation_has_a_frame_a_moment(folder, capsys, monkeypatch):
    draw_only(monkeypatch, "decision")
    assert main(["report", str(folder), "--gif"]) == 0
    with Image.open(folder / "animation.gif") as image:
        assert image.n_frames == 6


def test_the_pages_of_a_sweep_are_linked(capsys, two_pictures):
    mlplab.sweep([*QUICK, "optimizer.lr=0.01,0.1", "seed=0,1"], "sweep")
    assert main(["report", "sweep", "--pages", "1"]) == 0
    pages = list(Path("sweep/jobs").glob("*/report.html"))
    assert len(pages) == 1
    assert (
        f'"href":"jobs/{pages[0].parent.name}/report.html"' in Path("sweep/report.html").read_text()
    )
    assert main(["report", "sweep", "--pages"]) == 0
    assert len(list(Path("sweep/jobs").glob("*/report.html"))) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--pages"], "--pages is for a sweep"),
        (["nowhere"], "not a folder"),
        (["empty"], "neither a sweep nor a run"),
        (["scalars", "--gif"], "tracking=full"),
        (["changed"], "changed since it was trained"),
        (["failed"], "weights.safetensors cannot be read: it does not exist"),
        (["run", "--gig"], "Usage: `mlplab report DIR`"),
        ([], "Usage: `mlplab report DIR`"),
    ],
)
def test_report_errors(arguments, message, trained, capsys):
    Path("empty").mkdir()
    name = arguments[0] if arguments else ""
    if name == "scalars":
        mlplab.run([*QUICK, "tracking=scalars"], name)
    elif name in ("run", "changed", "failed"):
        shutil.copytree(trained, name)
    if name == "failed":
        Path("failed/weights.safetensors").unlink()
    if name == "changed":
        text = Path("changed/config.yaml").read_text()
        Path("changed/config.yaml").write_text(re.sub(r"noise: .*", "noise: 0.77", text))
    capsys.readouterr()
    assert main(["report", *arguments]) == 2
    assert message in capsys.readouterr().err
