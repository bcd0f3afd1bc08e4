"""The registry of datasets: choice (the value of `dataset=`) -> class."""

from __future__ import annotations

from mlplab.data import bundled, curves, playground, toy
from mlplab.data.table import Dataset
from mlplab.data.tabular import Arrays, File
from mlplab.data.tabular.openml import OpenML

DATASETS: dict[str, type[Dataset]] = {
    "linear": toy.Linear,
    "boolean": toy.Boolean,
    "xor": toy.Xor,
    "radial": toy.Radial,
    "two_layer_radial": toy.TwoLayerRadial,
    "three_classes": toy.ThreeClasses,
    "spiral": toy.Spiral,
    "moons": toy.Moons,
    "circles": toy.Circles,
    "blobs": toy.Blobs,
    "checkerboard": toy.Checkerboard,
    "playground_circle": playground.PlaygroundCircle,
    "playground_xor": playground.PlaygroundXor,
    "playground_gauss": playground.PlaygroundGauss,
    "playground_spiral": playground.PlaygroundSpiral,
    "playground_plane": playground.PlaygroundPlane,
    "playground_multi_gauss": playground.PlaygroundMultiGauss,
    "quadratic": curves.Quadratic,
    "sine": curves.Sine,
    "step": curves.Step,
    "absolute": curves.Absolute,
    "sinc": curves.Sinc,
    "cubic": curves.Cubic,
    "swiss_roll": curves.SwissRoll,
    "friedman1": curves.Friedman1,
    "iris": bundled.Iris,
    "wine": bundled.Wine,
    "breast_cancer": bundled.BreastCancer,
    "digits": bundled.Digits,
    "diabetes": bundled.Diabetes,
    "linnerud": bundled.Linnerud,
    "file": File,
    "arrays": Arrays,
    "openml": OpenML,
}
