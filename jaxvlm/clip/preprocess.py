"""Frames of any size to what the image tower takes, as CLIP's image processor does it with Pillow, or as PyTorch."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxvlm.clip.config import CLIPConfig, Resize
from jaxvlm.clip.transformer import Frames, normalise
from jaxvlm.errors import ConfigError

MODES = ("checkpoint", "squash")
RESAMPLINGS = ("pillow", "antialiased", "aliased")


def preprocess(
    frames: Frames, config: CLIPConfig, mode: str = "checkpoint", resampling: str = "pillow"
) -> Float[Array, "batch size size 3"]:
    """Resizes, crops and normalises uint8 frames; pure, with static shapes.

    Each axis is resized by a matrix, width first. Frames of the tower's size are only normalised.

    Args:
        mode: `checkpoint` follows `preprocessor_config.json` (CLIP: shortest edge, then the centre crop);
            `squash` resizes to the tower's square whatever the aspect ratio, with the same filter.
        resampling: `pillow` rounds to whole grey levels after each axis; rounding ties may differ by one level from its
            fixed-point arithmetic. (Pillow 13 goes height first where height shrinks and width grows; that order is not
            followed.) `antialiased` and `aliased` are PyTorch's `interpolate` of float tensors with and without
            `antialias`, which may overshoot 0 and 255. VLM-RM's reference code squashes tensors, not antialiased.

    Raises ConfigError for frames that are not uint8 RGB, an unknown mode or resampling, and a crop of another size than
    the tower's.
    """
    if mode not in MODES:
        raise ConfigError(f"unknown mode {mode!r}; choose one of {', '.join(MODES)}")
    if resampling not in RESAMPLINGS:
        raise ConfigError(f"unknown resampling {resampling!r}; choose one of {', '.join(RESAMPLINGS)}")
    if frames.dtype != jnp.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ConfigError(
            f"frames are {frames.dtype}{list(frames.shape)}; preprocess takes uint8 [batch, height, width, 3]"
        )
    size, (height, width) = config.image_size, frames.shape[1:3]
    if (height, width) == (size, size):
        return normalise(frames, config)
    rule = config.resize_or_default
    if mode == "squash":
        rule = Resize(size=(size, size), resample=rule.resample)
    rows, columns = resize_matrices(height, width, rule, antialias=resampling != "aliased")
    if (len(rows), len(columns)) != (size, size):
        raise ConfigError(
            f"frames of {height}x{width} become {len(rows)}x{len(columns)} in preprocessing, but the image "
            f"tower takes {size}x{size}; draw at size {size} or use mode 'squash'"
        )
    rounded = resampling == "pillow"
    levels = _resample("vw,bhwc->bhvc", columns, jnp.asarray(frames, jnp.float32), rounded)
    levels = _resample("uh,bhvc->buvc", rows, levels, rounded)
    return normalise(levels, config)


def resize_matrices(
    height: int, width: int, rule: Resize, antialias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The matrices that resize and crop rows and columns, f32[out, height] and f32[out, width]."""
    matrix = antialiased_matrix if antialias else aliased_matrix
    if rule.size is not None:
        resized = rule.size
    elif rule.shortest_edge is not None:
        # Truncated, as transformers does.
        short, long = rule.shortest_edge, int(rule.shortest_edge * max(height, width) / min(height, width))
        resized = (short, long) if height <= width else (long, short)
    else:
        resized = (height, width)
    crop = resized if rule.crop is None else rule.crop
    return (
        _cropped(matrix(height, resized[0], rule.resample), crop[0], rule.crop_rounds),
        _cropped(matrix(width, resized[1], rule.resample), crop[1], rule.crop_rounds),
    )


def _resample(
    equation: str, matrix: np.ndarray, levels: Float[Array, "b h w c"], rounded: bool
) -> Float[Array, "b u v c"]:
    # HIGHEST: TF32 or bfloat16 passes would be off by whole grey levels.
    out = jnp.einsum(equation, matrix, levels, precision=lax.Precision.HIGHEST)
    return jnp.clip(jnp.floor(out + 0.5), 0, 255) if rounded else out


def antialiased_matrix(before: int, after: int, resample: str) -> np.ndarray:
    """Antialiased resampling of one axis, f32[after, before]; the window and the weights are Pillow's.

    Pillow, `precompute_coeffs` in `libImaging/Resample.c`: the filter is widened by the shrinking factor, its
    window is cut off at the border and the weights that are left are normalised.
    """
    kernel, support = {"bilinear": (_triangle, 1.0), "bicubic": (_cubic, 2.0)}[resample]
    scale = before / after
    widened = max(scale, 1.0)
    centre = (np.arange(after)[:, None] + 0.5) * scale
    first = np.trunc(np.maximum(centre - support * widened + 0.5, 0))
    last = np.trunc(np.minimum(centre + support * widened + 0.5, before))
    pixel = np.arange(before)[None, :]
    weights = kernel((pixel - centre + 0.5) / widened) * ((pixel >= first) & (pixel < last))
    weights /= weights.sum(1, keepdims=True)
    return np.asarray(weights, np.float32)


def aliased_matrix(before: int, after: int, resample: str) -> np.ndarray:
    """Resampling of one axis at single points, f32[after, before], as PyTorch's `interpolate(align_corners=False)`.

    Taps beyond the border are those at the border; PyTorch's cubic has a = -3/4 where Pillow's has -1/2, and its linear
    filter starts at the first pixel's centre.
    """
    place = (np.arange(after) + 0.5) * (before / after) - 0.5
    if resample == "bilinear":
        place = np.maximum(place, 0.0)
        offsets, kernel = (0, 1), _triangle
    else:
        offsets, kernel = (-1, 0, 1, 2), lambda x: _cubic(x, -0.75)
    first = np.floor(place)
    matrix = np.zeros((after, before))
    for offset in offsets:
        taps = np.clip(first + offset, 0, before - 1).astype(int)
        np.add.at(matrix, (np.arange(after), taps), kernel(place - (first + offset)))
    return np.asarray(matrix, np.float32)


def _cropped(matrix: np.ndarray, size: int, rounds: bool) -> np.ndarray:
    """The centre rows; rows beyond the matrix are zero, which draws black."""
    spare = len(matrix) - size
    index = np.arange(size) + (round(spare / 2) if rounds else spare // 2)
    inside = (index >= 0) & (index < len(matrix))
    return np.where(inside[:, None], matrix[np.clip(index, 0, len(matrix) - 1)], np.float32(0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' cubic (Keys 1981, IEEE TASSP 29)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))
