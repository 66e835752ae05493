"""The worlds of `jaxvlm transfer`: tasks of each seed, how they are evaluated, and what their best return is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxvlm.cli.common import import_ours

if TYPE_CHECKING:
    from jaxvlm.cli.transfer import Transfer
    from jaxvlm.transfer.experiment import World
    from jaxvlm.transfer.learners import LearnConfig, Learner
    from jaxvlm.transfer.learning import Evaluate

EPISODES = 16  # of an evaluation where exact values are out of reach


@dataclass(frozen=True)
class Setting:
    """What an experiment runs on: the worlds of all seeds and what they share."""

    worlds: "list[World]"
    env: Any  # with its time limit
    learner_of: "Callable[[LearnConfig], Learner]"
    evaluate: "Evaluate"


def families() -> tuple[str, ...]:
    """Names of the families that can be asked for."""
    return (*import_ours("envs.gridworld.families").FAMILIES, "house", "cartpole")


def make_setting(options: "Transfer") -> Setting:
    """The worlds of one of `families()`, a seed each; raises `ConfigError` for an encoder that cannot be read."""
    return {"house": _houses, "cartpole": _carts}.get(options.family, _rooms)(options)


def _embedder(options: "Transfer", instructions: Sequence[str]) -> Callable[[Sequence[str]], np.ndarray]:
    """What turns instructions into vectors; says which words a named encoder has no token for."""
    if options.encoder == "minilm":
        return import_ours("envs.instructions").cached_embeddings
    from jaxvlm.transfer.encoders import load_encoder

    embed, unknown_words = load_encoder(options.encoder)
    unknown = sorted({word for text in instructions for word in unknown_words(text)})
    if unknown:
        print(f"note: {options.encoder} has no token for {', '.join(map(repr, unknown))}", flush=True)
    return embed


def _learner_of(options: "Transfer", env: Any, params: Any) -> "Callable[[LearnConfig], Learner]":
    import jax

    from jaxvlm.transfer.chunks import chunk_size
    from jaxvlm.transfer.learners import make_learner

    first = jax.tree.map(lambda leaf: leaf[0], params)
    # All tasks of a bank learn at once, later the runs of a chunk.
    runs = max(jax.tree.leaves(params)[0].shape[0], chunk_size(options.config.chunk))
    return lambda config: make_learner(config, env, first, options.config.algorithm, runs)


def _rooms(options: "Transfer") -> Setting:
    """Open rooms, evaluated exactly."""
    import jax

    from jaxvlm.transfer.experiment import World

    rooms = import_ours("envs.gridworld.families")
    oracle = import_ours("envs.gridworld.oracle")
    config, discount = options.config, options.config.base.discount
    made = [rooms.make_family(options.family, options.grid, config.seed_of(k)) for k in range(config.seeds)]
    horizon = made[0].horizon
    env = import_ours("envs.wrappers").TimeLimit(made[0].env, horizon)

    @jax.jit
    def tables(params: Any) -> tuple[Any, jax.Array]:
        table = jax.vmap(lambda one: oracle.table_of_places(made[0].env, one))(params)
        best = jax.vmap(
            lambda one: oracle.expected_return(one, oracle.optimal_values(one, discount, horizon)[0])
        )(table)
        return table.replace(states=None), best

    def evaluate(policy: Any, table: Any) -> jax.Array:
        probabilities = policy(table.observation)
        return oracle.expected_return(table, oracle.policy_values(table, probabilities, discount, horizon))

    embed, worlds = _embedder(options, made[0].instructions), []
    for k, family in enumerate(made):
        table, best = tables(family.params)
        steps = np.abs(family.goal[:, None] - family.goal[None]).sum(-1)
        chosen = np.random.default_rng(config.seed_of(k)).choice(
            options.grid**2, min(config.probes, options.grid**2), replace=False
        )
        worlds.append(
            World(
                params=family.params,
                instructions=family.instructions,
                embeddings=embed(family.instructions),
                evaluation=table,
                best=np.asarray(best),
                nearness=(-steps / options.grid).astype(np.float32),
                probes=table.observation[0][chosen],
            )
        )
    return Setting(worlds, env, _learner_of(options, env, made[0].params), evaluate)


def _carts(options: "Transfer") -> Setting:
    """The continuous CartPole, measured against a linear-quadratic regulator."""
    import jax
    import jax.numpy as jnp

    holding = import_ours("envs.holding")
    config = options.config
    made = [holding.make_holding(config.seed_of(k)) for k in range(config.seeds)]
    evaluate = _by_episodes(made[0].env, made[0].horizon, config.base.discount, discrete=False)
    gains = jnp.asarray(holding.regulator_gains(made[0].env.default_params))

    @jax.jit
    def best_of(evaluation: Any) -> jax.Array:
        """The best regulator's return for each task, f32[T]."""

        def one(evaluation: Any) -> jax.Array:
            task = evaluation["task"]
            values = [
                evaluate(lambda observation, gain=gain: holding.regulate(gain, observation, task), evaluation)
                for gain in gains
            ]
            return jnp.max(jnp.stack(values))

        return jax.vmap(one)(evaluation)

    def nearness(family: Any) -> np.ndarray:
        return -np.abs(family.target[:, None] - family.target[None]) / 3.5  # the span of the places, m

    return _valued_by_episodes(options, made, evaluate, lambda _, evaluation: best_of(evaluation), nearness)


def _houses(options: "Transfer") -> Setting:
    """Houses with walls, doors, lava and things to carry."""
    import jax

    from jaxvlm.transfer.learning import episode_starts

    houses = import_ours("envs.gridworld.house")
    config = options.config
    made = [houses.make_house(options.grid, config.seed_of(k)) for k in range(config.seeds)]
    evaluate = _by_episodes(made[0].env, made[0].horizon, config.base.discount, discrete=True)

    @jax.jit
    def starts(evaluation: Any) -> Any:
        """Where each task's evaluation starts, so that the best return is of the same episodes."""

        def one(evaluation: Any) -> Any:
            key = jax.random.key(evaluation["seed"])
            return episode_starts(made[0].env, evaluation["task"], key, EPISODES)[1]

        return jax.vmap(one)(evaluation)

    def best_of(family: Any, evaluation: Any) -> np.ndarray:
        return houses.best_returns(family, config.base.discount, starts(evaluation))

    return _valued_by_episodes(options, made, evaluate, best_of, houses.nearness)


def _valued_by_episodes(
    options: "Transfer",
    made: Sequence[Any],
    evaluate: "Evaluate",
    best_of: Callable[[Any, Any], Any],
    nearness: Callable[[Any], np.ndarray],
) -> Setting:
    """Worlds whose states are too many for exact values.

    Args:
      options: of the command.
      made: a family of tasks for each seed.
      evaluate: return of a policy over the episodes of `_evaluation`.
      best_of: (family, its evaluation) -> the best return of each task.
      nearness: of a family's tasks to each other.
    """
    from jaxvlm.transfer.experiment import World

    config = options.config
    env = import_ours("envs.wrappers").TimeLimit(made[0].env, made[0].horizon)
    embed, worlds = _embedder(options, made[0].instructions), []
    for k, family in enumerate(made):
        evaluation = _evaluation(family.params, config.seed_of(k))
        worlds.append(
            World(
                params=family.params,
                instructions=family.instructions,
                embeddings=embed(family.instructions),
                evaluation=evaluation,
                best=np.asarray(best_of(family, evaluation)),
                nearness=nearness(family).astype(np.float32),
                probes=_visited(env, family.params, config.probes, config.seed_of(k)),
            )
        )
    return Setting(worlds, env, _learner_of(options, env, made[0].params), evaluate)


def _evaluation(params: Any, seed: int) -> dict[str, Any]:
    """What `_by_episodes` evaluates each of T tasks with: its parameters, and a seed that all of them share."""
    import jax

    count = jax.tree.leaves(params)[0].shape[0]
    return {"task": params, "seed": np.full(count, seed, np.int32)}


def _by_episodes(env: Any, horizon: int, discount: float, *, discrete: bool) -> "Evaluate":
    import jax

    from jaxvlm.transfer.learning import episodes_return

    run = partial(
        episodes_return, env, episodes=EPISODES, horizon=horizon, discount=discount, discrete=discrete
    )
    return lambda policy, evaluation: run(evaluation["task"], policy, jax.random.key(evaluation["seed"]))


def _visited(env: Any, params: Any, count: int, seed: int) -> Any:
    """Observations that random actions meet in the first task of a world, [count, ...]."""
    import jax

    from jaxvlm.rl import collect, env_keys, init_rollout, random_policy

    task = jax.tree.map(lambda leaf: leaf[0], params)
    key_start, key_run, key_pick = jax.random.split(jax.random.key(seed), 3)
    rollout = init_rollout(env, task, env_keys(key_start, count))
    policy = random_policy(env.action_space(task))
    _, rows = jax.jit(lambda rollout: collect(env, task, policy, rollout, key_run, 32, scenes=False))(rollout)
    time = jax.random.randint(key_pick, (count,), 0, 32)
    return jax.tree.map(lambda leaf: leaf[time, np.arange(count)], rows.observation)
