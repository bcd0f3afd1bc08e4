"""Every picture of every kind of run, including unusual ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from drawing import CLASSES, DPI
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image
from studies import study_of
from timing import cheapest

from mlplab.data.preparation.registry import DATASETS
from mlplab.data.table import Dataset, class_table, value_table
from mlplab.pictures.colors import palette
from mlplab.pictures.gallery import pictures
from mlplab.pictures.gallery.health import Slopes, flat_and_dead, verdict
from mlplab.pictures.registry import _registered, picture
from mlplab.pictures.rendering.drawing import draw, draw_all
from mlplab.pictures.scatter import value_limits
from mlplab.pictures.style import darken, style

VALUES = {"data", "decision", "units", "hidden", "curves", "residuals", "health"}


def dataset_of(table, **fields):
    """A dataset that returns this table."""
    kind = type(
        "Given", (Dataset,), {"task_kind": table.task.kind, "make": lambda self, rng: table}
    )
    return kind(**fields)


def random_classes(count, features=2, names=None, rows=200):
    rng = np.random.default_rng(0)
    y = np.arange(rows) % count
    return class_table(
        rng.normal(size=(rows, features)) + y[:, None], y, names or [f"c{i}" for i in range(count)]
    )


def drawn_names(study, tmp_path):
    """Draw all pictures, check that they are valid images and not blank, and return their names."""
    names = [file.stem for file, _ in draw_all(study, tmp_path)]
    for name in names:
        with Image.open(tmp_path / f"{name}.png") as image:
            assert min(image.size) > 2.25 * DPI
            assert len(set(image.convert("L").resize((60, 60)).tobytes())) > 5
    return set(names)


# Cases without a counterpart in the default tier are drawn in the campaign.
ODD = pytest.mark.campaign("fuzz")


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, CLASSES),
        pytest.param({"hidden": (2,)}, CLASSES, marks=ODD),
        pytest.param({"hidden": (3, 2, 1)}, CLASSES, marks=ODD),
        pytest.param({"hidden": ()}, CLASSES - {"hidden"}, marks=ODD),
        pytest.param(
            {"dataset": "three_classes", "hidden": (2, 2), "activation": "relu"}, CLASSES, marks=ODD
        ),
        ({"dataset": "iris", "layer": {"normalization": "layer"}}, CLASSES),
        pytest.param(
            {"dataset": "digits", "hidden": (40,), "activation": "prelu"},
            CLASSES | {"weights"},
            marks=ODD,
        ),
        ({"dataset": "sine", "hidden": (12, 5)}, VALUES),
        pytest.param({"dataset": "diabetes"}, VALUES, marks=ODD),
        pytest.param({"dataset": "linnerud", "hidden": (4,)}, VALUES, marks=ODD),
        pytest.param({"dataset": "playground_plane"}, VALUES, marks=ODD),
        pytest.param({"dataset": "playground_plane", "hidden": ()}, VALUES - {"hidden"}, marks=ODD),
        pytest.param({"loss": "bce"}, CLASSES, marks=ODD),
        pytest.param({"dataset": "sine", "loss": "gaussian_nll"}, VALUES, marks=ODD),
        pytest.param(
            {"hidden": (5,) * 9, "layer": {"bias": False, "dropout": 0.2}}, CLASSES, marks=ODD
        ),
        pytest.param(
            {"dataset": DATASETS["two_layer_radial"](num_samples=60, val=0, test=0)},
            CLASSES,
            marks=ODD,
        ),
        pytest.param({"dataset": dataset_of(random_classes(26))}, CLASSES, marks=ODD),
        pytest.param({"dataset": dataset_of(random_classes(2, features=1))}, CLASSES, marks=ODD),
        pytest.param(
            {
                "dataset": dataset_of(
                    random_classes(
                        3, names=["$a$", "a name that is far too long to be written", "<b>"]
                    )
                )
            },
            CLASSES,
            marks=ODD,
        ),
        pytest.param(
            {
                "dataset": dataset_of(
                    value_table(np.ones((40, 2)), np.full(40, 3.0)),
                    scaling="none",
                    target_scaling="none",
                )
            },
            VALUES,
            marks=ODD,
        ),
    ],
    ids=lambda value: (
        "-".join(str(v)[:24] for v in value.values()) if isinstance(value, dict) else ""
    ),
)
def test_every_kind_of_run_has_its_pictures(fields, expected, tmp_path):
    assert drawn_names(study_of(**fields), tmp_path) == expected


def test_pictures_come_in_reading_order():
    names = [entry.name for entry in pictures()]
    assert names[:6] == ["data", "decision", "units", "weights", "hidden", "curves"]
    assert {entry.name for entry in pictures() if entry.moving} == {
        "decision",
        "units",
        "hidden",
    }
    assert all(entry.meaning.endswith(".") for entry in pictures())


def test_a_new_picture_is_one_function():
    @picture()
    def new_picture(study, frame):
        """A new picture."""
        from mlplab.pictures.style import figure

        drawn = figure(3, 3)
        drawn.subplots().plot([0, 1])
        return drawn

    try:
        encoded = draw(study_of(), _registered["new_picture"])
        assert Image.open(io.BytesIO(encoded)).format == "PNG"
    finally:
        del _registered["new_picture"]


def test_classes_called_by_colors_have_them():
    red, blue = palette(["red", "blue"])
    assert (red, blue) == ("#D55E00", "#0072B2")
    assert palette(["red", "cat"]) == ("#0072B2", "#E69F00")


def test_dead_units_are_counted():
    study = study_of(activation="relu", hidden=(4,))
    frames = study.frames
    views = study.network.layout.layers(study.network.layout.split(frames.theta_RP))
    views[0].weight[:, :, 0] = 0.0
    views[0].bias[:, :, 0] = -1.0  # never above zero
    flat, dead = flat_and_dead(study, study.points("train").x, [0, study.best_frame])
    assert (dead[0] >= 0.25).all()
    assert (flat[0] >= dead[0]).all()
    assert flat_and_dead(study_of(activation="identity"), study.points("train").x, [0])[0][0] == 0.0


def test_the_verdict_names_what_is_alarming():
    study = study_of(hidden=(4, 4))
    half, none = np.array([0.5, 0.5]), np.array([0.0, 0.0])
    assert verdict(study, Slopes([0, 1], [none, none], [none, none])) == "nothing alarming"
    assert verdict(study, None) == "nothing alarming"
    dead = verdict(study, Slopes([0, 1], [half, half], [none, half]))
    assert dead == "50% of the units of layer 2 are dead at the end"
    flat = verdict(study, Slopes([0, 1], [half + 0.4, none], [none, none]))
    assert flat == "90% of the activations of layer 1 are flat at the start"


def test_weights_of_images_are_images():
    study = study_of(epochs=1, dataset="digits", hidden=(40,))
    fig = _registered["weights"].draw(study, study.best_frame)
    shown = [axes.images[0].get_array() for axes in fig.axes if axes.images]
    weight_IO = study.weights(study.best_frame)[0][0]
    assert len(shown) == 32
    assert all(any(np.array_equal(image.ravel(), w) for w in weight_IO.T) for image in shown)
    assert _registered["weights"].draw(study_of(dataset="iris"), 0) is None


def test_text_and_lines_are_legible_on_a_dark_ground():
    study = study_of(hidden=(4, 4))
    with style():
        for name in ("health", "curves", "units"):
            fig = darken(_registered[name].draw(study, study.best_frame))
            ground = luminance(fig.get_facecolor())
            texts = [text for text in fig.findobj(Text) if text.get_text().strip()]
            assert texts
            for text in texts:
                assert (luminance(text.get_color()) + 0.05) / (ground + 0.05) > 3.9
            assert draw(study, _registered[name], dark=True) != draw(study, _registered[name])


def test_on_a_dark_ground_nothing_hides_the_maps_of_units_or_the_points():
    study = study_of(hidden=(4, 4))
    with style():
        fig = darken(_registered["units"].draw(study, study.best_frame))
        frames = [artist for artist in fig.axes[0].patches if isinstance(artist, Rectangle)]
        assert len(frames) == 2 + 4 + 4 + 2
        assert not any(to_rgba(frame.get_facecolor())[3] for frame in frames)
        fig = darken(_registered["data"].draw(study, study.best_frame))
        ground = luminance(fig.get_facecolor())
        for points in fig.axes[0].collections:
            (face,) = {tuple(color) for color in points.get_facecolor()}
            assert (luminance(face) + 0.05) / (ground + 0.05) > 3.9
            assert luminance(points.get_edgecolor()[0]) == pytest.approx(ground)
        legend = fig.axes[-1].get_legend().legend_handles
        drawn = {to_hex(points.get_facecolor()[0]) for points in fig.axes[0].collections}
        assert {to_hex(handle.get_color()) for handle in legend} == drawn


def test_a_cube_of_three_units_is_dark_on_a_dark_ground():
    study = study_of(dataset="iris", hidden=(3,))
    with style():
        fig = darken(_registered["hidden"].draw(study, study.best_frame))
    assert luminance(fig.axes[1].xaxis.pane.get_facecolor()) < 0.1


def luminance(color):
    values = np.array(to_rgb(color))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_color_scales_are_not_ruled_by_extremes():
    low, high = value_limits(np.append(np.linspace(0, 1, 1000), 1e9))
    assert -0.1 < low < high < 1.1
    assert value_limits(np.full(5, 2.0)) == (1.5, 2.5)


def test_a_user_s_matplotlibrc_changes_nothing(tmp_path):
    import matplotlib

    study = study_of()
    expected = draw(study, pictures()[1])
    with matplotlib.rc_context({"figure.facecolor": "red", "font.size": 30, "axes.grid": True}):
        assert draw(study, pictures()[1]) == expected
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.campaign("timing")
def test_pictures_are_drawn_in_time_however_large():
    study = study_of(
        dataset=DATASETS["blobs"](num_samples=20_000, num_features=50, num_classes=10),
        hidden=(256,) * 12,
        epochs=1,
        batch_size=4000,
        dtype="float32",
    )
    for drawn in pictures():
        assert cheapest(lambda drawn=drawn: draw(study, drawn)) < 10, drawn.name
