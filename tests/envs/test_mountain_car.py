import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pictures
import pytest

from envs.mountain_car import MountainCar, MountainCarScene, MountainCarState, dynamics
from envs.wrappers import TimeLimit
from jaxvlm.errors import ConfigError

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def peer():
    env = gymnasium.make("MountainCarContinuous-v0", render_mode="rgb_array", disable_env_checker=True)
    env.reset(seed=0)
    yield env
    env.close()


def _state(position: float, velocity: float = 0.0) -> MountainCarState:
    return MountainCarState(position=jnp.float32(position), velocity=jnp.float32(velocity))


def test_dynamics_equal_gymnasium_from_any_state(peer):
    rng = np.random.default_rng(0)
    states = rng.uniform([-1.2, -0.07], [0.6, 0.07], (200, 2)).astype(np.float32)
    states[:10] = [[-1.19, -0.06 + 0.002 * i] for i in range(10)]  # against the left wall
    actions = rng.uniform(-1.5, 1.5, (200, 1)).astype(np.float32)
    batch = MountainCarState(*jnp.asarray(states.T))
    moved = jax.jit(jax.vmap(dynamics, (0, 0, None)))(batch, actions, MountainCar().default_params)
    got = np.stack([moved.position, moved.velocity], axis=1)
    for state, action, ours in zip(states, actions, got, strict=True):
        peer.unwrapped.state = state
        np.testing.assert_allclose(ours, peer.unwrapped.step(action)[0], rtol=0, atol=1e-6)


def test_gymnasiums_episode_reward_and_end(peer):
    env = MountainCar(reward="gymnasium", early_termination=True)
    params, step = env.default_params, jax.jit(env.step)
    _, state = env.reset(KEY, params)
    peer.reset(seed=0)
    peer.unwrapped.state = np.array([state.position, state.velocity])
    rng, terminated, steps = np.random.default_rng(1), False, 0
    while not terminated and steps < 300:
        # Rocks the car up the hill: throttle in the direction of travel, now and then none.
        throttle = np.float32(np.where(state.velocity >= 0, 1.0, -1.0) * rng.uniform(0.7, 1.2))
        action = np.array([throttle], np.float32)
        observation, state, reward, terminated, _, _ = step(KEY, state, action, params)
        theirs, their_reward, their_terminated, _, _ = peer.unwrapped.step(action)
        np.testing.assert_allclose(observation, theirs, rtol=0, atol=1e-5)
        np.testing.assert_allclose(reward, their_reward, rtol=1e-5)
        assert bool(terminated) == their_terminated
        peer.unwrapped.state = np.asarray(observation)
        steps += 1
    assert terminated


def test_goal_is_absorbing():
    env = MountainCar()
    params, step = env.default_params, jax.jit(env.step)
    _, state, reward, terminated, _, info = step(KEY, _state(0.42, 0.05), jnp.ones(1), params)
    assert info["success"]
    assert not terminated
    assert reward == 1.0
    reached = state
    for throttle in (-1.0, 1.0, 0.0):
        _, state, reward, _, _, info = step(KEY, state, jnp.full(1, throttle), params)
        assert (state.position, state.velocity) == (reached.position, reached.velocity)
        assert info["success"]
        assert reward == 1.0


def test_success_is_of_the_episode():
    env = MountainCar()
    _, state, *_ = env.step(KEY, _state(0.42, 0.05), jnp.ones(1), env.default_params)
    _, state = env.reset(KEY, env.default_params)
    *_, reward, _, _, info = env.step(KEY, state, jnp.ones(1), env.default_params)
    assert not info["success"]
    assert reward == 0.0


def test_goal_velocity_counts():
    env = MountainCar()
    params = env.default_params.replace(goal_velocity=jnp.float32(0.06))
    *_, info = jax.jit(env.step)(KEY, _state(0.42, 0.05), jnp.ones(1), params)
    assert not info["success"]


def test_time_limit_truncates_and_does_not_terminate():
    env = TimeLimit(MountainCar(), 3)
    params, step = env.default_params, jax.jit(env.step)
    _, state = env.reset(KEY, params)
    for expected in (False, False, True, True):
        _, state, _, terminated, truncated, _ = step(KEY, state, jnp.zeros(1), params)
        assert (bool(terminated), bool(truncated)) == (False, expected)
    assert int(env.reset(KEY, params)[1].steps) == 0
    ending = TimeLimit(MountainCar(early_termination=True), 1)
    _, state = ending.reset(KEY, params)
    last = state.replace(inner=_state(0.42, 0.05))
    _, _, _, terminated, truncated, _ = ending.step(KEY, last, jnp.ones(1), params)
    assert (bool(terminated), bool(truncated)) == (True, True)
    with pytest.raises(ConfigError, match="max_steps is 0"):
        TimeLimit(MountainCar(), 0)


def test_bad_settings_say_what_to_choose():
    env = MountainCar()
    object.__setattr__(env, "reward", "dense")  # past the type checker of the test run
    with pytest.raises(ConfigError, match="'dense': choose 'goal' or 'gymnasium'"):
        env.__post_init__()
    with pytest.raises(ConfigError, match="no look 'oil': choose one of plain, textured"):
        MountainCar().assets("oil")


@pytest.fixture(scope="module")
def pictures_of():
    return {look: pictures.drawer(MountainCar(), look) for look in MountainCar().looks}


POSITIONS = (-1.0, -0.8, -0.52, -0.3, 0.0, 0.25, 0.4)


def _flag(frame: np.ndarray) -> np.ndarray:
    return pictures.near(frame, pictures.YELLOW, 75)


def _plain_car(frame: np.ndarray) -> np.ndarray:
    return pictures.solid(pictures.near(frame, (64, 64, 64), 90))  # black and grey


@pytest.mark.parametrize("position", POSITIONS)
def test_plain_picture_agrees_with_gymnasium(peer, pictures_of, position):
    theirs = pictures.gymnasium_frame(peer, [position, 0.0])
    ours = pictures_of["plain"](MountainCarScene(position=position))
    cars = [_plain_car(frame) for frame in (theirs, ours)]
    np.testing.assert_allclose(*(pictures.centroid(car) for car in cars), atol=1.0)
    np.testing.assert_allclose(*(pictures.extent(car) for car in cars), atol=2.0)
    np.testing.assert_allclose(*(pictures.centroid(_flag(f)) for f in (theirs, ours)), atol=1.0)
    assert np.abs(theirs.astype(float) - ours).mean() < 1.0


@pytest.mark.parametrize("position", POSITIONS)
def test_textured_car_and_flag_are_where_gymnasiums_are(peer, pictures_of, position):
    theirs = pictures.gymnasium_frame(peer, [position, 0.0])
    ours = pictures_of["textured"](MountainCarScene(position=position))
    elsewhere = pictures_of["textured"](MountainCarScene(position=-0.52 if position > -0.3 else 0.2))
    car = np.abs(ours.astype(int) - elsewhere).max(axis=-1) > 20
    # The two pictures differ at both cars; this one's lies near gymnasium's.
    middle = pictures.centroid(_plain_car(theirs))
    car &= np.abs(np.arange(224)[None, :] - middle[0]) < 30
    # On the slope, half a car's height (14) above the ground; gymnasium's car has its middle at 20 or so.
    slope = 1.35 * np.cos(3 * position)
    up = np.array([-slope, 1.0]) / np.hypot(slope, 1.0)
    x, y = (
        np.array([(position + 1.2) / 1.8 * 600, (0.45 * np.sin(3 * position) + 0.55) / 1.2 * 400]) + 14 * up
    )
    np.testing.assert_allclose(pictures.centroid(car), [x / 600 * 224, 224 - y / 400 * 224], atol=2.0)
    np.testing.assert_allclose(pictures.centroid(car), middle, atol=5.0)
    flag = pictures.near(ours, (250, 212, 24), 75)
    np.testing.assert_allclose(pictures.centroid(flag), pictures.centroid(_flag(theirs)), atol=2.0)
