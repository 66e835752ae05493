"""What is seen of a state besides where the agent stands: the egocentric view, and the summary of what has changed."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from .cells import COLOUR_BITS, COLOURS, KINDS, WALL, cell

VIEW = 7  # cells a side of the egocentric view


def egocentric(
    cells: UInt8[Array, "h w"],
    position: Int[Array, "2"],
    direction: Int[Array, ""],
    carrying: UInt8[Array, ""],
) -> UInt8[Array, "7 7 2"]:
    """Kinds and colours ahead of an agent in the middle of the last row, wall beyond the edge.

    Two products with one-hot matrices pick the rows and the columns. A lookup of 49 cells is the obvious way, and XLA
    then repeats the whole step for each of them on a CPU; operands of a product are computed once. Numbers up to 255
    are exact in float32.
    """
    height, width = cells.shape
    back = VIEW - 1
    first_row = position[0] - jnp.array([back, back // 2, 0, back // 2])[direction]
    first_column = position[1] - jnp.array([back // 2, 0, back // 2, back])[direction]
    places = jnp.arange(VIEW)[:, None]
    rows = (jnp.arange(height) == first_row + places).astype(jnp.float32)
    columns = (jnp.arange(width) == first_column + places).astype(jnp.float32)
    # About the wall, so that what lies beyond the edge and is picked by no row or column is wall.
    wall = float(cell(WALL))
    picked = jnp.matmul(rows, cells.astype(jnp.float32) - wall, precision="highest")
    window = (jnp.matmul(picked, columns.T, precision="highest") + wall).astype(jnp.uint8)
    turned = jnp.stack([jnp.rot90(window, k) for k in range(4)])
    seen = jnp.sum(jnp.where(jnp.arange(4)[:, None, None] == direction, turned, 0), axis=0, dtype=jnp.uint8)
    own = np.zeros((VIEW, VIEW), bool)
    own[-1, VIEW // 2] = True
    seen = jnp.where(own & (carrying > 0), carrying, seen)
    return jnp.stack([seen >> COLOUR_BITS, seen & (1 << COLOUR_BITS) - 1], axis=-1)


def hands_and_changes(
    cells: UInt8[Array, "h w"], first: UInt8[Array, "h w"], carrying: UInt8[Array, ""]
) -> Float[Array, " n"]:
    """One-hot kind (16) and colour (10) of what is carried, and for each cell whether it has changed since `first`."""
    kind, colour = carrying >> COLOUR_BITS, carrying & (1 << COLOUR_BITS) - 1
    hands = jnp.concatenate([jax.nn.one_hot(kind, len(KINDS)), jax.nn.one_hot(colour, len(COLOURS))])
    return jnp.concatenate([hands * (carrying > 0), (cells != first).reshape(-1).astype(jnp.float32)])
