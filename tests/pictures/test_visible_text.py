"""All text that a person sees on pages, in pictures and on the terminal is finished: no leftover
braces of a template, no None, and no nan where a number belongs.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawing import draw_only, use_few_dots
from studies import study_of

import mlplab
from mlplab.cli import main
from mlplab.data.preparation.registry import DATASETS
from mlplab.pictures.gallery import pictures

LEFTOVER = re.compile(r"\{[A-Za-z_][^{}]*\}|\{\{|\}\}|\bNone\b|\bnan\b|<built-in|object at 0x")


class Visible(HTMLParser):
    """The text of a page that a browser shows, code and configurations apart."""

    HIDDEN = ("script", "style", "pre", "code", "textarea")

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.data: list[str] = []
        self._open: list[str] = []
        self._is_data = False

    def handle_starttag(self, tag, attributes):
        self._open.append(tag)
        self._is_data = dict(attributes).get("type") == "application/json"
        self.texts += [
            value for name, value in attributes if name in ("title", "alt", "aria-label") and value
        ]

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, text):
        if self._is_data and self._open[-1:] == ["script"]:
            self.data.append(text)
        elif not set(self._open) & set(self.HIDDEN):
            self.texts.append(text)


def strings(value) -> list[str]:
    """All strings in a tree of JSON."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return []


def leftovers(texts) -> list[str]:
    return [text.strip() for text in texts if LEFTOVER.search(text)]


def visible_text(page: Path) -> list[str]:
    parser = Visible()
    parser.feed(page.read_text(encoding="utf-8"))
    assert len("".join(parser.texts).split()) > 5, "the page shows nothing"
    return parser.texts + [text for data in parser.data for text in strings(json.loads(data))]


@pytest.mark.parametrize(
    "text", ["over {results.replicates} ({noun}).", "{{name}}", "best None", "loss nan"]
)
def test_check_of_leftovers(text):
    assert leftovers([text, "a set {1, 2}", "nano, Nonetheless"]) == [text]


QUICK = ["experiment=xor_mlp", "training.epochs=2", "dataset.num_samples=60", "device=cpu"]


@pytest.mark.slow
def test_the_pages_of_a_sweep(capfd):
    overrides = [*QUICK, "tracking=summary", "hydra.sweep.dir=sweep"]
    diverging = [
        "optimizer=sgd",
        "training.epochs=20",
        "optimizer.lr=0.1,1e30",
        "loss=mse_onehot",
        "activation=relu",
        "seed=0,1",
    ]
    assert main(["train", "-m", *overrides, *diverging]) == 1
    assert leftovers(visible_text(Path("sweep/report.html"))) == []
    assert leftovers(Path("sweep/summary.md").read_text().splitlines()) == []
    output, errors = capfd.readouterr()
    assert leftovers([*output.splitlines(), *errors.splitlines()]) == []


@pytest.mark.slow
def test_the_pages_of_a_search(capfd):
    pytest.importorskip("optuna")
    overrides = [*QUICK, "tracking=summary", "hydra.sweep.dir=search", "sweep.trials=4"]
    assert main(["train", "-m", *overrides, "optimizer.lr=interval(0.01,0.1)"]) == 0
    # The figures of search.html are Optuna's own.
    assert leftovers(Path("search/search.md").read_text().splitlines()) == []
    assert leftovers(visible_text(Path("search/report.html"))) == []
    output, errors = capfd.readouterr()
    assert leftovers([*output.splitlines(), *errors.splitlines()]) == []


@pytest.mark.slow
def test_the_page_and_the_reports_of_a_run(monkeypatch, capfd):
    use_few_dots(monkeypatch)
    draw_only(monkeypatch, "decision")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    frame.loc[::7, "b"] = np.nan
    frame["constant"], frame["color"] = 1, rng.choice(["red", "blue"], 60)
    frame["y"] = np.where(frame["a"] > 0, "yes", "no")
    frame.to_csv("table.csv", index=False)
    overrides = ["dataset=file", "dataset.path=table.csv", "dataset.missing=impute", "device=cpu"]
    lines = [
        ["train", *overrides, "training.epochs=2", "hydra.run.dir=run"],
        ["report", "run"],
        ["evaluate", "run"],
        ["predict", "run", "table.csv", "-o", "out.csv"],
        ["rerun", "run", "--check"],
        ["runs", "."],
        ["runs", "compare", "run", "run"],
        ["plan", *overrides, "seed=0,1"],
        ["list", "optimizer"],
        ["list", "optimizer", "adam"],
        ["--help"],
    ]
    for line in lines:
        assert main(line) == 0, line
        output, errors = capfd.readouterr()
        assert leftovers([*output.splitlines(), *errors.splitlines()]) == [], line
    assert leftovers(visible_text(Path("run/report.html"))) == []
    assert leftovers(Path("run/data_report.md").read_text().splitlines()) == []
    assert leftovers(Path("run/log.txt").read_text().splitlines()) == []


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["xor", "sine", "iris"])
def test_the_captions_of_pictures(dataset):
    from matplotlib.text import Text

    study = study_of(dataset=DATASETS[dataset]())
    texts = [
        text.get_text()
        for picture in pictures()
        if (drawn := picture.draw(study, study.best_frame)) is not None
        for text in drawn.findobj(Text)
    ]
    assert len(texts) > 20
    assert leftovers(text for text in texts if "$" not in text) == []
    assert leftovers(picture.meaning for picture in pictures()) == []


def test_one_run_in_python_prints_what_it_is(tmp_path):
    run = mlplab.run([*QUICK, "tracking=off"], tmp_path / "run")
    assert leftovers([repr(run.metrics)]) == []
