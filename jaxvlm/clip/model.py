"""CLIP's two towers in flax.linen (arXiv 2103.00020), computing what transformers' CLIPModel computes.

Those of SigLIP are in `jaxvlm.clip.siglip`.

The dtype of the parameters decides how the towers compute:

* float32: every product runs at `Precision.HIGHEST`, so TF32 or bfloat16 passes never degrade it silently;
* bfloat16, float16: products of that dtype accumulated in float32.

Position add, LayerNorm and softmax are float32 in either case, and so are the embeddings.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, Shaped

from jaxvlm.clip.config import (
    LEGACY_EOS,
    CLIPConfig,
    ResNetConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    TextConfig,
    VisionConfig,
)
from jaxvlm.clip.layers import DECLARED, Dense, LayerNorm, attend
from jaxvlm.clip.resnet import ResNetTower
from jaxvlm.errors import ConfigError

# uint8, or floats that are preprocessed; other dtypes and sizes are refused with a ConfigError.
Frames = Shaped[Array | np.ndarray, "batch h w c"]

ACTIVATION_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


class Block(nn.Module):
    """A pre-norm residual block: self-attention, then the MLP.

    With `first_only` it returns the first token alone, which attends to all of them.
    """

    config: VisionConfig | TextConfig | SiglipVisionConfig | SiglipTextConfig
    causal: bool = False
    first_only: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "batch n d"]) -> Float[Array, "batch m d"]:
        config, dtype = self.config, x.dtype
        width = config.hidden_size
        h = LayerNorm(config.layer_norm_eps, name="ln1")(x)
        qkv = Dense(3 * width, name="qkv")(h).astype(dtype)
        queries = 1 if self.first_only else x.shape[1]
        h = attend(qkv, config.num_attention_heads, self.causal, queries)
        x = x[:, :queries] + Dense(width, name="out")(h).astype(dtype)
        h = LayerNorm(config.layer_norm_eps, name="ln2")(x)
        h = Dense(config.intermediate_size, name="fc1")(h)
        h = ACTIVATION_FUNCTIONS[config.hidden_act](h)
        return x + Dense(width, name="fc2")(h).astype(dtype)


class VisionTower(nn.Module):
    """The ViT: normalised frames to un-normalised embeddings."""

    config: VisionConfig
    projection_dim: int

    @nn.compact
    def __call__(self, frames: Float[Array, "batch h w 3"]) -> Float[Array, "batch e"]:
        config = self.config
        width, patch = config.hidden_size, config.patch_size
        side = config.image_size // patch
        # Non-overlapping patches: the convolution is a reshape and one matrix product.
        x = frames.reshape(-1, side, patch, side, patch, 3).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(-1, side * side, patch * patch * 3)
        x = Dense(width, use_bias=False, name="patch")(x)  # f32[B, N - 1, D]
        cls = self.param("cls", DECLARED, (width,))
        pos = self.param("pos", DECLARED, (config.num_positions, width))
        dtype, pos = pos.dtype, pos.astype(jnp.float32)
        first = jnp.broadcast_to(cls.astype(jnp.float32) + pos[0], (x.shape[0], 1, width))
        x = jnp.concatenate([first, x + pos[1:]], axis=1)  # f32[B, N, D]
        x = LayerNorm(config.layer_norm_eps, name="ln_pre")(x).astype(dtype)
        for i in range(config.num_hidden_layers):
            # Nothing reads the patches after the last block, so it leaves them out.
            x = Block(config, first_only=i == config.num_hidden_layers - 1, name=f"block_{i}")(x)
        x = LayerNorm(config.layer_norm_eps, name="ln_post")(x[:, 0])
        return Dense(self.projection_dim, use_bias=False, name="proj")(x)


class TextTower(nn.Module):
    """The causal transformer: token ids to un-normalised embeddings, pooled at the end-of-text token."""

    config: TextConfig
    projection_dim: int

    @nn.compact
    def __call__(self, ids: Int[Array | np.ndarray, "batch n"]) -> Float[Array, "batch e"]:
        config = self.config
        width, n = config.hidden_size, ids.shape[1]
        token = self.param("token", DECLARED, (config.vocab_size, width))
        pos = self.param("pos", DECLARED, (config.max_position_embeddings, width))
        x = (token[ids].astype(jnp.float32) + pos[:n].astype(jnp.float32)).astype(token.dtype)
        for i in range(config.num_hidden_layers):
            x = Block(config, causal=True, name=f"block_{i}")(x)
        # argmax returns the first position where several are largest.
        last = jnp.argmax(ids if config.eos_token_id == LEGACY_EOS else ids == config.eos_token_id, axis=1)
        x = jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
        x = LayerNorm(config.layer_norm_eps, name="ln_final")(x)
        return Dense(self.projection_dim, use_bias=False, name="proj")(x)


class CLIP(nn.Module):
    """Both towers; call `apply(params, x, method="encode_image")` or `method="encode_text"`.

    Parameters come from `random_init` or from a checkpoint; flax's `init` gives zeros of the right shapes.
    `apply(..., capture_intermediates=True, mutable=["intermediates"])` also returns what each layer computed.
    """

    config: CLIPConfig

    def setup(self):
        from jaxvlm.clip.siglip import (
            SiglipTextTower,
            SiglipVisionTower,
        )  # whose blocks are those of this module

        vision, text = self.config.vision, self.config.text
        if isinstance(vision, ResNetConfig):
            self.visual = ResNetTower(vision, self.config.projection_dim)
        elif isinstance(vision, SiglipVisionConfig):
            self.visual = SiglipVisionTower(vision)
        else:
            self.visual = VisionTower(vision, self.config.projection_dim)
        if isinstance(text, SiglipTextConfig):
            self.text = SiglipTextTower(text, self.config.projection_dim)
        else:
            self.text = TextTower(text, self.config.projection_dim)

    @nn.compact
    def __call__(
        self, frames: Frames, ids: Int[Array | np.ndarray, "captions n"]
    ) -> tuple[Float[Array, "batch e"], Float[Array, "captions e"], Float[Array, ""]]:
        """Image embeddings, text embeddings and the log of the logit scale."""
        logit_scale = self.param("logit_scale", DECLARED, ())  # here, so that a tower can be applied alone
        if self.config.logit_bias_init_value is not None:
            self.param("logit_bias", DECLARED, ())
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
        if frames.dtype == jnp.uint8:
            frames = normalise(frames, self.config)
        elif not jnp.issubdtype(frames.dtype, jnp.floating):
            raise ConfigError(
                f"frames are {frames.dtype}; give uint8 in 0..255 or floats that are already preprocessed"
            )
        return self.visual(jnp.asarray(frames))

    def encode_text(self, ids: Int[Array | np.ndarray, "captions n"]) -> Float[Array, "captions e"]:
        """Embeds token ids; float32, not normalised.

        Raises ConfigError when they exceed the context, or do not fill it where the model is SigLIP, which pools what
        stands at the last place.
        """
        if self.config.siglip and (ids.ndim != 2 or ids.shape[1] != self.config.context):
            raise ConfigError(
                f"token ids of shape {ids.shape} do not fit this SigLIP, which takes captions padded to "
                f"{self.config.context} tokens; use the checkpoint's own tokenizer"
            )
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
    scale = jnp.asarray([1 / (255 * std) for std in config.image_std], jnp.float32)
    shift = jnp.asarray([mean / std for mean, std in zip(config.image_mean, config.image_std, strict=True)])
    return jnp.asarray(frames).astype(jnp.float32) * scale - shift


def random_init(config: CLIPConfig, key: jax.Array) -> dict:
    """Draws float32 parameters from the distributions transformers' models start from: an untrained CLIP or SigLIP.

    NumPy draws them on the host, in the order of the tree's paths (compiling a draw a leaf takes longer), so
    `key` has to be concrete: not under `jit`.
    """
    from jaxvlm.clip.siglip import siglip_initial

    seed = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    rng = np.random.default_rng(np.asarray(seed).ravel())

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        names = [entry.key for entry in path]
        if config.siglip:
            return jnp.asarray(siglip_initial(names, config, leaf.shape, rng))
        mean, std = _initial(names, config, leaf.shape)
        noise = rng.standard_normal(leaf.shape, np.float32) if std else np.zeros(leaf.shape, np.float32)
        return jnp.asarray(mean + std * noise, jnp.float32)

    return jax.tree.map_with_path(draw, param_shapes(config))


def _initial(path: list[str], config: CLIPConfig, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation a parameter starts with, as in transformers' CLIPPreTrainedModel.

    Those of a residual network are OpenAI's: the attention pool by its width, convolutions as PyTorch's are, and zeros
    for the last of each block, which so begins as its shortcut.
    """
    if path[-1] == "logit_scale":
        return config.logit_scale_init_value, 0.0
    if path[-1] == "logit_bias":
        return config.logit_bias_init_value or 0.0, 0.0
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
