"""ViTs on frames of other sizes, against what OpenCLIP and transformers do (see `tests/golden/make_positions.py`)."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.clip import (
    CLIPConfig,
    Resize,
    ResNetConfig,
    VisionConfig,
    load,
    param_shapes,
    resize_positions,
    save_checkpoint,
)
from jaxvlm.clip.positions import resize_config
from jaxvlm.errors import CheckpointError, ConfigError
from tests.clip.recipes import ODD, inputs, openclip_model, random_params, write_openclip

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SIZES = (2, 5, 6, 11, 14)


def shaped(side: int, width: int) -> CLIPConfig:
    return CLIPConfig(vision=VisionConfig(width, 4, 1, 1, 4 * side, 4))


@pytest.mark.parametrize("convention", ["openclip", "transformers"])
@pytest.mark.parametrize("side", SIZES)
def test_tables_are_those_of_the_libraries(convention, side):
    golden = np.load(GOLDEN / "positions.npz")
    table = golden["table"]
    params = {"params": {"visual": {"pos": jnp.asarray(table), "cls": jnp.zeros(5)}}}
    config, resized = resize_positions(shaped(7, 5), params, 4 * side, convention)
    ours, expected = resized["params"]["visual"]["pos"], golden[f"{convention}_{side}"]
    assert config.image_size == 4 * side
    assert ours.shape == (1 + side**2, 5)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6)
    other = golden[f"{'openclip' if convention == 'transformers' else 'transformers'}_{side}"]
    assert np.abs(expected - other).max() > 1e-2  # the conventions can be told apart
    np.testing.assert_array_equal(ours[0], table[0])  # the class token's own
    np.testing.assert_array_equal(params["params"]["visual"]["pos"], table)  # what was given is as it was


def test_the_own_size_changes_nothing():
    config = ODD["gelu"]
    params = random_params(config)
    same, unchanged = resize_positions(config, params, config.image_size)
    assert same == config
    jax.tree.map(np.testing.assert_array_equal, unchanged, params)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["huggingface", "openclip"])
def test_a_checkpoint_of_either_layout_follows_its_own_library(tmp_path, layout):
    if layout == "openclip":
        config, params = openclip_model("gelu")
        write_openclip(tmp_path, "gelu", params)
        other = "transformers"
    else:
        config, other = ODD["gelu"], "openclip"
        params = random_params(config)
        save_checkpoint(tmp_path, config, params)
    clip, loaded = load(tmp_path, np.float32, image_size=70)
    convention = "openclip" if layout == "openclip" else "transformers"
    expected = resize_positions(config, params, 70, convention)[1]
    jax.tree.map(np.testing.assert_array_equal, loaded, expected)
    differs = load(tmp_path, np.float32, image_size=70, convention=other)[1]["params"]["visual"]["pos"]
    assert np.abs(differs - loaded["params"]["visual"]["pos"]).max() > 1e-3
    shapes = jax.tree.map(lambda x: x.shape, param_shapes(clip.config))
    assert jax.tree.map(lambda x: x.shape, loaded) == shapes
    frames, _ = inputs(clip.config)
    assert frames.shape[1] == 70
    assert np.isfinite(clip.apply(loaded, frames, method="encode_image")).all()
    half = load(tmp_path, jnp.bfloat16, image_size=70)[1]["params"]["visual"]["pos"]
    assert half.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("convention", "first", "second"),
    [
        # Taps beyond the border are those at the border; Keys' cubic with a = -3/4 at distances of 1/4 to 7/4.
        ("transformers", -0.10546875, 0.2265625),
        # Taps beyond the border are left out and the others sum to one; Keys' cubic with a = -1/2.
        ("openclip", -0.0703125 / 0.796875, 0.2265625 / 1.09375),
    ],
)
def test_two_patches_become_four(convention, first, second):
    """Worked out by hand: a table that is 0 in the upper row of patches and 1 in the lower."""
    params = {"params": {"visual": {"pos": jnp.asarray([[9.0], [0.0], [0.0], [1.0], [1.0]])}}}
    pos = resize_positions(shaped(2, 1), params, 16, convention)[1]["params"]["visual"]["pos"]
    assert pos[0, 0] == 9
    expected = np.repeat([first, second, 1 - second, 1 - first], 4)
    np.testing.assert_allclose(pos[1:, 0], expected, rtol=0, atol=1e-6)


def test_preprocessing_ends_at_the_new_size():
    vision = VisionConfig(image_size=224, patch_size=16)
    assert resize_config(CLIPConfig(vision=vision), 112).resize is None
    rule = Resize(shortest_edge=256, crop=(224, 224), crop_rounds=True)
    assert resize_config(CLIPConfig(vision=vision, resize=rule), 112).resize == replace(
        rule, shortest_edge=128, crop=(112, 112)
    )
    rule = Resize(size=(224, 224), resample="bilinear")
    assert resize_config(CLIPConfig(vision=vision, resize=rule), 336).resize == replace(rule, size=(336, 336))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (100, "frames of 100 pixels do not divide into the 14 x 14 patches of this CLIP; take 98 or 112"),
        (5, "frames of 5 pixels cannot be taken; give a side from 14 to 65536 pixels"),
        (-14, "frames of -14 pixels cannot be taken"),
    ],
)
def test_sizes_that_do_not_divide(tmp_path, size, message):
    save_checkpoint(tmp_path, ODD["gelu"], random_params(ODD["gelu"]))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=re.escape(message)):  # before the weights are missed
        load(tmp_path, image_size=size)
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load(tmp_path, image_size=28)


def test_residual_networks_and_unknown_conventions():
    with pytest.raises(
        ConfigError, match="residual network, which takes frames of 224 pixels and not of 288"
    ):
        resize_positions(CLIPConfig(vision=ResNetConfig()), {}, 288)
    with pytest.raises(ConfigError, match="unknown convention 'timm'; choose one of openclip, transformers"):
        resize_positions(ODD["gelu"], {}, 28, "timm")


def test_an_untrained_tower_has_the_size_asked_for(tmp_path):
    save_checkpoint(tmp_path, ODD["gelu"], random_params(ODD["gelu"]))
    clip, params = load(f"untrained:{tmp_path}:1", image_size=28)
    assert clip.config.image_size == 28
    assert params["params"]["visual"]["pos"].shape[0] == 5
    assert json.loads((tmp_path / "config.json").read_text())["vision_config"]["image_size"] == 42
