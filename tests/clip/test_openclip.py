"""OpenCLIP's layout against OpenCLIP's own code (see `tests/golden/make_openclip.py`), and what it refuses."""

import copy
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from jaxvlm.clip import (
    CLIP,
    ResNetConfig,
    clip_tokenizer,
    load,
    load_config,
    load_tokenizer,
    param_shapes,
    preprocess,
    random_init,
    save_checkpoint,
)
from jaxvlm.clip.checkpoint import ALIASES
from jaxvlm.clip.config import OPENAI_MEAN, CLIPConfig
from jaxvlm.clip.openclip import CONFIG, WEIGHTS, config_from_openclip
from jaxvlm.errors import CheckpointError, ConfigError
from tests.clip.recipes import ODD, OPENCLIP, inputs, openclip_model, random_params, write_openclip

GOLDEN = Path(__file__).parents[1] / "golden"
# The image and text towers of the largest model of VLM-RM's paper, as published.
BIG_G = {
    "embed_dim": 1280,
    "vision_cfg": {
        "image_size": 224, "layers": 48, "width": 1664, "head_width": 104, "mlp_ratio": 4.9231, "patch_size": 14
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1280, "heads": 20, "layers": 32},
}  # fmt: skip


@pytest.fixture
def directory(tmp_path):
    return write_openclip(tmp_path, "gelu", openclip_model("gelu")[1])


def edit(directory, change):
    values = json.loads((directory / CONFIG).read_text())
    change(values)
    (directory / CONFIG).write_text(json.dumps(values))


@pytest.mark.parametrize("name", OPENCLIP)
def test_embeddings_are_those_of_openclip(name, tmp_path):
    config, params = openclip_model(name)
    golden = np.load(GOLDEN / f"openclip_{name}.npz")
    clip, read = load(write_openclip(tmp_path, name, params))
    assert clip.config == config
    frames, ids = inputs(config)
    image, text, _ = jax.jit(clip.apply)(read, frames, ids)
    for ours, theirs in ((image, golden["image"]), (text, golden["text"])):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gelu", "resnet", "siglip"])
def test_bfloat16_stays_close(name, tmp_path):
    config, params = openclip_model(name)
    clip, halved = load(write_openclip(tmp_path, name, params), jnp.bfloat16)
    frames, _ = inputs(config)
    encode = jax.jit(lambda params, frames: clip.apply(params, frames, method="encode_image"))
    ours = np.asarray(encode(halved, frames))
    theirs = np.load(GOLDEN / f"openclip_{name}.npz")["image"]
    assert ours.dtype == np.float32
    cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    assert cosine.min() > 0.999


def test_sizes_of_the_largest_model():
    config = config_from_openclip({"model_cfg": BIG_G})
    vision, text = config.vision, config.text
    assert (vision.intermediate_size, vision.num_attention_heads, vision.head_dim) == (8192, 16, 104)
    assert (vision.num_positions, vision.hidden_act, vision.layer_norm_eps) == (257, "gelu", 1e-5)
    assert (text.intermediate_size, text.head_dim, text.bos_token_id) == (5120, 64, 49406)
    assert config.image_mean == OPENAI_MEAN
    assert config.projection_dim == 1280


@pytest.mark.slow
def test_sizes_of_residual_networks():
    """As published: RN50 with 50 positions of 2,048 channels and 32 heads, RN50x4 with 82 of 2,560 and 40."""
    for values, positions, channels in (
        ({"layers": [3, 4, 6, 3], "width": 64, "image_size": 224}, 50, 2048),
        ({"layers": [4, 6, 10, 6], "width": 80, "image_size": 288}, 82, 2560),
    ):
        config = config_from_openclip({"model_cfg": {**BIG_G, "vision_cfg": values}})
        assert isinstance(config.vision, ResNetConfig)
        assert config.vision.num_positions == positions
        assert config.vision.num_attention_heads * 64 == channels
        shapes = param_shapes(config)["params"]["visual"]
        assert shapes["pool"]["pos"].shape == (positions, channels)
    with pytest.raises(ConfigError, match="has no residual networks"):
        save_checkpoint("nowhere", config, {})


@pytest.mark.slow
def test_a_fresh_residual_network_begins_as_its_shortcuts():
    config = config_from_openclip(OPENCLIP["resnet"])
    params = random_init(config, jax.random.key(0))["params"]["visual"]
    assert not np.any(params["layer2_1"]["conv3"]["kernel"])
    kernel = np.asarray(params["layer2_1"]["conv2"]["kernel"])
    assert np.std(kernel) == pytest.approx(
        (3 * 9 * 16) ** -0.5, rel=0.1
    )  # PyTorch: uniform within fan-in ** -0.5
    frames, _ = inputs(config)
    embeddings = CLIP(config).apply({"params": {"visual": params}}, frames, method="encode_image")
    assert np.isfinite(embeddings).all()
    assert np.std(np.asarray(embeddings), axis=0).min() > 0


def test_preprocessing_is_that_of_the_file(directory):
    assert load_config(directory).image_mean == (0.5, 0.5, 0.5)
    edit(directory, lambda x: x["preprocess_cfg"].update(resize_mode="squash", interpolation="bilinear"))
    rule = load_config(directory).resize_or_default
    assert (rule.size, rule.crop, rule.resample) == ((42, 42), None, "bilinear")


@pytest.mark.parametrize("shape", [(60, 91), (91, 60), (64, 64)])
def test_frames_of_another_size_are_cropped_where_torchvision_crops(shape):
    """Half of an odd number of spare pixels is rounded to even, by torchvision's Python."""
    config = config_from_openclip(OPENCLIP["gelu"])
    frames = np.random.default_rng(0).integers(0, 256, (1, *shape, 3), np.uint8)
    height, width = shape
    size = (42, int(42 * height / width)) if width <= height else (int(42 * width / height), 42)
    resized = np.asarray(Image.fromarray(frames[0]).resize(size, Image.Resampling.BICUBIC), np.float32)
    top, left = round((resized.shape[0] - 42) / 2), round((resized.shape[1] - 42) / 2)
    expected = (resized[top : top + 42, left : left + 42] / 255 - 0.5) / 0.5
    ours = np.asarray(preprocess(frames, config)[0])
    assert np.abs(ours - expected).max() < 1.01 / (255 * 0.5)  # a grey level, of ties in rounding
    assert np.mean(np.abs(ours - expected) > 1e-5) < 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x["model_cfg"]["vision_cfg"].update(layers=[3, 4, 6]), "layers (3, 4, 6) have to be four"),
        (
            lambda x: x["model_cfg"]["vision_cfg"].update(layers=[1, 1, 1, 1], width=7),
            "even number of channels",
        ),
        (
            lambda x: x["model_cfg"]["vision_cfg"].update(layers=[1, 1, 1, 1], width=2, head_width=60),
            "heads of 60",
        ),
        (
            lambda x: x["model_cfg"]["vision_cfg"].update(timm_model_name="vit_x"),
            "timm_model_name is 'vit_x'",
        ),
        (lambda x: x["model_cfg"]["vision_cfg"].update(pool_type="avg"), "vision_cfg.pool_type is 'avg'"),
        (lambda x: x["model_cfg"]["text_cfg"].update(hf_model_name="roberta"), "hf_model_name is 'roberta'"),
        (lambda x: x["model_cfg"]["text_cfg"].update(qk_norm=True), "text_cfg.qk_norm is True"),
        (lambda x: x["model_cfg"]["vision_cfg"].update(image_size=[42, 28]), "not square"),
        (lambda x: x["model_cfg"]["vision_cfg"].update(head_width=100), "attention heads"),
        (lambda x: x["preprocess_cfg"].update(resize_mode="longest"), "resize_mode 'longest'"),
        (lambda x: x["preprocess_cfg"].update(mean=[0.5, 0.5]), "a number a channel"),
        (lambda x: x["preprocess_cfg"].update(interpolation="lanczos"), "resample 'lanczos' is unknown"),
        (lambda x: x["model_cfg"].pop("text_cfg"), "has no text_cfg"),
        (lambda x: x.pop("model_cfg"), "have to be JSON objects"),
    ],
)
def test_what_the_towers_are_not_is_refused(directory, change, message):
    edit(directory, change)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(directory)


def test_numbers_that_are_none_name_the_file(directory):
    edit(directory, lambda x: x["model_cfg"]["vision_cfg"].update(width="wide"))
    with pytest.raises(CheckpointError, match=f"{CONFIG} is not a config"):
        load(directory)


def test_weights_have_to_be_there_and_fit(directory):
    tensors = load_file(directory / WEIGHTS)
    spare = {**tensors, "visual.extra": np.zeros(3, np.float32), "attn_mask": np.zeros((11, 11), np.float32)}
    del spare["visual.proj"]
    save_file(spare, directory / WEIGHTS)
    with pytest.raises(
        CheckpointError, match=f"do not fit {CONFIG}: missing visual.proj; left over visual.extra;"
    ):
        load(directory)
    edit(directory, lambda x: x["model_cfg"].update(embed_dim=25))
    save_file(tensors, directory / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"visual.proj is \[208, 24\] instead of \[208, 25\]"):
        load(directory)
    (directory / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=f"has no {WEIGHTS}; put it beside {CONFIG}"):
        load(directory)
    (directory / "open_clip_pytorch_model.bin").touch()
    with pytest.raises(
        CheckpointError, match=r"only pickled weights.*weights = torch.load\('open_clip_pytorch.*save_file\("
    ):
        load(directory)


def test_which_of_two_layouts_is_read(directory):
    """A `config.json` of timm tells nothing; Hugging Face's own comes first."""
    (directory / "config.json").write_text(json.dumps({"architecture": "vit_base_patch32_clip_224"}))
    assert load_config(directory) == config_from_openclip(OPENCLIP["gelu"])
    config = ODD["gelu"]
    save_checkpoint(directory, config, random_params(config))
    assert load(directory)[0].config.projection_dim == config.projection_dim == 40


def test_a_text_tower_of_clips_vocabulary_needs_no_files(directory):
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load_tokenizer(directory)
    edit(directory, lambda x: x["model_cfg"]["text_cfg"].update(vocab_size=49408, context_length=20))
    ids = load_tokenizer(directory)(["a photo of a cat"])
    assert ids.shape == (1, 20)
    assert ids[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 49407]


def test_token_ids_are_those_of_openclip():
    rows = json.loads((GOLDEN / "clip_token_ids.json").read_text(encoding="utf-8"))
    assert len(rows) > 500
    tokenizer = clip_tokenizer(context=200)
    assert tokenizer.vocab_size == 49408
    for text, expected in rows:
        ids = tokenizer([text])[0].tolist()
        assert ids[: len(expected) + 2] == [49406, *expected, 49407], text
        assert set(ids[len(expected) + 2 :]) <= {49407}


@pytest.mark.slow
def test_token_ids_are_those_of_transformers():
    from transformers import CLIPTokenizer

    model = json.loads(clip_tokenizer()._backend.to_str())["model"]
    theirs = CLIPTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    ours = clip_tokenizer(context=200)
    rows = json.loads((GOLDEN / "clip_token_ids.json").read_text(encoding="utf-8"))
    for text, _ in [*rows, ["an  <b>odd</b> &amp; one\n", None]]:
        expected = theirs(text)["input_ids"]
        assert ours([text])[0, : len(expected)].tolist() == expected, text


def test_names_of_the_paper_are_those_of_the_hub(monkeypatch, tmp_path):
    asked = []

    def download(name, **_):
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    for name, repository in ALIASES.items():
        with pytest.raises(CheckpointError, match=repository):
            load(name)
    assert set(asked) == set(ALIASES.values())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ViT-B-32/openai", ""),
        ("ViT-B-32", ""),
        ("RN50x64/openai", "did you mean 'RN50x4/openai'? "),
        ("vit-l-14/laion2b_s32b_b82k", "did you mean 'ViT-L-14/laion2b_s32b_b82k'? "),
    ],
)
def test_other_names_of_openclip_are_told_which_are_known(name, meant):
    with pytest.raises(CheckpointError) as error:
        load(name)
    message = str(error.value)
    assert repr(name) in message
    assert f"; {meant}of OpenCLIP's names RN50/openai, RN101/openai" in message
    assert "'openai/clip-vit-large-patch14'" in message


def test_repositories_may_be_written_as_openclip_does(monkeypatch):
    asked = []

    def download(name, **_):
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    for name in ("hf-hub:some/repository", "hf-hub:ViT/whatever"):
        with pytest.raises(CheckpointError) as error:
            load(name)
        assert "OpenCLIP's names" not in str(error.value)
    assert set(asked) == {"some/repository", "ViT/whatever"}


def test_configs_of_both_layouts_say_the_same():
    """The same model in Hugging Face's words."""
    ours = config_from_openclip({"model_cfg": BIG_G})
    theirs = CLIPConfig.from_dict(copy.deepcopy(ours.to_dict()), ours.preprocessor_dict())
    assert theirs.vision == ours.vision
    assert theirs.text == ours.text
