"""The embedded CLIP itself: its architecture, where its training starts, and how its input is centred."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from jaxvlm.clip.config import CLIPConfig, Resize, TextConfig, VisionConfig
from jaxvlm.clip.model import random_init
from jaxvlm.clip.tokenizer import Tokenizer
from jaxvlm.clip.train_config import ClipTrainConfig
from jaxvlm.errors import ConfigError

HEAD = 32  # channels of an attention head; a narrower tower has one head


def validate_sizes(config: ClipTrainConfig) -> None:
    """Raises `ConfigError`, in the words of the training's settings, for sizes that no towers can have."""
    for name in (
        "image_size",
        "patch_size",
        "width",
        "layers",
        "text_width",
        "text_layers",
        "context",
        "projection",
    ):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}; give at least 1")
    if config.image_size % config.patch_size:
        raise ConfigError(
            f"image_size {config.image_size} is not a multiple of patch_size {config.patch_size}; "
            "change one of them"
        )
    for name in ("width", "text_width"):
        width = getattr(config, name)
        if width % _heads(width):
            raise ConfigError(
                f"{name} {width} does not divide into {_heads(width)} attention heads; "
                f"give a multiple of {HEAD}"
            )


def clip_config(
    config: ClipTrainConfig, tokenizer: Tokenizer, image_mean: tuple[float, float, float]
) -> CLIPConfig:
    """The architecture of an embedded CLIP; frames of another size are squashed, as VLM-RM does.

    Raises `ConfigError` for sizes that no towers can have.
    """
    validate_sizes(config)
    if tokenizer.bos_id is None or tokenizer.eos_id is None:
        raise ConfigError("the tokenizer adds no first and last token; give one of build_word_tokenizer")
    size = config.image_size
    return CLIPConfig(
        vision=VisionConfig(
            hidden_size=config.width,
            intermediate_size=4 * config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=_heads(config.width),
            image_size=size,
            patch_size=config.patch_size,
            hidden_act="quick_gelu",
        ),
        text=TextConfig(
            vocab_size=tokenizer.vocab_size,
            hidden_size=config.text_width,
            intermediate_size=4 * config.text_width,
            num_hidden_layers=config.text_layers,
            num_attention_heads=_heads(config.text_width),
            max_position_embeddings=config.context,
            hidden_act="quick_gelu",
            pad_token_id=tokenizer.pad_id,
            bos_token_id=tokenizer.bos_id,
            eos_token_id=tokenizer.eos_id,
        ),
        projection_dim=config.projection,
        image_mean=image_mean,
        image_std=(config.image_std, config.image_std, config.image_std),
        resize=Resize(size=(size, size)),
    )


def init_params(config: CLIPConfig, key: jax.Array) -> dict:
    """Start of training: patch filters blind to flat colour, large embeddings, residual branches scaled down.

    CLIP's own small initial embeddings leave the pictures of one scene nearly parallel; training them stalls.
    """
    params = random_init(config, key)
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves))
    fresh = []
    for (path, leaf), leaf_key in zip(leaves, keys, strict=True):
        names = [str(entry.key) for entry in path]  # pyright: ignore[reportAttributeAccessIssue]
        if names[-1] in ("token", "pos", "cls"):
            leaf = 0.5 * jax.random.normal(leaf_key, leaf.shape)
        elif names[-1] == "kernel":
            leaf = jax.random.normal(leaf_key, leaf.shape) * leaf.shape[0] ** -0.5
            layers = config.vit.num_hidden_layers if "visual" in names else config.text.num_hidden_layers
            if names[-2] == "patch":
                leaf = 2.0 * (leaf - jnp.mean(leaf, axis=0))
            elif names[-2] in ("out", "fc2"):
                leaf = leaf * (2 * layers) ** -0.5
        fresh.append(leaf)
    return jax.tree_util.tree_unflatten(tree, fresh)


def centred(
    frames: UInt8[Array, "n h w 3"], mean_frame: Float[Array, "h w 3"], image_std: float
) -> Float[Array, "n h w 3"]:
    """Frames as the image tower is trained on them: the mean frame off, divided by `image_std`."""
    return (frames.astype(jnp.float32) / 255 - mean_frame) / image_std


def augmented(key: jax.Array, frames: UInt8[Array, "n h w 3"], strength: float) -> UInt8[Array, "n h w 3"]:
    """Frames as another renderer might give them: brighter or darker, and with softer edges.

    A picture's gain is 1 +- `strength`, that of its bottom row relative to its top row another +- `strength`, its
    offset +- `strength` / 4 of white, each drawn uniformly. Half of the pictures are blurred, whatever the strength:
    a 3 x 3 binomial kernel is mixed in by up to 0.6.
    """
    count, height = frames.shape[:2]
    draw = jax.random.uniform(key, (4, count, 1, 1, 1), minval=-1.0)
    x = frames.astype(jnp.float32) / 255
    blurred = x
    for axis in (1, 2):
        edge = [(1, 1) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(blurred, edge, mode="edge")
        before = jax.lax.slice_in_dim(padded, 0, x.shape[axis], axis=axis)
        after = jax.lax.slice_in_dim(padded, 2, x.shape[axis] + 2, axis=axis)
        blurred = 0.5 * blurred + 0.25 * (before + after)
    x = x + 0.6 * jnp.maximum(draw[3], 0.0) * (blurred - x)
    row = jnp.linspace(-0.5, 0.5, height)[:, None, None]
    x = x * (1 + strength * (draw[0] + draw[1] * row)) + 0.25 * strength * draw[2]
    return jnp.round(255 * jnp.clip(x, 0.0, 1.0)).astype(jnp.uint8)


def fold_mean_frame(params: dict, config: CLIPConfig, mean_frame: Float[Array, "h w 3"]) -> dict:
    """Moves the mean frame from the input into the position embeddings, so that the file is a plain
    CLIPModel.

    `W (x - mean_frame) / std = W (x - mean) / std - W (mean_frame - mean) / std`, the last term one
    constant a patch. It is computed from the kernel as given: round to the dtype of the file first, fold
    second.
    """
    visual = params["params"]["visual"]
    size, patch = config.image_size, config.vit.patch_size
    side = size // patch
    shift = (mean_frame - jnp.asarray(config.image_mean)) / jnp.asarray(config.image_std)
    shift = shift.reshape(side, patch, side, patch, 3).transpose(0, 2, 1, 3, 4).reshape(side * side, -1)
    shift = jnp.matmul(shift, visual["patch"]["kernel"].astype(jnp.float32), precision="highest")
    pos = visual["pos"].astype(jnp.float32).at[1:].add(-shift).astype(visual["pos"].dtype)
    return {"params": {**params["params"], "visual": {**visual, "pos": pos}}}


def _heads(width: int) -> int:
    return max(1, width // HEAD)
