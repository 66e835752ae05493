"""Figures are written, say what they show, and refuse nothing to draw."""

import numpy as np
import pytest
from PIL import Image

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation import plots


def rows(goals=("kneeling", "lotus"), alphas=(0.0, 0.5)):
    return [
        {
            "label": model,
            "parameters": size,
            "goal": goal,
            "alpha": alpha,
            "epic": 0.4 + 0.01 * place,
            "epic_low": None if model == "b" else 0.3,  # as JSON has what is not a number
            "epic_high": None if model == "b" else 0.5,
        }
        for goal in goals
        for place, (model, size) in enumerate((("a", 1e5), ("b", 2e6), ("c", 2e6), ("untrained", 1e5)))
        for alpha in alphas
    ]


@pytest.mark.parametrize("draw", [plots.distance_by_alpha, plots.distance_by_size])
@pytest.mark.parametrize("goals", [("kneeling",), ("a", "b", "c", "d", "e")])
def test_distances_are_drawn(draw, goals, tmp_path):
    path = draw(tmp_path / "figure.png", rows(goals), title="states")
    assert np.asarray(Image.open(path).convert("L")).std() > 5
    with pytest.raises(ConfigError, match="at least one row"):
        draw(tmp_path / "none.png", [])


def test_histograms_are_drawn(tmp_path):
    generator = np.random.default_rng(0)
    values, truth = generator.normal(size=200), generator.random(200) < 0.3
    scores = {
        "kneeling": {"a": (values, truth), "b": (np.zeros(200), truth)},
        "lotus": {"a": (values, ~truth)},
    }
    path = plots.reward_histograms(tmp_path / "figure.png", scores, notes={("kneeling", "a"): "D 0.5"})
    assert np.asarray(Image.open(path).convert("L")).std() > 5
    with pytest.raises(ConfigError, match="at least one model"):
        plots.reward_histograms(tmp_path / "none.png", {})


def test_sheets_are_drawn(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (5, 16, 32, 3), np.uint8)
    blocks = [("first", frames, list("abcde")), ("none", frames[:0], []), ("second", frames[:1], ["f"])]
    path = plots.state_sheet(tmp_path / "sheet.png", blocks, title="both", columns=4)
    assert np.asarray(Image.open(path).convert("L")).std() > 5
    with pytest.raises(ConfigError, match="at least one picture"):
        plots.state_sheet(tmp_path / "none.png", [("none", frames[:0], [])])


def test_untrained_models_are_known_by_name():
    assert plots.untrained("untrained:tiny")
    assert not plots.untrained("tiny")
