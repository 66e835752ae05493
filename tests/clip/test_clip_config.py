"""Configs: Hugging Face's JSON in and out."""

import pytest

from jaxvlm.clip import CLIPConfig, Resize, TextConfig, VisionConfig
from jaxvlm.errors import ConfigError
from tests.clip.recipes import ODD


def read(vision=None, text=None, preprocessor=None, **rest):
    config = {"model_type": "clip", "vision_config": vision or {}, "text_config": text or {}, **rest}
    return CLIPConfig.from_dict(config, preprocessor)


@pytest.mark.parametrize("config", ODD.values(), ids=ODD)
def test_round_trip_and_hash(config):
    again = CLIPConfig.from_dict(config.to_dict(), config.preprocessor_dict())
    assert again == config
    assert hash(again) == hash(config)


@pytest.mark.slow
def test_defaults_are_those_of_transformers():
    from transformers import CLIPConfig as TheirConfig

    theirs, ours = TheirConfig(), CLIPConfig()
    for name, value in {**vars(ours.vision), "projection_dim": ours.projection_dim}.items():
        assert getattr(theirs.vision_config, name) == value
    for name, value in vars(ours.text).items():
        assert getattr(theirs.text_config, name) == value
    assert theirs.logit_scale_init_value == ours.logit_scale_init_value


def test_legacy_dict_wins():
    config = read(text={"hidden_size": 64, "eos_token_id": 2}, text_config_dict={"hidden_size": 128})
    assert (config.text.hidden_size, config.text.eos_token_id) == (128, 49407)


def test_preprocessor():
    assert read(preprocessor={}).resize is None  # CLIP's own at 224
    squash = {"size": {"height": 64, "width": 48}, "do_center_crop": False, "resample": 2}
    assert read(preprocessor=squash).resize == Resize(size=(64, 48), resample="bilinear")
    raw = read(preprocessor={"do_rescale": False, "do_normalize": False, "do_resize": False})
    assert raw.resize == Resize(crop=(224, 224))
    assert raw.image_mean == (0, 0, 0)
    assert raw.image_std == pytest.approx((1 / 255,) * 3)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"vision": {"hidden_act": "relu"}}, "hidden_act 'relu'.*quick_gelu"),
        ({"vision": {"num_attention_heads": 7}}, "768 does not divide into 7"),
        (
            {"text": {"num_attention_heads": 0}},
            "num_attention_heads is 0; it has to be a whole number from 1",
        ),
        ({"vision": {"image_size": 100}}, "image_size 100 is not a multiple of patch_size 32"),
        ({"vision": {"image_size": [224, 192]}}, "not square"),
        ({"vision": {"num_channels": 4}}, "num_channels is 4"),
        ({"text": {"eos_token_id": [1, 2]}}, "eos_token_id"),
        ({"preprocessor": {"image_mean": [0.5, 1e300, 0.5]}}, "take pixels out of float32"),
        ({"preprocessor": {"image_std": [0.5, 1e-300, 0.5]}}, "take pixels out of float32"),
        ({"preprocessor": {"resample": 1}}, "resample '1' is unknown"),
        ({"preprocessor": {"size": {"longest_edge": 5}}}, "size .* needs height and width"),
    ],
)
def test_errors(arguments, match):
    with pytest.raises(ConfigError, match=match):
        read(**arguments)


def test_other_head_sizes():
    assert VisionConfig(hidden_size=120, num_attention_heads=3).head_dim == 40
    assert TextConfig().head_dim == 64
