"""Draw the pictures of the README and of docs/pictures.md from real runs.

Run: python scripts/draw_readme.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

import mlplab
from mlplab.cli import main as mlplab_command
from mlplab.data.preparation.examples import prepare
from mlplab.pictures.colors import palette, rgb

PANELS = [
    ("softmax_regression_radial", "no hidden layer"),
    ("radial_6", "one hidden layer: 6 sigmoid units"),
    ("three_classes_6_4", "hidden layers of 6 and 4"),
    ("radial_3_3", "hidden layers of 3 and 3"),
    ("radial_6_6", "hidden layers of 6 and 6"),
    ("spiral_raw", "hidden layers of 6 and 6"),
]
GALLERY = {  # experiment -> its pictures in docs/pictures.md
    "radial_6_6": ("data", "decision", "units", "hidden", "curves", "confusion", "roc", "health"),
    "radial_3_3": ("units", "hidden"),
    "three_classes_6_4": ("decision",),
    "sine_1000_tanh": ("decision", "units"),
    "digits": ("weights",),
}
STEP = (  # the worked example of docs/pictures.md
    *("dataset=boolean", "dataset.gate=or", "model.hidden=2", "activation=sigmoid", "loss=bce"),
    *("optimizer=sgd", "optimizer.lr=0.5", "training=batch", "initializer=given"),
    "initializer.weights=[[[.5,-.4],[.3,.8]],[[.7,-.6]]]",
    *("initializer.biases=[[.1,-.2],[.05]]", "--row", "1"),
)
FIGURES = ("activations", "losses", "schedules", "initializers", "optimizers")
TARGET = Path(__file__).parents[1] / "docs" / "pictures"


def draw(axes: Any, experiment: str, structure: str, folder: Path) -> None:
    run = mlplab.run([f"experiment={experiment}"], folder / experiment)
    prepared = prepare(run.settings.dataset, run.settings.seed, True)
    points, classes = prepared.feature_scaler.invert(prepared.test.x), prepared.test.y
    limit = 1.1 * np.abs(points).max()
    line = np.linspace(-limit, limit, 240)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    probabilities = run.predict_proba(grid)
    confidence = (probabilities.max(1) - 1 / probabilities.shape[1]) / (
        1 - 1 / probabilities.shape[1]
    )
    color_names = palette(prepared.class_names)
    colors = np.array([rgb(name) for name in color_names])[probabilities.argmax(1)]
    picture = 1 - (0.15 + 0.55 * confidence)[:, None] * (1 - colors)
    axes.imshow(picture.reshape(240, 240, 3), extent=(-limit, limit, -limit, limit), origin="lower")
    axes.scatter(
        *points.T,
        c=classes,
        cmap=ListedColormap(color_names),
        s=9,
        edgecolors="white",
        linewidths=0.4,
    )
    axes.set_title(f"{experiment}\n{structure}", fontsize=10)
    axes.set_xlabel(f"test accuracy {run.metrics['test/accuracy']:.2f}", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def shrink(source: Path, target: Path) -> None:
    """Copy a picture with 128 colors, which is a third of the size."""
    with Image.open(source) as image:
        # By octree, since the median cut gives the colors of thin lines to large gray areas.
        colors = image.convert("RGB").quantize(128, Image.Quantize.FASTOCTREE)
        colors.save(target, optimize=True)


def draw_gallery(folder: Path) -> None:
    """Draw the pictures that runs write to pictures/, and those of `mlplab draw`."""
    for experiment, names in GALLERY.items():
        run = mlplab.run(
            [f"experiment={experiment}", "tracking.picture_share=0"],
            folder / f"gallery-{experiment}",
        )
        for name in names:
            shrink(run.folder / "pictures" / f"{name}.png", TARGET / f"{experiment}-{name}.png")
    mlplab_command(["draw", "all", "--out", str(folder / "figures")])
    mlplab_command(["step", *STEP, "-o", str(folder / "step.png")])
    shrink(folder / "step.png", TARGET / "step.png")
    for name in FIGURES:
        shrink(folder / "figures" / f"{name}.png", TARGET / f"{name}.png")


def main() -> None:
    figure = Figure(figsize=(10.5, 7.6), layout="constrained")
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for axes, (experiment, structure) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
            draw(axes, experiment, structure, Path(folder))
        draw_gallery(Path(folder))
    figure.suptitle(
        "Predicted class of each network (darker: more certain), and the points of the test split",
        fontsize=12,
    )
    figure.savefig(TARGET / "experiments.png", dpi=110)
    with Image.open(TARGET / "experiments.png") as image:  # the shades keep all their colors
        image.convert("RGB").save(TARGET / "experiments.png", optimize=True)


if __name__ == "__main__":
    main()
