"""Layers that CLIP's towers share; see `jaxvlm.clip.model` for how the dtype of the parameters decides."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from jaxvlm.errors import ConfigError

ATTENTIONS = ("auto", "xla", "cudnn")

# From how many tokens on a fused kernel is taken: on an H200 it makes ViT-L/14 (257 tokens) 29 % faster and ViT-B/32
# (50) 1 %; smaller towers were not measured.
FUSED_TOKENS = 128


# Modules only declare shapes and `random_init` fills them: a jitted draw a leaf compiles for many seconds.
DECLARED = nn.initializers.zeros


def precision(dtype: jnp.dtype) -> lax.Precision:
    """Of products of a dtype."""
    # Stated in both cases: an ambient "highest" is for the code around the towers, not for bfloat16 products.
    return lax.Precision.HIGHEST if dtype == jnp.float32 else lax.Precision.DEFAULT


class Dense(nn.Module):
    """`x @ kernel + bias` accumulated in float32.

    The result is float32 where it is `wide`, else of the kernel's dtype: what a GPU writes is half as much then.
    """

    features: int
    use_bias: bool = True
    wide: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... features"]:
        kernel = self.param("kernel", DECLARED, (x.shape[-1], self.features))
        dtype = jnp.dtype(jnp.float32) if self.wide else kernel.dtype
        # One matrix of all rows: on a CPU the gradient of the kernel takes half as long as from several axes.
        # By this name, and not `lax.dot`: it is the one that a library for quantisation replaces.
        y = jax.lax.dot_general(
            x.reshape(-1, x.shape[-1]).astype(kernel.dtype),
            kernel,
            (((1,), (0,)), ((), ())),
            precision=precision(kernel.dtype),
            preferred_element_type=dtype,
        ).astype(dtype)
        if self.use_bias:
            y += self.param("bias", DECLARED, (self.features,)).astype(dtype)
        return y.reshape(*x.shape[:-1], self.features)


class LayerNorm(nn.Module):
    """Normalises the last axis in float32 with the two-pass variance."""

    eps: float

    @nn.compact
    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
        x = x.astype(jnp.float32)
        x -= x.mean(-1, keepdims=True)
        x *= lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.eps)
        scale = self.param("scale", DECLARED, x.shape[-1:])
        bias = self.param("bias", DECLARED, x.shape[-1:])
        return x * scale.astype(jnp.float32) + bias.astype(jnp.float32)


def attend(
    qkv: Float[Array, "batch n qkv"],
    heads: int,
    causal: bool,
    queries: int,
    implementation: str = "auto",
) -> Float[Array, "batch m d"]:
    """Scaled dot-product attention of all heads for the first `queries` tokens; the softmax is float32.

    `cudnn` is one fused kernel (`jax.nn.dot_product_attention`), for 16-bit numbers on a GPU; `auto` takes it there
    from `FUSED_TOKENS` tokens on. Raises ConfigError where `cudnn` cannot be had.
    """
    batch, n, width = qkv.shape
    head = width // (3 * heads)
    if fused(implementation, qkv.dtype, n, head) and queries == n:
        q, k, v = jnp.unstack(qkv.reshape(batch, n, 3, heads, head), axis=2)
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation="cudnn")
        return mixed.reshape(batch, n, -1)
    q, k, v = qkv.reshape(batch, n, 3, heads, head).transpose(2, 0, 3, 1, 4)
    q = q[:, :, :queries]
    options = {"precision": precision(qkv.dtype), "preferred_element_type": jnp.float32}
    logits = jnp.einsum("bhqd,bhkd->bhqk", q, k, **options) * q.shape[-1] ** -0.5
    if causal:
        logits = jnp.where(jnp.tri(queries, n, dtype=bool), logits, -jnp.inf)
    weights = jax.nn.softmax(logits).astype(qkv.dtype)
    mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, v, **options)
    return mixed.transpose(0, 2, 1, 3).reshape(batch, queries, -1)


@functools.cache
def nvidia_generation() -> float:
    """Compute capability of the default device, such as 9.0 on an H100; 0 where it is no NVIDIA GPU."""
    device = jax.devices()[0]
    capability = str(getattr(device, "compute_capability", ""))
    return float(capability) if device.platform == "gpu" and re.fullmatch(r"\d+\.\d+", capability) else 0.0


def fused(implementation: str, dtype: Any, tokens: int, head: int) -> bool:
    """Whether attention is cuDNN's fused kernel; see `attend`."""
    if implementation not in ATTENTIONS:
        raise ConfigError(f"attention {implementation!r} is unknown; choose one of {', '.join(ATTENTIONS)}")
    # What the kernel takes (cuDNN 9): heads of a multiple of eight numbers, up to 128, on Hopper and later up to 256.
    generation = nvidia_generation()
    largest = 256 if generation >= 9 else 128
    takes = dtype in (jnp.bfloat16, jnp.float16) and head % 8 == 0 and head <= largest
    on_gpu = generation >= 8
    if implementation == "cudnn" and not (takes and on_gpu):
        device = f"{jax.default_backend()} {generation:g}" if generation else jax.default_backend()
        raise ConfigError(
            "attention 'cudnn' needs an NVIDIA GPU of compute capability 8.0 (Ampere) or later, bfloat16 or float16, "
            f"and heads of a multiple of 8 numbers up to {largest}; here are {device}, "
            f"{jnp.dtype(dtype).name} and {head}; choose 'auto' or 'xla'"
        )
    return implementation == "cudnn" or (
        implementation == "auto" and takes and on_gpu and tokens >= FUSED_TOKENS
    )
