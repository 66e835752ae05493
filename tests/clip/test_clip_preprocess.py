"""Preprocessing against transformers' CLIPImageProcessorPil (Pillow and NumPy)."""

import jax
import numpy as np
import pytest

from jaxvlm.clip import CLIPConfig, normalise, preprocess
from jaxvlm.errors import ConfigError
from tests.clip.recipes import ODD

BASE = ODD["quick_gelu"]  # 48 pixels
SQUARE = {"height": 48, "width": 48}
RULES = {
    "shortest edge": {"size": 48, "crop_size": 48},
    "squash": {"size": SQUARE, "do_center_crop": False},
    "larger edge, bilinear": {"size": {"shortest_edge": 56}, "crop_size": SQUARE, "resample": 2},
    "crop or pad": {"do_resize": False, "crop_size": 48},
}


def noise(height, width, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def theirs(frames, settings):
    from transformers import CLIPImageProcessorPil

    pixels = CLIPImageProcessorPil(**settings)(list(frames), return_tensors="np")["pixel_values"]
    return pixels.transpose(0, 2, 3, 1)


def levels_apart(a, b, config):
    return np.abs(np.asarray(a) - b) * 255 * np.array(config.image_std)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [(90, 121), (150, 100), (30, 37)])
def test_is_pillow(rule, size):
    config = CLIPConfig.from_dict(BASE.to_dict(), RULES[rule])
    frames = noise(*size)
    ours = jax.jit(preprocess, static_argnums=1)(frames, config)
    apart = levels_apart(ours, theirs(frames, RULES[rule]), config)
    assert apart.max() < 1.01
    assert (apart > 0.5).mean() < 0.02  # rounding ties


def test_squash_mode():
    frames = noise(60, 90)
    apart = levels_apart(preprocess(frames, BASE, "squash"), theirs(frames, RULES["squash"]), BASE)
    assert apart.max() < 1.01
    assert (apart > 0.5).mean() < 0.002


def test_own_size_is_only_normalised():
    frames = noise(48, 48)
    config = CLIPConfig.from_dict(BASE.to_dict(), RULES["larger edge, bilinear"])
    np.testing.assert_array_equal(preprocess(frames, config), normalise(frames, config))


def test_errors():
    with pytest.raises(ConfigError, match="float32"):
        preprocess(np.zeros((1, 60, 60, 3), np.float32), BASE)
    with pytest.raises(ConfigError, match=r"uint8\[1, 60, 60, 4\]"):
        preprocess(np.zeros((1, 60, 60, 4), np.uint8), BASE)
    uncropped = CLIPConfig.from_dict(BASE.to_dict(), {"size": 48, "do_center_crop": False})
    with pytest.raises(ConfigError, match=r"60x90 become 48x72.*takes 48x48"):
        preprocess(noise(60, 90), uncropped)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match="unknown mode 'sqaush'; choose one of checkpoint, squash"):
        preprocess(np.zeros((1, 8, 8, 3), np.uint8), CLIPConfig(), mode="sqaush")


def test_an_unknown_resampling_is_refused():
    with pytest.raises(
        ConfigError, match="unknown resampling 'nearest'; choose one of pillow, antialiased, aliased"
    ):
        preprocess(np.zeros((1, 8, 8, 3), np.uint8), CLIPConfig(), resampling="nearest")
