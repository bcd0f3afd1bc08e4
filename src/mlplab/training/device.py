"""Where a population trains: the device asked for, or for `auto` the one that is faster for its
size.
"""

from __future__ import annotations

import torch

# Multiplications of one update above which a CUDA device beats two CPU cores; below it the time to
# launch kernels rules. An estimate from published launch costs (about 10 us a kernel, some 60
# kernels an update), not measured on a CUDA machine.
WORTH_CUDA = 50_000_000


def choose(
    word: str, num_members: int, num_parameters: int, batch_size: int
) -> tuple[torch.device, str]:
    """The device and the reason for it. Raises ValueError where `cuda` is asked for and there is
    none.
    """
    available = torch.cuda.is_available()
    if word == "cuda":
        if not available:
            raise ValueError(
                "device=cuda was asked for, but torch finds no CUDA device here; device=auto or"
                " device=cpu trains on the CPU"
            )
        return torch.device("cuda"), "as asked"
    if word == "cpu":
        return torch.device("cpu"), "as asked"
    if not available:
        return torch.device("cpu"), "no CUDA device here"
    work = 6 * num_members * num_parameters * batch_size
    if work < WORTH_CUDA:
        return (
            torch.device("cpu"),
            f"an update of {work:,} operations is too small to pay for CUDA's launches",
        )
    return torch.device("cuda"), f"an update of {work:,} operations is worth CUDA's launches"
