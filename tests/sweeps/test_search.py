"""Searches: spaces and their conditions, trials as populations, pruning at rungs, several
objectives, kills, and invalid searches.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from cli_process import run, start
from harness import size
from pauses import pause, wait_until_paused
from tiers import in_campaign

from mlplab.cli import main
from mlplab.config.overrides import parse_overrides
from mlplab.config.search_space import choose, dimensions, trial_overrides
from mlplab.errors import ConfigError
from mlplab.sweeps.plan import tracked
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.search.definition import default_parallel
from mlplab.sweeps.search.study import Study

optuna = pytest.importorskip("optuna")
FAST = [
    "dataset=moons",
    "dataset.num_samples=100",
    "model.hidden=4",
    "tracking=summary",
    "training.epochs=3",
    "device=cpu",
]
pytestmark = pytest.mark.filterwarnings("ignore")


def space(*overrides, **nodes):
    return dimensions(
        parse_overrides(list(overrides)),
        {key.replace("__", "."): value for key, value in nodes.items()},
    )


def trials(folder="s"):
    storage = f"sqlite:///{Path(folder).resolve()}/study.db"
    return optuna.load_study(study_name="mlplab", storage=storage).get_trials()


def search(*more, folder="s"):
    return main(
        [
            "train",
            *FAST,
            "optimizer.lr=tag(log,interval(1e-4,1))",
            "sweep.trials=12",
            "sweep.parallel=5",
            f"hydra.sweep.dir={folder}",
            *more,
        ]
    )


def test_hydra_s_syntax_becomes_a_space():
    by_name = {
        d.name: d
        for d in space(
            "a=1,b",
            "b=range(2,9,2)",
            "c=interval(0.5,2)",
            "d=tag(log,interval(1e-4,1))",
            "e=tag(int,interval(1,5))",
            "f=range(0.1,0.5,0.2)",
        )
    }
    assert by_name["a"].choices == ("1", "b")
    assert (by_name["b"].low, by_name["b"].high, by_name["b"].step, by_name["b"].is_integer) == (
        2,
        8,
        2,
        True,
    )
    assert (by_name["c"].low, by_name["c"].high, by_name["c"].log) == (0.5, 2, False)
    assert by_name["d"].log
    assert (by_name["e"].is_integer, by_name["e"].high) == (True, 5)
    assert by_name["f"].high == pytest.approx(0.3)


def test_conditions_decide_what_exists_and_names_fill_in():
    nodes = {
        "$w2": {"values": "range(2,9)", "when": {"model.hidden": "{w1}-{w2}"}},
        "$w1": "range(2,9)",
        "model.hidden": ["{w1}", "{w1}-{w2}"],
        "optimizer": ["sgd", "momentum"],
        "optimizer.momentum": {
            "values": "interval(0.5,0.9)",
            "when": {"optimizer": ["momentum", "nag"]},
        },
    }
    sorted_dimensions = dimensions([], nodes)
    names = [d.name for d in sorted_dimensions]
    assert names.index("model.hidden") < names.index("$w2")
    deep = choose(sorted_dimensions, lambda d: d.choices[-1] if d.choices else d.high)
    assert deep["$w2"] == 8
    assert trial_overrides({**deep, "$w1": 3, "$w2": 5}) == (
        "model.hidden=3-5",
        "optimizer=momentum",
        "optimizer.momentum=0.9",
    )
    flat = choose(sorted_dimensions, lambda d: d.choices[0] if d.choices else d.low)
    assert "$w2" not in flat
    assert "optimizer.momentum" not in flat


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({}, "has no dimensions"),
        ({"a": {"values": "choice(1,2)", "when": {"b": 1}}}, "`b` is not a dimension"),
        (
            {"a": {"values": [1, 2], "when": {"b": 1}}, "b": {"values": [1], "when": {"a": 1}}},
            "circle",
        ),
        ({"a": 7}, "neither a list"),
        ({"a": {"value": [1]}}, "without values"),
        ({"a": "tag(log,interval(0,1))"}, "above 0"),
        ({"a": "interval(2,1)"}, "ends before"),
    ],
)
def test_a_wrong_space_is_refused(nodes, message):
    with pytest.raises(ConfigError, match=message):
        dimensions([], nodes)


@pytest.mark.slow
def test_a_search_leaves_a_folder_a_trial_and_a_study_that_knows_their_values(capsys):
    assert search("optimizer=adam,sgd") == 0
    output = capsys.readouterr().out
    assert "12 trials: 12 complete" in output
    table = pd.read_csv("s/results.csv")
    assert len(table) == 12
    assert sorted(table["optimizer"].unique()) == ["adam", "sgd"]
    for trial in trials():
        summary = json.loads(Path(f"s/jobs/{trial.number}/summary.json").read_text())
        assert trial.values == [pytest.approx(summary["metrics"]["val/accuracy"])]
        lr = table["optimizer.lr"][trial.number]
        assert trial.params["optimizer.lr"] == pytest.approx(lr)
    again = next(line for line in output.splitlines() if line.startswith("again: "))
    assert main([*again.removeprefix("again: mlplab ").split(), "hydra.run.dir=again"]) == 0
    best = max(table["val/accuracy"])
    assert json.loads(Path("again/summary.json").read_text())["metrics"][
        "val/accuracy"
    ] == pytest.approx(best, abs=1e-6)
    page = Path("s/search.html").read_text()
    assert "Importance" in page
    assert "Slices" in page
    assert main(["resume", "s"]) == 0
    assert len(trials()) == 12
    reports = [Path("s", name) for name in ("search.md", "search.html", "summary.md")]
    for path in reports:
        path.unlink()
    capsys.readouterr()
    assert main(["report", "s"]) == 0
    assert "12 trials: 12 complete" in capsys.readouterr().out
    assert all(path.is_file() for path in reports)


@pytest.mark.parametrize("pruning", ["halving", "hyperband"])
def test_losers_leave_at_their_rung_and_the_best_trains_to_its_end(pruning):
    assert (
        search(
            "training.epochs=9",
            f"sweep.pruning={pruning}",
            "sweep.parallel=12",
            "sweep.least=1",
            "model.hidden=4,8",
        )
        == 0
    )
    table = pd.read_csv("s/results.csv")
    done, pruned = table[table.status == "done"], table[table.status == "pruned"]
    assert set(table.status) == {"done", "pruned"}
    assert (done.epochs == 9).all()
    assert set(pruned.epochs) <= {1, 3}
    assert pruned.reason.str.match(r"pruned at rung [12] \(epoch [13]\): val/accuracy").all()
    if pruning == "halving":
        # of 12 a third continues, of these 4 again a third, rounded up
        assert (pruned.epochs == 1).sum() == 8
        assert (pruned.epochs == 3).sum() == 2
    states = [trial.state.name for trial in trials()]
    assert states.count("PRUNED") == len(pruned)
    first = Path(f"s/jobs/{pruned.job.iloc[0]}")
    rows = pd.read_csv(first / "metrics.csv")
    assert rows.epoch.max() == pruned.epochs.iloc[0]
    assert (first / "weights.safetensors").is_file()


def test_a_trial_that_is_not_pruned_has_the_weights_of_a_run_by_itself():
    assert search("training.epochs=9", "sweep.pruning=halving", "sweep.parallel=12") == 0
    table = pd.read_csv("s/results.csv")
    job = int(table[table.status == "done"].job.iloc[0])
    lr = float(table["optimizer.lr"][job])
    assert (
        main(["train", *FAST, "training.epochs=9", f"optimizer.lr={lr!r}", "hydra.run.dir=alone"])
        == 0
    )
    alone, member = (
        json.loads(Path(f"{folder}/summary.json").read_text())["metrics"]
        for folder in ("alone", f"s/jobs/{job}")
    )
    assert alone == {name: pytest.approx(value, abs=1e-4) for name, value in member.items()}


def test_a_diverged_trial_is_recorded_and_does_not_end_the_search():
    overrides = [
        "dataset=quadratic",
        "optimizer=sgd",
        "optimizer.lr=1e-3,1e9",
        "sweep.sampler=grid",
        "sweep.trials=2",
        "training.epochs=20",
        "tracking=summary",
    ]
    assert main(["train", "-m", *overrides, "hydra.sweep.dir=s"]) == 0
    by_lr = {trial.params["optimizer.lr"]: trial for trial in trials()}
    assert by_lr["1000000000.0"].values == [float("inf")]
    assert by_lr["1000000000.0"].user_attrs["status"] == "diverged"
    assert by_lr["0.001"].state.name == "COMPLETE"
    assert "2 trials: 1 complete, 1 diverged" in Path("s/search.md").read_text()
    summary = json.loads(Path("s/summary.json").read_text())
    assert {key: summary[key] for key in ("status", "planned", "done", "diverged")} == {
        "status": "done",
        "planned": 2,
        "done": 1,
        "diverged": 1,
    }


@pytest.mark.parametrize(
    "objectives", [["val/loss"], in_campaign("fuzz", ["val/loss", "num_parameters"])]
)
def test_a_sampler_avoids_where_trials_diverge(objectives, tmp_path):
    """As many trials of a loss that is least at lr = 0.1 and diverges above 1 as random proposals
    would need to find the region are few: 83 % of those diverge.
    """
    space = dimensions(parse_overrides(["optimizer.lr=tag(log,interval(1e-1,1e5))"]), {})
    study = Study(tmp_path, objectives, space, "tpe", 0)
    for _ in range(12):
        for number, params in study.ask(5).items():
            lr = float(params["optimizer.lr"])
            status = "diverged" if lr > 1 else "done"
            study.tell(number, status, [lr, 1.0][: len(objectives)])
    counts = study.counts()
    assert counts["diverged"] < 0.6 * 60
    assert counts["complete"] + counts["diverged"] == 60
    best = study.trials()[study.best()[0]]
    assert best.user_attrs["status"] == "done"


def test_a_study_of_diverged_trials_has_no_best(tmp_path):
    space = dimensions(parse_overrides(["optimizer.lr=0.1,1"]), {})
    study = Study(tmp_path, ["val/accuracy"], space, "tpe", 0)
    (number,) = study.ask(1)
    study.tell(number, "diverged", [0.9])
    assert study.trials()[number].values == [float("-inf")]
    assert study.best() == []
    (number,) = study.ask(1)
    study.tell(number, "failed", [])
    assert study.counts() == {"diverged": 1, "fail": 1}


@pytest.mark.parametrize(
    "sampler",
    ["grid", "tpe", "cmaes", in_campaign("fuzz", "random"), in_campaign("fuzz", "nsga2")],
)
def test_a_study_that_is_opened_again_proposes_the_same_trials(sampler, tmp_path):
    """It is opened again in the middle of each round, as after a kill. The other two propose these
    few trials at random, as tpe and cmaes do at first.
    """
    typed = ["optimizer.lr=tag(log,interval(1e-4,1))", "training.l2=interval(0,0.1)"]
    if sampler == "grid":
        typed = ["optimizer.lr=0.1,0.2,0.3,0.4", "training.l2=0,0.1,0.2,0.3,0.4"]
    dims = dimensions(parse_overrides(typed), {})

    def open_study(name):
        (tmp_path / name).mkdir(exist_ok=True)
        return Study(tmp_path / name, ["val/loss"], dims, sampler, 3)

    whole, reopened = open_study("whole"), open_study("again")
    for _ in range(3):
        whole.ask(4)
        again = reopened.ask(1)
        reopened = open_study("again")
        again |= reopened.ask(3)
        assert again == whole.in_flight()
        for number, params in again.items():
            value = float(params["optimizer.lr"]) + float(params["training.l2"])
            for study in (whole, reopened):
                study.tell(number, "done", [value])
    assert len({str(trial.params) for trial in whole.trials()}) == 12


@pytest.mark.parametrize(
    ("sampler", "trials", "parallel"),
    [("tpe", 64, 8), ("tpe", 8, 4), ("tpe", 1000, 32), ("random", 64, 32), ("grid", 64, 32)],
)
def test_the_default_leaves_a_sampler_rounds(sampler, trials, parallel):
    assert default_parallel(sampler, trials) == parallel


def test_the_random_trials_are_stated(capsys):
    assert search("sweep.parallel=6", "training.epochs=1") == 0
    assert "12 trials, the first 12 at random, 6 at a time" in capsys.readouterr().err


def test_a_grid_ends_where_its_values_end():
    assert search("optimizer.lr=0.1,0.01", "optimizer=adam,sgd", "sweep.sampler=grid") == 0
    assert len(trials()) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampler", ["random", in_campaign("fuzz", "cmaes"), in_campaign("fuzz", "nsga2")]
)
def test_every_sampler_searches(sampler):
    assert search(f"sweep.sampler={sampler}", "training.l2=interval(0,0.1)") == 0
    assert len(trials()) == 12


def test_several_objectives_have_a_front(capsys):
    assert search("model.hidden=2,4,16", "sweep.objectives=[val/accuracy,num_parameters]") == 0
    assert "Pareto front:" in capsys.readouterr().out
    table = pd.read_csv("s/results.csv")
    study = optuna.load_study(
        study_name="mlplab", storage=f"sqlite:///{Path('s').resolve()}/study.db"
    )
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for trial in study.best_trials:
        accuracy, size = trial.values
        others = [other.values for other in study.trials if other.number != trial.number]
        assert not any(
            a >= accuracy and s <= size and (a, s) != (accuracy, size) for a, s in others
        )
    assert len(table) == 12
    assert "Pareto front" in Path("s/search.html").read_text()


TRIALS, KILLS = size(12, 256), size(1, 5)
SEARCHED = """# @package _global_
defaults:
  - override /dataset: moons
sweep:
  trials: TRIALS
  space:
    $w1: choice(4,8)
    $w2: {values: "choice(4,8)", when: {model.hidden: "{w1}-{w2}"}}
    model.hidden: ["4", "{w1}-{w2}"]
    optimizer: [adam, momentum]
    optimizer.lr: tag(log,interval(1e-4,1))
    optimizer.momentum: {values: "interval(0.5,0.9)", when: {optimizer: momentum}}
"""


@pytest.mark.campaign("kills", small=True)
@pytest.mark.parametrize("pruning", [in_campaign("kills", "none"), in_campaign("kills", "halving")])
def test_killed_five_times_it_ends_with_the_number_of_trials_asked_for(pruning):
    """By default once, in the campaign five times."""
    Path("conf/experiment").mkdir(parents=True)
    Path("conf/experiment/searched.yaml").write_text(SEARCHED.replace("TRIALS", str(TRIALS)))
    arguments = [
        "--config-dir",
        "conf",
        "experiment=searched",
        "dataset.num_samples=100",
        "tracking=summary",
        "training.epochs=9",
        "device=cpu",
        f"sweep.pruning={pruning}",
        f"sweep.parallel={size(6, 32)}",
        "tracking.checkpoint_seconds=0.001",
        "hydra.sweep.dir=s",
    ]
    plugins = []
    for number in range(KILLS):
        name = f"paused_{number}"
        plugins += pause(checkpoints=2 + number, name=name)
        command = ["train", *arguments] if number == 0 else ["resume", "s"]
        process = start(*command, *plugins)
        wait_until_paused(process, name)
        process.kill()
        process.wait()
    run("resume", "s", *plugins)
    states = [trial.state.name for trial in trials()]
    assert len(states) == TRIALS
    assert set(states) <= {"COMPLETE", "PRUNED"}
    assert "COMPLETE" in states
    jobs = pd.read_csv("s/results.csv")
    assert set(jobs.status) <= {"done", "pruned"}
    assert (jobs.status == "pruned").any() == (pruning == "halving")
    hidden = [job for job in jobs["model.hidden"].astype(str) if "-" in job]
    assert hidden
    assert not list(Path("s").glob(".checkpoints/*")), "nothing is left over"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["sweep.sampler=grid"], "optimizer.lr is an interval"),
        (["seeds=3", "seed=1,2"], "`seed` is a dimension"),
        (["sweep.grid={optimizer:[adam,sgd]}"], "are for sweeps"),
        (
            ["sweep.pruning=halving", "sweep.objectives=[val/accuracy,num_parameters]"],
            "several objectives",
        ),
        (["sweep.pruning=halving", "sweep.objectives=test/mcc"], "measured after each epoch"),
        (["sweep.pruning=halving", "sweep.workers=2"], "sweep.pruning=none"),
        (["sweep.pruning=halving", "sweep.cluster={minutes:1}"], "sweep.pruning=none"),
        (["sweep.objectives=goodness"], "no job measures `goodness`"),
        (["sweep.sampler=magic"], "sweep.sampler"),
        (["optimizer.lx=0.1,0.2"], "lx"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_made(more, message, capsys):
    assert search(*more) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("s/jobs").exists()


def test_without_the_extra_one_paragraph_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("mlplab.extras.find_spec", lambda name: None)
    assert search() == 2
    assert "pip install 'mlplab[search]'" in capsys.readouterr().err


@pytest.mark.parametrize("pruning", ["none", "halving"])
def test_all_trials_decide_whether_jobs_are_packed(pruning, monkeypatch):
    """The first wave has 5 of 12 jobs, which would get folders."""
    monkeypatch.setattr(tracked, "MAX_JOB_FOLDERS", 10)
    more = ["tracking=scalars", f"sweep.pruning={pruning}", "sweep.retrain=1"]
    assert search(*more) == 0
    assert not Path("s/jobs").exists()
    assert len(trials()) == len(os.listdir("s/tensorboard/groups")) == 12
    assert set(pd.read_csv("s/results.csv").status) <= {"done", "pruned"}
    assert read_plan(Path("s/retrain")).options.jobs == "folders"  # it has few jobs
