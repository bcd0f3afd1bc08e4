"""The cost of a training step, as a number of instructions: it does not depend on the load."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mlplab.native import compiler, sources

MAX_INSTRUCTIONS = 15_000
"""Of a step of the 2-6-6-2 network, its share of the evaluation included; 12,700 with gcc 12."""
STEPS = 50 * 16


@pytest.mark.slow  # compiles
def test_instructions_of_a_step(tmp_path):
    valgrind = shutil.which("valgrind")
    if valgrind is None or platform.machine() != "x86_64":
        pytest.skip("needs valgrind, on a processor of the x86-64 family")
    driver = (Path(__file__).parent / "fixed_training.c").read_text()
    names = ("activation_tanh", "loss_cross_entropy", "optimizer_adam")
    functions = [
        sources.functions()[name + suffix]
        for name in names
        for suffix in ("", *sources.SUFFIXES)
        if name + suffix in sources.functions()
    ]
    (tmp_path / "fixed.c").write_text("\n".join([sources.kernel_source(), *functions, driver]))
    # the same instructions on every machine
    flags = [f.replace("=native", "=x86-64-v3") for f in compiler.FLAGS if f != "-shared"]
    command = [compiler.find(), *flags, "fixed.c", "-o", "fixed", *compiler.LIBRARIES]
    subprocess.run(command, cwd=tmp_path, check=True)

    def instructions(epochs: int) -> int:
        tool = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        result = subprocess.run(
            [*tool, "./fixed", str(epochs)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "loss 0." in result.stdout
        return int(re.search(r"refs:\s+([\d,]+)", result.stderr)[1].replace(",", ""))

    assert (instructions(60) - instructions(10)) / STEPS < MAX_INSTRUCTIONS
