"""Hidden units in another order and with other signs are put back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.rl.networks import MLP, GaussianActor
from jaxvlm.transfer import Units, dense_units, flatten_policy, match_permutations

NETWORK = MLP((8, 6), 3, "tanh")


def init(seed):
    return NETWORK.init(jax.random.key(seed), jnp.zeros(4))


def shuffled(params, seed, signs):
    """The same function with its hidden units in another order, by hand."""
    rng, layers = np.random.default_rng(seed), {k: dict(v) for k, v in params["params"].items()}
    for first, second, size in (("Linear_0", "Linear_1", 8), ("Linear_1", "Linear_2", 6)):
        order = rng.permutation(size)
        sign = rng.choice([-1.0, 1.0], size).astype(np.float32) if signs else np.ones(size, np.float32)
        layers[first]["kernel"] = layers[first]["kernel"][:, order] * sign
        layers[first]["bias"] = layers[first]["bias"][order] * sign
        layers[second]["kernel"] = layers[second]["kernel"][order] * sign[:, None]
    return {"params": layers}


@pytest.mark.slow
@pytest.mark.parametrize("signs", [False, True])
def test_what_was_shuffled_is_put_back(signs):
    reference = init(0)
    other = shuffled(reference, 1, signs)
    assert np.abs(flatten_policy(other) - flatten_policy(reference)).max() > 0.1
    back = match_permutations(other, reference, signs=signs)
    np.testing.assert_allclose(flatten_policy(back), flatten_policy(reference), atol=1e-6)


@pytest.mark.parametrize("signs", [False, True])
def test_another_network_keeps_its_function_and_comes_nearer(signs):
    reference, other = init(0), init(1)
    matched = match_permutations(other, reference, signs=signs)
    x = jax.random.normal(jax.random.key(2), (20, 4))
    np.testing.assert_allclose(NETWORK.apply(matched, x), NETWORK.apply(other, x), atol=1e-5)
    far = [float(jnp.sum((flatten_policy(p) - flatten_policy(reference)) ** 2)) for p in (other, matched)]
    assert far[1] < 0.95 * far[0]


def test_two_heads_share_their_units():
    params = GaussianActor((5,), 2, "tanh").init(jax.random.key(0), jnp.zeros(3))
    (units,) = dense_units(params)
    assert set(units.axes) == {
        ("params/Linear_0/kernel", 1), ("params/Linear_0/bias", 0),
        ("params/mean/kernel", 0), ("params/log_std/kernel", 0),
    }  # fmt: skip


def test_what_cannot_be_matched_is_named():
    params = init(0)
    with pytest.raises(ConfigError, match="axes of"):
        match_permutations(
            params, params, [Units((("params/Linear_0/kernel", 0), ("params/Linear_0/bias", 0)))]
        )
    with pytest.raises(ConfigError, match="lacks"):
        match_permutations(params, {"params": {**params["params"], "more": jnp.zeros(1)}})
    with pytest.raises(ConfigError, match="units are matched in dense layers"):
        dense_units({"Conv_0": {"kernel": jnp.zeros((3, 3, 1, 2))}})
    with pytest.raises(ConfigError, match="has 2 outputs but 'Dense_1' takes 3"):
        dense_units({"Dense_0": {"kernel": jnp.zeros((1, 2))}, "Dense_1": {"kernel": jnp.zeros((3, 1))}})


def test_normalised_units_take_their_scales_along():
    network = MLP((8,), 3, "relu", layer_norm=True)
    rng = np.random.default_rng(0)
    reference, other = (
        jax.tree.map(
            lambda leaf: leaf + rng.normal(size=leaf.shape).astype(np.float32),
            network.init(jax.random.key(seed), jnp.zeros(4)),
        )
        for seed in (0, 1)
    )
    matched = match_permutations(other, reference)
    assert not np.array_equal(flatten_policy(matched), flatten_policy(other))
    x = jax.random.normal(jax.random.key(2), (20, 4))
    np.testing.assert_allclose(network.apply(matched, x), network.apply(other, x), atol=1e-4)
    with pytest.raises(ConfigError, match="LayerNorm"):
        match_permutations(other, reference, signs=True)
