"""Deep Q-learning (Mnih et al. 2015, https://doi.org/10.1038/nature14236), with double Q-learning on request
(van Hasselt et al. 2016, arXiv 1509.06461)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.errors import ConfigError
from jaxvlm.rl import common
from jaxvlm.rl.buffer import Batch
from jaxvlm.rl.networks import MLP, Activation, flatten_observation
from jaxvlm.rl.types import ArrayLike, Leaf, Number
from jaxvlm.spaces import Box, Discrete, Space

Metrics = dict[str, jax.Array]


@dataclass(frozen=True)
class DQNConfig:
    """What shapes the program; a change compiles again."""

    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    double: bool = False  # the online network picks the next action, the target network values it
    # "polyak" moves the target by `tau` at each synchronisation; "periodic" copies every `target_period`-th
    # time.
    target: Literal["polyak", "periodic"] = "polyak"
    # What counts as a synchronisation: each gradient step, made by `update`, or each step of the
    # environments, in which case the training program calls `sync` with the number of steps made.
    target_sync: Literal["gradient-step", "vector-step"] = "gradient-step"
    bootstrap_at_truncation: bool = (
        True  # False takes a time limit for a terminal state, as VLM-RM's code does
    )


@struct.dataclass
class DQNHyper:
    """Numbers that may change, or be vmapped, without compiling again; f32[] each once in a state."""

    learning_rate: Number = 1e-3
    discount: Number = 0.99
    tau: Number = 0.005  # fraction of the way to the online network, for target="polyak"
    target_period: Number = 1000.0  # synchronisations between two copies, for target="periodic"
    epsilon_start: Number = 1.0
    epsilon_end: Number = 0.05
    epsilon_steps: Number = 50_000.0  # environment steps over which epsilon falls linearly
    max_grad_norm: Number = 10.0


@struct.dataclass
class DQNState:
    """All that training changes."""

    params: Any  # network parameters, f32
    target_params: Any  # like params
    optimizer: Any  # Adam's moments
    syncs: Leaf  # i32[], target synchronisations so far
    hyper: DQNHyper


@dataclass(frozen=True)
class DQN:
    """Pure functions over a `DQNState`.

    init(key, hyper=DQNHyper()) -> state
    q_values(params, observation [..., O]) -> f32[..., A]
    act(state, observation [..., O], key=None, step=None, deterministic=False) -> i32[...]: epsilon-greedy; `step`
      counts environment steps and is shared by all seeds; `key` and `step` are needed unless deterministic.
    update(state, batch, key=None) -> (state, metrics): one gradient step; `key` is there so that all
    algorithms are called alike.
    sync(state, count=1) -> state: `count` target synchronisations at once (for target_sync="vector-step").
    """

    config: DQNConfig
    init: Callable[..., DQNState]
    q_values: Callable[[Any, jax.Array], jax.Array]
    act: Callable[..., jax.Array]
    update: Callable[..., tuple[DQNState, Metrics]]
    sync: Callable[..., DQNState]


def epsilon_at(hyper: DQNHyper, step: ArrayLike) -> ArrayLike:
    """Exploration rate after `step` environment steps: linear over `epsilon_steps`, then constant."""
    fraction = jnp.clip(step / jnp.maximum(hyper.epsilon_steps, 1.0), 0.0, 1.0)
    return hyper.epsilon_start + fraction * (hyper.epsilon_end - hyper.epsilon_start)


def td_target(
    reward: Float[Array, " *batch"],
    terminal: Float[Array, " *batch"] | jax.Array,
    next_value: Float[Array, " *batch"],
    discount: ArrayLike,
) -> Float[Array, " *batch"]:
    """One-step target: reward, plus the discounted next value unless `terminal`."""
    return reward + jnp.where(terminal, 0.0, discount * next_value)


def make_dqn(config: DQNConfig, observation_space: Space, action_space: Space) -> DQN:
    """Makes the functions of DQN for an environment's spaces.

    Raises:
      ConfigError: the observations are not a Box, the actions not Discrete, or a setting is unknown.
    """
    observations, actions = validate_dqn(config, observation_space, action_space)
    network = MLP(config.hidden_sizes, actions.n, config.activation)
    rank = len(observations.shape)

    def q_values(params: Any, observation: jax.Array) -> jax.Array:
        return network.apply(params, common.flat_observation(observation, observations, params))  # pyright: ignore[reportReturnType]

    def init(key: jax.Array, hyper: DQNHyper | None = None) -> DQNState:
        hyper = DQNHyper() if hyper is None else hyper
        validate_dqn_hyper(hyper)
        observation = jnp.zeros(observations.shape, observations.dtype)
        params = network.init(key, flatten_observation(observation, rank))
        return DQNState(
            params=params,
            # A copy: a donated state may not hold one buffer twice.
            target_params=jax.tree.map(jnp.copy, params),
            optimizer=common.adam_init(params),
            syncs=jnp.zeros((), jnp.int32),
            hyper=common.as_hyper(hyper),
        )

    def act(
        state: DQNState,
        observation: jax.Array,
        key: jax.Array | None = None,
        step: jax.Array | int | None = None,
        deterministic: bool = False,
    ) -> jax.Array:
        greedy = jnp.argmax(q_values(state.params, observation), axis=-1).astype(actions.dtype)
        if deterministic:
            return greedy
        if key is None or step is None:
            raise ConfigError(
                "act needs a key and the step count, which say how it explores, unless deterministic=True"
            )
        explore_key, action_key = jax.random.split(key)
        explore = jax.random.uniform(explore_key, greedy.shape) < epsilon_at(state.hyper, step)
        return jnp.where(explore, jax.random.randint(action_key, greedy.shape, 0, actions.n), greedy)

    def loss(params: Any, state: DQNState, batch: Batch) -> tuple[jax.Array, Metrics]:
        next_q = q_values(state.target_params, batch.next_observation)
        choice = q_values(params, batch.next_observation) if config.double else next_q
        next_action = jnp.argmax(choice, axis=-1)[:, None]
        next_value = jnp.take_along_axis(next_q, next_action, axis=-1)[:, 0]
        terminal = batch.terminated if config.bootstrap_at_truncation else batch.terminated | batch.truncated
        target = jax.lax.stop_gradient(td_target(batch.reward, terminal, next_value, state.hyper.discount))
        q = jnp.take_along_axis(q_values(params, batch.observation), batch.action[:, None], axis=-1)[:, 0]
        value = common.masked_mean(optax.huber_loss(q, target), batch.valid)
        return value, {"loss": value, "q": common.masked_mean(q, batch.valid)}

    def update(state: DQNState, batch: Batch, key: jax.Array | None = None) -> tuple[DQNState, Metrics]:
        del key
        common.validate_batch(batch, observations, actions)
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state, batch)
        gradients, norm = common.clip_by_global_norm(gradients, state.hyper.max_grad_norm)
        params, optimizer = common.adam_step(
            gradients, state.optimizer, state.params, state.hyper.learning_rate
        )
        state = replace(state, params=params, optimizer=optimizer)
        if config.target_sync == "gradient-step":
            state = sync(state)
        return state, metrics | {"grad_norm": norm}

    def sync(state: DQNState, count: jax.Array | int = 1) -> DQNState:
        if config.target == "polyak":
            # The online network stands still meanwhile, so `count` moves by tau are one by 1 - (1 -
            # tau)^count.
            target = common.polyak(state.target_params, state.params, 1.0 - (1.0 - state.hyper.tau) ** count)
        else:
            period = jnp.maximum(jnp.asarray(state.hyper.target_period, jnp.int32), 1)
            due = (state.syncs + count) // period > state.syncs // period
            target = common.select(due, state.params, state.target_params)
        return replace(state, target_params=target, syncs=state.syncs + count)

    return DQN(config, init, q_values, act, update, sync)


def validate_dqn(config: DQNConfig, observation_space: Space, action_space: Space) -> tuple[Box, Discrete]:
    """Checks settings and spaces and returns the spaces; raises ConfigError."""
    common.validate_hidden_sizes("hidden_sizes", config.hidden_sizes)
    common.validate_activation(config.activation)
    common.validate_choice("target", config.target, ("polyak", "periodic"))
    common.validate_choice("target_sync", config.target_sync, ("gradient-step", "vector-step"))
    return common.validate_observation_space(observation_space), common.validate_discrete(action_space, "DQN")


def validate_dqn_hyper(hyper: DQNHyper) -> None:
    """Raises ConfigError, naming the number, if one is out of its range; traced numbers pass."""
    common.validate_range("learning_rate", hyper.learning_rate, 0.0)
    common.validate_range("discount", hyper.discount, 0.0, 1.0)
    common.validate_range("tau", hyper.tau, 0.0, 1.0)
    common.validate_range("target_period", hyper.target_period, 1.0)
    common.validate_range("epsilon_start", hyper.epsilon_start, 0.0, 1.0)
    common.validate_range("epsilon_end", hyper.epsilon_end, 0.0, 1.0)
    common.validate_range("epsilon_steps", hyper.epsilon_steps, 0.0)
    common.validate_range("max_grad_norm", hyper.max_grad_norm, 0.0, open_low=True)
