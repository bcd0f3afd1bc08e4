"""Hold a training at an event until a signal arrives.

A test that interrupts a training must hit it in the middle however fast it is. A plug-in makes the
process wait at its n-th checkpoint, or after a step, with everything in the state that a training
has there, and `Paused` tells the test at which step that is.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import wait_for

from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.training import stretches

PLUGIN = """\
import json, os, time
from pathlib import Path

from mlplab.runs.checkpoints import Checkpoints
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.training import stretches

AFTER_CHECKPOINTS, AFTER_STEP, ONCE = {checkpoints}, {step}, Path({once!r})
saves = 0
real_save, real_should_pause = Checkpoints.save, CheckpointCallback.should_pause


def save(self, *arguments):
    global saves
    real_save(self, *arguments)
    saves += 1


def should_pause(self, session, group):
    step = group.stepper.step
    if saves < AFTER_CHECKPOINTS or step < AFTER_STEP or ONCE.exists():
        return real_should_pause(self, session, group)
    last_step = int(group.population.early_stopping.last_step_K.max())
    aside = ONCE.with_suffix(".tmp")
    aside.write_text(json.dumps({{"pid": os.getpid(), "step": step, "last_step": last_step}}))
    aside.rename(ONCE)
    deadline = time.monotonic() + 200
    while self.signals.received is None and not ONCE.with_name("released").exists():
        if time.monotonic() > deadline:  # the test is gone
            os._exit(99)
        time.sleep(0.005)
    return real_should_pause(self, session, group)


if not ONCE.exists():  # the native engine shall ask between any two steps, as the eager one does
    stretches.MAX_GROWTH = 1
Checkpoints.save, CheckpointCallback.should_pause = save, should_pause
"""


@dataclass(frozen=True)
class Paused:
    """The step at which a training waits."""

    pid: int
    step: int
    last_step: int


def pause(*, checkpoints: int = 0, step: int = 0, name: str = "paused") -> list[str]:
    """Arguments for `mlplab train` and `resume`: wait after this many checkpoints and steps.

    The first process that reaches that point waits and writes the file `name`.json. A file called
    `released` lets it continue without a signal.
    """
    once = str(Path(f"{name}.json").absolute())
    text = PLUGIN.format(checkpoints=checkpoints, step=step, once=once)
    Path(f"{name}.py").write_text(text)
    return plugin(name)


def plugin(name: str = "paused") -> list[str]:
    """Arguments that load the plug-in again; after its pause it has no effect.

    A sweep is resumed only with the plug-ins that it began with.
    """
    return ["--plugin", str(Path(f"{name}.py").absolute())]


def wait_until_paused(process, name: str = "paused") -> Paused:
    """Wait for the pause and check that it is in the middle of the training."""
    path = Path(f"{name}.json")
    wait_for(lambda: path.exists() or process.poll() is not None)
    assert path.exists(), f"the training ended before its pause: {process.communicate()}"
    paused = Paused(**json.loads(path.read_text()))
    assert 0 < paused.step < paused.last_step
    return paused


def ask_after_each_step(patched: pytest.MonkeyPatch) -> None:
    """Let the native engine ask its callbacks between any two steps, as the eager one does."""
    patched.setattr(stretches, "MAX_GROWTH", 1)


def interrupt_at(step: int, patched: pytest.MonkeyPatch, received: int = signal.SIGINT) -> None:
    """Interrupt each run of this process at this step, as Ctrl-C or another signal does."""

    def should_pause(self, session, group):
        if group.stepper.step == step:
            self.signals.received = received
        return real(self, session, group)

    real = CheckpointCallback.should_pause
    patched.setattr(CheckpointCallback, "should_pause", should_pause)
    ask_after_each_step(patched)
