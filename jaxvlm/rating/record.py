"""Episodes for the eye: what a run's agents did in every step, and the frames that are drawn of it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.compiler import compiler_options
from jaxvlm.evaluation.collect import make_player
from jaxvlm.evaluation.states import scene_fields
from jaxvlm.render import draw_batch

BLOCK = 20  # episodes of a seed in one call, so that progress is shown and memory stays bounded


class Recorded(NamedTuple):
    """Every step of whole episodes, on the host."""

    scenes: dict[
        str, np.ndarray
    ]  # field of the scene -> [seed, episode, time, ...], of the state an action led to
    holds: np.ndarray  # bool[seed, episode, time], the predicate's verdict; False after the end
    steps: np.ndarray  # i32[seed, episode], how many there are


def record(
    env: Any,
    act: Callable[..., jax.Array],
    env_params: Any,
    agent: Any,
    seeds: jax.Array,
    *,
    step: int,
    episodes: int,
    length: int,
    progress: Callable[[int], object] = lambda done: None,
) -> Recorded:
    """Plays episodes deterministically; episode i of a seed is the one that `jaxvlm evaluate` counts.

    Args:
      env: environment with its time limit.
      act: see `make_player`.
      env_params: numeric parameters of the environment.
      agent: agent states, leading axis seed.
      seeds: i32[seed], from which episode starts are drawn.
      step: environment steps the agents have behind them.
      episodes: of each seed.
      length: steps an episode may take.
      progress: called with the number of episodes of each seed that are played.
    """
    block = min(BLOCK, episodes)
    play = make_player(env, act, episodes=block, length=length)
    blocks = []
    for first in range(0, episodes, block):
        played = jax.device_get(
            play(env_params, agent, seeds, jnp.int32(first), jnp.asarray(True), jnp.int32(step))
        )
        arrays = {
            "holds": played.success & played.counted,
            "counted": played.counted,
            **{f"scene/{name}": leaf for name, leaf in scene_fields(played.scene).items()},
        }
        blocks.append({name: array.swapaxes(1, 2) for name, array in arrays.items()})
        progress(min(first + block, episodes))
    joined = {name: np.concatenate([each[name] for each in blocks], 1)[:, :episodes] for name in blocks[0]}
    holds, steps = joined.pop("holds"), joined.pop("counted").sum(2).astype(np.int32)
    return Recorded({name.removeprefix("scene/"): array for name, array in joined.items()}, holds, steps)


def make_drawer(
    render: Callable[[Any, Any, Any, int], jax.Array], assets: Any, cameras: Sequence[Any], size: int
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
