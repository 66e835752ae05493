import sys

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from jaxvlm.errors import ConfigError
from jaxvlm.runtime import plots


def ink(path) -> int:
    """Pixels that are clearly coloured."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return int((pixels.max(-1) - pixels.min(-1) > 60).sum())


def test_learning_curves(tmp_path):
    rows = [
        {"step": step, "reward": [step / 10, None, step / 12], "success": [0.0, 0.5, step / 10]}
        for step in range(10)
    ]
    rows.insert(5, {"step": 5, "loss": 1.0})
    path = plots.learning_curves(tmp_path / "new" / "curves.png", rows, title="cartpole")
    assert ink(path) > 1_000
    plots.learning_curves(tmp_path / "one.pdf", [{"step": 1, "success": 0.5}])
    assert "matplotlib.pyplot" not in sys.modules
    with pytest.raises(ConfigError, match="no row of the metrics has 'reward' or 'success'"):
        plots.learning_curves(tmp_path / "none.png", [{"step": 1, "loss": 1.0}])


def test_a_long_title_stays_on_the_picture(tmp_path):
    sentence = "brax:halfcheetah-on-back: a robot cheetah lying on its back with its legs in the air"
    path = plots.learning_curves(tmp_path / "long.png", [{"step": 1, "success": 0.5}], title=sentence)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert (pixels[:, :4] > 250).all()
    assert (pixels[:40] < 100).any()


@pytest.mark.parametrize("sentence", ["$5 # $6", "from $5 {cheap to $9", "$$", "a $5 bill beside a $10 bill"])
def test_dollars_are_dollars(tmp_path, sentence):
    rows = [{"step": 1, "success": 0.5, "reward": 1.0}, {"step": 2, "success": 0.5, "reward": 2.0}]
    path = plots.learning_curves(tmp_path / "a.png", rows, title=sentence, reward_label=sentence)
    plots.landscape(tmp_path / "b.png", [0.0, 1.0], {sentence: [0.0, 1.0]}, xlabel=sentence, title=sentence)
    figure = plots.new_figure(3, 2)
    axes = figure.subplots()
    axes.set_yticks([0, 1], [sentence, "other"])
    axes.set_xscale("log")
    axes.plot([1, 1000], [0, 1])
    plots.save_figure(figure, tmp_path / "c.png")
    texts = {text.get_text(): text.get_parse_math() for text in figure.findobj(Text)}
    assert texts[sentence] is False
    assert all(parsed for words, parsed in texts.items() if "mathdefault" in words)
    assert path.exists()


def test_landscape(tmp_path):
    x = np.linspace(-1, 1, 21)
    curves = {alpha: alpha * x**2 for alpha in (0.0, 0.5, 1.0)}
    path = plots.landscape(tmp_path / "a.png", x, curves, xlabel="pole angle (rad)", goal=(-0.2, 0.2))
    assert ink(path) > 1_000
    plots.landscape(tmp_path / "b.png", x, {"plain": x, "textured": -x}, xlabel="position", goal=0.45)
    plots.landscape(tmp_path / "c.png", x, {0.5: x}, xlabel="position")
    with pytest.raises(ConfigError, match=r"curve 0\.5 has shape \[20\], x has \[21\]"):
        plots.landscape(tmp_path / "d.png", x, {0.5: x[:-1]}, xlabel="position")
    with pytest.raises(ConfigError, match="at least one curve"):
        plots.landscape(tmp_path / "d.png", x, {}, xlabel="position")


def test_scores(tmp_path):
    x = np.linspace(-1, 1, 31)
    path = plots.scores(tmp_path / "a.png", x, {"up": 1 - x**2, "down": x**2}, abs(x) < 0.2, xlabel="angle")
    assert ink(path) > 1_000
    plots.scores(tmp_path / "b.png", x, {"flat": np.zeros(31)}, np.zeros(31, bool), xlabel="angle")
    with pytest.raises(ConfigError, match="scores of 'up', parameter and is_goal differ in shape"):
        plots.scores(tmp_path / "c.png", x, {"up": x[1:]}, abs(x) < 0.2, xlabel="angle")
    with pytest.raises(ConfigError, match="at least one prompt"):
        plots.scores(tmp_path / "c.png", x, {}, abs(x) < 0.2, xlabel="angle")
