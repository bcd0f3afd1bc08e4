#!/usr/bin/env python
"""Train healthy and ill runs, diagnose them, and count: the figures of docs/doctor.md.

`study.py calibration --each 30 --healthy 300 -o FILE` appends a line of JSON for each run to FILE,
and goes on where it ended; `study.py --table FILE` prints the confusion matrix and the intervals.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import cases

from mlplab.doctor import Evidence, diagnose
from mlplab.model.preprocessing import Preprocessing
from mlplab.model.structure import build_structure
from mlplab.runs.health import at_end, restarts
from mlplab.training import DataCache, Session, prepare_members
from mlplab.training.outcome import Outcome
from mlplab.training.prepare import PreparedMember

STARTS = 8  # seeds that show whether a start was unlucky
KEPT = 3  # starts of one training that are stuck and kept
HARM = 0.1  # how much worse than its twin an ill run is, in accuracy or R2


def train(settings) -> list[tuple[PreparedMember, Outcome]]:
    """Train settings in one session."""
    members = prepare_members(settings, DataCache())
    session = Session.of(members)
    session.run()
    return list(zip(members, session.outcomes(), strict=True))


def score(case: cases.Case, outcome: Outcome, split: str = "test") -> float:
    """The score of the best weights: balanced accuracy of imbalanced classes."""
    name = "r2" if not case.problem.classes else "accuracy"
    name = "balanced_accuracy" if case.ailment == "imbalance" else name
    split = split if f"{split}/{name}" in outcome.metrics else "train"
    value = outcome.metrics[f"{split}/{name}"]
    return value if np.isfinite(value) else -np.inf


def test_rise(member: PreparedMember, outcome: Outcome) -> float:
    """How much higher the test loss of the last weights is than that of the best ones, in units of
    the loss of outputs 0. The doctor does not see test rows.
    """
    test = member.prepared.test.real()
    x_1NF = torch.from_numpy(test.x).unsqueeze(0)
    y_1N = torch.from_numpy(test.y).unsqueeze(0)
    preprocessing, loss = Preprocessing.of(member.prepared), member.settings.loss
    network = build_structure(member.settings, preprocessing, loss)
    weights = (
        (outcome.last_theta_P, outcome.last_buffers),
        (outcome.theta_P, outcome.buffers),
    )
    values = []
    for theta_P, buffers in weights:
        views = network.layout.layers(network.layout.split(theta_P.double().unsqueeze(0)))
        stacked = {name: value.double().unsqueeze(0) for name, value in buffers.items()}
        outputs_1NC = network.forward(views, x_1NF, stacked)
        values.append(float(loss(outputs_1NC, y_1N).mean()))
    zero = float(loss(torch.zeros_like(outputs_1NC), y_1N).mean())
    return (values[0] - values[1]) / zero


def is_true(
    case: cases.Case,
    member: PreparedMember,
    outcome: Outcome,
    twin: Outcome | None,
    others: Sequence[Outcome],
) -> bool:
    """Whether the run is what it was made to be, which the doctor has no say in."""
    value = score(case, outcome)
    if case.ailment in ("healthy", "overfitting"):
        if outcome.status != "done":
            return False
        rise = test_rise(member, outcome)
        if case.ailment == "overfitting":
            return rise > 0.1
        return value >= case.problem.good and rise < 0.05
    if case.ailment in ("stuck", "too_few_units"):
        solved = np.mean([score(case, other) >= case.problem.good for other in others])
        failed = value < case.problem.good - HARM
        return bool(failed and (solved >= 0.25 if case.ailment == "stuck" else solved == 0))
    if outcome.status == "diverged":
        return case.ailment in (
            "lr_too_high",
            "exploding_start",
            "unscaled_inputs",
            "unscaled_target",
        )
    assert twin is not None
    good = score(case, twin)
    if case.ailment == "imbalance":  # the twin has other rows
        return value < 0.75
    return bool(good >= case.problem.good and value < good - HARM)


def never_solved(chosen: Sequence[cases.Case]) -> list[bool]:
    """Whether each case does badly after three times as many epochs, too."""
    longer = []
    for case in chosen:
        epochs = next(t for t in case.overrides if t.startswith("training.epochs=")).split("=")[1]
        longer.append(case.settings((f"training.epochs={3 * int(epochs)}",)))
    return [
        score(case, outcome) < case.problem.good - HARM
        for case, (_, outcome) in zip(chosen, train(longer) if longer else [], strict=True)
    ]


def improved(case: cases.Case, before: Outcome, after: Outcome) -> bool:
    """Whether a remedy made the validation metric better."""
    if case.ailment == "overfitting":
        name = "val/log_loss" if case.problem.classes else "val/rmse"
        return bool(after.metrics[name] < before.metrics[name])
    old, new = score(case, before, "val"), score(case, after, "val")
    if old == new and case.problem.classes:
        split = "val" if "val/log_loss" in before.metrics else "train"
        return bool(after.metrics[f"{split}/log_loss"] < before.metrics[f"{split}/log_loss"])
    return new > old


def measures(evidence: Evidence) -> dict[str, float]:
    """The numbers behind the diagnoses, to look at."""
    from mlplab.doctor import fit_checks, step_checks
    from mlplab.doctor.probing import unused_units

    values = {
        "deficit": evidence.deficit,
        "reference": evidence.reference.best,
        "constant": evidence.reference.constant,
        "train": evidence.last_score("train"),
        "late": evidence.late_ratio() if len(evidence.ratios_EL) else np.nan,
        "median": evidence.median_ratio() if len(evidence.ratios_EL) else np.nan,
        "end": step_checks.end_over_min(evidence),
        "falls": evidence.falls(),
        "saturated": max([s.saturated for s in evidence.start_layers], default=0),
        "dead0": max([s.dead for s in evidence.start_layers], default=0),
        "dead": max([s.dead for s in evidence.last_layers], default=0),
        "gradient_ratio": evidence.gradients.norms_L[0]
        / max(evidence.gradients.norms_L[-1], 1e-30),
        "loss0": evidence.gradients.loss / evidence.zero_loss,
        "overfit": fit_checks.overfit_gap(evidence),
        "rise": fit_checks.overfit_rise(evidence),
        "score_gap": evidence.last_score("train") - evidence.last_score("val"),
        "unused": sum(unused_units(s.h_BH, 0.02) for s in evidence.last_layers),
        "best": evidence.best_epoch / max(1, evidence.history.epoch[-1]),
    }
    return {name: round(float(value), 5) for name, value in values.items()}


Trained = tuple[PreparedMember, Outcome]


def with_others(chosen: Sequence[cases.Case]) -> list[tuple[Trained, list[Outcome]]]:
    """Train cases, and what each is compared with: its healthy twin, or other starts. All starts
    of a stuck case are cases themselves.
    """
    if chosen[0].ailment == "stuck":
        trained = train([case.settings() for case in chosen])
        return [(pair, [outcome for _, outcome in trained]) for pair in trained]
    variants = []
    for case in chosen:
        others = [case.twin] if case.twin is not None else []
        if case.ailment == "too_few_units":
            seeds = range(case.seed + 1, case.seed + STARTS + 1)
            others = [dataclasses.replace(case, seed=seed) for seed in seeds]
        variants.append([case.settings(), *(other.settings() for other in others)])
    trained = iter(train([one for several in variants for one in several]))
    groups = [[next(trained) for _ in several] for several in variants]
    return [(first, [outcome for _, outcome in others]) for first, *others in groups]


def study(pool: str, ailment: str, numbers: Sequence[int]) -> Iterator[dict[str, object]]:
    """Train and diagnose the cases of these numbers; those that are not what they were made to be
    have `true` False. Numbers of stuck cases are those of all starts of one training.
    """
    chosen = [cases.case(pool, ailment, number) for number in numbers]
    compared = list(zip(chosen, with_others(chosen), strict=True))
    true_ones = [
        is_true(case, member, outcome, others[0] if others else None, others)
        for case, ((member, outcome), others) in compared
    ]
    if ailment == "stuck":
        failed = list(itertools.compress(range(len(chosen)), true_ones))[: 2 * KEPT]
        stay = never_solved([chosen[i] for i in failed])
        kept = list(itertools.compress(failed, stay))[:KEPT]
        true_ones = [i in kept for i in range(len(chosen))]
    wanted = []
    for number, (case, ((member, outcome), _)), true in zip(
        numbers, compared, true_ones, strict=True
    ):
        line = {
            "pool": pool,
            "ailment": ailment,
            "number": number,
            "true": true,
            "dataset": case.problem.dataset[0],
            "status": outcome.status,
            "score": round(score(case, outcome), 4),
        }
        if true or ailment != "stuck":
            line |= diagnosed(member, outcome)
        if true and ailment != "healthy" and line["overrides"]:
            wanted.append((case, outcome, line))
        else:
            yield line
    changed = train([case.settings(tuple(line["overrides"])) for case, _, line in wanted])
    for (case, outcome, line), (_, after) in zip(wanted, changed, strict=True):
        yield line | {"improved": improved(case, outcome, after), "after": score(case, after)}


def diagnosed(member: PreparedMember, outcome: Outcome) -> dict[str, object]:
    """What the doctor says of a run, when its training ends and later, and its processor time
    without other starts.
    """
    evidence = Evidence.of_outcome(member, outcome)
    start = time.process_time()
    diagnose(evidence)
    seconds = time.process_time() - start
    ended = at_end(member, outcome, other_starts=True)
    findings = diagnose(evidence, partial(restarts, member)).findings
    return {
        "at_end": [finding.name for finding in ended.findings],
        "findings": [finding.name for finding in findings],
        "overrides": list(findings[0].overrides) if findings else [],
        "seconds": round(seconds, 5),
        "measures": measures(evidence),
    }


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * (share * (1 - share) / count + z * z / (4 * count**2)) ** 0.5 / (1 + z * z / count)
    return middle - half, middle + half


def table(lines: Sequence[dict]) -> str:
    """The confusion matrix and the intervals as Markdown."""
    rows = [
        "| made ill by | runs | recognized | 95 % | override helps | 95 % | else called |",
        "|---|---|---|---|---|---|---|",
    ]
    for ailment in cases.MAKERS:
        mine = [line for line in lines if line["ailment"] == ailment and line["true"]]
        names = [line["findings"][0] if line["findings"] else "nothing" for line in mine]
        target = "nothing" if ailment == "healthy" else ailment
        hits = sum(
            name == target or ailment in line["findings"]
            for name, line in zip(names, mine, strict=True)
        )
        low, high = wilson(hits, len(mine))
        helped = [line["improved"] for line in mine if "improved" in line]
        good = sum(helped)
        others = Counter(name for name in names if name != target)
        rows.append(
            f"| {ailment} | {len(mine)} | {hits / max(1, len(mine)):.1%} | {low:.1%} to {high:.1%}"
            f" | {f'{good} of {len(helped)}' if helped else '-'}"
            f" | {'{:.0%} to {:.0%}'.format(*wilson(good, len(helped))) if helped else '-'}"
            f" | {', '.join(f'{name} {n}' for name, n in others.most_common()) or '-'} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", nargs="?", choices=sorted(cases.POOLS))
    parser.add_argument("--each", type=int, default=25, help="runs for each diagnosis")
    parser.add_argument("--healthy", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=list(cases.MAKERS))
    parser.add_argument("--limit", type=int, default=400, help="cases that are tried at most")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--table", type=Path)
    args = parser.parse_args()
    if args.table:
        print(table([json.loads(line) for line in args.table.read_text().splitlines()]))
        return
    done = (
        [json.loads(line) for line in args.out.read_text().splitlines()]
        if args.out.exists()
        else []
    )
    for ailment in args.only:
        wanted = args.healthy if ailment == "healthy" else args.each
        mine = [line for line in done if line["ailment"] == ailment]
        count = sum(bool(line["true"]) for line in mine)
        number = len(mine)
        while count < wanted and number < args.limit:
            size = cases.SIBLINGS if ailment == "stuck" else min(12, wanted - count + 2)
            with args.out.open("a") as file:
                for line in study(args.pool, ailment, range(number, number + size)):
                    count += bool(line["true"])
                    file.write(json.dumps(line) + "\n")
            number += size
        print(f"{ailment}: {count} of {number}, {time.process_time():.0f} s", flush=True)


if __name__ == "__main__":
    main()
