"""CLIP's two towers in flax.linen (arXiv 2103.00020), computing what transformers' CLIPModel computes.

The dtype of the parameters decides how the towers compute:

* float32: every product runs at `Precision.HIGHEST`, so TF32 or bfloat16 passes never degrade it silently;
* bfloat16, float16: products of that dtype accumulated in float32 and rounded once.

Position add, LayerNorm, softmax and activations are float32 in either case, and so are the embeddings.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from jaxvlm.clip.config import LEGACY_EOS, CLIPConfig, ResNetConfig, TextConfig, VisionConfig
from jaxvlm.clip.layers import DECLARED, Dense, LayerNorm, attend, precision
from jaxvlm.clip.resnet import ResNetTower
from jaxvlm.errors import ConfigError

# uint8, or floats that are preprocessed; other dtypes and sizes are refused with a ConfigError.
Frames = Shaped[Array | np.ndarray, "batch h w c"]

STACKED = "blocks"  # of a tower that is scanned

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


class Block(nn.Module):
    """A pre-norm residual block: self-attention, then the MLP.

    With `first_only` it returns the first token alone, which attends to all of them.
    """

    config: VisionConfig | TextConfig
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
        h = _ACTIVATIONS[config.hidden_act](h.astype(jnp.float32))
        return x + Dense(width, wide=False, name="fc2")(h).astype(dtype)


def blocks(
    config: VisionConfig | TextConfig,
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
    keep: tuple[int, ...] | None = None

    @nn.compact
    def __call__(self, frames: Frames) -> Float[Array, "batch n features"]:
        patch = self.config.vit.patch_size
        side = frames.shape[1] // patch
        kernel = self.param("kernel", DECLARED, (patch * patch * 3, self.config.vit.hidden_size))
        shift = None
        if frames.dtype == jnp.uint8 and kernel.dtype == jnp.float32:
            frames = normalise(frames, self.config)
        elif frames.dtype == jnp.uint8:
            scale, offset = (jnp.tile(numbers, patch * patch) for numbers in channel_scale(self.config, 128))
            weights = kernel.astype(jnp.float32)
            shift = (offset[:, None] * weights).sum(0)
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


class VisionTower(nn.Module):
    """The ViT: frames, uint8 or normalised, to un-normalised embeddings."""

    config: CLIPConfig
    attention: str = "auto"
    scan: bool = False
    keep: tuple[int, ...] | None = None

    @nn.compact
    def __call__(self, frames: Frames) -> Float[Array, "batch e"]:
        config = self.config.vit
        width = config.hidden_size
        x = PatchEmbedding(self.config, self.keep, name="patch")(frames)  # f32[B, N - 1, D]
        cls = self.param("cls", DECLARED, (width,))
        pos = self.param("pos", DECLARED, (config.num_positions, width))
        dtype, pos = pos.dtype, pos.astype(jnp.float32)
        first = jnp.broadcast_to(cls.astype(jnp.float32) + pos[0], (x.shape[0], 1, width))
        places = pos[1:] if self.keep is None else pos[1:][np.asarray(self.keep)]
        x = jnp.concatenate([first, x + places], axis=1)  # f32[B, N, D]
        x = LayerNorm(config.layer_norm_eps, name="ln_pre")(x).astype(dtype)
        x = blocks(config, x, first_only=True, attention=self.attention, scan=self.scan)
        x = LayerNorm(config.layer_norm_eps, name="ln_post")(x[:, 0])
        return Dense(self.config.projection_dim, use_bias=False, name="proj")(x)


class TextTower(nn.Module):
    """The causal transformer: token ids to un-normalised embeddings, pooled at the end-of-text token."""

    config: TextConfig
    projection_dim: int
    attention: str = "auto"
    scan: bool = False

    @nn.compact
    def __call__(self, ids: Int[Array | np.ndarray, "batch n"]) -> Float[Array, "batch e"]:
        config = self.config
        width, n = config.hidden_size, ids.shape[1]
        token = self.param("token", DECLARED, (config.vocab_size, width))
        pos = self.param("pos", DECLARED, (config.max_position_embeddings, width))
        x = (token[ids].astype(jnp.float32) + pos[:n].astype(jnp.float32)).astype(token.dtype)
        x = blocks(config, x, causal=True, attention=self.attention, scan=self.scan)
        # argmax returns the first position where several are largest.
        last = jnp.argmax(ids if config.eos_token_id == LEGACY_EOS else ids == config.eos_token_id, axis=1)
        x = jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
        x = LayerNorm(config.layer_norm_eps, name="ln_final")(x)
        return Dense(self.projection_dim, use_bias=False, name="proj")(x)


class CLIP(nn.Module):
    """Both towers; call `apply(params, x, method="encode_image")` or `method="encode_text"`.

    Parameters come from `random_init` or from a checkpoint; flax's `init` gives zeros of the right shapes.
    `apply(..., capture_intermediates=True, mutable=["intermediates"])` also returns what each layer computed.

    How the same numbers are computed:

    * `attention`: `cudnn` is a fused kernel, `xla` plain products, `auto` the faster one (`layers.attend`);
    * `scan`: compiles one block for all layers, whose parameters `stack_layers` stacks;
    * `keep`: the patches that the ViT looks at, row by row from 0, where others never show anything; None for all.
    """

    config: CLIPConfig
    attention: str = "auto"
    scan: bool = False
    keep: tuple[int, ...] | None = None

    def setup(self):
        config = self.config
        check_keep(self.keep, config)
        if isinstance(config.vision, ResNetConfig):
            self.visual = ResNetTower(config.vision, config.projection_dim)
        else:
            self.visual = VisionTower(config, self.attention, self.scan, self.keep)
        self.text = TextTower(config.text, config.projection_dim, self.attention, self.scan)

    @nn.compact
    def __call__(
        self, frames: Frames, ids: Int[Array | np.ndarray, "captions n"]
    ) -> tuple[Float[Array, "batch e"], Float[Array, "captions e"], Float[Array, ""]]:
        """Image embeddings, text embeddings and the log of the logit scale."""
        logit_scale = self.param("logit_scale", DECLARED, ())  # here, so that a tower can be applied alone
        return self.encode_image(frames), self.encode_text(ids), logit_scale

    def encode_image(self, frames: Frames) -> Float[Array, "batch e"]:
        """Embeds frames of the tower's size; float32, not normalised.

        uint8 frames are normalised with the config's mean and std; floats are taken as preprocessed.
        Raises ConfigError when the frames are of another size.
        """
        size = self.config.image_size
        if frames.ndim != 4 or frames.shape[1:] != (size, size, 3):
            raise ConfigError(
                f"frames of shape {frames.shape} do not fit this CLIP of [batch, {size}, {size}, 3]: "
                f"draw at size {size} or resize with jaxvlm.clip.preprocess"
            )
        if frames.dtype != jnp.uint8 and not jnp.issubdtype(frames.dtype, jnp.floating):
            raise ConfigError(
                f"frames are {frames.dtype}; give uint8 in 0..255 or floats that are already preprocessed"
            )
        if frames.dtype == jnp.uint8 and isinstance(self.config.vision, ResNetConfig):
            frames = normalise(frames, self.config)  # a ViT does it with its patches
        return self.visual(jnp.asarray(frames))

    def encode_text(self, ids: Int[Array | np.ndarray, "captions n"]) -> Float[Array, "captions e"]:
        """Embeds token ids; float32, not normalised. Raises ConfigError when they exceed the context."""
        if ids.ndim != 2 or not 0 < ids.shape[1] <= self.config.context:
            raise ConfigError(
                f"token ids of shape {ids.shape} do not fit this CLIP, which takes captions of 1 to "
                f"{self.config.context} tokens; use the checkpoint's own tokenizer"
            )
        return self.text(jnp.asarray(ids))


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


def check_keep(keep: tuple[int, ...] | None, config: CLIPConfig) -> None:
    """Raises ConfigError where `keep` does not name patches of the image tower in ascending order."""
    if keep is None:
        return
    count = config.vit.num_positions - 1
    if not keep or list(keep) != sorted(set(keep)) or keep[0] < 0 or keep[-1] >= count:
        shown = f"{str(keep)[:60]}..." if len(str(keep)) > 60 else keep
        raise ConfigError(
            f"keep {shown} has to name patches from 0 to {count - 1} in ascending order, at least one; "
            "`jaxvlm.clip.covered_patches` finds them"
        )


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


def random_init(config: CLIPConfig, key: jax.Array, dtype: Any = jnp.float32) -> dict:
    """Draws parameters from the distributions transformers' CLIPModel starts from: an untrained CLIP.

    They are drawn in float32 and kept in `dtype`, one by one; `logit_scale` stays float32. NumPy draws them on the
    host, in the order of the tree's paths (compiling a draw a leaf takes longer), so `key` has to be concrete: not
    under `jit`.
    """
    seed = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    rng = np.random.default_rng(np.asarray(seed).ravel())

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        mean, std = _initial([entry.key for entry in path], config, leaf.shape)
        noise = rng.standard_normal(leaf.shape, np.float32) if std else np.zeros(leaf.shape, np.float32)
        kind = jnp.float32 if path[-1].key == "logit_scale" else dtype
        return jnp.asarray((mean + std * noise).astype(kind))

    return jax.tree.map_with_path(draw, param_shapes(config))


def _initial(path: list[str], config: CLIPConfig, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation a parameter starts with, as in transformers' CLIPPreTrainedModel.

    Those of a residual network are OpenAI's: the attention pool by its width, convolutions as PyTorch's are, and zeros
    for the last of each block, which so begins as its shortcut.
    """
    if path[-1] == "logit_scale":
        return config.logit_scale_init_value, 0.0
    if path[-1] in ("bias", "scale"):
        return float(path[-1] == "scale"), 0.0
    if path[1] == "visual" and isinstance(config.vision, ResNetConfig):
        if path[-2] == "conv3":
            return 0.0, 0.0
        if "pool" in path:
            return 0.0, shape[-1 if path[-1] == "pos" else 0] ** -0.5
        return 0.0, (3 * math.prod(shape[:-1])) ** -0.5
    tower = config.vit if path[1] == "visual" else config.text
    width, narrow = tower.hidden_size**-0.5, (2 * tower.num_hidden_layers) ** -0.5
    stds = {
        "token": 0.02,
        "pos": 0.02,
        "patch": 0.02,
        "cls": width,
        "qkv": width * narrow,
        "out": width,
        "fc1": width * 2**-0.5,
        "fc2": width * narrow,
        "proj": width,
    }
    return 0.0, stds[path[-2] if path[-1] == "kernel" else path[-1]]


def param_shapes(config: CLIPConfig) -> dict:
    """The tree of parameters as `jax.ShapeDtypeStruct`, found without computing anything."""
    size = config.image_size
    frames = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    ids = jax.ShapeDtypeStruct((1, config.context), jnp.int32)
    return jax.eval_shape(CLIP(config).init, jax.random.key(0), frames, ids)
