import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pictures
import pytest

from envs.cartpole import CartPole, CartPoleScene, CartPoleState, dynamics, hold_on_track, wrap_angle
from jaxvlm.errors import ConfigError

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def peer():
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array", disable_env_checker=True)
    env.reset(seed=0)
    yield env
    env.close()


def _state(x=0.0, x_dot=0.0, theta=0.0, theta_dot=0.0) -> CartPoleState:
    return CartPoleState(*(jnp.float32(value) for value in (x, x_dot, theta, theta_dot)))


def test_dynamics_equal_gymnasium_from_any_state(peer):
    rng = np.random.default_rng(0)
    states = rng.uniform([-2.3, -3, -7, -6], [2.3, 3, 7, 6], (200, 4)).astype(np.float32)
    actions = rng.integers(0, 2, 200)
    params = CartPole().default_params
    batch = CartPoleState(*jnp.asarray(states.T))
    moved = jax.jit(jax.vmap(dynamics, (0, 0, None)))(batch, jnp.asarray(actions, jnp.int32), params)
    got = np.stack([moved.x, moved.x_dot, moved.theta, moved.theta_dot], axis=1)
    for state, action, ours in zip(states, actions, got, strict=True):
        peer.unwrapped.state = state.astype(np.float64)
        peer.unwrapped.steps_beyond_terminated = None
        theirs = peer.unwrapped.step(int(action))[0]
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_early_termination_is_gymnasiums_episode(peer):
    env = CartPole(early_termination=True)
    params, step = env.default_params, jax.jit(env.step)
    _, state = env.reset(jax.random.key(3), params)
    peer.reset(seed=0)
    peer.unwrapped.state = np.array([state.x, state.x_dot, state.theta, state.theta_dot], np.float64)
    terminated = False
    while not terminated:
        observation, state, reward, terminated, truncated, _ = step(KEY, state, jnp.int32(1), params)
        theirs, their_reward, their_terminated, _, _ = peer.unwrapped.step(1)
        np.testing.assert_allclose(observation, theirs, rtol=1e-4, atol=1e-4)
        assert (float(reward), bool(terminated), bool(truncated)) == (their_reward, their_terminated, False)


def test_reset_ranges():
    env = CartPole()
    params = env.default_params.replace(initial_angle=jnp.float32(np.pi))
    reset = jax.jit(jax.vmap(env.reset, (0, None)))
    observation, state = reset(jax.random.split(KEY, 500), params)
    observation = np.asarray(observation)
    low, high = observation.min(axis=0), observation.max(axis=0)
    assert observation.dtype == np.float32
    assert np.all(np.abs(observation[:, [0, 1, 3]]) <= 0.05)
    assert low[2] < -3.0
    assert high[2] > 3.0
    np.testing.assert_array_equal(state.theta, observation[:, 2])
    narrow, _ = reset(jax.random.split(KEY, 500), env.default_params)
    assert np.abs(narrow).max() <= 0.05


@pytest.mark.parametrize(
    ("theta", "wrapped"),
    [(0.3, 0.3), (-np.pi, -np.pi), (np.pi, -np.pi), (4.0, 4.0 - 2 * np.pi), (-7.0, -7.0 + 2 * np.pi)],
)
def test_wrap_angle(theta, wrapped):
    got = wrap_angle(jnp.float32(theta))
    np.testing.assert_allclose(got, wrapped, atol=1e-6)
    assert -np.float32(np.pi) <= got < np.float32(np.pi)


def test_wrap_angle_stays_below_pi_where_rounding_would_not():
    below = np.nextafter(np.float32(-np.pi), np.float32(-4))
    assert wrap_angle(jnp.float32(below)) < np.float32(np.pi)


def test_cart_is_held_at_the_ends():
    env, step = CartPole(), jax.jit(CartPole().step)
    params = env.default_params
    for side in (-1.0, 1.0):
        _, state, reward, _, _, info = step(KEY, _state(2.39 * side, 2.0 * side), jnp.int32(side > 0), params)
        assert (float(state.x), float(state.x_dot)) == (pytest.approx(2.4 * side), 0.0)
        assert not info["success"]
        assert info["upright"]
        assert reward == -1.0
        for _ in range(3):  # pushed on, it stays there, and that is no success either
            _, state, reward, _, _, info = step(KEY, state, jnp.int32(side > 0), params)
            assert float(state.x_dot) == 0.0
            assert not info["success"]
            assert reward == -1.0
        # Pushed away from the end it leaves it, at once.
        _, state, *_, info = step(KEY, state, jnp.int32(side < 0), params)
        _, state, *_, info = step(KEY, state, jnp.int32(side < 0), params)
        assert abs(float(state.x)) < 2.4
        assert info["success"]
    inward = hold_on_track(_state(2.5, -1.0), params)
    assert (float(inward.x), float(inward.x_dot)) == (pytest.approx(2.4), -1.0)


def test_never_ends_and_stays_in_its_space():
    env = CartPole()
    params = env.default_params.replace(initial_angle=jnp.float32(np.pi))

    def body(state, action):
        observation, state, reward, terminated, truncated, info = env.step(KEY, state, action, params)
        return state, (observation, reward, terminated | truncated, info["success"])

    actions = jnp.asarray(np.random.default_rng(0).random(500) < 0.6, jnp.int32)
    run = jax.jit(lambda key: jax.lax.scan(body, env.reset(key, params)[1], actions)[1])
    observation, reward, ended, success = (np.asarray(row) for row in run(KEY))
    assert not ended.any()
    assert np.abs(observation[:, 2]).max() > 3.0
    space = env.observation_space(params)
    assert np.all((observation >= space.low_array()) & (observation <= space.high_array()))
    np.testing.assert_array_equal(reward, np.where(success, 1.0, -1.0))


def test_cosine_reward():
    env = CartPole(reward="cosine")
    _, state, reward, *_ = jax.jit(env.step)(KEY, _state(theta=2.0), jnp.int32(0), env.default_params)
    np.testing.assert_allclose(reward, np.cos(state.theta), rtol=1e-6)


def test_a_continuous_push_is_the_discrete_one_at_its_ends_and_scales_between():
    env, discrete = CartPole(continuous=True), CartPole()
    params, state = env.default_params, _state(0.3, -0.2, 0.1, 0.4)
    step = jax.jit(env.step)
    for action, push in ((0, -1.0), (1, 1.0), (1, 7.0)):
        theirs = jax.jit(discrete.step)(KEY, state, jnp.int32(action), params)[0]
        np.testing.assert_allclose(step(KEY, state, jnp.array([push]), params)[0], theirs, atol=1e-6)
    left, none, half, right = (
        float(step(KEY, state, jnp.array([push]), params)[1].x_dot) for push in (-1.0, 0.0, 0.5, 1.0)
    )
    assert half - none == pytest.approx(0.5 * (right - none), rel=1e-3)
    assert left < none < right
    assert env.action_space(params).shape == (1,)


@pytest.mark.parametrize("ends", [False, True])
def test_holding_the_cart_somewhere_pays_for_being_near_and_upright(ends):
    env = CartPole(reward="hold", early_termination=ends)
    params = env.default_params.replace(target=jnp.float32(1.5))
    step = jax.jit(env.step)
    for state, away, success in (
        (_state(x=1.5), 0.0, True), (_state(x=1.2), 0.3, False), (_state(x=-2.0), 3.5, False),
        (_state(x=1.5, theta=0.4), np.inf, False), (_state(x=1.4), 0.1, True),
    ):  # fmt: skip
        _, _, reward, terminated, _, info = step(KEY, state, jnp.int32(1), params)
        paid = np.exp(-away / 0.8)
        assert (float(reward), bool(info["success"])) == (pytest.approx(paid, abs=5e-3), success)
        assert bool(terminated) == (ends and paid == 0)


def test_the_cart_starts_where_it_may():
    env = CartPole()
    params = env.default_params.replace(initial_x=jnp.float32(2.0))
    observation, _ = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(KEY, 200), params)
    assert 1.8 < np.abs(observation[:, 0]).max() <= 2.0
    assert np.abs(observation[:, 1:]).max() <= 0.05


def test_bad_settings_say_what_to_choose():
    env = CartPole()
    object.__setattr__(env, "reward", "sparse")  # past the type checker of the test run
    with pytest.raises(ConfigError, match="'sparse': choose 'balance', 'cosine' or 'hold'"):
        env.__post_init__()
    with pytest.raises(ConfigError, match="no look 'oak': choose one of plain"):
        CartPole().assets("oak")


@pytest.mark.parametrize(
    ("x", "theta"),
    [(0.0, 0.0), (1.3, 0.4), (-1.2, -1.0), (0.5, 2.5), (-0.7, -2.2), (1.0, 1.571), (-1.6, 0.1)],
)
def test_picture_agrees_with_gymnasium(peer, plain_cartpole, x, theta):
    theirs = pictures.gymnasium_frame(peer, [x, 0.0, theta, 0.0])
    ours = plain_cartpole(CartPoleScene(x=x, theta=theta))
    axles, tips, carts = [], [], []
    for frame in (theirs, ours):
        axles.append(pictures.centroid(pictures.near(frame, pictures.LILAC, 40)))
        pole = pictures.near(frame, pictures.TAN, 40)
        tips.append(pictures.farthest(pole, axles[-1]))
        cart = pictures.near(frame, (0, 0, 0), 60)
        carts.append(pictures.extent(cart & (cart.sum(axis=0, keepdims=True) > 3)))
    np.testing.assert_allclose(axles[0], axles[1], atol=1.0)
    np.testing.assert_allclose(tips[0], tips[1], atol=2.0)
    np.testing.assert_allclose(carts[0], carts[1], atol=1.0)
    angle = [np.arctan2(*(tip - axle)) for tip, axle in zip(tips, axles, strict=True)]
    assert abs(wrap_angle(jnp.float32(angle[0] - angle[1]))) < 0.05
    assert np.abs(theirs.astype(float) - ours).mean() < 0.6


@pytest.fixture(scope="module")
def plain_cartpole():
    return pictures.drawer(CartPole(), "plain")
