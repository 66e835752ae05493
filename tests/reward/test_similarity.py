import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.reward import (
    goal_baseline,
    normalise,
    sigmoid_similarity,
    similarity,
    softmax_negatives,
    validate_alpha,
    validate_prompts,
)
from jaxvlm.reward.similarity import check_vectors


def projection_matrix_reward(state, goal, baseline, alpha):
    """Equation 3 with the affine projection written out as a matrix, in float64."""
    state = np.asarray(state, np.float64) / np.linalg.norm(state)
    direction = np.asarray(goal, np.float64) - baseline
    projection = np.outer(direction, direction) / (direction @ direction)
    regularised = alpha * (goal + projection @ (state - goal)) + (1 - alpha) * state
    return 1 - 0.5 * np.sum((regularised - goal) ** 2)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dimension", [2, 64, 1280])
def test_goal_baseline_is_the_projection_matrix_form(alpha, dimension):
    rng = np.random.default_rng(dimension)
    for _ in range(5):
        state = rng.normal(size=dimension)
        goal, baseline = (v / np.linalg.norm(v) for v in rng.normal(size=(2, dimension)))
        got = goal_baseline(jnp.float32(state), jnp.float32(goal), jnp.float32(baseline), alpha)
        np.testing.assert_allclose(got, projection_matrix_reward(state, goal, baseline, alpha), atol=1e-6)


def test_goal_baseline_by_hand():
    # s = (1, 0), g = (0, 1), b = (0, 0): d = (0, 1), |s - g|^2 = 2, t = -1.
    arguments = jnp.array([2.0, 0.0]), jnp.array([0.0, 1.0]), jnp.zeros(2)
    np.testing.assert_allclose(goal_baseline(*arguments, 0.0), 0.0, atol=1e-7)
    np.testing.assert_allclose(goal_baseline(*arguments, 1.0), 0.5, atol=1e-7)
    np.testing.assert_allclose(goal_baseline(*arguments, 0.5), 1 - 0.5 * (0.25 * 2 + 0.75), atol=1e-7)


def test_alpha_zero_with_one_goal_is_the_cosine():
    state, goal, baseline = jax.random.normal(jax.random.key(0), (3, 32))
    goal = normalise(goal)
    np.testing.assert_allclose(goal_baseline(state, goal, baseline, 0.0), similarity(state, goal), atol=1e-6)


@pytest.mark.slow
def test_mean_of_goals_shifts_the_cosine_by_a_constant():
    key_goals, key_states = jax.random.split(jax.random.key(1))
    goals = normalise(jax.random.normal(key_goals, (3, 16)))
    states = normalise(jax.random.normal(key_states, (7, 16)))
    mean = goals.mean(0)
    rewards = jax.vmap(goal_baseline, in_axes=(0, None, None, None))(states, mean, jnp.zeros(16), 0.0)
    np.testing.assert_allclose(rewards, states @ mean + (1 - mean @ mean) / 2, atol=1e-6)


@pytest.mark.slow
def test_goal_equal_to_baseline_is_finite_with_finite_gradient():
    state, goal = jax.random.normal(jax.random.key(2), (2, 8))
    goal = normalise(goal)
    value, gradient = jax.value_and_grad(goal_baseline)(state, goal, goal, 0.5)
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(gradient))


def test_softmax_negatives_against_numpy():
    rng = np.random.default_rng(3)
    state, goal = rng.normal(size=(2, 8)).astype(np.float32)
    negatives = rng.normal(size=(4, 8)).astype(np.float32)
    prompts = np.concatenate([goal[None], negatives])
    cosines = prompts @ state / np.linalg.norm(prompts, axis=1) / np.linalg.norm(state)
    expected = np.exp(cosines / 0.1)[0] / np.exp(cosines / 0.1).sum()
    got = jax.jit(softmax_negatives)(jnp.array(state), jnp.array(goal), jnp.array(negatives), 0.1)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_sigmoid_similarity_against_numpy():
    state, goal = np.random.default_rng(4).normal(size=(2, 8)).astype(np.float32)
    cosine = state @ goal / np.linalg.norm(state) / np.linalg.norm(goal)
    for logit_scale, logit_bias in ((0.0, 0.0), (4.7, -16.5), (4.7, 30.0)):
        expected = 1 / (1 + np.exp(-(np.exp(logit_scale) * cosine + logit_bias)))
        got = jax.jit(sigmoid_similarity)(jnp.array(state), jnp.array(goal), logit_scale, logit_bias)
        np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_shapes_and_types_are_checked():
    with pytest.raises((AssertionError, TypeError)):
        goal_baseline(jnp.ones((2, 4)), jnp.ones(4), jnp.ones(4), 0.0)
    with pytest.raises((AssertionError, TypeError)):
        similarity(jnp.ones(4), jnp.ones(5))


def test_batches_and_other_sizes_are_told_from_single_embeddings():
    check_vectors(state=jnp.ones(4), goal=np.ones(4))
    with pytest.raises(ConfigError, match=r"state has shape \(2, 4\), but .* vmap it, as in jax\.vmap\("):
        check_vectors(state=jnp.ones((2, 4)), goal=jnp.ones(4))
    with pytest.raises(ConfigError, match=r"these have several: state 4, goal 5"):
        check_vectors(state=jnp.ones(4), goal=jnp.ones(5))


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), float("inf")])
def test_alpha_out_of_range(alpha):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        validate_alpha(alpha)


@pytest.mark.parametrize(
    ("goal", "baseline", "negatives", "alpha", "message"),
    [
        ([], [], [], 0.0, "no goal prompt"),
        (["a"], [" "], [], 0.5, "baseline prompt is ' '"),
        (["a"], [], [], 0.5, "no baseline prompt"),
        (["a"], ["a"], [], 0.5, "have to differ"),
        (["a"], ["b"], ["c"], 0.5, "softmax reward takes no baseline"),
    ],
)
def test_prompt_lists_that_do_not_fit(goal, baseline, negatives, alpha, message):
    with pytest.raises(ConfigError, match=message):
        validate_prompts(goal, baseline, negatives, alpha)


@pytest.mark.parametrize(
    ("negatives", "alpha", "message"),
    [(["b"], 0.0, r"negative prompts \['b'\]"), ([], 0.5, "sigmoid is set with alpha 0.5")],
)
def test_the_sigmoid_takes_the_goal_alone(negatives, alpha, message):
    validate_prompts(["a"], ["c"], [], 0.0, sigmoid=True)
    with pytest.raises(ConfigError, match=message):
        validate_prompts(["a"], ["c"], negatives, alpha, sigmoid=True)
