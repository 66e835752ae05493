"""The towers against what transformers' CLIPModel gave (see `tests/golden/make.py`), without PyTorch."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.clip import CLIP, embedded_domains, load, load_tokenizer, save_checkpoint
from tests.clip.recipes import ODD, inputs, random_params

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_embeddings_are_those_of_transformers(name, tmp_path):
    config = ODD[name]
    golden = np.load(GOLDEN / f"clip_{name}.npz")
    clip, params = load(save_checkpoint(tmp_path, config, random_params(config)))
    frames, ids = inputs(config)
    image, text, _ = jax.jit(clip.apply)(params, frames, ids)
    np.testing.assert_allclose(image, golden["image"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(text, golden["text"], rtol=0, atol=1e-5)


def test_every_embedded_clip_has_golden_values():
    files = {file.name for file in GOLDEN.glob("embedded_*.npz")}
    assert files == {f"embedded_{domain}.npz" for domain in embedded_domains()}
    assert files


@pytest.mark.slow
@pytest.mark.parametrize("domain", embedded_domains())
def test_embedded_clips_are_read_as_transformers_reads_them(domain):
    golden = np.load(GOLDEN / f"embedded_{domain}.npz")
    name = f"tiny:{domain}"
    clip, params = load(name, np.float32)
    np.testing.assert_array_equal(load_tokenizer(name)(golden["prompts"].tolist()), golden["ids"])
    image, text, _ = jax.jit(clip.apply)(params, golden["frames"], golden["ids"])
    # Before normalisation; embeddings are of length 12 to 18.
    np.testing.assert_allclose(image, golden["image"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(text, golden["text"], rtol=0, atol=1e-4)
    # Frames and prompts that tell apart: a tower that ignores its input fails.
    assert np.abs(golden["image"] - golden["image"].mean(0)).max(1).min() > 0.1
    assert np.abs(golden["text"] - golden["text"].mean(0)).max(1).min() > 0.1


@pytest.mark.slow
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
