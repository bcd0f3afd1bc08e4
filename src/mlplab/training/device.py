"""Choose the device of a population: the requested one, or for `auto` the faster one."""

from __future__ import annotations

import torch

# Multiplications of one update above which a CUDA device beats two CPU cores; below, the time to
# launch kernels dominates. An estimate from published launch costs (about 10 us per kernel, some 60
# kernels per update), not measured on a CUDA machine.
MIN_CUDA_MULTIPLICATIONS = 50_000_000


def choose_device(
    requested: str, num_members: int, num_parameters: int, batch_size: int
) -> tuple[torch.device, str]:
    """Return the device for `requested` (auto, cpu or cuda), and the reason for it.

    Raises ValueError if `cuda` is requested and torch finds no CUDA device.
    """
    available = torch.cuda.is_available()
    if requested == "cuda":
        if not available:
            raise ValueError(
                "device=cuda was requested, but torch finds no CUDA device here; device=auto or"
                " device=cpu trains on the CPU"
            )
        return torch.device("cuda"), "as requested"
    if requested == "cpu":
        return torch.device("cpu"), "as requested"
    if not available:
        return torch.device("cpu"), "no CUDA device here"
    work = 6 * num_members * num_parameters * batch_size
    if work < MIN_CUDA_MULTIPLICATIONS:
        return (
            torch.device("cpu"),
            f"an update of {work:,} operations is too small to pay for CUDA's launches",
        )
    return torch.device("cuda"), f"an update of {work:,} operations is worth CUDA's launches"
