"""Each diagnosis on a small example, and silence on its healthy neighbor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from doctor_examples import EXAMPLES, settings_pair, train

from mlplab.config.builder import build
from mlplab.config.edit_stored import apply_overrides
from mlplab.doctor import TITLES, Evidence, diagnose, thresholds


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[Evidence, Evidence]]:
    """By diagnosis: an ill training and its healthy neighbor."""
    settings = [one for name in EXAMPLES for one in settings_pair(name)]
    trained = iter(train(settings))
    return {name: (next(trained), next(trained)) for name in EXAMPLES}


def test_every_diagnosis_has_an_example():
    assert set(EXAMPLES) == set(TITLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_recognized_and_its_healthy_neighbor_is_not(name, pairs):
    ill, healthy = pairs[name]
    [finding] = diagnose(ill).findings
    assert finding.name == name
    assert finding.numbers
    if name != "stuck":  # whose neighbor is another start
        assert diagnose(healthy).findings == ()


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_it_suggests_composes_with_the_configuration(name, pairs):
    ill, _ = pairs[name]
    for finding in diagnose(ill).findings:
        assert finding.overrides or finding.advice
        if finding.overrides:
            changed = build(apply_overrides(ill.config, finding.overrides, Path("run")))
            assert changed.config != ill.config


def test_findings_are_json_without_nan(pairs):
    for ill, _ in pairs.values():
        for finding in diagnose(ill).findings:
            assert json.loads(json.dumps(finding.to_json(), allow_nan=False))["name"] in TITLES
            assert str(finding).startswith(finding.title)


def test_a_poor_minimum_and_too_few_units_are_distinguished_by_other_starts(pairs):
    ill, _ = pairs["too_few_units"]
    assert diagnose(ill, lambda: [0.6, 0.99]).findings[0].name == "stuck"
    assert diagnose(ill, lambda: [0.6, 0.6]).findings[0].name == "too_few_units"


def test_memorizing_is_recognized_by_the_losses_alone(pairs, monkeypatch):
    ill, _ = pairs["overfitting"]
    monkeypatch.setattr(thresholds, "OVERFIT_SCORE_GAP", 1.0)
    assert [finding.name for finding in diagnose(ill).findings] == ["overfitting"]
    monkeypatch.setattr(thresholds, "BY_HEART_GAP", 10.0)
    assert diagnose(ill).findings == ()


def test_the_length_of_a_training_is_a_note(pairs):
    _, healthy = pairs["unscaled_target"]
    assert all("training.epochs" in note for note in diagnose(healthy).notes)
