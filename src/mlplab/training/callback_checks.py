"""Checks of the callbacks that a user passes, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from mlplab.errors import ConfigError
from mlplab.training.session import Callback


def check_callbacks(callbacks: Sequence[Callback]) -> None:
    """Raise ConfigError for callbacks that would not be called: something else than a `Callback`,
    or one with a method whose name is that of no event.
    """
    if isinstance(callbacks, Callback):
        raise ConfigError("`callbacks` is a list of callbacks: write callbacks=[...].")
    for callback in callbacks:
        if isinstance(callback, type):
            raise ConfigError(
                f"The callback {callback.__name__} is a class: pass an object,"
                f" {callback.__name__}()."
            )
        if not isinstance(callback, Callback):
            raise ConfigError(
                f"The callback {callback!r} is a {type(callback).__name__}: derive its class from"
                " mlplab.Callback, whose methods are called during the training."
            )
        for name in dir(type(callback)):
            if name.startswith("on_") and not hasattr(Callback, name):
                raise ConfigError(
                    f"The callback {type(callback).__name__} has a method `{name}`, which is never"
                    " called. Events are on_start, on_evaluation, on_checkpoint and on_end."
                )
