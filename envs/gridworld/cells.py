"""What stands in a cell, as one byte: its kind times sixteen plus its colour.

Kinds are ordered so that one comparison answers what the dynamics ask: up to `OPEN_DOOR` can be walked on, from
`BALL` on can be carried.
"""

from types import MappingProxyType
from typing import SupportsInt

KINDS = (
    "floor", "place", "lava", "open door", "closed door", "locked door", "wall",
    "ball", "box", "key", "star", "ring", "cross", "cone", "gem", "moon",
)  # fmt: skip
COLOURS = ("grey", "red", "green", "blue", "yellow", "purple", "orange", "white", "pink", "brown")
FLOOR, PLACE, LAVA, OPEN_DOOR, CLOSED_DOOR, LOCKED_DOOR, WALL, BALL, BOX, KEY = range(10)
SHAPES = KINDS[BALL:]

COLOUR_BITS = 4
_KIND_OF = MappingProxyType({name: index for index, name in enumerate(KINDS)})
_COLOUR_OF = MappingProxyType({name: index for index, name in enumerate(COLOURS)})


def cell(kind: int | str, colour: int | str = 0) -> int:
    """The byte of a kind and a colour, both by name or number; raises `KeyError` for an unknown name."""
    kind = _KIND_OF[kind] if isinstance(kind, str) else kind
    colour = _COLOUR_OF[colour] if isinstance(colour, str) else colour
    return kind << COLOUR_BITS | colour


def cell_name(byte: SupportsInt) -> str:
    """Words for a byte: "red ball", "wall"."""
    kind, colour = int(byte) >> COLOUR_BITS, int(byte) & (1 << COLOUR_BITS) - 1
    return KINDS[kind] if kind in (FLOOR, LAVA, WALL) else f"{COLOURS[colour]} {KINDS[kind]}"
