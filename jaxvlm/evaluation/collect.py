"""States that policies reach: whole episodes from fresh starts, with everything a frame is drawn from."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import struct

from jaxvlm.compiler import compiler_options
from jaxvlm.evaluation.states import scene_fields
from jaxvlm.rl import play_episodes


@struct.dataclass
class Played:
    """Rows of episodes."""

    scene: Any  # [seed, time, episode, ...] of the state that the action led to
    success: jax.Array  # bool[seed, time, episode]
    counted: jax.Array  # bool[seed, time, episode], the row belongs to the episode
    terminated: jax.Array  # bool[seed, time, episode], the action led to a terminal state
    phase: jax.Array | None = None  # i32[seed, time, episode], of a task of several phases


def make_player(
    env: Any, act: Callable[..., jax.Array], *, episodes: int, length: int
) -> Callable[..., Played]:
    """A compiled `(env_params, agent, seeds i32[s], first i32[], deterministic bool[], step i32[]) -> Played`.

    Episodes start and act as those of `jaxvlm evaluate` do: episode i of a seed is the same one there.

    Args:
      env: environment with its time limit.
      act: see `play_episodes`.
      episodes: played in a call, for each seed.
      length: steps an episode may take.
    """

    def play(
        env_params: Any,
        agent: Any,
        seeds: jax.Array,
        first: jax.Array,
        deterministic: jax.Array,
        step: jax.Array,
    ) -> Played:
        rows, counted = play_episodes(
            env,
            env_params,
            act,
            agent,
            seeds,
            step=step,
            deterministic=deterministic,
            episodes=episodes,
            length=length,
            first=first,
        )
        return Played(
            scene=rows.scene,
            success=rows.success,
            counted=counted,
            terminated=rows.terminated,
            phase=rows.phase,
        )

    return jax.jit(play, compiler_options=compiler_options())


def choose_rows(
    played: Played, seeds: np.ndarray, first: int
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray]]:
    """The rows that belong to episodes, by seed, episode and time.

    Args:
      played: of a player.
      seeds: i32[seed], what `played`'s first axis stands for.
      first: number of the first episode.

    Returns:
      The fields of their scenes [n, ...], their success bool[n], and their index without the source, i32[n] each.
    """
    places = np.argwhere(np.asarray(played.counted).transpose(0, 2, 1))  # seed, episode, time
    seed, episode, time = places.T
    scene = {name: array[seed, time, episode] for name, array in scene_fields(played.scene).items()}
    index = {"seed": seeds[seed], "episode": first + episode, "step": time + 1}
    return (
        scene,
        np.asarray(played.success)[seed, time, episode],
        {name: np.asarray(values, np.int32) for name, values in index.items()},
    )
