"""What TensorBoard shows of the event files that earlier processes left in a run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.tracking.records import payloads

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

GRAPH = ""
"""Stands for the tag of the network's graph, which has none."""


def shown_steps(folder: Path, purge_step: int) -> dict[str, set[int]]:
    """Return tag -> the steps below `purge_step` that the event files in a folder show for it.

    A run that is resumed makes TensorBoard ignore the steps from where it continued. A damaged
    file counts up to its damage.
    """
    shown: dict[str, set[int]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        if path.is_symlink() or not path.is_file():
            continue
        for event in _events(path):
            if event.HasField("session_log"):
                _purge(shown, event.step)
            elif event.HasField("graph_def"):
                shown.setdefault(GRAPH, set()).add(event.step)
            for value in event.summary.value:
                shown.setdefault(value.tag, set()).add(event.step)
    _purge(shown, purge_step)
    return shown


def _events(path: Path) -> Iterator[Event]:
    messages = import_module("tensorboard.compat.proto.event_pb2")
    damaged = import_module("google.protobuf.message").DecodeError
    for payload in payloads(path.read_bytes()):
        try:
            yield messages.Event.FromString(payload)
        except damaged:
            return


def _purge(shown: dict[str, set[int]], step: int) -> None:
    for tag, steps in shown.items():
        shown[tag] = {earlier for earlier in steps if earlier < step}
