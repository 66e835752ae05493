"""The tasks that can be named on the command line.

A task is an environment, how it looks, and the sentences that say what to learn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp

from envs.api import Environment
from envs.cartpole import CartPole
from envs.gridworld.cells import cell
from envs.gridworld.room import ObjectRoom
from envs.humanoid.env import Humanoid
from envs.humanoid.handwritten import REWARDS as HANDWRITTEN
from envs.mountain_car import MountainCar
from envs.phases import Phased
from envs.wrappers import TimeLimit
from jaxvlm.errors import ConfigError
from jaxvlm.reward import Label


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned, in which picture, and what counts as success.

    A task of one's own (`envs.own`) may leave out whatever has a default here. The name is then that of its file or
    module with its own behind a colon, and the time limit is added.
    """

    env: Environment  # with its time limit
    goal_prompts: tuple[str, ...]
    episode_length: int  # steps
    name: str = ""
    summary: str = ""  # one line for --help
    algorithm: str = ""  # "dqn" or "sac"; of one's own by default what suits the actions
    domain: str = (
        ""  # the embedded CLIP that knows these scenes, `tiny:<domain>`; of one's own the file or module
    )
    look: str = ""  # of one's own by default the environment's first
    baseline_prompts: tuple[str, ...] = ()
    opposite_prompts: tuple[str, ...] = ()
    metric: str = "success_fraction"  # what the share of successful steps is called
    # The last steps of an episode that the share is taken over; those missed by terminating are failures. Of one's own
    # 0 means all.
    window: int = 0
    threshold: float = 0.5  # share of successful steps in the window that makes an episode a success
    cameras: tuple[str, ...] = field(default=("default",))
    overrides: Mapping[str, float] = field(
        default_factory=dict
    )  # parameters that differ from the environment's
    gif_fps: float = (
        25.0  # frames a second of a video that shows every second step; 25 is CartPole's own time
    )
    concept: str | None = None  # fact of the domain's captions that is the goal; None for the domain's first
    variants: Mapping[str, Environment] = field(
        default_factory=dict
    )  # other set-ups of the environment, by name
    then_prompts: tuple[str, ...] = ()  # sentences of the later phases of a task of several, one each
    then_concepts: tuple[str, ...] = ()  # what `concept` is of the first phase
    starts: tuple[int, ...] = ()  # steps after which the later phases begin
    criterion: str = ""  # of one's own: what people who judge episodes are told to look for
    config: Any = None  # of one's own: a `TrainConfig` in place of the presets `default` and `laptop`
    # Of one's own: (clip, truth, seen) -> f32[], the reward that is learned from, see `jaxvlm.reward.Seen`.
    label: Label | None = None

    @property
    def params(self) -> Any:
        """Numeric parameters of the environment, made when asked for: a humanoid's take a second."""
        params = self.env.default_params
        changed = {
            name: jnp.asarray(value, jnp.result_type(getattr(params, name)))
            for name, value in self.overrides.items()
        }
        return replace(params, **changed) if changed else params


def _cartpole(name: str, summary: str, initial_angle: float, reward: str, window: int) -> Task:
    env = CartPole(reward=reward)  # pyright: ignore[reportArgumentType]
    return Task(
        name=name,
        summary=summary,
        env=TimeLimit(env, 200),
        overrides={"initial_angle": initial_angle},
        algorithm="dqn",
        domain="cartpole",
        look="plain",
        goal_prompts=("pole vertically upright on top of the cart",),
        baseline_prompts=("pole and cart",),
        opposite_prompts=("pole hanging down below the cart",),
        episode_length=200,
        metric="upright_fraction",
        window=window,
        threshold=0.9,
    )


def _mountain_car(name: str, summary: str, look: str) -> Task:
    env = MountainCar()
    return Task(
        name=name,
        summary=summary,
        env=TimeLimit(env, 200),
        algorithm="sac",
        domain="mountain_car",
        look=look,
        goal_prompts=("a car at the peak of the mountain, next to the yellow flag",),
        baseline_prompts=("a car in the mountain",),
        opposite_prompts=("a car at the bottom of the valley",),
        episode_length=200,
        metric="goal_fraction",
        window=1,
        threshold=1.0,
    )


ROOM_STEPS = 32  # of an episode in the grid-world, over twice the way between opposite corners


def _gridworld(colour: str, shape: str) -> Task:
    return Task(
        name=f"gridworld-{colour}-{shape}",
        summary=f"go to the {colour} {shape} and stay there, wherever it lies",
        env=TimeLimit(ObjectRoom(), ROOM_STEPS),
        overrides={"goal": cell(shape, colour)},
        algorithm="dqn",
        domain="gridworld",
        look="plain",
        goal_prompts=(f"the agent is at the {colour} {shape}",),
        baseline_prompts=("an agent in a room with objects",),
        opposite_prompts=(f"the agent is far from the {colour} {shape}",),
        episode_length=ROOM_STEPS,
        metric="goal_fraction",
        window=ROOM_STEPS // 2,
        threshold=0.875,  # 14 of 16 steps
        gif_fps=4.0,
        concept=f"at_{colour}_{shape}",
    )


# Goal prompts of VLM-RM's table 3 by predicate, and what is learned in a few words.
_POSES = MappingProxyType(
    {
        "kneeling": ("a humanoid robot kneeling", "kneel on both knees"),
        "lotus": (
            "a humanoid robot seated down, meditating in the lotus position",
            "sit with the legs folded, as far as the joints allow",
        ),
        "standing": ("a humanoid robot standing up", "stand"),
        "arms-raised": ("a humanoid robot standing up, with both arms raised", "stand with both arms raised"),
        "splits": ("a humanoid robot practicing gymnastics, doing the side splits", "do the splits"),
        "hands-on-hips": (
            "a humanoid robot standing up with hands on hips",
            "stand with the hands on the hips",
        ),
        "one-leg": ("a humanoid robot standing up on one leg", "stand on one leg"),
        "arms-crossed": (
            "a humanoid robot standing up, with its arms crossed",
            "stand with the arms crossed",
        ),
    }
)
HUMANOID_STEPS = 100  # of an episode: 1.5 s, as in the paper


def _humanoid(name: str, summary: str, goal: str | None, prompts: tuple[str, ...]) -> Task:
    env = Humanoid(goal=goal, reward="gymnasium" if goal is None else "goal")
    return Task(
        name=name,
        summary=summary,
        env=TimeLimit(env, HUMANOID_STEPS),
        variants={
            "compact": TimeLimit(env, HUMANOID_STEPS),
            "full": TimeLimit(replace(env, observation="full"), HUMANOID_STEPS),
            "paper": TimeLimit(replace(env, observation="full", contacts="limbs"), HUMANOID_STEPS),
            # For --reward ground-truth: the pose's graded truth, which has the slope that a predicate lacks.
            **({"graded": TimeLimit(replace(env, reward="graded"), HUMANOID_STEPS)} if goal else {}),
            # The same for a reward that was written by hand in ten minutes, beside those of a sentence.
            **(
                {"handwritten": TimeLimit(replace(env, reward="handwritten"), HUMANOID_STEPS)}
                if goal in HANDWRITTEN
                else {}
            ),
        },
        algorithm="sac",
        domain="humanoid",
        look="textured",
        goal_prompts=prompts,
        baseline_prompts=("a humanoid robot",),
        opposite_prompts=("a humanoid robot lying on the floor",),
        episode_length=HUMANOID_STEPS,
        metric="healthy_fraction" if goal is None else "pose_fraction",
        window=HUMANOID_STEPS,
        threshold=0.5,
        gif_fps=16.0,  # half its own speed
        concept=goal,
    )


THEN = "-then-"  # between the phases of a task's name
HUMANOID_TRANSITION = 20  # steps, 0.3 s: what a body takes to fall by half a metre, from standing to kneeling


def _sequence(name: str, parts: Sequence[Task], transition: int) -> Task:
    """Tasks of one environment that differ in its goal, one after the other in an episode, each for an equal share."""
    first, steps = parts[0], parts[0].episode_length
    starts = tuple(steps * k // len(parts) for k in range(1, len(parts)))

    def phased(variant: str | None, clock: bool = True) -> Phased:
        envs = [part.env if variant is None else part.variants[variant] for part in parts]
        inner = [_bare(env) for env in envs]
        if isinstance(inner[0], Humanoid):
            named: Any = replace(inner[0], goal=tuple(env.goal for env in inner))  # pyright: ignore
            limit, goals = TimeLimit(named, steps), tuple(range(len(parts)))
        else:
            limit, goals = TimeLimit(inner[0], steps), tuple(int(part.overrides["goal"]) for part in parts)
        return Phased(limit, goals, starts, clock=clock, transition=transition)

    variants = {variant: phased(variant) for variant in first.variants if variant != "handwritten"}
    return replace(
        first,
        name=name,
        summary=", then ".join(part.summary.split(",")[0] for part in parts),
        env=phased(None),
        variants={**variants, "no-clock": phased(None, clock=False)},
        overrides={},
        then_prompts=tuple(part.goal_prompts[0] for part in parts[1:]),
        then_concepts=tuple(part.concept or "" for part in parts[1:]),
        starts=starts,
        threshold=0.5,
        window=steps,
    )


def _phases(name: str) -> Task:
    """`humanoid-A-then-B` of any two or more poses, `gridworld-A-then-B` of objects.

    Raises `ConfigError` that names the part nobody knows.
    """
    family, _, rest = name.partition("-")
    parts = rest.split(THEN)
    names = [f"{family}-{_SHORT.get(part, part)}" for part in parts]
    if family not in ("humanoid", "gridworld"):
        raise ConfigError(
            f"task {name!r} has phases; those are tasks of the humanoid and of the grid-world only"
        )
    for part, full in zip(parts, names, strict=True):
        if full not in _MAKERS or THEN in full:
            known = ", ".join(
                key.partition("-")[2] for key in _MAKERS if key.startswith(f"{family}-") and THEN not in key
            )
            raise ConfigError(f"phase {part!r} of task {name!r} is unknown; choose from {known}")
    transition = HUMANOID_TRANSITION if family == "humanoid" else ROOM_STEPS // 4
    return _sequence(name, [_MAKERS[full]() for full in names], transition)


_SHORT = MappingProxyType({"stand": "standing", "kneel": "kneeling"})

_MAKERS = {
    "cartpole": lambda: _cartpole(
        "cartpole", "keep the pole up, from nearly upright", 0.05, reward="balance", window=200
    ),
    "cartpole-swingup": lambda: _cartpole(
        "cartpole-swingup",
        "swing the pole up from any angle and keep it there",
        3.1415927,
        reward="cosine",
        window=100,
    ),
    "mountain-car": lambda: _mountain_car("mountain-car", "reach the flag; textured mountain", "textured"),
    "mountain-car-plain": lambda: _mountain_car(
        "mountain-car-plain", "reach the flag; gymnasium's line drawing", "plain"
    ),
    **{
        f"gridworld-{colour}-{shape}": lambda colour=colour, shape=shape: _gridworld(colour, shape)
        for colour, shape in (("red", "ball"), ("red", "key"), ("blue", "ball"), ("blue", "key"))
    },
    "humanoid": lambda: _humanoid("humanoid", "any pose you can name: give it with --prompt", None, ()),
    **{
        f"humanoid-{goal}": lambda goal=goal, prompt=prompt, summary=summary: _humanoid(
            f"humanoid-{goal}", summary, goal, (prompt,)
        )
        for goal, (prompt, summary) in _POSES.items()
    },
    "humanoid-stand-then-kneel": lambda: _phases("humanoid-stand-then-kneel"),
}

TASKS: tuple[str, ...] = tuple(_MAKERS)


def make_task(name: str, variant: str | None = None) -> Task:
    """The task called `name`, its environment set up as `variant` says.

    A name with a colon, such as `brax:ant`, is an environment of another library, see `adapters.foreign_task`, or, such
    as `balloon.py:cloud`, a task of a file or module of one's own, see `own`. Poses or objects joined by `-then-`, as
    in `humanoid-standing-then-lotus`, are the phases of one task.

    Raises `ConfigError` that lists the known names.
    """
    from .own import is_own, own_task

    if name in _MAKERS:
        task = _MAKERS[name]()
    elif is_own(name):
        task = own_task(name)
    elif ":" in name:
        from .adapters.foreign_task import make_foreign_task

        task = make_foreign_task(name)
    elif THEN in name:
        task = _phases(name)
    else:
        raise ConfigError(
            f"unknown task {name!r}; known tasks are {', '.join(TASKS)}, environments of other libraries as in "
            "brax:ant, and those of a Python file of yours as in balloon.py:cloud"
        )
    if variant is None:
        return task
    if variant not in task.variants:
        known = (
            f"choose one of {', '.join(task.variants)}" if task.variants else "it has none, so leave it out"
        )
        raise ConfigError(f"task {name!r} has no variant {variant!r}; {known}")
    return replace(task, env=task.variants[variant])


def one_environment(tasks: Sequence[Task]) -> tuple[Environment, list[Any]]:
    """An environment that serves all of `tasks`, and its parameters for each of them.

    Raises:
      ConfigError: they differ in more than in numbers or in the humanoid's goal.
    """
    first = tasks[0]
    if all(task.env == first.env for task in tasks):
        return first.env, [task.params for task in tasks]
    ours = _bare(first.env)
    if isinstance(ours, Humanoid) and ours.goal is None:
        raise ConfigError(
            f"{first.name} has no pose of its own and cannot be trained in one program with others; train it alone"
        )
    goals = []
    for task in tasks:
        own = _bare(task.env)
        if isinstance(ours, Humanoid) and isinstance(own, Humanoid) and own.goal is not None:
            alike = replace(own, goal=ours.goal) == ours and _limit(task.env) == _limit(first.env)
            goals.append(own.goal)
        else:
            alike = task.env == first.env
        if not alike:
            raise ConfigError(
                f"{task.name} cannot be trained in one program with {first.name}: their environments differ in more "
                "than parameters (a task's `overrides`) and the humanoid's pose; train them one after the other"
            )
    env = replace(_bare(first.env), goal=tuple(goals))  # pyright: ignore
    if isinstance(first.env, TimeLimit):
        env = replace(first.env, env=env)
    params = env.default_params
    return env, [replace(params, goal=jnp.int32(index)) for index in range(len(goals))]


def _limit(env: Environment) -> int | None:
    """Steps of an episode, None without a time limit."""
    return env.max_steps if isinstance(env, TimeLimit) else None


def _bare(env: Environment) -> Environment:
    """Without its time limit."""
    return env.env if isinstance(env, TimeLimit) else env
