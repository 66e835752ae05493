"""How MountainCar looks: gymnasium's line drawing, and a textured picture of the same geometry.

Lengths are pixels of gymnasium's 600 x 400 screen, y up, so both looks put the hill, the car and the
flag in the same places.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.render import Camera2D, Grid, box, circle, curve, paint, pixel_grid, polygon, resample

from .mountain_scenery import paint_scenery

SCREEN_WIDTH, SCREEN_HEIGHT = 600.0, 400.0
LEFT_POSITION = -1.2  # at the left edge of the screen
SCREEN_PER_POSITION = SCREEN_WIDTH / 1.8
FLAG_X = 549.0  # gymnasium truncates the goal, position 0.45, to whole pixels
FLAG_BOTTOM = 329.0
CLEARANCE = 10.0  # of the plain car's axles above the curve


@struct.dataclass
class PlainAssets:
    """Colours of the plain look, RGB in [0, 1]."""

    background: Float[Array, " 3"]
    ink: Float[Array, " 3"]  # the curve, the car, the flag pole
    wheel: Float[Array, " 3"]
    flag: Float[Array, " 3"]


@struct.dataclass
class TexturedAssets:
    """The painted scenery with its flag, and the colours of the car."""

    background: Float[Array, "res res 3"]
    paintwork: Float[Array, " 3"]
    paintwork_shade: Float[Array, " 3"]
    glass: Float[Array, " 3"]
    trim: Float[Array, " 3"]  # bumpers, window posts
    tyre: Float[Array, " 3"]
    rim: Float[Array, " 3"]
    headlight: Float[Array, " 3"]
    tail_light: Float[Array, " 3"]


def plain_assets() -> PlainAssets:
    """gymnasium's colours."""
    return PlainAssets(
        background=_rgb(255, 255, 255), ink=_rgb(0, 0, 0), wheel=_rgb(128, 128, 128), flag=_rgb(204, 204, 0)
    )


def textured_assets() -> TexturedAssets:
    """Paints the scenery (about a second, on the host) and picks the colours of a red car."""
    return TexturedAssets(
        background=jnp.asarray(paint_scenery()),
        paintwork=_rgb(200, 24, 28),
        paintwork_shade=_rgb(120, 10, 16),
        glass=_rgb(188, 214, 232),
        trim=_rgb(40, 40, 44),
        tyre=_rgb(24, 24, 26),
        rim=_rgb(190, 192, 196),
        headlight=_rgb(255, 244, 190),
        tail_light=_rgb(255, 70, 50),
    )


def surface(screen_x: jax.Array) -> jax.Array:
    """Height of the curve above the bottom of the screen at a screen x."""
    return SCREEN_PER_POSITION * (0.45 * jnp.sin(3.0 * _position(screen_x)) + 0.55)


def slope(screen_x: jax.Array) -> jax.Array:
    """Derivative of `surface`."""
    return 1.35 * jnp.cos(3.0 * _position(screen_x))


def render_plain(
    position: Float[Array, ""], assets: PlainAssets, camera: Camera2D, size: int
) -> Float[Array, "size size 3"]:
    """gymnasium's drawing; the car leans by cos(3 position) rad, which is its approximation of the slope."""
    grid = pixel_grid(camera, size)
    angle = jnp.cos(3.0 * position)
    axles = _on_curve(position, CLEARANCE)
    up = jnp.stack([-jnp.sin(angle), jnp.cos(angle)])
    along = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    # Half pixels: gymnasium's shapes run through pixel centres and include their outline.
    frame = jnp.broadcast_to(assets.background, (size, size, 3))
    frame = paint(frame, curve(grid, surface(grid.x) + 0.5, slope(grid.x), 1.0), assets.ink)
    frame = paint(frame, box(grid, axles + 10.0 * up, jnp.asarray([20.5, 10.5]), angle), assets.ink)
    for side in (10.0, -10.0):
        frame = paint(frame, circle(grid, axles + side * along, 8.5), assets.wheel)
    pole = jnp.asarray([FLAG_X + 0.5, FLAG_BOTTOM + 25.5])
    frame = paint(frame, box(grid, pole, jnp.asarray([0.5, 25.5])), assets.ink)
    corners = jnp.asarray([[-0.5, 50.5], [-0.5, 39.5], [25.5, 45.0]])
    return paint(frame, polygon(grid, corners + pole - jnp.asarray([0.0, 25.5])), assets.flag)


def render_textured(
    position: Float[Array, ""], assets: TexturedAssets, camera: Camera2D, size: int
) -> Float[Array, "size size 3"]:
    """The scenery with a red car, seen from its side, standing on the slope."""
    grid = pixel_grid(camera, size)
    frame = resample(assets.background, size)
    angle = jnp.arctan(slope(_screen_x(position)))
    axles = _on_curve(position, CLEARANCE)
    up = jnp.stack([-jnp.sin(angle), jnp.cos(angle)])
    along = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    frame = paint(frame, box(grid, axles + 10.0 * up, jnp.asarray([20.5, 10.5]), angle), assets.paintwork)
    for side in (10.0, -10.0):
        frame = paint(frame, circle(grid, axles + side * along, 8.5), assets.tyre)
    return frame


def _on_curve(position: jax.Array, clearance: float) -> jax.Array:
    x = _screen_x(position)
    return jnp.stack([x, surface(x) + clearance])


def _screen_x(position: jax.Array) -> jax.Array:
    return (position - LEFT_POSITION) * SCREEN_PER_POSITION


def _position(screen_x: jax.Array) -> jax.Array:
    return screen_x / SCREEN_PER_POSITION + LEFT_POSITION


def _rgb(red: int, green: int, blue: int) -> jax.Array:
    return jnp.asarray([red, green, blue], jnp.float32) / 255.0
