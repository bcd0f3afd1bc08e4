"""The lecture's figures that need no run, and that they show what the lecture says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawing import DPI
from harness import size
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from tiers import few_by_default

from mlplab.cli import main
from mlplab.commands.draw import FIGURES
from mlplab.network.activations import Relu, Tanh
from mlplab.network.initializers import INITIALIZERS
from mlplab.optimizers import Adam, Momentum, Nag, Sgd
from mlplab.pictures.lecture import optimizers as moving
from mlplab.pictures.lecture.initializers import signal
from mlplab.pictures.lecture.optimizers import SURFACES, path

BOWL, RAVINE, ROSENBROCK, SADDLE, BEALE = SURFACES


@pytest.fixture
def short_paths(monkeypatch):
    """Paths of 12 steps: those of 120 are the campaign's."""
    monkeypatch.setattr(moving, "STEPS", size(12, moving.STEPS))
    moving._paths.cache_clear()
    yield
    moving._paths.cache_clear()


@pytest.mark.campaign("lecture", small=True)
@pytest.mark.parametrize(
    "name", few_by_default("lecture", FIGURES, lambda name: name in ("losses", "optimizers"))
)
def test_every_figure_is_drawn(name, capsys, short_paths):
    assert main(["draw", name, "--out", "figures"]) == 0
    assert capsys.readouterr().out.strip() == f"figures/{name}.png"
    with Image.open(f"figures/{name}.png") as image:
        assert min(image.size) > 4.5 * DPI


@pytest.mark.campaign("lecture")
def test_the_optimizers_move():
    assert main(["draw", "optimizers", "--out", "figures", "--gif"]) == 0
    with Image.open("figures/optimizers.gif") as image:
        assert image.n_frames > 40


def test_the_animation_has_a_frame_for_each_moment(monkeypatch):
    """With a cheap figure in place of the paths, which the campaign draws."""
    moments = []

    def cheap(upto=moving.STEPS):
        moments.append(upto)
        drawn = Figure((1, 1))
        drawn.add_artist(Line2D([0, 1], [0, upto / moving.STEPS]))
        return drawn

    monkeypatch.setattr(moving, "optimizers", cheap)
    assert main(["draw", "optimizers", "--out", "figures", "--gif"]) == 0
    assert moments[0] == moving.STEPS  # the picture
    assert moments[1] == 0
    assert moments[1:] == sorted(set(moments))
    assert moments[-1] == moving.STEPS
    with Image.open("figures/optimizers.gif") as image:
        assert image.n_frames == len(moments) - 1 > 40


def test_at_a_moment_only_the_steps_until_then_are_drawn(short_paths):
    for upto in (0, 7):
        axes = moving.optimizers(upto).axes[0]
        paths = [line for line in axes.lines if line.get_label() in moving._methods(BOWL)]
        assert {len(line.get_xdata()) for line in paths} == {upto + 1}


@pytest.mark.parametrize(
    ("words", "said"), [(["optimisers"], "optimizers"), ([], "WHAT"), (["all", "--bad"], "draw")]
)
def test_what_is_refused(words, said, capsys):
    assert main(["draw", *words]) == 2
    assert said in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_plain_descent_on_the_bowl_is_the_formula():
    found = path(BOWL, Sgd(lr=0.1), 10)
    np.testing.assert_allclose(found, np.outer(0.8 ** np.arange(11), BOWL.start))


def test_momentum_overshoots_and_nesterov_corrects():
    plain, heavy, nesterov = (
        path(BOWL, method, 200) for method in (Sgd(lr=0.02), Momentum(lr=0.02), Nag(lr=0.02))
    )
    beyond = [found[:, 0].max() for found in (plain, heavy, nesterov)]
    assert beyond[0] <= 0 < beyond[2] < beyond[1]


def test_plain_descent_halts_at_the_saddle():
    plain, adam = path(SADDLE, Sgd(lr=0.03), 60), path(SADDLE, Adam(lr=0.05), 60)
    assert np.hypot(*plain[-1]) < 0.1
    assert abs(adam[-1, 1]) > 1.0


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_the_lowest_points_are_lowest(surface):
    import torch

    for best in surface.best:
        x, y = (
            torch.tensor(float(value), dtype=torch.float64, requires_grad=True) for value in best
        )
        slopes = torch.autograd.grad(surface.value(x, y), (x, y))
        assert max(abs(slope.item()) for slope in slopes) < 1e-9


def test_signals_vanish_stay_or_explode():
    sizes = {word: signal(part(), Relu())[1] for word, part in INITIALIZERS.items()}
    assert sizes["he_normal"][-1] > 0.1
    assert sizes["xavier_normal"][-1] < 0.01 * sizes["he_normal"][-1]
    assert sizes["zeros"][-1] == 1e-8
    assert signal(INITIALIZERS["xavier_uniform"](), Tanh())[1][-1] > 0.05
