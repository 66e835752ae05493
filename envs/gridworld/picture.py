"""How a grid-world looks: one tile for each kind and colour, put together by a lookup.

Tiles depend on nothing that differs between frames, so under `vmap` over scenes they are drawn once. Where cells do not
fill whole pixels, a frame is drawn a little larger and resampled.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, UInt8

from jaxvlm.render import Camera2D, Grid, box, circle, curve, paint, pixel_grid, polygon, resample

from .cells import BALL, COLOUR_BITS, COLOURS, KINDS, SHAPES

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis

CELL = Camera2D(left=-0.5, bottom=-0.5, width=1.0, height=1.0)  # a cell, its middle at (0, 0)
BACKPACK = Camera2D(
    left=-0.95, bottom=-0.85, width=1.9, height=1.9
)  # the same cell, what is carried in it half as large
AGENT = np.array([[0.0, 0.40], [-0.30, -0.36], [0.30, -0.36]], np.float32)  # faces north
PALETTE = {
    "grey": (130, 130, 136), "red": (214, 48, 49), "green": (46, 160, 67), "blue": (38, 99, 214),
    "yellow": (235, 190, 20), "purple": (142, 68, 193), "orange": (236, 120, 28), "white": (250, 250, 250),
    "pink": (245, 130, 190), "brown": (121, 78, 45),
}  # fmt: skip
FLOOR, LINE, STONE, MORTAR = (232, 230, 224), (214, 211, 203), (84, 86, 92), (64, 66, 71)
MELT, GLOW, DARK = (196, 62, 20), (255, 176, 46), (34, 36, 44)


@struct.dataclass
class GridAssets:
    """Colours, RGB in [0, 1]."""

    palette: Leaf  # f32[10, 3], in the order of `cells.COLOURS`
    floor: Leaf  # f32[3]
    line: Leaf  # f32[3], between cells
    stone: Leaf  # f32[3], of walls
    mortar: Leaf  # f32[3]
    melt: Leaf  # f32[3], of lava
    glow: Leaf  # f32[3]
    dark: Leaf  # f32[3], of the agent and of edges


def make_assets() -> GridAssets:
    """The palette of the plain look."""
    rgb = lambda colour: jnp.asarray(colour, jnp.float32) / 255.0  # noqa: E731
    return GridAssets(
        palette=jnp.stack([rgb(PALETTE[name]) for name in COLOURS]),
        floor=rgb(FLOOR), line=rgb(LINE), stone=rgb(STONE), mortar=rgb(MORTAR),
        melt=rgb(MELT), glow=rgb(GLOW), dark=rgb(DARK),
    )  # fmt: skip


def render(
    cells: UInt8[Array, "h w"],
    position: Int[Array, "2"],
    direction: Int[Array, ""],
    carrying: UInt8[Array, ""],
    assets: GridAssets,
    size: int,
) -> Float[Array, "size size 3"]:
    """Draws the whole grid on a square frame; what the agent carries is drawn small on top of it."""
    height, width = cells.shape
    pixels = max(4, -(-size // min(height, width)))
    which = (cells >> COLOUR_BITS).astype(jnp.int32) * len(COLOURS) + (cells & (1 << COLOUR_BITS) - 1)
    frame = _tiles(pixels, assets)[which].transpose(0, 2, 1, 3, 4)
    frame = frame.reshape(height * pixels, width * pixels, 3)
    row, column = jnp.arange(height) == position[0], jnp.arange(width) == position[1]

    def here(tile: Array) -> Array:
        """Coverage of the whole frame by a tile [pixels, pixels] in the agent's cell."""
        own = row[:, None, None, None] & column[:, None]
        return jnp.where(own, tile[:, None, :], 0.0).reshape(height * pixels, width * pixels)

    cover = jax.tree.map(jnp.asarray, _stencils(pixels))
    frame = paint(frame, here(cover.agents[direction]), assets.dark)
    held, colour = carrying >> COLOUR_BITS, carrying & (1 << COLOUR_BITS) - 1
    shape = jnp.maximum(held.astype(jnp.int32) - BALL, 0)
    for shapes, paintwork in ((cover.held_rims, assets.floor), (cover.held, assets.palette[colour])):
        frame = paint(frame, here((held >= BALL) * shapes[shape]), paintwork)
    return frame if frame.shape[:2] == (size, size) else resample(frame, size)


def _tiles(pixels: int, assets: GridAssets) -> Float[Array, "tiles pixels pixels 3"]:
    """A tile for each kind in each colour, kinds first."""
    cover = jax.tree.map(jnp.asarray, _stencils(pixels))
    blank = jnp.broadcast_to(assets.floor, (pixels, pixels, 3))
    floor = paint(blank, cover.edge, assets.line)

    def coloured(colour: Array) -> Array:
        """All kinds in one colour, in the order of `cells.KINDS`."""
        dark = 0.55 * colour
        place = paint(floor, cover.place, 0.6 * colour + 0.4 * assets.floor)
        lava = jnp.broadcast_to(assets.melt, blank.shape)
        for wave in cover.waves:
            lava = paint(lava, wave, assets.glow)
        stone = paint(jnp.broadcast_to(assets.stone, blank.shape), cover.joint, assets.mortar)
        doorway = paint(floor, cover.frame, colour)
        closed = paint(doorway, cover.panel, 0.7 * colour + 0.3 * assets.floor)
        locked = paint(doorway, cover.panel, dark)
        for part in cover.keyhole:
            locked = paint(locked, part, assets.glow)
        tiles = [floor, place, lava, doorway, paint(closed, cover.knob, assets.dark), locked, stone]
        for rim, inside in zip(cover.rims, cover.insides, strict=True):
            tiles.append(paint(paint(floor, rim, dark), inside, colour))
        return jnp.stack(tiles)

    assert len(KINDS) == BALL + len(SHAPES)
    by_kind = jax.vmap(coloured, out_axes=1)(assets.palette)
    return by_kind.reshape(-1, pixels, pixels, 3)


@struct.dataclass
class Stencils:
    """What of a tile each part of its picture covers, f32[pixels, pixels] in [0, 1] or several of them."""

    edge: Leaf  # of a cell
    place: Leaf
    waves: Leaf  # [3, ...], of lava
    joint: Leaf  # between stones
    frame: Leaf  # of a door
    panel: Leaf
    knob: Leaf
    keyhole: Leaf  # [2, ...]
    rims: Leaf  # [shapes, ...], what can be carried, wider by a rim
    insides: Leaf  # [shapes, ...]
    held_rims: Leaf  # [shapes, ...], the same half as large
    held: Leaf  # [shapes, ...]
    agents: Leaf  # [4, ...], by direction, clockwise from north


@cache
def _stencils(pixels: int) -> Stencils:
    """Numbers that depend on the size of a tile alone, on the host: a program that draws tiles has not to trace them.

    Computed by a program that is compiled before it is called, as it may be asked for while another one is traced.
    """
    drawn = jax.jit(_draw_stencils, static_argnums=0).lower(pixels).compile()()
    return jax.tree.map(np.asarray, drawn)


def _draw_stencils(pixels: int) -> Stencils:
    grid, small = pixel_grid(CELL, pixels), pixel_grid(BACKPACK, pixels)

    def square(half: float) -> Array:
        return box(grid, jnp.zeros(2), jnp.full(2, half))

    def wave(middle: float) -> Array:
        height = 0.06 * jnp.sin(4.0 * jnp.pi * grid.x + 9.0 * middle)
        slope = 0.24 * jnp.pi * jnp.cos(4.0 * jnp.pi * grid.x + 9.0 * middle)
        return curve(grid, middle + height, slope, 0.07)

    north = polygon(grid, AGENT)
    return Stencils(
        edge=1.0 - square(0.48),
        place=square(0.44),
        waves=jnp.stack([wave(middle) for middle in (-0.25, 0.05, 0.33)]),
        joint=1.0 - square(0.46),
        frame=square(0.46) - square(0.34),
        panel=square(0.34),
        knob=circle(grid, jnp.asarray([0.2, 0.0]), 0.07),
        keyhole=jnp.stack(
            [
                circle(grid, jnp.asarray([0.0, 0.06]), 0.11),
                box(grid, jnp.asarray([0.0, -0.1]), jnp.asarray([0.045, 0.14])),
            ]
        ),
        rims=jnp.stack(_shapes(grid, 0.035)),
        insides=jnp.stack(_shapes(grid, 0.0)),
        held_rims=jnp.stack(_shapes(small, 0.08)),
        held=jnp.stack(_shapes(small, 0.0)),
        agents=jnp.stack([jnp.rot90(north, -k) for k in range(4)]),
    )


def _shapes(grid: Grid, rim: float) -> list[Float[Array, "h w"]]:
    """Coverage of what can be carried, in the order of `cells.SHAPES`, wider by `rim` all around."""
    middle = jnp.zeros(2)
    ball = circle(grid, middle, 0.31 + rim)
    block = box(grid, middle, jnp.full(2, 0.28 + rim))
    bow = circle(grid, jnp.asarray([-0.18, 0.0]), 0.17 + rim) - (
        circle(grid, jnp.asarray([-0.18, 0.0]), 0.08 - rim) if rim < 0.05 else 0.0
    )
    shaft = box(grid, jnp.asarray([0.17, 0.0]), jnp.asarray([0.2 + rim, 0.045 + rim]))
    teeth = box(grid, jnp.asarray([0.26, -0.09]), jnp.asarray([0.1 + rim, 0.07 + rim]))
    teeth = teeth - box(grid, jnp.asarray([0.26, -0.12]), jnp.asarray([0.03, 0.05])) * (rim < 0.05)
    key = jnp.clip(jnp.maximum(jnp.maximum(bow, shaft), teeth), 0.0, 1.0)
    turns = 2.0 * np.pi * np.arange(10) / 10
    radii = np.where(np.arange(10) % 2 == 0, 0.38 + 1.6 * rim, 0.16 + rim)
    points = np.stack([-radii * np.sin(turns), radii * np.cos(turns)], axis=1).astype(np.float32)
    kites = [
        polygon(grid, np.stack([np.zeros(2, np.float32), points[k - 1], points[k], points[(k + 1) % 10]]))
        for k in range(0, 10, 2)
    ]
    star = jnp.clip(sum(kites), 0.0, 1.0)
    ring = circle(grid, middle, 0.33 + rim) - circle(grid, middle, 0.19 - rim)
    cross = jnp.maximum(
        box(grid, middle, jnp.asarray([0.33 + rim, 0.11 + rim])),
        box(grid, middle, jnp.asarray([0.11 + rim, 0.33 + rim])),
    )
    wide = 1.8 * rim
    cone = polygon(
        grid,
        np.array([[0.0, 0.36 + wide], [-0.32 - wide, -0.3 - rim], [0.32 + wide, -0.3 - rim]], np.float32),
    )
    reach = 0.36 + 1.4 * rim
    gem = polygon(
        grid, np.array([[0.0, reach], [-0.8 * reach, 0.0], [0.0, -reach], [0.8 * reach, 0.0]], np.float32)
    )
    moon = circle(grid, middle, 0.34 + rim)
    moon = moon * (1.0 - circle(grid, jnp.asarray([0.16, 0.08]), 0.27 - rim))
    return [ball, block, key, star, ring, cross, cone, gem, moon]
