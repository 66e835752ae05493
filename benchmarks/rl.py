"""DQN on CartPole-v1 and SAC on Pendulum-v1 against Stable-Baselines3 with the same hyperparameters.

    python benchmarks/rl.py                 # runs what is not in the cache, then draws and prints
    python benchmarks/rl.py --only jaxvlm   # leaves the peers out

Both sides are evaluated with the deterministic policy on fresh episodes every `eval_every` environment steps.
Results are cached, one entry a run, in runs/rl_benchmark.json; the figure goes to docs/images/rl_vs_sb3.png.
Reset rows count as environment steps for jaxvlm, which makes its figures slightly worse than they are.
Times are CPU seconds of the process, which neighbours on the machine disturb least; pin it to one core
(taskset).
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pendulum import Pendulum

from envs.cartpole import CartPole
from envs.wrappers import TimeLimit
from jaxvlm import rl

CACHE = Path("runs/rl_benchmark.json")
FIGURE = Path("docs/images/rl_vs_sb3.png")


@dataclass(frozen=True)
class Case:
    """One task with the hyperparameters both sides use."""

    name: str
    algorithm: str  # "DQN" or "SAC"
    gym_id: str
    env: Any
    total_steps: int
    learning_starts: int
    rollout: int  # environment steps between two phases of gradient steps (SB3: train_freq)
    gradient_steps: int
    batch_size: int
    buffer_size: int
    learning_rate: float
    hidden_sizes: tuple[int, ...]
    eval_every: int
    threshold: float  # mean return that counts as solved
    # DQN only
    target_interval: int = 1
    exploration_fraction: float = 0.1
    exploration_final: float = 0.05
    discount: float = 0.99
    eval_episodes: int = 20


CASES = (
    # RL Baselines3 Zoo's tuned set
    Case(
        name="CartPole",
        algorithm="DQN",
        gym_id="CartPole-v1",
        env=TimeLimit(CartPole(early_termination=True), 500),
        total_steps=51_200,
        learning_starts=1_000,
        rollout=256,
        gradient_steps=128,
        batch_size=64,
        buffer_size=100_000,
        learning_rate=2.3e-3,
        hidden_sizes=(256, 256),
        eval_every=2_560,
        threshold=475.0,
        target_interval=10,
        exploration_fraction=0.16,
        exploration_final=0.04,
    ),
    # RL Baselines3 Zoo's, that is SB3's defaults with this learning rate
    Case(
        name="Pendulum",
        algorithm="SAC",
        gym_id="Pendulum-v1",
        env=TimeLimit(Pendulum(), 200),
        total_steps=10_000,
        learning_starts=100,
        rollout=1,
        gradient_steps=1,
        batch_size=256,
        buffer_size=10_000,
        learning_rate=1e-3,
        hidden_sizes=(256, 256),
        eval_every=500,
        threshold=-200.0,
    ),
)


def make_agent(case: Case) -> tuple[rl.DQN | rl.SAC, Any]:
    """The algorithm of a case and its numbers."""
    params = case.env.default_params
    spaces = case.env.observation_space(params), case.env.action_space(params)
    if case.algorithm == "SAC":
        config = rl.SACConfig(case.hidden_sizes, case.hidden_sizes)
        return rl.make_sac(config, *spaces), rl.SACHyper(
            learning_rate=case.learning_rate, discount=case.discount
        )
    config = rl.DQNConfig(case.hidden_sizes, target="periodic", target_sync="vector-step")
    return rl.make_dqn(config, *spaces), rl.DQNHyper(
        learning_rate=case.learning_rate,
        discount=case.discount,
        target_period=case.target_interval,
        epsilon_end=case.exploration_final,
        epsilon_steps=case.exploration_fraction * case.total_steps,
    )


def _split_all(keys: jax.Array, count: int) -> tuple[jax.Array, ...]:
    """Splits every key of [S] into `count`; returns `count` arrays [S]."""
    return jnp.unstack(jax.vmap(lambda key: jax.random.split(key, count))(keys), axis=1)


def train_jaxvlm(case: Case, seeds: list[int]) -> list[dict[str, Any]]:
    """Trains all seeds in one program; returns one record a seed."""
    env, params = case.env, case.env.default_params
    agent, hyper = make_agent(case)
    spec = rl.replay_spec(env.observation_space(params), env.action_space(params))
    buffer = rl.make_replay_buffer(case.buffer_size, 1, spec, num_seeds=len(seeds))
    random = rl.random_policy(env.action_space(params))

    def rollout(state: Any, rollout_state: rl.RolloutState, step: jax.Array, key: jax.Array) -> Any:
        def policy(observation: jax.Array, key: jax.Array) -> jax.Array:
            learned = agent.act(state, observation, key, step)
            return jnp.where(step < case.learning_starts, random(observation, key), learned)

        return rl.collect(env, params, policy, rollout_state, key, case.rollout, scenes=False)

    sample = jax.vmap(buffer.sample, in_axes=(rl.REPLAY_AXES, 0, None))
    add = jax.vmap(buffer.add, in_axes=(rl.REPLAY_AXES, 0, 0), out_axes=rl.REPLAY_AXES)

    def iteration(carry: Any, _: Any) -> tuple[Any, None]:
        states, rollouts, replay, step, keys = carry
        keys, rollout_keys, update_keys = _split_all(keys, 3)
        rollouts, rows = jax.vmap(rollout, in_axes=(0, 0, None, 0))(states, rollouts, step, rollout_keys)
        replay = add(replay, rows, rollouts.observation)
        step = step + case.rollout
        if isinstance(agent, rl.DQN):
            states = jax.vmap(agent.sync, in_axes=(0, None))(states, case.rollout)

        def gradient_step(index: jax.Array, states: Any) -> Any:
            keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(update_keys, index)
            sample_keys, noise_keys = _split_all(keys, 2)
            batch = sample(replay, sample_keys, case.batch_size)
            return jax.vmap(agent.update)(states, batch, noise_keys)[0]

        states = jax.lax.cond(
            step > case.learning_starts,
            lambda s: jax.lax.fori_loop(0, case.gradient_steps, gradient_step, s),
            lambda s: s,
            states,
        )
        return (states, rollouts, replay, step, keys), None

    def chunk(carry: Any) -> Any:
        return jax.lax.scan(iteration, carry, length=case.eval_every // case.rollout)[0]

    def evaluate(state: Any, key: jax.Array) -> jax.Array:
        start_key, run_key = jax.random.split(key)
        start = rl.init_rollout(env, params, rl.env_keys(start_key, case.eval_episodes))

        def policy(observation: jax.Array, key: jax.Array) -> jax.Array:
            return agent.act(state, observation, None, None, deterministic=True)

        _, rows = rl.collect(env, params, policy, start, run_key, env.max_steps, scenes=False)
        return jnp.sum(rows.reward * rl.first_episode(rows.done), axis=0)

    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    init_keys, rollout_keys, run_keys, eval_keys = _split_all(keys, 4)
    carry = (
        jax.vmap(agent.init, in_axes=(0, None))(init_keys, hyper),
        jax.vmap(lambda k: rl.init_rollout(env, params, rl.env_keys(k, 1)))(rollout_keys),
        buffer.init_seeds(len(seeds)),
        jnp.zeros((), jnp.int32),
        run_keys,
    )
    began = time.process_time()
    run = jax.jit(chunk, donate_argnums=0).lower(carry).compile()
    test = jax.jit(jax.vmap(evaluate)).lower(carry[0], eval_keys).compile()
    compile_seconds = time.process_time() - began
    curves, seconds = [], 0.0
    for index in range(case.total_steps // case.eval_every):
        began = time.process_time()
        carry = jax.block_until_ready(run(carry))
        seconds += time.process_time() - began
        fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))(eval_keys, index)
        curves.append(np.asarray(test(carry[0], fold).mean(axis=1)))
        print(case.name, (index + 1) * case.eval_every, curves[-1].round(1), flush=True)
    steps = [case.eval_every * (i + 1) for i in range(len(curves))]
    return [
        {
            "steps": steps,
            "returns": [float(curve[i]) for curve in curves],
            "seconds": seconds / len(seeds),  # all seeds together, shared out
            "compile_seconds": compile_seconds,
        }
        for i in range(len(seeds))
    ]


def train_sb3(case: Case, seed: int) -> dict[str, Any]:
    """Trains one seed with Stable-Baselines3 on one core."""
    import stable_baselines3 as sb3
    import torch
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)
    test_env = make_vec_env(case.gym_id, n_envs=case.eval_episodes, seed=1_000 + seed)
    curve: list[float] = []
    steps: list[int] = []
    spent = 0.0

    class Evaluate(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            # Called after the gradient steps that follow a rollout, where the other side is evaluated as
            # well.
            if self.num_timesteps and self.num_timesteps % case.eval_every == 0:
                self.measure()

        def measure(self) -> None:
            nonlocal spent
            began = time.process_time()
            mean, _ = evaluate_policy(self.model, test_env, case.eval_episodes, deterministic=True)
            curve.append(float(mean))
            steps.append(self.num_timesteps)
            spent += time.process_time() - began

    common: dict[str, Any] = {
        "learning_rate": case.learning_rate,
        "buffer_size": case.buffer_size,
        "learning_starts": case.learning_starts,
        "batch_size": case.batch_size,
        "gamma": case.discount,
        "train_freq": case.rollout,
        "gradient_steps": case.gradient_steps,
        "policy_kwargs": {"net_arch": list(case.hidden_sizes)},
        "seed": seed,
        "device": "cpu",
    }
    if case.algorithm == "SAC":
        model = sb3.SAC("MlpPolicy", case.gym_id, **common)
    else:
        model = sb3.DQN(
            "MlpPolicy",
            case.gym_id,
            target_update_interval=case.target_interval,
            exploration_fraction=case.exploration_fraction,
            exploration_final_eps=case.exploration_final,
            **common,
        )
    callback = Evaluate()
    began = time.process_time()
    model.learn(case.total_steps, callback=callback)
    callback.measure()
    seconds = time.process_time() - began - spent
    return {"steps": steps, "returns": curve, "seconds": seconds}


def steps_to_threshold(record: dict[str, Any], threshold: float) -> float:
    """Environment steps at the first evaluation at or above `threshold`; infinity if there is none."""
    for step, value in zip(record["steps"], record["returns"], strict=True):
        if value >= threshold:
            return float(step)
    return float("inf")


def bootstrap(values: np.ndarray, statistic: Callable[..., np.ndarray] = np.mean) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a statistic of the first axis, 10,000 resamples."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(values), (10_000, len(values)))
    low, high = np.percentile(statistic(values[picks], axis=1), [2.5, 97.5])
    return float(low), float(high)


def draw(cache: dict[str, Any], seeds: list[int]) -> None:
    """Learning curves of both sides, each seed thin and their mean thick with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(CASES), figsize=(11, 4), layout="constrained")
    for axis, case in zip(axes, CASES, strict=True):
        for side, colour in (("sb3", "tab:orange"), ("jaxvlm", "tab:blue")):
            records = [cache[k] for s in seeds if (k := f"{case.name}/{side}/{s}") in cache]
            if not records:
                continue
            curves = np.array([r["returns"] for r in records])
            steps = np.array(records[0]["steps"])
            for curve in curves:
                axis.plot(steps, curve, color=colour, alpha=0.25, linewidth=0.8)
            bounds = np.array([bootstrap(curves[:, i]) for i in range(len(steps))])
            axis.fill_between(steps, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.15, linewidth=0)
            label = {"sb3": "Stable-Baselines3", "jaxvlm": "jaxvlm"}[side]
            axis.plot(
                steps, curves.mean(axis=0), color=colour, linewidth=2, label=f"{label}, {len(curves)} seeds"
            )
        axis.axhline(
            case.threshold, color="grey", linestyle=":", linewidth=1, label=f"solved: {case.threshold:g}"
        )
        axis.set(
            title=f"{case.algorithm} on {case.gym_id}",
            xlabel="environment steps",
            ylabel=f"return, mean of {case.eval_episodes} deterministic episodes",
        )
        axis.legend(loc="lower right", frameon=False, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=110)


def table(cache: dict[str, Any], seeds: list[int]) -> str:
    """Markdown: steps to the threshold, best and final return with intervals, seconds a seed."""
    lines = [
        "| task | side | seeds that solve it | steps to threshold, median (95 % interval) | mean return of the last "
        "quarter (95 % interval) | training, CPU s a seed |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        for side in ("jaxvlm", "sb3"):
            records = [cache[k] for s in seeds if (k := f"{case.name}/{side}/{s}") in cache]
            if not records:
                continue
            reached = np.array([steps_to_threshold(r, case.threshold) for r in records])
            late = np.array([np.mean(r["returns"][-len(r["returns"]) // 4 :]) for r in records])
            low, high = bootstrap(reached, np.median)
            late_low, late_high = bootstrap(late)
            lines.append(
                f"| {case.algorithm}, {case.gym_id} | {side} | {int(np.isfinite(reached).sum())}/{len(reached)} "
                f"(≥ {case.threshold:g}) | {np.median(reached):,.0f} ({low:,.0f} to {high:,.0f}) | "
                f"{late.mean():.1f} ({late_low:.1f} to {late_high:.1f}) | "
                f"{np.mean([r['seconds'] for r in records]):.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("jaxvlm", "sb3"), help="run one side only")
    parser.add_argument("--case", default="", help="run cases whose name contains this")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="forget cached results of what is run")
    arguments = parser.parse_args()
    seeds = list(range(arguments.seeds))
    for case in CASES:
        if arguments.case.lower() not in case.name.lower():
            continue
        if arguments.only != "sb3":
            keys = [f"{case.name}/jaxvlm/{seed}" for seed in seeds]
            if arguments.again or not all(key in load() for key in keys):
                store(dict(zip(keys, train_jaxvlm(case, seeds), strict=True)))
        if arguments.only != "jaxvlm":
            for seed in seeds:
                key = f"{case.name}/sb3/{seed}"
                if arguments.again or key not in load():
                    store({key: train_sb3(case, seed)})
                    print(key, "done", flush=True)
    draw(load(), seeds)
    print(f"device: {jax.devices()[0].device_kind}, jax {jax.__version__}, one core for Stable-Baselines3")
    print(table(load(), seeds))


def load() -> dict[str, Any]:
    return json.loads(CACHE.read_text()) if CACHE.exists() else {}


def store(records: dict[str, Any]) -> None:
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    CACHE.write_text(json.dumps(load() | records))


if __name__ == "__main__":
    main()
