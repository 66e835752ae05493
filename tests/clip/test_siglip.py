"""SigLIP: towers, configs and files; `test_clip_golden.py` and `test_openclip.py` hold the numbers of other code."""

import copy
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxvlm.clip import (
    CLIP,
    CLIPConfig,
    Resize,
    SiglipTextConfig,
    SiglipVisionConfig,
    TextConfig,
    load,
    load_config,
    param_shapes,
    preprocess,
    random_init,
    save_checkpoint,
)
from jaxvlm.clip.openclip import config_from_openclip
from jaxvlm.errors import CheckpointError, ConfigError
from tests.clip.recipes import ODD, OPENCLIP, inputs, openclip_model, random_params, write_openclip

CONFIG = ODD["siglip"]
SO400M = {
    "embed_dim": 1152,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 384, "timm_model_name": "vit_so400m_patch14_siglip_384", "timm_model_pretrained": False,
        "timm_pool": "map", "timm_proj": "none"
    },
    "text_cfg": {
        "context_length": 64, "vocab_size": 32000, "width": 1152, "heads": 16, "layers": 27, "mlp_ratio": 3.7362,
        "no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("siglip"), CONFIG, random_params(CONFIG))


@pytest.fixture
def directory(original, tmp_path):
    return shutil.copytree(original, tmp_path / "siglip")


@pytest.fixture(scope="module")
def encode_text():
    clip, params = CLIP(CONFIG), random_params(CONFIG)
    encode = jax.jit(lambda params, ids: clip.apply(params, ids, method="encode_text"))
    return lambda ids: np.asarray(encode(params, ids))


def test_what_is_written_is_read(original):
    clip, params = load(original, jnp.bfloat16)
    assert clip.config == CONFIG
    tensors = load_file(original / "model.safetensors")
    for name in ("logit_scale", "logit_bias"):
        assert tensors[name].shape == (1,)
        assert params["params"][name].dtype == jnp.float32  # 2^-8 of a bias of -16 moves every score
        assert params["params"][name].shape == ()
        assert float(params["params"][name]) == tensors[name][0]
    assert params["params"]["visual"]["pool"]["probe"].dtype == jnp.bfloat16


@pytest.mark.slow
def test_bfloat16_stays_close():
    frames, ids = inputs(CONFIG)
    params = random_params(CONFIG)
    apply = jax.jit(CLIP(CONFIG).apply)
    image, text, _ = apply(params, frames, ids)
    half_image, half_text, _ = apply(
        jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params), frames, ids
    )
    for full, half in ((image, half_image), (text, half_text)):
        assert half.dtype == jnp.float32
        cosine = (full * half).sum(-1) / jnp.linalg.norm(full, axis=-1) / jnp.linalg.norm(half, axis=-1)
        assert 0.999 < float(cosine.min()) < 1 - 1e-7


def test_every_token_is_looked_at(encode_text):
    """The first one reaches the last place, and so does padding: no mask of any kind."""
    _, ids = inputs(CONFIG)
    before = encode_text(ids)
    for place in (0, 3, CONFIG.context - 1):
        changed = ids.copy()
        changed[:, place] = 36
        assert np.abs(encode_text(changed) - before).max(1).min() > 1e-3


@pytest.mark.parametrize("shape", [(1, 8), (1, 10), (1, 0)])
def test_sentences_fill_the_context(shape):
    with pytest.raises(ConfigError, match="padded to 9 tokens"):
        CLIP(CONFIG).apply(random_params(CONFIG), np.zeros(shape, np.int32), method="encode_text")


def test_pixels_that_fill_no_patch_are_left_out():
    frames, _ = inputs(CONFIG)
    encode = jax.jit(lambda params, x: CLIP(CONFIG).apply(params, x, method="encode_image"))
    params = random_params(CONFIG)
    before = np.asarray(encode(params, frames))
    outside, inside = frames.copy(), frames.copy()
    outside[:, 42:] = outside[:, :, 42:] = 0
    inside[:, 41, 41] ^= 255
    np.testing.assert_array_equal(encode(params, outside), before)
    assert np.abs(np.asarray(encode(params, inside)) - before).max(1).min() > 1e-3


def test_defaults_are_those_of_transformers():
    from transformers import SiglipConfig, SiglipImageProcessorPil

    theirs, ours = SiglipConfig(), CLIPConfig.from_dict({"model_type": "siglip"}, {})
    for name, value in vars(ours.vision).items():
        assert getattr(theirs.vision_config, name) == value
    for name, value in vars(ours.text).items():
        assert name == "head" or getattr(theirs.text_config, name) == value
    assert ours.projection_dim == theirs.text_config.projection_size
    processor = SiglipImageProcessorPil()
    assert ours.image_mean == tuple(processor.image_mean)
    assert ours.image_std == tuple(processor.image_std)
    assert ours.resize is None
    assert ours.resize_or_default == Resize(size=(224, 224))
    assert (processor.resample, dict(processor.size)) == (3, {"height": 224, "width": 224})
    assert CLIPConfig.from_dict({"model_type": "siglip"}) == ours


@pytest.mark.parametrize("settings", [{}, {"resample": 2}, {"do_center_crop": True, "crop_size": 46}])
@pytest.mark.parametrize("size", [(90, 121), (30, 37)])
def test_preprocessing_is_that_of_the_processor(settings, size):
    from transformers import SiglipImageProcessorPil

    settings = {"size": {"height": 46, "width": 46}, **settings}
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    theirs = SiglipImageProcessorPil(**settings)(list(frames), return_tensors="np")["pixel_values"]
    config = CLIPConfig.from_dict(CONFIG.to_dict(), settings)
    apart = np.abs(np.asarray(preprocess(frames, config)) - theirs.transpose(0, 2, 3, 1)) * 127.5
    assert apart.max() < 1.01
    assert (apart > 0.5).mean() < 0.02  # rounding ties


def test_processors_are_read_by_their_name():
    """A SigLIP beside CLIPImageProcessor has that one's defaults."""
    theirs = CLIPConfig.from_dict(CONFIG.to_dict(), {"image_processor_type": "CLIPImageProcessor"})
    assert theirs.image_mean[0] == 0.48145466
    assert theirs.resize == Resize(shortest_edge=224, crop=(224, 224))


def read(preprocessor=None, vision=None, text=None, **rest):
    data = {**CONFIG.to_dict(), **rest}
    data["vision_config"] = {**data["vision_config"], **(vision or {})}
    data["text_config"] = {**data["text_config"], **(text or {})}
    return CLIPConfig.from_dict(data, preprocessor)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"model_type": "siglip2"}, "'siglip2' is the NaFlex model.*choose a fixed resolution"),
        ({"preprocessor": {"image_processor_type": "Siglip2ImageProcessorFast"}}, "NaFlex"),
        ({"preprocessor": {"do_center_crop": True}}, "crop_size is not; set both"),
        ({"vision": {"vision_use_head": False}}, "vision_use_head is False"),
        ({"vision": {"num_attention_heads": 5}}, "144 does not divide into 5"),
        ({"vision": {"patch_size": 47}}, "image_size 46 is less than patch_size 47"),
        ({"vision": {"num_channels": 1}}, "num_channels is 1"),
        ({"text": {"projection_size": 72}}, "image tower embeds into 144 dimensions, the text tower into 72"),
        ({"text": {"projection_size": "wide"}}, "projection_dim is 'wide'"),
        ({"text": {"hidden_act": "relu"}}, "'relu' is unknown"),
    ],
)
def test_configs_that_cannot_work(arguments, match):
    with pytest.raises(ConfigError, match=match):
        read(**arguments)


def test_towers_come_in_pairs():
    with pytest.raises(ConfigError, match="come in pairs"):
        CLIPConfig(vision=SiglipVisionConfig(), text=TextConfig())
    with pytest.raises(ConfigError, match="come in pairs"):
        CLIPConfig(text=SiglipTextConfig())
    with pytest.raises(ConfigError, match="is SigLIP's and has to be CLIP's ViT here"):
        _ = CONFIG.vit


def test_heads_of_another_width_than_the_text():
    """SigLIP 2's giant: image tower of 1,536 and text tower of 1,152 channels."""
    data = {
        "model_type": "siglip",
        "text_config": {"hidden_size": 1152, "num_attention_heads": 16, "projection_size": 1536},
        "vision_config": {"hidden_size": 1536, "num_attention_heads": 16, "num_hidden_layers": 1},
    }
    assert param_shapes(CLIPConfig.from_dict(data))["params"]["text"]["proj"]["kernel"].shape == (1152, 1536)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: x.pop("vision_model.head.probe"), "missing vision_model.head.probe"),
        (lambda x: x.pop("logit_bias"), "missing logit_bias"),
        (lambda x: x.update({"vision_model.pre_layrnorm.bias": np.zeros(3, np.float32)}), "left over vision_model.pre"),
        (lambda x: x.update(logit_scale=np.zeros((), np.float32)), r"logit_scale is \[\] instead of \[1\]"),
        (
            lambda x: x.update({"vision_model.head.attention.in_proj_weight": np.zeros((144, 144), np.float32)}),
            r"in_proj_weight is \[144, 144\] instead of \[432, 144\]",
        ),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(directory, change, match):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(CheckpointError, match=match):
        load(directory)


def test_preprocessor_is_needed(directory):
    (directory / "preprocessor_config.json").unlink()
    assert load_config(directory).image_mean == (0.5, 0.5, 0.5)
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
        load(directory)


def test_untrained(directory):
    clip, params = load(f"untrained:{directory}:1", jnp.bfloat16)
    assert clip.config == CONFIG
    expected = random_init(CONFIG, jax.random.key(1))["params"]
    assert params["params"]["logit_bias"].dtype == jnp.float32
    assert float(params["params"]["logit_bias"]) == 0
    np.testing.assert_array_equal(
        params["params"]["text"]["pos"], expected["text"]["pos"].astype(jnp.bfloat16)
    )
    openclip = random_init(config_from_openclip(OPENCLIP["siglip"]), jax.random.key(0))["params"]
    assert (float(openclip["logit_bias"]), float(openclip["visual"]["ln_post"]["scale"][0])) == (-10, 1)


def test_sizes_of_the_published_trunk():
    config = config_from_openclip({"model_cfg": SO400M})
    assert config.vision == SiglipVisionConfig(1152, 4304, 27, 16, 384, 14, "gelu")
    assert (config.vision.head_dim, config.vision.num_positions) == (72, 729)
    assert config.text == SiglipTextConfig(32000, 1152, 4304, 27, 16, 64, "gelu")
    assert config.logit_bias_init_value == -10
    shapes = param_shapes(config)["params"]["visual"]["pool"]
    assert shapes["qkv"]["kernel"].shape == (1152, 3456)


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("vit_base_patch16_siglip_224", "gelu"),
        ("vit_base_patch32_siglip_256", "gelu_pytorch_tanh"),
        ("vit_large_patch16_siglip_384", "gelu"),
        ("vit_large_patch16_siglip_512", "gelu_pytorch_tanh"),
        ("vit_so400m_patch14_siglip_378", "gelu"),
        ("vit_so400m_patch16_siglip_256", "gelu_pytorch_tanh"),
        ("vit_giantopt_patch16_siglip_384", "gelu_pytorch_tanh"),
    ],
)
def test_activations_are_those_of_timm(name, act):
    values = copy.deepcopy(SO400M)
    values["vision_cfg"] |= {"timm_model_name": name, "image_size": int(name.rpartition("_")[2])}
    values["embed_dim"] = {"base": 768, "large": 1024, "so400m": 1152, "giantopt": 1536}[name.split("_")[1]]
    vision = config_from_openclip({"model_cfg": values}).vision
    assert isinstance(vision, SiglipVisionConfig)
    assert (vision.hidden_act, vision.hidden_size) == (act, values["embed_dim"])


@pytest.mark.parametrize(
    ("section", "change", "match"),
    [
        ("vision_cfg", {"timm_model_name": "convnext_base"}, "timm_model_name is 'convnext_base'"),
        ("vision_cfg", {"timm_model_name": "eva02_base_patch16_clip_224"}, "'eva02_base_patch16_clip_224'"),
        ("vision_cfg", {"timm_model_name": "vit_base_patch16_siglip_gap_224"}, "siglip_gap_224"),
        ("vision_cfg", {"timm_model_name": "vit_huge_patch16_siglip_224"}, "vit_huge_patch16_siglip_224"),
        ("vision_cfg", {"timm_pool": "avg"}, "vision_cfg.timm_pool is 'avg'"),
        ("vision_cfg", {"timm_proj": "linear"}, "vision_cfg.timm_proj is 'linear'"),
        ("vision_cfg", {"timm_proj": None}, "vision_cfg.timm_proj is None"),
        ("vision_cfg", {"image_size": 378}, "image_size is 378 and .* says 384"),
        ("text_cfg", {"pool_type": "argmax"}, "text_cfg.pool_type is 'argmax'"),
        ("text_cfg", {"no_causal_mask": False}, "text_cfg.no_causal_mask is False"),
        ("text_cfg", {"proj_bias": False}, "text_cfg.proj_bias is False"),
        ("text_cfg", {"proj_type": "mlp"}, "text_cfg.proj_type is 'mlp'"),
        ("text_cfg", {"hf_model_name": "roberta"}, "text_cfg.hf_model_name is 'roberta'"),
        ("text_cfg", {"width": 1024, "proj_type": "none", "proj_bias": False}, "the text tower into 1024"),
    ],
)
def test_openclip_towers_that_are_others(section, change, match):
    values = copy.deepcopy(SO400M)
    values[section] |= change
    with pytest.raises(ConfigError, match=match):
        config_from_openclip({"model_cfg": values})


def test_openclip_weights_of_another_trunk(tmp_path):
    write_openclip(tmp_path, "siglip", openclip_model("siglip")[1])
    file = tmp_path / "open_clip_model.safetensors"
    tensors = load_file(file)
    tensors["visual.trunk.fc_norm.weight"] = tensors.pop("visual.trunk.attn_pool.latent")
    save_file(tensors, file)
    with pytest.raises(
        CheckpointError, match=r"missing visual.trunk.attn_pool.latent.*left over visual.trunk.fc_norm"
    ):
        load(tmp_path)


def test_the_same_model_in_both_layouts(tmp_path):
    """What is read from timm's names and written in transformers' gives the same embeddings."""
    (tmp_path / "timm").mkdir()
    clip, params = load(write_openclip(tmp_path / "timm", "siglip", openclip_model("siglip")[1]))
    again, reread = load(save_checkpoint(tmp_path / "hf", clip.config, params))
    jax.tree.map(np.testing.assert_array_equal, params, reread)
    assert (again.config.vision, again.config.text) == (clip.config.vision, clip.config.text)
    assert again.config.resize_or_default == clip.config.resize_or_default


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("siglip_headless", {}, "no SigLIP whose text tower has no head"),
        ("siglip", {"init_logit_bias": None}, "no SigLIP without a logit_bias"),
        ("gelu", {"init_logit_bias": -10}, "no CLIP with a logit_bias"),
    ],
)
def test_what_transformers_has_no_words_for(name, change, match):
    model = {**OPENCLIP[name]["model_cfg"], **change}
    config = config_from_openclip({"model_cfg": model})
    with pytest.raises(ConfigError, match=match):
        config.to_dict()


def test_a_clip_with_a_logit_bias(tmp_path):
    """OpenCLIP trains its own ViTs with SigLIP's loss too."""
    write_openclip(tmp_path, "gelu", openclip_model("gelu")[1])
    values = json.loads((tmp_path / "open_clip_config.json").read_text())
    values["model_cfg"]["init_logit_bias"] = -10
    (tmp_path / "open_clip_config.json").write_text(json.dumps(values))
    file = tmp_path / "open_clip_model.safetensors"
    with pytest.raises(CheckpointError, match="missing logit_bias"):
        load(tmp_path)
    save_file({**load_file(file), "logit_bias": np.array(-12.5, np.float32)}, file)
    assert float(load(tmp_path)[1]["params"]["logit_bias"]) == -12.5
