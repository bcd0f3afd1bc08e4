"""Train one network on several processes: each takes a shard of every batch.

Every process has the same data, weights and order of batches. A batch is cut into contiguous
shards, and one all-reduce per step sums their gradients to that of the batch. Shapes: K members
(one here), B examples of a batch, P parameters.
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

from mlplab.training.batches import Batch

TIMEOUT = timedelta(seconds=25)
"""How long a process waits for the others before it raises RankLost."""


class RankLost(RuntimeError):
    """Another process of the training is gone; the message is one paragraph."""


@dataclass(frozen=True)
class Rank:
    """The rank of this process, as given by torchrun or srun, and the number of processes."""

    rank: int
    size: int
    local_rank: int

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes the run's folder."""
        return self.rank == 0


def read_rank() -> Rank | None:
    """Read this process's rank from the environment; None if it is the only process."""
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env and "MASTER_ADDR" in env:
        rank = Rank(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", 0)))
    elif int(env.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in env:
        rank = Rank(
            int(env["SLURM_PROCID"]), int(env["SLURM_NTASKS"]), int(env.get("SLURM_LOCALID", 0))
        )
    else:
        return None
    return rank if rank.size > 1 else None


class ProcessGroup:
    """The processes of one training.

    `agreed_signal` is a signal that any process received; all processes see it after the same step.
    """

    def __init__(self, rank_info: Rank) -> None:
        self.rank_info = rank_info
        self.received_signal = 0  # by this process; sent to the others with the next gradient
        self.agreed_signal = 0

    def shard(self, batch: Batch) -> tuple[Batch, int]:
        """Return this rank's rows of a batch, and the index of the first of them."""
        x, y, weights = batch
        size = x.shape[1]
        rank, num_ranks = self.rank_info.rank, self.rank_info.size
        start, stop = (size * number // num_ranks for number in (rank, rank + 1))
        rows = slice(start, stop)
        return (x[:, rows], y[:, rows], weights[:, rows] if weights is not None else None), start

    def reduce(self, gradient_KP: Tensor, objective_K: Tensor) -> Tensor:
        """Sum the gradients of all ranks in place, and return the batch's objective [K].

        Raises RankLost if another process is gone.
        """
        flag = torch.tensor(
            [float(self.received_signal)], dtype=gradient_KP.dtype, device=gradient_KP.device
        )
        flat = torch.cat([gradient_KP.flatten(), objective_K.to(gradient_KP.dtype), flag])
        try:
            torch.distributed.all_reduce(flat)
        except RuntimeError as error:
            raise RankLost(
                f"one of the {self.rank_info.size} processes of this training is gone"
                f" ({' '.join(str(error).split())[:200]}); continue from the last checkpoint with"
                " `mlplab resume`, under torchrun with any number of processes"
            ) from error
        size = gradient_KP.numel()
        gradient_KP.copy_(flat[:size].view_as(gradient_KP))
        if float(flat[-1]):
            self.agreed_signal = self.received_signal or int(signal.SIGTERM)
        return flat[size:-1]


@contextlib.contextmanager
def process_group() -> Iterator[ProcessGroup | None]:
    """Join the processes of torchrun or srun to one group; yields None for a single process."""
    rank_info = read_rank()
    if rank_info is None:
        yield None
        return
    if "RANK" not in os.environ:  # srun: the step is launched from the first node
        os.environ.setdefault(
            "MASTER_ADDR", os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")
        )
        os.environ.setdefault(
            "MASTER_PORT", str(20000 + int(os.environ.get("SLURM_JOB_ID", "0")) % 20000)
        )
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(rank_info.local_rank % torch.cuda.device_count())
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        rank=rank_info.rank,
        world_size=rank_info.size,
        timeout=TIMEOUT,
    )
    try:
        yield ProcessGroup(rank_info)
    finally:
        with contextlib.suppress(RuntimeError):
            torch.distributed.destroy_process_group()
