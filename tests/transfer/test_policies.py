"""Policies as vectors, averages and weights, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.rl.networks import MLP
from jaxvlm.transfer import (
    average_policies,
    flatten_policy,
    policy_spec,
    similarity_weights,
    stack_policies,
    unflatten_policy,
    validate_bank,
)


def policy(seed: int, hidden=(3, 4)):
    return MLP(hidden, 2, "tanh").init(jax.random.key(seed), jnp.zeros(5))


def test_a_vector_holds_every_parameter_in_a_known_place():
    params = policy(0)
    spec, vector = policy_spec(params), np.asarray(flatten_policy(params))
    assert spec.size == vector.size == 5 * 3 + 3 + 3 * 4 + 4 + 4 * 2 + 2
    assert spec.names[0] == "params/Linear_0/bias"
    np.testing.assert_array_equal(
        vector[spec.slices()["params/Linear_1/kernel"]],
        np.asarray(params["params"]["Linear_1"]["kernel"]).ravel(),
    )
    assert hash(spec) == hash(policy_spec(policy(1)))


def test_there_and_back_under_jit_and_vmap_with_dtypes_kept():
    params = {"a": jnp.arange(6.0).reshape(2, 3).astype(jnp.bfloat16), "b": [jnp.float32(7.0)]}
    spec = policy_spec(params)
    back = jax.jit(lambda p: unflatten_policy(spec, flatten_policy(p)))(params)
    assert back["a"].dtype == jnp.bfloat16
    jax.tree.map(np.testing.assert_array_equal, back, params)
    bank = stack_policies([policy(k) for k in range(3)])
    vectors = jax.vmap(flatten_policy)(bank)
    np.testing.assert_array_equal(vectors[2], flatten_policy(policy(2)))


def test_averages_are_sums_of_products():
    policies = [policy(k) for k in range(4)]
    weights = np.array([0.5, 0.25, 0.0, 0.25], np.float32)
    rows = jnp.stack([jnp.asarray(weights), jnp.asarray([0.0, 0.0, 1.0, 0.0])])
    averages = jax.vmap(average_policies, (None, 0))(stack_policies(policies), rows)
    vectors = np.stack([np.asarray(flatten_policy(p), np.float64) for p in policies])
    np.testing.assert_allclose(jax.vmap(flatten_policy)(averages)[0], weights @ vectors, atol=1e-6)
    np.testing.assert_array_equal(jax.vmap(flatten_policy)(averages)[1], flatten_policy(policies[2]))


def test_weights_by_hand():
    s = jnp.array([0.9, 0.1, -0.4, 0.9], jnp.float32)
    np.testing.assert_allclose(similarity_weights(s, "plain"), np.maximum(s, 0) / 1.9, rtol=1e-6)
    np.testing.assert_allclose(similarity_weights(-jnp.abs(s), "plain"), 0.25)
    soft = np.exp(s / 0.3) / np.exp(s / 0.3).sum()
    np.testing.assert_allclose(similarity_weights(s, "softmax", temperature=0.3), soft, rtol=1e-5)
    np.testing.assert_allclose(similarity_weights(s, "nearest"), [0.5, 0, 0, 0.5])
    top = np.exp(s[jnp.array([0, 1, 3])] / 0.3)
    top = top / top.sum()
    np.testing.assert_allclose(
        similarity_weights(s, "top-k", temperature=0.3, k=3)[np.array([0, 1, 3])], top, rtol=1e-5
    )
    assert similarity_weights(s, "top-k", k=3)[2] == 0
    for how in ("plain", "softmax", "nearest", "top-k"):
        jitted = jax.jit(lambda s, t, how=how: similarity_weights(s, how, temperature=t, k=2))(s, 0.2)
        assert float(jitted.sum()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: similarity_weights(jnp.ones(3), "mean"), "unknown weighting 'mean'"),
    (lambda: similarity_weights(jnp.ones(3), temperature=0.0), "temperature is 0"),
    (lambda: similarity_weights(jnp.ones(3), "top-k", k=4), "k is 4; of 3"),
    (lambda: stack_policies([]), "no policy"),
    (lambda: stack_policies([policy(0), policy(1, (3, 5))]), r"policy 1 has 'params/Linear_1/bias' of shape \(5,\)"),
    (lambda: stack_policies([policy(0), policy(1, (3,))], ["up", "down"]), "down lacks 'params/Linear_2/bias'"),
    (lambda: policy_spec({"a": jnp.arange(3)}), "'a' holds int32"),
    (lambda: policy_spec({}), "no parameters"),
    (lambda: validate_bank({"a": jnp.zeros((2, 3)), "b": jnp.zeros((3, 1))}), "lead with the number"),
])  # fmt: skip
def test_what_cannot_be_a_bank_is_named(call, words):
    with pytest.raises(ConfigError, match=words):
        call()


def test_numbers_that_are_not_finite_are_found():
    broken = policy(1)
    broken["params"]["Linear_1"]["kernel"] = broken["params"]["Linear_1"]["kernel"].at[0, 0].set(jnp.nan)
    with pytest.raises(ConfigError, match=r"go to the door has numbers in 'params/Linear_1/kernel'"):
        stack_policies([policy(0), broken], ["go to the ball", "go to the door"])
