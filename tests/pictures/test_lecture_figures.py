"""The figures of the lecture that need no run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from drawing import DPI
from harness import size
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from tiers import subset_by_default

from mlplab.cli import main
from mlplab.commands.draw import FIGURES
from mlplab.losses import LOSSES
from mlplab.network.activations import Relu, Sigmoid, Tanh
from mlplab.network.initializers import INITIALIZERS
from mlplab.optimizers import Adam, Momentum, Nag, Sgd
from mlplab.pictures.lecture import functions
from mlplab.pictures.lecture import optimizers as optimizer_figure
from mlplab.pictures.lecture.functions import _loss_curve
from mlplab.pictures.lecture.initializers import signals
from mlplab.pictures.lecture.optimizers import SURFACES, path
from mlplab.schedules import SCHEDULES
from mlplab.schema import formula_lines, meaning

BOWL, RAVINE, ROSENBROCK, SADDLE, BEALE = SURFACES


@pytest.fixture
def short_paths(monkeypatch):
    """Paths of 12 steps; the campaign draws 120."""
    monkeypatch.setattr(optimizer_figure, "STEPS", size(12, optimizer_figure.STEPS))
    optimizer_figure._paths.cache_clear()
    yield
    optimizer_figure._paths.cache_clear()


@pytest.mark.campaign("lecture", small=True)
@pytest.mark.parametrize(
    "name", subset_by_default("lecture", FIGURES, lambda name: name in ("losses", "optimizers"))
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
    """Uses a cheap figure instead of the paths, which the campaign draws."""
    steps = []

    def cheap(names=(), upto=optimizer_figure.STEPS):
        steps.append(upto)
        drawn = Figure((1, 1))
        drawn.add_artist(Line2D([0, 1], [0, upto / optimizer_figure.STEPS]))
        return drawn

    monkeypatch.setattr(optimizer_figure, "optimizers", cheap)
    assert main(["draw", "optimizers", "--out", "figures", "--gif"]) == 0
    assert steps[0] == optimizer_figure.STEPS  # the picture
    assert steps[1] == 0
    assert steps[1:] == sorted(set(steps))
    assert steps[-1] == optimizer_figure.STEPS
    with Image.open("figures/optimizers.gif") as image:
        assert image.n_frames == len(steps) - 1 > 40


def test_at_a_moment_only_the_steps_until_then_are_drawn(short_paths):
    for upto in (0, 7):
        axes = optimizer_figure.optimizers(upto=upto).axes[0]
        paths = [line for line in axes.lines if line.get_label() in optimizer_figure._methods(BOWL)]
        assert {len(line.get_xdata()) for line in paths} == {upto + 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimisers"], "optimizers"),
        ([], "WHAT"),
        (["all", "--bad"], "draw"),
        (["activations", "tahn"], "`mlplab draw activations tanh`"),
        (["losses", "auto"], "Names: mse"),
        (["optimizers", "adm"], "`mlplab draw optimizers adam`"),
        (["all", "adam"], "takes no names"),
    ],
)
def test_what_is_refused(arguments, message, capsys):
    assert main(["draw", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("outputs").exists()


def caption_of(axes):
    return " ".join(" ".join(text.get_text().split()) for text in axes.texts)


def test_chosen_activations_are_large_and_complete():
    few = functions.activations(["tanh", "sqnl"])
    assert [axes.get_title() for axes in few.axes] == ["tanh", "sqnl"]
    assert "f'(x) = 1 - f(x)^2" in caption_of(few.axes[0])
    assert "range [-1, 1], C^1" in caption_of(few.axes[1])
    many = functions.activations(functions.DRAWN["activations"][:7])
    assert few.axes[0].texts[0].get_fontsize() >= 1.5 * many.axes[0].texts[0].get_fontsize()


def test_every_loss_has_its_formula():
    assert all(formula_lines(kind) for name, kind in LOSSES.items() if name != "auto")
    assert "(f - y)^2 / 2" in caption_of(functions.losses(["half_mse"]).axes[0])


def test_captions_of_schedules_are_complete():
    names = ["cosine_restarts", "plateau"]
    for name, axes in zip(names, functions.schedules(names).axes, strict=True):
        assert meaning(SCHEDULES[name]) in caption_of(axes)


def test_names_reach_the_figure(monkeypatch, capsys):
    drawn = []

    def cheap(names):
        drawn.append(names)
        return Figure((1, 1))

    monkeypatch.setattr(functions, "losses", cheap)
    assert main(["draw", "losses", "mse", "bce", "mse", "--out", "figures"]) == 0
    assert drawn == [("mse", "bce")]


def test_learning_rates_are_given_and_adagrad_is_on_top(short_paths):
    for axes, surface in zip(optimizer_figure.optimizers().axes, SURFACES, strict=False):
        assert f"sgd {surface.lr:.2g}, " in axes.get_xlabel()
        lines = {line.get_label(): line for line in axes.lines}
        assert lines["adagrad"].get_zorder() > lines["rmsprop"].get_zorder()


def test_chosen_optimizers_are_drawn_and_described(short_paths):
    fig = optimizer_figure.optimizers(["sgd", "adam"])
    labels = {line.get_label() for line in fig.axes[0].lines}
    assert labels & set(optimizer_figure.DRAWN["optimizers"]) == {"sgd", "adam"}
    assert fig.axes[0].get_xlabel() == "sgd 0.05, adam 0.1"
    assert "momentum overshoots" not in caption_of(fig.axes[-1])


def test_plain_descent_on_the_bowl_is_the_formula():
    trajectory = path(BOWL, Sgd(lr=0.1), 10)
    np.testing.assert_allclose(trajectory, np.outer(0.8 ** np.arange(11), BOWL.start))


def test_momentum_overshoots_and_nesterov_corrects():
    plain, heavy, nesterov = (
        path(BOWL, method, 200) for method in (Sgd(lr=0.02), Momentum(lr=0.02), Nag(lr=0.02))
    )
    overshoots = [trajectory[:, 0].max() for trajectory in (plain, heavy, nesterov)]
    assert overshoots[0] <= 0 < overshoots[2] < overshoots[1]


def test_plain_descent_halts_at_the_saddle():
    plain, adam = path(SADDLE, Sgd(lr=0.03), 60), path(SADDLE, Adam(lr=0.05), 60)
    assert np.hypot(*plain[-1]) < 0.1
    assert abs(adam[-1, 1]) > 1.0


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_the_lowest_points_are_lowest(surface):
    import torch

    for minimum in surface.minima:
        x, y = (
            torch.tensor(float(value), dtype=torch.float64, requires_grad=True) for value in minimum
        )
        slopes = torch.autograd.grad(surface.value(x, y), (x, y))
        assert max(abs(slope.item()) for slope in slopes) < 1e-9


def test_signals_vanish_stay_or_explode():
    sizes = {
        name: signals(initializer_class(), Relu())[0]
        for name, initializer_class in INITIALIZERS.items()
    }
    assert sizes["he_normal"][-1] > 0.1
    assert sizes["xavier_normal"][-1] < 0.01 * sizes["he_normal"][-1]
    assert sizes["zeros"][-1] == 1e-8
    tanh = [signals(INITIALIZERS[name](), Tanh())[0][-1] for name in ("normal", "xavier_normal")]
    assert tanh[0] < 1e-3 * tanh[1]
    assert signals(INITIALIZERS["xavier_uniform"](), Tanh())[0][-1] > 0.05


def test_gradients_vanish_stay_or_explode():
    """They reach the first layer with tanh and Xavier, with relu and He, and never with sigmoid."""
    first = {
        (name, activation): signals(INITIALIZERS[name](), activation())[1][0]
        for name in ("normal", "xavier_normal", "he_normal")
        for activation in (Tanh, Relu, Sigmoid)
    }
    assert first["xavier_normal", Tanh] > 0.05
    assert 0.1 < first["he_normal", Relu] < 10
    assert first["normal", Tanh] < 1e-3
    assert max(first[name, Sigmoid] for name in ("normal", "xavier_normal", "he_normal")) < 1e-7


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "auto"])
def test_a_loss_is_drawn_for_a_target_in_its_range(name):
    loss = LOSSES[name]()
    _, y, _, text = _loss_curve(loss)
    assert y.min() >= 0 or "(-inf" in type(loss).__doc__
    assert loss.target_range != "share" or text.endswith("0.7")


@pytest.mark.parametrize("name", ["curve.svg", "curve.png"])
def test_a_figure_of_few_panels_is_legible_on_a_slide(name, capsys):
    assert main(["draw", "activations", "sigmoid", "tanh", "relu", "-o", name, "--dark"]) == 0
    assert capsys.readouterr().out.strip() == name
    if name.endswith(".svg"):
        text = Path(name).read_text(encoding="utf-8")
        sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:bold )?([\d.]+)px", text)]
        assert min(sizes) >= 12
        assert "f(x) * (1 - f(x))" in text
        assert "fill: #14181e" in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["all", "-o", "a.png"], "--out DIR"),
        (["losses", "-o", "a.pdf"], ".png or .svg"),
        (["losses", "-o", "nowhere/a.png"], "no folder nowhere"),
    ],
)
def test_a_file_that_is_refused(arguments, reason, capsys):
    assert main(["draw", *arguments]) == 2
    assert reason in capsys.readouterr().err
