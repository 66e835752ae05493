"""CLIP's residual networks (RN50 and larger ones, arXiv 2103.00020, section 2.4), batch norm folded into convolutions.

Three convolutions in place of the usual stem's one; where resolution halves, an average of 2 x 2 pixels before the
convolution that would skip; attention from the mean of all places in place of a mean at the end.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from jaxvlm.clip.config import ResNetConfig
from jaxvlm.clip.layers import DECLARED, Dense, attend, precision


class Convolution(nn.Module):
    """Of an odd size, padded to keep that of the frame, with the bias of its batch norm; the result is float32."""

    features: int
    size: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w c"]) -> Float[Array, "batch u v features"]:
        kernel = self.param("kernel", DECLARED, (self.size, self.size, x.shape[-1], self.features))
        bias = self.param("bias", DECLARED, (self.features,))
        y = lax.conv_general_dilated(
            x.astype(kernel.dtype),
            kernel,
            (self.stride, self.stride),
            [(self.size // 2, self.size // 2)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=precision(kernel.dtype),
            preferred_element_type=jnp.float32,
        )
        return y + bias.astype(jnp.float32)


class Bottleneck(nn.Module):
    """A narrow 3 x 3 convolution between two of 1 x 1, beside a shortcut; the result is four times as wide."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w c"]) -> Float[Array, "batch u v d"]:
        h = jax.nn.relu(Convolution(self.width, name="conv1")(x))
        h = jax.nn.relu(Convolution(self.width, 3, name="conv2")(h))
        h = Convolution(4 * self.width, name="conv3")(_pooled(h, self.stride))
        if self.stride > 1 or x.shape[-1] != 4 * self.width:
            x = Convolution(4 * self.width, name="downsample")(_pooled(x, self.stride))
        return jax.nn.relu(h + x)


class AttentionPool(nn.Module):
    """Attention of all places and their mean, asked by the mean alone."""

    heads: int
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w c"]) -> Float[Array, "batch features"]:
        batch, width = x.shape[0], x.shape[-1]
        x = x.reshape(batch, -1, width)
        x = jnp.concatenate([x.mean(axis=1, keepdims=True), x], axis=1)
        pos = self.param("pos", DECLARED, (x.shape[1], width))
        x = (x + pos.astype(jnp.float32)).astype(pos.dtype)
        qkv = Dense(3 * width, wide=False, name="qkv")(x)
        mixed = attend(qkv, self.heads, causal=False, queries=1)
        return Dense(self.features, name="out")(mixed[:, 0])


class ResNetTower(nn.Module):
    """Normalised frames to un-normalised embeddings."""

    config: ResNetConfig
    projection_dim: int

    @nn.compact
    def __call__(self, frames: Float[Array, "batch h w 3"]) -> Float[Array, "batch e"]:
        config = self.config
        x = jax.nn.relu(Convolution(config.width // 2, 3, 2, name="stem1")(frames))
        x = jax.nn.relu(Convolution(config.width // 2, 3, name="stem2")(x))
        x = _pooled(jax.nn.relu(Convolution(config.width, 3, name="stem3")(x)), 2)
        for stage, blocks in enumerate(config.layers):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = Bottleneck(config.width * 2**stage, stride, name=f"layer{stage + 1}_{block}")(x)
        return AttentionPool(config.num_attention_heads, self.projection_dim, name="pool")(x)


def _pooled(x: Float[Array, "batch h w c"], size: int) -> Float[Array, "batch u v c"]:
    """Means of `size` x `size` pixels; what is left over at the right and below is cut off, as by PyTorch."""
    if size == 1:
        return x
    batch, height, width, channels = x.shape
    x = x[:, : height // size * size, : width // size * size]
    return x.reshape(batch, height // size, size, width // size, size, channels).mean(axis=(2, 4))
