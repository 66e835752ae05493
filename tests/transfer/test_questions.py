"""Series of experiments: what changes, and what is written of results whose figures are known."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.transfer.arms import ARMS
from jaxvlm.transfer.config import TransferConfig
from jaxvlm.transfer.experiment import ArmResult, Choice
from jaxvlm.transfer.questions import (
    QUESTIONS,
    find_question,
    negative_figure,
    series_table,
    validate_question,
    variation,
    write_answer,
)

CONFIG = TransferConfig()


def made_up(steps, reached=True):
    steps = np.asarray(steps, float)
    curve = np.zeros((*steps.shape, 2))
    return ArmResult(Choice(0.1, 1.0, 1.0), steps, np.full(steps.shape, reached), curve, curve, None)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_series_changes_what_it_says_and_nothing_else(name):
    question = find_question(name)
    assert set(question.arms) <= set(ARMS)
    made = [variation(CONFIG, question, label) for label in question.series]
    assert len(set(made)) == len(made)
    for label, config in zip(question.series, made, strict=True):
        changes = question.series[label]
        assert config.arms == question.arms
        for setting, value in changes.items():
            if setting.startswith("net."):
                assert getattr(config.base, setting[4:]) == getattr(config.fine, setting[4:]) == value
            else:
                assert getattr(config, setting) == value
        kept = {"sources", "initialisation", "match"} - set(changes)
        assert all(getattr(config, setting) == getattr(CONFIG, setting) for setting in kept)


def test_an_unknown_question_is_named():
    with pytest.raises(ConfigError, match="unknown question 'why'; choose of library"):
        find_question("why")


def test_an_answer_holds_every_arm_of_every_label(tmp_path):
    question = QUESTIONS["library"]
    results = {
        label: {arm: made_up([[100 - 5 * k, 120], [110, 130 - k]]) for k, arm in enumerate(question.arms)}
        for label in ("2", "16", "56")
    }
    results["2"]["uniform"] = made_up([[300, 300], [300, 300]], reached=False)
    text = write_answer(tmp_path, question, results, CONFIG, "a small room").read_text()
    assert question.asks in text
    assert "series.png" in text
    assert (tmp_path / "series.png").stat().st_size > 5000
    rows = list(csv.DictReader((tmp_path / "series.csv").read_text().splitlines()))
    assert len(rows) == 3 * len(question.arms)
    table = series_table(question, results, CONFIG)
    assert "100% never" in table
    assert (
        table.splitlines()[0] == "| known policies | random | uniform | language | clip-rl | ridge | oracle |"
    )


def test_negative_transfer_is_counted_over_targets(tmp_path):
    results = {
        "random-silent": made_up([[100, 100], [100, 100]]),
        "language-nearest": made_up([[400, 200], [50, 100]]),
    }
    likeness = np.array([[-0.5, -0.2], [0.9, 0.5]])
    path, words = negative_figure(tmp_path / "negative.png", results, likeness, "a small room")
    assert path.stat().st_size > 5000
    assert "50% of 4 targets take longer" in words
    assert "3.00 times where" in words
    assert "0.75 times elsewhere" in words


@pytest.mark.parametrize(("name", "changes", "words"), [
    ("library", {"sources": 10}, "--preset library sets sources itself"),
    ("library", {"arms": ("random",)}, "--preset library sets arms itself"),
    ("representation", {"initialisation": "independent"}, "--preset representation sets initialisation itself"),
    ("networks", {"base": replace(CONFIG.base, activation="relu"), "fine": replace(CONFIG.fine, activation="relu")},
     "--preset networks sets activation itself"),
    ("library", {"targets": 9}, "56 sources, 8 validation tasks and 9 targets, 73 tasks, and a family has 72"),
    ("library", {"seed": 1}, "seed 0 has 72 instructions for 60 different tasks"),
])  # fmt: skip
def test_a_series_that_cannot_be_run_is_refused_before_its_first_experiment(name, changes, words):
    validate_question(name, CONFIG, CONFIG, [np.arange(72)])
    small = np.minimum(np.arange(72), 59)  # where the other seed's tasks are asked for in several words
    with pytest.raises(ConfigError, match=words):
        validate_question(
            name, replace(CONFIG, **changes), CONFIG, [small if "seed" in changes else np.arange(72)]
        )
