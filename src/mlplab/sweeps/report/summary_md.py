"""summary.md: the results of a sweep in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlplab.io.files import write_text_atomic
from mlplab.sweeps.report.results import Results
from mlplab.sweeps.report.text_table import best_command, cells, header
from mlplab.terminal.output import plain


def write_summary(results: Results) -> None:
    """Put summary.md into the sweep's folder."""
    write_text_atomic(results.folder / "summary.md", summary(results))


def summary(results: Results) -> str:
    """What it was, the best configuration, every configuration, every failure."""
    counts = Counter(job.status for job in results.jobs)
    parts = [
        f"# {_plain(results.name)}",
        (
            f"{len(results.jobs)} jobs:"
            f" {', '.join(f'{number} {status}' for status, number in counts.items())}. Swept:"
            f" {', '.join(f'`{key}`' for key in results.keys) or 'nothing'}."
        ),
    ]
    if best := best_command(results):
        parts += ["The best configuration:", f"```sh\n{best}\n```"]
    parts += [
        "## Configurations",
        _how_to_read(results),
        _table(header(results), [cells(results, group) for group in results.groups]),
    ]
    failures = [job for job in results.jobs if job.fails]
    if failures:
        rows = [
            [f"[{job.number}](jobs/{job.number}/)", job.status, " ".join(job.overrides), job.reason]
            for job in failures
        ]
        parts += ["## Failures", _table(["job", "status", "words", "reason"], rows)]
    return "\n\n".join(parts) + "\n"


def _how_to_read(results: Results) -> str:
    split = results.headline.partition("/")[0]
    chosen = {
        "val": "of the validation part; the test part never chooses",
        "train": "of the training part, since there is no validation part",
        "test": (
            "of the folds' test parts, in which each row is once a repeat; for the best of many it"
            " flatters"
            if results.cross_validates
            else "of the test part, as asked; it is no honest estimate for the best any more"
        ),
    }.get(split, "")
    corrected = (
        ", widened for the train rows that folds share (Nadeau, Bengio 2003)"
        if results.cross_validates
        else ""
    )
    return (
        f"Best first, by the mean of `{results.headline}` over {results.replicates}"
        f" ({'higher' if results.higher_is_better else 'lower'} is better), {chosen}. `±` is the"
        f" half width of the 95 % confidence interval of the mean (Student's t{corrected}), `std`"
        f" the standard deviation over the `n` {results.replicates} that were trained to their end."
        " Jobs that failed or diverged are counted and not averaged; configurations of which more"
        " than half failed come last."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(_plain(str(cell)).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )


def _plain(text: str) -> str:
    return plain(text).replace("<", "&lt;")
