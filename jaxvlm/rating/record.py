"""Episodes for the eye: what a run's agents did in every step."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.evaluation.collect import make_player
from jaxvlm.evaluation.states import scene_fields
from jaxvlm.rating.material import Rule
from jaxvlm.vlmrm.evaluate import judge

BLOCK = 20  # episodes of a seed in one call, so that progress is shown and memory stays bounded


class Recorded(NamedTuple):
    """Every step of whole episodes, on the host."""

    scenes: dict[
        str, np.ndarray
    ]  # field of the scene -> [seed, episode, time, ...], of the state an action led to
    holds: np.ndarray  # bool[seed, episode, time], the predicate's verdict; False after the end
    steps: np.ndarray  # i32[seed, episode], how many there are
    success: np.ndarray  # bool[seed, episode], as `jaxvlm evaluate` judges it


def record(
    env: Any,
    act: Callable[..., jax.Array],
    env_params: Any,
    agent: Any,
    seeds: jax.Array,
    *,
    step: int,
    episodes: range,
    rule: Rule,
    deterministic: bool = True,
    progress: Callable[[int], object] = lambda done: None,
) -> Recorded:
    """Plays episodes; episode i of a seed is the one that `jaxvlm evaluate` counts, where it acts the same way.

    Args:
      env: environment with its time limit.
      act: see `make_player`.
      env_params: numeric parameters of the environment.
      agent: agent states, leading axis seed.
      seeds: i32[seed], from which episode starts are drawn.
      step: environment steps the agents have behind them.
      episodes: numbers of those of each seed that are played.
      rule: of the task, with the steps an episode may take.
      deterministic: greedy or mean actions; else they are sampled.
      progress: called with the number of episodes of each seed that are played.
    """
    block = min(BLOCK, len(episodes))
    play = make_player(env, act, episodes=block, length=rule.length)
    starts = env_params.starts if getattr(env, "phases", 1) > 1 else None
    judged = jax.jit(partial(judge, env, window=rule.window, threshold=rule.threshold, starts=starts))
    blocks = []
    for first in episodes[::block]:
        how = (jnp.int32(first), jnp.asarray(deterministic), jnp.int32(step))
        played = jax.device_get(play(env_params, agent, seeds, *how))
        arrays = {
            "holds": played.success & played.counted,
            "counted": played.counted,
            **{f"scene/{name}": leaf for name, leaf in scene_fields(played.scene).items()},
        }
        success = jax.device_get(judged(played.success, played.counted, played.terminated, played.phase)[0])
        blocks.append({"success": success, **{name: array.swapaxes(1, 2) for name, array in arrays.items()}})
        progress(min(first + block, episodes.stop) - episodes.start)
    joined = {
        name: np.concatenate([each[name] for each in blocks], 1)[:, : len(episodes)] for name in blocks[0]
    }
    holds, steps = joined.pop("holds"), joined.pop("counted").sum(2).astype(np.int32)
    success = joined.pop("success")
    scenes = {name.removeprefix("scene/"): array for name, array in joined.items()}
    return Recorded(scenes, holds, steps, success)
