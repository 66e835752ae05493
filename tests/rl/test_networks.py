import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.rl import common
from jaxvlm.rl.networks import MLP, GaussianActor, flatten_observation, tanh_gaussian_log_prob, tanh_log_det
from jaxvlm.rl.sac import scale_action, unscale_action
from jaxvlm.spaces import Box, Discrete


def test_mlp_is_the_textbook_formula():
    params = MLP((5, 4), 3).init(jax.random.key(0), jnp.zeros(2))
    x = np.array([[0.3, -0.7], [1.0, 2.0]], np.float32)
    weights = [(np.asarray(p["kernel"]), np.asarray(p["bias"])) for p in params["params"].values()]
    expected = x
    for index, (kernel, bias) in enumerate(weights):
        expected = expected @ kernel + bias
        if index < 2:
            expected = np.maximum(expected, 0)
    np.testing.assert_allclose(MLP((5, 4), 3).apply(params, jnp.asarray(x)), expected, rtol=1e-5)


def test_hidden_layers_are_normalised_before_the_activation():
    net = MLP((5,), 1, layer_norm=True)
    x = np.array([[0.3, -0.7], [10.0, 20.0]], np.float32)
    params = net.init(jax.random.key(0), jnp.asarray(x))
    hidden, last = params["params"]["Linear_0"], params["params"]["Linear_1"]
    before = x @ np.asarray(hidden["kernel"]) + np.asarray(hidden["bias"])
    normal = before - before.mean(-1, keepdims=True)
    normal /= np.sqrt(before.var(-1, keepdims=True) + 1e-5)
    expected = np.maximum(normal, 0) @ np.asarray(last["kernel"]) + np.asarray(last["bias"])
    np.testing.assert_allclose(net.apply(params, jnp.asarray(x)), expected, rtol=1e-4, atol=1e-6)


def test_kernels_and_biases_start_as_pytorchs_do():
    params = MLP((400,), 100).init(jax.random.key(0), jnp.zeros(16))["params"]
    for layer, fan_in in zip(params.values(), (16, 400), strict=True):
        for leaf in layer.values():
            bound = 1 / np.sqrt(fan_in)
            assert np.abs(leaf).max() <= bound
            # A uniform distribution's standard deviation is its half-width over sqrt(3).
            assert np.std(leaf) == pytest.approx(bound / np.sqrt(3), rel=0.15)


def test_log_std_is_clamped():
    actor = GaussianActor((4,), 2)
    params = actor.init(jax.random.key(0), jnp.zeros(3))
    for bias, wanted in ((100.0, 2.0), (-100.0, -20.0)):
        params["params"]["log_std"]["bias"] = jnp.full(2, bias)
        np.testing.assert_array_equal(actor.apply(params, jnp.zeros((1, 3)))[1], [[wanted, wanted]])


def test_tanh_gaussian_log_prob_matches_float64():
    rng = np.random.default_rng(0)
    u, mean = rng.normal(size=(2, 50, 3))
    log_std = rng.uniform(-2, 1, size=(50, 3))
    normal = -0.5 * ((u - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    expected = (normal - np.log(1 - np.tanh(u) ** 2)).sum(-1)
    got = tanh_gaussian_log_prob(*(jnp.asarray(x, jnp.float32) for x in (u, mean, log_std)))
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)


def test_tanh_gaussian_density_integrates_to_one():
    actions = np.linspace(-1, 1, 20_001)[1:-1]
    pre_tanh = jnp.asarray(np.arctanh(actions), jnp.float32)[:, None]
    log_prob = tanh_gaussian_log_prob(
        pre_tanh, jnp.full_like(pre_tanh, 0.4), jnp.full_like(pre_tanh, np.log(0.7))
    )
    assert np.trapezoid(np.exp(log_prob), actions) == pytest.approx(1.0, abs=1e-3)


def test_log_derivative_of_tanh_survives_saturation():
    x = jnp.array([-40.0, 0.0, 40.0])
    np.testing.assert_allclose(tanh_log_det(x), [np.log(4) - 80, 0.0, np.log(4) - 80], rtol=1e-6, atol=1e-6)
    assert np.isfinite(jax.grad(lambda x: tanh_log_det(x).sum())(x)).all()


def test_flatten_observation_joins_axes_and_casts():
    flat = flatten_observation(jnp.zeros((5, 6, 2, 3), jnp.uint8), 2)
    assert flat.shape == (5, 6, 6)
    assert flat.dtype == jnp.float32


def test_actions_scale_to_the_unit_box_and_back():
    space = Box((-2.0, 0.0), (2.0, 10.0), (2,))
    np.testing.assert_allclose(
        scale_action(jnp.array([[-2.0, 10.0], [0.0, 2.5]]), space), [[-1, 1], [0, -0.5]]
    )
    np.testing.assert_allclose(
        unscale_action(jnp.array([[-1.0, 1.0], [0.0, -0.5]]), space), [[-2, 10], [0, 2.5]]
    )
    assert space.contains(unscale_action(jnp.array([1.0, -1.0]), space))


def test_masked_mean_ignores_what_is_masked_even_infinities():
    values = jnp.array([1.0, jnp.inf, 3.0])
    assert common.masked_mean(values, jnp.array([True, False, True])) == 2.0
    assert common.masked_mean(values, jnp.zeros(3, bool)) == 0.0


def test_adam_equals_optax():
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(3.0)}
    optimizer = optax.adam(0.1)
    theirs, their_state, ours, state = params, optimizer.init(params), params, common.adam_init(params)
    for step in range(3):
        gradients = jax.tree.map(lambda p, step=step: p * (step + 1), params)
        updates, their_state = optimizer.update(gradients, their_state)
        theirs = optax.apply_updates(theirs, updates)
        ours, state = common.adam_step(gradients, state, ours, 0.1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), theirs, ours)


def test_clipping_scales_the_joint_norm():
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    clipped, norm = common.clip_by_global_norm(gradients, 1.0)
    assert norm == 5.0
    np.testing.assert_allclose([clipped["a"][0], clipped["b"][0]], [0.6, 0.8], rtol=1e-6)
    same, _ = common.clip_by_global_norm(gradients, 10.0)
    np.testing.assert_array_equal(same["a"], gradients["a"])


def test_polyak_by_hand():
    moved = common.polyak({"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, 6.0])}, 0.25)
    np.testing.assert_allclose(moved["w"], [1.5, 3.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: common.validate_observation_space(Discrete(3)), "not a Box"),
        (lambda: common.validate_observation_space(Box(0.0, 1.0, ())), "not a Box"),
        (lambda: common.validate_discrete(Box(0.0, 1.0, (1,)), "DQN"), "use SAC"),
        (lambda: common.validate_bounded_box(Discrete(2), "SAC"), "use DQN"),
        (lambda: common.validate_bounded_box(Box(0.0, 1.0, (2, 2)), "SAC"), "rank 1"),
        (lambda: common.validate_bounded_box(Box(0.0, float("inf"), (1,)), "SAC"), "finite"),
        (lambda: common.validate_hidden_sizes("hidden_sizes", (64, 0)), r"\(64, 0\)"),
        (lambda: common.validate_choice("target", "hard", ("polyak", "periodic")), "polyak, periodic"),
        (lambda: common.validate_activation("gelu"), "relu"),
        (lambda: common.validate_range("discount", 1.5, 0.0, 1.0), r"discount is 1.5.*\[0, 1\]"),
        (lambda: common.validate_range("tau", float("nan"), 0.0, 1.0), "tau is nan"),
        (lambda: common.validate_range("max_grad_norm", 0.0, 0.0, open_low=True), r"\(0, inf\]"),
    ],
)
def test_bad_settings_are_named_in_one_line(call, message):
    with pytest.raises(ConfigError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
