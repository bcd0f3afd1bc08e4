"""The picture of the README: what networks of the lecture's experiments learned, from real runs. Run: python scripts/draw_readme.py"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import mlplab
from mlplab.data import prepare

PANELS = [
    ("softmax_regression_radial", "no hidden layer"),
    ("radial_6", "one hidden layer: 6 sigmoid units"),
    ("three_classes_6_4", "hidden layers of 6 and 4"),
    ("radial_3_3", "hidden layers of 3 and 3"),
    ("radial_6_6", "hidden layers of 6 and 6"),
    ("spiral_raw", "hidden layers of 6 and 6"),
]
COLOURS = ["#0072B2", "#E69F00", "#009E73"]  # Okabe and Ito: told apart by colour-blind readers


def draw(axes, experiment: str, structure: str, folder: Path) -> None:  # type: ignore[no-untyped-def]
    run = mlplab.run([f"experiment={experiment}"], folder / experiment)
    prepared = prepare(run.settings.dataset, run.settings.seed, True)
    points, classes = prepared.feature_scaler.invert(prepared.test.x), prepared.test.y
    reach = 1.1 * np.abs(points).max()
    line = np.linspace(-reach, reach, 240)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    probabilities = run.predict_proba(grid)
    sure = (probabilities.max(1) - 1 / probabilities.shape[1]) / (1 - 1 / probabilities.shape[1])
    colours = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in COLOURS])[probabilities.argmax(1)]
    picture = 1 - (0.15 + 0.55 * sure)[:, None] * (1 - colours)
    axes.imshow(picture.reshape(240, 240, 3), extent=(-reach, reach, -reach, reach), origin="lower")
    axes.scatter(*points.T, c=classes, cmap=ListedColormap(COLOURS[: probabilities.shape[1]]), s=9, edgecolors="white", linewidths=0.4)
    axes.set_title(f"{experiment}\n{structure}", fontsize=10)
    axes.set_xlabel(f"test accuracy {run.metrics['test/accuracy']:.2f}", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def main() -> None:
    figure = Figure(figsize=(10.5, 7.6), layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        for axes, (experiment, structure) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
            draw(axes, experiment, structure, Path(folder))
    figure.suptitle("Which class a network predicts (darker: surer), and the points of the test part", fontsize=12)
    target = Path(__file__).parents[1] / "docs" / "pictures" / "experiments.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
