"""Many tasks learned side by side with PPO, from any start: the bank's policies, and the fine-tuning of every arm.

One program: `vmap` over runs (task, start, seed), a scan over updates, and after every update an exact evaluation that
the caller gives, so that learning curves have no noise of sampled episodes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from jaxvlm.errors import ConfigError
from jaxvlm.rl import PPO, PPOConfig, PPOHyper, collect, env_keys, init_rollout, make_ppo

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis
# (policy(observation [..., O]) -> probabilities [..., A], what the task is evaluated with) -> f32[]
Evaluate = Callable[[Callable[[jax.Array], jax.Array], Any], jax.Array]


@dataclass(frozen=True)
class LearnConfig:
    """Numbers of a run. The first ones shape the program."""

    num_envs: int = 16
    rollout_length: int = 16  # rows per environment and update, reset rows included
    updates: int = 40
    epochs: int = 4
    minibatches: int = 2
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    learning_rate: float = 3e-3
    discount: float = 0.98
    entropy_coefficient: float = 0.01

    def __post_init__(self) -> None:
        for name in ("num_envs", "rollout_length", "updates", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least 1")
        rows = self.num_envs * self.rollout_length
        if rows % self.minibatches:
            raise ConfigError(
                f"{rows} rows of an update do not split into {self.minibatches} minibatches; "
                "give a number that divides them"
            )

    @property
    def hyper(self) -> PPOHyper:
        """The numeric ones, for the algorithm."""
        return PPOHyper(
            learning_rate=self.learning_rate,
            discount=self.discount,
            entropy_coefficient=self.entropy_coefficient,
        )


@struct.dataclass
class Learned:
    """What came of K runs. Curves have an entry before the first update and one after each."""

    params: Any  # policies and critics, [K, ...]
    value: Leaf  # f32[K, updates + 1], exact return
    steps: Leaf  # i32[K, updates + 1], environment steps taken


def make_learner(config: LearnConfig, env: Any, env_params: Any) -> PPO:
    """PPO for the spaces of `env`; `env_params` are those of one task."""
    return make_ppo(
        PPOConfig(
            hidden_sizes=config.hidden_sizes,
            activation=config.activation,  # pyright: ignore[reportArgumentType]
            epochs=config.epochs,
            minibatches=config.minibatches,
        ),
        env.observation_space(env_params),
        env.action_space(env_params),
    )


def learn(
    config: LearnConfig,
    env: Any,
    ppo: PPO,
    env_params: Any,
    start: Any,
    evaluate: Evaluate,
    evaluation: Any,
    keys: jax.Array,
) -> Learned:
    """Trains K runs; pure, for the caller to jit.

    Args:
      config: numbers of all runs.
      env: environment with its time limit.
      ppo: of `make_learner`.
      env_params: parameters of the task of each run, leaves [K, ...].
      start: parameters of actor and critic to start from, leaves [K, ...], as `ppo.init(key).params`.
      evaluate: exact return of a policy, see `Evaluate`.
      evaluation: its second argument, leaves [K, ...].
      keys: key[K], of everything a run draws.
    """
    hyper = config.hyper

    def one(task: Any, params: Any, table: Any, key: jax.Array) -> Learned:
        key_rollout, key_run = jax.random.split(key)

        def worth(params: Any) -> jax.Array:
            return evaluate(partial(ppo.probabilities, params), table)

        def update(carry: tuple[Any, Any], key: jax.Array) -> tuple[tuple[Any, Any], tuple[Array, Array]]:
            state, rollout = carry
            key_collect, key_update = jax.random.split(key)
            rollout, rows = collect(
                env, task, partial(ppo.act, state), rollout, key_collect, config.rollout_length, scenes=False
            )
            state, _ = ppo.update(state, rows, rollout.observation, key_update)
            return (state, rollout), (worth(state.params), jnp.sum(rows.valid))

        # Adam starts anew: a start is parameters alone.
        state = ppo.init(key_run, hyper).replace(params=params)  # pyright: ignore[reportAttributeAccessIssue]
        rollout = init_rollout(env, task, env_keys(key_rollout, config.num_envs))
        (state, _), (value, steps) = jax.lax.scan(
            update, (state, rollout), jax.random.split(key_run, config.updates)
        )
        first = worth(params)
        return Learned(
            params=state.params,
            value=jnp.concatenate([first[None], value]),
            steps=jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(steps).astype(jnp.int32)]),
        )

    return jax.vmap(one)(env_params, start, evaluation, keys)


def steps_to_threshold(
    value: Float[Array, " *runs time"], steps: Int[Array, " *runs time"], threshold: Float[Array, " *runs"]
) -> tuple[Int[Array, " *runs"], jax.Array]:
    """Steps until the value first reaches the threshold, and whether it ever did.

    Runs that never do count with all their steps, a lower bound: they are censored.
    """
    reached = value >= threshold[..., None]
    ever = jnp.any(reached, axis=-1)
    first = jnp.argmax(reached, axis=-1)
    counted = jnp.where(ever, first, value.shape[-1] - 1)
    return jnp.take_along_axis(steps, counted[..., None], axis=-1)[..., 0], ever
