"""TensorBoard over a sweep of ten thousand jobs, whose histories are made up."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request

import numpy as np
import pytest
from harness import wait_for
from serving import serve

from mlplab.sweeps.execution.stores import FolderStore
from mlplab.sweeps.report.group_events import BEST_JOBS, write_group_events
from mlplab.sweeps.report.results import JobResult, Results
from mlplab.tracking.group_events import MAX_GROUPS

CONFIGURATIONS, SEEDS, EPOCHS = 500, 20, 60
METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
MAX_SECONDS = 5
"""To the first chart after the page is loaded, with the server warm."""


def job(number, folder):
    configuration, seed = divmod(number, SEEDS)
    accuracy = 0.5 + 0.4 * configuration / CONFIGURATIONS + 0.002 * seed
    return JobResult(
        number,
        "done",
        "",
        {"optimizer.lr": 1e-3 * 1.01**configuration, "seed": seed},
        {"val/accuracy": accuracy, "val/loss": 1 - accuracy},
        (),
        folder,
        {"best_epoch": EPOCHS},
    )


class MadeUpStore(FolderStore):
    """A store whose jobs have histories and nothing else."""

    def history(self, number):
        epoch = np.arange(EPOCHS + 1)
        accuracy = job(number, self.folder).metrics["val/accuracy"] * (1 - np.exp(-epoch / 10))
        columns = {name: accuracy if "accuracy" in name else 1 - accuracy for name in METRICS}
        return {"epoch": epoch, "step": 10 * epoch, **columns}


@pytest.fixture(scope="module")
def large_sweep(tmp_path_factory):
    """The address of a TensorBoard that has read all runs of the sweep."""
    folder = tmp_path_factory.mktemp("large")
    jobs = [job(number, folder) for number in range(CONFIGURATIONS * SEEDS)]
    write_group_events(Results("large", folder, jobs), MadeUpStore(folder))
    runs = min(CONFIGURATIONS, MAX_GROUPS) + BEST_JOBS
    assert len(list(folder.rglob("events.out.tfevents.*"))) == runs <= 300

    def tags(address):
        url = f"{address}/data/plugin/scalars/tags"
        with contextlib.suppress(OSError):  # TensorBoard fails now and then while it reads files
            return json.loads(urllib.request.urlopen(url, timeout=60).read())
        return {}

    with serve(folder, b"tensorboard/groups/000") as address:
        wait_for(lambda: len(tags(address)) == runs, 600)
        yield address


@pytest.mark.campaign("cluster")
def test_the_curves_of_configurations_are_shown(page, large_sweep):
    page.goto(f"{large_sweep}/#timeseries")
    page.locator("scalar-card line-chart").first.wait_for(timeout=150_000)
    page.get_by_text("val/accuracy").first.wait_for(state="attached", timeout=150_000)
    page.goto(f"{large_sweep}/#hparams")
    page.reload()
    for text in ("optimizer.lr", "val_best/accuracy_std", "val_best/n"):
        page.get_by_text(text).first.wait_for(state="attached", timeout=150_000)


@pytest.mark.campaign("timing")
def test_the_first_chart_is_shown_within_seconds(page, large_sweep):
    page.goto(f"{large_sweep}/#timeseries")  # the files of the program are read once
    page.locator("scalar-card line-chart").first.wait_for(timeout=150_000)
    start = time.monotonic()
    page.reload()
    page.locator("scalar-card line-chart").first.wait_for(timeout=150_000)
    assert time.monotonic() - start < MAX_SECONDS
