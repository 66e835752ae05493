"""Rewards beside CLIP's: a mix with the environment's own, and a function of the user's."""

import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.registry import make_task
from jaxvlm.errors import ConfigError
from jaxvlm.reward import Seen, check_label, own_reward
from jaxvlm.vlmrm.build import build, validate_run
from jaxvlm.vlmrm.config import rewarded_by, validate_config
from jaxvlm.vlmrm.joint import join
from jaxvlm.vlmrm.program import RewardStats, _standardisation, mix_of
from jaxvlm.vlmrm.train import abstract_state
from tests.vlmrm.conftest import tiny_config


def mixed(built, clip, truth):
    """The same training from a mix."""
    reward = replace(built.program.config.reward, reward="mix", clip_weight=clip, truth_weight=truth)
    config = replace(built.program.config, reward=reward)
    program = replace(built.program, config=config)
    return replace(built, program=program, inputs=built.inputs.replace(mix=mix_of(reward)))


def some_rows(built):
    """Rows of the right shapes, with scenes that differ."""
    state = abstract_state(built)
    rows = jax.eval_shape(built.program.rollout_stage, built.inputs, state)[1]
    generator = np.random.default_rng(0)
    rows = jax.tree.map(lambda leaf: generator.random(leaf.shape).astype(leaf.dtype), rows)
    return rows.replace(valid=np.arange(60).reshape(rows.valid.shape) % 7 > 0)


@pytest.mark.slow
def test_a_mix_is_its_weights_times_the_rewards_and_takes_others_without_compiling(built):
    rows = some_rows(built)
    alone, clip = jax.jit(built.program.rewards)(built.inputs, rows)
    np.testing.assert_array_equal(alone, clip)
    program = mixed(built, 0.5, 3.0).program
    jitted = jax.jit(program.rewards)
    for weights in ((0.5, 3.0), (-2.0, 0.0), (0.0, 1.0)):
        learned, kept = jitted(mixed(built, *weights).inputs, rows)
        np.testing.assert_allclose(
            learned, weights[0] * clip + weights[1] * rows.reward, rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(kept, clip, atol=1e-6)
    assert jitted._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
def test_without_a_mix_nothing_is_added(built):
    plain = built.program, built.inputs
    mix = mixed(built, 1.0, 1.0)
    assert len(jax.tree.leaves(mix.inputs)) == len(jax.tree.leaves(built.inputs)) + 2
    found = []
    for program, inputs in (plain, (mix.program, mix.inputs)):
        state = abstract_state(built)
        found.append(set(jax.eval_shape(program.iteration, inputs, state)[1]))
    assert found[1] - found[0] == {"clip_reward"}  # `reward` is CLIP's own in the other
    jaxpr = jax.make_jaxpr(built.program.rewards)(built.inputs, some_rows(built))
    assert len(set(jaxpr.jaxpr.outvars)) == 1  # what is learned from is CLIP's reward itself


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": "mix", "clip_weight": float("nan")}, "clip-weight is nan; give a finite number"),
        ({"reward": "mix", "truth_weight": float("inf")}, "truth-weight is inf"),
        ({"reward": "mix", "clip_weight": 0.0, "truth_weight": 0.0}, "are both 0"),
        ({"truth_weight": 0.5}, "truth-weight is 0.5, but --reward is clip"),
        ({"reward": "ground-truth", "clip_weight": 2.0}, "clip-weight is 2, but --reward is ground-truth"),
    ],
)
def test_weights_that_cannot_work(changes, message):
    with pytest.raises(ConfigError, match=message):
        validate_config(tiny_config(**{f"reward_{name}": value for name, value in changes.items()}))


def test_what_a_mix_was_goes_with_its_weights():
    """A run of a mix is played without a CLIP, or scored by one: its weights would be refused there."""
    config = tiny_config(reward_reward="mix", reward_clip_weight=2.0, reward_truth_weight=0.0)
    for kind in ("clip", "ground-truth"):
        other = rewarded_by(config.reward, kind, alpha=0.5)
        validate_config(replace(config, reward=other))
        assert (other.reward, other.alpha) == (kind, 0.5)


def test_a_mix_needs_a_sentence_as_clip_does():
    task = make_task("cartpole")
    with pytest.raises(ConfigError, match="prompt"):
        validate_run(tiny_config(reward_reward="mix", reward_prompt=()), task.env, task.params)


def test_a_mixed_probability_is_worth_100_of_its_weight_at_most():
    seen = RewardStats(count=jnp.full(2, 10.0), mean=jnp.full(2, 0.1), m2=jnp.array([0.0, 40.0]))
    np.testing.assert_allclose(_standardisation(seen, True, jnp.float32(-5.0))[1], [20.0, 0.5])
    np.testing.assert_allclose(_standardisation(seen, True, jnp.float32(0.0))[1], [1.0, 0.5])


# A label, and what a row gives.


def row(views=1):
    """A row's rewards and what else is known of it, with made-up leaves."""
    seen = Seen(
        scene={"x": jnp.float32(2.0)},
        observation=jnp.zeros(4),
        action=jnp.int32(1),
        embedding=jnp.zeros((views, 8)),
        phase=None,
    )
    return jnp.float32(0.5), jnp.float32(1.0), seen


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (lambda clip, truth, seen: seen.embedding, r"returns float32\[1, 8\].*float32 scalar"),
        (lambda clip, truth, seen: truth > 0, r"returns bool\[\]"),
        (lambda clip, truth, seen: jnp.int32(1), r"returns int32\[\]"),
        (lambda clip, truth, seen: (clip, truth), "returns a tuple"),
        (lambda clip, truth, seen: None, "returns a NoneType"),
        (lambda clip, truth: clip, "raises TypeError.*takes 2 positional"),
        (lambda clip, truth, seen: clip if truth > 0 else 0.0, "raises TracerBool"),
        (lambda clip, truth, seen: seen.nothing, "raises AttributeError.*nothing"),
    ],
)
def test_labels_that_cannot_work(label, message):
    with pytest.raises(ConfigError, match=message) as refused:
        check_label(label, *row())
    assert "\n" not in str(refused.value)


def test_a_label_is_called_for_each_row_and_invalid_rows_are_0():
    clip, truth, seen = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (2, 3, *leaf.shape)).copy(), row())
    valid = np.ones((2, 3), bool)
    clip[1, 2], valid[1, 2] = np.nan, False

    def label(clip, truth, seen, share=0.5):
        assert clip.shape == ()
        assert seen.embedding.shape == (1, 8)
        return share * clip + truth * seen.scene["x"] + seen.action

    check_label(label, *row())
    check_label(lambda clip, truth, seen: 1.0, *row())  # a constant is one
    expected = np.full((2, 3), 3.25)
    expected[1, 2] = 0.0
    both = jax.jit(lambda *rows: [own_reward(each, *rows) for each in (label, lambda *_: 1.0)])
    found, constant = both(clip, truth, seen, valid)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(constant, valid)


def test_label_and_reward_have_to_agree():
    task = make_task("cartpole")
    with pytest.raises(ConfigError, match="cartpole has no reward of its own: give its Task a `label`"):
        build(tiny_config(reward_reward="own"), task.env, task.params, domain="cartpole")
    with pytest.raises(ConfigError, match="a label is given, but --reward is clip"):
        build(tiny_config(), task.env, task.params, domain="cartpole", label=lambda *_: 1.0)


@pytest.mark.slow
def test_a_label_learns_from_pictures_and_states():
    """Through `build`: CLIP's reward, its embeddings and the scene reach it, and metrics tell all apart."""
    task = make_task("cartpole")

    def label(clip, truth, seen):
        return clip + 0.0 * jnp.vdot(seen.embedding, seen.embedding) + 2.0 * truth - jnp.abs(seen.scene.x)

    config = tiny_config(reward_reward="own")
    built = build(config, task.env, task.params, domain="cartpole", label=label)
    rows, state = some_rows(built), abstract_state(built)
    learned, clip = jax.jit(built.program.rewards)(built.inputs, rows)
    expected = np.where(rows.valid, clip + 2.0 * rows.reward - np.abs(rows.scene.x), 0.0)
    np.testing.assert_allclose(learned, expected, atol=1e-6)
    names = jax.eval_shape(built.program.iteration, built.inputs, state)[1]
    assert {"reward", "clip_reward", "ground_truth_reward"} <= set(names)
    other = replace(built, program=replace(built.program, label=lambda clip, truth, seen: clip))
    with pytest.raises(ConfigError, match=r"have different settings \(label, the reward of their own\)"):
        join([built, other], task.env, [task.params] * 2)
    assert join([built, built], task.env, [task.params] * 2).program.label is label
    with pytest.raises(ConfigError, match=r"the label .*returns float32\[1, \d+\]"):
        build(config, task.env, task.params, domain="cartpole", label=lambda *row: row[2].embedding)


@pytest.mark.slow
def test_without_a_sentence_no_clip_is_loaded(monkeypatch):
    monkeypatch.setattr(sys.modules["jaxvlm.vlmrm.build"], "load_tower", None)
    task = make_task("cartpole")

    def label(clip, truth, seen):
        assert clip is None
        assert seen.embedding is None
        return jnp.cos(seen.scene.theta)

    config = tiny_config(reward_reward="own", reward_prompt=())
    built = build(config, task.env, task.params, domain="cartpole", label=label)
    rows, state = some_rows(built), abstract_state(built)
    learned, clip = jax.jit(built.program.rewards)(built.inputs, rows)
    assert clip is None
    np.testing.assert_allclose(learned, np.where(rows.valid, np.cos(rows.scene.theta), 0.0), atol=1e-6)
    assert "clip_reward" not in jax.eval_shape(built.program.iteration, built.inputs, state)[1]
