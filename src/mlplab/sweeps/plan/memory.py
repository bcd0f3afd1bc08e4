"""Estimates how many members fit into memory at once, before they are built."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mlplab.network.layer import weights_by_layer
from mlplab.settings import Settings
from mlplab.sweeps.plan.grouping import MAX_ON_CPU, MAX_ON_CUDA
from mlplab.training import PreparedMember

COPIES_OF_THETA = 12
"""Parameters, gradient, up to three optimizer moments, best and last weights, and the temporary
tensors of an update.
"""

MAX_MEMORY_FRACTION = 0.5
"""Usable fraction of the free memory, since the estimate is rough and other processes need some."""


def num_parameters(member: PreparedMember) -> int:
    """Number of weights and biases of one network, without the few of normalization layers."""
    widths = _widths(member)
    weights = weights_by_layer(member.settings.layers, widths[0], widths[-1])
    return sum(weights) + sum(widths[1:])


def _widths(member: PreparedMember) -> list[int]:
    """Number of features, of units of each hidden layer, and of outputs."""
    settings, prepared = member.settings, member.prepared
    hidden = [layer.units for layer in settings.layers[:-1]]
    return [prepared.num_features, *hidden, settings.loss.num_outputs(prepared.task)]


def num_steps(member: PreparedMember) -> int:
    """Number of updates of the whole run."""
    training = member.settings.training
    if training.steps is not None:
        return training.steps
    num_examples = len(member.prepared.train)
    batch_size = training.portion(num_examples)
    full_batches = num_examples // batch_size
    return training.epochs * (
        full_batches
        if getattr(training, "drop_last", False) and full_batches
        else -(-num_examples // batch_size)
    )


def bytes_per_member(member: PreparedMember, shares_data: bool) -> int:
    """Upper estimate of the bytes that one member needs: copies of its parameters, its data unless
    all members share it, the activations of a batch and of an evaluation, and its history.
    """
    settings, prepared = member.settings, member.prepared
    item_size = 8 if settings.dtype == "float64" else 4
    widths = _widths(member)
    num_examples = len(prepared.train)
    batch_size = settings.training.portion(num_examples)
    splits = [split for split in (prepared.train, prepared.val, prepared.test) if split is not None]
    examples = (
        0 if shares_data else sum((split.x.size + split.y.size) * item_size for split in splits)
    )
    epoch_order = 8 * (50 * math.isqrt(num_examples) + batch_size)  # tables and indices
    batch = 6 * batch_size * sum(widths) * item_size
    evaluation = 4 * max(len(split) for split in splits) * max(widths[-1], 1) * 8
    steps_per_evaluation = -(-num_examples // batch_size) * settings.training.evaluate_every
    rows = num_steps(member) // max(1, steps_per_evaluation) + 2
    history = 3 * rows * (12 + 2 * len(widths)) * 8
    parameters = COPIES_OF_THETA * num_parameters(member) * item_size
    return parameters + examples + epoch_order + batch + evaluation + history


def usable(device: torch.device) -> float:
    """The bytes that the members of a work unit may need together."""
    return MAX_MEMORY_FRACTION * available(device)


def max_population(
    num_bytes: Sequence[int], device: torch.device, max_on_cpu: int = MAX_ON_CPU
) -> int:
    """Number of members of the average of these sizes that can train at once, at least 1."""
    ceiling = MAX_ON_CUDA if device.type == "cuda" else max_on_cpu
    mean = sum(num_bytes) / len(num_bytes)
    return max(1, min(ceiling, int(usable(device) / mean)))


def available(device: torch.device) -> int:
    """Free bytes on the CUDA device, or in this machine's memory within the limits of its
    container and of this process.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [_available_memory(), _address_space()]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" is not a number: there is no limit
            root = Path("/sys/fs/cgroup")
            free.append(int((root / limit).read_text()) - int((root / used).read_text()))
    return max(0, min(free))


def _available_memory() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 4 << 30


def _address_space() -> int:
    """Bytes that this process may still map under `ulimit -v`."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource  # not on Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return limit - pages * resource.getpagesize()
    return sys.maxsize


def device_of(settings: Settings) -> torch.device:
    """The device whose memory limits the population."""
    may_use_cuda = settings.device != "cpu" and settings.engine != "native"
    return torch.device("cuda" if may_use_cuda and torch.cuda.is_available() else "cpu")
