"""How many members fit into memory at once, estimated before they are made.

Shapes: K members, N examples, P parameters, H widest layer, E evaluations.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import torch

from mlplab.settings import Settings
from mlplab.sweeps.plan.grouping import MAX_ON_CPU, MAX_ON_CUDA
from mlplab.training import PreparedMember

COPIES_OF_THETA = 12
"""theta, gradient, up to three moments of the optimizer, best and last weights, and what an update
holds for a moment.
"""

SHARE = 0.5
"""Of the free memory: the estimate is rough, and others live here too."""


def num_parameters(member: PreparedMember) -> int:
    """Weights and biases of one network (normalization's few numbers left out)."""
    widths = [
        member.prepared.num_features,
        *(layer.units for layer in member.settings.layers[:-1]),
        num_outputs(member),
    ]
    return sum((a + 1) * b for a, b in itertools.pairwise(widths))


def num_outputs(member: PreparedMember) -> int:
    return member.settings.loss.num_outputs(member.prepared.task)


def num_steps(member: PreparedMember) -> int:
    """Updates of the whole run."""
    training = member.settings.training
    if training.steps is not None:
        return training.steps
    examples = len(member.prepared.train)
    portion = training.portion(examples)
    whole = examples // portion
    return training.epochs * (
        whole if getattr(training, "drop_last", False) and whole else -(-examples // portion)
    )


def bytes_a_member(member: PreparedMember, shares_data: bool) -> int:
    """An upper estimate: parameters and their copies, its data unless all share them, activations
    of a batch and an evaluation, its history.
    """
    settings, prepared = member.settings, member.prepared
    size = 8 if settings.dtype == "float64" else 4
    widths = [
        prepared.num_features,
        *(layer.units for layer in settings.layers[:-1]),
        num_outputs(member),
    ]
    examples = len(prepared.train)
    parts = [part for part in (prepared.train, prepared.val, prepared.test) if part is not None]
    own = 0 if shares_data else sum((part.x.size + part.y.size) * size for part in parts)
    data = own + examples * 8  # and the order of an epoch
    batch = 6 * settings.training.portion(examples) * sum(widths) * size
    evaluation = 4 * max(len(part) for part in parts) * max(widths[-1], 1) * 8
    rows = (
        num_steps(member)
        // max(
            1,
            -(-examples // settings.training.portion(examples)) * settings.training.evaluate_every,
        )
        + 2
    )
    history = 3 * rows * (12 + 2 * len(widths)) * 8
    return COPIES_OF_THETA * num_parameters(member) * size + data + batch + evaluation + history


def max_population(member: PreparedMember, device: torch.device, shares_data: bool) -> int:
    """How many such members train at once on the device: at least one."""
    ceiling = MAX_ON_CUDA if device.type == "cuda" else MAX_ON_CPU
    return max(
        1, min(ceiling, int(SHARE * available(device) / bytes_a_member(member, shares_data)))
    )


def available(device: torch.device) -> int:
    """Free bytes: of the CUDA device, or of this machine within the limit of its container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [_meminfo()]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
            root = Path("/sys/fs/cgroup")
            limits.append(int((root / limit).read_text()) - int((root / used).read_text()))
    return max(0, min(limits))


def _meminfo() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 4 << 30


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; torch raises a plain RuntimeError for one on the CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def device_of(settings: Settings) -> torch.device:
    """The device whose memory counts."""
    wanted = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if wanted and torch.cuda.is_available() else "cpu")
