"""The towers as pure functions: transforms, pooling, sizes, precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.clip import CLIP, normalise, random_init
from jaxvlm.errors import ConfigError
from tests.clip.recipes import ODD, inputs, random_params

CONFIG = ODD["mixed"]


@pytest.fixture(scope="module")
def model():
    return CLIP(CONFIG), random_params(CONFIG), *inputs(CONFIG)


def test_uint8_is_normalised_inside(model):
    clip, params, frames, _ = model
    mean, std = np.array(CONFIG.image_mean), np.array(CONFIG.image_std)
    np.testing.assert_allclose(normalise(frames, CONFIG), (frames / 255 - mean) / std, atol=1e-6)
    encode = jax.jit(lambda params, x: clip.apply(params, x, method="encode_image"))
    np.testing.assert_allclose(encode(params, frames), encode(params, normalise(frames, CONFIG)), atol=1e-5)


@pytest.mark.slow
def test_transforms_and_towers_alone(model):
    clip, params, frames, _ = model
    visual = {"params": {"visual": params["params"]["visual"]}}
    image = jax.jit(lambda p, x: clip.apply(p, x, method="encode_image"))(visual, frames)
    assert image.shape == (4, CONFIG.projection_dim)
    assert image.dtype == jnp.float32
    single = jax.jit(jax.vmap(lambda x: clip.apply(visual, x[None], method="encode_image")[0]))(
        jnp.asarray(frames)
    )
    np.testing.assert_allclose(single, image, atol=1e-5)
    pixels = normalise(frames, CONFIG)
    slope = jax.jit(jax.grad(lambda x: clip.apply(visual, x, method="encode_image").sum()))(pixels)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0


def test_padding_does_not_matter(model):
    clip, params, _, ids = model
    encode = jax.jit(lambda params, x: clip.apply(params, x, method="encode_text"))
    text = encode(params, ids)
    after_end = np.cumsum(ids == CONFIG.text.eos_token_id, axis=1) > (ids == CONFIG.text.eos_token_id)
    other = np.where(after_end, 17, ids)
    np.testing.assert_allclose(encode(params, other), text, atol=1e-6)


def test_highest_precision_for_float32_only(model):
    clip, params, frames, _ = model

    def program(params):
        return str(jax.make_jaxpr(lambda p: clip.apply(p, frames, method="encode_image"))(params))

    assert "HIGHEST" in program(params)
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params)
    with jax.default_matmul_precision("highest"):
        assert "HIGHEST" not in program(half)


def test_intermediates(model):
    clip, params, frames, _ = model
    options = {"method": "encode_image", "capture_intermediates": True, "mutable": ["intermediates"]}
    _, state = jax.eval_shape(lambda p: clip.apply(p, frames, **options), params)
    assert state["intermediates"]["visual"]["block_0"]["__call__"][0].shape == (4, 17, 80)


@pytest.mark.parametrize(
    ("frames", "match"),
    [
        (np.zeros((2, 64, 64, 3), np.uint8), r"\(2, 64, 64, 3\).*\[batch, 32, 32, 3\].*size 32"),
        (np.zeros((2, 32, 32, 4), np.uint8), r"\(2, 32, 32, 4\)"),
        (np.zeros((2, 32, 32, 3), np.int32), "int32"),
    ],
)
def test_wrong_frames(model, frames, match):
    clip, params, *_ = model
    with pytest.raises(ConfigError, match=match):
        clip.apply(params, frames, method="encode_image")


def test_too_many_ids(model):
    clip, params, *_ = model
    with pytest.raises(ConfigError, match="1 to 11 tokens"):
        clip.apply(params, np.zeros((1, 12), np.int32), method="encode_text")


def test_random_init_is_repeatable():
    for key in (jax.random.key, jax.random.PRNGKey):
        first, again = random_init(CONFIG, key(3)), random_init(CONFIG, key(3))
        jax.tree.map(np.testing.assert_array_equal, first, again)
    assert float(first["params"]["logit_scale"]) == pytest.approx(CONFIG.logit_scale_init_value)
    assert float(first["params"]["visual"]["ln_pre"]["scale"].min()) == 1
