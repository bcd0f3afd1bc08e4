"""No test outside the campaign asserts on how long something takes."""

from __future__ import annotations

import pytest
from known import assert_only_known
from source_rules import python_files
from source_tree import REPOSITORY
from wall_time import wall_time_assertions

TESTS = REPOSITORY / "tests"


@pytest.mark.slow
@pytest.mark.usefixtures("parsed_folder")
@pytest.mark.parametrize("parsed_folder", ["tests"], indirect=True)
def test_no_test_asserts_on_seconds():
    # Several assertions of one test are one entry of the list.
    assert_only_known("wall_time_assertions", wall_time_assertions(python_files(TESTS), TESTS))


# The check itself, on small test files.

START = "import time\ndef test_a(table, path):\n    start = time.monotonic()\n    work()\n"


@pytest.fixture
def lines(write):
    """(text of a test file) -> lines of its assertions on seconds."""

    def check(text):
        root = write({"test_a.py": text})
        offenders = wall_time_assertions(python_files(root), root)
        return sorted(int(offender.location.split(":")[1]) for offender in offenders)

    return check


@pytest.mark.parametrize(
    "statement",
    [
        "assert time.monotonic() - start < 3",
        "assert 3 > time.monotonic() - start, 'too slow'",
        "assert round(1000 * (time.monotonic() - start)) <= 3",
        "assert x == 1 and not time.monotonic() - start > 3",
        "assert time.monotonic() - start == pytest.approx(1, abs=0.1)",
        "took = time.monotonic() - start; assert took < 3",
        "took: float = time.monotonic() - start; assert took < 3",
        "assert (took := time.monotonic() - start) < 3",
        "took = 0; took += time.monotonic() - start; assert took < 3",
        "a, took = 1, time.monotonic() - start; assert took < 3",
        "times = []; times.append(time.monotonic() - start); assert np.median(times) < 3",
        "times = {}; times['a'] = time.monotonic() - start; assert times['a'] < 3",
        "times = [time.monotonic() - start]; assert all(t < 3 for t in times)",
        "slow = max([t for t in [time.monotonic() - start]]); assert slow < 3",
        "self.took = time.monotonic() - start; assert self.took < 3",
        "check = lambda: time.monotonic() - start; assert check() < 3",
        "np.testing.assert_array_less(time.monotonic() - start, 3)",
        "self.assertLess(time.monotonic() - start, 3)",
        "limit = start + 3; assert time.monotonic() < limit",
    ],
)
def test_check_of_readings_of_a_clock(lines, statement):
    assert lines(f"{START}    {statement}\n") == [5]


@pytest.mark.parametrize(
    ("imports", "clock"),
    [
        ("import time", "time.time()"),
        ("import time", "time.perf_counter_ns()"),
        ("import time as t", "t.process_time()"),
        ("from time import perf_counter", "perf_counter()"),
        ("from time import thread_time as now", "now()"),
        ("import os", "os.times().user"),
        ("import resource", "resource.getrusage(resource.RUSAGE_SELF).ru_utime"),
        ("from datetime import datetime", "datetime.now()"),
        ("import timeit", "timeit.timeit(work, number=3)"),
        ("from timing import cheapest", "cheapest(work, attempts=3) / 100"),
        ("import timing", "timing.cheapest(work)"),
    ],
)
def test_check_of_every_clock(lines, imports, clock):
    assert lines(f"{imports}\ndef test_a():\n    assert {clock} < 3\n") == [3]
    assert lines(f"def test_a():\n    {imports}\n    took = {clock}\n    assert took < 3\n") == [4]


def test_check_of_a_clock_under_another_name(lines):
    text = "import time\ndef test_a():\n    now = time.monotonic\n    start = now()\n"
    assert lines(f"{text}    assert now() - start < 3\n") == [5]


@pytest.mark.parametrize(
    ("helper", "use"),
    [
        ("    return time.time() - 1", "assert measured() < 3"),
        ("    took = time.time() - 1\n    return took", "t = measured(); assert t < 3"),
        ("    return 1, time.time()", "value, t = measured(); assert value == 1; assert t < 3"),
        ("    return [time.time() for _ in range(3)]", "assert min(measured()) < 3"),
        ("    return other()\ndef other():\n    return time.time()", "assert measured() < 3"),
    ],
)
def test_check_of_helpers_that_return_a_time(lines, helper, use):
    text = f"import time\ndef test_a():\n    {use}\ndef measured():\n{helper}\n"
    assert lines(text) == [3]


@pytest.mark.parametrize(
    "statement",
    [
        "assert summary['seconds'] < 3",
        "assert run.elapsed <= 0.2",
        "assert 0 < seconds < 5",
        "assert 0 < spent <= 0.2 * budget.elapsed + 0.012",
        "assert seconds['a'] > 3 * seconds['b']",
        "assert run.train_seconds < 5",
        "assert max(table['seconds']) < 5",
    ],
)
def test_check_of_names_of_a_time(lines, statement):
    assert lines(f"def test_a():\n    {statement}\n") == [2]


@pytest.mark.parametrize(
    "failure", ["pytest.fail('slow')", "raise AssertionError", "raise AssertionError('slow')"]
)
def test_check_of_failures_under_a_condition(lines, failure):
    assert lines(f"{START}    if time.monotonic() - start > 3:\n        {failure}\n") == [5]


@pytest.mark.parametrize(
    ("decorators", "expected"),
    [
        ("@given(integers())", [2]),
        ("@hypothesis.given(x=integers())", [2]),
        ("@settings(max_examples=3) @given(integers())", [3]),
        ("@settings(deadline=500) @given(integers())", [3]),
        ("@settings(deadline=None) @given(integers())", []),
        ("@hypothesis.settings(max_examples=3, deadline=None) @given(integers())", []),
        ("@pytest.mark.slow", []),
    ],
)
def test_check_of_deadlines_of_hypothesis(lines, decorators, expected):
    text = decorators.replace(" @", "\n@")
    assert lines(f"{text}\ndef test_a(x):\n    assert x == x\n") == expected


@pytest.mark.parametrize(
    "statement",
    [
        "assert work() == 3",
        "assert len([time.monotonic()]) == 1",
        "assert summary['seconds'] >= 0",
        "took = time.monotonic() - start; assert took > 0",
        "assert summary['seconds'] == 1.5",
        "assert set(row) == {'seconds', 'loss'}",
        "notes = Notes(path, time.time()); assert notes.empty()",
        "record(took=time.monotonic() - start)",
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt < 100",
        "assert time.sleep(3) is None",
        "while time.monotonic() < start + 9 and not path.exists(): work()",
    ],
)
def test_check_passes_what_does_not_depend_on_speed(lines, statement):
    assert lines(f"{START}    import resource\n    {statement}\n") == []


def test_check_passes_the_deadline_of_wait_for_only(lines):
    loop = "    end = time.monotonic() + 60\n    while not done():\n"
    loop += "        assert time.monotonic() < end\n"
    assert lines(f"import time\ndef wait_for(done):\n{loop}") == []
    assert lines(f"import time\ndef until(done):\n{loop}") == [5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@pytest.mark.campaign('timing')\ndef test_a():\n    assert time.time() < 3\n", []),
        ("@pytest.mark.campaign('kills')\ndef test_a():\n    assert time.time() < 3\n", []),
        (
            "@pytest.mark.campaign('kills', small=True)\ndef test_a():\n"
            "    assert time.time() < 3\n",
            [4],
        ),
        ("@pytest.mark.slow\ndef test_a():\n    assert time.time() < 3\n", [4]),
        (
            "pytestmark = pytest.mark.campaign('timing')\ndef test_a():\n    assert seconds < 3\n",
            [],
        ),
        ("pytestmark = [pytest.mark.campaign('timing')]\nassert time.time() < 3\n", []),
        (
            "@pytest.mark.campaign('timing')\nclass TestA:\n    def test_a(self):\n"
            "        assert time.time() < 3\n",
            [],
        ),
    ],
)
def test_check_passes_what_only_the_campaign_runs(lines, text, expected):
    assert lines(f"import time\n{text}") == expected


def test_check_of_tests_under_a_condition(lines):
    text = "import time\nif True:\n    def test_a():\n        assert time.time() < 3\n"
    assert lines(text) == [4]


def test_check_names_the_test(write):
    text = "import time\nclass TestA:\n    def test_b(self):\n        def inner():\n"
    root = write({"deep/test_a.py": f"{text}            assert time.time() < 3\n"})
    assert [str(offender) for offender in wall_time_assertions(python_files(root), root)] == [
        "deep/test_a.py:5: deep/test_a.py::TestA.test_b (time.time() < 3)"
    ]
