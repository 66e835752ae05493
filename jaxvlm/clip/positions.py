"""ViTs on frames of another size than they were trained with: their positional embeddings, resampled."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from jaxvlm.clip.config import MOST_PIXELS, CLIPConfig, Resize, ResNetConfig
from jaxvlm.clip.preprocess import aliased_matrix, antialiased_matrix
from jaxvlm.errors import ConfigError

# What each library does with its positional embeddings: OpenCLIP's `resize_pos_embed`, `interpolate_pos_encoding` of
# transformers' CLIPModel. Both are bicubic; only the first is antialiased, and their cubics differ.
_MATRICES: dict[str, Callable[[int, int, str], np.ndarray]] = {
    "openclip": antialiased_matrix,
    "transformers": aliased_matrix,
}


def resize_config(config: CLIPConfig, image_size: int) -> CLIPConfig:
    """The config of the same ViT on square frames of `image_size` pixels; its preprocessing ends at that size too.

    Raises ConfigError for a size that does not divide into patches and for residual networks.
    """
    vision = config.vision
    if isinstance(vision, ResNetConfig):
        raise ConfigError(
            f"the image tower is a residual network, which takes frames of {vision.image_size} pixels and not of "
            f"{image_size}; leave the size out, or choose a ViT"
        )
    if image_size == vision.image_size:
        return config
    patch = vision.patch_size
    if not patch <= image_size <= MOST_PIXELS:
        raise ConfigError(
            f"frames of {image_size} pixels cannot be taken; give a side from {patch} to {MOST_PIXELS} pixels"
        )
    if image_size % patch:
        near = image_size // patch * patch
        raise ConfigError(
            f"frames of {image_size} pixels do not divide into the {patch} x {patch} patches of this CLIP; take "
            f"{near} or {near + patch}"
        )
    rule = config.resize and _scaled(config.resize, image_size, vision.image_size)
    return replace(config, vision=replace(vision, image_size=image_size), resize=rule)


def resize_positions(
    config: CLIPConfig, params: Mapping, image_size: int, convention: str = "openclip"
) -> tuple[CLIPConfig, dict]:
    """A ViT for square frames of `image_size` pixels: its config and parameters with resampled positional embeddings.

    The grid of patches is resampled and the class token keeps its embedding. All other parameters are shared with
    `params`. Fewer patches cost less: 168 pixels take 0.55 of the arithmetic of 224 in L/14. How much accuracy a size
    costs has to be measured for each use, with `jaxvlm clip check --clip-size` for one.

    Args:
        config: of the checkpoint.
        params: `{"params": ...}` as `load` returns it.
        image_size: side of the new frames in pixels, a multiple of the patch.
        convention: `openclip` resamples as OpenCLIP does (`resize_pos_embed`: bicubic, antialiased), `transformers` as
            CLIPModel does (`interpolate_pos_encoding`: bicubic, a = -3/4, not antialiased).

    Raises ConfigError for an unknown convention, a size that does not divide into patches and residual networks.
    """
    if convention not in _MATRICES:
        raise ConfigError(f"unknown convention {convention!r}; choose one of {', '.join(_MATRICES)}")
    resized = resize_config(config, image_size)
    if resized is config:
        return config, dict(params)
    before, after = (x.image_size // x.patched.patch_size for x in (config, resized))
    tree = dict(params["params"])
    pos = tree["visual"]["pos"]
    table = np.asarray(pos, np.float32)
    first = len(table) - before**2  # tokens that are no patch
    matrix = _MATRICES[convention](before, after, "bicubic")
    grid = np.einsum(
        "uh,vw,hwd->uvd", matrix, matrix, table[first:].reshape(before, before, -1), optimize=True
    )
    table = np.concatenate([table[:first], grid.reshape(after**2, -1)])
    tree["visual"] = {**tree["visual"], "pos": jnp.asarray(table.astype(pos.dtype))}
    return resized, {**params, "params": tree}


def _scaled(rule: Resize, after: int, before: int) -> Resize:
    """A checkpoint's own preprocessing for frames of another size; what it crops away stays the same share."""

    def scale(size: int) -> int:
        return max(1, round(size * after / before))

    def pair(sizes: tuple[int, int] | None) -> tuple[int, int] | None:
        return sizes and (scale(sizes[0]), scale(sizes[1]))

    edge = rule.shortest_edge and scale(rule.shortest_edge)
    return replace(rule, shortest_edge=edge, size=pair(rule.size), crop=pair(rule.crop))
