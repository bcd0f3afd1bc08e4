"""What a tracker has of a run or a sweep, in the folder `mirror` of theirs, a file each tracker.

What was sent to one target, such as a server, is stored under a digest of its address: an address
may contain a password, and a folder does not decide where its run is sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlplab.io.files import write_json
from mlplab.io.links import make_folder, open_to_append, refuse_links
from mlplab.io.locks import try_lock
from mlplab.runs.run_index import json_or_empty

FOLDER = "mirror"
FORMAT = "mlplab-mirror-1"


@dataclass
class Sent:
    """What was sent of one run: the number of evaluations and a digest of them, the digest of
    summary.json, and those of its artifacts by name. `attempt` counts how often the run was sent
    from its start, since its numbers had changed.
    """

    rows: int = 0
    digest: str = ""
    summary: str = ""
    attempt: int = 0
    artifacts: dict[str, str] = field(default_factory=dict)
    saved: dict[str, str] = field(default_factory=dict)


class State:
    """The file of one tracker. A damaged one counts as empty, and one that cannot be written is
    left out: trackers that can be asked are asked what they have.
    """

    def __init__(self, folder: Path, tracker: str, target: str) -> None:
        self.path = state_path(folder, tracker)
        refuse_links([self.path.parent, self.path])
        self._content = _content(self.path)
        self._target = hashlib.sha256(target.encode()).hexdigest()[:16]
        stored = self._content["targets"].get(self._target)
        self.sent = {
            str(key): sent
            for key, value in (stored.items() if isinstance(stored, dict) else ())
            if (sent := _sent(value)) is not None
        }
        self.id: str | None = self._content["id"]

    def of(self, key: str) -> Sent:
        """What was sent of the run itself (key ""), or of the job with this number."""
        return self.sent.setdefault(key, Sent())

    def write(self) -> None:
        """Write the file, if the folder can be written to."""
        targets = {
            **self._content["targets"],
            self._target: {key: asdict(sent) for key, sent in self.sent.items()},
        }
        with contextlib.suppress(OSError):
            make_folder(self.path.parent)
            write_json(self.path, {"format": FORMAT, "id": self.id, "targets": targets})


def state_path(folder: Path, tracker: str) -> Path:
    """Return the file of a tracker."""
    return folder / FOLDER / f"{tracker}.json"


def sent_so_far(folder: Path, tracker: str) -> int:
    """Return the number of runs of which something was sent, or for a single run that of its
    evaluations, to the target that has most of them.
    """
    targets = _content(state_path(folder, tracker))["targets"].values()
    counts = [0]
    for runs in targets:
        sent = {key: _sent(value) for key, value in runs.items()} if isinstance(runs, dict) else {}
        jobs = [key for key, one in sent.items() if key and one is not None and one.summary]
        single = sent.get("")
        counts.append(len(jobs) or (single.rows if single is not None else 0))
    return max(counts)


def _content(path: Path) -> dict[str, Any]:
    content = {} if os.path.islink(path) else json_or_empty(path)
    targets, identity = content.get("targets"), content.get("id")
    is_valid = content.get("format") == FORMAT and isinstance(targets, dict)
    is_id = isinstance(identity, str) and re.fullmatch(r"[0-9a-f]{16}", identity)
    return {"targets": targets if is_valid else {}, "id": identity if is_valid and is_id else None}


def _sent(value: object) -> Sent | None:
    """What a file says of a run; None if it is damaged."""
    if not isinstance(value, Mapping):
        return None
    for name, example in asdict(Sent()).items():
        if type(value.get(name)) is not type(example):
            return None
    texts = (*value["artifacts"].items(), *value["saved"].items())
    if value["rows"] < 0 or not all(isinstance(x, str) for pair in texts for x in pair):
        return None
    return Sent(**{name: value[name] for name in asdict(Sent())})


@contextlib.contextmanager
def locked(folder: Path, tracker: str, wait: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time mirror a folder to a tracker; `wait` is called now and then while
    another one does. A folder that cannot be written to, or has no locks, is not locked.
    """
    with contextlib.ExitStack() as lock:
        with contextlib.suppress(OSError):
            path = make_folder(folder / FOLDER) / f".{tracker}.lock"
            file = lock.enter_context(open_to_append(path))
            while not try_lock(file.fileno()):
                wait()
                time.sleep(0.2)
        yield
