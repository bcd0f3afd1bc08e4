"""Paths of the optimizers on functions of two parameters.

Momentum overshoots, Nesterov momentum overshoots less, and plain gradient descent stalls at the
saddle point.

Shapes: K = 1 member, P = 2 parameters.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mlplab.optimizers import Adagrad, Adam, Momentum, Nag, Optimizer, Rmsprop, Sgd
from mlplab.pictures.colors import COLORS, Floats
from mlplab.pictures.style import INK, figure, headline

STEPS = 120
ON_TOP = "adagrad"  # drawn dashed above the others: it takes nearly the path of rmsprop
NUM_LEVELS = 14  # contour levels of a surface


@dataclass(frozen=True)
class Surface:
    """A function of two parameters and how it is drawn.

    `limits` are (left, right, bottom, top); `lr` is the learning rate of plain gradient descent,
    `lr_scaled` that of the adaptive methods.
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...]
    limits: tuple[float, float, float, float]
    lr: float
    lr_scaled: float
    step_multiplier: int = 1  # optimizer steps per step of the animation


def _beale(x: Tensor, y: Tensor) -> Tensor:
    """Return the function of Beale 1958; its minimum is 0 at (3, 0.5)."""
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


SURFACES = (
    Surface("bowl", lambda x, y: x**2 + y**2, (-1.6, 1.3), ((0, 0),), (-2, 2, -2, 2), 0.05, 0.1),
    Surface(
        "ravine",
        lambda x, y: 0.5 * (x**2 + 25 * y**2),
        (-1.8, 0.8),
        ((0, 0),),
        (-2.2, 1.6, -1.2, 1.2),
        0.03,
        0.08,
    ),
    Surface(
        "Rosenbrock",
        lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
        (-1.3, 1.2),
        ((1, 1),),
        (-1.8, 1.6, -0.8, 2.2),
        0.0008,
        0.03,
        12,
    ),
    Surface(
        "saddle",
        lambda x, y: x**2 - y**2 + 0.25 * y**4,
        (-1.5, 1e-4),
        ((0, 2**0.5), (0, -(2**0.5))),
        (-2, 2, -2, 2),
        0.03,
        0.05,
    ),
    Surface("Beale", _beale, (1.0, 1.5), ((3, 0.5),), (-0.5, 4.2, -1.2, 2), 0.004, 0.04, 6),
)


def _methods(surface: Surface) -> dict[str, Optimizer]:
    return {
        "sgd": Sgd(lr=surface.lr),
        "momentum": Momentum(lr=surface.lr / 3, momentum=0.9),
        "nag": Nag(lr=surface.lr / 3, momentum=0.9),
        "adagrad": Adagrad(lr=5 * surface.lr_scaled),
        "rmsprop": Rmsprop(lr=surface.lr_scaled / 2),
        "adam": Adam(lr=surface.lr_scaled),
    }


def path(surface: Surface, optimizer: Optimizer, steps: int = STEPS) -> Floats:
    """Return the parameters after 0, 1, ... steps, [steps + 1, 2]."""
    theta_KP = torch.tensor([surface.start], dtype=torch.float64)
    state, trajectory = optimizer.init(theta_KP), [theta_KP[0].clone()]

    def objective(point_KP: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = point_KP.detach().clone().requires_grad_()
            loss = surface.value(leaf[:, 0], leaf[:, 1])
            return loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]

    with torch.no_grad():
        for step in range(1, steps + 1):
            theta_KP, state, _ = optimizer.step(theta_KP, objective, state, step, optimizer.lr)
            trajectory.append(theta_KP[0].clone())
    return np.asarray(torch.stack(trajectory).numpy())


@cache
def _paths(surface: Surface) -> dict[str, Floats]:
    return {
        name: path(surface, optimizer, STEPS * surface.step_multiplier)
        for name, optimizer in _methods(surface).items()
    }


DRAWN = {"optimizers": tuple(_methods(SURFACES[0]))}
REMARKS = {
    "momentum": "momentum overshoots the minimum and swings back",
    "nag": "nag looks ahead and overshoots less than momentum",
    "sgd": "plain descent (sgd) stays longest at the saddle",
    "adagrad": "adagrad's steps become smaller and smaller",
    "rmsprop": "rmsprop passes the saddle quickly",
    "adam": "adam passes the saddle quickly, with some momentum",
}


def optimizers(names: Sequence[str] = DRAWN["optimizers"], upto: int = STEPS) -> Figure:
    """Draw the paths of optimizers on five surfaces up to step `upto`.

    The surfaces are a bowl, a ravine, Rosenbrock's function, a saddle and Beale's function.
    """
    fig = figure(11.6, 7.9, left=0.5, right=0.25, bottom=1.1, top=0.8, gap=0.95)
    panels = list(fig.subplots(2, 3).flat)
    for axes, surface in zip(panels, SURFACES, strict=False):
        _surface(axes, surface)
        axes.set_xlabel(_learning_rates(surface, names), fontsize=10)
        for i, (name, full_trajectory) in enumerate(_paths(surface).items()):
            if name not in names:
                continue
            trajectory = full_trajectory[: upto * surface.step_multiplier + 1]
            axes.plot(
                *trajectory.T,
                color=COLORS[i],
                linewidth=3.0 if name == ON_TOP else 2.6 - 0.25 * i,
                linestyle=(0, (2, 1.6)) if name == ON_TOP else "-",
                zorder=4 if name == ON_TOP else 3,
                label=name,
            )
            axes.plot(
                *trajectory[-1],
                "o",
                color=COLORS[i],
                markeredgecolor="white",
                markersize=5,
                zorder=5,
            )
    last = panels[len(SURFACES)]
    last.set_axis_off()
    last.legend(*fig.axes[0].get_legend_handles_labels(), loc="upper left", fontsize=12, ncols=2)
    last.text(
        0.02,
        0.55,
        "\n".join(
            textwrap.fill(REMARKS[name], 37, subsequent_indent="  ")
            for name in REMARKS
            if name in names
        ),
        transform=last.transAxes,
        fontsize=10.5,
        va="top",
        color=INK,
    )
    return headline(
        fig,
        "Optimizers on functions of two parameters, from the same start",
        "white cross: start; star: minimum; below each surface: the learning rate of each method",
        remark_size=11,
    )


def _learning_rates(surface: Surface, names: Sequence[str]) -> str:
    methods = _methods(surface).items()
    rates = [f"{name} {float(method.lr):.2g}" for name, method in methods if name in names]
    return "\n".join(", ".join(rates[i : i + 3]) for i in range(0, len(rates), 3))


def _surface(axes: Axes, surface: Surface) -> None:
    left, right, bottom, top = surface.limits
    xs, ys = np.meshgrid(np.linspace(left, right, 160), np.linspace(bottom, top, 160))
    values = surface.value(torch.from_numpy(xs), torch.from_numpy(ys)).numpy()
    shown = np.log1p(values - values.min())
    axes.contourf(xs, ys, shown, levels=NUM_LEVELS, cmap="Greys", alpha=0.55)
    axes.contour(xs, ys, shown, levels=NUM_LEVELS, colors="white", linewidths=0.5)
    axes.plot(*surface.start, "X", color="white", markeredgecolor=INK, markersize=9, zorder=6)
    for minimum in surface.minima:
        axes.plot(*minimum, "*", color="#F0E442", markeredgecolor=INK, markersize=14, zorder=2)
    axes.set(
        xlim=(left, right),
        ylim=(bottom, top),
        title=f"{surface.name}, {STEPS * surface.step_multiplier:,} steps",
    )
