"""SigLIP's two towers (arXiv 2303.15343), computing what transformers' SiglipModel computes.

SigLIP 2 (arXiv 2502.14786) has the same ones where its resolution is fixed. See `jaxvlm.clip.model` for how the dtype
of the parameters decides.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from jaxvlm.clip.config import CLIPConfig, SiglipTextConfig, SiglipVisionConfig, VisionConfig
from jaxvlm.clip.layers import DECLARED, Dense, LayerNorm, precision
from jaxvlm.clip.transformer import ACTIVATION_FUNCTIONS, Frames, PatchEmbedding, blocks


class SiglipVisionTower(nn.Module):
    """A ViT without a class token, pooled by attention: frames, uint8 or normalised, to un-normalised embeddings."""

    config: CLIPConfig
    attention: str = "auto"
    scan: bool = False
    keep: tuple[int, ...] | None = None

    @nn.compact
    def __call__(self, frames: Frames) -> Float[Array, "batch d"]:
        config = self.config.patched
        x = PatchEmbedding(self.config, self.keep, use_bias=True, name="patch")(frames)  # f32[B, N, D]
        pos = self.param("pos", DECLARED, (config.num_positions, config.hidden_size))
        places = pos if self.keep is None else pos[np.asarray(self.keep)]
        x = (x + places.astype(jnp.float32)).astype(pos.dtype)
        x = blocks(config, x, attention=self.attention, scan=self.scan)
        return AttentionPool(config, name="pool")(LayerNorm(config.layer_norm_eps, name="ln_post")(x))


class AttentionPool(nn.Module):
    """One learned query, the probe, that attends to all tokens, and an MLP behind it.

    Multihead attention pooling of Lee et al. 2019 (arXiv 1810.00825) as in Zhai et al. 2022 (arXiv 2106.04560).
    """

    config: VisionConfig | SiglipVisionConfig

    @nn.compact
    def __call__(self, x: Float[Array, "batch n d"]) -> Float[Array, "batch d"]:
        config = self.config
        width, heads = config.hidden_size, config.num_attention_heads
        probe = self.param("probe", DECLARED, (width,))
        q, k, v = QueryKeyValue(width, name="qkv")(probe, x)
        options = {"precision": precision(probe.dtype), "preferred_element_type": jnp.float32}
        q, k, v = (y.astype(probe.dtype).reshape(*y.shape[:-1], heads, -1) for y in (q, k, v))
        logits = jnp.einsum("hd,bnhd->bhn", q, k, **options) * q.shape[-1] ** -0.5
        weights = jax.nn.softmax(logits).astype(probe.dtype)
        mixed = jnp.einsum("bhn,bnhd->bhd", weights, v, **options)
        x = Dense(width, name="out")(mixed.reshape(-1, width))  # f32[B, D]
        h = LayerNorm(config.layer_norm_eps, name="ln")(x)
        h = Dense(config.intermediate_size, name="fc1")(h)
        h = ACTIVATION_FUNCTIONS[config.hidden_act](h)
        return x + Dense(width, name="fc2")(h)


class QueryKeyValue(nn.Module):
    """The query of the probe, and keys and values of the tokens; one kernel holds all three, as in the files."""

    width: int

    @nn.compact
    def __call__(
        self, probe: Float[Array, " d"], x: Float[Array, "batch n d"]
    ) -> tuple[Float[Array, " d"], Float[Array, "batch n d"], Float[Array, "batch n d"]]:
        width = self.width
        kernel = self.param("kernel", DECLARED, (width, 3 * width))
        bias = self.param("bias", DECLARED, (3 * width,)).astype(jnp.float32)
        options = {"precision": precision(kernel.dtype), "preferred_element_type": jnp.float32}
        q = lax.dot(probe[None], kernel[:, :width], **options)[0] + bias[:width]
        kv = lax.dot(x.reshape(-1, width).astype(kernel.dtype), kernel[:, width:], **options) + bias[width:]
        k, v = jnp.split(kv.reshape(*x.shape[:-1], 2 * width), 2, axis=-1)
        return q, k, v


class SiglipTextTower(nn.Module):
    """The transformer without any mask: token ids to un-normalised embeddings, pooled at the last place.

    Padding is looked at as every other token is, so sentences have to be padded to the whole context.
    """

    config: SiglipTextConfig
    projection_dim: int
    attention: str = "auto"
    scan: bool = False

    @nn.compact
    def __call__(self, ids: Int[Array | np.ndarray, "batch n"]) -> Float[Array, "batch e"]:
        config = self.config
        width = config.hidden_size
        token = self.param("token", DECLARED, (config.vocab_size, width))
        pos = self.param("pos", DECLARED, (config.max_position_embeddings, width))
        x = (token[ids].astype(jnp.float32) + pos.astype(jnp.float32)).astype(token.dtype)
        x = blocks(config, x, attention=self.attention, scan=self.scan)
        x = LayerNorm(config.layer_norm_eps, name="ln_final")(x[:, -1])
        return Dense(self.projection_dim, name="proj")(x) if config.head else x


def siglip_initial(
    path: list[str], config: CLIPConfig, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Draws a parameter, f32, as transformers' SiglipPreTrainedModel does."""
    if path[-1] == "logit_scale":
        return np.full(shape, config.logit_scale_init_value, np.float32)
    if path[-1] == "logit_bias":
        return np.full(shape, config.logit_bias_init_value, np.float32)
    if path[-1] == "scale":
        return np.ones(shape, np.float32)
    if path[-1] == "bias":
        std = 1e-6 if path[-2] in ("fc1", "fc2") else 0.0
        return np.float32(std) * rng.standard_normal(shape, np.float32)
    kind, layer, pooled = path[-1], path[-2], "pool" in path
    if kind in ("token", "pos"):
        return np.float32(shape[-1] ** -0.5) * rng.standard_normal(shape, np.float32)
    if layer in ("patch", "proj") or (layer == "out" and pooled):
        # LeCun's, for a normal cut at two deviations; transformers cuts at the numbers -2 and 2, far outside, and so
        # widens without cutting.
        return np.float32(shape[0] ** -0.5 / 0.87962566) * rng.standard_normal(shape, np.float32)
    # Glorot's. The query, key and value of a block are drawn as three matrices, those of the pool as one.
    inputs, outputs = (shape[0], shape[0]) if kind == "probe" else shape
    outputs = outputs // 3 if layer == "qkv" and not pooled else outputs
    return np.asarray(math.sqrt(6 / (inputs + outputs)) * rng.uniform(-1, 1, shape), np.float32)
