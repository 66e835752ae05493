"""PPO, DQN and SAC behind one interface: what the transfer experiment asks of an algorithm.

A policy is all parameters that an algorithm learns, critics included: that is what is kept in a bank, flattened and
averaged. Learning from given parameters starts everything else anew: optimiser, replay buffer, entropy coefficient.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.errors import ConfigError
from jaxvlm.rl import (
    DQNConfig,
    DQNHyper,
    PPOConfig,
    PPOHyper,
    ReplayBuffer,
    Rows,
    SACConfig,
    SACHyper,
    make_dqn,
    make_ppo,
    make_replay_buffer,
    make_sac,
    replay_spec,
    validate_sac_hyper,
)

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis
Params = Any

ALGORITHMS = ("ppo", "dqn", "sac")


@dataclass(frozen=True)
class LearnConfig:
    """Numbers of a run. The first ones shape the program."""

    num_envs: int = 16  # environments of a run
    rollout_length: int = 16  # rows per environment and update, reset rows included
    updates: int = 40  # rollouts, each followed by learning from it
    epochs: int = 4  # of PPO: passes over the rows of an update
    minibatches: int = 2  # of PPO
    gradient_steps: int = 32  # of DQN and SAC, an update
    batch_size: int = 64  # of DQN and SAC
    hidden_sizes: tuple[int, ...] = (64, 64)  # widths of each network's layers
    activation: str = "tanh"  # or relu, elu
    learning_rate: float = 3e-3  # of Adam
    discount: float = 0.98  # weight of the next step's value
    entropy_coefficient: float = 0.01  # of PPO; of SAC where the learned one starts, above 0
    epsilon_start: float = 1.0  # of DQN: share of random actions, falls linearly over half of the run
    epsilon_end: float = 0.05  # of DQN: share of random actions from then on
    tau: float = 0.01  # of DQN and SAC: how far targets follow in a gradient step

    def __post_init__(self) -> None:
        counts = ("num_envs", "rollout_length", "updates", "epochs", "minibatches", "gradient_steps")
        for name in (*counts, "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least 1")
        for name in ("learning_rate", "discount", "tau"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ConfigError(f"{name} is {value}; give a number above 0 and at most 1")
        for name in ("epsilon_start", "epsilon_end"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}; give a share of 0 to 1")
        if not 0 <= self.entropy_coefficient < float("inf"):
            raise ConfigError(
                f"entropy_coefficient is {self.entropy_coefficient}; give a number of 0 or more"
            )
        rows = self.num_envs * self.rollout_length
        if rows % self.minibatches:
            raise ConfigError(
                f"{rows} rows of an update do not split into {self.minibatches} minibatches; "
                "give a number that divides them"
            )


@dataclass(frozen=True)
class Learner:
    """An algorithm with its numbers, as pure functions.

    init(key) -> params: a fresh policy.
    begin(params, key) -> state: of a run that starts from `params`.
    params(state) -> params: what it has come to.
    act(state, observation [..., O], key) -> actions, exploring.
    update(state, rows [T, N, ...], last_observation [N, ...], key) -> state: what a rollout teaches.
    policy(params, observation [..., O]) -> what is evaluated: f32[..., A] probabilities of discrete actions (of DQN the
      best one has all), or f32[..., a] the action itself.
    behaviour(params, observation [m, O]) -> f32[b]: what policies are compared by: probabilities, advantages of DQN's
      values, or actions.
    scale_heads(params, actor_scale, critic_scale) -> params: last layers scaled, bias and kernel; scales may be traced.
      An average of policies is as sure as they are and its critic is of another task: a smaller scale makes it explore,
      0 makes the critic say 0. DQN has values alone, which `actor_scale` scales.
    has_critic: whether `critic_scale` does anything.
    """

    init: Callable[[jax.Array], Params]
    begin: Callable[[Params, jax.Array], Any]
    params: Callable[[Any], Params]
    act: Callable[[Any, jax.Array, jax.Array], jax.Array]
    update: Callable[[Any, Rows, jax.Array, jax.Array], Any]
    policy: Callable[[Params, jax.Array], jax.Array]
    behaviour: Callable[[Params, jax.Array], jax.Array]
    scale_heads: Callable[[Params, Any, Any], Params]
    has_critic: bool = True


def make_learner(
    config: LearnConfig, env: Any, env_params: Any, algorithm: str = "ppo", runs: int = 1
) -> Learner:
    """An algorithm for the spaces of `env`; `env_params` are those of one task.

    Raises `ConfigError` for an unknown algorithm, one whose actions are not those of `env`, or replay buffers of `runs`
    runs at once that do not fit into memory.
    """
    makers = {"ppo": _ppo, "dqn": _dqn, "sac": _sac}
    if algorithm not in makers:
        raise ConfigError(f"unknown algorithm {algorithm!r}; choose one of {', '.join(ALGORITHMS)}")
    observations, actions = env.observation_space(env_params), env.action_space(env_params)
    return makers[algorithm](config, observations, actions, runs)


def _ppo(config: LearnConfig, observations: Any, actions: Any, runs: int) -> Learner:
    del runs  # it keeps no more than the rows of an update
    shape = PPOConfig(
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,  # pyright: ignore[reportArgumentType]
        epochs=config.epochs,
        minibatches=config.minibatches,
    )
    hyper = PPOHyper(
        learning_rate=config.learning_rate,
        discount=config.discount,
        entropy_coefficient=config.entropy_coefficient,
    )
    ppo, last = make_ppo(shape, observations, actions), f"Dense_{len(config.hidden_sizes)}"

    def scale_heads(params: Params, actor_scale: Any, critic_scale: Any) -> Params:
        actor = {**params["actor"], "network": _scaled(params["actor"]["network"], last, actor_scale)}
        return {**params, "actor": actor, "critic": _scaled(params["critic"], last, critic_scale)}

    return Learner(
        init=lambda key: ppo.init(key).params,
        begin=lambda params, key: replace(ppo.init(key, hyper), params=params),
        params=lambda state: state.params,
        act=ppo.act,
        update=lambda state, rows, last, key: ppo.update(state, rows, last, key)[0],
        policy=ppo.probabilities,
        behaviour=lambda params, observation: ppo.probabilities(params, observation).reshape(-1),
        scale_heads=scale_heads,
    )


@struct.dataclass
class OffPolicyState:
    """A run of an algorithm with a replay buffer."""

    algorithm: Any  # DQNState or SACState
    replay: Any  # ReplayState, all rows of the run
    steps: Leaf  # i32[], environment steps so far


def _replayed(
    config: LearnConfig, buffer: ReplayBuffer, gradient_step: Callable[..., Any]
) -> Callable[[OffPolicyState, Rows, jax.Array, jax.Array], OffPolicyState]:
    """The update of an algorithm with a replay buffer: rows are added, then gradient steps are made."""

    def update(state: OffPolicyState, rows: Rows, last: jax.Array, key: jax.Array) -> OffPolicyState:
        replay = buffer.add(state.replay, rows, last)

        def step(algorithm: Any, key: jax.Array) -> tuple[Any, None]:
            key_sample, key_step = jax.random.split(key)
            batch = buffer.sample(replay, key_sample, config.batch_size)
            return gradient_step(algorithm, batch, key_step)[0], None

        keys = jax.random.split(key, config.gradient_steps)
        return OffPolicyState(
            algorithm=jax.lax.scan(step, state.algorithm, keys)[0],
            replay=replay,
            steps=state.steps + jnp.sum(rows.valid),
        )

    return update


def _dqn(config: LearnConfig, observations: Any, actions: Any, runs: int) -> Learner:
    shape = DQNConfig(hidden_sizes=config.hidden_sizes, activation=config.activation, double=True)  # pyright: ignore[reportArgumentType]
    rows = config.updates * config.rollout_length
    hyper = DQNHyper(
        learning_rate=config.learning_rate,
        discount=config.discount,
        tau=config.tau,
        epsilon_start=config.epsilon_start,
        epsilon_end=config.epsilon_end,
        epsilon_steps=0.5 * rows * config.num_envs,
    )
    dqn = make_dqn(shape, observations, actions)
    buffer = make_replay_buffer(rows, config.num_envs, replay_spec(observations, actions), runs)
    last = f"Linear_{len(config.hidden_sizes)}"

    def begin(params: Params, key: jax.Array) -> OffPolicyState:
        fresh = replace(dqn.init(key, hyper), params=params, target_params=params)
        return OffPolicyState(fresh, buffer.init(), jnp.zeros((), jnp.int32))

    def policy(params: Params, observation: jax.Array) -> Float[Array, "*batch a"]:
        values = dqn.q_values(params, observation)
        return jax.nn.one_hot(jnp.argmax(values, axis=-1), values.shape[-1])

    def behaviour(params: Params, observation: jax.Array) -> Float[Array, " b"]:
        values = dqn.q_values(params, observation)
        return (values - jnp.mean(values, axis=-1, keepdims=True)).reshape(-1)

    def scale_heads(params: Params, actor_scale: Any, critic_scale: Any) -> Params:
        del critic_scale
        return {**params, "params": _scaled(params["params"], last, actor_scale)}

    return Learner(
        init=lambda key: dqn.init(key).params,
        begin=begin,
        params=lambda state: state.algorithm.params,
        act=lambda state, observation, key: dqn.act(state.algorithm, observation, key, state.steps),
        update=_replayed(config, buffer, dqn.update),
        policy=policy,
        behaviour=behaviour,
        scale_heads=scale_heads,
        has_critic=False,
    )


def _sac(config: LearnConfig, observations: Any, actions: Any, runs: int) -> Learner:
    shape = SACConfig(
        actor_hidden_sizes=config.hidden_sizes,
        critic_hidden_sizes=config.hidden_sizes,
        activation=config.activation,  # pyright: ignore[reportArgumentType]
    )
    hyper = SACHyper(
        learning_rate=config.learning_rate,
        discount=config.discount,
        tau=config.tau,
        entropy_coefficient=config.entropy_coefficient,
    )
    validate_sac_hyper(hyper)
    sac = make_sac(shape, observations, actions)
    rows = config.updates * config.rollout_length
    buffer = make_replay_buffer(rows, config.num_envs, replay_spec(observations, actions), runs)
    last = f"Linear_{len(config.hidden_sizes)}"

    def begin(params: Params, key: jax.Array) -> OffPolicyState:
        fresh = replace(
            sac.init(key, hyper),
            actor=params["actor"],
            critics=params["critics"],
            target_critics=params["critics"],
        )
        return OffPolicyState(fresh, buffer.init(), jnp.zeros((), jnp.int32))

    def own(state: Any) -> Params:
        return {"actor": state.actor, "critics": state.critics}

    def policy(params: Params, observation: jax.Array) -> Float[Array, "*batch a"]:
        return sac.mode(params["actor"], observation)

    def scale_heads(params: Params, actor_scale: Any, critic_scale: Any) -> Params:
        actor = {**params["actor"], "params": _scaled(params["actor"]["params"], "mean", actor_scale)}
        critics = {**params["critics"], "params": _scaled(params["critics"]["params"], last, critic_scale)}
        return {"actor": actor, "critics": critics}

    return Learner(
        init=lambda key: own(sac.init(key)),
        begin=begin,
        params=lambda state: own(state.algorithm),
        act=lambda state, observation, key: sac.act(state.algorithm, observation, key),
        update=_replayed(config, buffer, sac.update),
        policy=policy,
        behaviour=lambda params, observation: policy(params, observation).reshape(-1),
        scale_heads=scale_heads,
    )


def _scaled(network: dict[str, Any], layer: str, scale: Any) -> dict[str, Any]:
    return {**network, layer: jax.tree.map(lambda leaf: scale * leaf, network[layer])}
