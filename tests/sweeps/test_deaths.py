"""Jobs that crash their worker: isolated by halving, and the only ones that are given up."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.sweeps.execution.crash_log import (
    BEFORE_TRAINING,
    MAX_CRASHES,
    CrashLog,
    _split_suspects,
)

START = 1000.0


def crash(crash_log: CrashLog, numbers, step=0, unit=0) -> None:
    """Simulate the crash of a worker while it trains these jobs."""
    before, folder = crash_log.note_names(), crash_log.folder / str(unit)
    with crash_log.in_progress(unit, numbers, step):
        [note] = crash_log.note_names() - before
        text = (folder / note).read_text()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / note).write_text(text)


def test_training_that_ends_normally_leaves_no_note(tmp_path):
    crash_log = CrashLog(tmp_path, START)
    with contextlib.suppress(KeyboardInterrupt), crash_log.in_progress(0, [1, 2], 0):
        assert len(crash_log.note_names()) == 1
        raise KeyboardInterrupt
    assert crash_log.note_names() == set()
    assert crash_log.split_suspects(0, [1, 2], [1, 2]) == [[1, 2]]


def test_without_a_driver_no_note_is_left(tmp_path):
    with CrashLog(tmp_path, None).in_progress(0, [1, 2], 0):
        assert not list(tmp_path.iterdir())


def test_a_population_is_split_after_the_third_crash(tmp_path):
    crash_log, numbers = CrashLog(tmp_path, START), [0, 1, 2, 3, 4]
    for count in range(MAX_CRASHES):
        assert crash_log.split_suspects(0, numbers, numbers) == [numbers], count
        assert not crash_log.is_fatal(0, numbers, numbers)
        crash(crash_log, numbers)
    assert crash_log.split_suspects(0, numbers, numbers) == [[0, 1], [2, 3, 4]]
    assert crash_log.is_fatal(0, numbers, numbers)
    assert crash_log.split_suspects(1, numbers, numbers) == [numbers]  # another work unit


def test_a_population_with_new_checkpoints_is_no_suspect(tmp_path):
    crash_log = CrashLog(tmp_path, START)
    for step in range(10):
        crash(crash_log, [0, 1], step)
    assert not crash_log.is_fatal(0, [0, 1], [0, 1])


def test_finished_jobs_are_no_suspects_and_a_half_crashes_once(tmp_path):
    crash_log, numbers = CrashLog(tmp_path, START), list(range(8))
    for _ in range(MAX_CRASHES):
        crash(crash_log, numbers)
    crash(crash_log, [4, 5, 6, 7])
    assert crash_log.split_suspects(0, numbers, numbers) == [[0, 1, 2, 3], [4, 5], [6, 7]]
    assert crash_log.split_suspects(0, [6, 7], [6, 7]) == [[6], [7]]  # the others are finished
    # half of the first half has a checkpoint, while other jobs of it are unfinished
    assert not crash_log.is_fatal(0, [0, 1], numbers)
    assert not crash_log.is_fatal(0, [7], [7])  # a single job has as many attempts as a population
    for _ in range(MAX_CRASHES):
        crash(crash_log, [7])
    assert crash_log.is_fatal(0, [7], [7])
    crash_log.clear(0, 7)
    assert crash_log.note_names() == set()


def test_crashes_in_preparation_and_training_count_separately(tmp_path):
    crash_log = CrashLog(tmp_path, START)
    for step in (BEFORE_TRAINING, 0, BEFORE_TRAINING, 0):
        crash(crash_log, [3], step)
    assert not crash_log.is_fatal(0, [3], [])
    crash(crash_log, [3], BEFORE_TRAINING)
    assert crash_log.is_fatal(0, [3], [])


def test_notes_of_an_earlier_attempt_are_ignored(tmp_path):
    crash_log = CrashLog(tmp_path, START)
    for _ in range(MAX_CRASHES):
        crash(crash_log, [3])
    later = CrashLog(tmp_path, time.time() + 10)
    assert not later.is_fatal(0, [3], [])
    assert crash_log.note_names() == set()
    crash_log.forget(0)
    crash_log.close()
    assert not list(tmp_path.iterdir())


def test_an_incomplete_note_is_ignored(tmp_path):
    crash_log = CrashLog(tmp_path, START)
    for i in range(MAX_CRASHES):
        (tmp_path / ".under-way/0").mkdir(parents=True, exist_ok=True)
        (tmp_path / f".under-way/0/{os.getpid()}-{i}.json").write_text('{"jobs": [1')
    assert not crash_log.is_fatal(0, [1], [])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.data())
def test_only_crashing_jobs_are_given_up(members, data):
    """Simulated workers: populations with a crashing job crash, the others finish. The number of
    crashes grows with the logarithm of the number of members.
    """
    crashing = data.draw(st.sets(st.integers(0, members - 1), max_size=2))
    with tempfile.TemporaryDirectory() as sweep:
        _simulate(CrashLog(Path(sweep), START), members, crashing)


def _simulate(crash_log, members, crashing):
    remaining, crashes, given_up = list(range(members)), 0, set()

    def worker_crashes() -> bool:
        """Run one worker; return whether it crashed."""
        for number in list(remaining):
            if crash_log.is_fatal(0, [number], []):
                crash_log.clear(0, number)
                remaining.remove(number)
                given_up.add(number)
        for group in crash_log.split_suspects(0, remaining, remaining) if remaining else []:
            if crashing & set(group):
                crash(crash_log, group)
                return True
            remaining[:] = [number for number in remaining if number not in group]
        return False

    while worker_crashes():
        crashes += 1
        assert crashes <= len(crashing) * (2 * MAX_CRASHES + members.bit_length())
    assert given_up == crashing
    assert not remaining


def test_split_suspects_keeps_every_job_once():
    suspects = [{0, 1, 2, 3}, {2, 3}, {9}]
    # since 2 or 3, and 9, crash, the others are no suspects
    assert _split_suspects(list(range(10)), suspects) == [[0, 1, 4, 5, 6, 7, 8], [2], [3], [9]]


def test_files_of_a_process_killed_during_cleanup_are_removed(tmp_path):
    """Files of finished work units: a population's checkpoint, and a folder whose checkpoint had
    just been removed.
    """
    import mlplab
    from mlplab.sweeps.execution.progress import SweepProgress
    from mlplab.sweeps.execution.runner import Runner
    from mlplab.sweeps.plan.plan_file import read_plan

    overrides = [
        "experiment=xor_mlp",
        "training.epochs=1",
        "tracking=summary",
        "model.hidden=3,4",
        "device=cpu",
        "engine=eager",
        "hydra.sweep.dir=sweep",
    ]
    mlplab.sweep(overrides)
    sweep = tmp_path / "sweep"
    plan = read_plan(sweep)
    first, second = (unit.number for unit in plan.work_units)
    (sweep / f".checkpoints/{first}").mkdir(parents=True)
    (sweep / f".checkpoints/{second}/0123456789abcdef").mkdir(parents=True)
    (sweep / f".checkpoints/{second}/0123456789abcdef/state-000000000001.json").write_text("{")
    Runner(plan, sweep, SweepProgress(plan, quiet=True)).run()
    assert not (sweep / ".checkpoints").exists()
