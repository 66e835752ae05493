"""What happens to pixels whoever drew them: compositing, resampling, quantisation."""

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


def paint(
    frame: Float[Array, "h w 3"], coverage: Float[Array, "h w"], colour: Float[Array, " 3"]
) -> Float[Array, "h w 3"]:
    """Lays `colour` over `frame` where `coverage`, in [0, 1], says how much of a pixel it hides."""
    return frame + coverage[..., None] * (colour - frame)


def resample(image: Float[Array, "h w 3"], size: int) -> Float[Array, "size size 3"]:
    """Resizes a picture, antialiased: block means where `size` divides it, else a linear filter.

    Means and the filter's matrix products are not fused into their consumers: under `vmap` over
    scenes an unbatched `image` is resampled once for the whole batch.
    """
    chex.assert_rank(image, 3)
    height, width, channels = image.shape
    if height % size == 0 and width % size == 0:
        rows = jnp.mean(image.reshape(size, height // size, width * channels), axis=1)
        return jnp.mean(rows.reshape(size, size, width // size, channels), axis=2)
    return jax.image.resize(image, (size, size, channels), "linear", antialias=True)


def to_uint8(frames: Float[Array, "*batch h w 3"]) -> UInt8[Array, "*batch h w 3"]:
    """Quantises colours in [0, 1] to the nearest of 256 levels; values outside are clipped."""
    return jnp.round(jnp.clip(frames, 0.0, 1.0) * 255.0).astype(jnp.uint8)
