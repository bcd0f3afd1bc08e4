"""Rows in blocks are the sequence that single rows would be, in histories and checkpoints too."""

from __future__ import annotations

import numpy as np
import pytest

from mlplab.training import Row
from mlplab.training.checkpoint import pack_rows, unpack_rows
from mlplab.training.history import HistoryBuffer
from mlplab.training.rows import RowBlock, Rows

NAMES = ("train/loss", "train/accuracy")
MEMBERS = [[0, 1, 2]] * 3 + [[1]] + [[0, 1, 2]] * 2 + [[0, 2], [2], [2]]  # of each evaluation


def single_rows() -> list[Row]:
    draw = np.random.default_rng(0)
    return [
        Row(
            e,
            4 * e,
            100.0 + e,
            np.array(members),
            draw.random(len(members)) < 0.8,
            draw.random((len(NAMES), len(members))),
        )
        for e, members in enumerate(MEMBERS)
    ]


def in_blocks(rows: list[Row], *pairs: tuple[int, int]) -> Rows:
    """The rows, with those from `first` to `end` of each pair as a block."""
    blocks, at = Rows(), 0
    for first, end in pairs:
        blocks += rows[at:first]
        blocks.append(RowBlock.of(rows[first:end]))
        at = end
    blocks += rows[at:]
    return blocks


CASES = [(), ((0, 3),), ((0, 2), (2, 3), (4, 6)), ((1, 2), (6, 7), (7, 9))]


def assert_same(rows, others) -> None:
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        assert (row.epoch, row.step, row.time) == (other.epoch, other.step, other.time)
        for key in ("members", "alive", "values"):
            np.testing.assert_array_equal(getattr(row, key), getattr(other, key))


@pytest.mark.parametrize("pairs", CASES)
def test_rows_are_a_sequence(pairs):
    single, rows = single_rows(), in_blocks(single_rows(), *pairs)
    assert_same(rows, single)
    assert_same([rows[e] for e in range(-len(single), 0)], single)
    assert_same(list(reversed(rows)), single[::-1])
    assert_same(rows[2:7], single[2:7])
    assert_same([row for block in rows.blocks() for row in block], single)
    with pytest.raises(IndexError):
        rows[len(single)]


@pytest.mark.parametrize("pairs", CASES)
def test_histories_and_checkpoints_do_not_depend_on_blocks(pairs):
    buffers = [HistoryBuffer(NAMES, 3) for _ in range(3)]
    buffers[0].rows += single_rows()
    buffers[1].rows += in_blocks(single_rows(), *pairs)
    buffers[2].rows += unpack_rows(pack_rows(buffers[1].rows))
    for kept in (range(3), (2, 0)):
        for buffer in buffers:
            buffer.keep(kept)
        expected, *others = (buffer.histories() for buffer in buffers)
        for histories in others:
            for history, other in zip(histories, expected, strict=True):
                for key in ("epoch", "step", "time", "values"):
                    np.testing.assert_array_equal(getattr(history, key), getattr(other, key))
