"""What a figure of the report is: the rows it needs, and the section that is drawn from them.

A figure is a module of this package with a constant `FIGURE`. It imports no environments and trains nothing itself: its
rows are command lines of jaxvlm, which `jaxvlm.reproduce.rows` runs where their products are missing. Its section is
drawn after every row from what there is by then.

```python
def rows(place: Place) -> list[Row]:
    return [place.train("humanoid-kneeling-a0", "humanoid-kneeling")]

def section(found: Material) -> Section:
    run = found.run("humanoid-kneeling-a0")          # None until it is finished
    ...

FIGURE = Figure("fig9", "Figure 9: kneeling", rows, section)
```
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from matplotlib.figure import Figure as Drawing

from jaxvlm.clip.naming import label_of
from jaxvlm.evaluation import Interval

if TYPE_CHECKING:
    from jaxvlm.reproduce.material import Material


@dataclass(frozen=True)
class Budget:
    """How much is spent on each training."""

    name: str
    humanoid: tuple[str, ...]  # flags of every training of the humanoid
    classic: tuple[str, ...]  # and of CartPole and MountainCar
    seeds: int
    together: bool  # whether rows of one group are trained in one program
    minutes: float  # of a training of the humanoid
    classic_minutes: float
    words: str  # for the report

    def flags(self, task: str) -> tuple[str, ...]:
        """Flags of a training, without the preset."""
        return self.humanoid if task.startswith("humanoid") else self.classic


BUDGETS = {
    "laptop": Budget(
        name="laptop",
        humanoid=("--preset", "laptop", "--seeds", "3"),
        classic=("--seeds", "3"),
        seeds=3,
        together=False,
        minutes=30.0,
        classic_minutes=6.0,
        words="two CPU cores: preset laptop (300,000 steps; sequences 450,000) and 3 seeds for the humanoid; preset "
        "default (60,000 and 120,000 steps) and 3 seeds for CartPole and MountainCar",
    ),
    "gpu": Budget(
        name="gpu",
        humanoid=("--seeds", "4"),
        classic=("--seeds", "4"),
        seeds=4,
        together=True,
        minutes=2.0,
        classic_minutes=2.0,
        words="one GPU: preset default and 4 seeds, poses that differ in their sentence only in one program",
    ),
}


@dataclass(frozen=True)
class Row:
    """One command line of jaxvlm, and what it leaves."""

    name: str  # unique and the same every time: two figures that need the same row name it alike
    arguments: tuple[str, ...]  # after `jaxvlm`
    product: str  # file or folder, relative to the folder of the report; the row is finished once it exists
    needs: tuple[str, ...] = ()  # rows whose products it reads
    minutes: float = 1.0  # a guess, corrected by the rows that were run
    task: str | None = None  # of a training: its `config.json` is compared with what these flags give
    flags: tuple[str, ...] = ()  # of a training, preset and all
    group: str | None = None  # trainings of one group may share a program
    weights: bool = (
        True  # whether it reads the weights of the runs that it needs, and not their settings only
    )
    comes_with: str | None = (
        None  # the row that leaves this product as well, unless it is of an earlier version
    )

    @property
    def command(self) -> str:
        """As it is typed."""
        return typed(self.arguments)

    @property
    def run(self) -> str | None:
        """The run directory of a training, relative to the folder of the report."""
        return self.product.rpartition("/")[0] if self.task else None


@dataclass(frozen=True)
class Place:
    """Where things are and how much may be spent: what rows are made with."""

    folder: Path = Path("runs/reproduce")
    budget: Budget = BUDGETS["laptop"]
    clips: tuple[str, ...] = ()  # checkpoints instead of the embedded ones, smallest first
    labels: Literal["predicate", "human"] = "predicate"  # whose word EPIC distances are to

    @property
    def clip(self) -> str | None:
        """The checkpoint of everything that needs one: the last of those given, None for the embedded one."""
        return self.clips[-1] if self.clips else None

    def named(self, name: str) -> str:
        """A row's name, after which the checkpoint stands where one is given."""
        return f"{name}-{label_of(self.clip)}" if self.clip else name

    def train(
        self, name: str, task: str, *flags: str, needs: Sequence[str] = (), minutes: float | None = None
    ) -> Row:
        """A training with the budget's preset, steps and seeds: `runs/<name>/`.

        Flags given here stand last and win. Rows whose names are their task's and one suffix share a program on a GPU.
        """
        budget = self.budget
        # A ground truth looks at no picture: such a run is the same whatever checkpoint is given.
        sees = "--clip" not in flags and "ground-truth" not in flags
        clip = ("--clip", self.clip) if self.clip and sees else ()
        flags = (*budget.flags(task), *clip, *flags)
        suffix = name.removeprefix(f"{task}-")
        usual = budget.minutes if task.startswith("humanoid") else budget.classic_minutes
        return Row(
            name=name,
            arguments=("train", task, *flags, "--name", name, "--runs-dir", str(self.folder / "runs")),
            product=f"runs/{name}/evaluation.json",
            needs=tuple(needs),
            minutes=usual if minutes is None else minutes,
            task=task,
            flags=flags,
            group=" ".join((suffix, *flags)) if suffix != name and task.startswith("humanoid-") else None,
        )

    def episodes(self, run: str) -> Row:
        """Every episode of a run's evaluation; only runs of earlier versions have to be evaluated again for it."""
        return Row(
            name=f"{run}-episodes",
            arguments=("evaluate", str(self.folder / "runs" / run)),
            product=f"runs/{run}/evaluation-episodes.csv",
            needs=(run,),
            minutes=3.0,
            comes_with=run,
        )

    def control(self, run: str, which: str, episodes: int = 100) -> Row:
        """A policy that learned nothing, `random` or `zero`, on the task of a run."""
        return Row(
            name=f"{run}-{which}",
            # Said, as a run that is reused may have been evaluated over another number.
            arguments=(
                "evaluate",
                str(self.folder / "runs" / run),
                "--checkpoint",
                which,
                "--episodes",
                str(episodes),
            ),
            product=f"runs/{run}/evaluation-{which}-{episodes}.json",
            needs=(run,),
            minutes=3.0,
            weights=False,
        )

    def clip_train(self, name: str, domain: str, *flags: str, minutes: float = 10.0) -> Row:
        """An embedded CLIP: `clips/<name>/`."""
        output = str(self.folder / "clips" / name)
        return Row(
            name=f"clip-{name}",
            arguments=("clip", "train", domain, *flags, "--output", output),
            product=f"clips/{name}/model.safetensors",
            minutes=minutes,
        )


@dataclass(frozen=True)
class Text:
    """A paragraph of plain words, or several parted by empty lines; `https://arxiv.org/...` becomes a link."""

    words: str


@dataclass(frozen=True)
class Table:
    """Cells are words, or an `Interval`, which is written in full."""

    header: tuple[str, ...]
    rows: tuple[tuple[str | Interval | None, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawing, or a PNG; with the number of seeds and the interval, without which none is shown."""

    drawn: Drawing | Path
    says: str  # what is to be seen, for those who do not see it
    caption: str
    seeds: str  # such as "3 seeds"
    interval: str  # such as "bars: 95 % bootstrap over seeds and episodes"
    wide: bool = False  # as wide as the page, on a line of its own


Block = Text | Table | Picture


@dataclass(frozen=True)
class Compared:
    """A figure of the paper beside ours."""

    what: str
    paper: str
    ours: str | Interval | None  # None is not run yet
    seeds: str = ""


@dataclass(frozen=True)
class Section:
    """What the report says about a figure."""

    found: str  # what the paper found, in our words; "" where it has no such figure
    compared: tuple[Compared, ...] = ()
    blocks: tuple[Block, ...] = ()
    caution: str = ""  # what a comparison may say
    broken: bool = False  # whether it could not be drawn, which `blocks` then say


@dataclass(frozen=True)
class Figure:
    """A figure of the report."""

    name: str  # on the command line
    title: str
    rows: Callable[[Place], Sequence[Row]]
    section: Callable[["Material"], Section]


CAUTION = (
    "The embedded CLIP has learned these very scenes, and the tasks' sentences are among its captions, which the "
    "predicates make. Success is judged by the simulator's state; steps and seeds are those of the budget and not the "
    "paper's. So beside the paper's values ours say that the method works here and what changes from row to row, not "
    "how a CLIP would do that never saw them."
)
FULL_CAUTION = (
    "The embedded CLIPs are no foundation models. They were trained on pictures of these very scenes, with captions "
    "made by the predicates that success is judged by; the tasks' own sentences are among them, several times as often "
    "as others. The humanoid's was also fitted to the graded predicates of its eight goals, and to states that a "
    "search found it to be wrong about. Agents never see the predicates, but their reward knows them. "
    "So the figures say that the method, the renderer and the algorithms do their part, and how things change from row "
    "to row; they do not say how well a CLIP that never saw these scenes would do, which is what the paper measured. "
    "Steps and seeds are those of the budget; the paper trained the humanoid for 10 million steps, CartPole and "
    "MountainCar for 3 million. Figures of downloaded checkpoints are made with --clip."
)


GIVEN_CAUTION = (
    "Learned from {}, and judged by predicates of the simulator's state, where the paper had a person judge; steps and "
    "seeds are those of the budget and not the paper's."
)
FULL_GIVEN_CAUTION = (
    "Rewards come from checkpoints that were given: {}. Success is judged by predicates of the simulator's state, "
    "which neither the checkpoints nor the agents see, where the paper had a person judge. Steps and seeds are those "
    "of the budget and not the paper's; renderer and physics are ours, made anew after the paper's scenes."
)


def caution(place: Place, *, all_clips: bool = False) -> str:
    """What a comparison with the paper's values may say, below a figure of the last checkpoint or of all of them."""
    if not place.clips:
        return CAUTION
    return GIVEN_CAUTION.format(", ".join(place.clips if all_clips else place.clips[-1:]))


def full_caution(place: Place) -> str:
    """The same at the head of a report."""
    return FULL_GIVEN_CAUTION.format(", ".join(place.clips)) if place.clips else FULL_CAUTION


def typed(arguments: Sequence[str]) -> str:
    """A command line of jaxvlm as it is typed."""
    return " ".join(("jaxvlm", *map(quoted, arguments)))


def quoted(argument: str) -> str:
    """An argument as a shell wants it."""
    return (
        argument if re.fullmatch(r"[\w@%+=:,./~-]+", argument) else '"' + argument.replace('"', '\\"') + '"'
    )
