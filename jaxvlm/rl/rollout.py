"""Rollouts of an environment with next-step auto-reset, many environments at a time.

When row t ends an episode, row t + 1 is its reset row: it holds the true final observation, its action is
ignored, and it is marked `valid=False`. Row t + 2 starts the new episode. So every row's next observation is
the observation of the row below it, and nothing has to be stored twice.

An environment whose physics broke down says so in `info["diverged"]`, with a finite state and observation.
That row ends its episode and is marked `valid=False` too; a reset row ends nothing, which tells them apart.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxvlm.errors import ConfigError
from jaxvlm.rl.types import Leaf
from jaxvlm.spaces import Space

Policy = Callable[[jax.Array, jax.Array], jax.Array]  # (observation [B, ...], key) -> action [B, ...]
# The same with a second key, which lasts for several rows.
HoldingPolicy = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


@struct.dataclass
class RolloutState:
    """Where a rollout stands between two calls of `collect`; carries no key."""

    env_state: Any  # pytree of the environment's state, [N, ...]
    observation: Leaf  # [N, ...], observation of env_state
    done: Leaf  # bool[N], the previous row ended its episode: the next row resets


@struct.dataclass
class Rows:
    """What happened: time on the first axis, environments on the second."""

    observation: Leaf  # [T, N, ...], seen before the action
    action: Leaf  # [T, N, ...], in the environment's units
    reward: Leaf  # f32[T, N], the environment's own; 0 in reset rows
    terminated: Leaf  # bool[T, N], the action led to a terminal state
    truncated: Leaf  # bool[T, N], a time limit cut the episode after the action
    valid: Leaf  # bool[T, N], False in reset rows and where the physics diverged
    success: Leaf  # bool[T, N], info["success"] of the state the action led to
    scene: Any  # pytree [T, N, ...] of the state the action led to, or None
    phase: Any = None  # i32[T, N], info["phase"], of a task of several phases; of no meaning in reset rows

    @property
    def done(self) -> jax.Array:
        """Whether the row ended its episode, bool[T, N]."""
        return self.terminated | self.truncated

    @property
    def diverged(self) -> jax.Array:
        """Whether the physics broke down in the row, bool[T, N]."""
        return self.done & ~self.valid


def env_keys(key: jax.Array, num_envs: int, first_env_index: jax.Array | int = 0) -> jax.Array:
    """One key for each environment, from its global index: any partition of them draws the same numbers.

    Args:
      key: one key.
      num_envs: how many environments this call holds.
      first_env_index: global index of the first of them.

    Returns:
      Keys [num_envs].
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, first_env_index + jnp.arange(num_envs))


def init_rollout(env: Any, params: Any, keys: jax.Array) -> RolloutState:
    """Resets one environment for each key.

    Args:
      env: an environment that follows the contract (unbatched reset and step).
      params: its numeric parameters, shared by all.
      keys: keys [N], for instance `env_keys(key, N)`.
    """
    observation, env_state = jax.vmap(env.reset, in_axes=(0, None))(keys, params)
    return RolloutState(env_state, observation, jnp.zeros(observation.shape[0], bool))


def random_policy(action_space: Space) -> Policy:
    """A policy that ignores the observation and draws uniformly from `action_space`."""

    def policy(observation: jax.Array, key: jax.Array) -> jax.Array:
        return jax.vmap(action_space.sample)(jax.random.split(key, observation.shape[0]))

    return policy


def collect(
    env: Any,
    params: Any,
    policy: Policy | HoldingPolicy,
    state: RolloutState,
    key: jax.Array,
    length: int,
    first_env_index: jax.Array | int = 0,
    scenes: bool = True,
    hold: int | None = None,
) -> tuple[RolloutState, Rows]:
    """Runs `length` rows in each of the N environments of `state`.

    Every draw, the policy's included, comes from a key folded from the environment's global index and the
    row, so splitting the environments over devices or calls changes nothing. For that reason the policy is
    called for one environment at a time under `vmap`, on observations [1, ...] with a key of its own; XLA
    joins the calls into one batch.

    Args:
      env: an environment that follows the contract.
      params: its numeric parameters, shared by all.
      policy: (observation [B, ...], key) -> action [B, ...], in the environment's units; with `hold` it gets a
        second key.
      state: made by `init_rollout` or an earlier call.
      key: one key, fresh for every call.
      length: number of rows, static.
      first_env_index: global index of this call's first environment.
      scenes: whether to keep what frames are drawn from; without, `Rows.scene` is None.
      hold: rows for which the second key stays the same, for random actions that last; environments change
        theirs at different rows. None: there is no second key.

    Returns:
      The state after the last row, whose observation is that row's next observation, and the rows [length,
      N, ...].

    Raises:
      ConfigError: `length` or `hold` is not positive.
    """
    if length < 1:
        raise ConfigError(f"rollout length is {length}; collect at least one row")
    if hold is not None and hold < 1:
        raise ConfigError(f"hold is {hold}; a key lasts for one row at least")
    keys = env_keys(key, state.done.shape[0], first_env_index)

    def one_env(
        carry: RolloutState, key: jax.Array, lasting_key: jax.Array | None
    ) -> tuple[RolloutState, Rows]:
        policy_key, step_key, reset_key = jax.random.split(key, 3)
        held = () if lasting_key is None else (lasting_key,)
        action = _act_alone(policy, carry.observation, policy_key, *held)
        observation, env_state, reward, terminated, truncated, info = env.step(
            step_key, carry.env_state, action, params
        )
        reset_observation, reset_state = env.reset(reset_key, params)
        stepped_row = ~carry.done
        diverged = stepped_row & info.get("diverged", False)
        valid = stepped_row & ~diverged

        def unless_reset(stepped: jax.Array, reset: jax.Array) -> jax.Array:
            return jnp.where(stepped_row, stepped, reset)

        env_state = jax.tree.map(unless_reset, env_state, reset_state)
        terminated, truncated = valid & terminated, stepped_row & truncated | diverged
        rows = Rows(
            observation=carry.observation,
            action=action,
            reward=jnp.where(valid, jnp.asarray(reward, jnp.float32), 0.0),
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            success=valid & info["success"],
            scene=env.scene(env_state, params) if scenes else None,
            phase=info.get("phase"),
        )
        observation = unless_reset(observation, reset_observation)
        return RolloutState(env_state, observation, terminated | truncated), rows

    def row(carry: RolloutState, time: jax.Array) -> tuple[RolloutState, Rows]:
        row_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, time)
        if hold is None:
            return jax.vmap(lambda carry, key: one_env(carry, key, None))(carry, row_keys)
        # Rows are numbered from 0, so negative numbers are free.
        spell = -1 - (time + first_env_index + jnp.arange(state.done.shape[0])) // hold
        lasting_keys = jax.vmap(jax.random.fold_in)(keys, spell)
        return jax.vmap(one_env)(carry, row_keys, lasting_keys)

    return jax.lax.scan(row, state, jnp.arange(length))


def _act_alone(policy: Callable[..., jax.Array], observation: jax.Array, *keys: jax.Array) -> jax.Array:
    """The policy's action for one observation: [...] -> [...]."""
    actions = policy(observation[None], *keys)
    if actions.shape[:1] != (1,):
        raise ValueError(
            f"policy returned actions of shape {actions.shape} for observations of shape "
            f"{(1, *observation.shape)}; the first axis of both is the batch"
        )
    return actions[0]
