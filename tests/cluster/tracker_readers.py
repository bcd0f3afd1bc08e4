"""What MLflow and Weights & Biases have of runs, as JSON: run by the Python that has them.

    python tracker_readers.py mlflow URI
    python tracker_readers.py wandb FOLDER

Prints a list of runs with id, name, kind, parent or group, status, params, tags, the history of
each metric as [epoch, value] pairs, final numbers, and the names of the artifacts.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

_BLOCK, _HEADER = 32768, 7


def of_mlflow(uri):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    for experiment in client.search_experiments():
        token = None
        while True:
            page = client.search_runs([experiment.experiment_id], page_token=token)
            for run in page:
                yield mlflow_run(client, run)
            token = page.token
            if not token:
                break


def mlflow_run(client, run):
    run_id, tags = run.info.run_id, run.data.tags
    return {
        "id": tags.get("mlplab.id"),
        "tracker_id": run_id,
        "name": run.info.run_name,
        "kind": tags.get("mlplab.kind"),
        "parent": tags.get("mlflow.parentRunId"),
        "status": run.info.status,
        "params": run.data.params,
        "tags": tags,
        "history": {
            name: [[m.step, m.value] for m in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        },
        "final": run.data.metrics,
        "artifacts": sorted(artifacts(client, run_id)),
    }


def artifacts(client, run_id, below=None):
    for one in client.list_artifacts(run_id, below):
        if one.is_dir:
            yield from artifacts(client, run_id, one.path)
        else:
            yield one.path


def of_wandb(folder):
    for path in sorted(Path(folder).glob("offline-run-*/*.wandb")):
        yield wandb_run(path)


def wandb_run(path):
    from wandb.proto.wandb_internal_pb2 import Record

    run = {"path": str(path), "params": {}, "final": {}, "history": {}, "artifacts": []}
    for data in log_records(path.read_bytes()):
        record = Record.FromString(data)
        match record.WhichOneof("record_type"):
            case "run":
                of_run = record.run
                run |= {"id": of_run.run_id, "name": of_run.display_name, "kind": of_run.job_type}
                run |= {"parent": of_run.run_group, "project": of_run.project}
                run["params"] |= items(of_run.config.update)
            case "config":
                run["params"] |= items(record.config.update)
            case "summary":
                run["final"] |= items(record.summary.update)
            case "history":
                row = items(record.history.item)
                for name, value in row.items():
                    run["history"].setdefault(name, []).append([row["epoch"], value])
            case "exit":
                run["status"] = record.exit.exit_code
            case "files":
                run["artifacts"] += [file.path for file in record.files.files]
    run["artifacts"] = sorted(set(run["artifacts"]))
    return run


def items(fields):
    return {one.key or "/".join(one.nested_key): json.loads(one.value_json) for one in fields}


def log_records(data):
    """The records of a file in the format of LevelDB's log, which starts with a header of W&B."""
    position, record = _HEADER, b""
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + _HEADER])
        position += _HEADER
        record += data[position : position + length]
        position += length
        if kind in (1, 4):  # complete, or the last of several
            yield record
            record = b""


if __name__ == "__main__":
    kind, where = sys.argv[1:]
    print(json.dumps(list({"mlflow": of_mlflow, "wandb": of_wandb}[kind](where))))
