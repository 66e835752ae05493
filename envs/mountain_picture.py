"""How MountainCar looks: gymnasium's line drawing, and a textured picture of the same geometry.

Lengths are pixels of gymnasium's 600 x 400 screen, y up, so both looks put the hill, the car and the
flag in the same places.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.render import (
    Camera2D,
    box,
    circle,
    paint,
    patch_around,
    polygon,
    resample,
)

from .mountain_scenery import RESOLUTION, draw_lines, paint_scenery

SCREEN_WIDTH, SCREEN_HEIGHT = 600.0, 400.0
WHOLE_SCREEN = Camera2D(width=SCREEN_WIDTH, height=SCREEN_HEIGHT)  # the only view: the hill is a picture
LEFT_POSITION = -1.2  # at the left edge of the screen
SCREEN_PER_POSITION = SCREEN_WIDTH / 1.8
FLAG_X = 549.0  # gymnasium truncates the goal, position 0.45, to whole pixels
FLAG_BOTTOM = 329.0
HALF = 0.5  # gymnasium's shapes run through pixel centres and include their outline
CLEARANCE = 10.0  # of the plain car's axles above the curve

# Outlines of the textured car, anticlockwise: x forwards from its middle, y up from the ground.
BODY = np.array([[-32, 6], [31, 6], [33, 9], [31, 14.5], [20, 17], [-30, 17], [-33, 14]], np.float32)
CABIN = np.array([[-24, 16], [21, 16], [10, 28], [-14, 28]], np.float32)
GLASS = np.array([[-20, 16.5], [17, 16.5], [8.7, 25.8], [-12.8, 25.8]], np.float32)

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class PlainAssets:
    """The drawing without the car, and the colours of the car, RGB in [0, 1]."""

    background: Leaf  # f32[res, res, 3]
    ink: Leaf  # f32[3]
    wheel: Leaf  # f32[3]


@struct.dataclass
class TexturedAssets:
    """The painted scenery with its flag, and the colours of the car."""

    background: Leaf  # f32[res, res, 3]
    paintwork: Leaf  # f32[3]
    paintwork_shade: Leaf  # f32[3]
    glass: Leaf  # f32[3]
    lamp: Leaf  # f32[3]
    tyre: Leaf  # f32[3]
    rim: Leaf  # f32[3]


def plain_assets() -> PlainAssets:
    """Draws the curve and the flag, on the host, and takes gymnasium's colours."""
    drawing = draw_lines(*_curve_columns(), FLAG_X + HALF, FLAG_BOTTOM)
    return PlainAssets(background=jnp.asarray(drawing), ink=_rgb(0, 0, 0), wheel=_rgb(128, 128, 128))


def textured_assets() -> TexturedAssets:
    """Paints the scenery (about a second, on the host) and picks the colours of a red car."""
    return TexturedAssets(
        background=jnp.asarray(paint_scenery(*_curve_columns(), FLAG_X, FLAG_BOTTOM)),
        paintwork=_rgb(206, 26, 30),
        paintwork_shade=_rgb(112, 12, 18),
        glass=_rgb(176, 206, 228),
        lamp=_rgb(255, 240, 190),
        tyre=_rgb(26, 26, 28),
        rim=_rgb(196, 198, 202),
    )


def _curve_columns() -> tuple[np.ndarray, np.ndarray]:
    """Height and slope of the curve at the pixel columns of the painted backgrounds."""
    position = _position(SCREEN_WIDTH * (np.arange(RESOLUTION, dtype=np.float32) + 0.5) / RESOLUTION)
    height = SCREEN_PER_POSITION * (0.45 * np.sin(3.0 * position) + 0.55)
    return height, 1.35 * np.cos(3.0 * position)


def surface(screen_x: jax.Array) -> jax.Array:
    """Height of the curve above the bottom of the screen at a screen x."""
    return SCREEN_PER_POSITION * (0.45 * jnp.sin(3.0 * _position(screen_x)) + 0.55)


def slope(screen_x: jax.Array) -> jax.Array:
    """Derivative of `surface`."""
    return 1.35 * jnp.cos(3.0 * _position(screen_x))


def render_plain(
    position: Float[Array, ""], assets: PlainAssets, camera: Camera2D, size: int
) -> Float[Array, "size size 3"]:
    """gymnasium's drawing; the car leans by cos(3 position) rad, its approximation of the slope."""
    x = _screen_x(position)
    axles = jnp.stack([x, surface(x) + CLEARANCE]) + HALF
    patch = patch_around(camera, size, axles, 30.0)
    car = patch.grid.local(axles, jnp.cos(3.0 * position))
    drawing = resample(assets.background, size)
    pixels = patch.read(drawing)
    pixels = paint(pixels, box(car, jnp.asarray([0.0, 10.0]), jnp.asarray([20.5, 10.5])), assets.ink)
    pixels = paint(pixels, circle(car.mirrored(), jnp.asarray([10.0, 0.0]), 8.5), assets.wheel)
    return patch.write(drawing, pixels)


def render_textured(
    position: Float[Array, ""], assets: TexturedAssets, camera: Camera2D, size: int
) -> Float[Array, "size size 3"]:
    """The scenery with a red car, seen from its side, standing on the slope.

    The car is half as long again as the plain one and stands lower, on the ground, as in VLM-RM's picture.
    """
    x = _screen_x(position)
    ground = jnp.stack([x, surface(x)])
    angle = jnp.arctan(slope(x))
    middle = ground + 12.0 * jnp.stack([-jnp.sin(angle), jnp.cos(angle)])
    patch = patch_around(camera, size, middle, 35.0)
    car = patch.grid.local(ground, angle)
    both = car.mirrored()
    wheel = jnp.asarray([18.5, 7.0])

    scenery = resample(assets.background, size)
    pixels = patch.read(scenery)
    for coverage, colour in (
        (0.45 * box(car, jnp.asarray([0.0, -0.6]), jnp.asarray([29.0, 1.4])), assets.tyre),  # shadow
        (polygon(car, CABIN), assets.paintwork),
        (polygon(car, GLASS), assets.glass),
        (box(car, jnp.asarray([0.5, 20.0]), jnp.asarray([1.2, 6.0])), assets.paintwork),  # window post
        (polygon(car, BODY), assets.paintwork),
        (box(car, jnp.asarray([0.0, 6.6]), jnp.asarray([30.0, 1.6])), assets.paintwork_shade),  # sill
        (box(both, jnp.asarray([31.3, 12.2]), jnp.asarray([1.6, 1.8])), assets.lamp),
        (circle(both, wheel, 8.4), assets.paintwork_shade),  # wheel arches
        (circle(both, wheel, 7.2), assets.tyre),
        (circle(both, wheel, 3.8), assets.rim),
    ):
        pixels = paint(pixels, coverage, colour)
    return patch.write(scenery, pixels)


def _screen_x(position: jax.Array) -> jax.Array:
    return (position - LEFT_POSITION) * SCREEN_PER_POSITION


def _position(screen_x):
    return screen_x / SCREEN_PER_POSITION + LEFT_POSITION


def _rgb(red: int, green: int, blue: int) -> jax.Array:
    return jnp.asarray([red, green, blue], jnp.float32) / 255.0
