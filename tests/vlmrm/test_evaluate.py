import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.registry import TASKS, make_task
from jaxvlm.vlmrm import episode_table, join_episodes, run_episodes, summarise
from jaxvlm.vlmrm.train import init_state, seeds_of
from tests.rl.diagnostic_envs import Counter
from tests.vlmrm.conftest import build_random, tiny_config


def play(built, agent, **changes):
    options = {"episodes": 4, "length": 200, "window": 200, "threshold": 0.9}
    options |= {"deterministic": True, "score": False, "shown": 2}
    options |= changes
    call = jax.jit(lambda inputs, agent, seeds: run_episodes(built.program, inputs, agent, seeds, **options))
    return call(built.inputs, agent, seeds_of(built))


@pytest.fixture(scope="module")
def episodes(built):
    return play(built, init_state(built).agent)


@pytest.mark.slow
def test_episodes_are_counted_by_hand(built, episodes):
    """The same episodes stepped one at a time in Python."""
    program, inputs = built.program, built.inputs
    agent = jax.tree.map(lambda leaf: leaf[0], init_state(built).agent)
    step, act = (
        jax.jit(program.env.step),
        jax.jit(lambda obs: program.agent.act(agent, obs, None, None, deterministic=True)),
    )
    from jaxvlm.rl import env_keys

    key_start, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), 3))
    observation, state = program.env.reset(env_keys(key_start, 4)[1], inputs.env_params)
    success, rewards = [], []
    for _ in range(200):
        observation, state, reward, terminated, truncated, info = step(
            jax.random.key(0), state, act(observation), inputs.env_params
        )
        success.append(bool(info["success"]))
        rewards.append(float(reward))
    assert truncated
    assert not terminated
    np.testing.assert_allclose(episodes.ground_truth_return[0, 1], sum(rewards), atol=1e-3)
    np.testing.assert_allclose(episodes.fraction[0, 1], np.mean(success), atol=1e-6)
    assert int(episodes.length[0, 1]) == 200


@pytest.mark.slow
def test_episodes_are_the_same_in_any_number_of_calls(built, episodes):
    agent = init_state(built).agent
    blocks = [play(built, agent, episodes=3, first=first) for first in (0, 3)]
    joined = join_episodes(blocks, 4)
    np.testing.assert_array_equal(joined.ground_truth_return, episodes.ground_truth_return)
    np.testing.assert_array_equal(joined.length, episodes.length)
    assert jax.tree.leaves(joined.scene)[0].shape[:3] == (2, 200, 2)  # of the first call
    assert len(set(np.asarray(joined.ground_truth_return).ravel())) > 2


@pytest.mark.slow
def test_window_and_threshold(built):
    agent = init_state(built).agent
    whole = play(built, agent, window=200, threshold=0.05)
    last = play(built, agent, window=5, threshold=1.0)
    assert (np.asarray(whole.fraction) * 200 % 1 < 1e-3).all()
    np.testing.assert_array_equal(whole.success, np.asarray(whole.fraction) >= 0.05 - 1e-6)
    np.testing.assert_array_equal(last.success, np.asarray(last.fraction) >= 1.0)


@pytest.mark.slow
def test_clip_reward_is_the_mean_over_the_pictures(built):
    agent = init_state(built).agent
    scored = play(built, agent, episodes=2, shown=2, score=True)
    from jaxvlm.reward import label

    reward = built.inputs.reward
    rewards = label(
        reward,
        scored.scene,
        encode=built.program.encode,
        render=built.program.env.render,
        size=built.program.frame_size,
        chunk=50,
        batch_ndim=3,
    )
    np.testing.assert_allclose(scored.clip_reward, rewards.mean(1), atol=1e-5)


@pytest.mark.slow
def test_one_program_plays_both_ways(built):
    """Deterministic or sampled, scored or not, decided when it runs: as if it had been compiled for each."""
    agent = init_state(built).agent

    @jax.jit
    def either(inputs, agent, seeds, flag):
        options = {"episodes": 2, "length": 200, "window": 200, "threshold": 0.9, "shown": 2}
        return run_episodes(built.program, inputs, agent, seeds, deterministic=flag, score=flag, **options)

    for flag in (True, False):
        one = either(built.inputs, agent, seeds_of(built), jnp.asarray(flag))
        other = play(built, agent, episodes=2, deterministic=flag, score=flag)
        np.testing.assert_array_equal(one.length, other.length)
        np.testing.assert_allclose(one.ground_truth_return, other.ground_truth_return, rtol=1e-5)
        if flag:
            np.testing.assert_allclose(one.clip_reward, other.clip_reward, atol=1e-5)
        else:
            assert other.clip_reward is None
            np.testing.assert_array_equal(one.clip_reward, 0.0)


@pytest.mark.slow
def test_early_ends_count_the_first_episode_only():
    from envs.cartpole import CartPole
    from envs.wrappers import TimeLimit

    built = build_random(tiny_config(reward_reward="ground-truth"))
    program = replace(built.program, env=TimeLimit(CartPole(early_termination=True), 200))
    built = replace(built, program=program)
    episodes = play(built, init_state(built).agent)
    # Gymnasium's CartPole pays 1 a step: return and length agree, and an untrained agent drops the pole early.
    np.testing.assert_allclose(episodes.ground_truth_return, episodes.length)
    assert int(episodes.length.max()) < 200
    # The pole is up in all steps but the last, and an episode that ends early is no success for that.
    np.testing.assert_allclose(episodes.fraction, (np.asarray(episodes.length) - 1) / 200)
    assert not episodes.success.any()


@dataclass(frozen=True)
class Late(Counter):
    """A `Counter` that succeeds from a step on."""

    good_from: int = 1

    def step(self, key, state, action, params):
        *outcome, info = super().step(key, state, action, params)
        return *outcome, {**info, "success": outcome[1].time >= self.good_from}


def play_counter(built, env, **changes):
    """Two seeds' episodes of `env`, which are all alike."""
    still = SimpleNamespace(
        act=lambda agent, observation, key, step, deterministic=False: jnp.zeros(
            observation.shape[:-1], jnp.int32
        )
    )
    counted = replace(built, program=replace(built.program, env=env))
    episodes = play(counted, seeds_of(built), actor=still, episodes=2, **changes)
    assert len(np.unique(episodes.fraction)) == 1
    return float(episodes.fraction[0, 0]), bool(episodes.success[0, 0])


@pytest.mark.parametrize(
    ("good", "length", "window", "threshold", "success"),
    [
        (12, 25, 25, 0.5, False),  # less than half
        (13, 25, 25, 0.5, True),
        (13, 16, 16, 0.875, False),
        (14, 16, 16, 0.875, True),
        (180, 200, 200, 0.9, True),
        (179, 200, 200, 0.9, False),
        (1, 50, 1, 1.0, True),
    ],
)
def test_a_step_short_of_the_threshold_is_no_success(built, good, length, window, threshold, success):
    env = Late(truncate_at=length, good_from=length - good + 1)
    played = play_counter(built, env, length=length, window=window, threshold=threshold)
    assert played == (pytest.approx(good / window), success)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_the_least_steps_that_succeed_are_a_whole_number(name):
    """So that a threshold says itself how many steps it takes."""
    task = make_task(name)
    least = task.threshold * task.window
    assert least == pytest.approx(round(least), abs=1e-9)
    known = {"cartpole": 180, "cartpole-swingup": 90, "mountain-car": 1, "gridworld": 14, "humanoid": 50}
    family = max((key for key in known if name.startswith(key)), key=len)
    assert round(least) == known[family]


@pytest.mark.parametrize(
    ("env", "window", "fraction"),
    [
        (Late(terminate_at=6, good_from=1), 20, 6 / 20),  # 14 steps of the window were never lived
        (Late(terminate_at=6, good_from=4), 4, 3 / 4),  # the window was lived
        (Late(terminate_at=6, good_from=6), 1, 1.0),  # to end is the goal
        (Late(terminate_at=20, truncate_at=20, good_from=11), 20, 10 / 20),
        (
            Late(truncate_at=20, diverge_at=7, good_from=4),
            20,
            3 / 6,
        ),  # broken physics is no failure of the agent's
        (Late(truncate_at=20, diverge_at=1), 20, 0.0),
    ],
)
def test_steps_missed_by_terminating_are_failures(built, env, window, fraction):
    played = play_counter(built, env, length=20, window=window, threshold=0.9)
    assert played == (pytest.approx(fraction), fraction == 1.0)


@pytest.mark.slow
def test_an_episode_without_a_step_has_a_clip_reward(built):
    """CartPole whose physics breaks down at once."""

    @dataclass(frozen=True)
    class Broken(type(built.program.env)):
        def step(self, key, state, action, params):
            *outcome, info = super().step(key, state, action, params)
            return *outcome, {**info, "diverged": jnp.ones((), bool)}

    env = Broken(built.program.env.env, built.program.env.max_steps)
    broken = replace(built, program=replace(built.program, env=env))
    options = {"episodes": 1, "shown": 1, "length": 3, "window": 3, "score": True}
    episodes = play(broken, init_state(built).agent, **options)
    np.testing.assert_array_equal(episodes.length, 0)
    np.testing.assert_array_equal(episodes.clip_reward, 0.0)
    assert math.isfinite(summarise(episodes, "upright_fraction")["mean_clip_reward"])


def test_summary(episodes):
    summary = summarise(episodes, "upright_fraction")
    assert summary["upright_fraction"] == pytest.approx(float(jnp.mean(episodes.fraction)), abs=1e-6)
    assert summary["mean_clip_reward"] is None
    assert len(summary["per_seed"]["success_rate"]) == 2


def test_a_row_for_every_episode(episodes):
    header, *rows = episode_table(episodes, "upright_fraction", [3, 4]).splitlines()
    assert header == "seed,episode,success,upright_fraction,ground_truth_return,length"
    assert len(rows) == episodes.success.size
    values = [row.split(",") for row in rows]
    assert [row[0] for row in values] == ["3"] * (len(rows) // 2) + ["4"] * (len(rows) // 2)
    fractions = [float(row[3]) for row in values]
    assert fractions == pytest.approx(episodes.fraction.reshape(-1).tolist(), abs=1e-5)
