"""The reports of a sweep: statistics, order, tables, and a page that runs no code of users and
makes no requests.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from mlplab import metrics as measures
from mlplab.sweeps.report import html_page
from mlplab.sweeps.report.axis_charts import axes
from mlplab.sweeps.report.charts import band, curves, read_columns
from mlplab.sweeps.report.conclusions import Conclusions
from mlplab.sweeps.report.frame import SweepFrame
from mlplab.sweeps.report.results import JobResult, Results
from mlplab.sweeps.report.statistics import Statistics
from mlplab.sweeps.report.summary_md import summary
from mlplab.sweeps.report.text_table import best_command, lines, print_table, reasons
from mlplab.sweeps.report.write import write_results
from mlplab.terminal.output import rounded
from mlplab.tracking import bulk_metrics, read_metrics

NASTY = "<script>alert(1)</script>"


def job(number, values, metrics=None, status="done", reason=""):
    folder = Path("jobs", str(number))
    overrides = tuple(f"{key}={value}" for key, value in values.items())
    return JobResult(
        number,
        status,
        reason,
        values,
        metrics or {},
        overrides,
        folder,
        {"epochs": 3, "best_epoch": 2, "seconds": 1.5},
    )


def sample_results(metric="auto", name="mine", diverged="worst"):
    random, jobs = np.random.default_rng(0), []
    for lr in (0.001, 0.01, 0.1):
        for activation in ("tanh", "relu"):
            for seed in range(5):
                values = {"optimizer.lr": lr, "activation": activation, "seed": seed}
                score = float(
                    np.clip(0.6 + 0.1 * math.log10(lr * 1000) + 0.02 * random.normal(), 0, 1)
                )
                bad = lr == 0.1 and seed < (4 if activation == "relu" else 1)
                metrics = {
                    "train/loss": 1 - score,
                    "val/loss": 1 - score,
                    "val/accuracy": score,
                    "test/accuracy": score - 0.01,
                }
                reason = f"not finite at step {seed}" if bad else ""
                jobs.append(
                    job(
                        len(jobs),
                        values,
                        {} if bad else metrics,
                        "diverged" if bad else "done",
                        reason,
                    )
                )
    return Results(name, Path(), jobs, metric, diverged=diverged)


def test_statistics_are_those_of_scipy():
    values = [0.5, 0.75, 0.9, 0.95, 0.2]
    statistics = Statistics.of(values)
    interval = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert statistics.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert statistics.std == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert (
        statistics.mean - statistics.half_width,
        statistics.mean + statistics.half_width,
    ) == pytest.approx(interval, abs=1e-12)
    assert statistics.median == np.median(values)
    assert (statistics.interval_low, statistics.interval_high) == pytest.approx(interval, abs=1e-12)
    assert Statistics.of([1.0]) == Statistics(1, 1.0, None, None, 1.0, 1.0, 1.0, iqm=1.0)
    assert Statistics.of([]) == Statistics(0)
    assert Statistics.of([1.0, math.nan]).n == 1


@pytest.mark.parametrize(
    ("value", "uncertainty", "text"),
    [
        (0.9956, 0.0084, "0.9956"),
        (0.9956, 0.01, "0.996"),
        (0.9956, 0.00996, "0.996"),  # rounds to 0.010
        (0.01, 0.01, "0.010"),
        (1234.5, 12.3, "1234"),
        (1.2e-6, 3e-8, "1.200e-06"),
        (3e9, 2e7, "3.000e+09"),
        (-1.5, 0.25, "-1.50"),
        (0.0, 1e-9, "0.0000000000e+00"),
        (0.5, 0.0, "0.5000"),
        (0.5, None, "0.5000"),
        (0.5, math.nan, "0.5000"),
        (math.nan, 0.1, "nan"),
    ],
)
def test_a_value_has_the_digits_that_its_uncertainty_shows(value, uncertainty, text):
    assert rounded(value, uncertainty) == text


@pytest.mark.parametrize(
    ("metric", "values", "text"),
    [
        ("val/accuracy", [1.0, 0.99, 1.0], "0.997 [0.810, 1.000]"),
        ("val/accuracy", [0.9, 0.88, 0.95, 0.91, 0.9], "0.908 [0.871, 0.935]"),
        ("val/rmse", [0.1, 0.2, 0.15], "0.15 [0.08, 0.42]"),
        ("test/f1_class_2", [0.0, 0.02], "0.01 [0.00, 0.77]"),
        ("val/mcc", [-1.0, -0.9], "-0.95 [-1.00, 0.72]"),
        ("val/loss", [0.0, 0.02], "0.01 [-0.12, 0.14]"),  # a loss may be negative
        ("val/accuracy", [1.0, 1.0, 1.0, 1.0, 1.0], "1.000 [0.942, 1.000]"),
        ("val/accuracy", [0.75, 0.75, 0.75, 0.75], "0.75 [0.59, 0.86]"),
        ("val/loss", [0.3, 0.3], "0.3000 (all equal)"),
        ("val/accuracy", [0.5], "0.5000"),
        ("val/accuracy", [], "-"),
    ],
)
def test_intervals_end_at_the_bounds_of_the_metric(metric, values, text):
    assert Statistics.of(values, metric).interval == text


def test_every_metric_of_ours_has_its_bounds():
    """And the measured values of perfect, random and inverted predictions are within them."""
    assert set(measures.BOUNDS) == {name for names in measures.FINAL.values() for name in names}
    y = torch.arange(12) % 2
    for scores in (torch.eye(2)[y], torch.eye(2)[1 - y], torch.full((12, 2), 0.5)):
        for name, value in measures.final_metrics(
            "classification", scores[None].double(), y[None]
        ).items():
            low, high = measures.bounds(f"val/{name}")
            assert low <= value.item() <= high or math.isnan(value.item()), name


def test_groups_are_ranked_by_the_validation_split_and_the_mostly_failed_come_last():
    results = sample_results(diverged="drop")
    assert results.headline == "val/accuracy"
    order = [(group.values["optimizer.lr"], group.values["activation"]) for group in results.groups]
    assert order[0] == (0.1, "tanh")
    assert order[-1] == (0.1, "relu")  # four of five diverged, though the fifth is the best of all
    assert results.groups[-1].failures == 4
    assert [group.statistics("val/accuracy").n for group in results.groups] == [4, 5, 5, 5, 5, 1]
    by_loss = sample_results("val/loss", diverged="drop")
    assert by_loss.groups[0].values == results.groups[0].values
    assert not sample_results("val/loss").higher_is_better


def test_diverged_seeds_count_as_the_worst_value():
    """As the bound of a metric, or as the worst value that a job measured."""
    results, dropped = sample_results(), sample_results(diverged="drop")
    measured = [row.metrics["val/loss"] for row in results.jobs if row.counts]
    assert results.worst["val/accuracy"] == 0.0
    assert results.worst["val/loss"] == max(measured)
    assert dropped.worst == {}
    at_most = {"optimizer.lr": 0.1, "activation": "tanh"}
    one, other = (
        next(group for group in r.groups if group.values == at_most) for r in (results, dropped)
    )
    assert one.statistics("val/accuracy").n == 5
    assert one.statistics("val/accuracy").mean == pytest.approx(
        0.8 * other.statistics("val/accuracy").mean
    )
    assert results.groups[0].values["optimizer.lr"] == 0.01
    assert "5 diverged jobs count as val/accuracy 0" in " ".join(Conclusions(results).remarks)
    assert "5 diverged jobs count in no mean" in " ".join(Conclusions(dropped).remarks)


def test_ties_go_to_the_lower_loss_and_then_to_fewer_parameters():
    def tied(number, loss, num_parameters):
        one = job(number, {"x": number}, {"val/accuracy": 1.0, "val/loss": loss})
        return replace(one, facts={**one.facts, "num_parameters": num_parameters})

    jobs = [tied(0, 0.2, 5), tied(1, 0.1, 9), tied(2, 0.1, 7), tied(3, 0.3, 1)]
    order = [group.values["x"] for group in Results("r", Path(), jobs).groups]
    assert order == [2, 1, 0, 3]


def test_without_a_trained_job_there_is_no_table():
    assert lines(Results("r", Path(), [job(0, {"x": 1}, status="missing")])) == []


def test_regression_is_ranked_by_rmse():
    jobs = [
        job(i, {"lr": lr}, {"val/rmse": lr, "val/r2": 1 - lr}) for i, lr in enumerate((0.3, 0.1))
    ]
    results = Results("r", Path(), jobs)
    assert (results.headline, results.higher_is_better) == ("val/rmse", False)
    assert results.groups[0].values == {"lr": 0.1}


def test_the_csv_is_exact_and_safe():
    results = sample_results()
    results = Results(
        "=cmd()",
        Path(),
        [
            *results.jobs,
            job(
                30,
                {"optimizer.lr": [6, 4], "activation": "=1+1", "seed": True},
                {"val/accuracy": 1 / 3},
            ),
        ],
    )
    write_results(results)
    table = pd.read_csv("results.csv")
    assert list(table.columns[:5]) == ["job", "status", "optimizer.lr", "activation", "seed"]
    assert table["val/accuracy"].dropna().tolist() == [
        row.metrics["val/accuracy"] for row in results.jobs if row.metrics
    ]
    assert (table["optimizer.lr"][30], table["activation"][30], table["seed"][30]) == (
        "[6,4]",
        "'=1+1",
        "true",
    )
    frame = SweepFrame.of(results)
    assert list(frame.columns) == list(table.columns)
    assert len(frame) == 31
    first = (
        Path("results.csv").read_bytes(),
        Path("summary.md").read_bytes(),
        Path("report.html").read_bytes(),
    )
    write_results(results)
    assert (
        Path("results.csv").read_bytes(),
        Path("summary.md").read_bytes(),
        Path("report.html").read_bytes(),
    ) == first


def test_the_table_shows_the_command_of_the_best():
    results = sample_results(diverged="drop")
    text = lines(results)
    names = "optimizer.lr activation val/accuracy [95 %] median to best n failed"
    assert text[0].split() == names.split()
    assert text[1].split()[:2] == ["0.1", "tanh"]
    assert text[-1] == "best: mlplab train optimizer.lr=0.1 activation=tanh seed=1"
    assert reasons(results) == [("diverged: not finite at step …", 5, 20)]
    stream = io.StringIO()
    print_table(results, stream)
    assert "\x1b" not in stream.getvalue()
    assert max(map(len, lines(results, 60))) <= max(60, len(text[-1]))
    assert "nan" not in stream.getvalue()
    many = Results("m", Path(), [job(i, {"x": i}, {"val/accuracy": 0.5}) for i in range(50)])
    assert "... and 30 more" in "\n".join(lines(many))


def test_a_command_is_quoted_for_a_shell():
    results = Results(
        "q", Path(), [job(0, {"model.hidden": "[6,4]", "name": "a b"}, {"val/accuracy": 1.0})]
    )
    assert best_command(results) == "mlplab train 'model.hidden=[6,4]' 'name=a b'"
    assert best_command(Results("q", Path(), [job(0, {}, {}, "failed", "x")])) == ""
    flags = ("--plugin", "my parts.py", "--config-dir", "conf2")
    assert best_command(replace(results, flags=flags)).startswith(
        "mlplab train --plugin 'my parts.py' --config-dir conf2 'model.hidden"
    )


def test_the_summary_lists_everything(tmp_path):
    results = replace(sample_results(name=NASTY), folder=tmp_path)
    assert "](jobs/" not in summary(Conclusions(results))  # packed jobs have no folder to open
    for failed in results.jobs:
        (tmp_path / "jobs" / str(failed.number)).mkdir(parents=True)
    text = summary(Conclusions(results))
    assert NASTY not in text
    configurations, effects = text.split("## Effects")
    assert configurations.count("\n| 0.") == 6
    assert effects.split("## Failures")[0].count("\n| 0.") == 3
    assert text.count("](jobs/") == 5
    assert "test split never affects the order" in text


def test_a_band_is_mean_and_interval_of_those_that_go_on():
    x = np.arange(5.0)
    series = [(x, x), (x, x + 1), (x[:2], x[:2] + 5)]
    curve = band(series)
    assert curve["x"] == x.tolist()  # two of three continue to the end
    assert curve["mean"][0] == pytest.approx((0 + 1 + 5) / 3, rel=1e-4)
    assert curve["mean"][4] == 4.5
    half = stats.t.ppf(0.975, 1) * np.std([4, 5], ddof=1) / math.sqrt(2)
    assert curve["high"][4] == pytest.approx(4.5 + half, rel=1e-4)
    assert 4.5 < max(band(series, (0.0, 6.0))["high"]) <= 6
    assert 0 <= min(band(series, (0.0, 6.0))["low"]) < 1
    assert band([(x, x), (x[:2], x[:2]), (x[:2], x[:2])])["x"] == [0, 1]
    assert len(band([(np.arange(5000.0), np.arange(5000.0))])["x"]) == 200


def test_curves_are_read_as_they_were_written():
    results = sample_results()
    for row in results.jobs:
        row.folder.mkdir(parents=True)
        bulk_metrics(
            row.folder / "metrics.csv",
            ("val/accuracy", "val/loss"),
            [(e, e * 4, 0.1 * e + row.number / 100, math.nan) for e in range(4)],
        )
    columns = read_columns(results.jobs[3].folder / "metrics.csv", ["val/accuracy"])
    assert (
        columns["val/accuracy"].tolist()
        == read_metrics(results.jobs[3].folder / "metrics.csv")["val/accuracy"]
    )
    chart = curves(results)
    assert chart["metrics"][0] == "val/accuracy"
    best = next(
        group for group in chart["groups"] if group["name"] == "optimizer.lr=0.1, activation=tanh"
    )
    assert best["curves"]["val/accuracy"]["mean"][2] == pytest.approx(
        0.2 + np.mean([21, 22, 23, 24]) / 100, rel=1e-4
    )
    assert (
        curves(Results("none", Path(), [job(99, {"x": 1}, {"val/accuracy": 1.0})]))["groups"] == []
    )


@pytest.mark.parametrize(("keys", "kind"), [(1, "points"), (2, "heat"), (3, "heat"), (0, None)])
def test_the_axes_decide_the_chart(keys, kind):
    names = ["optimizer.lr", "activation", "model.hidden"][:keys]
    levels = {
        "optimizer.lr": [0.1, 0.001],
        "activation": ["tanh", "relu"],
        "model.hidden": ["4", "6-6"],
    }
    jobs = []
    for i in range(2**keys):
        values = {name: levels[name][i >> k & 1] for k, name in enumerate(names)} | {"seed": 0}
        jobs.append(job(i, values, {"val/accuracy": i / 10}))
    chart = axes(Results("a", Path(), jobs))
    assert (chart and chart["kind"]) == kind
    if kind == "points":
        (points,) = chart["charts"]
        assert (points["x"], points["mean"], points["log"]) == ([0.001, 0.1], [0.1, 0.0], True)
    if keys == 2:
        assert chart["charts"][0]["z"] == [[0.1, 0.3], [0.0, 0.2]]
    if keys == 3:  # each map is a mean over the third key
        assert [figure["keys"] for figure in chart["charts"]] == [
            ["optimizer.lr", "activation"],
            ["optimizer.lr", "model.hidden"],
            ["activation", "model.hidden"],
        ]
        assert np.ravel(chart["charts"][0]["z"]) == pytest.approx([0.3, 0.5, 0.2, 0.4])


class Page(HTMLParser):
    """Scripts by their text, and every attribute."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.attributes, self.tags, self.inside = [], [], [], False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def nasty():
    values = {"activation": NASTY, 'a"b': "</script><img src=x onerror=alert(1)>"}
    jobs = [
        job(0, values, {"val/accuracy": 0.5}),
        job(1, values, {}, "failed", f"ValueError: {NASTY}</script>"),
    ]
    return Results(NASTY, Path(), jobs)


def test_the_page_holds_users_text_as_text_and_asks_for_nothing():
    text = html_page.page(Conclusions(nasty()))
    page = Page(text)
    assert page.tags.count("script") == 3
    assert "img" not in page.tags
    data = json.loads(page.scripts[0])
    assert data["failures"]["rows"][0][3] == f"ValueError: {NASTY}</script>"
    links = [
        value
        for name, value in page.attributes
        if name in ("src", "href", "action", "srcset", "data")
    ]
    assert links == ["data:,"]
    assert not re.search(
        r"@import|url\(|fetch\(|XMLHttpRequest|import\(|https?:(?!//www.w3.org/2000/svg)", text
    )


def test_the_page_explains_its_order():
    text = " ".join(html_page.page(Conclusions(sample_results())).split())
    assert "The test split never affects the order. In brackets is the 95 %" in text
    assert "confidence interval of the mean over seeds, which stays within the bounds of" in text


def test_the_page_needs_no_plotly(monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "plotly", None)
    write_results(sample_results())
    assert not capsys.readouterr().err
    assert Path("report.html").stat().st_size < 200_000


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_the_page_works_in_a_browser():
    for row in (results := sample_results()).jobs:
        row.folder.mkdir(parents=True)
        bulk_metrics(
            row.folder / "metrics.csv",
            ("val/accuracy", "val/loss"),
            [(e, e, 0.5, 0.5) for e in range(4)],
        )
    write_results(results)
    probe = """
    <script>
      const button = [...document.querySelectorAll("#groups th button")].find((b) => b.textContent === "std");
      button.click();
      const cells = () => [...document.querySelectorAll("#groups tbody tr")].map((r) => r.cells[7].textContent);
      const up = cells(); button.click(); const down = cells();
      document.getElementById("filter").value = "relu"; document.getElementById("filter").dispatchEvent(new Event("input"));
      const rows = document.querySelectorAll("#jobs tbody tr").length;
      document.title = JSON.stringify({up, down, rows, sort: button.parentElement.getAttribute("aria-sort"),
        charts: document.querySelectorAll("svg, .forest").length, requests: performance.getEntriesByType("resource").map((e) => e.name)});
    </script></body>"""  # noqa: E501
    html = Path("report.html").read_text().replace("</body>", probe)
    Path("probe.html").write_text(html)
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-sync",
    ]
    command = [
        "chromium",
        *flags,
        "--disable-component-update",
        f"--user-data-dir={os.getcwd()}/profile",
        "--enable-logging=stderr",
        "--v=0",
    ]
    command += ["--virtual-time-budget=5000", "--dump-dom", f"file://{os.getcwd()}/probe.html"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    title = re.search(r"<title>(.*?)</title>", process.stdout, re.DOTALL)[1]
    seen = json.loads(title.replace("&quot;", '"').replace("&amp;", "&"))
    numbers = [float(cell) for cell in seen["up"] if cell != "-"]
    assert len(numbers) == 6
    assert numbers == sorted(numbers)
    assert [float(cell) for cell in seen["down"] if cell != "-"] == sorted(numbers, reverse=True)
    assert seen["sort"] == "descending"
    assert seen["rows"] == 15
    assert seen["charts"] >= 2
    assert [name for name in seen["requests"] if not name.startswith(("data:", "blob:"))] == []
    assert "CONSOLE" not in "\n".join(
        line for line in process.stderr.splitlines() if "WebGL" not in line
    )


def many_jobs(num_lr, num_hidden, num_seeds):
    """A sweep of many jobs whose files are not there; one in a hundred diverged."""
    random, names = np.random.default_rng(0), [f"{s}/{m}" for s in SPLITS for m in MEASURES]
    jobs = []
    for i, hidden, seed in itertools.product(range(num_lr), range(num_hidden), range(num_seeds)):
        values = {"optimizer.lr": 10 ** (i / 5 - 3), "model.hidden": hidden + 1, "seed": seed}
        score = min(1.0, 0.8 + 0.01 * hidden - 0.001 * i + 0.02 * random.normal())
        diverged = random.random() < 0.01
        metrics = {} if diverged else dict.fromkeys(names, score)
        reason = f"not finite at step {len(jobs)}" if diverged else ""
        status = "diverged" if diverged else "done"
        jobs.append(job(len(jobs), values, metrics, status, reason))
    return Results("many", Path(), jobs)


SPLITS, MEASURES = ("train", "val", "test"), ("loss", "accuracy", "f1", "auroc")


@pytest.mark.parametrize("shape", [(16, 8, 8), (32, 20, 1), (2, 1, 512)])
def test_the_page_of_many_jobs_is_small(shape):
    results = many_jobs(*shape)
    text = html_page.page(Conclusions(results))
    assert len(text.encode()) < 1_000_000
    data = json.loads(Page(text).scripts[0])
    assert len(data["jobs"]["rows"]) <= 500
    assert (data["jobs"]["total"], data["groups"]["total"]) == (
        len(results.jobs),
        len(results.groups),
    )
    assert len(data["failures"]["rows"]) <= 200


@pytest.mark.campaign("timing")
def test_the_page_of_65536_jobs_costs_in_proportion_and_stays_small():
    for shape in ((64, 64, 16), (256, 256, 1), (4, 4, 4096)):
        seconds = []
        for divisor in (16, 1):
            num_lr, num_hidden, num_seeds = shape
            num_lr //= 4 if divisor > 1 else 1
            last = 4 if divisor > 1 else 1
            reduced = (
                (num_lr, num_hidden, num_seeds // last)
                if num_seeds > 1
                else (num_lr, num_hidden // last, 1)
            )
            results = many_jobs(*reduced)
            start = time.process_time()
            conclusions = Conclusions(results)
            text = html_page.page(conclusions)
            summary(conclusions)
            seconds.append((time.process_time() - start) / len(results.jobs))
        assert len(results.jobs) == 65_536
        assert len(text.encode()) < 2_000_000
        assert seconds[1] < 2 * seconds[0], (shape, seconds)


def test_the_metric_may_be_chosen():
    assert sample_results("test/accuracy").headline == "test/accuracy"
