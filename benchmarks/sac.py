"""Gradient steps of SAC per second, sampling from the replay buffer included, beside sbx's SAC.

    python benchmarks/sac.py                        # all cases, ours and sbx, one core
    python benchmarks/sac.py humanoid --seeds 1     # one case
    python benchmarks/sac.py --no-peer --updates 10

One case is a pair of observation and action sizes. Both sides train 256-256 actors and twin critics with a learned
entropy coefficient on batches of 512 in float32, from a replay buffer of random transitions. Ours is the update stage
of the training program: a scan over `--updates` steps, each of which samples its batch on the device; once for one
agent and once for several side by side, whose steps are added up.

The peer is sbx, Stable-Baselines3 in JAX (`pip install sbx-rl`), called as its users call it:
`train(gradient_steps, batch_size)`, which samples with NumPy first. It is timed once more without the sampling, its
jitted steps alone. It is fastest at about 16 steps a call, hence the default. Without sbx, ours is measured alone.

Repeats alternate between all sides, pinned to the same core (`--cores`). `floor` is the time of the matrix products of
one step at the rate at which this core multiplies matrices of 1024 by 1024, which leaves nothing for the rest.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

HIDDEN, BATCH = (256, 256), 512
LEARNING_RATE, DISCOUNT, TAU = 3e-4, 0.99, 0.005
ENVS, ROWS = 16, 2_000  # of the replay buffer


@dataclass(frozen=True)
class Case:
    """Sizes of an environment."""

    observation: int
    action: int


CASES = {"humanoid": Case(376, 17), "compact": Case(45, 17)}


def update_flops(case: Case) -> float:
    """Floating-point operations of the matrix products that one gradient step cannot do without."""
    first, second = HIDDEN
    actor_first, actor_rest = case.observation * first, first * second + second * 2 * case.action
    critic_first, critic_rest = (case.observation + case.action) * first, first * second + second
    actor, critic = actor_first + actor_rest, critic_first + critic_rest
    products = (
        actor + 2 * critic  # the target: next action, its values
        + 2 * (2 * critic + critic_rest)  # critics: forward, gradients of weights, gradients of activations
        + 2 * (critic + critic_rest + case.action * first)  # actor: through the critics to the actions only
        + 2 * actor + actor_rest
    )  # fmt: skip
    return 2.0 * BATCH * products


class Ours:
    """The update stage of the training program for `seeds` agents side by side."""

    def __init__(self, case: Case, updates: int, seeds: int):
        import jax
        import jax.numpy as jnp

        from jaxvlm import rl
        from jaxvlm.spaces import Box
        from jaxvlm.vlmrm.config import SACSettings, TrainConfig
        from jaxvlm.vlmrm.program import Program, RewardStats, TrainState

        self.jax = jax
        observations, actions = Box(-10.0, 10.0, (case.observation,)), Box(-0.4, 0.4, (case.action,))
        config = TrainConfig("benchmark", updates=updates, batch_size=BATCH, algorithm=SACSettings())
        agent = rl.make_sac(rl.SACConfig(HIDDEN, HIDDEN), observations, actions)
        buffer = rl.make_replay_buffer(ROWS, ENVS, rl.replay_spec(observations, actions), num_seeds=seeds)
        # The stage asks for no environment and draws nothing.
        program = Program(config, None, agent, buffer, actions, None, frame_size=0, chunk=0)
        keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
        hyper = rl.SACHyper(learning_rate=LEARNING_RATE, discount=DISCOUNT, tau=TAU)
        ring = buffer.init_seeds(seeds)
        data = ring.data.replace(
            observation=jax.random.normal(keys[0], ring.data.observation.shape),
            action=jax.random.uniform(keys[0], ring.data.action.shape, minval=-0.4, maxval=0.4),
            reward=jax.random.normal(keys[0], ring.data.reward.shape),
            valid=jnp.ones_like(ring.data.valid),
        )
        moments = jnp.full((seeds,), 1.0)
        self.state = TrainState(
            rollout=None,  # pyright: ignore[reportArgumentType]
            agent=jax.vmap(agent.init, in_axes=(0, None))(keys, hyper),
            buffer=ring.replace(data=data, size=jnp.int32(ROWS)),
            reward_stats=RewardStats(moments, 0.0 * moments, moments),
            best=None,  # pyright: ignore[reportArgumentType]
            key=keys,
            step=jnp.int32(0),
            iteration=jnp.int32(0),
        )

        def stage(learned, rest):
            return program.update_stage(rest.replace(agent=learned), jnp.float32(1))

        start = time.perf_counter()
        rest = self.state.replace(agent=None)
        self.compiled = jax.jit(stage, donate_argnums=0).lower(self.state.agent, rest).compile()
        self.compile_seconds = time.perf_counter() - start

    def iterate(self) -> float:
        """Seconds of one iteration."""
        rest = self.state.replace(agent=None, iteration=self.state.iteration + 1)
        agent = self.jax.block_until_ready(self.state.agent)
        start = time.perf_counter()
        agent, metrics = self.jax.block_until_ready(self.compiled(agent, rest))
        seconds = time.perf_counter() - start
        self.state = rest.replace(agent=agent)
        self.metrics = metrics
        return seconds


class Peer:
    """sbx's SAC with the same sizes and numbers."""

    def __init__(self, case: Case, updates: int):
        import gymnasium
        import jax
        import numpy as np
        import torch
        from sbx import SAC
        from sbx.common.type_aliases import ReplayBufferSamplesNp
        from stable_baselines3.common.logger import Logger
        from stable_baselines3.common.vec_env import DummyVecEnv

        torch.set_num_threads(1)
        observations = gymnasium.spaces.Box(-10.0, 10.0, (case.observation,), np.float32)
        actions = gymnasium.spaces.Box(-0.4, 0.4, (case.action,), np.float32)

        class Still(gymnasium.Env):
            """Says what the spaces are; never stepped."""

            observation_space, action_space = observations, actions

            def reset(self, *, seed=None, options=None):
                return np.zeros(case.observation, np.float32), {}

        self.jax, self.updates = jax, updates
        self.agent = SAC(
            "MlpPolicy",
            DummyVecEnv([Still] * ENVS),
            learning_rate=LEARNING_RATE,
            buffer_size=ROWS * ENVS,
            batch_size=BATCH,
            tau=TAU,
            gamma=DISCOUNT,
            policy_kwargs={"net_arch": list(HIDDEN)},
            seed=0,
        )
        self.agent.set_logger(Logger(folder=None, output_formats=[]))
        rng, ring = np.random.default_rng(0), self.agent.replay_buffer
        for array in (ring.observations, ring.next_observations, ring.rewards):
            array[:] = rng.normal(size=array.shape)
        ring.actions[:] = rng.uniform(-1.0, 1.0, ring.actions.shape)
        ring.full = True
        sampled = ring.sample(BATCH * updates)
        self.data = jax.device_put(
            ReplayBufferSamplesNp(
                sampled.observations.numpy(),
                sampled.actions.numpy(),
                sampled.next_observations.numpy(),
                sampled.dones.numpy().ravel(),
                sampled.rewards.numpy().ravel(),
                np.full(BATCH * updates, DISCOUNT, np.float32),
            )
        )
        start = time.perf_counter()
        self.iterate()
        self.compile_seconds = time.perf_counter() - start - self.iterate()

    def states(self):
        """All that training changes."""
        return self.agent.policy.qf_state, self.agent.policy.actor_state, self.agent.ent_coef_state

    def iterate(self) -> float:
        """Seconds of `train`, which samples all batches and takes the steps."""
        start = time.perf_counter()
        self.agent.train(gradient_steps=self.updates, batch_size=BATCH)
        self.jax.block_until_ready([state.params for state in self.states()])
        return time.perf_counter() - start

    def iterate_steps(self) -> float:
        """Seconds of the jitted steps alone, from batches that are on the device already."""
        agent = self.agent
        start = time.perf_counter()
        result = agent._train(
            agent.tau, agent.target_entropy, self.updates, self.data, 1, 0, *self.states(), agent.key
        )
        self.jax.block_until_ready([state.params for state in result[:3]])
        return time.perf_counter() - start


def multiply_rate(repeats: int) -> Callable[[], float]:
    """Makes a function that measures FLOP/s of 1024-by-1024 float32 matrix products."""
    import jax
    import jax.numpy as jnp

    product = jax.jit(lambda x: jnp.matmul(x, x, precision=jax.lax.Precision.HIGHEST))
    matrix = jax.block_until_ready(jnp.ones((1024, 1024)))
    product(matrix).block_until_ready()

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            product(matrix).block_until_ready()
        return 2.0 * 1024**3 * repeats / (time.perf_counter() - start)

    return measure


def run_case(name: str, updates: int, seeds: list[int], repeats: int, peer: bool) -> dict:
    """Alternates all sides and returns medians and ranges."""
    case = CASES[name]
    print(f"{name}: compiling ...", flush=True)
    sides, compile_seconds, agents = {}, {}, {}
    for count in seeds:
        side = "jaxvlm" if count == 1 else f"jaxvlm, {count} seeds"
        ours = Ours(case, updates, count)
        sides[side], compile_seconds[side], agents[side] = ours.iterate, ours.compile_seconds, count
    if peer:
        theirs = Peer(case, updates)
        sides["sbx"], compile_seconds["sbx"] = theirs.iterate, theirs.compile_seconds
        sides["sbx without sampling"] = theirs.iterate_steps
    rate, rates = multiply_rate(10), []
    for measure in sides.values():
        measure()
    times: dict[str, list[float]] = {side: [] for side in sides}
    for index in range(repeats):
        rates.append(rate())
        for side, measure in sides.items():
            times[side].append(measure())
        line = ", ".join(f"{side} {updates / taken[-1]:.1f}" for side, taken in times.items())
        print(f"  repeat {index + 1}/{repeats}: {line} steps/s", flush=True)
    flops, multiplied = update_flops(case), statistics.median(rates)
    result = {
        "case": name,
        "flops": flops,
        "multiply_flops_per_second": multiplied,
        "floor_steps_per_second": multiplied / flops,
        "sides": {},
    }
    for side, taken in times.items():
        per_second = sorted(updates * agents.get(side, 1) / seconds for seconds in taken)
        result["sides"][side] = {
            "steps_per_second": statistics.median(per_second),
            "range": [per_second[0], per_second[-1]],
            "compile_seconds": compile_seconds.get(side),
        }
        if "jaxvlm" in times and side.startswith("sbx"):
            pairs = zip(times["jaxvlm"], taken, strict=True)
            result["sides"][side]["ratio"] = statistics.median(b / a for a, b in pairs)
    return result


def report(result: dict) -> str:
    """A case in lines of text."""
    case = CASES[result["case"]]
    lines = [
        f"{result['case']}: {case.observation} observations, {case.action} actions, "
        f"{'-'.join(map(str, HIDDEN))}, batch {BATCH}",
        f"  {'floor':<22} {result['floor_steps_per_second']:6.1f} gradient steps/s "
        f"({result['flops'] / 1e9:.2f} GFLOP at {result['multiply_flops_per_second'] / 1e9:.0f} GFLOP/s)",
    ]
    for side, figures in result["sides"].items():
        low, high = figures["range"]
        line = f"  {side:<22} {figures['steps_per_second']:6.1f} gradient steps/s ({low:.1f} to {high:.1f})"
        if figures["compile_seconds"] is not None:
            line += f", compile {figures['compile_seconds']:.1f} s"
        if "ratio" in figures:
            line += f", ours is {figures['ratio']:.2f} times as fast (median of pairs)"
        lines.append(line)
    return "\n".join(lines)


def versions() -> str:
    """What was measured, with versions."""
    found = []
    for package in ("jax", "jaxlib", "jaxvlm", "sbx-rl", "stable-baselines3", "torch"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--updates", type=int, default=16, help="gradient steps of a repeat")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seeds", default="1,4", help="agents side by side, such as 1 or 1,4")
    parser.add_argument("--no-peer", action="store_true", help="measure jaxvlm alone")
    parser.add_argument("--cores", default="0", help="cores to run on, such as 0 or 0,1; empty for all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; choose of {', '.join(CASES)}")
    if options.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
    peer = not options.no_peer
    if peer and find_spec("sbx") is None:
        print("sbx is not installed (pip install sbx-rl); measuring jaxvlm alone", file=sys.stderr)
        peer = False
    seeds = [int(count) for count in options.seeds.split(",")]
    results = []
    for name in options.cases:
        results.append(run_case(name, options.updates, seeds, options.repeats, peer))
        print(report(results[-1]), flush=True)
    import jax

    print(f"{versions()}; {jax.devices()[0].device_kind}, cores {options.cores or 'all'}, float32")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
