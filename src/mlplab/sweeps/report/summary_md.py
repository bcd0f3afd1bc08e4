"""summary.md: the results of a sweep in Markdown."""

from __future__ import annotations

from collections import Counter

from mlplab.config.suggestions import listing
from mlplab.sweeps.report.conclusions import Conclusions
from mlplab.sweeps.report.configuration_table import p_text, text_table
from mlplab.sweeps.report.formats import markdown_table, markdown_text
from mlplab.sweeps.report.regroup import Effect
from mlplab.sweeps.report.results import JobResult, Results, value_text
from mlplab.sweeps.report.text_table import best_command, reasons
from mlplab.terminal.output import count

MAX_ROWS = 500
MAX_FAILURES = 200


def summary(conclusions: Conclusions) -> str:
    """Return the Markdown of counts, the best configuration, the conclusions, the configurations,
    the effects of keys, and failures.
    """
    results = conclusions.results
    counts = Counter(job.status for job in results.jobs)
    best = best_command(results)
    failures = [
        [_numbered(results, job), job.status, " ".join(job.overrides), job.reason]
        for job in [job for job in results.jobs if job.fails][:MAX_FAILURES]
    ]
    head, rows = text_table(conclusions, MAX_ROWS)
    remarks = conclusions.remarks
    sections = {
        f"# {markdown_text(results.name)}": (
            f"{len(results.jobs)} jobs:"
            f" {', '.join(f'{number} {status}' for status, number in counts.items())}. Swept:"
            f" {', '.join(f'`{key}`' for key in results.keys) or 'nothing'}."
        ),
        "## Search": results.conclusion and f"```\n{results.conclusion}\n```",
        "The best configuration:": not results.conclusion and best and f"```sh\n{best}\n```",
        "## Conclusions": "\n".join(f"- {markdown_text(remark)}" for remark in remarks),
        "## Configurations": f"{_how_to_read(results)}\n\n{markdown_table(head, rows)}"
        + _more(len(results.groups) - MAX_ROWS, "configuration"),
        "## Effects": _effects(conclusions) if len(results.axes) > 1 else "",
        "## Failures": failures
        and _reasons(results)
        + markdown_table(["job", "status", "overrides", "reason"], failures)
        + _more(sum(job.fails for job in results.jobs) - MAX_FAILURES, "failed job"),
    }
    return "\n\n".join(f"{title}\n\n{body}" for title, body in sections.items() if body) + "\n"


def _more(number: int, noun: str) -> str:
    return f"\n\n... and {count(number, noun)} more in results.csv" if number > 0 else ""


def _reasons(results: Results) -> str:
    lines = [
        f"- {count(number, 'job')} {markdown_text(text)}" for text, number, _ in reasons(results)
    ]
    return "\n".join(lines[:10]) + "\n\n"


def _effects(conclusions: Conclusions) -> str:
    texts = [
        "Each value of a key, on average over the other keys within a seed, and its difference to"
        " the best value, paired over seeds and corrected for all pairs of its values."
    ]
    texts += [_effect_table(effect) for effect in conclusions.effects]
    return "\n\n".join(texts) if len(texts) > 1 else ""


def _effect_table(effect: Effect) -> str:
    metric = effect.results.headline
    header = [effect.key, f"{metric} [95 %]", "minus best [95 %, Holm]", "p (Holm)", "seeds"]
    rows = [
        [
            value_text(group.values[effect.key]),
            group.statistics(metric).interval,
            *(["", ""] if difference is None else [difference.text, p_text(difference.adjusted)]),
            str(group.statistics(metric).n),
        ]
        for group, difference in zip(effect.results.groups, effect.comparisons.to_best, strict=True)
    ]
    title = (
        f"`{effect.key}`, mean over {listing((f'`{key}`' for key in effect.others), last=' and ')}:"
    )
    return f"{title}\n\n{markdown_table(header, rows)}"


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
    overlap = (
        "; variances are larger because folds share train rows (Nadeau, Bengio 2003)"
        if results.cross_validates
        else ""
    )
    return (
        f"Best first, by the mean of `{results.headline}` over {results.replicates}"
        f" ({'higher' if results.higher_is_better else 'lower'} is better), {source}; ties go"
        " to the lower loss, then to fewer parameters. In brackets is the 95 % confidence interval"
        f" of the mean, a score interval within the bounds of the metric{overlap}. IQM is the mean"
        " without the lowest and the highest quarter of the values, `std` the standard deviation"
        f" over the `n` {results.replicates} that the mean contains. `minus best` is the mean"
        f" difference to the first row, over the {results.replicates} that both share; its interval"
        " and p-value are corrected by Holm's method for all pairs of configurations, since the"
        " best was chosen from the same numbers. Failed jobs are counted, not averaged; diverged"
        " ones "
        + (
            "count as the worst value of the metric"
            if results.diverged == "worst"
            else "are not averaged either"
        )
        + " (sweep.diverged). Configurations with more than half of their jobs failed or diverged"
        " come last."
    )
