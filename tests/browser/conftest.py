"""A headless Chromium driven by Playwright; without them, these tests are skipped."""

from __future__ import annotations

import fcntl
import shutil

import pytest
from harness import FULL, size
from serving import serve

import mlplab

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid.startswith("tests/browser/"):
            item.add_marker(pytest.mark.browser)
            # the campaign draws the pictures of sixty runs before its first test
            item.add_marker(pytest.mark.timeout(size(600, 1800)))
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def chromium():
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("needs Chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


class Faults(list):
    """Errors of a page: console errors, exceptions, failed requests."""

    def watch(self, page):
        page.on(
            "console",
            lambda message: self.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: self.append(str(error)))
        # A reload aborts pending requests, which is not an error.
        page.on(
            "requestfailed",
            lambda request: (
                self.append(f"failed: {request.url}")
                if request.failure != "net::ERR_ABORTED"
                else None
            ),
        )
        return page


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.faults = Faults()
    page.faults.watch(page)
    yield page
    context.close()


SMALL_DIGITS = ["dataset=digits", "model.hidden=16", "training.epochs=3"]


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    """Two runs and a sweep in an outputs/ folder."""
    from drawing import use_few_dots

    root = tmp_path_factory.mktemp("outputs")
    runs = {
        # With its whole time for pictures there are images at several steps on any machine.
        "radial_6_6": [
            *("experiment=radial_6_6", f"training.epochs={size(10, 20)}"),
            "tracking.picture_share=1",
        ],
        # Only the first run draws images over the steps.
        "digits": [*SMALL_DIGITS, "tracking.picture_share=0"],
    }
    if FULL:
        runs["sine_100"] = ["experiment=sine_100", "training.epochs=20", "tracking.picture_share=0"]
    with pytest.MonkeyPatch.context() as patch:
        use_few_dots(patch)
        for name, overrides in runs.items():
            mlplab.run(overrides, root / "runs" / name / "a")
    mlplab.sweep(
        [
            "experiment=xor_mlp",
            "training.epochs=5",
            "optimizer.lr=0.01,0.1",
            "seed=0,1",
            "tracking=scalars",
        ],
        root / "sweeps" / "xor" / "a",
    )
    return root


@pytest.fixture(scope="session")
def tensorboard(outputs):
    """The address of a TensorBoard that serves `outputs`."""
    with serve(outputs, b"radial_6_6") as address:
        yield address


@pytest.fixture(scope="session")
def sixty_jobs(tmp_path_factory, worker_id):
    """A sweep of sixty jobs, with scalars by default and full tracking in the campaign.

    The first of the processes that need it trains it for all of them.
    """
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    folder = base / "sixty" / "sweep"
    with (base / "sixty.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.parent.exists():
            level = "full" if FULL else "scalars"
            overrides = ["experiment=xor_mlp", "training.epochs=4", f"tracking={level}"]
            mlplab.sweep([*overrides, "optimizer.lr=0.003,0.01,0.03", "seeds=20"], folder)
    return folder


@pytest.fixture(scope="session")
def sweep_tensorboard(sixty_jobs):
    """The address of a TensorBoard that serves the sweep of sixty."""
    with serve(sixty_jobs, b"jobs/59") as address:
        yield address
