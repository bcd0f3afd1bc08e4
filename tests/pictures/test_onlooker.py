"""Runs that draw: their pictures and costs, and that drawing cannot affect a result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawing import CLASSES, draw_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mlplab
from mlplab.pictures.registry import _registered, picture
from mlplab.pictures.rendering import time_budget
from mlplab.pictures.rendering.final_figures import FinalFigures
from mlplab.pictures.rendering.image_steps import spread
from mlplab.pictures.rendering.step_images import StepImages
from mlplab.pictures.rendering.time_budget import Budget
from mlplab.playback.revisit import revisit

QUICK = ["experiment=xor_mlp", "training.epochs=5"]
EVERYTHING = {"scalars": 0, "tensors": 0, "images": 0}


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance=EVERYTHING).Reload()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return mlplab.run(
        ["experiment=radial_6_6", "training.epochs=12"], tmp_path_factory.mktemp("drawn") / "run"
    )


def test_a_run_writes_its_pictures(run):
    assert {path.stem for path in (run.folder / "pictures").iterdir()} == CLASSES
    assert "ERROR" not in (run.folder / "log.txt").read_text()


def test_images_come_over_the_steps(run):
    images = events(run.folder).Images("decision")
    steps = [image.step for image in images]
    assert len(steps) >= 3
    assert steps[0] == 0


@pytest.mark.parametrize("name", ["decision", "units", "hidden"])
def test_images_end_with_the_training(run, name):
    """TensorBoard opens at the last written image, and its slider keeps the order of writing."""
    steps = [image.step for image in events(run.folder).Images(name)]
    assert steps == sorted(set(steps))
    assert steps[-1] == run.summary["steps"]


def test_a_first_image_at_the_end_is_preceded_by_earlier_ones(run, monkeypatch):
    """A busy machine may have no time for images before the last evaluation."""
    monkeypatch.chdir(run.folder.parent)
    _, study = revisit(run.folder)
    written = []

    class Events:
        def image(self, name, step, *_):
            written.append((name, step))

        def steps_before(self, name):
            return set()

    step_images = StepImages(Events())
    step_images.draw_next(study)
    steps = study.frames.step.tolist()
    assert [name for name, _ in written] == ["decision"] * 3
    assert [step for _, step in written] == [steps[0], steps[len(steps) // 2], steps[-1]]
    step_images.draw_next(study)
    assert written[3:] == [(step_images.moving[1].name, steps[-1])]


def test_a_longer_run_goes_on_with_its_images(tmp_path, monkeypatch):
    from mlplab.cli import main

    draw_only(monkeypatch, "decision", "units")
    run = mlplab.run([*QUICK, "training.epochs=3"], tmp_path / "run")
    assert main(["resume", str(run.folder), "training.epochs=6"]) == 0
    steps = [image.step for image in events(run.folder).Images("decision")]
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert steps[-1] == mlplab.load(run.folder).summary["steps"] > run.summary["steps"]


def test_a_run_that_ended_before_its_images_draws_them_when_resumed(tmp_path, monkeypatch):
    """Each picture and tag once, and the images of the whole training."""
    from mlplab.cli import main

    def end(*_):
        raise KeyboardInterrupt

    draw_only(monkeypatch, "decision")
    with monkeypatch.context() as patch:
        patch.setattr(FinalFigures, "draw", end)
        patch.setattr(Budget, "allows", lambda self: False)
        run = mlplab.run([*QUICK, "training.epochs=3"], tmp_path / "run")
    assert events(run.folder).Tags()["images"] == []
    assert main(["resume", str(run.folder)]) == 0
    shown = events(run.folder)
    steps = [image.step for image in shown.Images("decision")]
    assert len(steps) == 3
    assert (steps[0], steps[-1]) == (0, run.summary["steps"])
    assert len(shown.Tensors("custom_scalars__config__")) == 1
    assert len(shown.Scalars("test/loss")) == 1


def test_distributions_are_those_of_the_weights(run):
    from mlplab.playback.revisit import revisit

    study = revisit(run.folder)[1]
    first = events(run.folder).Tensors("weights/layer_1")[0]
    assert first.step == 0
    rows = np.frombuffer(first.tensor_proto.tensor_content).reshape(-1, 3)
    weight = study.weights(0)[0][0]
    assert rows[:, 2].sum() == weight.size
    assert rows[0, 0] == pytest.approx(weight.min())
    assert rows[-1, 1] == pytest.approx(weight.max())


def test_the_projector_s_files_fit_together(run):
    folder = run.folder / "projector"
    labels = (folder / "labels.tsv").read_text().splitlines()
    for name in ("input", "layer_1", "layer_2", "output"):
        assert len((folder / f"{name}.tsv").read_text().splitlines()) == len(labels) - 1
        assert f'"projector/{name}.tsv"' in (run.folder / "projector_config.pbtxt").read_text()
    predicted = [line.split("\t")[1:] for line in labels[1:]]
    accuracy = np.mean([verdict == "right" for _, verdict in predicted])
    assert accuracy == pytest.approx(run.metrics["test/accuracy"])


@pytest.mark.parametrize("level", ["scalars", "summary", "off"])
def test_other_levels_draw_nothing(level, tmp_path):
    run = mlplab.run([*QUICK, f"tracking={level}"], tmp_path / "run")
    names = {path.name for path in run.folder.iterdir()}
    assert not names & {"pictures", "projector", "frames.safetensors"}
    if level == "scalars":
        assert events(run.folder).Tags()["images"] == []


def test_no_share_means_no_images_but_pictures(tmp_path, monkeypatch):
    draw_only(monkeypatch, "decision", "units")
    run = mlplab.run([*QUICK, "tracking.picture_share=0"], tmp_path / "run")
    assert events(run.folder).Tags()["images"] == []
    assert (run.folder / "pictures" / "decision.png").exists()


def test_the_share_belongs_to_full_tracking(capsys):
    from mlplab.cli import main

    assert main(["train", *QUICK, "tracking=scalars", "+tracking.picture_share=0.5"]) == 2
    assert main(["train", *QUICK, "tracking.picture_share=2"]) == 2
    assert "picture_share" in capsys.readouterr().err


def test_a_picture_that_fails_costs_nothing(tmp_path, monkeypatch):
    draw_only(monkeypatch, "decision", "health")

    @picture(moving=True)
    def broken(study, frame):
        """Broken."""
        raise RuntimeError("this picture cannot be drawn")

    try:
        run = mlplab.run([*QUICK, "tracking.picture_share=1"], tmp_path / "run")
    finally:
        del _registered["broken"]
    assert run.status == "done"
    assert "this picture cannot be drawn" in (run.folder / "log.txt").read_text()
    assert (run.folder / "pictures" / "health.png").exists()


def test_ctrl_c_while_drawing_keeps_the_run(tmp_path, monkeypatch):
    from mlplab.pictures.rendering import final_figures

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(final_figures.tensorboard_extras, "network_graph", interrupt)
    run = mlplab.run(QUICK, tmp_path / "run")
    assert run.status == "done"
    assert mlplab.load(run.folder).metrics == run.metrics


def test_a_diverged_run_draws_its_healthy_frames(tmp_path, monkeypatch):
    draw_only(monkeypatch, "decision", "curves")
    run = mlplab.run(
        [
            "dataset=diabetes",
            "optimizer=sgd",
            "optimizer.lr=1000",
            "activation=identity",
            "training.epochs=20",
        ],
        tmp_path / "run",
    )
    assert run.status == "diverged"
    assert (run.folder / "pictures" / "curves.png").exists()


def test_without_matplotlib_it_says_so_and_keeps_the_frames(tmp_path, monkeypatch, capfd):
    import importlib.util

    def missing(name):
        return None if name == "matplotlib" else importlib.util.find_spec(name)

    monkeypatch.setattr("mlplab.extras.find_spec", missing)
    run = mlplab.run(QUICK, tmp_path / "run", quiet=False)
    assert "pip install 'mlplab[pictures]'" in (run.folder / "log.txt").read_text()
    assert capfd.readouterr().err.count("pip install 'mlplab[pictures]'") == 1
    assert (run.folder / "frames.safetensors").exists()
    assert not (run.folder / "pictures").exists()
    assert "weights/layer_1" in events(run.folder).Tags()["tensors"]


def test_a_budget_keeps_its_share(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time_budget.time, "monotonic", lambda: clock[0])
    budget = Budget(0.2, expected=0.01)
    for _ in range(60):
        clock[0] += 0.005
        if budget.allows():
            with budget.spend():
                clock[0] += 0.01
    assert 0.15 < budget.spent / (clock[0] - 100.0) <= 0.2


def test_moments_are_spread():
    assert spread(9, 3) == [0, 4, 8]
    assert spread(9, 3, continued=True) == [2, 5, 8]
    assert spread(9, 1) == [8]
    assert spread(0, 3) == []
    for count in (1, 2, 3, 10, 101):
        assert spread(count, count) == list(range(count))
        assert spread(count, 200)[-1] == count - 1


@pytest.mark.slow
def test_jobs_of_a_sweep_keep_frames_and_draw_when_asked(monkeypatch):
    draw_only(monkeypatch, "decision", "units")
    mlplab.sweep([*QUICK, "seed=0,1"], "plain")
    assert Path("plain/jobs/1/frames.safetensors").exists()
    assert not Path("plain/jobs/1/pictures").exists()
    mlplab.sweep([*QUICK, "training.epochs=2", "seed=0,1", "tracking=full"], "drawn")
    assert Path("drawn/jobs/0/pictures/units.png").exists()
    assert Path("drawn/jobs/1/pictures/units.png").exists()
    written = events(Path("drawn/jobs/1"))
    assert len(written.Images("decision")) >= 3
    for tag in ("weights/layer_1", "biases/layer_2", "activations/layer_1"):
        steps = [event.step for event in written.Tensors(tag)]
        assert len(steps) == 3, tag  # before the training and after each of two epochs
        assert steps == sorted(set(steps))
