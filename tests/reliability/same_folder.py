"""Compare the folders that two runs, sweeps or searches of the same configuration leave, file by
file: for example one that was killed and resumed with one that was not.

FILES says how each file is compared and why it is not simply equal byte for byte. A file or folder
that only one of them has, and a file that no entry names, are differences.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from mlplab.runs.checkpoints import newest

TIME_OF_LOG = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")
"""The time at the start of each line of log.txt."""
RESUME_LINES = re.compile(
    r"INFO (resumed; device |from the checkpoint of step |no checkpoint yet: )"
    r"|WARNING the previous process was killed, "
    r"|WARNING \S+/state-\d{12}\.safetensors was never completed"
    r"|INFO interrupted while drawing: "
    r"|INFO SIG[A-Z0-9]+: stopped after step "
)
"""The lines that a resume adds to log.txt."""
TOGETHER = re.compile(r"one of \d+ trained together")
"""How many jobs train together depends on how many are left after a kill."""
DRAWN_IN_TIME = ("decision", "units", "hidden")
"""Images of which more or fewer are drawn during a training, depending on the time it takes."""
DISTRIBUTIONS = ("weights/", "biases/", "gradients/", "activations/")
"""Tags of histograms, which are written during a training if the time allows it."""


COMPUTE_TIME = ("seconds", "cpu_seconds")
"""Entries of summary.json and columns of results.csv."""


def exact(path: Path) -> bytes:
    return path.read_bytes()


def ignored(path: Path) -> None:
    """The file exists; its content may differ."""


def log(path: Path) -> list[str]:
    lines = [TIME_OF_LOG.sub("", line) for line in path.read_text().splitlines()]
    lines = [TOGETHER.sub("one of some trained together", line) for line in lines]
    kept = [line for line in lines if not RESUME_LINES.match(line)]
    # killed after the line that ends it: the resumed process writes the two lines again
    unique = list(dict.fromkeys(kept))
    assert len(kept) <= 2 * len(unique), kept
    return unique


def run_summary(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    for key in COMPUTE_TIME:
        assert content.pop(key) >= 0
    assert content.pop("population", 1) >= 1  # as TOGETHER
    for population in content.get("populations", ()):
        assert all(population.pop(key) >= 0 for key in COMPUTE_TIME)
    return content


def origin(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    del content["started"]
    resumed = content.pop("resumed", [])
    assert all(isinstance(entry["from_step"], int) for entry in resumed)
    return content


def table(path: Path) -> list[list[str]]:
    rows = list(csv.reader(io.StringIO(path.read_text())))
    columns = [i for i, name in enumerate(rows[0]) if name not in COMPUTE_TIME]
    return [[row[i] for i in columns] for row in rows]


def page(path: Path) -> str:
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "id", path.read_text())


def study(path: Path) -> list[tuple[object, ...]]:
    import optuna

    storage = f"sqlite:///{path.resolve()}"
    trials = optuna.load_study(study_name="mlplab", storage=storage).get_trials()
    return [
        (t.number, t.state.name, t.params, t.values, t.intermediate_values, t.user_attrs)
        for t in trials
    ]


def measurements(path: Path) -> list[tuple[object, ...]]:
    """The rows of history.bin, however many saves appended them; without their times."""
    saved, problems = newest(path.parent)
    assert problems == []
    assert saved is not None
    rows = []
    for record in saved.history:
        for row in range(len(record["step"])):
            names = sorted(name for name in record if name != "time")
            rows.append(tuple((name, record[name][row].numpy().tobytes()) for name in names))
    return rows


FILES: tuple[tuple[str, Callable[[Path], Any], str], ...] = (
    *(
        (name, ignored, "names the host, process and time of the last owner")
        for name in (".lock", ".locks/*/.lock", ".search/.lock")
    ),
    ("log.txt", log, "times, how many trained together, and the lines of a kill and a resume"),
    ("summary.json", run_summary, "computing time, and how many jobs trained together"),
    (".compute.csv", ignored, "computing time"),
    ("provenance.json", origin, "the time of the start, and an entry for each resume"),
    ("checkpoints/history.bin", measurements, "one record a save; the time of each row"),
    ("results.csv", table, "computing time"),
    ("search.html", page, "random identifiers of the figures"),
    ("study.db", study, "the times of the trials"),
    *((name, exact, "") for name in ("config.yaml", "overrides.yaml", "metrics.csv", "plan.yaml")),
    *((name, exact, "") for name in ("weights.safetensors", "frames.safetensors")),
    *((f"checkpoints/{name}.safetensors", exact, "") for name in ("best", "last")),
    *((f"pictures/{name}", exact, "") for name in ("*.png", "*.md")),
    *((name, exact, "") for name in ("projector/*.tsv", "projector_config.pbtxt", "artifacts/*")),
    *((name, exact, "") for name in ("report.html", "summary.md", "search.md", "search.yaml")),
    ("plotly.min.js", exact, ""),
    *((name, exact, "") for name in ("data_report.md", "data.safetensors", "error.txt")),
    *((name, exact, "") for name in ("animation.gif", "*.onnx", "*.pt2", "*.csv", "*.parquet")),
)
"""Pattern of a file in a run, a job or a sweep; what must be equal; and what may differ."""
STATES = re.compile(r"state-\d{12}\.(safetensors|json)")
"""Checkpoints, compared by `newest_state`. Which older one is kept beside the newest depends on the
time."""
EVENTS = re.compile(r"events\.out\.tfevents\.\d+\..+")
"""Event files, compared by `tensorboard`: a resumed run has one for each process."""


def differences(folder: Path, undisturbed: Path) -> list[str]:
    """Return a line for each difference of a folder from the undisturbed one."""
    ours, theirs = _names(folder), _names(undisturbed)
    assert theirs, f"there is nothing in {undisturbed}"
    lines = [f"only in {folder}: {name}" for name in sorted(ours - theirs)]
    lines += [f"only in {undisturbed}: {name}" for name in sorted(theirs - ours)]
    for name in sorted(ours & theirs):
        if name.endswith("/"):
            continue
        if name.endswith("events"):
            lines += [
                f"{name}: {line}"
                for line in tensorboard((folder / name).parent, (undisturbed / name).parent)
            ]
            continue
        content = newest_state if name.endswith("newest state") else _reader(name, undisturbed)
        if content is None:
            lines.append(f"{name}: no entry of FILES says how to compare it")
        elif content(folder / name) != content(undisturbed / name):
            lines.append(f"{name}: {_first_difference(folder / name, undisturbed / name, content)}")
    return lines


def _names(folder: Path) -> set[str]:
    """The files and folders below a folder; checkpoints and event files as one name each."""
    names = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if STATES.fullmatch(path.name):
            name = name.with_name("newest state")
        elif EVENTS.fullmatch(path.name):
            name = name.with_name("events")
        names.add(f"{name.as_posix()}/" if path.is_dir() else name.as_posix())
    return names


def _reader(name: str, root: Path) -> Callable[[Path], Any] | None:
    """How a file is compared; the files of a job are those of a run."""
    name_in_run = re.sub(r"^jobs/\d+/", "", name)
    for pattern, content, _ in FILES:
        if fnmatchcase(name_in_run, pattern) and pattern.count("/") == name_in_run.count("/"):
            return content
    return None


def torn(folder: Path, undisturbed: Path) -> list[str]:
    """Return the files of a killed process that have their final names, but not their content.

    For files that are written once; results of a sweep and measurements grow.
    """
    grows = ("metrics.csv", "plan.yaml", "summary.json")
    return [
        name
        for name in sorted(_names(folder) & _names(undisturbed))
        if _reader(name, undisturbed) is exact
        and Path(name).name not in grows
        and exact(folder / name) != exact(undisturbed / name)
    ]


def newest_state(name: Path) -> bytes:
    saved, problems = newest(name.parent)
    assert problems == []
    assert saved is not None
    manifest = dict(saved.manifest)
    for key in ("elapsed", "cpu_elapsed", "saved", "history"):
        del manifest[key]
    state = (name.parent / manifest["state"]["file"]).read_bytes()
    return json.dumps(manifest).encode() + state


def tensorboard(folder: Path, undisturbed: Path) -> list[str]:
    """Compare what TensorBoard shows of two runs, by tag and step.

    Images and distributions of a training are drawn if the time allows it: the first distribution,
    the last image of each picture and the first of three or more of the decision are always there,
    and those of equal steps are equal.
    """
    ours, theirs = shown(folder), shown(undisturbed)
    lines = [f"tag {tag} is in one of them only" for tag in sorted(set(ours) ^ set(theirs))]
    for tag in sorted(set(ours) & set(theirs)):
        steps, expected = list(ours[tag]), list(theirs[tag])
        if steps != sorted(set(steps)):
            lines.append(f"the steps of {tag} are {steps}")
        if tag.startswith(DISTRIBUTIONS):
            same = steps[0] == expected[0]
        elif tag in DRAWN_IN_TIME:
            same = steps[-1] == expected[-1]
            if tag == "decision":
                same &= steps[0] == expected[0] and min(len(steps), 3) == min(len(expected), 3)
        else:
            same = steps == expected
        if not same:
            lines.append(f"{tag} has the steps {steps}, not {expected}")
        lines += [
            f"{tag} differs at step {step}"
            for step in sorted(set(steps) & set(expected))
            if ours[tag][step] != theirs[tag][step]
        ]
    return lines


def shown(folder: Path) -> dict[str, dict[int, object]]:
    """Tag -> step -> value, as TensorBoard reads the event files of a folder. Of a value that was
    written twice the last one is shown; a list has the steps in the order of writing.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    everything = dict.fromkeys(("scalars", "images", "tensors"), 0)
    reader = EventAccumulator(str(folder), size_guidance=everything).Reload()
    tags = reader.Tags()
    values: dict[str, dict[int, object]] = {"graph": {0: reader.Graph()} if tags["graph"] else {}}
    for tag in tags["scalars"]:
        values[tag] = {e.step: np.float32(e.value).tobytes() for e in reader.Scalars(tag)}
    for tag in tags["images"]:
        values[tag] = {e.step: e.encoded_image_string for e in reader.Images(tag)}
    for tag in tags["tensors"]:
        values[tag] = {e.step: e.tensor_proto for e in reader.Tensors(tag)}
        if tag.startswith("_hparams_/"):  # their content is in the metadata, with the time
            content = reader.SummaryMetadata(tag).plugin_data.content
            data = HParamsPluginData.FromString(content)
            data.session_start_info.ClearField("start_time_secs")
            data.session_end_info.ClearField("end_time_secs")
            values[tag] = {0: data}
    return values


def _first_difference(path: Path, other: Path, content: Callable[[Path], Any]) -> str:
    ours, theirs = content(path), content(other)
    if isinstance(ours, dict):
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        return ", ".join(f"{key} is {ours.get(key)!r}, not {theirs.get(key)!r}" for key in keys)
    if isinstance(ours, bytes | str):
        ours, theirs = ours.splitlines(), theirs.splitlines()
    for number, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a != b:
            return f"line {number} is {str(a)[:200]}, not {str(b)[:200]}"
    return f"{len(ours)} lines, not {len(theirs)}"
