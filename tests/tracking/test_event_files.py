"""Event files: what is written is what TensorBoard's own readers see, at every moment and after
every cut.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc_update, masked_crc32c
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
)
from timing import cheapest

from mlplab.tracking.events import EventWriter, clean_tag, write_history
from mlplab.tracking.records import crc32c, frame

EVERYTHING = {"scalars": 0, "tensors": 0, "images": 0}


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance=EVERYTHING).Reload()


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


@pytest.mark.parametrize("length", [4, 8, 255, 256, 257, 259, 512, 515, 1000])
def test_checksums_are_those_of_tensorboard(length: int) -> None:
    rows = np.random.default_rng(length).integers(0, 256, (3, length), dtype=np.uint8)
    assert crc32c(rows).tolist() == [crc_update(0, row.tobytes()) for row in rows]


def test_a_checksum_is_the_published_one() -> None:
    assert crc32c(np.frombuffer(b"123456789", np.uint8)[None]).item() == 0xE3069283


def test_records_of_mixed_lengths_are_framed_in_order() -> None:
    payloads = [b"a" * n for n in (20, 7, 20, 300)]
    expected = b""
    for payload in payloads:
        size = len(payload).to_bytes(8, "little")
        sums = [masked_crc32c(field).to_bytes(4, "little") for field in (size, payload)]
        expected += size + sums[0] + payload + sums[1]
    assert frame(payloads) == expected


def test_scalars_come_back_equal_with_their_times(tmp_path: Path) -> None:
    with EventWriter(tmp_path) as writer:
        for step in range(5):
            writer.scalars(
                step, {"train/loss": 0.1 * step, "val/accuracy": -1.5}, wall_time=1000.0 + step
            )
    events = read(tmp_path).Scalars("train/loss")
    assert [(e.step, e.value, e.wall_time) for e in events] == [
        (s, float(np.float32(0.1 * s)), 1000.0 + s) for s in range(5)
    ]
    assert points(tmp_path, "val/accuracy") == [(s, -1.5) for s in range(5)]


def test_one_step_is_one_event(tmp_path: Path) -> None:
    with EventWriter(tmp_path) as writer:
        before = writer.path.read_bytes()
        writer.scalars(3, {f"tag_{i}": float(i) for i in range(8)})
    record = writer.path.read_bytes()[len(before) :]
    assert int.from_bytes(record[:8], "little") == len(record) - 16


def test_nan_and_infinities_are_kept(tmp_path: Path) -> None:
    with EventWriter(tmp_path) as writer:
        for step, value in enumerate([math.nan, math.inf, -math.inf, 1e300]):
            writer.scalars(step, {"x": value})
    values = [value for _, value in points(tmp_path, "x")]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, math.inf]


def test_a_history_written_at_once_equals_one_written_step_by_step(tmp_path: Path) -> None:
    steps = [0, 1, 127, 128, 16383, 16384, 2**40]
    columns = {"train/loss": np.random.default_rng(0).normal(size=7), "lr": np.linspace(1, 2, 7)}
    times = [10.0 + i for i in range(7)]
    for name in ("once", "stepwise"):
        (tmp_path / name).mkdir()
    write_history(tmp_path / "once", steps, columns, times)
    with EventWriter(tmp_path / "stepwise") as writer:
        for i, step in enumerate(steps):
            writer.scalars(step, {tag: column[i] for tag, column in columns.items()}, times[i])
    for tag, column in columns.items():
        expected = list(zip(steps, column.astype(np.float32).tolist(), strict=True))
        assert points(tmp_path / "once", tag) == points(tmp_path / "stepwise", tag) == expected


@pytest.mark.campaign("timing")
def test_a_thousand_steps_of_eight_values_are_written_fast(tmp_path: Path) -> None:
    values = {f"train/metric_{i}": 0.5 for i in range(8)}
    columns = {tag: np.zeros(100) for tag in values}
    with EventWriter(tmp_path) as writer:
        assert (
            cheapest(lambda: [writer.scalars(step, values) for step in range(200)], attempts=5)
            < 0.15 / 5
        )
    assert cheapest(lambda: write_history(tmp_path, range(100), columns), attempts=5) < 0.003


def test_a_reader_never_fails_while_the_file_grows(tmp_path: Path) -> None:
    seen: list[int] = []
    writer = EventWriter(tmp_path)
    writer.scalars(0, {"x": 0.0})
    stop = threading.Event()

    def follow() -> None:
        reader = EventAccumulator(str(tmp_path), size_guidance=EVERYTHING)
        while not stop.is_set():
            steps = [event.step for event in reader.Reload().Scalars("x")]
            assert steps == list(range(len(steps)))
            seen.append(len(steps))

    failures: list[BaseException] = []
    thread = threading.Thread(target=lambda: _collect(follow, failures))
    thread.start()
    for step in range(1, 150):
        writer.scalars(step, {"x": float(step), "y": 1.0})
        time.sleep(0.002)
    stop.set()
    thread.join()
    assert failures == []
    assert len(set(seen)) > 3  # it did read while the file grew
    assert seen == sorted(seen)
    assert points(tmp_path, "x") == [(step, float(step)) for step in range(150)]


def _collect(work: object, failures: list[BaseException]) -> None:
    try:
        work()  # type: ignore[operator]
    except BaseException as error:
        failures.append(error)


def test_every_value_is_readable_before_the_file_is_closed(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    for step in range(3):
        writer.scalars(step, {"x": 1.0})
        assert len(points(tmp_path, "x")) == step + 1
    writer.close()
    writer.close()


def test_a_file_cut_anywhere_gives_all_whole_records(tmp_path: Path) -> None:
    ends, rng = [], random.Random(7)
    with EventWriter(tmp_path) as writer:
        for step in range(40):
            writer.scalars(step, {"x": float(step), "y": 2.0})
            ends.append(writer.path.stat().st_size)
    data = writer.path.read_bytes()
    for length in [0, 1, len(data) - 1, *(rng.randrange(len(data)) for _ in range(30))]:
        cut = tmp_path / f"cut_{length}"
        cut.mkdir(exist_ok=True)
        (cut / "events.out.tfevents.1").write_bytes(data[:length])
        whole = sum(end <= length for end in ends)
        reader = read(cut)
        assert len(reader.Scalars("x") if whole else reader.Tags()["scalars"]) == whole


def test_a_resumed_run_shows_each_step_once(tmp_path: Path) -> None:
    with EventWriter(tmp_path) as writer:
        writer.history(range(10), {"x": np.zeros(10)})
    with EventWriter(tmp_path, purge_step=5) as resumed:
        resumed.history(range(5, 15), {"x": np.ones(10)})
    assert resumed.path.name > writer.path.name  # TensorBoard reads in the order of the names
    assert points(tmp_path, "x") == [(step, float(step >= 5)) for step in range(15)]


def test_a_resumed_run_repeats_nothing_that_earlier_files_show(tmp_path: Path) -> None:
    """Its header and what it drew stay as they are; what was cut off or ignored is written."""

    def write(writer: EventWriter) -> None:
        writer.text("configuration", "a: 1")
        writer.graph(b"")
        writer.history(range(6), {"x": np.zeros(6), "y": np.zeros(6)})

    with EventWriter(tmp_path) as first:
        write(first)
        first.image("decision", 1, b"png", 2, 2)
        first.image("decision", 4, b"png", 2, 2)
        whole = first.path.stat().st_size
        first.image("decision", 2, b"png", 2, 2)
    os.truncate(first.path, whole + 3)
    with EventWriter(tmp_path, purge_step=3) as resumed:
        write(resumed)
        assert resumed.steps_before("decision") == {1}
        assert resumed.steps_before("units") == set()
    with EventWriter(tmp_path, purge_step=9) as again:
        assert again.steps_before("x") == set(range(6))
        assert again.steps_before("decision") == {1}
        write(again)
    assert points(tmp_path, "x") == points(tmp_path, "y") == [(step, 0.0) for step in range(6)]
    assert [event.step for event in read(tmp_path).Tensors("configuration")] == [0]
    assert [event.step for event in read(tmp_path).Images("decision")] == [1]


def test_writers_of_one_moment_get_different_files(tmp_path: Path) -> None:
    writers = [EventWriter(tmp_path) for _ in range(5)]
    names = [writer.path.name for writer in writers]
    assert len(set(names)) == 5
    assert names == sorted(names)
    for writer in writers:
        writer.close()


@pytest.mark.parametrize(
    ("tag", "clean"),
    [
        ("train/loss", "train/loss"),
        ("a//b", "a/b"),
        ("/a/", "a"),
        ("a b", "a_b"),
        ("größe/Ω", "größe/Ω"),
        ("x\x1b[2J\n", "x__2J_"),
        ("layer 1: weight[0]", "layer_1__weight_0_"),
        ("", "unnamed"),
        ("//", "unnamed"),
    ],
)
def test_odd_tags_are_cleaned_the_same_way_each_time(tag: str, clean: str, tmp_path: Path) -> None:
    assert clean_tag(tag) == clean_tag(clean) == clean
    with EventWriter(tmp_path) as writer:
        writer.scalars(0, {tag: 1.0})
    assert points(tmp_path, clean) == [(0, 1.0)]


def test_long_tags_stay_distinct() -> None:
    one, two = clean_tag("x" * 300), clean_tag("x" * 301)
    assert one != two
    assert len(one) == len(two) == 200


def test_two_tags_that_would_become_one_are_refused(tmp_path: Path) -> None:
    tags = {"a b": 1.0, "a_b": 2.0}
    with EventWriter(tmp_path) as writer, pytest.raises(ValueError, match="same for TensorBoard"):
        writer.scalars(0, tags)


def test_text_image_and_histogram_come_back(tmp_path: Path) -> None:
    values = np.array([0.0, 0.1, 0.1, 3.0, np.nan, np.inf])
    with EventWriter(tmp_path) as writer:
        writer.text("config", "# Title\nä")
        writer.image("boundary", 7, b"\x89PNG...", 64, 32)
        writer.histogram("weights", 3, values)
        writer.histogram("weights", 4, np.full(5, 2.5))
        writer.histogram("weights", 5, [np.nan])
    reader = read(tmp_path)
    assert reader.Tensors("config")[0].tensor_proto.string_val[0].decode() == "# Title\nä"
    assert reader.SummaryMetadata("config").plugin_data.plugin_name == "text"
    picture = reader.Images("boundary")[0]
    assert (picture.step, picture.width, picture.height, picture.encoded_image_string) == (
        7,
        64,
        32,
        b"\x89PNG...",
    )
    assert reader.SummaryMetadata("weights").plugin_data.plugin_name == "histograms"
    rows = {
        event.step: np.frombuffer(event.tensor_proto.tensor_content).reshape(30, 3)
        for event in reader.Tensors("weights")
    }
    assert sorted(rows) == [3, 4]
    assert rows[3][:, 2].sum() == 4
    assert rows[3][[0, 1, 29], 2].tolist() == [1, 2, 1]
    np.testing.assert_allclose(rows[3][:, 0], np.arange(30) / 10, atol=1e-12)
    assert rows[4][-1].tolist() == [2.5, 2.5, 5.0]


def hparams_plugin(folder: Path) -> tuple[api_pb2.Experiment, list[api_pb2.SessionGroup]]:
    """What the HParams page of TensorBoard would be told."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder)).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING],
    )
    experiment = get_experiment.Handler(
        RequestContext(), context, "", api_pb2.GetExperimentRequest()
    ).run()
    groups = (
        list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups
    )
    return experiment, list(groups)


def test_the_hparams_table_has_a_row_a_run_with_its_metrics(tmp_path: Path) -> None:
    choices = {
        "lr": [0.1, 1],
        "activation": ["relu", "tanh"],
        "nesterov": [True, False],
        "patience": [None, 5],
    }
    jobs = [(0.1, "tanh", True, None), (1, "relu", False, 5)]
    for number, job in enumerate(jobs):
        (tmp_path / str(number)).mkdir()
        with EventWriter(tmp_path / str(number)) as writer:
            writer.hparams(dict(zip(choices, job, strict=True)), ["val/accuracy"], choices)
            writer.scalars(1, {"val/accuracy": 0.25, "train/loss": 3.0})
            writer.scalars(2, {"val/accuracy": 0.5 + number, "train/loss": 2.0})
            writer.hparams_end("diverged" if number else "done")
    experiment, groups = hparams_plugin(tmp_path)
    kinds = {info.name: info.type for info in experiment.hparam_infos}
    string_type, numbers = api_pb2.DATA_TYPE_STRING, api_pb2.DATA_TYPE_FLOAT64
    assert kinds == {
        "lr": numbers,
        "activation": string_type,
        "nesterov": api_pb2.DATA_TYPE_BOOL,
        "patience": string_type,
    }
    assert [info.name.tag for info in experiment.metric_infos] == ["val/accuracy"]
    groups.sort(key=lambda group: group.name)
    rows = [
        {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}
        for group in groups
    ]
    assert rows == [
        {"lr": 0.1, "activation": "tanh", "nesterov": True, "patience": "null"},
        {"lr": 1.0, "activation": "relu", "nesterov": False, "patience": "5"},
    ]
    assert [[value.value for value in group.metric_values] for group in groups] == [[0.5], [1.5]]
    assert [group.sessions[0].status for group in groups] == [
        api_pb2.STATUS_SUCCESS,
        api_pb2.STATUS_FAILURE,
    ]


def test_a_full_disk_raises_and_leaves_whole_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, room = os.write, [20]

    def write(descriptor: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        written = real(descriptor, bytes(data)[: room[0]])
        room[0] -= written
        return written

    with EventWriter(tmp_path) as writer:
        writer.scalars(0, {"x": 1.0})
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space"):
            writer.scalars(1, {"x": 2.0})
        monkeypatch.undo()
        writer.scalars(2, {"x": 3.0})
    assert points(tmp_path, "x") == [(0, 1.0), (2, 3.0)]
