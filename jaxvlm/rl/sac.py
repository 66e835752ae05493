"""Soft actor-critic with a learned entropy coefficient (Haarnoja et al. 2018, arXiv 1812.05905).

The order within a gradient step (entropy coefficient, critics, actor, targets; the coefficient used is the
one before its own step) and the learning of its logarithm follow Stable-Baselines3, with which VLM-RM was
trained.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.errors import ConfigError
from jaxvlm.rl import common
from jaxvlm.rl.buffer import Batch
from jaxvlm.rl.dqn import Metrics, td_target
from jaxvlm.rl.networks import (
    MLP,
    Activation,
    GaussianActor,
    flatten_observation,
    tanh_gaussian_log_prob,
)
from jaxvlm.rl.types import Leaf, Number
from jaxvlm.spaces import Box, Space

NUM_CRITICS = 2


@dataclass(frozen=True)
class SACConfig:
    """What shapes the program; a change compiles again."""

    actor_hidden_sizes: tuple[int, ...] = (256, 256)
    critic_hidden_sizes: tuple[int, ...] = (256, 256)
    # A LayerNorm before each activation of the critics, as in DroQ (Hiraoka et al. 2022, arXiv 2110.02034).
    critic_layer_norm: bool = False
    activation: Activation = "relu"
    entropy: Literal["auto", "fixed"] = (
        "auto"  # learn the entropy coefficient, or keep the one of the hyperparameters
    )
    bootstrap_at_truncation: bool = (
        True  # False takes a time limit for a terminal state, as VLM-RM's code does
    )


@struct.dataclass
class SACHyper:
    """Numbers that may change, or be vmapped, without compiling again; f32[] each once in a state."""

    learning_rate: Number = 3e-4  # of actor, critics and entropy coefficient
    discount: Number = 0.99
    tau: Number = 0.005  # fraction of the way to the online critics at each gradient step
    target_entropy: Number | None = None  # nats; None is minus the number of action dimensions
    entropy_coefficient: Number = 1.0  # where the learned one starts, or the fixed one
    action_noise: Number = (
        0.0  # standard deviation of Gaussian noise on actions scaled to [-1, 1], when exploring
    )


@struct.dataclass
class SACState:
    """All that training changes."""

    actor: Any  # network parameters, f32
    critics: Any  # both critics' parameters, leaves [2, ...]
    target_critics: Any  # like critics
    log_entropy_coefficient: Leaf  # f32[]
    actor_optimizer: Any  # Adam's moments
    critic_optimizer: Any
    entropy_optimizer: Any
    hyper: SACHyper


@dataclass(frozen=True)
class SAC:
    """Pure functions over a `SACState`. Actions are in the environment's units, in the buffer as well.

    init(key, hyper=SACHyper()) -> state
    act(state, observation [..., O], key=None, step=None, deterministic=False) -> f32[..., A]: a sample, or the tanh of
      the mean when deterministic, as `mode`; `key` is needed unless deterministic. `step` is there so that all
      algorithms are called alike.
    mode(actor, observation [..., O]) -> f32[..., A]: the tanh of the mean.
    update(state, batch, key) -> (state, metrics): one gradient step of everything.
    log_prob(actor, observation, key) -> (action in [-1, 1], f32[...]): a sample and its log-density.
    values(critics, observation, action in [-1, 1]) -> f32[2, ...]
    """

    config: SACConfig
    init: Callable[..., SACState]
    act: Callable[..., jax.Array]
    mode: Callable[[Any, jax.Array], jax.Array]
    update: Callable[..., tuple[SACState, Metrics]]
    log_prob: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    values: Callable[[Any, jax.Array, jax.Array], jax.Array]


def scale_action(action: Float[Array, " *batch a"], space: Box) -> Float[Array, " *batch a"]:
    """From the environment's units to [-1, 1]."""
    low, high = space.low_array(), space.high_array()
    return 2.0 * (action - low) / (high - low) - 1.0


def unscale_action(action: Float[Array, " *batch a"], space: Box) -> Float[Array, " *batch a"]:
    """From [-1, 1] to the environment's units, never outside the bounds."""
    low, high = space.low_array(), space.high_array()
    return jnp.clip(low + 0.5 * (action + 1.0) * (high - low), low, high).astype(space.dtype)


def make_sac(config: SACConfig, observation_space: Space, action_space: Space) -> SAC:
    """Makes the functions of SAC for an environment's spaces.

    Raises:
      ConfigError: the observations are not a Box, the actions not a bounded Box of rank 1, or a setting is
      unknown.
    """
    observations, actions = validate_sac(config, observation_space, action_space)
    action_size = actions.shape[0]
    actor = GaussianActor(config.actor_hidden_sizes, action_size, config.activation)
    critic = MLP(config.critic_hidden_sizes, 1, config.activation, config.critic_layer_norm)
    rank = len(observations.shape)

    def both_critics(critics: Any, *inputs: jax.Array) -> jax.Array:
        both: Any = jax.vmap(lambda params: critic.apply(params, *inputs))(critics)
        return both[..., 0]  # (critic, batch)

    def values(critics: Any, observation: jax.Array, action: jax.Array) -> jax.Array:
        return both_critics(
            critics, jnp.concatenate([flatten_observation(observation, rank), action], axis=-1)
        )

    def gaussian(params: Any, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        return actor.apply(params, common.flat_observation(observation, observations, params))  # pyright: ignore[reportReturnType]

    def log_prob(params: Any, observation: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_std = gaussian(params, observation)
        pre_tanh = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        return jnp.tanh(pre_tanh), tanh_gaussian_log_prob(pre_tanh, mean, log_std)

    def init(key: jax.Array, hyper: SACHyper | None = None) -> SACState:
        chosen = SACHyper() if hyper is None else hyper
        validate_sac_hyper(chosen)
        if chosen.target_entropy is None:
            chosen = replace(chosen, target_entropy=-float(action_size))
        numbers: SACHyper = common.as_hyper(chosen)
        observation = flatten_observation(jnp.zeros(observations.shape, observations.dtype), rank)
        actor_key, critic_key = jax.random.split(key)
        actor_params = actor.init(actor_key, observation)
        inputs = jnp.concatenate([observation, jnp.zeros(action_size)])
        critics = jax.vmap(critic.init, in_axes=(0, None))(jax.random.split(critic_key, NUM_CRITICS), inputs)
        log_coefficient = jnp.log(numbers.entropy_coefficient)
        return SACState(
            actor=actor_params,
            critics=critics,
            # A copy: a donated state may not hold one buffer twice.
            target_critics=jax.tree.map(jnp.copy, critics),
            log_entropy_coefficient=log_coefficient,
            actor_optimizer=common.adam_init(actor_params),
            critic_optimizer=common.adam_init(critics),
            entropy_optimizer=common.adam_init(log_coefficient),
            hyper=numbers,
        )

    def mode(params: Any, observation: jax.Array) -> jax.Array:
        mean, _ = gaussian(params, observation)
        return unscale_action(jnp.tanh(mean), actions)

    def act(
        state: SACState,
        observation: jax.Array,
        key: jax.Array | None = None,
        step: jax.Array | int | None = None,
        deterministic: bool = False,
    ) -> jax.Array:
        del step
        if deterministic:
            return mode(state.actor, observation)
        if key is None:
            raise ConfigError("act needs a key, which draws the action, unless deterministic=True")
        sample_key, noise_key = jax.random.split(key)
        action, _ = log_prob(state.actor, observation, sample_key)
        noise = state.hyper.action_noise * jax.random.normal(noise_key, action.shape)
        return unscale_action(jnp.clip(action + noise, -1.0, 1.0), actions)

    def update(state: SACState, batch: Batch, key: jax.Array) -> tuple[SACState, Metrics]:
        common.validate_batch(batch, observations, actions)
        hyper, valid = state.hyper, batch.valid
        policy_key, next_key = jax.random.split(key)
        coefficient = jnp.exp(state.log_entropy_coefficient)
        if config.entropy == "fixed":
            coefficient = hyper.entropy_coefficient

        next_action, next_log_prob = log_prob(state.actor, batch.next_observation, next_key)
        next_values = values(state.target_critics, batch.next_observation, next_action)
        next_value = jnp.min(next_values, axis=0) - coefficient * next_log_prob
        terminal = batch.terminated if config.bootstrap_at_truncation else batch.terminated | batch.truncated
        target = jax.lax.stop_gradient(td_target(batch.reward, terminal, next_value, hyper.discount))
        taken = scale_action(batch.action, actions)

        def critic_loss(critics: Any) -> tuple[jax.Array, jax.Array]:
            q = values(critics, batch.observation, taken)
            errors = jax.vmap(lambda q: common.masked_mean(jnp.square(q - target), valid))(q)
            return 0.5 * jnp.sum(errors), common.masked_mean(jnp.min(q, axis=0), valid)

        (critic_value, q_mean), gradients = jax.value_and_grad(critic_loss, has_aux=True)(state.critics)
        critics, critic_optimizer = common.adam_step(
            gradients, state.critic_optimizer, state.critics, hyper.learning_rate
        )

        def actor_loss(params: Any) -> tuple[jax.Array, jax.Array]:
            action, log_density = log_prob(params, batch.observation, policy_key)
            # Two inputs instead of one: the gradient goes to the action alone, and going back to a long
            # observation as well would cost as much as a forward pass through the widest layer.
            q = jnp.min(both_critics(critics, flatten_observation(batch.observation, rank), action), axis=0)
            return common.masked_mean(coefficient * log_density - q, valid), log_density

        (actor_value, log_density), gradients = jax.value_and_grad(actor_loss, has_aux=True)(state.actor)
        actor_params, actor_optimizer = common.adam_step(
            gradients, state.actor_optimizer, state.actor, hyper.learning_rate
        )

        log_coefficient, entropy_optimizer = state.log_entropy_coefficient, state.entropy_optimizer
        if config.entropy == "auto":
            # The actor has not moved when its log-density was taken, so this is the step SB3 makes first.
            gradient = -common.masked_mean(log_density + hyper.target_entropy, valid)
            # Without a valid row the gradient is 0; the step is too only as long as Adam's moments are.
            log_coefficient, entropy_optimizer = common.adam_step(
                gradient, entropy_optimizer, log_coefficient, hyper.learning_rate
            )

        state = replace(
            state,
            actor=actor_params,
            critics=critics,
            target_critics=common.polyak(state.target_critics, critics, hyper.tau),
            log_entropy_coefficient=log_coefficient,
            actor_optimizer=actor_optimizer,
            critic_optimizer=critic_optimizer,
            entropy_optimizer=entropy_optimizer,
        )
        metrics = {
            "critic_loss": critic_value,
            "actor_loss": actor_value,
            "entropy_coefficient": coefficient,
            "entropy": -common.masked_mean(log_density, valid),
            "q": q_mean,
        }
        return state, metrics

    return SAC(config, init, act, mode, update, log_prob, values)


def validate_sac(config: SACConfig, observation_space: Space, action_space: Space) -> tuple[Box, Box]:
    """Checks settings and spaces and returns the spaces; raises ConfigError."""
    common.validate_hidden_sizes("actor_hidden_sizes", config.actor_hidden_sizes)
    common.validate_hidden_sizes("critic_hidden_sizes", config.critic_hidden_sizes)
    common.validate_activation(config.activation)
    common.validate_choice("entropy", config.entropy, ("auto", "fixed"))
    return common.validate_observation_space(observation_space), common.validate_bounded_box(
        action_space, "SAC"
    )


def validate_sac_hyper(hyper: SACHyper) -> None:
    """Raises ConfigError, naming the number, if one is out of its range; traced numbers pass."""
    common.validate_range("learning_rate", hyper.learning_rate, 0.0)
    common.validate_range("discount", hyper.discount, 0.0, 1.0)
    common.validate_range("tau", hyper.tau, 0.0, 1.0)
    common.validate_range("entropy_coefficient", hyper.entropy_coefficient, 0.0, open_low=True)
    if hyper.target_entropy is not None:
        common.validate_range("target_entropy", hyper.target_entropy, -jnp.inf)
    common.validate_range("action_noise", hyper.action_noise, 0.0)
