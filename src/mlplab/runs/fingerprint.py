"""The conditions under which two trainings agree to the last bit; stored with each checkpoint and
compared on resume.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from mlplab.runs.provenance import provenance
from mlplab.training import Group


def fingerprint_of_group(group: Group, members: int) -> dict[str, object]:
    """Return the fingerprint of this process for a group in training, of this many members at its
    start.
    """
    theta_KP = group.population.theta_KP
    dtype = str(theta_KP.dtype).removeprefix("torch.")
    return fingerprint(theta_KP.device, dtype, members, group.stepper.engine)


def fingerprint(device: torch.device, dtype: str, members: int, engine: str) -> dict[str, object]:
    """Return the conditions of this process as plain values: versions, commit, hardware, modes."""
    origin = provenance((), "")
    cuda = device.type == "cuda"
    return {
        **origin["versions"],
        "commit": (origin["git"] or {}).get("commit"),
        "dirty": (origin["git"] or {}).get("dirty"),
        "cpu": origin["machine"]["cpu"],
        # virtual machines with different instructions may have the same name of processor
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG") if cuda else None,
        "dtype": dtype,
        "members": members,
        "engine": engine,
    }


def differences(stored: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return one text per value that differs: "torch 2.12.0 -> 2.13.0".

    A value that an older version did not store counts as equal.
    """
    return [
        f"{key} {stored.get(key)} -> {now.get(key)}"
        for key in now
        if key in stored
        if stored.get(key) != now.get(key)
    ]
