"""Completion of command lines: useful for every command, and silent whatever is typed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
        ("mlplab step optimizer=adama", ["optimizer=adamax"]),
        ("mlplab doctor optimizer=adama", ["optimizer=adamax"]),
        ("mlplab list optimizer adama", ["adamax"]),
        ("mlplab draw los", ["losses"]),
        ("mlplab resume outputs/a", []),
        ("mlplab predict outputs/a new.csv --dec", ["--decimal"]),
        ("mlplab evaluate outputs/a --part v", ["val"]),
        ("mlplab runs --sort test/ac", ["test/accuracy"]),
        ("mlplab train training.shuffle=", ["training.shuffle=true", "training.shuffle=false"]),
        ("mlplab plan device=c", ["device=cpu", "device=cuda"]),
        ("mlplab train sweep.sampler=c", ["sweep.sampler=cmaes"]),
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


LIVE = """
eval "$(mlplab -sc install=bash)"
complete -p mlplab
function=$(complete -p mlplab | sed 's/.*-F \\([^ ]*\\).*/\\1/')
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE} COMP_WORDS=($COMP_LINE) COMPREPLY=()
    [[ $COMP_LINE == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    $function mlplab "${COMP_WORDS[COMP_CWORD]}" ""
    echo "${COMPREPLY[*]}"
done
"""
"""What bash does when Tab is pressed."""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_live_shell_completes():
    """And runs nothing: bash expands what it is given, such as the name of a file of somebody."""
    Path("bin").mkdir()
    program = Path("bin/mlplab")
    program.write_text(
        f"#!{sys.executable} -P\nimport sys\nfrom mlplab.cli import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    Path("conf/experiment").mkdir(parents=True)
    for name in ("mine", "my$(touch ran)", "my`touch ran`", "my${x:=1}"):
        Path(f"conf/experiment/{name}.yaml").write_text("# @package _global_\nseed: 1\n")
    lines = {
        "mlplab train exp": "experiment=",
        "mlplab plan -m seed=0,1 experiment=m": "mine",  # bash completes what follows =
        "mlplab export RUN --format o": "onnx",
        "mlplab train sweep.engine=s": "slurm",
        "mlplab resume co": "",  # a folder: the `default` of bash
        "mlplab sweep ": "",
    }
    process = subprocess.run(
        ["bash", "--norc", "-c", LIVE],
        env={**os.environ, "PATH": f"{Path('bin').absolute()}:{os.environ['PATH']}"},
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert process.stderr == ""
    assert process.stdout.splitlines() == [
        "complete -o default -F _mlplab mlplab",
        *lines.values(),
    ]
    assert sorted(path.name for path in Path().iterdir()) == ["bin", "conf"]


def test_only_what_no_shell_expands_is_suggested(complete):
    Path("conf/experiment").mkdir(parents=True)
    for sign in "$`\\\"'(){}<>|&;*?!#^":
        Path(f"conf/experiment/odd{sign}.yaml").write_text("# @package _global_\nseed: 1\n")
    Path("conf/experiment/odd-.yaml").write_text("# @package _global_\nseed: 1\n")
    assert complete("mlplab train experiment=odd") == ["experiment=odd-"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_it_never_prints_an_error(command, complete):
    for rest in ("", " ", " x=", " --nope --plugin"):
        complete(f"mlplab {command}{rest}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell, capsys):
    assert main(["-sc", f"install={shell}"]) == 0
    assert "-sc query=" in capsys.readouterr().out
    if path := shutil.which(shell):
        main(["-sc", f"install={shell}"])
        script = capsys.readouterr().out
        subprocess.run([path, "-n"], input=script, text=True, check=True, timeout=60)
    assert main(["-sc", f"uninstall={shell}"]) == 0
    assert "mlplab" in capsys.readouterr().out


def test_another_shell_is_refused(capsys):
    assert main(["-sc", "install=tcsh"]) == 2
    assert "bash, zsh, fish" in capsys.readouterr().err


def test_the_flags_that_take_a_value():
    for flag in flags.WITH_VALUE:
        value = "job" if flag in ("--cfg", "-c") else "x"
        more = ["--cfg", "job"] if flag in ("--package", "-p") else []
        assert flags.parse([flag, value, *more, "seed=1"]).overrides == ["seed=1"]
