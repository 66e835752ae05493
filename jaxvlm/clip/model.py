"""CLIP's two towers in flax.linen (arXiv 2103.00020), computing what transformers' CLIPModel computes.

Those of SigLIP are in `jaxvlm.clip.siglip`.

The dtype of the parameters decides how the towers compute:

* float32: every product runs at `Precision.HIGHEST`, so TF32 or bfloat16 passes never degrade it silently;
* bfloat16, float16: products of that dtype accumulated in float32, results in that dtype.

Position add, LayerNorm, softmax and activations are float32 in either case, and so are the embeddings.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jaxvlm.clip.config import LEGACY_EOS, CLIPConfig, ResNetConfig, SiglipTextConfig, TextConfig
from jaxvlm.clip.layers import DECLARED, Dense, LayerNorm
from jaxvlm.clip.resnet import ResNetTower
from jaxvlm.clip.siglip import SiglipTextTower, SiglipVisionTower, siglip_initial
from jaxvlm.clip.transformer import Frames, PatchEmbedding, blocks, normalise
from jaxvlm.errors import ConfigError


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
        how = {"attention": self.attention, "scan": self.scan}
        if isinstance(config.vision, ResNetConfig):
            self.visual = ResNetTower(config.vision, config.projection_dim)
        elif config.siglip:
            self.visual = SiglipVisionTower(config, keep=self.keep, **how)
        else:
            self.visual = VisionTower(config, keep=self.keep, **how)
        if isinstance(config.text, SiglipTextConfig):
            self.text = SiglipTextTower(config.text, config.projection_dim, **how)
        else:
            self.text = TextTower(config.text, config.projection_dim, **how)

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
        if frames.dtype != jnp.uint8 and not jnp.issubdtype(frames.dtype, jnp.floating):
            raise ConfigError(
                f"frames are {frames.dtype}; give uint8 in 0..255 or floats that are already preprocessed"
            )
        if frames.dtype == jnp.uint8 and isinstance(self.config.vision, ResNetConfig):
            frames = normalise(frames, self.config)  # a ViT does it with its patches
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


def check_keep(keep: tuple[int, ...] | None, config: CLIPConfig) -> None:
    """Raises ConfigError where `keep` does not name patches of the image tower in ascending order."""
    if keep is None:
        return
    count = config.num_patches
    if not keep or list(keep) != sorted(set(keep)) or keep[0] < 0 or keep[-1] >= count:
        shown = f"{str(keep)[:60]}..." if len(str(keep)) > 60 else keep
        raise ConfigError(
            f"keep {shown} has to name patches from 0 to {count - 1} in ascending order, at least one; "
            "`jaxvlm.clip.covered_patches` finds them"
        )


def random_init(config: CLIPConfig, key: jax.Array, dtype: Any = jnp.float32) -> dict:
    """Draws parameters from the distributions transformers' models start from: an untrained CLIP or SigLIP.

    They are drawn in float32 and kept in `dtype`, one by one; `logit_scale` and `logit_bias` stay float32. NumPy draws
    them on the host, in the order of the tree's paths (compiling a draw a leaf takes longer), so `key` has to be
    concrete: not under `jit`.
    """
    seed = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    rng = np.random.default_rng(np.asarray(seed).ravel())

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        names = [entry.key for entry in path]
        if config.siglip:
            value = siglip_initial(names, config, leaf.shape, rng)
        else:
            mean, std = _initial(names, config, leaf.shape)
            noise = rng.standard_normal(leaf.shape, np.float32) if std else np.zeros(leaf.shape, np.float32)
            value = mean + std * noise
        return jnp.asarray(value.astype(jnp.float32 if names[-1] in ("logit_scale", "logit_bias") else dtype))

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
