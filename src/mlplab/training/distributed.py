"""One network over several processes: each takes its share of every batch, and one all-reduce a
step joins their gradients.

Every process has the same data, weights and order of batches; a batch is cut into contiguous
shares, so the sum of the shares' gradients is that of the batch. Shapes: K members (one here), B
examples of a batch, P parameters.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor, "Tensor | None"]
PATIENCE = timedelta(seconds=25)
"""How long a process waits for the others."""


class RankLost(RuntimeError):
    """Another process of the training is gone; one paragraph."""


@dataclass(frozen=True)
class Rank:
    """This process among the others, as torchrun or srun tell it."""

    rank: int
    size: int
    local_rank: int

    @property
    def first(self) -> bool:
        """Whether it is the one that owns the run's folder."""
        return self.rank == 0


def read_rank() -> Rank | None:
    """Where this process stands; None where it is alone."""
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env and "MASTER_ADDR" in env:
        found = Rank(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", 0)))
    elif int(env.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in env:
        found = Rank(
            int(env["SLURM_PROCID"]), int(env["SLURM_NTASKS"]), int(env.get("SLURM_LOCALID", 0))
        )
    else:
        return None
    return found if found.size > 1 else None


class ProcessGroup:
    """The processes of one training. `agreed` is a signal that any of them received, known to all
    after the same step.
    """

    def __init__(self, here: Rank) -> None:
        self.here = here
        self.received = 0  # a signal of our own, told to the others with the next gradient
        self.agreed = 0
        self.total: Tensor | float = 1.0
        self.offset = 0

    def shard(self, batch: Batch) -> Batch:
        """Our rows of a batch; what the whole batch weighs is kept for `shares`."""
        x, y, weights = batch
        size = x.shape[1]
        start, stop = (
            size * number // self.here.size for number in (self.here.rank, self.here.rank + 1)
        )
        self.offset = start
        self.total = float(size) if weights is None else weights.sum(1, keepdim=True)
        return (
            x[:, start:stop],
            y[:, start:stop],
            weights[:, start:stop] if weights is not None else None,
        )

    def shares(self, loss_KB: Tensor, weights_KB: Tensor | None, reduction: str) -> Tensor:
        """What each of our examples counts in the objective of the whole batch: [K, B]."""
        own_KB = torch.ones_like(loss_KB) if weights_KB is None else weights_KB
        if reduction == "sum":
            return own_KB.detach()
        total = (
            self.total
            if isinstance(self.total, float)
            else torch.where(self.total > 0, self.total, 1.0)
        )
        return (own_KB / total).detach()

    def join(self, gradient_KP: Tensor, objective_K: Tensor) -> Tensor:
        """The gradient of the whole batch, in place, and its objective [K]."""
        flag = torch.tensor(
            [float(self.received)], dtype=gradient_KP.dtype, device=gradient_KP.device
        )
        flat = torch.cat([gradient_KP.flatten(), objective_K.to(gradient_KP.dtype), flag])
        try:
            torch.distributed.all_reduce(flat)
        except RuntimeError as error:
            raise RankLost(
                f"another of the {self.here.size} processes of this training is gone"
                f" ({' '.join(str(error).split())[:200]}); go on from the last checkpoint with"
                " `mlplab resume`, under torchrun with any number of processes"
            ) from error
        size = gradient_KP.numel()
        gradient_KP.copy_(flat[:size].view_as(gradient_KP))
        if float(flat[-1]):
            self.agreed = self.received or int(signal.SIGTERM)
        return flat[size:-1]


@contextlib.contextmanager
def process_group() -> Iterator[ProcessGroup | None]:
    """The processes of torchrun or srun as one group; None where this process is alone."""
    here = read_rank()
    if here is None:
        yield None
        return
    if "RANK" not in os.environ:  # srun: the first node is where its step was launched from
        os.environ.setdefault(
            "MASTER_ADDR", os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")
        )
        os.environ.setdefault(
            "MASTER_PORT", str(20000 + int(os.environ.get("SLURM_JOB_ID", "0")) % 20000)
        )
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(here.local_rank % torch.cuda.device_count())
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        rank=here.rank,
        world_size=here.size,
        timeout=PATIENCE,
    )
    try:
        yield ProcessGroup(here)
    finally:
        with contextlib.suppress(RuntimeError):
            torch.distributed.destroy_process_group()
