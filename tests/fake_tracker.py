"""A tracker that keeps what it is sent: in `RECORDS`, and as lines of JSON in the file that the
environment variable RECORDER names, for tests in which another process mirrors.

RECORDER_FAULT makes it fail: `raise`, `hang`, or `exit`, from the method that RECORDER_AT names.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from mlplab.config.plugins import register
from mlplab.trackers import Tracker

NAME = "recorder"
RECORDS: list[dict[str, Any]] = []


@register("tracker", NAME)
class Recorder(Tracker):
    """Keeps what it is sent."""

    def target(self) -> str:
        return os.environ.get("RECORDER", "memory")

    def open(self, run):
        self.id = run.id
        parent = run.parent.id if run.parent else None
        run.saved["opened"] = str(int(run.saved.get("opened", "0")) + 1)
        self._record("open", name=run.name, kind=run.kind, parent=parent, tags=dict(run.tags))

    def params(self, values):
        self._record("params", values=dict(values))

    def metrics(self, evaluations):
        rows = [[one.epoch, one.step, dict(one.values)] for one in evaluations]
        self._record("metrics", rows=rows)

    def artifact(self, name, path):
        self._record("artifact", name=name, size=len(path.read_bytes()))

    def close(self, status, summary):
        self._record("close", status=status, summary=dict(summary))

    def _record(self, method: str, **values: object) -> None:
        fault = os.environ.get("RECORDER_FAULT")
        if fault and os.environ.get("RECORDER_AT", "metrics") == method:
            if fault == "raise":
                raise OSError("the server is gone")
            if fault == "exit":
                os._exit(7)
            time.sleep(10_000)
        record = {"method": method, "id": self.id, **values}
        RECORDS.append(record)
        if path := os.environ.get("RECORDER"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
