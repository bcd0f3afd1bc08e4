"""What a sweep shows: statistics, order, tables, and a page that runs nothing of the user's and
asks for nothing.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlplab.sweeps.report import html_page, results
from mlplab.sweeps.report.charts import axes, band, curves, read_columns
from mlplab.sweeps.report.results import JobResult, Results, to_frame
from mlplab.sweeps.report.statistics import Statistics
from mlplab.sweeps.report.summary_md import summary
from mlplab.sweeps.report.text_table import best_command, lines, print_table, reasons
from mlplab.sweeps.report.write import write_results
from mlplab.tracking import bulk_metrics, read_metrics

NASTY = "<script>alert(1)</script>"


def job(number, values, metrics=None, status="done", reason=""):
    folder = Path("jobs", str(number))
    words = tuple(f"{key}={value}" for key, value in values.items())
    return JobResult(
        number,
        status,
        reason,
        values,
        metrics or {},
        words,
        folder,
        {"epochs": 3, "best_epoch": 2, "seconds": 1.5},
    )


def made(metric="auto", name="mine"):
    random, jobs = np.random.default_rng(0), []
    for lr in (0.001, 0.01, 0.1):
        for activation in ("tanh", "relu"):
            for seed in range(5):
                values = {"optimizer.lr": lr, "activation": activation, "seed": seed}
                score = float(
                    np.clip(0.6 + 0.1 * math.log10(lr * 1000) + 0.02 * random.normal(), 0, 1)
                )
                bad = lr == 0.1 and seed < (4 if activation == "relu" else 1)
                found = {
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
                        {} if bad else found,
                        "diverged" if bad else "done",
                        reason,
                    )
                )
    return Results(name, Path(), jobs, metric)


def test_statistics_are_those_of_scipy():
    values = [0.5, 0.75, 0.9, 0.95, 0.2]
    found = Statistics.of(values)
    interval = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        interval, abs=1e-12
    )
    assert found.median == np.median(values)
    assert Statistics.of([1.0]) == Statistics(1, 1.0, None, None, 1.0, 1.0, 1.0)
    assert Statistics.of([]) == Statistics(0)
    assert Statistics.of([1.0, math.nan]).n == 1


def test_groups_are_ranked_by_the_validation_part_and_the_mostly_failed_come_last():
    found = made()
    assert found.headline == "val/accuracy"
    order = [(group.values["optimizer.lr"], group.values["activation"]) for group in found.groups]
    assert order[0] == (0.1, "tanh")
    assert order[-1] == (0.1, "relu")  # four of five diverged, though the fifth is the best of all
    assert found.groups[-1].failures == 4
    assert [group.statistics("val/accuracy").n for group in found.groups] == [4, 5, 5, 5, 5, 1]
    assert made("val/loss").groups[0].values == found.groups[0].values
    assert not made("val/loss").higher_is_better


def test_regression_is_ranked_by_rmse():
    jobs = [
        job(i, {"lr": lr}, {"val/rmse": lr, "val/r2": 1 - lr}) for i, lr in enumerate((0.3, 0.1))
    ]
    found = Results("r", Path(), jobs)
    assert (found.headline, found.higher_is_better) == ("val/rmse", False)
    assert found.groups[0].values == {"lr": 0.1}


def test_the_csv_is_exact_and_safe():
    found = made()
    found = Results(
        "=cmd()",
        Path(),
        [
            *found.jobs,
            job(
                30,
                {"optimizer.lr": [6, 4], "activation": "=1+1", "seed": True},
                {"val/accuracy": 1 / 3},
            ),
        ],
    )
    write_results(found)
    table = pd.read_csv("results.csv")
    assert list(table.columns[:5]) == ["job", "status", "optimizer.lr", "activation", "seed"]
    assert table["val/accuracy"].dropna().tolist() == [
        row.metrics["val/accuracy"] for row in found.jobs if row.metrics
    ]
    assert (table["optimizer.lr"][30], table["activation"][30], table["seed"][30]) == (
        "[6,4]",
        "'=1+1",
        "true",
    )
    frame = to_frame(found)
    assert list(frame.columns) == list(table.columns)
    assert len(frame) == 31
    first = (
        Path("results.csv").read_bytes(),
        Path("summary.md").read_bytes(),
        Path("report.html").read_bytes(),
    )
    write_results(found)
    assert (
        Path("results.csv").read_bytes(),
        Path("summary.md").read_bytes(),
        Path("report.html").read_bytes(),
    ) == first


def test_the_table_tells_what_to_type():
    found = made()
    text = lines(found)
    assert text[0].split() == [
        "optimizer.lr",
        "activation",
        "val/accuracy",
        "(mean",
        "±",
        "95",
        "%)",
        "std",
        "n",
        "failed",
        "test/accuracy",
    ]
    assert text[1].split()[:2] == ["0.1", "tanh"]
    assert text[-1] == "best: mlplab train optimizer.lr=0.1 activation=tanh seed=1"
    assert reasons(found) == [("diverged: not finite at step …", 5, 20)]
    stream = io.StringIO()
    print_table(found, stream)
    assert "\x1b" not in stream.getvalue()
    assert max(map(len, lines(found, 60))) <= max(60, len(text[-1]))
    assert "nan" not in stream.getvalue()
    many = Results("m", Path(), [job(i, {"x": i}, {"val/accuracy": 0.5}) for i in range(50)])
    assert "... and 30 more" in "\n".join(lines(many))


def test_a_command_is_quoted_for_a_shell():
    found = Results(
        "q", Path(), [job(0, {"model.hidden": "[6,4]", "name": "a b"}, {"val/accuracy": 1.0})]
    )
    assert best_command(found) == "mlplab train 'model.hidden=[6,4]' 'name=a b'"
    assert best_command(Results("q", Path(), [job(0, {}, {}, "failed", "x")])) == ""


def test_the_summary_lists_everything():
    text = summary(made(name=NASTY))
    assert NASTY not in text
    assert text.count("\n| 0.") == 6
    assert text.count("](jobs/") == 5
    assert "test split never affects the order" in text


def test_a_band_is_mean_and_interval_of_those_that_go_on():
    x = np.arange(5.0)
    series = [(x, x), (x, x + 1), (x[:2], x[:2] + 5)]
    found = band(series)
    assert found["x"] == x.tolist()  # two of three go on to the end
    assert found["mean"][0] == pytest.approx((0 + 1 + 5) / 3, rel=1e-4)
    assert found["mean"][4] == 4.5
    half = stats.t.ppf(0.975, 1) * np.std([4, 5], ddof=1) / math.sqrt(2)
    assert found["high"][4] == pytest.approx(4.5 + half, rel=1e-4)
    assert band([(x, x), (x[:2], x[:2]), (x[:2], x[:2])])["x"] == [0, 1]
    assert len(band([(np.arange(5000.0), np.arange(5000.0))])["x"]) == 200


def test_curves_are_read_as_they_were_written():
    found = made()
    for row in found.jobs:
        row.folder.mkdir(parents=True)
        bulk_metrics(
            row.folder / "metrics.csv",
            ("val/accuracy", "val/loss"),
            [(e, e * 4, 0.1 * e + row.number / 100, math.nan) for e in range(4)],
        )
    own = read_columns(found.jobs[3].folder / "metrics.csv", ["val/accuracy"])
    assert (
        own["val/accuracy"].tolist()
        == read_metrics(found.jobs[3].folder / "metrics.csv")["val/accuracy"]
    )
    drawn = curves(found)
    assert drawn["metrics"][0] == "val/accuracy"
    best = next(
        row for row in drawn["groups"] if row["name"] == "optimizer.lr=0.1, activation=tanh"
    )
    assert best["curves"]["val/accuracy"]["mean"][2] == pytest.approx(
        0.2 + np.mean([21, 22, 23, 24]) / 100, rel=1e-4
    )
    assert (
        curves(Results("none", Path(), [job(99, {"x": 1}, {"val/accuracy": 1.0})]))["groups"] == []
    )


@pytest.mark.parametrize(("keys", "kind"), [(1, "points"), (2, "heat"), (3, "parallel"), (0, None)])
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
    found = axes(Results("a", Path(), jobs))
    assert (found and found["kind"]) == kind
    if kind == "points":
        assert (found["x"], found["mean"], found["log"]) == ([0.001, 0.1], [0.1, 0.0], True)
    if kind == "heat":
        assert found["z"] == [[0.1, 0.3], [0.0, 0.2]]
    if kind == "parallel":
        assert found["dimensions"][0]["ticktext"] == ["0.001", "0.1"]


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
    text = html_page.page(nasty(), "/* the library */")
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
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(|https?:", text)


def test_without_plotly_there_is_a_note_and_no_page(monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "plotly", None)
    write_results(made())
    assert "plotly" in capsys.readouterr().err
    assert not Path("report.html").exists()
    assert Path("results.csv").exists()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_the_page_works_in_a_browser():
    for row in (found := made()).jobs:
        row.folder.mkdir(parents=True)
        bulk_metrics(
            row.folder / "metrics.csv",
            ("val/accuracy", "val/loss"),
            [(e, e, 0.5, 0.5) for e in range(4)],
        )
    write_results(found)
    probe = """
    <script>
      const button = [...document.querySelectorAll("#groups th button")].find((b) => b.textContent === "std");
      button.click();
      const cells = () => [...document.querySelectorAll("#groups tbody tr")].map((r) => r.cells[3].textContent);
      const up = cells(); button.click(); const down = cells();
      document.getElementById("filter").value = "relu"; document.getElementById("filter").dispatchEvent(new Event("input"));
      const rows = document.querySelectorAll("#jobs tbody tr").length;
      document.title = JSON.stringify({up, down, rows, sort: button.parentElement.getAttribute("aria-sort"),
        charts: document.querySelectorAll(".main-svg").length, requests: performance.getEntriesByType("resource").map((e) => e.name)});
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1]
    seen = json.loads(title.replace("&quot;", '"').replace("&amp;", "&"))
    numbers = [float(cell) for cell in seen["up"] if cell != "-"]
    assert len(numbers) == 5
    assert numbers == sorted(numbers)
    assert [float(cell) for cell in seen["down"] if cell != "-"] == sorted(numbers, reverse=True)
    assert seen["sort"] == "descending"
    assert seen["rows"] == 15
    assert seen["charts"] >= 2
    assert [name for name in seen["requests"] if not name.startswith(("data:", "blob:"))] == []
    assert "CONSOLE" not in "\n".join(
        line for line in done.stderr.splitlines() if "WebGL" not in line
    )


def test_the_metric_may_be_chosen():
    assert results.Results("x", Path(), made().jobs, "test/accuracy").headline == "test/accuracy"
