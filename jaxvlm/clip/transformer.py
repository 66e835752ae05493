"""What all transformers of the towers are made of: patches, blocks, and blocks that are scanned.

See `jaxvlm.clip.model` for how the dtype of the parameters decides.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Shaped

from jaxvlm.clip.config import CLIPConfig, SiglipTextConfig, SiglipVisionConfig, TextConfig, VisionConfig
from jaxvlm.clip.layers import DECLARED, Dense, LayerNorm, attend, precision

# uint8, or floats that are preprocessed; other dtypes and sizes are refused with a ConfigError.
Frames = Shaped[Array | np.ndarray, "batch h w c"]

Transformer = VisionConfig | TextConfig | SiglipVisionConfig | SiglipTextConfig

STACKED = "blocks"  # of a tower that is scanned

ACTIVATION_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


class Block(nn.Module):
    """A pre-norm residual block: self-attention, then the MLP.

    With `first_only` it returns the first token alone, which attends to all of them.
    """

    config: Transformer
    causal: bool = False
    first_only: bool = False
    attention: str = "auto"

    @nn.compact
    def __call__(self, x: Float[Array, "batch n d"]) -> Float[Array, "batch m d"]:
        config, dtype = self.config, x.dtype
        width = config.hidden_size
        h = LayerNorm(config.layer_norm_eps, name="ln1")(x)
        qkv = Dense(3 * width, wide=False, name="qkv")(h)
        queries = 1 if self.first_only else x.shape[1]
        h = attend(qkv, config.num_attention_heads, self.causal, queries, self.attention)
        x = x[:, :queries] + Dense(width, wide=False, name="out")(h).astype(dtype)
        h = LayerNorm(config.layer_norm_eps, name="ln2")(x)
        h = Dense(config.intermediate_size, wide=False, name="fc1")(h)
        h = ACTIVATION_FUNCTIONS[config.hidden_act](h.astype(jnp.float32))
        return x + Dense(width, wide=False, name="fc2")(h).astype(dtype)


def blocks(
    config: Transformer,
    x: Float[Array, "batch n d"],
    *,
    causal: bool = False,
    first_only: bool = False,
    attention: str = "auto",
    scan: bool = False,
) -> Float[Array, "batch m d"]:
    """All blocks of a tower, one after the other; called where a tower may declare parameters.

    Scanned, all but the last are one block whose parameters have a leading axis of layers (`stack_layers`), which
    compiles in the time of two. The last is apart: with `first_only`, nothing reads its other tokens.
    """
    options = {"causal": causal, "attention": attention}
    last = config.num_hidden_layers - 1
    if scan and last > 1:
        step = nn.scan(
            lambda block, x, _: (block(x), None),
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": False},
            length=last,
        )
        x, _ = step(Block(config, **options, name=STACKED), x, None)
    else:
        for i in range(last):
            x = Block(config, **options, name=f"block_{i}")(x)
    return Block(config, **options, first_only=first_only, name=f"block_{last}")(x)


class PatchEmbedding(nn.Module):
    """Frames to patches to vectors, f32[batch, patches, features]: a reshape and one matrix product.

    uint8 frames are normalised on the way. In 16-bit numbers normalised pixels would be rounded, and grey levels less
    128 are exact: there the kernel takes up the scale, and the shift becomes a bias.
    """

    config: CLIPConfig
    keep: tuple[int, ...] | None = None  # patches; None for all
    use_bias: bool = False

    @nn.compact
    def __call__(self, frames: Frames) -> Float[Array, "batch n features"]:
        vision = self.config.patched
        patch, width = vision.patch_size, vision.hidden_size
        side = frames.shape[1] // patch
        # As a convolution without padding, which leaves out what does not fill a patch.
        frames = frames[:, : side * patch, : side * patch]
        kernel = self.param("kernel", DECLARED, (patch * patch * 3, width))
        shift = self.param("bias", DECLARED, (width,)).astype(jnp.float32) if self.use_bias else None
        if frames.dtype == jnp.uint8 and kernel.dtype == jnp.float32:
            frames = normalise(frames, self.config)
        elif frames.dtype == jnp.uint8:
            scale, offset = (jnp.tile(numbers, patch * patch) for numbers in channel_scale(self.config, 128))
            weights = kernel.astype(jnp.float32)
            shift = (offset[:, None] * weights).sum(0) + (0 if shift is None else shift)
            kernel = (scale[:, None] * weights).astype(kernel.dtype)
            frames = frames.astype(kernel.dtype) - 128
        x = frames.reshape(-1, side, patch, side, patch, 3).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(-1, side * side, patch * patch * 3)
        if self.keep is not None:
            x = x[:, np.asarray(self.keep)]
        y = lax.dot(
            x.reshape(-1, x.shape[-1]).astype(kernel.dtype),
            kernel,
            precision=precision(kernel.dtype),
            preferred_element_type=jnp.float32,
        )
        y = y if shift is None else y + shift
        return y.reshape(*x.shape[:2], -1)


def normalise(
    frames: Shaped[Array | np.ndarray, "*batch h w 3"], config: CLIPConfig
) -> Float[Array, "*batch h w 3"]:
    """`(frames / 255 - mean) / std` a channel, float32; the frames are grey levels from 0 to 255."""
    scale, offset = channel_scale(config)
    return jnp.asarray(frames).astype(jnp.float32) * scale + offset


def channel_scale(
    config: CLIPConfig, less: float = 0.0
) -> tuple[Float[Array, " channels"], Float[Array, " channels"]]:
    """`scale` and `offset` a channel, so that `(grey - less) * scale + offset` is a normalised grey level, float32."""
    scale = [1 / (255 * std) for std in config.image_std]
    offset = [
        less * s - mean / std for s, mean, std in zip(scale, config.image_mean, config.image_std, strict=True)
    ]
    return jnp.asarray(scale, jnp.float32), jnp.asarray(offset, jnp.float32)


def stack_layers(params: dict) -> dict:
    """Parameters for `CLIP(config, scan=True)`: of each tower, all blocks but the last under one name, stacked.

    Leaf by leaf, so that no more than one is there twice; what is given is left as it is.
    """
    return {"params": {name: _stacked(tree) for name, tree in params["params"].items()}}


def unstack_layers(params: dict) -> dict:
    """The inverse of `stack_layers`, as checkpoints are written."""
    return {"params": {name: _unstacked(tree) for name, tree in params["params"].items()}}


def _stacked(tower: Any) -> Any:
    names = (
        [f"block_{i}" for i in range(len([name for name in tower if name.startswith("block_")]) - 1)]
        if isinstance(tower, dict)
        else []
    )
    if len(names) < 2:
        return tower
    rest = {name: tree for name, tree in tower.items() if name not in names}
    return {
        **rest,
        STACKED: jax.tree.map(lambda *leaves: jnp.stack(leaves), *(tower[name] for name in names)),
    }


def _unstacked(tower: Any) -> Any:
    if not isinstance(tower, dict) or STACKED not in tower:
        return tower
    count = jax.tree.leaves(tower[STACKED])[0].shape[0]
    rest = {name: tree for name, tree in tower.items() if name != STACKED}
    layers = {f"block_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], tower[STACKED]) for i in range(count)}
    return {**rest, **layers}
