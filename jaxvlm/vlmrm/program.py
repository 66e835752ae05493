"""The VLM-RM training program: algorithm 1 of the paper as one jitted, donated iteration.

One iteration rolls the policy out, draws and scores the whole rollout, inserts it into the replay buffer and takes
gradient steps. Seeds run side by side: rollout, insertion and updates are vmapped over them, while drawing and
encoding see the frames of all seeds as one batch. Counters that schedules depend on are shared and unbatched, so
that a `cond` on them stays a branch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxvlm.reward import (
    Label,
    RewardParams,
    Seen,
    embed_scenes,
    normalise,
    own_reward,
    phases_of,
    score_views,
)
from jaxvlm.rl import (
    DQN,
    REPLAY_AXES,
    SAC,
    ReplayBuffer,
    ReplayState,
    RolloutState,
    Rows,
    collect,
    env_keys,
    init_rollout,
    random_policy,
)
from jaxvlm.vlmrm.config import RewardSettings, TrainConfig

LEAST_DEVIATION = 0.01  # of a reward that is a probability, see `_standardisation`


@struct.dataclass
class RewardStats:
    """Running moments of the rewards seen before learning starts, one entry per seed (Welford)."""

    count: jax.Array  # f32[seed]
    mean: jax.Array  # f32[seed]
    m2: jax.Array  # f32[seed], sum of squared deviations


@struct.dataclass
class Best:
    """The agents whose rollouts earned the most, one per seed: the paper's rule for choosing a checkpoint."""

    agent: Any  # [seed, ...]
    reward: jax.Array  # f32[seed], mean reward of the rollout; minus infinity before learning
    step: jax.Array  # i32[seed], rows collected when the rollout began


@struct.dataclass
class TrainState:
    """Everything that training changes. Leading axis `seed` except for the counters."""

    rollout: RolloutState  # environments, [seed, env, ...]
    agent: Any  # parameters, optimiser states, hyperparameters, [seed, ...]
    buffer: ReplayState  # arrays [seed, time, env, ...], counters shared
    reward_stats: RewardStats
    best: Best
    key: jax.Array  # key[seed]
    step: jax.Array  # i32[], rows collected per seed, reset rows included
    iteration: jax.Array  # i32[]


def steps_of(config: TrainConfig) -> jax.Array:
    """`Inputs.steps` of a config: whole iterations."""
    per_iteration = config.steps_per_iteration
    return jnp.float32(-(-config.falling_steps // per_iteration) * per_iteration)


@struct.dataclass
class Mix:
    """Weights of the two rewards whose sum is learned from."""

    clip: jax.Array  # f32[]
    truth: jax.Array  # f32[], of the environment's own


def mix_of(settings: RewardSettings) -> Mix | None:
    """`Inputs.mix` of a config's reward."""
    if settings.reward != "mix":
        return None
    return Mix(clip=jnp.float32(settings.clip_weight), truth=jnp.float32(settings.truth_weight))


@struct.dataclass
class Inputs:
    """Arguments that no iteration changes: numbers in them never recompile the program."""

    env_params: Any
    reward: (
        RewardParams | None
    )  # None without a CLIP: trains on the environment's own reward, or on one's own
    steps: jax.Array  # f32[], of each seed: what a falling learning rate falls over, then it stays
    mix: Mix | None = None  # with a CLIP; None trains on its reward alone, or on one's own


@dataclass(frozen=True)
class Program:
    """Static half of a training run: pure functions over `TrainState`. Nothing here is jitted but by the caller.

    `encode(clip_params, frames u8[b, size, size, 3]) -> f32[b, e]`; `frame_size` and `chunk` are in pixels and frames.
    """

    config: TrainConfig
    env: Any
    agent: DQN | SAC
    buffer: ReplayBuffer
    action_space: Any
    encode: Callable[[Any, jax.Array], jax.Array] | None
    frame_size: int
    chunk: int
    label: Label | None = None  # makes the reward that is learned from, of one's own

    def init(self, inputs: Inputs, seed: jax.Array, hyper: Any) -> TrainState:
        """First state for seeds `seed`, i32[seeds]; a seed draws the same numbers alone and among others."""
        keys = jax.vmap(jax.random.key)(seed)
        streams = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
        rollout = jax.vmap(
            lambda key: init_rollout(self.env, inputs.env_params, env_keys(key, self.config.num_envs))
        )(streams[:, 0])
        agent = jax.vmap(self.agent.init, in_axes=(0, None))(streams[:, 1], hyper)
        zeros = jnp.zeros(seed.shape, jnp.float32)
        return TrainState(
            rollout=rollout,
            agent=agent,
            buffer=self.buffer.init_seeds(seed.shape[0]),
            reward_stats=RewardStats(count=zeros, mean=zeros, m2=zeros),
            # A copy: the state is donated, and one buffer cannot be donated twice.
            best=Best(
                agent=jax.tree.map(jnp.copy, agent),
                reward=jnp.full(seed.shape, -jnp.inf, jnp.float32),
                step=jnp.zeros(seed.shape, jnp.int32),
            ),
            key=streams[:, 2],
            step=jnp.int32(0),
            iteration=jnp.int32(0),
        )

    def rollout_stage(self, inputs: Inputs, state: TrainState) -> tuple[RolloutState, Rows]:
        """Acts for `rollout_length` rows in every environment; rows are [seed, time, env, ...]."""
        warm_up = state.step < self.config.learning_starts

        def one_seed(rollout: RolloutState, agent: Any, key: jax.Array) -> tuple[RolloutState, Rows]:
            def act(
                observation: jax.Array, key: jax.Array, lasting_key: jax.Array | None = None
            ) -> jax.Array:
                key_random, key_policy = jax.random.split(key)
                chosen = self.agent.act(agent, observation, key_policy, state.step)
                random = random_policy(self.action_space)(
                    observation, key_random if lasting_key is None else lasting_key
                )
                return jnp.where(warm_up, random, chosen)

            return collect(
                self.env,
                inputs.env_params,
                act,
                rollout,
                key,
                self.config.rollout_length,
                scenes=inputs.reward is not None or self.label is not None,
                hold=self.config.hold if self.config.hold > 1 else None,
            )

        keys = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, 0), state.iteration))(
            state.key
        )
        with jax.named_scope("rollout"), jax.default_matmul_precision("highest"):
            return jax.vmap(one_seed)(state.rollout, state.agent, keys)

    def label_stage(self, inputs: Inputs, rows: Rows) -> jax.Array:
        """Rewards of the rows that are learned from, f32[seed, time, env]."""
        return self.rewards(inputs, rows)[0]

    def rewards(self, inputs: Inputs, rows: Rows) -> tuple[jax.Array, jax.Array | None]:
        """Rewards of the rows that are learned from, and CLIP's own, None without one; f32[seed, time, env] both.

        Rows are drawn, encoded and scored in chunks.
        """
        clip, embeddings = None, None
        if inputs.reward is not None:
            assert self.encode is not None
            with jax.named_scope("label"):
                embeddings = embed_scenes(
                    inputs.reward,
                    rows.scene,
                    encode=self.encode,
                    render=self.env.render,
                    size=self.frame_size,
                    chunk=self.chunk,
                    batch_ndim=3,
                )
                phases = rows.phase if phases_of(inputs.reward) > 1 else None
                clip = score_views(inputs.reward, embeddings, phases)
        if self.label is not None:
            embeddings = None if embeddings is None else normalise(embeddings)
            seen = Seen(rows.scene, rows.observation, rows.action, embeddings, rows.phase)
            return own_reward(self.label, clip, rows.reward, seen, rows.valid), clip
        if clip is None:
            return rows.reward, None
        if inputs.mix is not None:
            return inputs.mix.clip * clip + inputs.mix.truth * rows.reward, clip
        return clip, clip

    def insert_stage(
        self, state: TrainState, rollout: RolloutState, rows: Rows, rewards: jax.Array
    ) -> ReplayState:
        """Writes the labelled rows into the replay buffer."""
        with jax.named_scope("insert"):
            add = jax.vmap(self.buffer.add, in_axes=(REPLAY_AXES, 0, 0), out_axes=REPLAY_AXES)
            return add(state.buffer, replace(rows, reward=rewards, scene=None), rollout.observation)

    def update_stage(
        self, state: TrainState, steps: jax.Array, weight: jax.Array | float = 1.0
    ) -> tuple[Any, dict[str, jax.Array]]:
        """Takes `updates` gradient steps from the buffer; metrics are means over them, f32[seed].

        `steps` is `Inputs.steps`, `weight` that of the CLIP reward in a mix.
        """
        config = self.config
        if config.reward.standardise:
            of_clip = config.reward.reward in ("clip", "mix")  # what a label gives need not be one
            probabilities = of_clip and bool(config.reward.negative or config.reward.sigmoid)
            shift, scale = _standardisation(state.reward_stats, probabilities, weight)
        else:
            shift, scale = jnp.zeros_like(state.reward_stats.mean), jnp.ones_like(state.reward_stats.mean)

        def one_seed(
            agent: Any, buffer: ReplayState, key: jax.Array, shift: jax.Array, scale: jax.Array
        ) -> tuple[Any, dict[str, jax.Array]]:
            key_sample, key_update = jax.random.split(key)
            batch = self.buffer.sample(buffer, key_sample, config.batch_size)
            batch = replace(batch, reward=(batch.reward - shift) * scale)
            return self.agent.update(agent, batch, key_update)

        def one_update(agents: Any, index: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            keys = jax.vmap(
                lambda key: jax.random.fold_in(
                    jax.random.fold_in(jax.random.fold_in(key, 1), state.iteration), index
                )
            )(state.key)
            return jax.vmap(one_seed, in_axes=(0, REPLAY_AXES, 0, 0, 0))(
                agents, state.buffer, keys, shift, scale
            )

        agents = self._slowed(state, steps)
        if isinstance(self.agent, DQN) and self.agent.config.target_sync == "vector-step":
            agents = jax.vmap(self.agent.sync, in_axes=(0, None))(agents, config.rollout_length)
        with jax.named_scope("update"):
            agent, metrics = jax.lax.scan(one_update, agents, jnp.arange(config.updates))
        agent = replace(agent, hyper=state.agent.hyper)
        return agent, jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), metrics)

    def _slowed(self, state: TrainState, steps: jax.Array) -> Any:
        """The agents with the learning rate of this iteration."""
        config, hyper = self.config, state.agent.hyper
        if config.learning_rate_end == 1:
            return state.agent
        share = 1.0 - (1.0 - config.learning_rate_end) * jnp.minimum(state.step / steps, 1.0)
        return replace(state.agent, hyper=replace(hyper, learning_rate=hyper.learning_rate * share))

    def iteration(self, inputs: Inputs, state: TrainState) -> tuple[TrainState, dict[str, jax.Array]]:
        """One pass of algorithm 1. Returns the next state and metrics, f32[seed] each."""
        config = self.config
        rollout, rows = self.rollout_stage(inputs, state)
        rewards, clip_rewards = self.rewards(inputs, rows)
        buffer = self.insert_stage(state, rollout, rows, rewards)
        stats = jax.lax.cond(
            state.step < config.learning_starts,
            lambda: jax.vmap(_accumulate)(state.reward_stats, rewards, rows.valid),
            lambda: state.reward_stats,
        )
        weight = rows.valid.astype(jnp.float32)
        count = jnp.maximum(weight.sum((1, 2)), 1.0)

        def mean(values: jax.Array) -> jax.Array:
            return jnp.sum(values.astype(jnp.float32) * weight, axis=(1, 2)) / count

        mean_reward = mean(rewards)
        state = replace(
            state,
            rollout=rollout,
            buffer=buffer,
            reward_stats=stats,
            # Whoever acted in this rollout has learned where the update after the one before was made.
            best=_keep_best(state, jnp.where(state.step <= config.learning_starts, -jnp.inf, mean_reward)),
            step=state.step + config.steps_per_iteration,
            iteration=state.iteration + 1,
        )
        blank = jax.tree.map(
            lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype),
            jax.eval_shape(self.update_stage, state, inputs.steps)[1],
        )
        clip_weight = 1.0 if inputs.mix is None else inputs.mix.clip
        agent, losses = jax.lax.cond(
            state.step > config.learning_starts,
            lambda state, steps: self.update_stage(state, steps, clip_weight),
            lambda state, _: (state.agent, blank),
            state,
            inputs.steps,
        )
        # What is learned from may be CLIP's own.
        apart = {} if clip_rewards is None or clip_rewards is rewards else {"clip_reward": mean(clip_rewards)}
        metrics = {
            "reward": mean_reward,
            **apart,
            "ground_truth_reward": mean(rows.reward),
            "success": mean(rows.success),
            "transitions": weight.sum((1, 2)),
            "diverged": rows.diverged.astype(jnp.float32).sum((1, 2)),
            **_by_phase(rows, rewards, getattr(self.env, "phases", 1)),
            **losses,
        }
        return replace(state, agent=agent), metrics


def _keep_best(state: TrainState, reward: jax.Array) -> Best:
    """The better of the best so far and the agents that earned `reward`, seed by seed; of equals the later one.

    A bounded reward is soon earned in full; the later of those agents has seen more.
    """
    better = (reward >= state.best.reward) & (reward > -jnp.inf)

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)

    return Best(
        agent=jax.tree.map(pick, state.agent, state.best.agent),
        reward=jnp.where(better, reward, state.best.reward),
        step=jnp.where(better, state.step, state.best.step),
    )


def _by_phase(rows: Rows, rewards: jax.Array, phases: int) -> dict[str, jax.Array]:
    """Reward and success of each phase of a task of several, f32[seed]; nothing of one that has no phases.

    Not a number of a phase that the rollout did not come to.
    """
    found = {}
    for phase in range(phases if rows.phase is not None else 0):
        weight = (rows.valid & (rows.phase == phase)).astype(jnp.float32)
        count = weight.sum((1, 2))  # none: 0 / 0
        for name, values in (("reward", rewards), ("success", rows.success)):
            found[f"{name}_phase_{phase + 1}"] = jnp.sum(values * weight, axis=(1, 2)) / count
    return found


def _standardisation(
    stats: RewardStats, probabilities: bool, weight: jax.Array | float = 1.0
) -> tuple[jax.Array, jax.Array]:
    """What is taken from rewards and what they are multiplied by, f32[seed] each.

    A probability far from the goal can vary by 1e-17 only; in such units the goal's 1 would be a reward that no critic
    fits. Of them a deviation counts as `LEAST_DEVIATION` at least, so that what was never met is worth 100 at most.
    `weight` is that of the probability in a mix.
    """
    deviation = jnp.sqrt(stats.m2 / jnp.maximum(stats.count, 1.0))
    if probabilities:
        # Where nothing was seen, as with learning from the first step on, rewards stay as they are.
        floor = LEAST_DEVIATION * jnp.abs(weight)
        deviation = jnp.where(stats.count > 0, jnp.maximum(deviation, floor), 0.0)
    # Rewards that never varied before learning starts (a goal nobody met) are shifted only. What rounding makes of
    # equal ones grows with their mean; the least normal number keeps the scale finite.
    least = jnp.maximum(1e-5 * jnp.abs(stats.mean), jnp.finfo(jnp.float32).tiny)
    return stats.mean, jnp.where(deviation > least, 1.0 / deviation, 1.0)


def _accumulate(stats: RewardStats, rewards: jax.Array, valid: jax.Array) -> RewardStats:
    """Merges the moments of one rollout into the running ones (Chan et al. 1979)."""
    weight = valid.astype(jnp.float32)
    count = weight.sum()
    mean = jnp.sum(rewards * weight) / jnp.maximum(count, 1.0)
    m2 = jnp.sum(weight * (rewards - mean) ** 2)
    total = jnp.maximum(stats.count + count, 1.0)
    delta = mean - stats.mean
    return RewardStats(
        count=stats.count + count,
        mean=stats.mean + delta * count / total,
        m2=stats.m2 + m2 + delta**2 * stats.count * count / total,
    )
