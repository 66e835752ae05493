"""The same numbers by other means: scanned layers, 16-bit and 8-bit products, left-out patches, exported programs."""

from dataclasses import replace

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from envs.captions import captioned_dataset
from jaxvlm.clip import (
    CLIP,
    CLIPConfig,
    TextConfig,
    VisionConfig,
    covered_patches,
    layers,
    load,
    load_tokenizer,
    normalise,
    param_shapes,
    quantise,
    stack_layers,
    unstack_layers,
)
from jaxvlm.clip.captions import select
from jaxvlm.clip.figures import embed_states, embed_texts
from jaxvlm.clip.layers import attend, fused
from jaxvlm.clip.patches import image_bytes
from jaxvlm.errors import ConfigError
from tests.clip.recipes import ODD, inputs, needs_qwix, openclip_model, random_params

GELU = ODD["gelu"]


def cosines(a, b):
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def encode(clip, params, frames):
    return np.asarray(jax.jit(lambda p, x: clip.apply(p, x, method="encode_image"))(params, frames))


@pytest.fixture(scope="module")
def model():
    params = random_params(GELU)
    frames, ids = inputs(GELU)
    return params, frames, ids, encode(CLIP(GELU), params, frames)


@pytest.mark.slow
def test_scanned_layers_compute_the_same(model):
    params, frames, ids, image = model
    stacked = stack_layers(params)
    assert stacked["params"]["visual"]["blocks"]["fc1"]["kernel"].shape == (2, 120, 300)
    # Of two layers nothing is stacked: a loop over one would gain nothing.
    assert "blocks" not in stacked["params"]["text"]
    ours, text, _ = jax.jit(CLIP(GELU, scan=True).apply)(stacked, frames, ids)
    np.testing.assert_allclose(ours, image, rtol=0, atol=1e-5)
    np.testing.assert_allclose(text, CLIP(GELU).apply(params, ids, method="encode_text"), rtol=0, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, unstack_layers(stacked), params)


@pytest.fixture(scope="module")
def siglip():
    """One of four layers: config, parameters, frames and their embeddings."""
    config = ODD["siglip"]
    config = replace(config, vision=replace(config.vision, num_hidden_layers=4))
    params, frames = random_params(config), inputs(config)[0]
    return config, params, frames, encode(CLIP(config), params, frames)


@pytest.mark.slow
def test_siglip_by_other_means(siglip):
    config, params, frames, image = siglip
    scanned = encode(CLIP(config, scan=True), stack_layers(params), frames)
    np.testing.assert_allclose(scanned, image, rtol=0, atol=1e-5)
    every = tuple(range(config.num_patches))
    np.testing.assert_allclose(encode(CLIP(config, keep=every), params, frames), image, rtol=0, atol=1e-5)
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params)
    assert cosines(encode(CLIP(config), half, frames), image).min() > 0.9995


@pytest.mark.slow
def test_siglip_does_not_see_left_out_patches(siglip):
    config, params, frames, image = siglip
    clip, patch = CLIP(config, keep=(1, 5)), config.patched.patch_size
    first = encode(clip, params, frames)
    changed = np.array(frames)
    changed[:, :patch, :patch] = 255 - changed[:, :patch, :patch]
    np.testing.assert_array_equal(encode(clip, params, changed), first)
    assert np.abs(encode(CLIP(config), params, changed) - image).max() > 1e-3


def test_a_scanned_program_is_smaller():
    config = CLIPConfig(
        vision=VisionConfig(16, 32, 12, 2, 16, 8), text=TextConfig(8, 16, 16, 12, 2, 4, eos_token_id=3)
    )
    shapes = param_shapes(config)
    stacked = jax.eval_shape(stack_layers, shapes)
    frames = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.uint8)

    def length(scan, params):
        clip = CLIP(config, scan=scan)
        return len(
            jax.jit(lambda p, x: clip.apply(p, x, method="encode_image")).lower(params, frames).as_text()
        )

    assert length(True, stacked) < length(False, shapes) / 3


def test_all_patches_kept_is_the_whole_image(model):
    params, frames, _, image = model
    every = tuple(range(GELU.vit.num_positions - 1))
    np.testing.assert_allclose(encode(CLIP(GELU, keep=every), params, frames), image, rtol=0, atol=1e-5)


def test_left_out_patches_are_not_seen(model):
    params, frames, _, image = model
    clip = CLIP(GELU, keep=(1, 4, 5))  # of three by three
    first = encode(clip, params, frames)
    changed = np.array(frames)
    changed[:, :14, :14] = 255 - changed[:, :14, :14]  # patch 0
    np.testing.assert_array_equal(encode(clip, params, changed), first)
    changed[:, 14:28, 28:] = 255 - changed[:, 14:28, 28:]  # patch 5
    assert np.abs(encode(clip, params, changed) - first).max() > 1e-3
    assert np.abs(image - first).max() > 1e-3


@pytest.mark.parametrize("keep", [(), (3, 1), (1, 1), (-1, 2), (2, 9)])
def test_wrong_patches(model, keep):
    params, frames, *_ = model
    with pytest.raises(ConfigError, match="patches from 0 to 8 in ascending order"):
        CLIP(GELU, keep=keep).apply(params, frames, method="encode_image")


def test_patches_are_for_vits():
    config, params = openclip_model("resnet")
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(ConfigError, match="residual network"):
        CLIP(config, keep=(0,)).apply(params, frames, method="encode_image")


def test_covered_patches():
    frames = np.full((3, 32, 32, 3), 9, np.uint8)
    frames[1, 9, 30] = 10  # row 1, column 3 of four by four
    assert covered_patches(frames, 8, margin=0) == (7,)
    assert covered_patches(frames, 8) == (2, 3, 6, 7, 10, 11)
    with pytest.raises(ConfigError, match="all the same"):
        covered_patches(frames[:1], 8)
    # As with SigLIP's at 384 pixels: the last rows and columns of pixels fill no patch.
    frames[2, 3, 5] = 200
    assert covered_patches(frames, 10, margin=0) == (0,)
    with pytest.raises(ConfigError, match="no patches of 40 pixels"):
        covered_patches(frames, 40)


@pytest.mark.slow
def test_grey_levels_are_exact_in_16_bits(model):
    params, frames, _, image = model
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params)
    folded = encode(CLIP(GELU), half, frames)
    rounded = encode(CLIP(GELU), half, np.asarray(normalise(frames, GELU)))
    assert cosines(folded, image).min() > 0.9995
    # Two ways of rounding, as far from each other as from float32.
    assert cosines(folded, rounded).min() > 0.9995
    np.testing.assert_allclose(
        encode(CLIP(GELU), params, np.asarray(normalise(frames, GELU))), image, rtol=0, atol=1e-5
    )


@pytest.fixture(scope="module")
def humanoid():
    """500 states of the humanoid, the goals' sentences and what the embedded CLIP makes of both in float32."""
    dataset = captioned_dataset("humanoid")
    # As many as `test_humanoid_shipped.py` draws, whose program is compiled once.
    states = select(dataset.sample_states(jax.random.key(5), 1200), slice(0, 500))
    clip, params = load("tiny:humanoid", jnp.float32)
    prompts = [dataset.concept(goal.concept).wordings[0] for goal in dataset.goals]
    texts = embed_texts(clip, params, load_tokenizer("tiny:humanoid"), prompts)
    return dataset, states, texts, embed_states(clip, params, dataset, states, "textured")[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("bfloat16", 0.9995), ("int8", 0.998), ("fp8", 0.995)])
def test_fewer_bits_keep_the_order_of_rewards(humanoid, kind, least):
    dataset, states, texts, exact = humanoid
    clip, params = load("tiny:humanoid", jnp.bfloat16)
    if kind != "bfloat16":
        needs_qwix()
        clip, params = quantise(clip, params, kind)
    images = embed_states(clip, params, dataset, states, "textured")[:, 0]
    assert cosines(images, exact).min() > least
    for text in np.asarray(texts):
        rewards, others = np.asarray(exact @ text), np.asarray(images @ text)
        assert np.ptp(rewards) > 0.3
        assert spearmanr(rewards, others).statistic > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_eight_bits(model, scan):
    needs_qwix()
    params, frames, ids, image = model
    clip = CLIP(GELU, scan=scan)
    quantised, small = quantise(clip, stack_layers(params) if scan else params, "int8")
    ours = encode(quantised, small, frames)
    assert 0.99 < cosines(ours, image).min() < 1 - 1e-6  # near, and not the same
    text = quantised.apply(small, ids, method="encode_text")
    np.testing.assert_allclose(text, CLIP(GELU).apply(params, ids, method="encode_text"), rtol=0, atol=1e-5)


def test_quantisation_is_refused():
    config, params = openclip_model("resnet")
    with pytest.raises(ConfigError, match="residual network"):
        quantise(CLIP(config), params, "int8")
    with pytest.raises(ConfigError, match="'int4' is unknown; choose one of int8, fp8"):
        quantise(CLIP(GELU), random_params(GELU), "int4")


def test_fused_attention_is_refused_without_a_gpu(monkeypatch):
    qkv = jnp.zeros((1, 200, 3 * 64), jnp.bfloat16)
    with pytest.raises(ConfigError, match=r"'cudnn' needs an NVIDIA GPU.*cpu, bfloat16 and 64"):
        attend(qkv, 1, False, 200, "cudnn")
    with pytest.raises(ConfigError, match="attention 'flash' is unknown"):
        attend(qkv, 1, False, 200, "flash")
    assert not fused("auto", jnp.dtype(jnp.bfloat16), 257, 64)
    monkeypatch.setattr(layers, "nvidia_generation", lambda: 7.5)  # a T4, for which cuDNN has no such kernel
    assert not fused("auto", jnp.dtype(jnp.bfloat16), 257, 64)
    with pytest.raises(ConfigError, match=r"8\.0 \(Ampere\) or later.* 7\.5, bfloat16"):
        fused("cudnn", jnp.dtype(jnp.bfloat16), 257, 64)
    monkeypatch.setattr(layers, "nvidia_generation", lambda: 8.0)
    assert fused("auto", jnp.dtype(jnp.bfloat16), 257, 104)  # bigG's heads
    assert not fused("auto", jnp.dtype(jnp.bfloat16), 257, 256)
    monkeypatch.setattr(layers, "nvidia_generation", lambda: 9.0)
    assert fused("auto", jnp.dtype(jnp.bfloat16), 257, 256)
    assert not fused("auto", jnp.dtype(jnp.bfloat16), 50, 64)
    assert not fused("auto", jnp.dtype(jnp.float32), 257, 64)
    with pytest.raises(ConfigError, match="float32"):
        fused("cudnn", jnp.dtype(jnp.float32), 257, 64)


EXPORTED = {
    "vit": (GELU, {}),
    "scanned": (GELU, {"scan": True}),
    "patches": (GELU, {"keep": (0, 4, 5)}),
    "siglip": (ODD["siglip"], {}),
    "resnet": (openclip_model("resnet")[0], {}),
}


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", EXPORTED)
def test_programs_for_accelerators_can_be_exported(name, platform, dtype):
    """Shape and dtype errors of those paths, without the device; cuDNN's kernel is not among them."""
    config, how = EXPORTED[name]
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), param_shapes(config))
    if how.get("scan"):
        shapes = jax.eval_shape(stack_layers, shapes)
    frames = jax.ShapeDtypeStruct((4, config.image_size, config.image_size, 3), jnp.uint8)
    ids = jax.ShapeDtypeStruct((2, config.context), jnp.int32)
    exported = jax.export.export(jax.jit(CLIP(config, **how).apply), platforms=[platform])(
        shapes, frames, ids
    )
    width = config.projection_dim
    assert [leaf.shape for leaf in exported.out_avals] == [(4, width), (2, width), ()]
    assert [leaf.dtype for leaf in exported.out_avals[:2]] == [jnp.float32] * 2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ODD)
def test_memory_of_an_image_is_known_beforehand(name, dtype):
    config, batch = ODD[name], 64
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), param_shapes(config))
    frames = jax.ShapeDtypeStruct((batch, config.image_size, config.image_size, 3), jnp.uint8)
    program = (
        jax.jit(lambda p, x: CLIP(config).apply(p, x, method="encode_image")).lower(shapes, frames).compile()
    )
    planned = program.memory_analysis().temp_size_in_bytes / batch
    # On a CPU products of 16 bits are widened, so what they need there is twice as much.
    assert planned < (1.25 if dtype == jnp.float32 else 3) * image_bytes(config, dtype)
    assert planned > image_bytes(config, dtype) / 3
