"""Policies that learn nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.rl import CONTROLS, make_control
from jaxvlm.spaces import Box, Discrete

BOX = Box(-0.4, 0.4, (3,))


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("space", [BOX, Discrete(4)])
def test_actions_are_in_the_space_and_jit(name, space):
    act = jax.jit(make_control(name, space).act, static_argnames="deterministic")
    actions = act(jnp.zeros(1), jnp.zeros((50, 7)), jax.random.key(0), jnp.int32(0), deterministic=True)
    assert (actions.shape, actions.dtype) == ((50, *space.shape), space.dtype)
    assert jax.vmap(space.contains)(actions).all()


def test_random_varies_and_zero_does_not():
    arguments = (None, jnp.zeros((200, 2)), jax.random.key(1), jnp.int32(0))
    drawn = np.asarray(make_control("random", BOX).act(*arguments))
    assert drawn.min() < -0.35
    assert drawn.max() > 0.35
    assert abs(drawn.mean()) < 0.05
    assert not np.asarray(make_control("zero", BOX).act(*arguments)).any()


def test_an_unknown_control_is_named():
    with pytest.raises(ConfigError, match="'lazy'"):
        make_control("lazy", BOX)
