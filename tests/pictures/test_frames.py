"""Frames: copies of the weights, evenly apart, that cost the training nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from building import make_settings

from mlplab.runs.frames_file import load_frames, save_frames
from mlplab.training import (
    FrameRecorder,
    Frames,
    select_frames,
    train_population,
)


def trained(recorder, settings):
    return train_population(settings, [recorder] if recorder is not None else [])


@pytest.mark.parametrize(("epochs", "most"), [(7, 101), (100, 101), (101, 101), (57, 10), (3, 3)])
def test_frames_are_evenly_apart_and_never_too_many(epochs, most):
    recorder = FrameRecorder(max_frames=most)
    outcome = trained(recorder, [make_settings(epochs=epochs)])[0]
    frames = recorder.frames()
    assert len(frames) <= max(most, 3)
    assert frames.epoch[0] == 0
    assert len(set(np.diff(frames.epoch).tolist())) == 1
    assert epochs - frames.epoch[-1] < frames.epoch[1]
    assert len(frames) >= min(epochs + 1, most // 2)
    last = frames.at([len(frames) - 1])
    if last.step[0] == outcome.steps:
        assert torch.equal(last.theta_RP[0], outcome.last_theta_P)


def test_recording_changes_no_number():
    settings = [make_settings(epochs=5, layer={"normalization": "batch", "dropout": 0.1})]
    plain, recorded = trained(None, settings)[0], trained(FrameRecorder(), settings)[0]
    assert torch.equal(plain.theta_P, recorded.theta_P)
    assert plain.metrics == recorded.metrics


def test_the_best_weights_are_among_the_frames():
    recorder = FrameRecorder(max_frames=4)
    outcome = trained(recorder, [make_settings(epochs=30)])[0]
    frames, best_frame = select_frames(recorder, outcome)
    assert frames.step[best_frame] == outcome.best_step
    assert torch.equal(frames.theta_RP[best_frame], outcome.theta_P)
    assert (np.diff(frames.step) > 0).all()


def test_members_of_a_population_have_the_frames_of_a_single_run():
    several = [
        make_settings(seed=seed, epochs=epochs)
        for seed, epochs in ((0, 12), (1, 4), (2, 12), (3, 4))
    ]
    recorder = FrameRecorder()
    outcomes = trained(recorder, several)
    for member, settings in enumerate(several):
        single_recorder = FrameRecorder()
        outcome = trained(single_recorder, [settings])[0]
        frames, best_frame = select_frames(recorder, outcomes[member], member)
        single_frames, single_best = select_frames(single_recorder, outcome)
        assert frames.step.tolist() == single_frames.step.tolist()
        assert best_frame == single_best
        torch.testing.assert_close(frames.theta_RP, single_frames.theta_RP, rtol=0, atol=1e-10)


def test_memory_is_bounded():
    recorder = FrameRecorder(max_bytes=8 * 74 * 10)
    trained(recorder, [make_settings(epochs=50)])
    assert 3 <= len(recorder.frames()) <= 10


def test_frames_that_are_not_finite_are_left_out():
    theta = torch.zeros(3, 2)
    theta[1, 0] = torch.nan
    frames = Frames(np.arange(3), np.arange(3), theta, {}).finite()
    assert frames.epoch.tolist() == [0, 2]


def test_the_file_gives_back_what_was_saved(tmp_path):
    recorder = FrameRecorder()
    trained(recorder, [make_settings(epochs=3, layer={"normalization": "batch"})])
    save_frames(tmp_path, recorder.frames(), 2)
    frames, best_frame = load_frames(tmp_path)
    assert best_frame == 2
    assert frames.step.tolist() == recorder.frames().step.tolist()
    assert torch.equal(frames.theta_RP, recorder.frames().theta_RP)
    assert {name: value.shape for name, value in frames.buffers.items()} == {
        "0.mean": (4, 6),
        "0.variance": (4, 6),
        "1.mean": (4, 6),
        "1.variance": (4, 6),
    }


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="tracking=full"):
        load_frames(tmp_path)
