"""The compiled kernel by itself: its cost as a number of instructions, and its bits."""

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

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the flags are those of the x86-64 family"
)


def build(folder: Path, *flags: str) -> Path:
    """Compile the fixed training with the flags of the package, and then these."""
    driver = (Path(__file__).parent / "fixed_training.c").read_text()
    names = ("activation_tanh", "loss_cross_entropy", "optimizer_adam")
    functions = [
        sources.functions()[name + suffix]
        for name in names
        for suffix in ("", *sources.SUFFIXES)
        if name + suffix in sources.functions()
    ]
    (folder / "fixed.c").write_text("\n".join([sources.kernel_source(), *functions, driver]))
    ours = [flag for flag in compiler.FLAGS if flag != "-shared"]
    command = [compiler.find(), *ours, *flags, "fixed.c", "-o", "fixed", *compiler.LIBRARIES]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "fixed"


@pytest.mark.campaign("timing")
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
def test_instructions_of_a_step(tmp_path):
    program = build(tmp_path, "-march=x86-64-v3")  # the same instructions on every machine

    def instructions(epochs: int) -> int:
        tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        result = subprocess.run(
            [*tool, program, str(epochs)], capture_output=True, text=True, check=True
        )
        assert "loss 0." in result.stdout
        return int(re.search(r"refs:\s+([\d,]+)", result.stderr)[1].replace(",", ""))

    assert (instructions(60) - instructions(10)) / STEPS < MAX_INSTRUCTIONS


@pytest.mark.campaign("fuzz")
@pytest.mark.parametrize("dtype", [[], ["-DDOUBLE"]], ids=["float32", "float64"])
def test_bits_depend_neither_on_the_width_of_vectors_nor_on_optimizations(tmp_path, dtype):
    programs = [
        build(tmp_path, *flags, *dtype).rename(tmp_path / str(number))
        for number, flags in enumerate(
            (
                ["-march=native"],
                ["-march=x86-64-v3", "-mprefer-vector-width=128"],
                ["-march=x86-64-v3", "-O1"],
            )
        )
    ]
    outputs = [
        {
            subprocess.run(
                [program, "60", "3", "1", *layers], capture_output=True, text=True, check=True
            ).stdout
            for program in programs
        }
        for layers in ([], ["1"], ["2"])  # plain, layer and batch normalization with dropout
    ]
    assert list(map(len, outputs)) == [1, 1, 1]
    assert len(set.union(*outputs)) == 3
