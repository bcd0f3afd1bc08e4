"""summary.md: the results of a sweep in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlplab.sweeps.report.results import JobResult, Results
from mlplab.sweeps.report.text_table import best_command, cells, header
from mlplab.terminal.output import plain


def summary(results: Results) -> str:
    """Return the Markdown of counts, the best configuration, all configurations and failures."""
    counts = Counter(job.status for job in results.jobs)
    best = best_command(results)
    failures = [
        [_numbered(results, job), job.status, " ".join(job.overrides), job.reason]
        for job in results.jobs
        if job.fails
    ]
    sections = {
        f"# {_plain(results.name)}": (
            f"{len(results.jobs)} jobs:"
            f" {', '.join(f'{number} {status}' for status, number in counts.items())}. Swept:"
            f" {', '.join(f'`{key}`' for key in results.keys) or 'nothing'}."
        ),
        "The best configuration:": best and f"```sh\n{best}\n```",
        "## Configurations": _how_to_read(results)
        + "\n\n"
        + _table(header(results), [cells(results, group) for group in results.groups]),
        "## Failures": failures and _table(["job", "status", "overrides", "reason"], failures),
    }
    return "\n\n".join(f"{title}\n\n{body}" for title, body in sections.items() if body) + "\n"


def _numbered(results: Results, job: JobResult) -> str:
    """The number of a job, as a link if it has a folder; a packed one is opened first."""
    link = f"jobs/{job.number}/"
    return f"[{job.number}]({link})" if (results.folder / link).is_dir() else str(job.number)


def _how_to_read(results: Results) -> str:
    source = {
        "val": "on the validation split; the test split never affects the order",
        "train": "on the training split, since there is no validation split",
        "test": (
            "on the test splits of the folds, which contain each row once per repeat; for the best"
            " of many configurations it is optimistic"
            if results.cross_validates
            else "on the test split, as requested; for the best it is no longer an honest estimate"
        ),
    }.get(results.headline.partition("/")[0], "")
    corrected = (
        ", widened because folds share train rows (Nadeau, Bengio 2003)"
        if results.cross_validates
        else ""
    )
    return (
        f"Best first, by the mean of `{results.headline}` over {results.replicates}"
        f" ({'higher' if results.higher_is_better else 'lower'} is better), {source}; ties go"
        " to the lower loss, then to fewer parameters. In brackets is the 95 % confidence interval"
        f" of the mean (Student's t{corrected}; it ends at the bounds of the metric), `std` is the"
        f" standard deviation over the `n` {results.replicates} that were trained to their end."
        " Jobs that failed or diverged are counted, not averaged; configurations with more than"
        " half of their jobs failed come last."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(_plain(str(cell)).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )


def _plain(text: str) -> str:
    return plain(text).replace("<", "&lt;")
