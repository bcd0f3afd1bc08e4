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
    Loop,
    build_population,
    prepare_members,
    select_frames,
)


def trained(recorder, settings):
    loop = Loop(build_population(prepare_members(settings))[0])
    if recorder is not None:
        loop.observers.append(recorder)
    loop.run()
    return loop.outcomes()


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


def test_looking_changes_no_number():
    settings = [make_settings(epochs=5, layer={"normalization": "batch", "dropout": 0.1})]
    plain, watched = trained(None, settings)[0], trained(FrameRecorder(), settings)[0]
    assert torch.equal(plain.theta_P, watched.theta_P)
    assert plain.metrics == watched.metrics


def test_the_best_weights_are_among_the_frames():
    recorder = FrameRecorder(max_frames=4)
    outcome = trained(recorder, [make_settings(epochs=30)])[0]
    frames, chosen = select_frames(recorder, outcome)
    assert frames.step[chosen] == outcome.best_step
    assert torch.equal(frames.theta_RP[chosen], outcome.theta_P)
    assert (np.diff(frames.step) > 0).all()


def test_members_of_a_population_have_the_frames_of_a_lone_run():
    several = [
        make_settings(seed=seed, epochs=epochs)
        for seed, epochs in ((0, 12), (1, 4), (2, 12), (3, 4))
    ]
    recorder = FrameRecorder()
    outcomes = trained(recorder, several)
    for member, settings in enumerate(several):
        alone = FrameRecorder()
        outcome = trained(alone, [settings])[0]
        found, chosen = select_frames(recorder, outcomes[member], member)
        wanted, own = select_frames(alone, outcome)
        assert found.step.tolist() == wanted.step.tolist()
        assert chosen == own
        torch.testing.assert_close(found.theta_RP, wanted.theta_RP, rtol=0, atol=1e-10)


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
    frames, chosen = load_frames(tmp_path)
    assert chosen == 2
    assert frames.step.tolist() == recorder.frames().step.tolist()
    assert torch.equal(frames.theta_RP, recorder.frames().theta_RP)
    assert {name: value.shape for name, value in frames.buffers.items()} == {
        "0.mean": (4, 6),
        "0.variance": (4, 6),
        "1.mean": (4, 6),
        "1.variance": (4, 6),
    }


def test_without_a_file_it_says_why(tmp_path):
    with pytest.raises(FileNotFoundError, match="tracking=full"):
        load_frames(tmp_path)
