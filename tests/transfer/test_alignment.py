"""Contrastive losses, heads and the ridge map, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.transfer import (
    AlignConfig,
    align,
    info_nce,
    init_head,
    predict,
    project,
    ridge,
    soft_info_nce,
    soft_targets,
    standardised,
)


def data(seed=0, n=12, d=7, f=9):
    """Instructions and policies that both follow from the same three hidden numbers."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 3))
    return (
        jnp.asarray(hidden @ rng.normal(size=(3, d)), jnp.float32),
        jnp.asarray(hidden @ rng.normal(size=(3, f)), jnp.float32),
    )


def numpy_info_nce(a, b, temperature):
    logits = a @ b.T / temperature
    rows = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    columns = logits - np.log(np.exp(logits).sum(0, keepdims=True))
    return -0.5 * (np.diag(rows).mean() + np.diag(columns).mean())


def test_info_nce_by_hand():
    a, b = (np.asarray(x, np.float64)[:, :7] for x in data())
    value = jax.jit(info_nce)(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32), 2.0)
    assert float(value) == pytest.approx(numpy_info_nce(a, b, 2.0), rel=1e-5)
    same = jnp.ones((5, 3))
    assert float(info_nce(same, same, 0.5)) == pytest.approx(np.log(5), rel=1e-6)
    assert float(info_nce(jnp.eye(5), jnp.eye(5), 0.01)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
def test_soft_targets_generalise_it():
    a, b = data(f=7)
    hard = info_nce(a, b, 1.5)
    assert float(soft_info_nce(a, b, 1.5, 3.0 * jnp.eye(12))) == pytest.approx(float(hard), rel=1e-6)
    similarity = np.array([[1.0, 0.5], [0.5, 1.0]])
    np.testing.assert_allclose(
        soft_targets(jnp.asarray(similarity), 0.5),
        np.exp(similarity / 0.5) / np.exp(similarity / 0.5).sum(1),
        rtol=1e-5,
    )
    # At the targets' own logits the loss is their entropy, its minimum.
    targets = jnp.full((4, 4), 0.25)
    assert float(soft_info_nce(jnp.zeros((4, 2)), jnp.zeros((4, 2)), 1.0, targets)) == pytest.approx(
        np.log(4)
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["identity", "linear", "mlp"])
def test_heads_by_hand(kind):
    head = init_head(jax.random.key(0), kind, 7, 20, 3)
    x = np.asarray(data()[0], np.float64)
    out = x
    for k, layer in enumerate(head):
        out = (np.maximum(out, 0) if k else out) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    out = out / np.linalg.norm(out, axis=1, keepdims=True)
    np.testing.assert_allclose(project(head, jnp.asarray(x, jnp.float32)), out, atol=1e-5)
    assert len(head) == {"identity": 0, "linear": 1, "mlp": 2}[kind]
    gradient = jax.grad(lambda x: project(head, x).sum())(jnp.zeros(7))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_alignment_finds_the_pairs(kind):
    a, b = data()
    config = AlignConfig(head=kind, hidden=16, dimensions=8, steps=200)
    heads, losses = jax.jit(align, static_argnums=3)(jax.random.key(1), a, b, config)
    assert losses.shape == (200,)
    assert losses[-1] < 0.5 * losses[0]
    found = jnp.argmax(project(heads.instruction_head, a) @ project(heads.policy_head, b).T, axis=1)
    np.testing.assert_array_equal(found, np.arange(12))
    assert float(jnp.exp(heads.log_temperature)) == pytest.approx(0.1, rel=1e-5)


@pytest.mark.slow
def test_the_temperature_may_be_learned_and_keys_vmapped():
    a, b = data()
    config = AlignConfig(steps=20, learn_temperature=True)
    heads, losses = jax.vmap(lambda key: align(key, a, b, config))(jax.random.split(jax.random.key(0), 3))
    assert losses.shape == (3, 20)
    assert (abs(np.exp(heads.log_temperature) - 0.1) > 2e-5).all()  # far above rounding
    assert len(set(np.asarray(losses[:, -1]).tolist())) == 3


def test_decay_is_not_for_the_temperature():
    a, b = data()
    ends = [
        align(jax.random.key(0), a, b, AlignConfig(steps=1, learn_temperature=True, weight_decay=decay))[0]
        for decay in (0.0, 1.0)
    ]
    assert float(ends[0].log_temperature) == float(ends[1].log_temperature) != np.log(0.1)
    norms = [sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(end.policy_head)) for end in ends]
    assert norms[1] < norms[0]


@pytest.mark.slow
def test_a_given_temperature_is_the_one_that_is_used():
    a, b = data()
    heads, losses = align(jax.random.key(0), a, b, AlignConfig(steps=1, temperature=0.001))
    assert float(np.exp(heads.log_temperature)) == pytest.approx(0.001, rel=1e-5)
    other = align(jax.random.key(0), a, b, AlignConfig(steps=1, temperature=0.01))[1]
    assert float(losses[0]) > 2 * float(other[0])  # heads that know nothing are more wrong the surer they are


def test_ridge_by_hand():
    x, y = (np.asarray(v, np.float64) for v in data(n=20))
    a, b = x - x.mean(0), y - y.mean(0)
    penalty = 0.3 * np.mean((a**2).sum(1))
    weights = np.linalg.solve(a.T @ a + penalty * np.eye(7), a.T @ b)
    fitted = jax.jit(ridge)(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), 0.3)
    np.testing.assert_allclose(fitted.weights, weights, atol=1e-4)
    new = np.random.default_rng(5).normal(size=(4, 7))
    np.testing.assert_allclose(
        predict(fitted, jnp.asarray(new, jnp.float32)), y.mean(0) + (new - x.mean(0)) @ weights, atol=1e-3
    )


def test_standardised_features_can_be_scaled_back():
    _, y = data()
    scaled, mean, scale = standardised(y)
    assert float(jnp.mean(scaled**2)) == pytest.approx(1.0, rel=1e-4)
    np.testing.assert_allclose(scaled * scale + mean, y, atol=1e-5)
    np.testing.assert_array_equal(standardised(jnp.ones((3, 2)))[0], 0.0)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: AlignConfig(head="deep"), "unknown head 'deep'"), (lambda: AlignConfig(steps=0), "steps is 0"),
    (lambda: AlignConfig(temperature=0.0), "temperature is 0"),
    (lambda: AlignConfig(temperature=0.001, learn_temperature=True), "temperature is 0.001; a learned one starts at"),
    (lambda: align(jax.random.key(0), jnp.ones((1, 2)), jnp.ones((1, 2)), AlignConfig()), "1 pair cannot"),
    (lambda: align(jax.random.key(0), *data(), AlignConfig(head="identity")), "instructions of 7 numbers"),
])  # fmt: skip
def test_what_cannot_be_aligned_is_named(call, words):
    with pytest.raises(ConfigError, match=words):
        call()
