"""Episodes for the eye: what a run's agents did in every step, and the frames that are drawn of it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.compiler import compiler_options
from jaxvlm.render import draw_batch
from jaxvlm.rl import collect, env_keys, first_episode, init_rollout
from jaxvlm.vlmrm.program import Inputs, Program

BLOCK = 20  # episodes of a seed in one call, so that progress is shown and memory stays bounded


class Recorded(NamedTuple):
    """Every step of whole episodes, on the host."""

    scene: Any  # pytree [seed, episode, time, ...], of the state each action led to
    holds: np.ndarray  # bool[seed, episode, time], the predicate's verdict; False after the end
    steps: np.ndarray  # i32[seed, episode], how many there are


def record(
    program: Program,
    inputs: Inputs,
    agent: Any,
    seed: jax.Array,
    *,
    episodes: int,
    length: int,
    progress: Callable[[int], object] = lambda done: None,
) -> Recorded:
    """Plays episodes deterministically, as `jaxvlm evaluate` does: episode i of a seed is the same in both.

    Args:
      program: environment and agent.
      inputs: environment parameters.
      agent: agent states, leading axis seed.
      seed: i32[seed], from which episode starts are drawn.
      episodes: of each seed.
      length: steps an episode may take.
      progress: called with the number of episodes of each seed that are played.
    """
    block = min(BLOCK, episodes)

    @partial(jax.jit, compiler_options=compiler_options())
    def play(
        inputs: Inputs, agent: Any, seeds: jax.Array, first: jax.Array
    ) -> tuple[Any, jax.Array, jax.Array]:
        def one_seed(agent: Any, seed: jax.Array) -> Any:
            # The stream of `run_episodes`, so that these are the episodes that an evaluation counted.
            key_start, key_act = jax.random.split(jax.random.fold_in(jax.random.key(seed), 3))

            def act(observation: jax.Array, key: jax.Array) -> jax.Array:
                last = jnp.int32(program.config.steps)
                return program.agent.act(agent, observation, key, last, deterministic=True)

            start = init_rollout(program.env, inputs.env_params, env_keys(key_start, block, first))
            return collect(
                program.env,
                inputs.env_params,
                act,
                start,
                key_act,
                length,
                first_env_index=first,
                scenes=True,
            )[1]

        with jax.default_matmul_precision("highest"):
            rows = jax.vmap(one_seed)(agent, seeds)  # [seed, time, episode]
        counted = jax.vmap(first_episode)(rows.done) & rows.valid
        by_episode = lambda leaf: jnp.swapaxes(leaf, 1, 2)  # noqa: E731
        return jax.tree.map(by_episode, rows.scene), by_episode(rows.success & counted), counted.sum(1)

    blocks = []
    for first in range(0, episodes, block):
        blocks.append(jax.device_get(play(inputs, agent, seed, jnp.int32(first))))
        progress(min(first + block, episodes))
    scene, holds, steps = jax.tree.map(lambda *parts: np.concatenate(parts, 1)[:, :episodes], *blocks)
    return Recorded(scene, holds, steps.astype(np.int32))


def make_drawer(
    render: Callable[[Any, Any, Any, int], jax.Array], assets: Any, cameras: list[Any], size: int
) -> Callable[[Any], np.ndarray]:
    """A function that draws scenes, views side by side: pytree [time, ...] -> u8[time, size, views * size, 3].

    It compiles once for each number of scenes.
    """
    views = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *cameras)

    @partial(jax.jit, compiler_options=compiler_options())
    def draw(scenes: Any, assets: Any, views: Any) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            frames = draw_batch(render, scenes, assets, views, size)  # [time, view, size, size, 3]
        return jnp.moveaxis(frames, 1, 2).reshape(frames.shape[0], size, -1, 3)

    return lambda scenes: np.asarray(draw(scenes, assets, views))
