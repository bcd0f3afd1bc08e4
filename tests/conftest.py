"""Tiers, limits and folders of all tests.

The default tier is what `scripts/test` runs. Tests marked `campaign("SECTION")` run only with
`--campaign=SECTION` (`scripts/test campaign`); with `small=True` they also run in the default tier,
at the small size that `harness.size` returns there. An item that has passed in a campaign is added
to the file that `--campaign-record` names, and skipped when the campaign is started again.
"""

from __future__ import annotations

import gc
import importlib.machinery
import os
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
for folder in (TESTS, TESTS / "pictures", TESTS / "reliability"):
    sys.path.insert(0, str(folder))  # building.py, studies.py, harness.py and others
# Two workers on two cores: one thread each, so that they do not wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Here and not in a hook: conftest files below read it when they are imported.
if any(argument.partition("=")[0] == "--campaign" for argument in sys.argv):
    os.environ["MLPLAB_CAMPAIGN"] = "full"

import cli_process  # noqa: E402
import hypothesis  # noqa: E402
import timing  # noqa: E402
from tiers import SUITES  # noqa: E402

# The default tier gives the same result each time; the campaign looks for new examples.
hypothesis.settings.register_profile("default tier", derandomize=True)
if "MLPLAB_CAMPAIGN" not in os.environ:
    hypothesis.settings.load_profile("default tier")

MAX_CPU_SECONDS = 3.0
"""Limit for a test that is not marked slow, including children, without first imports."""


def pytest_addoption(parser):
    group = parser.getgroup("mlplab")
    group.addoption(
        "--campaign",
        action="append",
        default=[],
        choices=tuple(SUITES),
        help="run these suites of the campaign, in full, instead of the default tier",
    )
    group.addoption("--campaign-record", help="file with the tests that have passed already")


def pytest_configure(config):
    if path := config.getoption("--campaign-record"):
        worker = getattr(config, "workerinput", None)
        # Workers of xdist must collect the same tests, so the controller reads the file for all.
        config.already_passed = set(worker["already_passed"]) if worker else _lines(Path(path))
        if worker is None:
            config.pluginmanager.register(_CampaignRecord(Path(path)))
    else:
        config.already_passed = set()
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        # One server for all workers, which inherit the variable.
        os.environ[cli_process.SOCKET] = cli_process.start_server()


def pytest_collection_finish():
    # Modules and test items live to the end; the garbage collector need not visit them each time.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    # One worker more than cores: tests wait for browsers and other processes a tenth of the time.
    affinity = getattr(os, "sched_getaffinity", None)
    return (len(affinity(0)) if affinity else os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["already_passed"] = sorted(node.config.already_passed)


def _lines(path: Path) -> set[str]:
    return set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()


class _CampaignRecord:
    """Appends each test that has passed to a file, so that a campaign can be continued."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(report.nodeid + "\n")


def pytest_collection_modifyitems(config, items):
    suites = set(config.getoption("--campaign"))
    selected, deselected = [], []
    for item in items:
        marks = list(item.iter_markers("campaign"))
        for mark in marks:
            if not mark.args or not set(mark.args) <= set(SUITES):
                raise pytest.UsageError(f"{item.nodeid}: {mark} names no suite of the campaign")
        if suites:
            runs = any(suites & set(mark.args) for mark in marks)
        else:
            runs = all(mark.kwargs.get("small", False) for mark in marks)
        keep = runs and item.nodeid not in config.already_passed
        (selected if keep else deselected).append(item)
    if deselected:
        config.hook.pytest_deselected(items=deselected)
    # Files with slow tests first: the workers end together if the last tests are short.
    slow_files = {item.path for item in selected if item.get_closest_marker("slow")}
    items[:] = sorted(selected, key=lambda item: item.path not in slow_files)


def _total_cpu_seconds() -> float:
    """Processor seconds of this process and of children that have ended."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


class _FirstTimeClock:
    """Processor seconds of what is done once per process or machine, whichever test comes first:
    executing modules, nested imports once, and compiling libraries of the native engine.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def _timed_compile(self, compile_library):
        def timed(*arguments):
            start = _total_cpu_seconds()
            try:
                compile_library(*arguments)
            finally:
                self.seconds += _total_cpu_seconds() - start

        return timed

    def install(self) -> None:
        loader = importlib.machinery.SourceFileLoader
        execute = loader.exec_module

        def exec_module(instance, module):
            start = time.process_time()
            self._depth += 1
            try:
                execute(instance, module)
                if module.__name__ == "mlplab.native.compiler":
                    module.compile_library = self._timed_compile(module.compile_library)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.seconds += time.process_time() - start

        loader.exec_module = exec_module


FIRST_TIMES = _FirstTimeClock()
FIRST_TIMES.install()


def _cpu_seconds() -> float:
    """Processor seconds of this process and its children, less what is done once."""
    return _total_cpu_seconds() + cli_process.cpu_seconds - FIRST_TIMES.seconds


@pytest.fixture(autouse=True)
def _cpu_limit(request):
    """Fail a test that costs more than MAX_CPU_SECONDS and is not marked slow."""
    start = _cpu_seconds()
    yield
    marks = {mark.name for mark in request.node.iter_markers()}
    if marks & {"slow", "campaign", "cuda"}:
        return
    spent = _cpu_seconds() - start
    # Programs that share the caches make a test slower even in processor time; a reference measures
    # how much. That takes some milliseconds, so it is done only when it matters.
    if spent > MAX_CPU_SECONDS and (spent := spent / timing.slowdown()) > MAX_CPU_SECONDS:
        pytest.fail(
            f"{request.node.nodeid} took {spent:.1f} s of processor time; the limit is"
            f" {MAX_CPU_SECONDS:.0f} s. Make it cheaper, mark it slow, or move it to a campaign."
        )


@pytest.fixture(autouse=True)
def _unregister_plugins():
    """Remove the components that a test registered in this process."""

    def names():
        plugins = sys.modules.get("mlplab.config.plugins")  # importing it here takes time
        groups = plugins.OPEN_GROUPS if plugins else ()
        return {(group, name) for group in groups for name in plugins.registered(group)}

    before = names()
    yield
    for group, name in names() - before:
        sys.modules["mlplab.config.plugins"].unregister(group, name)


@pytest.fixture(name="one_picture")
def _one_picture(request):
    """For tests of runs with pictures that are not about pictures; the parameter names another."""
    from drawing import one_picture

    with one_picture(getattr(request, "param", "curves")):
        yield


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    """Run each test in an empty folder, so that nothing is left in the checkout."""
    monkeypatch.chdir(tmp_path)
