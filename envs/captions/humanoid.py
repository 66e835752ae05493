"""Captions of the humanoid: the eight goals, and what can be read off its geometry.

The goals' truth is that of `envs.humanoid.predicates`, as `goal_log_odds` there grades it: a score that follows it has
a slope from standing to any of the poses, and from falling back to those that stand.

A state is what a frame shows: poses of geoms and the measures taken of them. `describe` makes states of any scenes,
those of rollouts too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvlm.clip.captions import CaptionedDataset, Goal, Predicted, Sweep
from jaxvlm.render import RayScene

from ..humanoid.env import Humanoid
from ..humanoid.examples import EXAMPLES, RAISED, Example, example_qpos
from ..humanoid.kinematics import pose_scene, with_camera
from ..humanoid.poses import Library, keep_found, make_library, sample_qpos, with_extra, with_found
from ..humanoid.postures import drop
from ..humanoid.predicates import GOALS, goal_log_odds
from ..humanoid.rollouts import random_falls, read_states, visited_states
from ..humanoid.search import climb
from .humanoid_concepts import CONCEPTS, OF_DEFAULT_VIEW
from .humanoid_facts import PosedHumanoid, describe

FALLS = 0.12  # share of the held-out states that come from falls

# Of training: shares of the states that policies and falls reached, and of those that searches found.
VISITED_SHARE, FOUND_SHARE = 0.3, 0.15
LOOSE = np.deg2rad(4.0)  # rad, the joint jitter of both: there are more of them than were saved
CHAINS, STARTS, ROUNDS = 96, 8192, 24  # of a search: chains of each goal, poses they start from, proposals
FOUND = 8 * len(GOALS) * CHAINS  # poses kept, those of eight searches
WRONG = 1.5  # log-odds


@dataclass(frozen=True)
class HumanoidPictures(Humanoid):
    """The humanoid's looks and cameras for states that need no physics."""

    def scene(self, state: PosedHumanoid, params: Any) -> RayScene:  # pyright: ignore[reportIncompatibleMethodOverride]
        return with_camera(state.scene).scene


@dataclass(frozen=True)
class HumanoidCaptions(CaptionedDataset):
    """With other cameras than the default one, the facts that are true of its view alone are left out."""

    def __post_init__(self) -> None:
        if self.cameras != ("default",):
            kept = tuple(concept for concept in self.concepts if concept.name not in OF_DEFAULT_VIEW)
            object.__setattr__(self, "concepts", kept)


# Jitted for the draw that training takes once outside its own program: it is of a few hundred operations.
@partial(jax.jit, static_argnums=2)
def sample_states(library: Library, key: jax.Array, count: int) -> PosedHumanoid:
    """Poses of the library, see `envs.humanoid.poses`."""
    return describe(pose_scene(sample_qpos(key, count, library)))


# Where the way to a goal begins: standing with arms down, and for standing itself lying on the back.
_STARTS = {goal: Example("standing") for goal in GOALS} | {
    "standing": Example("on its back", tilt=(-90.0, 0.0))
}
_ENDS = {goal: examples[0][0] for goal, examples in EXAMPLES.items()} | {
    "arms-raised": Example("raised", {}, RAISED)
}


def way_to(goal: str, values: Float[Array, " n"], yaw: float) -> PosedHumanoid:
    """States on the straight line of joint angles to a goal, on the floor, turned by `yaw` degrees.

    `values` are shares of the way, 0 to 1.
    """
    start, end = jnp.asarray(example_qpos(_STARTS[goal], _ENDS[goal]))
    qpos = start + jnp.asarray(values)[:, None] * (end - start)
    half = 0.5 * np.deg2rad(yaw)
    c, s = float(np.cos(half)), float(np.sin(half))
    w, x, y, z = jnp.moveaxis(qpos[:, 3:7], -1, 0)
    turned = jnp.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=-1)
    qpos = qpos.at[:, 3:7].set(turned / jnp.linalg.norm(turned, axis=-1, keepdims=True))
    return _on_floor(qpos)


@jax.jit
def _on_floor(qpos: Float[Array, "n 24"]) -> PosedHumanoid:
    return describe(pose_scene(drop(qpos)))


def _sweep(goal: str) -> Sweep:
    return Sweep(
        coordinate="share of the way to the pose",
        unit="",
        values=tuple(round(0.04 * k, 2) for k in range(26)),
        contexts=(-30.0, 0.0, 30.0),
        states=lambda values, yaw: way_to(goal, values, yaw),
    )


def mine(key: jax.Array, sampler: Any, predicted: Predicted) -> Any:
    """Searches for poses on which a CLIP is wrong about a goal, and puts them into the library's ring.

    Half of the chains of a goal maximise predicted minus true log-odds, the others the negative of that, from poses for
    which the goal holds. The truth is clipped at `WRONG` beyond the boundary, so that no chain gains by moving on
    from there. The last poses of all chains are kept, whether wrong or not.
    """
    (library,) = sampler.args
    if len(GOALS) * CHAINS > STARTS:
        raise ValueError(f"{len(GOALS) * CHAINS} chains start from {STARTS} poses")
    key_start, key_true, key_search = jax.random.split(key, 3)
    goal = jnp.repeat(jnp.arange(len(GOALS)), CHAINS)
    negative = jnp.arange(len(goal)) % 2 == 1

    def truth(state: PosedHumanoid) -> Float[Array, "n goals"]:
        return jnp.stack([goal_log_odds(name, state.measures) for name in GOALS], axis=-1)

    starts = sample_qpos(key_start, STARTS, library)
    holds = truth(describe(pose_scene(starts))).T > 0
    chosen = jax.random.categorical(key_true, jnp.where(holds, 0.0, -1e3)[goal])
    qpos = starts[jnp.where(negative, chosen, jnp.arange(len(goal)))]

    def mistake(qpos: Float[Array, "n 24"]) -> Float[Array, " n"]:
        state = describe(pose_scene(qpos))
        true = truth(state)[jnp.arange(len(goal)), goal]
        ours = predicted(state, goal)
        return jnp.where(negative, jnp.minimum(true, WRONG) - ours, ours - jnp.maximum(true, -WRONG))

    found, _ = climb(key_search, qpos, mistake, ROUNDS)
    return jax.tree_util.Partial(sampler.func, keep_found(library, found))


def with_files(states: Float[np.ndarray, "n 24"], files: Sequence[Path]) -> Float[np.ndarray, "m 24"]:
    """The states and as many from the files, repeated or cut to their number; without files the states alone."""
    if not files:
        return states
    more = np.concatenate([read_states(path) for path in files])
    return np.concatenate([states, np.resize(more, states.shape)])


def training_library(library: Library, files: Sequence[Path] = ()) -> Library:
    """Adds states of policies and room for what `mine` finds; until then it holds poses of the library.

    States in `files` are half of those of policies, however few they are.
    """
    given = [library.extra] if library.extra_share > 0 else []
    states = with_files(np.concatenate([*given, random_falls(), visited_states()]), files)
    ring = jax.jit(sample_qpos, static_argnums=1)(jax.random.key(1), FOUND, library)
    return with_found(with_extra(library, states, VISITED_SHARE, 0.08, LOOSE), ring, FOUND_SHARE)


def humanoid_captions(library: Library | None = None, states: Sequence[Path] = ()) -> CaptionedDataset:
    """Humanoids in the eight poses, near them and in many others, seen from the front.

    Args:
      library: what poses are put together from; the default is found in a few seconds, and draws a share of its
        states from falls under random actions. Training adds states of policies, and the poses that `mine` finds.
      states: files of further states to train on, see `training_library`; figures are measured without them.

    Raises:
      ConfigError: a file that holds no states.
    """
    for path in states:
        read_states(path)
    poses = library or make_library()
    return HumanoidCaptions(
        domain="humanoid",
        environment=HumanoidPictures(),
        params=None,
        sample_states=jax.tree_util.Partial(
            sample_states, library or with_extra(poses, random_falls(), FALLS)
        ),
        concepts=CONCEPTS,
        goals=tuple(Goal(goal, "lying", _sweep(goal)) for goal in GOALS),
        baseline="scene",
        looks=("textured",),
        training_sampler=lambda: jax.tree_util.Partial(sample_states, training_library(poses, states)),
        mine=mine,
    )
