"""How many tokens and how much memory an image takes."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jaxvlm.clip.config import CLIPConfig, ResNetConfig
from jaxvlm.clip.layers import fused
from jaxvlm.errors import ConfigError


def covered_patches(
    frames: UInt8[np.ndarray, "n size size 3"], patch_size: int, margin: int = 1
) -> tuple[int, ...]:
    """The patches in which frames of one scene and camera ever differ, for `CLIP(config, keep=...)`.

    Where nothing of a scene ever passes, every frame shows the same, and a ViT can leave the patch out. What it was
    trained on had all of them, so compare rewards with and without.

    Args:
        frames: of states as different as the task allows, from a camera that does not move.
        patch_size: side of a patch, pixels.
        margin: rings of patches around those that are covered which are kept as well.

    Returns:
        Patch numbers row by row from 0, ascending. Raises ConfigError where frames hold no patch or all are the same.
    """
    if frames.ndim != 4 or frames.shape[1] != frames.shape[2] or frames.shape[1] < patch_size:
        raise ConfigError(
            f"frames of shape {frames.shape} hold no patches of {patch_size} pixels; give uint8 [n, size, size, 3]"
        )
    side = frames.shape[1] // patch_size
    frames = frames[
        :, : side * patch_size, : side * patch_size
    ]  # what does not fill a patch is not looked at
    differs = (frames != frames[:1]).any((0, 3))
    covered = differs.reshape(side, patch_size, side, patch_size).any((1, 3))
    if not covered.any():
        raise ConfigError(f"the {len(frames)} frames are all the same; give states that differ")
    wide = np.pad(covered, margin)
    ring = range(2 * margin + 1)
    covered = np.any([wide[i : i + side, j : j + side] for i in ring for j in ring], axis=0)
    return tuple(np.flatnonzero(covered).tolist())


def image_bytes(
    config: CLIPConfig, dtype: Any, attention: str = "auto", keep: tuple[int, ...] | None = None
) -> int:
    """Device memory that encoding takes for each image of a large batch, in bytes, weights aside.

    What is alive at once in the hungriest place: the patches before the first block; in the MLP its input and what fc1
    gives; in attention queries, keys and values, and, without a fused kernel, their transposes, the scores in float32
    and the weights. XLA plans what the formula says, or up to a fifth less (ViT-B/32 to bigG/14); tuned on an H200,
    with its libraries' workspaces, 1.1 to 1.4 times as much.
    """
    vision, number = config.vision, jnp.dtype(dtype).itemsize
    if isinstance(vision, ResNetConfig):
        # The stem: three maps of a quarter of the pixels, float32.
        return 3 * vision.width * (vision.image_size // 2) ** 2 * 4
    tokens = vision.num_positions - (0 if keep is None else config.num_patches - len(keep))
    head = vision.hidden_size // vision.num_attention_heads
    width = vision.hidden_size
    pixels = 3 * vision.image_size**2
    patches = (2 if number == 4 else 1) * pixels * number + 2 * tokens * width * number
    mlp = tokens * (4 * width + vision.intermediate_size) * number
    attending = 4 * tokens * width * number
    if not fused(attention, dtype, tokens, head):
        attending += 3 * tokens * width * number
        attending += vision.num_attention_heads * tokens * tokens * (4 + number)
    return max(patches, mlp, attending)
