"""Activations, losses and schedules as curves.

The curves are computed with the functions that train networks, their derivatives with autograd.
"""

import textwrap

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mlplab.losses import LOSSES, Auto, Loss, RegressionLoss
from mlplab.network.activations import ACTIVATIONS
from mlplab.pictures.colors import Floats
from mlplab.pictures.lecture.panels import caption, grid_of_panels
from mlplab.pictures.style import NEGATIVE, POSITIVE, SOFT, headline
from mlplab.schedules import SCHEDULES, MultiStep, Plateau, Schedule
from mlplab.schema import meaning
from mlplab.task import Task

X_LIMIT = 4.0


def activations() -> Figure:
    """Draw every activation with its derivative, formula and range."""
    fig, panels = grid_of_panels(list(ACTIVATIONS), 7)
    for axes, activation in zip(panels, (kind() for kind in ACTIVATIONS.values()), strict=True):
        x = torch.linspace(-X_LIMIT, X_LIMIT, 801, dtype=torch.float64).requires_grad_()
        y, second = activation(x.view(1, -1, 1).expand(1, -1, 2))[0].unbind(-1)
        slope = (
            torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
            if y.requires_grad
            else torch.zeros_like(x)
        )
        line = x.detach().numpy()
        axes.plot(line, y.detach().numpy(), color=POSITIVE, linewidth=1.8)
        if not torch.equal(y, second):  # bipolar activations treat odd units differently
            axes.plot(line, second.detach().numpy(), color=POSITIVE, linewidth=1.4, linestyle=":")
        axes.plot(line, slope.numpy(), color=NEGATIVE, linewidth=1.2, linestyle="--")
        axes.axhline(0, color=SOFT, linewidth=0.5)
        axes.axvline(0, color=SOFT, linewidth=0.5)
        axes.set(xlim=(-X_LIMIT, X_LIMIT), ylim=(-2.2, 2.2))
        caption(
            axes,
            textwrap.fill(type(activation).formula, 44, max_lines=2, placeholder=" ...")
            + f"\nrange {type(activation).output_range}",
        )
    return headline(
        fig,
        "Activations",
        "solid: f(x) (dotted: f(x) of every second unit if different); dashed: f'(x);"
        " default parameters",
    )


def losses() -> Figure:
    """Draw every loss as a function of the network's output, with its derivative."""
    by_name = {name: kind() for name, kind in LOSSES.items() if not issubclass(kind, Auto)}
    fig, panels = grid_of_panels(list(by_name), 5, height=2.4)
    for axes, loss in zip(panels, by_name.values(), strict=True):
        x, y, slope, text = _loss_curve(loss)
        axes.plot(x, y, color=POSITIVE, linewidth=1.8)
        axes.plot(x, slope, color=NEGATIVE, linewidth=1.2, linestyle="--")
        axes.axhline(0, color=SOFT, linewidth=0.5)
        axes.set_ylim(-3.2, 5.2)
        caption(axes, text)
    return headline(
        fig,
        "Losses",
        "solid: the loss of one example; dashed: its derivative; default parameters;"
        " regression: one target; classification: two classes, the second one is true",
    )


def _loss_curve(loss: Loss) -> tuple[Floats, Floats, Floats, str]:
    """Return x, the loss, its derivative, and a description of x."""
    if isinstance(loss, RegressionLoss):
        target = 0.0 if loss.target_range == "any" and not loss.original_units else 2.0
        if loss.target_range == "share":
            target = 0.7
        x = torch.linspace(
            target - X_LIMIT, target + X_LIMIT, 401, dtype=torch.float64
        ).requires_grad_()
        width = loss.num_outputs(Task("regression", num_targets=1))
        outputs = torch.stack([x, *[torch.zeros_like(x)] * (width - 1)], dim=-1)
        y = loss(outputs.unsqueeze(0), torch.full((1, len(x), 1), target, dtype=torch.float64))[0]
        text = f"output for the target {target:g}"
    else:
        x = torch.linspace(-X_LIMIT, X_LIMIT, 401, dtype=torch.float64).requires_grad_()
        width = loss.num_outputs(Task("classification", num_classes=2))
        outputs = x.unsqueeze(-1) if width == 1 else torch.stack([-x / 2, x / 2], dim=-1)
        y = loss(outputs.unsqueeze(0), torch.ones(1, len(x), dtype=torch.int64))[0]
        text = "output for the true class" if width == 1 else "margin of the true class"
    slope: Tensor = torch.autograd.grad(y.sum(), x)[0]
    return x.detach().numpy(), y.detach().numpy(), slope.numpy(), text


def schedules() -> Figure:
    """Draw the factor of every schedule over 100 epochs or steps."""
    total = 100
    fig, panels = grid_of_panels(list(SCHEDULES), 5, width=2.6)
    for axes, schedule_class in zip(panels, SCHEDULES.values(), strict=True):
        schedule = _example(schedule_class)
        axes.plot(range(total), _factors(schedule, total), color=POSITIVE, linewidth=1.8)
        axes.set_ylim(-0.05, 1.1)
        text = (
            "for a metric that stops improving at 30"
            if schedule.stateful
            else meaning(schedule_class)
        )
        caption(axes, textwrap.fill(text, 46, max_lines=2, placeholder=" ..."))
    return headline(fig, "Schedules: the learning rate's factor over 100 epochs or steps")


def _example(schedule_class: type[Schedule]) -> Schedule:
    """Return the schedule with parameters that show its shape within 100 steps."""
    if schedule_class is MultiStep:
        return MultiStep(milestones=[30, 60, 80])
    return Plateau(gamma=0.3, patience=8) if schedule_class is Plateau else schedule_class()


def _factors(schedule: Schedule, total: int) -> list[float]:
    state, factors = schedule.init(1), []
    for t in range(total):
        factors.append(float(schedule.factor(t, float(total))) * float(schedule.current(state)))
        state = schedule.observe(state, torch.tensor([max(1.0 - t / 30, 0.1)], dtype=torch.float64))
    return factors
