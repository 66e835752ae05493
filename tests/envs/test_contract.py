"""What every environment promises, checked on all of them in all looks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.api import Environment
from envs.cartpole import CartPole
from envs.checks import check_environment
from envs.gridworld.env import GridWorld
from envs.gridworld.room import ObjectRoom
from envs.mountain_car import MountainCar
from envs.wrappers import TimeLimit
from jaxvlm.render import to_uint8

ENVS = (
    CartPole(),
    CartPole(reward="cosine"),
    CartPole(early_termination=True),
    CartPole(reward="hold", continuous=True),
    MountainCar(),
    MountainCar(reward="gymnasium", early_termination=True),
    GridWorld(),
    GridWorld(9, 7, control="turn", observation="view"),
    GridWorld(5, 6, control="compass", observation="planes"),
    ObjectRoom(),
    TimeLimit(GridWorld(), 5),
    TimeLimit(CartPole(), 5),
    TimeLimit(MountainCar(), 5),
)
LOOKS = [(env, look) for env in (CartPole(), MountainCar(), GridWorld(), ObjectRoom()) for look in env.looks]
KEY = jax.random.key(7)


def _name(value) -> str:
    return value if isinstance(value, str) else repr(value)


def _some_action(env: Environment, params):
    space = env.action_space(params)
    return jnp.ones(space.shape, space.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("env", ENVS, ids=_name)
def test_reset_and_step_keep_shapes_and_types(env):
    assert isinstance(env, Environment)
    assert hash(env) == hash(dataclasses.replace(env))
    params = env.default_params
    check_environment(env, params)
    if env.name != "gridworld":  # whose parameters are a whole world
        assert all(leaf.dtype == jnp.float32 and leaf.shape == () for leaf in jax.tree.leaves(params))
    space = env.observation_space(params)

    @jax.jit
    def two_steps(key, params):
        observation, state = env.reset(key, params)
        first = env.step(key, state, _some_action(env, params), params)
        return (observation, state), first, env.step(key, first[1], _some_action(env, params), params)

    # Spaces read bounds from the parameters, so they are asked outside jit.
    action = _some_action(env, params)
    reset = jax.eval_shape(env.reset, KEY, params)
    step = jax.eval_shape(env.step, KEY, reset[1], action, params)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), reset[1]) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), step[1]
    )
    assert (step[0].shape, step[0].dtype) == (space.shape, space.dtype) == (reset[0].shape, reset[0].dtype)
    reward, terminated, truncated, info = step[2:]
    assert (reward.shape, reward.dtype) == ((), jnp.float32)
    assert all(
        (flag.shape, flag.dtype) == ((), jnp.bool_) for flag in (terminated, truncated, info["success"])
    )
    results = two_steps(KEY, params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))
    assert all(space.contains(row[0]) for row in results)


@pytest.mark.slow
@pytest.mark.parametrize(("env", "look"), LOOKS, ids=_name)
def test_pictures_at_all_sizes(env, look):
    params, assets, camera = env.default_params, env.assets(look), env.cameras["default"]
    _, state = jax.eval_shape(env.reset, KEY, params)
    scene = jax.eval_shape(env.scene, state, params)
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(scene)) <= 256
    for size in (48, 64, 100, 224):
        frame = jax.eval_shape(lambda s, a, c, n=size: env.render(s, a, c, n), scene, assets, camera)
        assert (frame.shape, frame.dtype) == ((size, size, 3), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("env", "look"), LOOKS, ids=_name)
def test_pictures_are_the_same_alone_batched_and_scanned(env, look):
    params, assets, camera = env.default_params, env.assets(look), env.cameras["default"]

    @jax.jit
    def draw(keys, params, assets, camera):
        scenes = jax.vmap(lambda key: env.scene(env.reset(key, params)[1], params))(keys)
        batched = jax.vmap(lambda scene: env.render(scene, assets, camera, 64))(scenes)
        scanned = jax.lax.map(lambda scene: env.render(scene, assets, camera, 64), scenes)
        alone = env.render(jax.tree.map(lambda leaf: leaf[1], scenes), assets, camera, 64)
        return batched, scanned, alone, to_uint8(batched)

    keys = jax.random.split(KEY, 3)
    batched, scanned, alone, quantised = (np.asarray(x) for x in draw(keys, params, assets, camera))
    np.testing.assert_allclose(batched, scanned, atol=1e-5)
    np.testing.assert_allclose(batched[1], alone, atol=1e-5)
    assert batched.min() >= 0.0
    assert batched.max() <= 1.0
    assert (batched[0] != batched[1]).any()
    np.testing.assert_array_equal(quantised, np.rint(batched * 255))
    np.testing.assert_array_equal(draw(keys, params, assets, camera)[0], batched)


@pytest.mark.slow
@pytest.mark.parametrize(("env", "look"), LOOKS, ids=_name)
def test_sizes_show_the_same_picture(env, look):
    assets, camera = env.assets(look), env.cameras["default"]

    @jax.jit
    def draw(key, assets):
        scene = env.scene(env.reset(key, env.default_params)[1], env.default_params)
        return [env.render(scene, assets, camera, size) for size in (56, 224)]

    small, large = (np.asarray(frame) for frame in draw(KEY, assets))
    blocks = large.reshape(56, 4, 56, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).mean() < 0.004
    assert np.abs(small - blocks).max() < 0.3
