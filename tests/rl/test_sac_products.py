import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from jaxvlm.rl import Batch, SACConfig, make_sac
from jaxvlm.rl.networks import MLP
from jaxvlm.spaces import Box

BATCH, OBSERVATION, ACTION = 13, 11, 3


def product_shapes(jaxpr):
    """Shapes of the results of all matrix products, those of inner programs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.outvars[0].aval.shape
        for inner in jaxprs_in_params(equation.params):
            yield from product_shapes(inner)


@pytest.mark.slow
def test_several_inputs_are_one_joined():
    network = MLP((5, 4), 2, "tanh")
    first, second = jnp.arange(6.0).reshape(2, 3) / 6, jnp.ones((2, 4)) / 3
    joined = jnp.concatenate([first, second], axis=-1)
    params = network.init(jax.random.key(0), joined)
    apart = network.init(jax.random.key(0), first, second)
    jax.tree.map(np.testing.assert_array_equal, params, apart)
    np.testing.assert_allclose(
        network.apply(params, first, second), network.apply(params, joined), rtol=1e-5, atol=1e-6
    )
    got = jax.grad(lambda p: network.apply(p, first, second).sum())(params)
    wanted = jax.grad(lambda p: network.apply(p, joined).sum())(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, wanted)


@pytest.mark.slow
def test_an_update_takes_no_gradient_with_respect_to_observations():
    # It would be as large as the widest layer's forward pass; only the action's part is needed.
    config = SACConfig(actor_hidden_sizes=(6, 7), critic_hidden_sizes=(8, 9))
    sac = make_sac(config, Box(-1.0, 1.0, (OBSERVATION,)), Box(-1.0, 1.0, (ACTION,)))
    rows, flags = jnp.zeros((BATCH, OBSERVATION)), jnp.zeros(BATCH, bool)
    batch = Batch(rows, jnp.zeros((BATCH, ACTION)), jnp.zeros(BATCH), rows, flags, flags, ~flags)
    state = sac.init(jax.random.key(0))
    shapes = list(product_shapes(jax.make_jaxpr(sac.update)(state, batch, jax.random.key(1)).jaxpr))
    assert any(BATCH in shape and ACTION in shape for shape in shapes)
    assert not any(BATCH in shape and {OBSERVATION, OBSERVATION + ACTION} & {*shape} for shape in shapes)
