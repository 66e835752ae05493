"""What is shown: a folder of pictures whose names say nothing, and the table of what they come from.

<folder>/
    material.json   goal, how it is drawn, what a success is, and the run, seed, episode, step and predicate of every
                    picture
    episodes.npz    of a run: the poses the pictures are drawn from, and the predicate in every step
    images/         <random name>.webp: all frames of an episode in one sheet, or one frame
    answers.sqlite  see `jaxvlm.rating.store`
"""

import io
import json
import math
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.runtime.files import plain, reason, replace_file, write_json

VERSION = 1
QUALITY = 80  # of WebP; a humanoid's hundred frames of 224 pixels take about 0.3 MB
LARGEST = 16_000  # pixels a side of a sheet; WebP ends at 16,383


@dataclass(frozen=True)
class Goal:
    """What a rater looks for."""

    prompt: str  # the task's sentence, not the run's: it would tell runs apart
    criterion: str


@dataclass(frozen=True)
class Drawing:
    """How poses become pictures."""

    look: str
    cameras: tuple[str, ...]  # side by side
    size: int  # pixels a side of each view
    every: int = 1  # steps between frames
    fps: float = 25.0  # frames a second


@dataclass(frozen=True)
class Rule:
    """What `jaxvlm evaluate` calls a success."""

    length: int  # steps an episode may take
    window: int  # its last steps, over which the share is taken
    threshold: float  # least share of them
    phases: int = 1  # with several, each one's share without its transition has to reach the threshold

    @property
    def told_by_share(self) -> bool:
        """Whether who knows the share of all steps to a quarter knows the success: at least half of all steps."""
        return self.phases == 1 and self.window >= self.length and self.threshold == 0.5

    def told_by_share_of(self, steps: int) -> bool:
        """The same of an episode of so many steps: those that one which ended early lacks count as missed."""
        return self.told_by_share and steps >= self.length

    @property
    def words(self) -> str:
        """The rule, to be read after "success:"."""
        least = f"at least {100 * self.threshold:g} %"
        if self.phases > 1:
            return (
                f"in each of {self.phases} phases the goal holds in {least} of the steps after the transition"
            )
        if self.window >= self.length:
            return f"the goal holds in {least} of the steps"
        last = "the last step" if self.window == 1 else f"{least} of the last {self.window} steps"
        return f"the goal holds in {last}"


@dataclass(frozen=True)
class Item:
    """One thing to judge: an episode, or a frame of one."""

    id: str  # 16 random hexadecimal digits: name of its picture, and all that the page knows
    seed: int
    episode: int
    step: int  # of the frame; -1 for a whole episode
    steps: int  # that a whole episode has; 1 for a frame
    share: float | None  # of its steps in which the predicate holds; None where there is no predicate
    state: int = -1  # row of a set of states; -1 for a frame or episode of a run
    success: bool | None = (
        None  # of a whole episode, by the task's rule; None for a frame, and where nobody noted it
    )
    source: int = 0  # of a state: which of its set's sources it is of, whose episodes are numbered alike


@dataclass(frozen=True)
class Material:
    """A folder of things to judge; make one with `Material.create`, find one with `Material.open`."""

    folder: Path
    source: str  # name of the run or data set
    task: str
    goal: Goal
    drawing: Drawing
    trained: int = 0  # environment steps of the agent that is seen
    actions: str = "deterministic"  # or "sampled": how it acts
    digest: str = ""  # of the poses, where they lie in a set of states
    origin: str = ""  # path of the run or data set; it tells those of one name apart
    rule: Rule | None = None  # of the task; None for a set of states, and where nobody noted it
    trajectories: tuple[Item, ...] = ()
    frames: tuple[Item, ...] = ()

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether there is material in a folder."""
        return (folder / "material.json").exists()

    @classmethod
    def open(cls, folder: Path) -> "Material":
        """Reads a folder.

        Raises:
          RunError: it holds no material, or one of another version.
        """
        path = folder / "material.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("version") != VERSION:
                raise RunError(f"{path} has another format than {VERSION}: record into another --output")
            drawing, rule = data.pop("drawing"), data.pop("rule", None)
            items = {
                name: tuple(Item(**item) for item in data.pop(name)) for name in ("trajectories", "frames")
            }
            return cls(
                folder=folder,
                goal=Goal(**data.pop("goal")),
                drawing=Drawing(**{**drawing, "cameras": tuple(drawing["cameras"])}),
                rule=Rule(**rule) if rule else None,
                **items,
                **data,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(f"cannot read {path}: {reason(error)}; record into another --output") from error

    def save(self) -> None:
        """Writes `material.json`, whole or not at all."""
        data = {name: value for name, value in plain(self).items() if name != "folder"}
        write_json(self.folder / "material.json", {"version": VERSION, **data})

    @property
    def answers(self) -> Path:
        """File of the answers."""
        return self.folder / "answers.sqlite"

    def picture(self, item: Item) -> Path:
        """File of an item's picture."""
        return self.folder / "images" / f"{item.id}.webp"

    def shown(self, item: Item) -> int:
        """How many frames an item's picture holds."""
        return len(range(0, item.steps, self.drawing.every))

    def with_frames(self, per_episode: int) -> "Material":
        """As it is, with at least so many frames of every episode, drawn at random; those there are stay."""
        chosen = list(self.frames)
        holds = self.read_holds()
        for row, episode in enumerate(self.trajectories):
            key = (episode.seed, episode.episode)
            taken = {item.step for item in chosen if (item.seed, item.episode) == key}
            # One order of an episode's steps: who asks for more frames gets the earlier ones too.
            order = np.random.default_rng([episode.seed, episode.episode]).permutation(episode.steps)
            for step in map(int, order[:per_episode]):
                if step not in taken:
                    share = float(holds[row, step])
                    chosen.append(
                        replace(episode, id=new_id(), step=step, steps=1, share=share, success=None)
                    )
        return replace(self, frames=tuple(chosen))

    def picked_frames(self, per_episode: int) -> tuple[Item, ...]:
        """The first `per_episode` frames of every episode, in the order of `with_frames`."""
        counts: dict[tuple[int, int], int] = {}
        picked = []
        for item in self.frames:
            key = (item.seed, item.episode)
            counts[key] = counts.get(key, 0) + 1
            if counts[key] <= per_episode:
                picked.append(item)
        return tuple(picked)

    def read_holds(self) -> np.ndarray:
        """The predicate in every step of every trajectory, bool[trajectory, time]."""
        return self._arrays(["holds"])["holds"]

    def read_scenes(self) -> dict[str, np.ndarray]:
        """Fields of the scenes, [trajectory, time, ...] each."""
        arrays = self._arrays(None)
        return {name[6:]: array for name, array in arrays.items() if name.startswith("scene/")}

    def write_episodes(self, holds: np.ndarray, scenes: Mapping[str, np.ndarray]) -> None:
        """Keeps the predicate and the scenes, as they are read; raises `RunError` where they cannot be written."""
        arrays = {"holds": holds, **{f"scene/{name}": array for name, array in scenes.items()}}
        replace_file(self.folder / "episodes.npz", lambda draft: np.savez_compressed(draft, **arrays))  # pyright: ignore

    def _arrays(self, names: list[str] | None) -> dict[str, np.ndarray]:
        path = self.folder / "episodes.npz"
        try:
            with np.load(path) as data:
                return {name: data[name] for name in names or data.files}
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"cannot read {path}: {reason(error)}; record into another --output") from error


def new_id() -> str:
    """A name that says nothing."""
    return secrets.token_hex(8)


def share_of(holds: np.ndarray, steps: int) -> float:
    """Share of an episode's steps in which the predicate holds."""
    return float(holds[:steps].mean()) if steps else 0.0


def grid(frames: int) -> int:
    """Columns of a sheet of so many frames; the page counts them the same way."""
    return math.ceil(math.sqrt(frames))


def sheet(frames: np.ndarray) -> np.ndarray:
    """All frames of an episode in one picture, row by row.

    Args:
      frames: uint8[time, height, width, 3].

    Returns:
      uint8[rows * height, columns * width, 3]; places left over are black.

    Raises:
      ConfigError: the sheet would be larger than a WebP can be.
    """
    count, height, width, _ = frames.shape
    columns = grid(count)
    rows = math.ceil(count / columns)
    if max(columns * width, rows * height) > LARGEST:
        raise ConfigError(
            f"{count} frames of {width} x {height} pixels are more than one picture holds: choose a smaller --size"
        )
    padded = np.zeros((rows * columns, height, width, 3), np.uint8)
    padded[:count] = frames
    return padded.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, -1, 3)


def write_picture(path: Path, frames: np.ndarray) -> None:
    """Writes a sheet, or one frame, as WebP without any metadata; arguments and errors as for `sheet`."""
    image = Image.fromarray(sheet(frames))
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=QUALITY, method=2)
    replace_file(path, lambda draft: Path(draft).write_bytes(buffer.getvalue()))


def missing(material: Material, items: Iterable[Item]) -> list[Item]:
    """Items whose pictures are not there yet."""
    return [item for item in items if not material.picture(item).exists()]


def draw_missing(
    material: Material,
    items: Sequence[Item],
    scenes: Callable[[Item, Any], Any],
    draw: Callable[[Any], np.ndarray],
    progress: Callable[[int], object] = lambda done: None,
) -> None:
    """Draws the pictures that are missing, one file after the other: what was cut off goes on where it stopped.

    Args:
      material: where they go.
      items: what is to be there.
      scenes: an item and the indices of its frames' steps to the poses, a pytree [frames, ...].
      draw: poses to uint8[frames, height, width, 3].
      progress: called with the number of pictures drawn.
    """
    for done, item in enumerate(missing(material, items), 1):
        steps = np.arange(0, item.steps, material.drawing.every) if item.step < 0 else np.array([item.step])
        write_picture(material.picture(item), draw(scenes(item, steps)))
        progress(done)
