"""TensorBoard event files: one event per step with all its values, written directly to the file.

The messages are TensorBoard's protobufs, imported when the first file is opened.
`torch.utils.tensorboard` writes one event per tag through a queue and a thread per writer, and
takes far longer to import.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mlplab.io.files import AppendFile, Closing
from mlplab.tracking.earlier_events import GRAPH, shown_steps
from mlplab.tracking.records import frame

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

_MAX_TAG_LENGTH = 200


class EventWriter(Closing):
    """A new event file in `folder`, readable after every call.

    `purge_step` is the step at which a resumed run continues: TensorBoard ignores later values in
    the folder's earlier files, and earlier values that those files show are not written again, so
    that each step is shown once.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        self._messages = import_module("tensorboard.compat.proto.event_pb2")
        self._summaries = import_module("mlplab.tracking.summaries")
        self._shown = {} if purge_step is None else shown_steps(folder, purge_step)
        self._file = _create(folder)
        self.path = self._file.path
        start = [self._messages.Event(wall_time=time.time(), file_version="brain.Event:2")]
        if purge_step is not None:
            log = self._messages.SessionLog(status=self._messages.SessionLog.START)
            start.append(
                self._messages.Event(wall_time=time.time(), step=purge_step, session_log=log)
            )
        self._append(start)

    def scalars(
        self, step: int, values: Mapping[str, float], wall_time: float | None = None
    ) -> None:
        """Write the values of one step, tag -> value, as float32; NaN and infinities are kept."""
        self.history(
            [step],
            {tag: [value] for tag, value in values.items()},
            None if wall_time is None else [wall_time],
        )

    def history(
        self,
        steps: Sequence[int],
        columns: Mapping[str, ArrayLike],
        wall_times: Sequence[float] | None = None,
    ) -> None:
        """Write many steps at once: each column holds one value per step.

        Raises ValueError if two tags are the same for TensorBoard, or the lengths differ.
        """
        if not columns:
            return
        times = [time.time()] * len(steps) if wall_times is None else wall_times
        summary = self._summaries.Summary()
        tags = clean_tags(columns)
        slots = [summary.value.add(tag=tag) for tag in tags]
        rows = np.asarray([np.asarray(column, np.float64) for column in columns.values()]).T
        with np.errstate(over="ignore"):  # values beyond float32 become infinite
            numbers = rows.astype(np.float32).tolist()
        payloads = []
        for step, wall_time, row in zip(steps, times, numbers, strict=True):
            if all(self._shows(tag, step) for tag in tags):
                continue
            for slot, value in zip(slots, row, strict=True):
                slot.simple_value = value
            event = self._messages.Event(wall_time=wall_time, step=step, summary=summary)
            payloads.append(event.SerializeToString())
        self._file.append(frame(payloads))

    def rows(self, scalars: Mapping[str, Sequence[tuple[int, float, float]]]) -> None:
        """Write scalars by their tags: rows of step, value, and time in seconds since 1970."""
        for tag, logged in scalars.items():
            if not logged:
                continue
            steps, values, times = zip(*logged, strict=True)
            self.history(steps, {tag: values}, times)

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        """Write text that is shown as Markdown."""
        self.add(self._summaries.text(clean_tag(tag), markdown), step=step)

    def image(self, tag: str, step: int, png_bytes: bytes, width: int, height: int) -> None:
        """Write a PNG-encoded image of `width` x `height` pixels."""
        self.add(self._summaries.image(clean_tag(tag), png_bytes, width, height), step=step)

    def histogram(self, tag: str, step: int, values: ArrayLike) -> None:
        """Write the distribution of the finite values in 30 bins, or nothing if there are none."""
        finite = np.asarray(values, np.float64).ravel()
        finite = finite[np.isfinite(finite)]
        if finite.size:
            self.add(self._summaries.histogram(clean_tag(tag), finite), step=step)

    def add(self, *values: Summary.Value, step: int = 0) -> None:
        """Write summaries of another kind, built by `dashboards`."""
        new = [value for value in values if not self._shows(value.tag, step)]
        if not new:
            return
        summary = self._summaries.Summary(value=new)
        self._append([self._messages.Event(wall_time=time.time(), step=step, summary=summary)])

    def graph(self, serialized: bytes) -> None:
        """Write the graph of the network (a serialized GraphDef), once per run."""
        if self._shows(GRAPH, 0):
            return
        self._append([self._messages.Event(wall_time=time.time(), graph_def=serialized)])

    def hparams(
        self,
        hparams: Mapping[str, object],
        metrics: Sequence[str],
        choices: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        """Write this run's row in TensorBoard's HParams table: its hyperparameters, and the tags
        whose last values are shown with them.

        `choices` are the values that each hyperparameter takes in the sweep; they set its type and
        TensorBoard's filters.
        """
        tags = [clean_tag(tag) for tag in metrics]
        self.add(*self._summaries.session_start(hparams, tags, choices or {}, time.time()))

    def hparams_end(self, status: str) -> None:
        """Write how the run ended: "done" is a success, any other status a failure."""
        self.add(self._summaries.session_end(status == "done", time.time()))

    def steps_before(self, tag: str) -> set[int]:
        """Return the steps that the folder's earlier files show for a tag."""
        return set(self._shown.get(clean_tag(tag), ()))

    def _shows(self, tag: str, step: int) -> bool:
        """Whether the folder's earlier files show a value of this tag at this step."""
        return step in self._shown.get(tag, ())

    def _append(self, events: Iterable[Event]) -> None:
        self._file.append(frame([event.SerializeToString() for event in events]))

    def close(self) -> None:
        """Close the file; closing it again does nothing."""
        self._file.close()


def write_history(
    folder: Path,
    steps: Sequence[int],
    columns: Mapping[str, ArrayLike],
    wall_times: Sequence[float] | None = None,
    scalars: Mapping[str, Sequence[tuple[int, float, float]]] | None = None,
) -> None:
    """Write the whole history of a run, and other scalars, as one event file."""
    with EventWriter(folder) as writer:
        writer.history(steps, columns, wall_times)
        writer.rows(scalars or {})


def _create(folder: Path) -> AppendFile:
    """A new event file. TensorBoard reads the files of a folder in the order of their names, so the
    new name has a later time than the existing ones.
    """
    matches = [re.match(r"events\.out\.tfevents\.(\d+)\.", name) for name in os.listdir(folder)]
    seconds = max(int(time.time()), *[int(match[1]) + 1 for match in matches if match], 0)
    host = re.sub(r"[^\w.-]", "_", socket.gethostname())
    for number in itertools.count():
        with suppress(FileExistsError):
            return AppendFile(
                folder / f"events.out.tfevents.{seconds:010d}.{host}.{os.getpid()}.{number}"
            )
    raise AssertionError("unreachable")


@cache
def clean_tag(tag: str) -> str:
    """Return the tag as TensorBoard accepts it: letters, digits and ``_ - . /``, no empty level, at
    most 200 characters (longer tags end in a hash).
    """
    levels = re.sub(r"[^\w\-./]", "_", tag).split("/")
    clean = "/".join(filter(None, levels)) or "unnamed"
    if len(clean) > _MAX_TAG_LENGTH:
        clean = clean[: _MAX_TAG_LENGTH - 9] + "-" + hashlib.sha256(tag.encode()).hexdigest()[:8]
    return clean


def clean_tags(tags: Iterable[str]) -> list[str]:
    """Clean the tags. Raises ValueError if two become the same."""
    clean = [clean_tag(tag) for tag in tags]
    if len(set(clean)) < len(clean):
        raise ValueError(f"two of these tags are the same for TensorBoard: {', '.join(tags)}")
    return clean
