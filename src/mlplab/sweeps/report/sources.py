"""The results of several sweeps and runs as one table: by the values in which they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlplab.config import settings_of_folder
from mlplab.config.override_lines import split
from mlplab.runs.flat_config import flatten
from mlplab.runs.plan_text import NAME
from mlplab.runs.resume_checks import result_config
from mlplab.runs.run_index import summary_of
from mlplab.sweeps.plan.plan import Job, value_of
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.report.collect import collect, job_result
from mlplab.sweeps.report.results import FROM, SEEDS, JobResult, Results


@dataclass(frozen=True)
class Source:
    """A sweep or a run: its jobs with their results, and the keys that its jobs vary."""

    folder: Path
    jobs: tuple[Job, ...]
    results: Results
    keys: tuple[str, ...]


def read_sweep_results(folder: Path) -> Source:
    """Read the plan and the results of a sweep; damaged files raise as in `read_plan`."""
    plan = read_plan(folder)
    return Source(folder, plan.jobs, collect(plan, folder), plan.keys)


def read_run_results(folder: Path) -> Source:
    """Read a run. Raises ConfigError for a configuration that cannot be read."""
    settings = settings_of_folder(folder)
    summary = summary_of(folder) or {"status": "missing", "reason": "no summary.json"}
    job = Job(0, "", settings)
    results = Results(settings.name, folder, [job_result(job, summary, folder)])
    return Source(folder, (job,), results, tuple(dict(map(split, settings.overrides))))


def read_source(folder: Path) -> Source:
    """Read the folder of a sweep or a run."""
    is_sweep = (folder / NAME).is_file()
    return read_sweep_results(folder) if is_sweep else read_run_results(folder)


def merged(sources: Sequence[Source]) -> Results:
    """Return the jobs of all sources as those of one sweep.

    The keys are the swept keys of each sweep, and those in which the configurations of the sources
    differ and that affect the result. If two folders have a job of the same values and seeds,
    `from` names the folder. The metric and the other options are those of the first sweep.
    """
    keys = _keys(sources)
    repeated = _repeats(sources, keys)
    names = _names(sources)
    jobs: list[JobResult] = []
    for source, name in zip(sources, names, strict=True):
        for job, result in zip(source.jobs, source.results.jobs, strict=True):
            values = {key: value_of(job, key) for key in keys}
            if repeated:
                values = {FROM: name, **values}
            jobs.append(replace(result, number=len(jobs), values=values))
    first = next((s.results for s in sources if len(s.jobs) > 1), sources[0].results)
    metrics = {source.results.metric for source in sources}
    return replace(
        first,
        name=", ".join(names),
        jobs=jobs,
        metric=first.metric if len(metrics) == 1 else "auto",
        flags=(),
    )


def _keys(sources: Sequence[Source]) -> list[str]:
    """The keys in which jobs differ, those of the sweeps first, and the seeds last."""
    swept = dict.fromkeys(key for source in sources for key in source.keys)
    flat = [flatten(result_config(source.jobs[0].settings.config)) for source in sources]
    changed = dict.fromkeys(key for one in flat for key in one)
    differing = [key for key in changed if len({repr(one.get(key)) for one in flat}) > 1]
    implied = [
        key
        for key in differing
        if any(key.startswith(f"{group}.") for group in (*differing, *swept) if "." not in group)
    ]
    candidates = dict.fromkeys([*swept, *(key for key in differing if key not in implied)])
    chosen = [
        key
        for key in candidates
        if key != "experiment" and len(set(_values_of(sources, key))) > 1 and _affects(key)
    ]
    return [*(k for k in chosen if k not in SEEDS), *(k for k in chosen if k in SEEDS)]


def _affects(key: str) -> bool:
    """Whether a key can affect the numbers of a job."""
    return bool(result_config({key.partition(".")[0]: object()}))


def _values_of(sources: Sequence[Source], key: str) -> Iterator[str]:
    return (repr(value_of(job, key)) for source in sources for job in source.jobs)


def _repeats(sources: Sequence[Source], keys: Sequence[str]) -> bool:
    """Whether two sources have a job of the same values."""
    seen: dict[str, int] = {}
    for number, source in enumerate(sources):
        for job in source.jobs:
            values = repr([value_of(job, key) for key in keys])
            if seen.setdefault(values, number) != number:
                return True
    return False


def _names(sources: Sequence[Source]) -> list[str]:
    """The name of each folder, or its path if several have the same name."""
    counts: Mapping[str, int] = Counter(source.folder.name for source in sources)
    return [
        s.folder.name if s.folder.name and counts[s.folder.name] == 1 else str(s.folder)
        for s in sources
    ]
