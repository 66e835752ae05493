"""Rewards of several phases: each frame against its own phase's sentence, and one phase as it always was."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.reward import in_phase, label, make_reward_params, phases_of
from jaxvlm.reward.label import score
from jaxvlm.reward.similarity import normalise

WORDS = {
    "up": [1.0, 0.0, 0.0],
    "down": [0.0, 1.0, 0.0],
    "a thing": [0.0, 0.0, 1.0],
    "tall": [0.6, 0.8, 0.0],
}


def embed(prompts):
    return jnp.asarray([WORDS[prompt] for prompt in prompts], jnp.float32)


def params(**changes):
    settings = {"goal_prompts": ("up",), "assets": None, "cameras": [jnp.zeros(1), jnp.ones(1)], **changes}
    return make_reward_params({"params": {}}, embed, **settings)


@pytest.mark.slow
def test_each_state_is_scored_by_its_phase():
    """Cosines of (3, 4, 0) / 5 with the two sentences are 0.6 and 0.8."""
    reward = params(then_prompts=("down",))
    assert phases_of(reward) == 2
    assert reward.goal.shape == (2, 3)
    states = jnp.tile(jnp.asarray([3.0, 4.0, 0.0]), (2, 2, 1))
    phases = jnp.asarray([[0, 1], [1, 0]])
    expected = [[0.6, 0.8], [0.8, 0.6]]
    np.testing.assert_allclose(score(reward, states, phases), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(score)(reward, states, phases), expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [{}, {"alpha": 0.4, "baseline_prompts": ("a thing",)}, {"negative_prompts": ("tall",)}]
)
def test_a_phase_alone_scores_as_a_task_of_its_own(kind):
    both = params(then_prompts=("down",), **kind)
    states = jax.random.normal(jax.random.key(0), (5, 3))
    for phase, sentence in enumerate(("up", "down")):
        alone = params(goal_prompts=(sentence,), **kind)
        expected = score(alone, states)
        np.testing.assert_array_equal(score(in_phase(both, phase), states), expected)
        np.testing.assert_allclose(score(both, states, jnp.full(5, phase)), expected, rtol=1e-6)


def test_one_goal_asks_for_no_phase_and_takes_no_notice_of_it():
    reward = params()
    assert phases_of(reward) == 1
    assert in_phase(reward, 3) is reward
    states = jax.random.normal(jax.random.key(0), (4, 3))
    np.testing.assert_array_equal(score(reward, states, jnp.arange(4)), score(reward, states))


def test_the_first_phase_averages_its_prompts():
    reward = params(goal_prompts=("up", "tall"), then_prompts=("down",))
    np.testing.assert_allclose(reward.goal[0], [0.8, 0.4, 0.0], rtol=1e-6)
    np.testing.assert_allclose(reward.goal[1], WORDS["down"])


def test_labels_of_a_rollout_take_the_phase_of_each_row_from_every_view():
    reward = params(then_prompts=("down",))
    scenes = jnp.asarray([[[3.0, 4.0, 0.0], [0.0, 2.0, 0.0], [1.0, 0.0, 0.0]]])  # [time 1, env 3, e]

    def render(scene, assets, camera, size):
        return jnp.zeros((size, size, 3)) + scene / 8

    def encode(clip, frames):
        return normalise(frames[:, 0, 0].astype(jnp.float32))

    labels = label(
        reward, scenes, encode=encode, render=render, size=2, chunk=4, phases=jnp.asarray([[1, 0, 0]])
    )
    np.testing.assert_allclose(labels, [[0.8, 0.0, 1.0]], atol=0.02)  # frames have 256 levels


def test_what_cannot_work_is_refused():
    two = params(then_prompts=("down",))
    with pytest.raises(ConfigError, match="has 2 phases"):
        score(two, jnp.ones((2, 3)))
    with pytest.raises(ConfigError, match="single string"):
        params(then_prompts="down")
    with pytest.raises(ConfigError, match="at least one word"):
        params(then_prompts=(" ",))
    with pytest.raises(ConfigError, match="have to differ"):
        params(then_prompts=("a thing",), alpha=0.5, baseline_prompts=("a thing",))


def test_a_reward_of_phases_keeps_its_structure():
    """What a program is compiled for: other sentences and schedules are leaves of the same shape."""
    one, other = params(then_prompts=("down",)), params(goal_prompts=("tall",), then_prompts=("up",))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert jax.tree.structure(replace(one, goal=one.goal[0])) == jax.tree.structure(params())
