"""Who took a worker along: found by halving, given up alone, and nobody else with them."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.sweeps.execution.crash_log import BEFORE, LIMIT, CrashLog, _parted

BEGAN = 1000.0


def died(deaths: CrashLog, numbers, step=0, piece=0) -> None:
    """A worker's end while it trains these."""
    before, place = deaths.names(), deaths.folder / str(piece)
    with deaths.in_progress(piece, numbers, step):
        [note] = deaths.names() - before
        text = (place / note).read_text()
    place.mkdir(parents=True, exist_ok=True)
    (place / note).write_text(text)


def test_training_that_ends_by_itself_leaves_no_note(tmp_path):
    deaths = CrashLog(tmp_path, BEGAN)
    with contextlib.suppress(KeyboardInterrupt), deaths.in_progress(0, [1, 2], 0):
        assert len(deaths.names()) == 1
        raise KeyboardInterrupt
    assert deaths.names() == set()
    assert deaths.parted(0, [1, 2], [1, 2]) == [[1, 2]]


def test_without_a_driver_no_note_is_left(tmp_path):
    with CrashLog(tmp_path, None).in_progress(0, [1, 2], 0):
        assert not list(tmp_path.iterdir())


def test_a_population_is_believed_in_until_the_third_death(tmp_path):
    deaths, numbers = CrashLog(tmp_path, BEGAN), [0, 1, 2, 3, 4]
    for count in range(LIMIT):
        assert deaths.parted(0, numbers, numbers) == [numbers], count
        assert not deaths.fatal(0, numbers, numbers)
        died(deaths, numbers)
    assert deaths.parted(0, numbers, numbers) == [[0, 1], [2, 3, 4]]
    assert deaths.fatal(0, numbers, numbers)
    assert deaths.parted(1, numbers, numbers) == [numbers]  # another piece


def test_one_that_was_saved_further_each_time_is_innocent(tmp_path):
    deaths = CrashLog(tmp_path, BEGAN)
    for step in range(10):
        died(deaths, [0, 1], step)
    assert not deaths.fatal(0, [0, 1], [0, 1])


def test_those_that_are_finished_are_innocent_and_a_half_dies_once(tmp_path):
    deaths, numbers = CrashLog(tmp_path, BEGAN), list(range(8))
    for _ in range(LIMIT):
        died(deaths, numbers)
    died(deaths, [4, 5, 6, 7])
    assert deaths.parted(0, numbers, numbers) == [[0, 1, 2, 3], [4, 5], [6, 7]]
    assert deaths.parted(0, [6, 7], [6, 7]) == [[6], [7]]  # the others are finished
    # saved as half of the first half, while others of it are left
    assert not deaths.fatal(0, [0, 1], numbers)
    assert not deaths.fatal(0, [7], [7])  # alone it is believed in as long as a population
    for _ in range(LIMIT):
        died(deaths, [7])
    assert deaths.fatal(0, [7], [7])
    deaths.explained(0, 7)
    assert deaths.names() == set()


def test_data_that_kill_count_apart_from_training(tmp_path):
    deaths = CrashLog(tmp_path, BEGAN)
    for step in (BEFORE, 0, BEFORE, 0):
        died(deaths, [3], step)
    assert not deaths.fatal(0, [3], [])
    died(deaths, [3], BEFORE)
    assert deaths.fatal(0, [3], [])


def test_notes_of_an_earlier_attempt_mean_nothing(tmp_path):
    deaths = CrashLog(tmp_path, BEGAN)
    for _ in range(LIMIT):
        died(deaths, [3])
    later = CrashLog(tmp_path, time.time() + 10)
    assert not later.fatal(0, [3], [])
    assert deaths.names() == set()
    deaths.forget(0)
    deaths.close()
    assert not list(tmp_path.iterdir())


def test_a_torn_note_is_passed_over(tmp_path):
    deaths = CrashLog(tmp_path, BEGAN)
    for i in range(LIMIT):
        (tmp_path / ".under-way/0").mkdir(parents=True, exist_ok=True)
        (tmp_path / f".under-way/0/{os.getpid()}-{i}.json").write_text('{"jobs": [1')
    assert not deaths.fatal(0, [1], [])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.data())
def test_every_culprit_is_found_and_nobody_else_is_given_up(members, data):
    """A play: populations with a culprit die, the others finish. The deaths grow with the logarithm
    of the members.
    """
    culprits = data.draw(st.sets(st.integers(0, members - 1), max_size=2))
    with tempfile.TemporaryDirectory() as sweep:
        _play(CrashLog(Path(sweep), BEGAN), members, culprits)


def _play(deaths, members, culprits):
    left, lost, given_up = list(range(members)), 0, set()

    def life() -> bool:
        """Of one worker; whether it died."""
        for number in list(left):
            if deaths.fatal(0, [number], []):
                deaths.explained(0, number)
                left.remove(number)
                given_up.add(number)
        for part in deaths.parted(0, left, left) if left else []:
            if culprits & set(part):
                died(deaths, part)
                return True
            left[:] = [number for number in left if number not in part]
        return False

    while life():
        lost += 1
        assert lost <= len(culprits) * (2 * LIMIT + members.bit_length())
    assert given_up == culprits
    assert not left


def test_parts_hold_everyone_once():
    dead = [{0, 1, 2, 3}, {2, 3}, {9}]
    parts = _parted(list(range(10)), dead)
    # where the culprits are 2 or 3, and 9, the rest is innocent
    assert parts == [[0, 1, 4, 5, 6, 7, 8], [2], [3], [9]]


def test_what_a_process_killed_while_it_tidied_left_is_taken_away(tmp_path):
    """Of pieces that are done: a population's checkpoint, and the folder of one whose checkpoint
    had just gone.
    """
    import mlplab
    from mlplab.sweeps.execution.progress import SweepProgress
    from mlplab.sweeps.execution.runner import Runner
    from mlplab.sweeps.plan.plan_file import read_plan

    words = [
        "experiment=xor_mlp",
        "training.epochs=1",
        "tracking=summary",
        "model.hidden=3,4",
        "device=cpu",
        "hydra.sweep.dir=sweep",
    ]
    mlplab.sweep(words)
    sweep = tmp_path / "sweep"
    plan = read_plan(sweep)
    first, second = (piece.number for piece in plan.pieces)
    (sweep / f".checkpoints/{first}").mkdir(parents=True)
    (sweep / f".checkpoints/{second}/0123456789abcdef").mkdir(parents=True)
    (sweep / f".checkpoints/{second}/0123456789abcdef/state-000000000001.json").write_text("{")
    Runner(plan, sweep, SweepProgress(plan, quiet=True)).run()
    assert not (sweep / ".checkpoints").exists()
