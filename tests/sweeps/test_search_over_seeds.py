"""Searches whose trials are means over seeds or folds, and their best with new seeds."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
from cli_process import run, start
from harness import size, wait_for
from pauses import pause
from tiers import in_campaign

from mlplab.cli import main
from mlplab.sweeps.report.results import Group, JobResult, Results
from mlplab.sweeps.search.retrain import Retrained, Retraining
from mlplab.sweeps.search.study import pareto_front
from mlplab.sweeps.search.successive_halving import Rungs, RungScores
from mlplab.sweeps.search.trial_results import TrialResult

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = [
    *("dataset=moons", "dataset.num_samples=60", "model.hidden=3", "tracking=summary"),
    *("training.epochs=2", "device=cpu", "optimizer.lr=tag(log,interval(1e-3,1))"),
    *("sweep.trials=6", "sweep.parallel=6"),
]


def search(*more, folder="s"):
    return main(["train", *SMALL, f"hydra.sweep.dir={folder}", *more])


def load(folder="s"):
    return optuna.load_study(
        study_name=None, storage=f"sqlite:///{Path(folder).resolve()}/study.db"
    )


def job(number, status, **metrics):
    metrics = {f"val/{name}": value for name, value in metrics.items()}
    facts = {"epochs": 3, "num_parameters": 20 + number}
    return JobResult(number, status, f"{status} it", {}, metrics, (), Path(), facts)


def test_a_trial_is_the_mean_of_its_seeds_and_the_best_are_trained_with_new_ones(capsys):
    more = ("seeds=3", "seed=7", "sweep.trials=4", "sweep.retrain=2", "sweep.retrain_seeds=4")
    assert search(*more) == 0
    output = capsys.readouterr().out
    study, table = load(), pd.read_csv("s/results.csv")
    assert study.metric_names == ["val/accuracy"]
    assert study.user_attrs == {"networks per trial": 3, "first seed": 7}
    assert len(table) == 12
    assert set(table.seed) == {7, 8, 9}
    for trial in study.trials:
        jobs = table[table.job.isin(trial.user_attrs["jobs"])]
        assert sorted(jobs.seed) == [7, 8, 9]
        assert jobs["optimizer.lr"].nunique() == 1
        assert trial.value == pytest.approx(jobs["val/accuracy"].mean())
        assert trial.user_attrs["std of val/accuracy"] == pytest.approx(jobs["val/accuracy"].std())
    again = pd.read_csv("s/retrain/results.csv")
    assert set(again.seed) == {10, 11, 12, 13}
    means = again.groupby("optimizer.lr")["val/accuracy"].mean()
    best_trials = sorted(study.trials, key=lambda trial: -trial.value)[:2]
    assert means.index.tolist() == pytest.approx(
        sorted(trial.params["optimizer.lr"] for trial in best_trials)
    )
    assert "trained again with seeds 10 to 13" in output
    line = next(line for line in output.splitlines() if line.startswith("again: "))
    assert f"optimizer.lr={float(means.idxmax())!r}" in line or means.nunique() == 1
    assert output.count("test/accuracy") == 1, "of the chosen configuration alone"
    for name in ("summary.md", "report.html"):
        assert "trained again with seeds 10 to 13" in Path("s", name).read_text()
    summary = json.loads(Path("s/summary.json").read_text())
    assert (summary["status"], summary["planned"], summary["done"]) == ("done", 12, 12)

    # a part of it is missing, as after a kill
    before = Path("s/retrain/jobs/1/summary.json").read_bytes()
    shutil.rmtree("s/retrain/jobs/3")
    assert main(["resume", "s"]) == 0
    assert Path("s/retrain/jobs/3/summary.json").is_file()
    assert Path("s/retrain/jobs/1/summary.json").read_bytes() == before
    assert (
        pd.read_csv("s/retrain/results.csv")
        .drop(columns=["seconds", "cpu_seconds"], errors="ignore")
        .equals(again.drop(columns=["seconds", "cpu_seconds"], errors="ignore"))
    )
    capsys.readouterr()
    assert main(["report", "s"]) == 0
    assert "trained again with seeds 10 to 13" in capsys.readouterr().out
    assert search("seeds=4", "seed=7") == 2
    assert "networks per trial 3, and this search has 4" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_trial_of_a_cross_validation_is_the_mean_of_its_folds():
    assert (
        search("validation=kfold", "validation.folds=3", "sweep.trials=2", "sweep.retrain=0") == 0
    )
    table = pd.read_csv("s/results.csv")
    assert len(table) == 6
    for trial in load().trials:
        jobs = table[table.job.isin(trial.user_attrs["jobs"])]
        assert sorted(jobs["validation.fold"]) == [0, 1, 2]
        assert trial.value == pytest.approx(jobs["test/accuracy"].mean())
    assert "validation.fold=" not in Path("s/search.md").read_text()
    assert not Path("s/retrain").exists()


def test_the_seeds_of_a_trial_are_pruned_together_by_their_mean():
    more = ("seeds=2", "sweep.pruning=halving", "training.epochs=4", "sweep.least=1")
    assert search(*more, "sweep.retrain=0", "tracking=scalars") == 0
    table = pd.read_csv("s/results.csv").set_index("job")
    at_first_rung = {}
    for trial in load().trials:
        jobs = table.loc[trial.user_attrs["jobs"]]
        assert jobs.status.nunique() == 1, "all seeds of a trial end alike"
        assert jobs.epochs.nunique() == 1
        histories = [pd.read_csv(f"s/jobs/{number}/metrics.csv") for number in jobs.index]
        values = [h.loc[h.epoch == 1, "val/accuracy"].item() for h in histories]
        at_first_rung[jobs.index[0]] = sum(values) / 2
    stored = json.loads(Path("s/.search/rungs.json").read_text())
    assert stored["scores"]["0/1"] == {
        str(number): pytest.approx(-mean) for number, mean in at_first_rung.items()
    }
    assert stored["arrivals"] == {}
    first = "pruned at rung 1 (epoch 1): mean val/accuracy"
    pruned = [n for n in at_first_rung if str(table.reason[n]).startswith(first)]
    assert len(pruned) == 4
    assert max(at_first_rung[n] for n in pruned) <= min(
        mean for number, mean in at_first_rung.items() if number not in pruned
    )


@pytest.mark.parametrize(
    ("jobs", "objective", "status", "value"),
    [
        ([("done", 0.8), ("done", 0.6)], "val/accuracy", "done", 0.7),
        ([("done", 0.8), ("diverged", 0.9)], "val/accuracy", "done", 0.4),
        ([("diverged", 0.8), ("diverged", 0.9)], "val/accuracy", "diverged", 0.0),
        ([("done", 0.8), ("diverged", 0.9)], "val/loss", "diverged", math.inf),
        ([("done", 0.8), ("failed", 0.9)], "val/accuracy", "failed", 0.85),
        ([("done", 0.8), ("pruned", 0.6)], "val/accuracy", "pruned", 0.7),
        ([("diverged", 0.8), ("done", 0.6)], "num_parameters", "done", 20.5),
    ],
)
def test_diverged_seeds_count_as_the_worst_value(jobs, objective, status, value):
    results = [
        job(number, name, **{objective.partition("/")[2]: metric})
        for number, (name, metric) in enumerate(jobs)
    ]
    trial = TrialResult.of(results, [objective])
    assert trial.status == status
    assert list(trial.values) == pytest.approx([value])
    assert trial.reason == (
        "" if status == "done" and "diverged" not in dict(jobs) else trial.reason
    )
    assert trial.attributes["jobs"] == [0, 1]


def test_a_seed_that_has_ended_counts_at_the_rungs_and_arrivals_survive_a_kill():
    scores = RungScores()
    scores.arrive(4, 3, 5, -0.75)
    scores.arrive(4, 3, 6, math.inf)
    again = RungScores(json.loads(json.dumps(scores.plain())))
    assert again.arrivals == {(4, 3): {5: -0.75, 6: math.inf}}
    rungs = Rungs((3,), 2, "val/accuracy")
    assert RungScores({"0/3": {"1": -0.5, "2": None}}).judge(rungs, 3, {3: -0.9}) == ({3}, -0.5)
    with pytest.raises(ValueError, match="version is 9"):
        RungScores({"version": 9})


def test_the_best_by_the_new_seeds_breaks_ties_by_the_loss():
    def retrained(trial, *jobs):
        result = TrialResult.of(jobs, ["val/accuracy"])
        return Retrained(trial, Group({}, jobs), result)

    configurations = [
        retrained(5, job(0, "done", accuracy=0.9, loss=0.3), job(1, "diverged")),
        retrained(
            6, job(2, "done", accuracy=0.8, loss=0.3), job(3, "done", accuracy=0.8, loss=0.3)
        ),
        retrained(
            7, job(4, "done", accuracy=0.8, loss=0.2), job(5, "done", accuracy=0.8, loss=0.2)
        ),
        retrained(8, job(6, "failed"), job(7, "done", accuracy=1.0, loss=0.1)),
    ]
    jobs = [job for one in configurations for job in one.jobs.jobs]
    retraining = Retraining(range(2), Results("s", Path(), jobs, "val/accuracy"), configurations)
    assert [one.trial for one in retraining.best([-1])] == [7]
    assert Retraining(range(2), retraining.results, configurations[3:]).best([-1]) == []


def test_the_pareto_front_keeps_ties():
    losses = {1: (0, 2), 2: (1, 1), 3: (1, 1), 4: (1, 2), 5: (2, 0), 6: (3, 3)}
    assert pareto_front(losses) == {1, 2, 3, 5}


@pytest.mark.campaign("kills", small=True)
@pytest.mark.parametrize("pruning", ["halving", in_campaign("kills", "none")])
def test_a_search_over_seeds_that_is_killed_ends_with_all_trials(pruning):
    more = [
        *("dataset.num_samples=100", f"training.epochs={size(9, 45)}"),
        *(f"sweep.trials={size(6, 150)}", f"sweep.parallel={size(6, 16)}"),
        *("seeds=3", f"sweep.pruning={pruning}", "sweep.retrain=1", "sweep.retrain_seeds=2"),
        *("tracking.checkpoint_seconds=0.001", "hydra.sweep.dir=s"),
    ]
    plugins = []
    for number in range(size(1, 5)):
        name = f"paused_{number}"
        plugins += pause(checkpoints=2, name=name)
        command = ["train", *SMALL, *more] if number == 0 else ["resume", "s"]
        process = start(*command, *plugins)
        paused = Path(f"{name}.json")
        wait_for(
            lambda process=process, paused=paused: paused.exists() or process.poll() is not None
        )
        assert paused.exists() or number > 0, "the search ended before the first pause"
        process.kill()
        process.wait()
    run("resume", "s", *plugins)
    table = pd.read_csv("s/results.csv").set_index("job")
    trials = load().trials
    assert len(trials) == size(6, 150)
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    for trial in trials:
        jobs = table.loc[trial.user_attrs["jobs"]]
        assert len(jobs) == 3
        if trial.state.name == "COMPLETE":
            assert set(jobs.status) == {"done"}
            assert trial.value == pytest.approx(jobs["val/accuracy"].mean())
    again = pd.read_csv("s/retrain/results.csv")
    assert again.status.tolist() == ["done", "done"]
    assert again.seed.tolist() == [3, 4]
    assert not list(Path("s").glob(".checkpoints/*")), "nothing is left over"
