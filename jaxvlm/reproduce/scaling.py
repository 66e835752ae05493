"""What figures 4, 6 and 7 share: CLIPs of several sizes, the states they are measured on, and their agents."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxvlm.clip.naming import label_of
from jaxvlm.evaluation import Interval
from jaxvlm.reproduce.figure import Place, Row
from jaxvlm.reproduce.material import LIGHT, Material, Trained, header_of, read_json
from jaxvlm.reproduce.poses import POSES, name_of, pose_row

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
STEPS = (375, 750, 1500)  # of 64 pictures
SEEDS = (0, 1, 2)
STATES = 6000


@dataclass(frozen=True)
class Size:
    """The shape of an embedded CLIP."""

    name: str
    width: int
    layers: int
    text_width: int
    minutes: float  # of a training of 1500 steps on a CPU core
    seeds: tuple[int, ...]  # that it is trained with at 1500 steps; at fewer steps with the first

    @property
    def flags(self) -> tuple[str, ...]:
        """Of `jaxvlm clip train`."""
        numbers = {
            "width": self.width,
            "layers": self.layers,
            "text-width": self.text_width,
            "text-layers": 2,
        }
        return tuple(word for name, value in numbers.items() for word in (f"--{name}", str(value)))


SIZES = (
    Size("xs", 32, 3, 32, 3.0, SEEDS),
    Size("s", 96, 3, 64, 7.0, SEEDS),
    Size("m", 192, 5, 96, 25.0, (0,)),
    Size("l", 384, 5, 96, 60.0, (0,)),
)
SHARED = (
    "--batch-size", "64", "--slope", "0.1", "--augment", "0.12", "--captions-per-concept", "1",
    "--prompt-emphasis", "3", "--learning-rate", "0.001",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A checkpoint of the comparison."""

    label: str  # on axes
    clip: str  # as `--clip` takes it
    size: str  # the size's name, or the label of a checkpoint that was given
    steps: int | None = None  # it was trained for; None where that is not ours to say
    seed: int = 0
    row: str | None = None  # the row that trains it

    def known_as(self, name: str) -> bool:
        """Whether a file of `jaxvlm epic` means this checkpoint, whose folder may have been moved since."""
        return name == self.clip or (self.row is not None and Path(name).name == Path(self.clip).name)


def models(place: Place) -> list[Model]:
    """Checkpoints that were given, or the embedded ones of all sizes, lengths of training and seeds."""
    if place.clips:
        return [Model(label=clip, clip=clip, size=label_of(clip)) for clip in place.clips]
    found = []
    for size in SIZES:
        seeds = SEEDS if place.budget.together else size.seeds
        for steps, seed in [*((steps, 0) for steps in STEPS), *((STEPS[-1], seed) for seed in seeds if seed)]:
            name = f"{size.name}-{steps}-s{seed}"
            clip = str(place.folder / "clips" / name)
            found.append(Model(size.name, clip, size.name, steps, seed, f"clip-{name}"))
    return found


def clip_rows(place: Place) -> list[Row]:
    """Trainings of the embedded CLIPs."""
    by_name = {size.name: size for size in SIZES}
    return [
        place.clip_train(
            Path(model.clip).name, "humanoid", "--steps", str(model.steps), "--seed", str(model.seed), *SHARED,
            *by_name[model.size].flags, minutes=by_name[model.size].minutes * (model.steps or 0) / STEPS[-1],
        )
        for model in models(place)
        if model.row
    ]  # fmt: skip


def full(place: Place) -> list[Model]:
    """The models whose agents are trained: of every size, trained for longest, first seed."""
    return [model for model in models(place) if model.steps in (None, STEPS[-1]) and model.seed == 0]


def agent_name(model: Model, place: Place) -> str:
    """Name of the row of kneeling learned from a model; of the last checkpoint given it is table 1's."""
    return name_of("kneeling", 0.0, place) if model.clip == place.clip else f"humanoid-kneeling-{model.size}"


def agent_rows(place: Place) -> list[Row]:
    """Kneeling learned from every size."""
    factor = {"xs": 0.9, "s": 1.0, "m": 1.6, "l": 3.5}
    return [
        pose_row("kneeling", 0.0, place)
        if model.clip == place.clip
        else place.train(
            agent_name(model, place),
            "humanoid-kneeling",
            "--clip",
            model.clip,
            needs=(model.row,) if model.row else (),
            minutes=place.budget.minutes * factor.get(model.size, 4.0),
        )
        for model in full(place)
    ]


def states_rows(place: Place) -> list[Row]:
    """States of the best agents of all tasks and of random actions, with labels."""
    trained = [pose_row(pose.name, 0.0, place) for pose in POSES]
    name = place.named("humanoid-play")
    return [
        *trained,
        Row(
            name=f"dataset-{name}",
            arguments=(
                "dataset", "make", *(str(place.folder / "runs" / row.name) for row in trained),
                "random:humanoid-kneeling", "--actions", "both", "--episodes", "12",
                "--states", str(STATES), "--name", name, "--output", str(place.folder / "datasets"),
            ),
            product=f"datasets/{name}/dataset.json",
            needs=tuple(row.name for row in trained),
            minutes=15.0,
        ),
    ]  # fmt: skip


def epic_rows(place: Place) -> list[Row]:
    """EPIC distance and AUC of every model, goal and alpha on those states, and all that this needs."""
    *_, states = rows = [*clip_rows(place), *states_rows(place)]
    clips = models(place)
    name = Path(epic_file(place)).stem
    return [
        *rows,
        Row(
            name=f"epic-{name}",
            arguments=(
                "epic", str(place.folder / Path(states.product).parent), "--clip", *(model.clip for model in clips),
                "--alphas", *(f"{alpha:g}" for alpha in ALPHAS),
                *(() if place.labels == "predicate" else ("--labels", place.labels)),
                "--name", name, "--output", str(place.folder / "epic"),
            ),
            product=epic_file(place),
            needs=(states.name, *(model.row for model in clips if model.row)),
            minutes=1.5 * len(clips),
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One line of `jaxvlm epic`."""

    model: Model
    goal: str
    alpha: float
    parameters: int
    epic: Interval
    auc: Interval
    states: int
    groups: int  # episodes that the states are of


def epic_file(place: Place) -> str:
    """What `jaxvlm epic` leaves, relative to the folder of the report.

    Another file for every set of checkpoints, and for people's labels.
    """
    name = place.named("scaling")
    if len(place.clips) > 1:
        together = "\n".join(map(label_of, place.clips))
        name += f"-{len(place.clips)}-{hashlib.sha256(together.encode()).hexdigest()[:8]}"
    if place.labels == "human":
        name += "-human"
    return f"epic/{name}.json"


def measured(found: Material) -> list[Measured]:
    """What was measured of every model, goal and alpha, views taken together; empty before that."""
    path = found.file(epic_file(found.place))
    written = read_json(path) if path else None
    if not isinstance(written, dict):
        return []
    known = models(found.place)
    views = "+".join(written.get("cameras", ["default"]))
    return [
        _measured(line, model)
        for line in written.get("rows", [])
        for model in known
        if model.known_as(str(line["model"])) and line.get("camera", views) == views
    ]


def _measured(line: dict[str, Any], model: Model) -> Measured:
    def interval(name: str) -> Interval:
        parts = [line.get(key) for key in (name, f"{name}_low", f"{name}_high")]
        return Interval(*(math.nan if part is None else float(part) for part in parts))

    return Measured(
        model, str(line["goal"]), float(line["alpha"]), int(line["parameters"]), interval("epic"), interval("auc"),
        int(line["n"]), int(line.get("groups", 0)),
    )  # fmt: skip


def choose(lines: Sequence[Measured], *, model: Model, goal: str, alpha: float) -> Measured | None:
    """The line of a model, goal and alpha."""
    for line in lines:
        if line.model == model and line.goal == goal and abs(line.alpha - alpha) < 1e-6:
            return line
    return None


def parameters_of(model: Model, lines: Sequence[Measured]) -> int | None:
    """Parameters of a model: as measured, or from the header of its file; None where neither is known."""
    for line in lines:
        if line.model == model:
            return line.parameters
    path = Path(model.clip) / "model.safetensors"
    return count_parameters(path) or (read_json(path.with_name(LIGHT)) or {}).get("parameters")


def count_parameters(path: Path) -> int | None:
    """Numbers in a safetensors file, by its header; None where it cannot be read."""
    header = header_of(path)
    if header is None:
        return None
    shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    return sum(math.prod(shape) for shape in shapes)


def judge_of(place: Place) -> str:
    """Whose word distances are to."""
    return "the predicates" if place.labels == "predicate" else "the labels that people gave"


def learned_from(place: Place) -> str:
    """What stands below figures of agents: how many CLIPs of a size they learned from; "" of checkpoints given."""
    if place.clips:
        return ""
    single = [model.label for model in full(place) if len(trained_alike(model, place)) == 1]
    words = "All agents of a size learned from one CLIP of it (seed 0), so their seeds say nothing of how CLIPs differ"
    return f"{words}; of {' and '.join(single)} there is no other" if single else words


def trained_alike(model: Model, place: Place) -> list[Model]:
    """The models that differ from one in their seed at most, itself among them."""
    return [other for other in models(place) if (other.size, other.steps) == (model.size, model.steps)]


def seeds_and_clips(run: Trained | None, place: Place) -> str:
    """The seeds of agents and, where there could be others of its size, the CLIP that they learned from."""
    if run is None:
        return ""
    return str(run.seeds) if place.clips else f"{run.seeds} from 1 CLIP"


def agents(found: Material) -> list[tuple[Model, Trained | None]]:
    """Kneeling learned from every size, smallest first."""
    return [(model, found.run(agent_name(model, found.place))) for model in full(found.place)]
