"""The towers against what transformers' CLIPModel gave (see `tests/golden/make.py`), without PyTorch."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.clip import CLIP, load, save_checkpoint
from tests.clip.recipes import ODD, inputs, random_params

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", ODD)
def test_embeddings_are_those_of_transformers(name, tmp_path):
    config = ODD[name]
    golden = np.load(GOLDEN / f"clip_{name}.npz")
    clip, params = load(save_checkpoint(tmp_path, config, random_params(config)))
    frames, ids = inputs(config)
    image, text, _ = jax.jit(clip.apply)(params, frames, ids)
    np.testing.assert_allclose(image, golden["image"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(text, golden["text"], rtol=0, atol=1e-5)


def test_bfloat16_stays_close():
    config = ODD["gelu"]
    golden = np.load(GOLDEN / "clip_gelu.npz")
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), random_params(config))
    frames, ids = inputs(config)
    image, text, _ = jax.jit(CLIP(config).apply)(params, frames, ids)
    for ours, theirs in ((image, golden["image"]), (text, golden["text"])):
        assert ours.dtype == jnp.float32
        cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
        assert cosine.min() > 0.999
