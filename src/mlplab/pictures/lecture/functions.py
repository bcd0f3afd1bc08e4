"""Activations, losses and schedules as curves.

The curves are computed with the functions that train networks, their derivatives with autograd.
"""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mlplab.losses import LOSSES, Auto, Loss, RegressionLoss
from mlplab.network.activations import ACTIVATIONS
from mlplab.pictures.colors import Floats
from mlplab.pictures.lecture.panels import grid_of_panels, panel_headline
from mlplab.pictures.style import NEGATIVE, POSITIVE, SOFT
from mlplab.schedules import SCHEDULES, MultiStep, Plateau, Schedule
from mlplab.schema import formula_lines, meaning
from mlplab.task import Task

X_LIMIT = 4.0
DRAWN: dict[str, tuple[str, ...]] = {
    "activations": tuple(ACTIVATIONS),
    "losses": tuple(name for name, kind in LOSSES.items() if not issubclass(kind, Auto)),
    "schedules": tuple(SCHEDULES),
}


def activations(names: Sequence[str] = DRAWN["activations"]) -> Figure:
    """Draw activations with their derivatives, formulas, ranges and continuity."""
    drawn = [ACTIVATIONS[name]() for name in names]
    captions = [
        [
            f"f(x) = {activation.formula}",
            f"f'(x) = {activation.derivative}",
            f"range {activation.output_range}, {activation.continuity}",
        ]
        for activation in drawn
    ]
    fig, panels = grid_of_panels(dict(zip(names, captions, strict=True)), 7)
    for axes, activation in zip(panels, drawn, strict=True):
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
    return panel_headline(
        fig,
        len(names),
        "Activations",
        "solid: f(x) (dotted: f(x) of every second unit if different); dashed: f'(x);"
        " default parameters; C^k: k derivatives are continuous",
    )


def losses(names: Sequence[str] = DRAWN["losses"]) -> Figure:
    """Draw losses as functions of the network's output, with their derivatives and formulas."""
    curves = [_loss_curve(LOSSES[name]()) for name in names]
    captions = {
        name: [*formula_lines(LOSSES[name]), *_derivative(LOSSES[name]), f"x axis: {curve[-1]}"]
        for name, curve in zip(names, curves, strict=True)
    }
    fig, panels = grid_of_panels(captions, 5, width=2.9)
    for axes, (x, y, slope, _) in zip(panels, curves, strict=True):
        axes.plot(x, y, color=POSITIVE, linewidth=1.8)
        axes.plot(x, slope, color=NEGATIVE, linewidth=1.2, linestyle="--")
        axes.axhline(0, color=SOFT, linewidth=0.5)
        axes.set_ylim(-3.2, 5.2)
    return panel_headline(
        fig,
        len(names),
        "Losses",
        "solid: the loss of one example; dashed: its derivative; default parameters;"
        " regression: one target; classification: two classes, the second one is true",
    )


def _derivative(loss: type[Loss]) -> list[str]:
    return [f"derivative {loss.derivative}"] if loss.derivative else []


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


def schedules(names: Sequence[str] = DRAWN["schedules"]) -> Figure:
    """Draw the factors of schedules over 100 epochs or steps."""
    total = 100
    drawn = {name: _example(SCHEDULES[name]) for name in names}
    captions = {
        name: [
            meaning(type(schedule)),
            *(["for a metric that stops improving at 30"] if schedule.stateful else []),
        ]
        for name, schedule in drawn.items()
    }
    fig, panels = grid_of_panels(captions, 5, width=2.9)
    for axes, schedule in zip(panels, drawn.values(), strict=True):
        axes.plot(range(total), _factors(schedule, total), color=POSITIVE, linewidth=1.8)
        axes.set_ylim(-0.05, 1.1)
    title = "Schedules: the learning rate's factor over 100 epochs or steps"
    return panel_headline(fig, len(names), title)


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
