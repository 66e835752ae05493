"""A 2-D canvas of signed distance functions, drawn antialiased on a square frame.

Shapes are given in the units of the camera's view box, y up, and return coverage: the share of each
pixel that they hide, float32[h, w] in [0, 1]. A pixel need not be square in view units (a 3:2 view
on a square frame is squashed), so every signed distance is divided by the width of a pixel along its own
gradient, and what is thinner than a pixel keeps its exact share of it. All functions are pure and
unbatched; shape parameters may be traced. For a turned shape, draw an upright one on `grid.local(...)`.

Per pixel there are only sums, products and clips. XLA takes a root or a quotient for expensive and stores it
rather than repeat it in each colour channel, and those stores cost more than all the arithmetic does.
"""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class Camera2D:
    """The rectangle of the view that fills a frame, in view units with y up; its extent is static."""

    left: Leaf = 0.0  # f32[]
    bottom: Leaf = 0.0  # f32[]
    width: float = struct.field(pytree_node=False, default=1.0)
    height: float = struct.field(pytree_node=False, default=1.0)


@struct.dataclass
class Grid:
    """Pixel centres, as a row and a column where axes allow, so that what depends on one axis is cheap.

    The metric says how wide a pixel is along a unit vector (a, b): sqrt(xx a^2 + 2 xy a b + yy b^2).
    """

    x: Leaf  # f32[rows, size], left to right; one row when not turned
    y: Leaf  # f32[size, columns], top row first, y up; one column when not turned
    xx: Leaf  # f32[]
    xy: Leaf  # f32[*pixels]
    yy: Leaf  # f32[]
    pixel_area: Leaf  # f32[]

    def pixel_along(self, a: float | Array, b: float | Array) -> jax.Array:
        """Width of a pixel along the vector (a, b), times that vector's length."""
        return jnp.sqrt(self.xx * a * a + 2.0 * self.xy * a * b + self.yy * b * b)

    def local(self, origin: Float[Array, " 2"], angle: float | Array) -> "Grid":
        """The same pixels in coordinates with this origin, turned anticlockwise by `angle` rad."""
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        x, y = self.x - origin[0], self.y - origin[1]
        return Grid(
            x=cos * x + sin * y,
            y=cos * y - sin * x,
            xx=self.pixel_along(cos, sin) ** 2,
            xy=(self.yy - self.xx) * sin * cos + self.xy * (cos**2 - sin**2),
            yy=self.pixel_along(-sin, cos) ** 2,
            pixel_area=self.pixel_area,
        )

    def mirrored(self) -> "Grid":
        """Folds the left half plane onto the right one: what is drawn at x appears at -x too."""
        return replace(self, x=jnp.abs(self.x), xy=self.xy * jnp.sign(self.x))


def pixel_grid(camera: Camera2D, size: int) -> Grid:
    """The centres of the pixels of a square frame that shows `camera`'s rectangle."""
    steps = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    pixel_width, pixel_height = camera.width / size, camera.height / size
    return Grid(
        x=(camera.left + camera.width * steps)[None, :],
        y=(camera.bottom + camera.height * (1.0 - steps))[:, None],
        xx=jnp.float32(pixel_width**2),
        xy=jnp.float32(0.0),
        yy=jnp.float32(pixel_height**2),
        pixel_area=jnp.float32(pixel_width * pixel_height),
    )


@struct.dataclass
class Patch:
    """A window of a frame: what moves is small, and the rest of the frame need not be drawn again."""

    grid: Grid
    row: Leaf  # i32[], of its top left pixel
    column: Leaf  # i32[]

    def read(self, frame: Float[Array, "size size 3"]) -> Float[Array, "rows columns 3"]:
        """The pixels of `frame` under the window."""
        shape = (self.grid.y.shape[0], self.grid.x.shape[1], 3)
        return jax.lax.dynamic_slice(frame, (self.row, self.column, 0), shape)

    def write(
        self, frame: Float[Array, "size size 3"], pixels: Float[Array, "rows columns 3"]
    ) -> Float[Array, "size size 3"]:
        """`frame` with `pixels` in place of those under the window."""
        return jax.lax.dynamic_update_slice(frame, pixels, (self.row, self.column, 0))


def patch_around(camera: Camera2D, size: int, center: Float[Array, " 2"], radius: float) -> Patch:
    """The window that holds a disc with its antialiased rim, so far as it lies in the frame.

    `center` may be traced; `radius` is static, as it decides the shape of the window.
    """
    grid = pixel_grid(camera, size)
    columns = min(size, math.ceil(2.0 * radius * size / camera.width) + 3)
    rows = min(size, math.ceil(2.0 * radius * size / camera.height) + 3)
    across = (center[0] - camera.left) * (size / camera.width)
    down = size - (center[1] - camera.bottom) * (size / camera.height)
    column = jnp.clip(jnp.round(across - 0.5 * columns).astype(jnp.int32), 0, size - columns)
    row = jnp.clip(jnp.round(down - 0.5 * rows).astype(jnp.int32), 0, size - rows)
    window = replace(
        grid,
        x=jax.lax.dynamic_slice(grid.x, (0, column), (1, columns)),
        y=jax.lax.dynamic_slice(grid.y, (row, 0), (rows, 1)),
    )
    return Patch(grid=window, row=row, column=column)


def box(grid: Grid, center: Float[Array, " 2"], half_size: Float[Array, " 2"]) -> Float[Array, "h w"]:
    """Coverage of an upright rectangle."""
    per_width, per_height = jax.lax.rsqrt(grid.xx), jax.lax.rsqrt(grid.yy)
    columns = _overlap((grid.x - center[0]) * per_width, half_size[0] * per_width)
    return columns * _overlap((grid.y - center[1]) * per_height, half_size[1] * per_height)


def circle(grid: Grid, center: Float[Array, " 2"], radius: float | Array) -> Float[Array, "h w"]:
    """Coverage of a disc."""
    x, y = grid.x - center[0], grid.y - center[1]
    # Near the rim the signed distance is (|p|^2 - r^2) / 2r, and the squared width of a pixel along p
    # is q = metric(p, p) / r^2. 1/sqrt(q) by Newton's method, from the mean over all directions; away from
    # the rim any positive value does, and the bounds on q keep it positive.
    mean = 0.5 * (grid.xx + grid.yy)
    ratio = (grid.xx * x * x + 2.0 * grid.xy * x * y + grid.yy * y * y) * (1.0 / (radius**2 * mean))
    ratio = jnp.clip(ratio, 0.3, 2.2)
    inverse = 1.5 - 0.5 * ratio
    for _ in range(2):
        inverse = inverse * (1.5 - 0.5 * ratio * inverse * inverse)
    distance = (x * x + y * y - radius**2) * (0.5 / (radius * jnp.sqrt(mean))) * inverse
    # A disc smaller than a pixel covers what its area is, not what the distance at its middle says.
    middle = jnp.minimum(1.0, 0.5 + 0.9 * radius * jax.lax.rsqrt(mean))
    share = jnp.minimum(1.0, jnp.pi * radius**2 / grid.pixel_area)
    return jnp.clip(0.5 - distance, 0.0, 1.0) * (share / middle)


def polygon(grid: Grid, vertices: Float[Array | np.ndarray, "n 2"]) -> Float[Array, "h w"]:
    """Coverage of a convex polygon, its vertices anticlockwise.

    What the edges cut off a pixel is added up: exact where no two edges cut the same corner of it,
    slivers thinner than a pixel included.
    """
    start = jnp.asarray(vertices, jnp.float32)
    edge = jnp.roll(start, -1, axis=0) - start
    lines = _lines(grid, start, jnp.stack([edge[:, 1], -edge[:, 0]], axis=1))
    cut = sum(jnp.clip(0.5 + _distance(grid, line), 0.0, 1.0) for line in lines)
    return jnp.maximum(1.0 - cut, 0.0)


def curve(
    grid: Grid, height: Float[Array, "1 w"], slope: Float[Array, "1 w"], width: float | Array
) -> Float[Array, "h w"]:
    """Coverage of a stroke of `width` along y = height(x), with dheight/dx = slope, per pixel column."""
    per_pixel = 1.0 / grid.pixel_along(-slope, 1.0)
    half_width = 0.5 * jnp.asarray(width) * jnp.sqrt(1.0 + slope**2) * per_pixel
    return _overlap((grid.y - height) * per_pixel, half_width)


def _lines(grid: Grid, points: jax.Array, normals: jax.Array) -> jax.Array:
    """Coefficients [n, 3] of the lines through `points`, for signed distances in pixels along `normals`."""
    a, b = normals[:, 0], normals[:, 1]
    per_pixel = 1.0 / grid.pixel_along(a, b)
    return jnp.stack([a, b, -(points[:, 0] * a + points[:, 1] * b)], axis=1) * per_pixel[:, None]


def _distance(grid: Grid, line: jax.Array) -> jax.Array:
    return grid.x * line[0] + grid.y * line[1] + line[2]


def _overlap(distance: jax.Array, half_width: float | Array) -> jax.Array:
    """Length that [-half_width, half_width] shares with the unit interval around `distance`."""
    return jnp.clip(0.5 + half_width - jnp.abs(distance), 0.0, jnp.minimum(1.0, 2.0 * half_width))
