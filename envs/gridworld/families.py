"""Families of instructions that put language to the test: which words decide where to go, and does likeness follow?

An open room is parted into three by three regions. Each of the eight outer ones has nine tasks, one cell each, so a
family has 72 tasks with an instruction of its own. Families differ in what of an instruction decides the region:

  colour       its colour does. Sentence embeddings go by the noun, so language misleads.
  shape        its noun does: language is right.
  adversarial  colour and shape together, as in a Latin square: instructions that share a word never share a region.
  paraphrase   a point of the compass, said in nine ways with hardly a word in common: the wording misleads.

Which word goes with which region, and which cells, is drawn by seed (of "paraphrase" the cells alone: north is north).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.errors import ConfigError

from .cells import COLOURS, SHAPES, cell
from .env import REACH, GridParams, GridWorld, make_params

FAMILIES = ("colour", "shape", "adversarial", "paraphrase")
REGIONS, WORDINGS = 8, 9

# Row by row, the middle left out.
POINTS = ("north-west", "north", "north-east", "west", "east", "south-west", "south", "south-east")
# One way to say all eight points each, in the order of POINTS.
_PHRASES = (
    ("walk to the {} of the room", POINTS),
    ("go into the {}", ("top-left corner", "top middle", "top-right corner", "left middle", "right middle",
                        "bottom-left corner", "bottom middle", "bottom-right corner")),
    ("move {}", ("up and leftwards", "straight up", "up and rightwards", "leftwards only", "rightwards only",
                 "down and leftwards", "straight down", "down and rightwards")),
    ("be at the {} side", ("back, left hand", "back", "back, right hand", "left hand", "right hand", "front, left hand",
                           "front", "front, right hand")),
    ("head for {} o'clock", ("half past ten", "twelve", "half past one", "nine", "three", "half past seven", "six",
                             "half past four")),
    ("find the {} quarter", ("upper western", "upper central", "upper eastern", "central western", "central eastern",
                             "lower western", "lower central", "lower eastern")),
    ("steer a course of {} degrees", ("three hundred fifteen", "zero", "forty-five", "two hundred seventy", "ninety",
                                      "two hundred twenty-five", "one hundred eighty", "one hundred thirty-five")),
    ("stand on the {} of the map", ("first row and first column", "first row halfway along",
                                    "first row and last column", "first column halfway along",
                                    "last column halfway along",
                                    "last row and first column", "last row halfway along", "last row and last column")),
    ("your target is {}", ("northwestern", "northern", "northeastern", "western", "eastern", "southwestern", "southern",
                           "southeastern")),
)  # fmt: skip
_REGION_COLOURS = tuple(name for name in COLOURS if name not in ("grey", "white"))
_FILLER_COLOURS = (*_REGION_COLOURS, "white")
_REGION_SHAPES = SHAPES[:REGIONS]


@dataclass(frozen=True)
class Family:
    """Tasks in one room. `region` and `wording` say which of eight and nine each task is, for analysis only."""

    name: str
    env: GridWorld
    params: GridParams  # leaves [72, ...]
    instructions: tuple[str, ...]
    region: np.ndarray  # i32[72], 0 to 7
    wording: np.ndarray  # i32[72], 0 to 8
    goal: np.ndarray  # i32[72, 2], row and column

    @property
    def horizon(self) -> int:
        """Steps of an episode: four times the room's side."""
        return 4 * self.env.height


def all_instructions() -> tuple[str, ...]:
    """Every instruction that some family may give, each once, sorted."""
    objects = {_go_to(colour, shape) for colour in COLOURS for shape in SHAPES}
    phrases = {template.format(point) for template, points in _PHRASES for point in points}
    return tuple(sorted(objects | phrases))


def make_family(name: str, size: int, seed: int) -> Family:
    """The 72 tasks of a family in a room of `size` by `size` cells.

    Raises:
      ConfigError: an unknown family, or a room too small for nine regions.
    """
    if name not in FAMILIES:
        raise ConfigError(f"unknown family {name!r}; choose one of {', '.join(FAMILIES)}")
    if size < 6:
        raise ConfigError(f"size is {size}; a room with nine regions has at least 6 cells a side")
    generator = np.random.default_rng(seed)
    cells_of = [_region_cells(size, k, generator) for k in range(REGIONS)]
    to_region = generator.permutation(REGIONS)
    region, wording = (
        grid.reshape(-1) for grid in np.meshgrid(range(REGIONS), range(WORDINGS), indexing="ij")
    )
    world = np.zeros((size, size), np.uint8)
    goal = np.array([cells_of[r][w] for r, w in zip(region, wording, strict=True)])
    instructions = []
    for r, w, (row, column) in zip(region, wording, goal, strict=True):
        if name == "paraphrase":
            template, points = _PHRASES[w]
            instructions.append(template.format(points[r]))
            continue
        word = int(np.flatnonzero(to_region == r)[0])
        if name == "colour":
            colour, shape = _REGION_COLOURS[word], SHAPES[w]
        elif name == "shape":
            colour, shape = _FILLER_COLOURS[w], _REGION_SHAPES[word]
        else:
            colour, shape = _FILLER_COLOURS[(word - w) % WORDINGS], SHAPES[w]
        instructions.append(_go_to(colour, shape))
        world[row, column] = cell(shape, colour)
    # Later objects hide earlier ones where a region has fewer than nine cells.
    tasks = []
    for row, column in goal:
        place = np.zeros((size, size), bool)
        place[row, column] = True
        tasks.append(make_params(world, goal=REACH, goal_cells=place, starts=~place))
    return Family(
        name=name,
        env=GridWorld(size, size, solid=False),
        params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *tasks),
        instructions=tuple(instructions),
        region=region.astype(np.int32),
        wording=wording.astype(np.int32),
        goal=goal.astype(np.int32),
    )


def _go_to(colour: str, shape: str) -> str:
    return f"go to the {colour} {shape}"


def _region_cells(size: int, region: int, generator: np.random.Generator) -> np.ndarray:
    """Nine cells of an outer region, i32[9, 2], different ones as far as it has them."""
    block = region if region < REGIONS // 2 else region + 1  # the middle one is left out
    edges = np.round(np.linspace(0, size, 4)).astype(int)
    rows, columns = (np.arange(edges[k], edges[k + 1]) for k in divmod(block, 3))
    cells = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.resize(generator.permutation(cells), (WORDINGS, 2))
