"""Completion of command lines: useful for every command, and silent whatever is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlplab.cli import COMMANDS, main
from mlplab.commands import flags
from mlplab.config.plugins import unregister


@pytest.fixture
def complete(monkeypatch, capfd):
    def ask(line):
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        assert main(["-sc", "query=bash"]) == 0
        output, errors = capfd.readouterr()
        assert errors == ""
        return output.split()

    return ask


XOR = ("by_hand", "mlp", "perceptron")


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("mlplab pl", ["plan"]),
        ("mlplab train experiment=xor_", [f"experiment=xor_{name}" for name in XOR]),
        ("mlplab plan experiment=xor_m", ["experiment=xor_mlp"]),
        ("mlplab plan seed=0,1 dataset=spiral dataset.tu", ["dataset.turns="]),
        ("mlplab rerun outputs/a optimizer.l", ["optimizer.lr="]),
        ("mlplab train --plugin parts.py -m activation=tanhs", ["activation=tanhshrink"]),
        ("mlplab train --config-dir cfg experiment=mi", ["experiment=mine"]),
        ("mlplab train --plug", ["--plugin"]),
        ("mlplab list opt", ["optimizer"]),
        ("mlplab list optimizer adama", ["adamax"]),
        ("mlplab draw los", ["losses"]),
        ("mlplab resume outputs/a", []),
        ("mlplab train optimizer=adm optimizer.l", []),
        ("mlplab train 'name=[ x", []),
    ],
)
def test_a_line_is_completed(line, tokens, complete):
    Path("cfg/experiment").mkdir(parents=True)
    Path("cfg/experiment/mine.yaml").write_text("# @package _global_\nseed: 1\n")
    assert complete(line) == tokens


def test_the_components_of_a_plugin_are_completed(complete):
    """What the file prints does not appear in the line."""
    Path("mine.py").write_text(
        "from dataclasses import dataclass\nfrom mlplab.config import register\n"
        "from mlplab.network.activations import Activation\nprint('loaded')\n"
        "@register('activation', 'tanhish')\n@dataclass(frozen=True)\n"
        "class Tanhish(Activation):\n    'Nearly.'\n"
        "    def value(self, z_KBH):\n        return z_KBH\n"
    )
    try:
        line = "mlplab train --plugin mine.py activation=tanhi"
        assert complete(line) == ["activation=tanhish"]
        assert complete("mlplab list --plugin mine.py activation tanhi") == ["tanhish"]
    finally:
        unregister("activation", "tanhish")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_it_never_prints_an_error(command, complete):
    for rest in ("", " ", " x=", " --nope --plugin"):
        complete(f"mlplab {command}{rest}")


def test_the_flags_that_take_a_value():
    for flag in flags.WITH_VALUE:
        value = "job" if flag in ("--cfg", "-c") else "x"
        more = ["--cfg", "job"] if flag in ("--package", "-p") else []
        assert flags.parse([flag, value, *more, "seed=1"]).overrides == ["seed=1"]
