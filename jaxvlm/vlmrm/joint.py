"""Several tasks as one program: what tells them apart becomes an axis of the arguments.

Training the eight poses of table 1 one after another leaves an accelerator waiting: a few dozen environments are too
few to fill it. Here their programs run side by side under `vmap`, frames of all tasks meet in the same batches of the
renderer and the image tower, and each task keeps a run directory of its own, as if it had been trained alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.errors import ConfigError
from jaxvlm.rl import REPLAY_AXES, buffer_bytes, check_memory
from jaxvlm.vlmrm.build import Built
from jaxvlm.vlmrm.program import Inputs, Program, TrainState
from jaxvlm.vlmrm.train import Session, compile_ahead, seeds_of

# How a TrainState is laid out when tasks are vmapped: everything batched but the counters.
TASK_AXES: Any = TrainState(
    rollout=0,  # pyright: ignore
    agent=0,
    buffer=REPLAY_AXES,
    reward_stats=0,  # pyright: ignore
    best=0,  # pyright: ignore
    key=0,  # pyright: ignore
    step=None,  # pyright: ignore
    iteration=None,  # pyright: ignore
)


@dataclass(frozen=True)
class Joint:
    """Tasks that train side by side."""

    tasks: tuple[Built, ...]  # each alone, for its evaluation
    program: Program  # of one task; its environment takes the goal from its parameters
    inputs: Inputs  # leaves that differ between tasks have a leading axis [task]
    axes: Any  # of `inputs`, for vmap
    params: tuple[Any, ...]  # of the environment, for each task

    def alone(self, index: int) -> Built:
        """One task in the program of all, whose evaluation is compiled once for all of them."""
        built = self.tasks[index]
        program = replace(self.program, config=built.program.config, chunk=built.program.chunk)
        return replace(built, program=program, inputs=replace(built.inputs, env_params=self.params[index]))

    def init(self, inputs: Inputs, seed: jax.Array, hyper: Any) -> TrainState:
        """First states: leaves [task, seed, ...] but for the counters."""
        init = jax.vmap(
            self.program.init,
            in_axes=(self.axes, None, None),
            out_axes=TASK_AXES,
            axis_size=len(self.tasks),  # tasks may be alike in every number
        )
        return init(inputs, seed, hyper)

    def iteration(self, inputs: Inputs, state: TrainState) -> tuple[TrainState, dict[str, jax.Array]]:
        """`Program.iteration` of all tasks; metrics f32[task, seed]."""
        step = jax.vmap(
            self.program.iteration,
            in_axes=(self.axes, TASK_AXES),
            out_axes=(TASK_AXES, 0),
            axis_size=len(self.tasks),
        )
        return step(inputs, state)


def join(tasks: Sequence[Built], env: Any, params: Sequence[Any]) -> Joint:
    """Puts tasks side by side.

    Args:
      tasks: built alone, alike but for their names, prompts, goals, alphas, weights of a mix and weights of their
        CLIPs.
      env: the environment of all, whose parameters say which goal is meant.
      params: its parameters, one for each task.

    Raises:
      ConfigError: the tasks differ in what shapes the program, or their replay buffers do not fit into memory.
    """
    if not tasks:
        raise ConfigError("there is no task to train; name at least one")
    first = tasks[0].program

    for built in tasks[1:]:
        if (different := _difference(tasks[0], built)) is not None:
            raise ConfigError(
                f"{built.program.config.task} and {first.config.task} have different settings ({different}); tasks "
                "that train in one program may differ in sentences, alphas, weights of a mix and in the "
                "weights of their CLIPs only"
            )
    tasks = sharing_clips(tasks)
    buffer = first.buffer
    check_memory(
        len(tasks) * first.config.seeds * buffer_bytes(first.config.buffer_rows, buffer.num_envs, buffer.spec)
    )
    # With the schedule that each was built with, which may not be the environment's own.
    asked = [built.program.config.at for built in tasks]
    params = [env.with_starts(own, at) if at else own for own, at in zip(params, asked, strict=True)]
    inputs, axes = _stack(
        [replace(built.inputs, env_params=own) for built, own in zip(tasks, params, strict=True)]
    )
    # As many frames at a time as one task would draw alone.
    chunk = max(1, min(built.program.chunk for built in tasks) // len(tasks))
    return Joint(tuple(tasks), replace(first, env=env, chunk=chunk), inputs, axes, tuple(params))


def _difference(one: Built, other: Built) -> str | None:
    """The first setting that shapes the programs differently, with both values; None where there is none."""

    def settings(built: Built) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in built.program.config.to_dict().items():
            if isinstance(value, dict):
                found |= {f"{name}.{inner}": v for inner, v in value.items()}
            else:
                found[name] = value
        # Numbers of the reward are arguments. The chunk is what fitted into the memory that was free, which changes
        # from one task to the next.
        names = ("clip", "prompt", "baseline", "negative", "chunk", "alpha", "clip_weight", "truth_weight")
        for name in ("task", *(f"reward.{name}" for name in names)):
            del found[name]
        # The encoder of a `Tower` is its method; what the tower is shapes the program, its weights do not.
        clip = getattr(getattr(built.program.encode, "__self__", None), "clip", None)
        leaves = jax.tree.map(lambda leaf: (jnp.shape(leaf), str(jnp.result_type(leaf))), built.inputs.reward)
        return found | {
            "frame size": built.program.frame_size,
            "CLIP": getattr(clip, "config", None),
            "patches that are kept": getattr(clip, "keep", None),
            "shapes of prompts, looks and cameras": leaves,
        }

    if one.program.label is not other.program.label:
        return "label, the reward of their own"
    ours, theirs = settings(one), settings(other)
    for name, value in ours.items():
        if theirs[name] != value:
            short = isinstance(value, (bool, int, float, str, tuple, type(None)))
            return f"{name}: {theirs[name]!r} and {value!r}" if short else name
    return None


def sharing_clips(tasks: Sequence[Built]) -> list[Built]:
    """The tasks with one copy of each CLIP's weights between them."""
    kept: dict[str, Any] = {}
    shared = []
    for built in tasks:
        reward = built.inputs.reward
        if reward is not None and built.clip_digest is not None:
            reward = replace(reward, clip=kept.setdefault(built.clip_digest, reward.clip))
        shared.append(replace(built, inputs=replace(built.inputs, reward=reward)))
    return shared


def _stack(trees: Sequence[Any]) -> tuple[Any, Any]:
    """Stacks the leaves that differ; returns them with the axes that `vmap` takes."""

    def same(leaves: Sequence[Any]) -> bool:
        return all(
            leaf is leaves[0] or np.array_equal(np.asarray(leaf), np.asarray(leaves[0]))
            for leaf in leaves[1:]
        )

    columns, structure = zip(*(jax.tree.flatten(tree) for tree in trees), strict=True)
    leaves, axes = [], []
    for column in zip(*columns, strict=True):
        alike = same(column)
        leaves.append(column[0] if alike else jnp.stack([jnp.asarray(leaf) for leaf in column]))
        axes.append(None if alike else 0)
    tree = structure[0]
    return jax.tree.unflatten(tree, leaves), jax.tree.unflatten(tree, axes)


def task_state(state: TrainState, index: int) -> TrainState:
    """The state of one task, as `Program` lays it out."""
    return jax.tree.map(
        lambda axis, part: part if axis is None else jax.tree.map(lambda leaf: leaf[index], part),
        TASK_AXES,
        state,
        is_leaf=lambda axis: axis is None,
    )


def join_states(states: Sequence[TrainState]) -> TrainState:
    """The inverse of `task_state` for all tasks."""

    def stack(axis: int | None, *parts: Any) -> Any:
        return parts[0] if axis is None else jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)

    return jax.tree.map(
        stack,
        TASK_AXES,
        *states,
        is_leaf=lambda axis: axis is None,
    )


class JointSession(Session):
    """A training of several tasks between two iterations; a run directory for each."""

    def states(self) -> Iterator[TrainState]:
        """The state of each task."""
        # One after another, as each is a copy.
        return (task_state(self.state, index) for index in range(self._tasks))

    def agents(self) -> Iterator[Any]:
        """The agents of each task."""
        return (
            jax.tree.map(lambda leaf, index=index: leaf[index], self.state.agent)
            for index in range(self._tasks)
        )

    def metrics(self, fetched: dict[str, Any]) -> list[dict[str, Any]]:
        """The metrics of each task."""
        return [{name: value[index] for name, value in fetched.items()} for index in range(self._tasks)]

    @property
    def _tasks(self) -> int:
        return self.state.key.shape[0]


def start_joint(joint: Joint) -> JointSession:
    """A session at the beginning; the iteration is compiled with its state donated."""
    first = joint.tasks[0]
    state = jax.jit(joint.init)(joint.inputs, seeds_of(first), first.hyper)
    compiled, seconds = compile_ahead(joint.iteration, joint.inputs, state)
    return JointSession(joint.program.config, joint.inputs, state, compiled, seconds)
