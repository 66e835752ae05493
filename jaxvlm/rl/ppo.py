"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) on rollouts of `collect`.

Advantages by generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438), clipped surrogate, entropy
bonus, orthogonal initialisation, gradients clipped by their joint norm. Defaults are those of Stable-Baselines3 but for
Adam's epsilon (1e-8, there 1e-5) and the minibatches (a quarter of a rollout, there 64 transitions).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxvlm.errors import ConfigError
from jaxvlm.rl import common
from jaxvlm.rl.dqn import Metrics
from jaxvlm.rl.networks import ACTIVATIONS, Activation, flatten_observation
from jaxvlm.rl.rollout import Rows
from jaxvlm.rl.types import ArrayLike, Number
from jaxvlm.spaces import Box, Discrete, Space


@dataclass(frozen=True)
class PPOConfig:
    """What shapes the program; a change compiles again."""

    hidden_sizes: tuple[int, ...] = (64, 64)  # of the actor and of the critic, which share nothing
    activation: Activation = "tanh"
    epochs: int = 10  # passes over a rollout
    minibatches: int = 4  # gradient steps a pass
    normalise_advantage: bool = True


@struct.dataclass
class PPOHyper:
    """Numbers that may change, or be vmapped, without compiling again; f32[] each once in a state."""

    learning_rate: Number = 3e-4
    discount: Number = 0.99
    trace_decay: Number = 0.95  # lambda of generalised advantage estimation
    clip: Number = 0.2  # how far the ratio of probabilities may leave 1
    entropy_coefficient: Number = 0.0
    value_coefficient: Number = 0.5
    max_grad_norm: Number = 0.5


@struct.dataclass
class PPOState:
    """All that training changes."""

    params: Any  # {"actor": ..., "critic": ...}, f32
    optimizer: Any  # Adam's moments
    hyper: PPOHyper


@dataclass(frozen=True)
class PPO:
    """Pure functions over a `PPOState`.

    init(key, hyper=PPOHyper()) -> state
    act(state, observation [..., O], key=None, step=None, deterministic=False) -> i32[...] or f32[..., A]: a sample, or
      the likeliest action when deterministic; `key` is needed unless deterministic. Continuous actions are clipped to
      their bounds.
    probabilities(params, observation [..., O]) -> f32[..., A], of discrete actions
    values(params, observation [..., O]) -> f32[...]
    update(state, rows [T, N, ...], last_observation [N, ...], key) -> (state, metrics): all epochs over one rollout;
      `last_observation` follows the last row.
    """

    config: PPOConfig
    init: Callable[..., PPOState]
    act: Callable[..., jax.Array]
    probabilities: Callable[[Any, jax.Array], jax.Array]
    values: Callable[[Any, jax.Array], jax.Array]
    update: Callable[..., tuple[PPOState, Metrics]]


class _Network(nn.Module):
    """Hidden layers and a head, orthogonal: gain sqrt(2) inside and `gain` at the end, biases 0."""

    hidden_sizes: tuple[int, ...]
    outputs: int
    activation: Activation
    gain: float

    @nn.compact
    def __call__(self, x: Float[Array, "*batch _"]) -> Float[Array, "*batch outputs"]:
        dense = lambda size, gain: nn.Dense(  # noqa: E731
            size, kernel_init=nn.initializers.orthogonal(gain), precision=jax.lax.Precision.HIGHEST
        )
        for size in self.hidden_sizes:
            x = ACTIVATIONS[self.activation](dense(size, 2**0.5)(x))
        return dense(self.outputs, self.gain)(x)


def advantages(
    reward: Float[Array, " time *env"],
    value: Float[Array, " time *env"],
    next_value: Float[Array, " time *env"],
    terminated: Bool[Array, " time *env"],
    truncated: Bool[Array, " time *env"],
    discount: ArrayLike,
    trace_decay: ArrayLike,
    valid: Bool[Array, " time *env"] | None = None,
) -> Float[Array, " time *env"]:
    """Generalised advantage estimates: A_t = delta_t + discount lambda (1 - done_t) A_{t+1}.

    With delta_t = r_t + discount V(s_{t+1}) - V(s_t); a terminal state is worth nothing, one that a time limit cut off
    what `next_value` says. The estimate of a row that is not valid is 0, so that the row before one whose physics broke
    down is worth its own delta, to the value of the state it led to, and nothing else. None: all rows are valid.
    """
    valid = jnp.ones(reward.shape, bool) if valid is None else valid
    chex.assert_equal_shape([reward, value, next_value, terminated, truncated, valid])
    delta = jnp.where(valid, reward + discount * jnp.where(terminated, 0.0, next_value) - value, 0.0)
    keeps = jnp.where(terminated | truncated | ~valid, 0.0, discount * trace_decay)

    def row(later: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta_t, keep_t = inputs
        advantage = delta_t + keep_t * later
        return advantage, advantage

    return jax.lax.scan(row, jnp.zeros_like(reward[0]), (delta, keeps), reverse=True)[1]


def clipped_normal_log_prob(
    action: Float[Array, "*batch actions"],
    mean: Float[Array, "*batch actions"],
    log_std: Float[Array, " actions"],
    low: ArrayLike,
    high: ArrayLike,
) -> Float[Array, "*batch actions"]:
    """Log-likelihood of Gaussian samples that were clipped to [low, high], element by element.

    Between the bounds it is the log of the density, at a bound that of the mass beyond it. The density at a bound is
    that of one sample, not of all that were clipped to it, and its gradient would pull a mean from beyond back to it.

    Args:
      action: in the bounds.
      mean: of the Gaussian before its samples are clipped, which may be beyond them.
      log_std: log of its standard deviation.
      low: least action, broadcast to `action`.
      high: greatest action, likewise.
    """
    std = jnp.exp(log_std)
    below, above = action <= low, action >= high
    density = jax.scipy.stats.norm.logpdf(action, mean, std)
    # Far out in a tail the gradient is not finite, and `where` would not stop it: elsewhere the tail is a number that
    # nobody reads, and beyond a thousand deviations the likelihood is 0 in any case.
    tail = jnp.where(below, low - mean, jnp.where(above, mean - high, 0.0)) / std
    return jnp.where(below | above, jax.scipy.special.log_ndtr(jnp.maximum(tail, -1e3)), density)


def make_ppo(config: PPOConfig, observation_space: Space, action_space: Space) -> PPO:
    """Makes the functions of PPO for an environment's spaces.

    Raises:
      ConfigError: the observations are not a Box, the actions neither Discrete nor a bounded Box of rank 1, or a
        setting is unknown.
    """
    observations = validate_ppo(config, observation_space, action_space)
    discrete = isinstance(action_space, Discrete)
    outputs = action_space.n if isinstance(action_space, Discrete) else action_space.shape[0]
    actor = _Network(config.hidden_sizes, outputs, config.activation, 0.01)
    critic = _Network(config.hidden_sizes, 1, config.activation, 1.0)
    rank = len(observations.shape)

    def head(params: Any, observation: jax.Array) -> jax.Array:
        """Logits of discrete actions, means of continuous ones."""
        network = params["actor"]["network"]
        return actor.apply({"params": network}, common.flat_observation(observation, observations, network))  # pyright: ignore[reportReturnType]

    def values(params: Any, observation: jax.Array) -> jax.Array:
        out: Any = critic.apply({"params": params["critic"]}, flatten_observation(observation, rank))
        return out[..., 0]

    def probabilities(params: Any, observation: jax.Array) -> jax.Array:
        if not discrete:
            raise ValueError("continuous actions have densities, no probabilities")
        return jax.nn.softmax(head(params, observation))

    def log_prob_and_entropy(params: Any, observation: jax.Array, action: jax.Array) -> tuple[Array, Array]:
        out = head(params, observation)
        if discrete:
            log_probs = jax.nn.log_softmax(out)
            taken = jnp.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]
            return taken, -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)
        assert isinstance(action_space, Box)
        log_std = params["actor"]["log_std"]
        log_prob = clipped_normal_log_prob(
            action, out, log_std, action_space.low_array(), action_space.high_array()
        )
        entropy = jnp.sum(
            log_std + 0.5 * (1.0 + jnp.log(2.0 * jnp.pi))
        )  # of the Gaussian before it is clipped
        return jnp.sum(log_prob, axis=-1), jnp.broadcast_to(entropy, out.shape[:-1])

    def init(key: jax.Array, hyper: PPOHyper | None = None) -> PPOState:
        hyper = PPOHyper() if hyper is None else hyper
        validate_ppo_hyper(hyper)
        observation = flatten_observation(jnp.zeros(observations.shape, observations.dtype), rank)
        actor_key, critic_key = jax.random.split(key)
        params: dict[str, Any] = {
            "actor": {"network": actor.init(actor_key, observation)["params"]},
            "critic": critic.init(critic_key, observation)["params"],
        }
        if not discrete:
            params["actor"]["log_std"] = jnp.zeros(outputs)
        return PPOState(params=params, optimizer=common.adam_init(params), hyper=common.as_hyper(hyper))

    def act(
        state: PPOState,
        observation: jax.Array,
        key: jax.Array | None = None,
        step: jax.Array | int | None = None,
        deterministic: bool = False,
    ) -> jax.Array:
        del step
        out = head(state.params, observation)
        if not deterministic and key is None:
            raise ConfigError("act needs a key, which draws the action, unless deterministic=True")
        if discrete:
            chosen = jnp.argmax(out, axis=-1) if deterministic else jax.random.categorical(key, out)  # pyright: ignore[reportArgumentType]
            return chosen.astype(action_space.dtype)
        if not deterministic:
            out = out + jnp.exp(state.params["actor"]["log_std"]) * jax.random.normal(key, out.shape)  # pyright: ignore[reportArgumentType]
        assert isinstance(action_space, Box)
        return jnp.clip(out, action_space.low_array(), action_space.high_array()).astype(action_space.dtype)

    def update(
        state: PPOState, rows: Rows, last_observation: jax.Array, key: jax.Array
    ) -> tuple[PPOState, Metrics]:
        hyper, count = state.hyper, rows.reward.size
        if count % config.minibatches:
            raise ConfigError(
                f"{count} rows do not split into {config.minibatches} minibatches; give a number that divides them"
            )
        observation = jnp.concatenate([rows.observation, last_observation[None]])
        value = values(state.params, observation)
        advantage = advantages(
            rows.reward,
            value[:-1],
            value[1:],
            rows.terminated,
            rows.truncated,
            hyper.discount,
            hyper.trace_decay,
            rows.valid,
        )
        old_log_prob, _ = log_prob_and_entropy(state.params, rows.observation, rows.action)
        batch = {
            "observation": rows.observation,
            "action": rows.action,
            "valid": rows.valid,
            "advantage": advantage,
            "target": advantage + value[:-1],
            "log_prob": old_log_prob,
        }
        flat = jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), batch)

        def loss(params: Any, part: dict[str, Array]) -> tuple[Array, Metrics]:
            mean = lambda values: common.masked_mean(values, part["valid"])  # noqa: E731
            gain = part["advantage"]
            if config.normalise_advantage:
                middle = mean(gain)
                gain = (gain - middle) / (jnp.sqrt(mean((gain - middle) ** 2)) + 1e-8)
            log_prob, entropy = log_prob_and_entropy(params, part["observation"], part["action"])
            ratio = jnp.exp(log_prob - part["log_prob"])
            clipped = jnp.clip(ratio, 1.0 - hyper.clip, 1.0 + hyper.clip)
            surrogate = mean(jnp.minimum(ratio * gain, clipped * gain))
            error = mean((values(params, part["observation"]) - part["target"]) ** 2)
            total = -surrogate - hyper.entropy_coefficient * mean(entropy) + hyper.value_coefficient * error
            return total, {
                "loss": total,
                "value_loss": error,
                "entropy": mean(entropy),
                "clipped": mean((jnp.abs(ratio - 1.0) > hyper.clip).astype(jnp.float32)),
            }

        def minibatch(carry: tuple[Any, Any], index: Array) -> tuple[tuple[Any, Any], Metrics]:
            params, moments = carry
            part = jax.tree.map(lambda leaf: leaf[index], flat)
            gradients, metrics = jax.grad(loss, has_aux=True)(params, part)
            gradients, norm = common.clip_by_global_norm(gradients, hyper.max_grad_norm)
            params, moments = common.adam_step(gradients, moments, params, hyper.learning_rate)
            return (params, moments), metrics | {"grad_norm": norm}

        orders = jax.vmap(lambda k: jax.random.permutation(k, count))(jax.random.split(key, config.epochs))
        indices = orders.reshape(config.epochs * config.minibatches, -1)
        (params, moments), metrics = jax.lax.scan(minibatch, (state.params, state.optimizer), indices)
        new = replace(state, params=params, optimizer=moments)
        return new, jax.tree.map(jnp.mean, metrics)

    return PPO(config, init, act, probabilities, values, update)


def validate_ppo(config: PPOConfig, observation_space: Space, action_space: Space) -> Box:
    """Checks settings and spaces and returns the observation space; raises ConfigError."""
    common.validate_hidden_sizes("hidden_sizes", config.hidden_sizes)
    common.validate_activation(config.activation)
    for name in ("epochs", "minibatches"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}; give at least 1")
    if not isinstance(action_space, Discrete):
        common.validate_bounded_box(action_space, "PPO")
    return common.validate_observation_space(observation_space)


def validate_ppo_hyper(hyper: PPOHyper) -> None:
    """Raises ConfigError, naming the number, if one is out of its range; traced numbers pass."""
    common.validate_range("learning_rate", hyper.learning_rate, 0.0)
    common.validate_range("discount", hyper.discount, 0.0, 1.0)
    common.validate_range("trace_decay", hyper.trace_decay, 0.0, 1.0)
    common.validate_range("clip", hyper.clip, 0.0, open_low=True)
    common.validate_range("entropy_coefficient", hyper.entropy_coefficient, 0.0)
    common.validate_range("value_coefficient", hyper.value_coefficient, 0.0)
    common.validate_range("max_grad_norm", hyper.max_grad_norm, 0.0, open_low=True)
