"""What notebooks show: runs, histories and sweeps as HTML, one line of progress, and figures."""

from __future__ import annotations

import copy
import html.parser
import io
import pickle
import re
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mlplab
from mlplab.display.charts import history_charts
from mlplab.display.fragments import MAX_METRICS, run_html
from mlplab.errors import IncompatibleSettingsError, MissingExtraError, PlaybackError
from mlplab.terminal import progress
from mlplab.terminal.progress import Progress

TINY = {"training.epochs": 3, "dataset.num_samples": 60}
SUMMARY = {"status": "done", "seconds": 1.0, "epochs": 3, "best_epoch": 2, "metrics": {}}
VOID = {"br", "img", "rect", "path", "line", "meta"}


class Tags(html.parser.HTMLParser):
    """Checks that every tag is closed in order, and collects the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f" {data}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="module")
def classes(folder):
    return mlplab.run({"experiment": "xor_mlp", "tracking": "summary", **TINY}, folder / "classes")


@pytest.fixture(scope="module")
def values(folder):
    return mlplab.run({"experiment": "sine_100", "tracking": "summary", **TINY}, folder / "values")


@pytest.fixture(scope="module")
def table(folder):
    overrides = ["experiment=xor_mlp", "tracking=summary", "training.epochs=2", "seeds=2"]
    return mlplab.sweep([*overrides, "model.hidden=2,3"], folder / "sweep")


def test_a_run_is_shown_with_metrics_by_split_and_two_curves(classes, values):
    for run, metric in ((classes, "accuracy"), (values, "rmse")):
        shown = Tags(run._repr_html_())
        assert shown.seen.count("svg") == 2
        assert {"train", "val", "test", metric} <= set(shown.text.split())
        assert f"{run.metrics[f'test/{metric}']:#.4g}" in shown.text
        assert "done in" in shown.text
        assert len(run._repr_html_()) < 15_000
    assert Tags(classes.history._repr_html_()).seen.count("svg") == 2


def test_everything_in_a_fragment_is_escaped_and_a_missing_number_is_a_dash(tmp_path):
    evil = "<script>alert(1)</script>"
    metrics = {f"val/{evil}": 1.0, "test/loss": None}
    columns = {"epoch": np.arange(3), "train/loss": np.array([1.0, np.nan, np.inf])}
    text = run_html(evil, tmp_path / evil, SUMMARY | {"metrics": metrics, "status": evil}, columns)
    assert "script" not in Tags(text).seen
    assert re.search(r"<td>-</td>", text)
    assert not re.search(r"nan|inf[^o]", text.partition("</style>")[2].replace("train inf", ""))


def test_many_metrics_are_named_and_not_shown(tmp_path):
    metrics = {f"test/f1_class_{i}": 0.5 for i in range(MAX_METRICS + 3)}
    text = run_html("digits", tmp_path, SUMMARY | {"metrics": metrics}, {"epoch": np.zeros(0)})
    assert "3 more in" in Tags(text).text


def test_the_decision_is_shown_in_a_small_size(tmp_path):
    path = tmp_path / "pictures" / "decision.png"
    path.parent.mkdir()

    def shown(data: bytes) -> bool:
        path.write_bytes(data)
        return "<img" in run_html("name", tmp_path, SUMMARY, {"epoch": np.zeros(0)})

    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (600, 700, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "png")
    assert shown(buffer.getvalue())
    text = run_html("name", tmp_path, SUMMARY, {"epoch": np.zeros(0)})
    assert len(text) < len(buffer.getvalue()) / 2
    assert not shown(buffer.getvalue()[:1000])
    assert not shown(b"<svg onload=alert(1)>")
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "<img" not in run_html("name", tmp_path, SUMMARY, {"epoch": np.zeros(0)})


def test_a_curve_has_gaps_and_large_spans_are_logarithmic():
    epochs = np.arange(6)
    [chart] = history_charts(
        {"epoch": epochs, "train/loss": np.array([1e3, np.nan, 10, 1, 0.1, np.inf])}, 4
    )
    assert chart.metric == "loss (log)"
    assert chart.lines[0].path.count("M") == 2
    assert chart.best == pytest.approx(0.8 * chart.width)
    [constant] = history_charts({"epoch": epochs, "val/loss": np.ones(6)})
    assert "nan" not in constant.lines[0].path
    huge = {"epoch": epochs, "val/loss": np.array([-1.7e308, 1.7e308, 0, 0, 0, 0])}
    assert "inf" not in history_charts(huge)[0].lines[0].path
    assert history_charts({"epoch": np.zeros(1), "val/loss": np.ones(1)}) == []


def test_a_sweep_is_a_data_frame_that_shows_its_configurations(table, folder):
    assert isinstance(table, pd.DataFrame)
    assert list(table["status"]) == ["done"] * 4
    assert table.attrs["folder"] == str(folder / "sweep")
    lines = repr(table).splitlines()
    assert lines[-2] == f"4 jobs: 4 done, in {folder / 'sweep'}"
    assert lines[-1].startswith("best: mlplab train experiment=xor_mlp")
    shown = Tags(table._repr_html_())
    assert {"model.hidden", "val/accuracy", "median"} <= set(shown.text.split())
    assert "details" in shown.seen
    for derived in (table.head(), table[["job"]], table.copy(), table.groupby("seed").first()):
        assert type(derived) is pd.DataFrame
    stored = pd.read_csv(folder / "sweep" / "results.csv")
    assert list(table.columns) == list(stored.columns)
    assert table["val/loss"].tolist() == stored["val/loss"].tolist()
    for same in (pickle.loads(pickle.dumps(table)), copy.copy(table)):
        assert same.equals(table)


def test_a_run_draws_its_pictures(classes, values, monkeypatch):
    assert {"curves", "decision", "units", "hidden", "confusion"} <= set(dir(classes.plot))
    figure = classes.plot.confusion(dark=True)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert figure.get_facecolor()[0] < 0.2
    assert "Confusion matrix" in classes.plot.confusion.__doc__
    with pytest.raises(
        IncompatibleSettingsError, match=r"`residuals` does not apply .* These do: data, decision,"
    ):
        classes.plot.residuals()
    with pytest.raises(AttributeError, match=r"no picture `confuson`. Did you mean run.plot.conf"):
        classes.plot.confuson  # noqa: B018
    with pytest.raises(PlaybackError, match="tracking=full"):
        values.plot.decision(epoch=1)
    again = pickle.loads(pickle.dumps(classes))
    assert dir(again.plot) == dir(classes.plot)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert dir(classes.plot) == []
    with pytest.raises(MissingExtraError, match=r"mlplab\[pictures\]"):
        classes.plot.curves()


@pytest.fixture
def cell(monkeypatch):
    """The texts that a cell of a notebook shows: one list for each of its outputs."""
    outputs: list[list[str]] = []

    class Handle:
        def __init__(self, number):
            self.number = number

        def update(self, content):
            outputs[self.number].append(content)

    def display(content, display_id):
        outputs.append([content])
        return Handle(len(outputs) - 1)

    shell = SimpleNamespace(kernel=object())
    ipython = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(
        sys.modules, "IPython.display", SimpleNamespace(HTML=lambda text: text, display=display)
    )
    return outputs


def test_a_notebook_has_one_line_of_progress(cell, monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    for seconds in (0.4, 20):
        with Progress(1000, "<b>radial") as bar:
            for done in range(1, 1001):
                now[0] += seconds / 1000
                bar.update(done, {"train/loss": 0.25})
    [line] = cell
    assert 60 < len(line) < 90
    assert line[-1] == ""
    assert Tags(line[-2]).text.startswith(" <b>radial")
    assert "/1,000 epochs" in line[-2]
    assert "train/loss 0.2500" in line[-2]
    assert capsys.readouterr() == ("", "")


def test_not_quiet_prints_the_table_of_the_command_line(tmp_path, capsys):
    overrides = {"experiment": "xor_mlp", "tracking": "off", **TINY}
    run = mlplab.run(overrides, tmp_path / "run", quiet=False)
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()[1:]] == [
        *("train", "val", "test", "done"),
    ]
    assert str(run.folder) in printed.err
    mlplab.sweep({**overrides, "seeds": 2}, tmp_path / "sweep", quiet=False)
    assert "val/accuracy [95 %]" in capsys.readouterr().out
