"""A 2-D canvas of signed distance functions, drawn antialiased on a square frame.

Shapes are given in the units of the camera's view box, y up, and return coverage: the share of each
pixel that they hide, float32[size, size] in [0, 1]. A pixel need not be square in view units (a 3:2 view
on a square frame is squashed), so every signed distance is divided by the width of a pixel along its own
gradient, and what is thinner than a pixel keeps its exact share of it. All functions are pure and
unbatched; shape parameters may be traced.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, ArrayLike, Float


@struct.dataclass
class Camera2D:
    """The rectangle of the view that fills a frame, in view units with y up."""

    left: ArrayLike = 0.0  # f32[]
    bottom: ArrayLike = 0.0  # f32[]
    width: ArrayLike = 1.0  # f32[]
    height: ArrayLike = 1.0  # f32[]


@struct.dataclass
class Grid:
    """Pixel centres in view units, as a row and a column so that what depends on one axis is cheap."""

    x: Float[Array, "1 size"]  # left to right
    y: Float[Array, "size 1"]  # top row first, y up
    pixel_width: Float[Array, ""]
    pixel_height: Float[Array, ""]


def pixel_grid(camera: Camera2D, size: int) -> Grid:
    """The centres of the pixels of a square frame that shows `camera`'s rectangle."""
    steps = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    return Grid(
        x=(camera.left + camera.width * steps)[None, :],
        y=(camera.bottom + camera.height * (1.0 - steps))[:, None],
        pixel_width=jnp.asarray(camera.width / size, jnp.float32),
        pixel_height=jnp.asarray(camera.height / size, jnp.float32),
    )


def half_plane(
    grid: Grid, point: Float[Array, " 2"], normal: Float[Array, " 2"]
) -> Float[Array, "size size"]:
    """Coverage of the side of the line through `point` that `normal`, of any length, points away from."""
    return jnp.clip(0.5 - _line_distance(grid, point, normal), 0.0, 1.0)


def box(
    grid: Grid, center: Float[Array, " 2"], half_size: Float[Array, " 2"], angle: ArrayLike = 0.0
) -> Float[Array, "size size"]:
    """Coverage of a rectangle turned by `angle` rad, anticlockwise."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    along, across = jnp.stack([cos, sin]), jnp.stack([-sin, cos])
    return _slab(grid, center, along, half_size[0]) * _slab(grid, center, across, half_size[1])


def segment(
    grid: Grid, start: Float[Array, " 2"], end: Float[Array, " 2"], width: ArrayLike
) -> Float[Array, "size size"]:
    """Coverage of a straight stroke of `width` view units with flat ends; start and end must differ."""
    half = 0.5 * (end - start)
    length = jnp.sqrt(jnp.sum(half**2))
    along = half / length
    across = jnp.stack([-along[1], along[0]])
    center = 0.5 * (start + end)
    return _slab(grid, center, along, length) * _slab(grid, center, across, 0.5 * jnp.asarray(width))


def circle(grid: Grid, center: Float[Array, " 2"], radius: ArrayLike) -> Float[Array, "size size"]:
    """Coverage of a disc."""
    dx, dy = grid.x - center[0], grid.y - center[1]
    squared = dx * dx + dy * dy
    # |p| - r over the footprint along p/|p|; written so that the centre is finite.
    footprint = jnp.sqrt((dx * grid.pixel_width) ** 2 + (dy * grid.pixel_height) ** 2)
    distance = (squared - radius * jnp.sqrt(squared)) / jnp.maximum(footprint, 1e-6)
    # At the very centre the quotient is 0/0; there the disc covers the pixel as far as it reaches.
    coverage = jnp.where(squared < 1e-9, 1.0, jnp.clip(0.5 - distance, 0.0, 1.0))
    return coverage * jnp.minimum(1.0, jnp.pi * radius**2 / (grid.pixel_width * grid.pixel_height))


def polygon(grid: Grid, vertices: Float[Array, "n 2"]) -> Float[Array, "size size"]:
    """Coverage of a convex polygon, its vertices anticlockwise.

    What the edges cut off a pixel is added up: exact where no two edges cut the same corner of it,
    slivers thinner than a pixel included.
    """
    cut = 0.0
    for i in range(vertices.shape[0]):
        edge = vertices[(i + 1) % vertices.shape[0]] - vertices[i]
        outward = jnp.stack([edge[1], -edge[0]])
        cut = cut + jnp.clip(0.5 + _line_distance(grid, vertices[i], outward), 0.0, 1.0)
    return jnp.maximum(1.0 - cut, 0.0)


def curve(
    grid: Grid, height: Float[Array, "1 size"], slope: Float[Array, "1 size"], width: ArrayLike
) -> Float[Array, "size size"]:
    """Coverage of a stroke of `width` along y = height(x), with dheight/dx = slope, per pixel column."""
    across = 1.0 / jnp.sqrt(1.0 + slope**2)
    pixel = across * jnp.sqrt((slope * grid.pixel_width) ** 2 + grid.pixel_height**2)
    distance = (grid.y - height) * (across / pixel)
    return _overlap(distance, 0.5 * jnp.asarray(width) / pixel)


def _line_distance(grid: Grid, point: jax.Array, normal: jax.Array) -> jax.Array:
    """Signed distance in pixels to the line through `point`, positive along `normal`."""
    per_pixel = jnp.sqrt((normal[0] * grid.pixel_width) ** 2 + (normal[1] * grid.pixel_height) ** 2)
    normal = normal / per_pixel
    return (grid.x - point[0]) * normal[0] + (grid.y - point[1]) * normal[1]


def _slab(grid: Grid, center: jax.Array, normal: jax.Array, half_width: ArrayLike) -> jax.Array:
    """Coverage of the band within `half_width` of `center` along the unit vector `normal`."""
    per_pixel = jnp.sqrt((normal[0] * grid.pixel_width) ** 2 + (normal[1] * grid.pixel_height) ** 2)
    return _overlap(_line_distance(grid, center, normal), half_width / per_pixel)


def _overlap(distance: jax.Array, half_width: ArrayLike) -> jax.Array:
    """Length that [-half_width, half_width] shares with the unit interval around `distance`."""
    return jnp.clip(0.5 + half_width - jnp.abs(distance), 0.0, jnp.minimum(1.0, 2.0 * half_width))
