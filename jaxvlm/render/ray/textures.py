"""Textures of a model in one buffer: RGB8 packed in an int32, with mipmaps, and how they are looked up.

One gather fetches all three colours of a texel. Level `l` of a `w` x `h` image is `w >> l` texels wide, and levels lie
at offsets in closed form, so that a look-up needs no table: level 0 on the left, the others one below the other
on its right, level `l` at row `h - (h >> (l - 1))`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.render.ray.vectors import settle


@dataclass(frozen=True)
class TextureSpec:
    """Where a texture lies in the buffer of texels."""

    base: int  # index of its first texel
    width: int
    height: int  # of a face
    faces: int  # 1, or 6 of a cube: +x, -x, +y, -y, +z, -z
    levels: int

    @property
    def stride(self) -> int:
        """Texels from a row to the next."""
        return self.width + (self.width >> 1)


def _halved(image: np.ndarray) -> np.ndarray:
    """The next mipmap level [h >> 1, w >> 1, 3]: linear interpolation at the centres of its texels."""
    for axis in (0, 1):
        size = image.shape[axis]
        if size == 1:
            continue
        places = (np.arange(size >> 1) + 0.5) * size / (size >> 1) - 0.5
        low = np.clip(np.floor(places).astype(int), 0, size - 2)
        share = (places - low).reshape([-1 if i == axis else 1 for i in range(3)])
        image = np.take(image, low, axis) * (1.0 - share) + np.take(image, low + 1, axis) * share
    return image


def pack(images: Sequence[np.ndarray]) -> tuple[tuple[TextureSpec, ...], np.ndarray]:
    """Lays textures with their mipmaps into one buffer.

    Args:
      images: u8[faces, h, w, 3] each.

    Returns:
      Where they lie, and the texels, i32[n], red in the lowest byte.
    """
    specs, blocks, base = [], [], 0
    for image in images:
        faces, height, width, _ = image.shape
        levels = max(width, height).bit_length()
        spec = TextureSpec(base, width, height, faces, levels)
        block = np.zeros((faces, height, spec.stride, 3), np.float64)
        for face in range(faces):
            level = image[face].astype(np.float64)
            for index in range(levels):
                column, row = (width, height - (height >> (index - 1))) if index else (0, 0)
                if row + level.shape[0] > height or column + level.shape[1] > spec.stride:
                    levels = index  # the last levels of a long and thin picture
                    break
                block[face, row : row + level.shape[0], column : column + level.shape[1]] = level
                level = np.round(_halved(level))
        specs.append(TextureSpec(base, width, height, faces, levels))
        red, green, blue = np.moveaxis(np.round(block).astype(np.int32), -1, 0)
        blocks.append((red | green << 8 | blue << 16).ravel())
        base += blocks[-1].size
    return tuple(specs), np.concatenate(blocks) if blocks else np.zeros(1, np.int32)


def mip_level(footprint2: jax.Array, levels: jax.Array | int) -> jax.Array:
    """The nearest mipmap level for a pixel that covers sqrt(`footprint2`) texels of level 0.

    Round(log2(sqrt(x))) is read from the exponent of the float; no logarithm is computed.
    """
    exponent = (jax.lax.bitcast_convert_type(footprint2, jnp.int32) >> 23) - 127
    return jnp.clip((exponent + 1) >> 1, 0, levels - 1)


def fetch(
    texels: jax.Array,
    base: jax.Array,
    size: tuple[jax.Array, jax.Array],
    u: jax.Array,
    v: jax.Array,
    level: jax.Array,
    repeat: jax.Array | bool,
    one: jax.Array,
) -> jax.Array:
    """RGB8 packed in u32, interpolated linearly between four texels of a mipmap level.

    Args:
      texels: i32[n].
      base: index of the face's first texel.
      size: width and height of the face at level 0.
      u: place in the picture, left to right in [0, 1]; any place where it repeats.
      v: from the first row to the last.
      level: mipmap level.
      repeat: whether the picture repeats (2-D) or ends at its edges (cube).
      one: of `keep`.
    """
    width, height = size
    stride = width + (width >> 1)
    later = level > 0
    first = base + jnp.where(later, width + (height - (height >> jnp.maximum(level - 1, 0))) * stride, 0)

    def taps(place: jax.Array, extent: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        x = jnp.where(repeat, place - jnp.floor(place), place) * extent.astype(jnp.float32) - 0.5
        low = jnp.floor(x)
        share = x - low
        low = low.astype(jnp.int32)
        last = extent - 1
        high = low + 1
        high = jnp.where(high > last, jnp.where(repeat, 0, last), high)
        low = jnp.where(low < 0, jnp.where(repeat, last, 0), low)
        return jnp.minimum(low, last), jnp.maximum(high, 0), share

    x0, x1, fx = taps(u, jnp.maximum(width >> level, 1))
    y0, y1, fy = taps(v, jnp.maximum(height >> level, 1))
    row0, row1 = first + y0 * stride, first + y1 * stride
    weight_x = jnp.round(fx * 256.0).astype(jnp.uint32)
    weight_y = jnp.round(fy * 256.0).astype(jnp.uint32)

    def between(a: jax.Array, b: jax.Array, weight: jax.Array) -> jax.Array:
        """Red and blue in one product, green in another: 8 bits of colour times 9 bits of weight fit 16."""
        both = (a & 0xFF00FF) * (256 - weight) + (b & 0xFF00FF) * weight
        green = (a & 0x00FF00) * (256 - weight) + (b & 0x00FF00) * weight
        return (((both + 0x800080) >> 8) & 0xFF00FF) | (((green + 0x8000) >> 8) & 0x00FF00)

    # Alone in their loops: without AVX-512 one gather keeps everything that shares its loop out of vector lanes.
    *places, weight_x, weight_y = settle(
        (row0 + x0, row0 + x1, row1 + x0, row1 + x1, weight_x, weight_y), one
    )
    c00, c01, c10, c11 = (
        c.astype(jnp.uint32)
        for c in settle(tuple(texels.at[i].get(mode="promise_in_bounds") for i in places), one)
    )
    return between(between(c00, c01, weight_x), between(c10, c11, weight_x), weight_y)


def unpack(packed: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Red, green and blue in [0, 1] of RGB8."""
    red, green, blue = (((packed >> shift) & 255).astype(jnp.float32) * (1.0 / 255.0) for shift in (0, 8, 16))
    return red, green, blue
