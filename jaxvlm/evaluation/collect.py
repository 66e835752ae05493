"""States that policies reach: whole episodes from fresh starts, with everything a frame is drawn from."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import struct

from jaxvlm.compiler import compiler_options
from jaxvlm.evaluation.states import scene_fields
from jaxvlm.rl import collect, env_keys, first_episode, init_rollout


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
      act: `(agent, observation, key, step, deterministic) -> action`, of one seed's agent.
      episodes: played in a call, for each seed.
      length: steps an episode may take.
    """
    import jax.numpy as jnp

    def one_seed(
        env_params: Any,
        agent: Any,
        seed: jax.Array,
        first: jax.Array,
        deterministic: jax.Array,
        step: jax.Array,
    ) -> Any:
        # Streams 0 to 2 of a seed belong to training; 3 is that of evaluation.
        key_start, key_act = jax.random.split(jax.random.fold_in(jax.random.key(seed), 3))

        def policy(observation: jax.Array, key: jax.Array) -> jax.Array:
            return jnp.where(
                deterministic,
                act(agent, observation, key, step, deterministic=True),
                act(agent, observation, key, step),
            )

        start = init_rollout(env, env_params, env_keys(key_start, episodes, first))
        return collect(env, env_params, policy, start, key_act, length, first_env_index=first, scenes=True)[1]

    def play(
        env_params: Any,
        agent: Any,
        seeds: jax.Array,
        first: jax.Array,
        deterministic: jax.Array,
        step: jax.Array,
    ) -> Played:
        with jax.default_matmul_precision("highest"):
            rows = jax.vmap(one_seed, in_axes=(None, 0, 0, None, None, None))(
                env_params, agent, seeds, first, deterministic, step
            )
        return Played(
            scene=rows.scene,
            success=rows.success,
            counted=jax.vmap(first_episode)(rows.done) & rows.valid,
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
