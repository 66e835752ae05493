"""Sentences to points on the unit sphere, where frames are compared with them."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvlm.clip.model import CLIP
from jaxvlm.clip.tokenizer import Tokenizer


def embed_prompts(
    clip: CLIP, params: Mapping, tokenizer: Tokenizer, prompts: Sequence[str]
) -> Float[Array, "prompts e"]:
    """L2-normalised text embeddings, float32.

    Raises ConfigError for no prompts, an empty one, or one that is longer than the text tower's context.
    """
    return embed_ids(clip, params, jnp.asarray(tokenizer(prompts)))


def embed_ids(clip: CLIP, params: Mapping, ids: Int[Array, "prompts n"]) -> Float[Array, "prompts e"]:
    """L2-normalised text embeddings of token ids, float32."""
    embeddings = clip.apply(params, ids, method="encode_text")
    return embeddings / jnp.linalg.norm(embeddings, axis=-1, keepdims=True)
