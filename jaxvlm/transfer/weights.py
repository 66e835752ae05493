"""From similarities between a new instruction and known ones to weights of known policies."""

import chex
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvlm.errors import ConfigError

WEIGHTINGS: tuple[str, ...] = ("plain", "softmax", "nearest", "top-k")


def similarity_weights(
    similarity: Float[Array, " n"],
    how: str = "softmax",
    *,
    temperature: float | Float[Array, ""] = 0.1,
    k: int = 4,
) -> Float[Array, " n"]:
    """Weights that sum to one.

    Args:
      similarity: of the new instruction to each of n known ones; cosines or anything where more is nearer.
      how: "plain" divides by the sum, as CLIP-RL (arXiv 2512.01616) does, negative similarities counting as none
        and n of them as n equal weights; "softmax" of similarity / temperature; "nearest" is all on the best,
        divided among equals; "top-k" is the softmax over the k best, those as good as the k-th included.
      temperature: of the softmax, above 0; may be traced.
      k: for "top-k".

    Raises:
      ConfigError: an unknown `how`, a temperature that is not above 0, or a `k` that is not in 1 to n.
    """
    chex.assert_rank(similarity, 1)
    count = similarity.shape[0]
    if how not in WEIGHTINGS:
        raise ConfigError(f"unknown weighting {how!r}; choose one of {', '.join(WEIGHTINGS)}")
    if not isinstance(temperature, jax.core.Tracer) and not float(temperature) > 0:
        raise ConfigError(f"temperature is {float(temperature):g}; the softmax needs one above 0")
    if how == "top-k" and not 1 <= k <= count:
        raise ConfigError(f"k is {k}; of {count} policies take 1 to {count}")
    if how == "plain":
        kept = jnp.maximum(similarity, 0.0)
        total = jnp.sum(kept)
        return jnp.where(total > 0, kept / jnp.where(total > 0, total, 1.0), 1.0 / count)
    if how == "nearest":
        best = (similarity == jnp.max(similarity)).astype(similarity.dtype)
        return best / jnp.sum(best)
    logits = similarity / temperature
    if how == "top-k":
        logits = jnp.where(similarity >= jnp.sort(similarity)[count - k], logits, -jnp.inf)
    return jax.nn.softmax(logits)
