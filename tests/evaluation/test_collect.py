"""Collected states are those of the evaluation's own episodes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vlmrm.conftest import tiny_config

from envs.registry import make_task
from jaxvlm.evaluation.collect import choose_rows, make_player
from jaxvlm.vlmrm import build, run_episodes
from jaxvlm.vlmrm.train import init_state, seeds_of

LENGTH = 7


@pytest.fixture(scope="module")
def played():
    task = make_task("cartpole")
    config = replace(tiny_config(reward_reward="ground-truth"), seed=4)
    built = build(config, task.env, task.params, domain=task.domain)
    agent = init_state(built).agent
    player = make_player(task.env, built.program.agent.act, episodes=3, length=LENGTH)
    arguments = agent, seeds_of(built), jnp.int32(2), jnp.asarray(True), jnp.int32(config.steps)
    theirs = run_episodes(
        built.program,
        built.inputs,
        agent,
        seeds_of(built),
        episodes=3,
        length=LENGTH,
        window=5,
        threshold=0.5,
        deterministic=jnp.asarray(True),
        score=False,
        shown=3,
        first=2,
    )
    return player(task.params, *arguments), theirs


@pytest.mark.slow
def test_states_are_those_of_evaluation(played):
    ours, theirs = played
    jax.tree.map(np.testing.assert_array_equal, ours.scene, theirs.scene)
    np.testing.assert_array_equal(ours.counted.sum(1), theirs.length)


def test_rows_know_where_they_come_from(played):
    ours, _ = played
    scene, success, index = choose_rows(ours, np.array([4, 5]), 2)
    assert len(success) == 2 * 3 * LENGTH
    for row in (0, 10, 41):
        seed, episode, step = (index[name][row] for name in ("seed", "episode", "step"))
        assert scene["theta"][row] == ours.scene.theta[seed - 4, step - 1, episode - 2]
        assert success[row] == ours.success[seed - 4, step - 1, episode - 2]
    assert set(index["seed"]) == {4, 5}
    assert set(index["episode"]) == {2, 3, 4}


def test_rows_after_an_episode_do_not_count(played):
    ours, _ = played
    counted = np.asarray(ours.counted).copy()
    counted[:, 3:] = False
    _, success, index = choose_rows(replace(ours, counted=jnp.asarray(counted)), np.array([4, 5]), 2)
    assert len(success) == 2 * 3 * 3
    assert index["step"].max() == 3
