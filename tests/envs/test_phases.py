"""Schedules of goals: which step belongs to which phase, what the policy sees of it, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.api import Environment
from envs.gridworld.cells import cell
from envs.gridworld.room import ObjectRoom
from envs.phases import Phased
from envs.registry import make_task
from envs.wrappers import TimeLimit
from jaxvlm.errors import ConfigError

RED, BLUE = cell("ball", "red"), cell("key", "blue")
ENV = Phased(TimeLimit(ObjectRoom(), 10), goals=(RED, BLUE), starts=(4,), transition=1)
STAY = jnp.int32(4)


def walk(env, params, steps=10):
    """Observations after the reset and after every step, and what `info` said."""

    @jax.jit
    def run(params):
        observation, state = env.reset(jax.random.key(0), params)

        def one(carry, _):
            observation, state, reward, _, truncated, info = env.step(
                jax.random.key(1), carry[1], STAY, params
            )
            return (observation, state), (observation, reward, truncated, info)

        (_, state), rows = jax.lax.scan(one, (observation, state), None, length=steps)
        return observation, state, rows

    return run(params)


def test_the_first_steps_belong_to_the_first_phase():
    first, _, (observations, _, truncated, info) = walk(ENV, ENV.default_params)
    assert info["phase"].tolist() == [0] * 4 + [1] * 6
    assert truncated.tolist() == [False] * 9 + [True]
    # What is seen is the phase of the next step, and the share of the episode that is over.
    assert first[-3:].tolist() == [1.0, 0.0, 0.0]
    assert observations[2, -3:].tolist() == pytest.approx([1.0, 0.0, 0.3])
    assert observations[3, -3:].tolist() == pytest.approx([0.0, 1.0, 0.4])
    assert observations[9, -3:].tolist() == pytest.approx([0.0, 1.0, 1.0])


@pytest.mark.slow
def test_a_steps_goal_is_that_of_its_phase():
    """An agent that stays on the blue key: the second phase's goal, and not the first one's."""
    params = ENV.default_params
    _, state = ENV.reset(jax.random.key(0), params)
    place = jnp.argwhere(state.inner.cells == BLUE)[0].astype(jnp.int32)
    state = state.replace(inner=state.inner.replace(position=place))
    step = jax.jit(ENV.step)
    successes, rewards = [], []
    for _ in range(6):
        _, state, reward, _, _, info = step(jax.random.key(0), state, STAY, params)
        successes.append(bool(info["success"]))
        rewards.append(float(reward))
    assert successes == [False] * 4 + [True] * 2
    assert rewards == [0.0] * 4 + [1.0] * 2


def test_it_is_an_environment_whose_observations_are_in_its_space():
    assert isinstance(ENV, Environment)
    params = ENV.default_params
    first, _, (observations, *_) = walk(ENV, params)
    space = ENV.observation_space(params)
    inner = ENV.env.observation_space(params.inner)
    assert space.shape == (inner.shape[0] + 3,) == first.shape
    assert all(space.contains(row) for row in observations)
    assert ENV.action_space(params) == ENV.env.action_space(params.inner)


def test_without_a_clock_the_observation_is_the_wrapped_environments():
    blind = Phased(ENV.env, goals=ENV.goals, starts=ENV.starts, clock=False)
    params = blind.default_params
    _, _, (observations, _, _, info) = walk(blind, params)
    assert observations.shape[1:] == blind.observation_space(params).shape
    assert blind.observation_space(params) == ENV.env.observation_space(params.inner)
    assert info["phase"].tolist() == [0] * 4 + [1] * 6


def test_the_schedule_is_data():
    traced = []

    @jax.jit
    def phase_of_third(params):
        traced.append(1)
        _, state = ENV.reset(jax.random.key(0), params)
        for _ in range(3):
            _, state, _, _, _, info = ENV.step(jax.random.key(1), state, STAY, params)
        return info["phase"]

    params = ENV.default_params
    assert int(phase_of_third(params)) == 0
    assert int(phase_of_third(ENV.with_starts(params, (2,)))) == 1
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("starts", "words"),
    [((), "give 1"), ((2, 5), "give 1"), ((1,), "lasts 1 steps"), ((9,), "lasts 1 steps"), ((0,), "lasts 0")],
)
def test_schedules_that_leave_a_phase_nothing_are_refused(starts, words):
    with pytest.raises(ConfigError, match=words):
        ENV.with_starts(ENV.default_params, starts)


def test_one_goal_is_no_sequence():
    with pytest.raises(ConfigError, match="at least two"):
        Phased(TimeLimit(ObjectRoom(), 10), goals=(RED,), starts=())


def test_tasks_of_phases_have_names():
    task = make_task("humanoid-stand-then-kneel")
    assert task.starts == (50,)
    assert (task.concept, *task.then_concepts) == ("standing", "kneeling")
    assert task.then_prompts == ("a humanoid robot kneeling",)
    assert task.env.transition == 20
    assert set(task.variants) == {"compact", "full", "paper", "graded", "no-clock"}
    assert not task.variants["no-clock"].clock
    three = make_task("humanoid-standing-then-lotus-then-kneeling")
    assert three.starts == (33, 66)
    assert three.env.phases == 3
    room = make_task("gridworld-red-ball-then-blue-key")
    assert room.env.goals == (RED, BLUE)
    assert room.then_prompts == ("the agent is at the blue key",)
    assert np.asarray(room.params.goals).dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("humanoid-standing-then-flying", "phase 'flying'"),
        ("cartpole-then-cartpole", "of the humanoid and of the grid-world only"),
    ],
)
def test_phases_that_nobody_knows_are_named(name, words):
    with pytest.raises(ConfigError, match=words):
        make_task(name)
