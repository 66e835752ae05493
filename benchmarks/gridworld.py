"""Random-policy steps per second of grid-worlds, side by side with navix, xminigrid and minigrid in one run.

    python benchmarks/gridworld.py                    # needs `pip install navix xminigrid minigrid`
    python benchmarks/gridworld.py --only ours --envs 1 1024

Like with like: an empty room of 8 by 8 cells with its wall (6 by 6 to walk on), MiniGrid's actions (turn, forward, pick
up, drop, toggle), the symbolic 7 x 7 view after every step, episodes of 256 steps at most, a new episode after each.
Ours takes its full step, with doors, objects and carrying. Repeats of all sides are interleaved; figures are medians,
compilation apart. Each side runs on `--cores` cores; minigrid is plain Python, one environment after the other.
"""

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

SIDES = ("ours", "xminigrid", "navix", "minigrid")
LIMIT = 256  # steps of an episode


def compiled(reset: Callable, step: Callable, envs: int, steps: int) -> Callable[[int], None]:
    """A run by seed: `reset(keys [envs])` makes the first states, `step((states, total), key)` a step of all."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def run(key):
        key_reset, key_run = jax.random.split(key)
        states = reset(jax.random.split(key_reset, envs))
        return jax.lax.scan(step, (states, jnp.float32(0)), jax.random.split(key_run, steps))[0][1]

    return lambda seed: jax.block_until_ready(run(jax.random.key(seed)))


def ours(envs: int, steps: int) -> Callable[[int], None]:
    """A run of `steps` steps in each environment."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from envs.gridworld.cells import cell
    from envs.gridworld.env import EAST, REACH, GridWorld, make_params
    from envs.wrappers import TimeLimit

    world = np.full((8, 8), cell("wall"), np.uint8)
    world[1:-1, 1:-1] = 0
    world[6, 6] = cell("place", "green")
    start = np.zeros((8, 8), bool)
    start[1, 1] = True
    params = make_params(
        world, goal=REACH, goal_cells=world == cell("place", "green"), starts=start, start_direction=EAST
    )
    env = TimeLimit(GridWorld(8, 8, control="turn", observation="view"), LIMIT)
    many = lambda function, axes: jax.vmap(function, in_axes=axes)  # noqa: E731

    def step(carry, key):
        state, total = carry
        key_action, key_step = jax.random.split(key)
        actions = jax.random.randint(key_action, (envs,), 0, 6)
        keys = jax.random.split(key_step, envs)
        _, new, reward, terminated, truncated, _ = many(env.step, (0, 0, 0, None))(
            keys, state, actions, params
        )
        _, fresh = many(env.reset, (0, None))(keys, params)
        done = terminated | truncated
        state = jax.tree.map(
            lambda a, b: jnp.where(done.reshape((-1,) + (1,) * (a.ndim - 1)), a, b), fresh, new
        )
        # Observed once, after the reset. Something of it is used, or it would not be computed.
        observation = many(env.env.observe, 0)(state.inner)
        return (state, total + jnp.sum(reward) + jnp.sum(observation, dtype=jnp.float32)), None

    return compiled(lambda keys: many(env.reset, (0, None))(keys, params)[1], step, envs, steps)


def xminigrid(envs: int, steps: int) -> Callable[[int], None]:
    """The same with xminigrid's auto-reset."""
    import jax
    import jax.numpy as jnp
    import xminigrid as library
    from xminigrid.wrappers import GymAutoResetWrapper

    env, params = library.make("MiniGrid-Empty-8x8")
    params = params.replace(max_steps=LIMIT)
    env = GymAutoResetWrapper(env)

    def step(carry, key):
        timestep, total = carry
        actions = jax.random.randint(key, (envs,), 0, env.num_actions(params))
        timestep = jax.vmap(env.step, in_axes=(None, 0, 0))(params, timestep, actions)
        return (
            timestep,
            total + jnp.sum(timestep.reward) + jnp.sum(timestep.observation, dtype=jnp.float32),
        ), None

    return compiled(lambda keys: jax.vmap(env.reset, in_axes=(None, 0))(params, keys), step, envs, steps)


def navix(envs: int, steps: int) -> Callable[[int], None]:
    """The same with navix, whose step resets by itself."""
    import jax
    import jax.numpy as jnp
    import navix as library

    env = library.make(
        "Navix-Empty-8x8-v0", max_steps=LIMIT, observation_fn=library.observations.symbolic_first_person
    )

    def step(carry, key):
        timestep, total = carry
        actions = jax.random.randint(key, (envs,), 0, env.action_space.n)
        timestep = jax.vmap(env.step)(timestep, actions)
        return (
            timestep,
            total + jnp.sum(timestep.reward) + jnp.sum(timestep.observation, dtype=jnp.float32),
        ), None

    return compiled(jax.vmap(env.reset), step, envs, steps)


def minigrid(envs: int, steps: int) -> Callable[[int], None]:
    """Gymnasium environments in a Python loop."""
    import gymnasium
    import minigrid as library  # noqa: F401 - registers the environments
    import numpy as np

    worlds = [gymnasium.make("MiniGrid-Empty-8x8-v0", max_steps=LIMIT) for _ in range(envs)]
    for world in worlds:
        world.reset(seed=0)

    def run(seed: int) -> None:
        actions = np.random.default_rng(seed).integers(0, 6, (steps, envs))
        for row in actions:
            for world, action in zip(worlds, row, strict=True):
                _, _, terminated, truncated, _ = world.step(int(action))
                if terminated or truncated:
                    world.reset()

    return run


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--envs", type=int, nargs="+", default=[1, 64, 1024, 8192])
    parser.add_argument("--only", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    sides = [side for side in options.only if side == "ours" or importlib.util.find_spec(side)]
    for side in sorted(set(options.only) - set(sides)):
        print(f"{side} is not installed and left out")

    import jax

    device = jax.devices()[0].device_kind
    print(f"jax {jax.__version__}, {device}, {options.cores} cores, median of {options.repeats} runs")
    print(
        f"{'environments':>12}"
        + "".join(f"{side:>14}" for side in sides)
        + "    steps per second, ratio of ours"
    )
    figures = {}
    for envs in options.envs:
        runs, seconds = {}, {side: [] for side in sides}
        for side in sides:
            # So many steps that a run takes some tenths of a second.
            total = {"minigrid": 2_000}.get(side, 100_000 if envs == 1 else 1_000_000)
            steps = max(1, total // envs)
            runs[side] = steps * envs, globals()[side](envs, steps)
            runs[side][1](0)  # compiles
        for repeat in range(options.repeats):
            for side in sides:
                start = time.perf_counter()
                runs[side][1](repeat + 1)
                seconds[side].append(time.perf_counter() - start)
        rate = {side: runs[side][0] / statistics.median(seconds[side]) for side in sides}
        ratio = (
            "".join(f"  {rate['ours'] / rate[s]:.2f}x {s}" for s in sides if s != "ours")
            if "ours" in rate
            else ""
        )
        print(f"{envs:>12}" + "".join(f"{rate[side]:>14,.0f}" for side in sides) + "   " + ratio, flush=True)
        figures[envs] = rate
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
