"""Layers that CLIP's towers share; see `jaxvlm.clip.model` for how the dtype of the parameters decides."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

# Modules only declare shapes and `random_init` fills them: a jitted draw a leaf compiles for many seconds.
DECLARED = nn.initializers.zeros


def precision(dtype: jnp.dtype) -> lax.Precision:
    """Of products of a dtype."""
    # Stated in both cases: an ambient "highest" is for the code around the towers, not for bfloat16 products.
    return lax.Precision.HIGHEST if dtype == jnp.float32 else lax.Precision.DEFAULT


class Dense(nn.Module):
    """`x @ kernel + bias` accumulated in float32; the result is float32."""

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... features"]:
        kernel = self.param("kernel", DECLARED, (x.shape[-1], self.features))
        # One matrix of all rows: on a CPU the gradient of the kernel takes half as long as from several axes.
        y = lax.dot(
            x.reshape(-1, x.shape[-1]).astype(kernel.dtype),
            kernel,
            precision=precision(kernel.dtype),
            preferred_element_type=jnp.float32,
        ).reshape(*x.shape[:-1], self.features)
        if self.use_bias:
            y += self.param("bias", DECLARED, (self.features,)).astype(jnp.float32)
        return y


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
    qkv: Float[Array, "batch n qkv"], heads: int, causal: bool, queries: int
) -> Float[Array, "batch m d"]:
    """Scaled dot-product attention of all heads for the first `queries` tokens; the softmax is float32."""
    batch, n, width = qkv.shape
    q, k, v = qkv.reshape(batch, n, 3, heads, width // (3 * heads)).transpose(2, 0, 3, 1, 4)
    q = q[:, :, :queries]
    options = {"precision": precision(qkv.dtype), "preferred_element_type": jnp.float32}
    logits = jnp.einsum("bhqd,bhkd->bhqk", q, k, **options) * q.shape[-1] ** -0.5
    if causal:
        logits = jnp.where(jnp.tri(queries, n, dtype=bool), logits, -jnp.inf)
    weights = jax.nn.softmax(logits).astype(qkv.dtype)
    mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, v, **options)
    return mixed.transpose(0, 2, 1, 3).reshape(batch, queries, -1)
