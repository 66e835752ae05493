"""Tasks of holding a cart: sentences, places, and a controller that does hold it there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.holding import PLACES, SPREAD, WORDINGS, make_holding, regulate, regulator_gains


def test_every_task_has_a_sentence_and_a_place_of_its_own():
    family = make_holding(3)
    assert len(set(family.instructions)) == len(set(family.target.tolist())) == 72
    places = np.repeat([place for _, place in PLACES], len(WORDINGS))
    assert np.abs(family.target - places).max() <= SPREAD
    assert np.array_equal(np.sign(family.target), np.sign(places))
    assert family.instructions[9] == "hold the cart on the left and the pole upright"
    np.testing.assert_allclose(family.params.target, family.target, rtol=1e-6)
    assert make_holding(4).target.tolist() != family.target.tolist()


@pytest.mark.parametrize("index", [0, 30, 71])
def test_a_regulator_brings_the_cart_there_and_keeps_the_pole_up(index):
    family = make_holding(0)
    task = jax.tree.map(lambda leaf: leaf[index], family.params)
    gain = jnp.asarray(regulator_gains(family.env.default_params)[0])
    observation, state = family.env.reset(jax.random.key(index), task)

    def step(carry, _):
        observation, state = carry
        action = regulate(gain, observation, task)
        observation, state, reward, ended, _, info = family.env.step(jax.random.key(0), state, action, task)
        return (observation, state), (reward, ended, info["success"], action)

    _, (reward, ended, success, action) = jax.lax.scan(step, (observation, state), None, length=400)
    assert not bool(ended.any())
    assert bool(success[-50:].all())
    assert float(reward[-1]) > 0.9
    assert float(jnp.abs(action).max()) <= 1.0


def test_gains_are_those_of_the_linearised_dynamics():
    """The continuous-time pole-up linearisation with gymnasium's constants, discretised by Euler, by hand."""
    from scipy.linalg import solve_discrete_are

    gravity, cart, pole, half, step = 9.8, 1.0, 0.1, 0.5, 0.02
    total = cart + pole
    denominator = half * (4 / 3 - pole / total)
    theta_theta, theta_force = gravity / denominator, -1 / (total * denominator)
    x_theta, x_force = -pole * half / total * theta_theta, 1 / total - pole * half / total * theta_force
    a = np.eye(4) + step * np.array([[0, 1, 0, 0], [0, 0, x_theta, 0], [0, 0, 0, 1], [0, 0, theta_theta, 0]])
    b = step * np.array([[0], [x_force], [0], [theta_force]])
    cost = solve_discrete_are(a, b, np.diag([1.0, 1.0, 10.0, 1.0]), np.array([[0.01]]))
    gain = np.linalg.solve(0.01 + b.T @ cost @ b, b.T @ cost @ a)[0]
    np.testing.assert_allclose(regulator_gains(make_holding(0).env.default_params)[1], gain, rtol=1e-3)
