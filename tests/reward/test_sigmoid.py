"""The sigmoid as a reward: where its numbers come from, and that they are arguments."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.clip import save_checkpoint
from jaxvlm.errors import ConfigError
from jaxvlm.reward import make_reward_params
from jaxvlm.reward.label import score
from jaxvlm.vlmrm.build import build_reward, load_tower
from jaxvlm.vlmrm.config import RewardSettings
from tests.clip.recipes import ODD, random_params
from tests.clip.test_siglip_tokenizer import write_tokenizer

PROMPTS = {"a": jnp.array([1.0, 0.0, 0.0]), "b": jnp.array([0.0, 1.0, 0.0])}
STATES = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def make(clip=None, prompts=("a",), **options):
    clip = {"logit_scale": jnp.float32(2.0), "logit_bias": jnp.float32(-3.0)} if clip is None else clip
    return make_reward_params(
        {"params": clip},
        lambda prompts: jnp.stack([PROMPTS[prompt] for prompt in prompts]),
        goal_prompts=prompts,
        assets=None,
        cameras=[jnp.zeros(3)],
        **options,
    )


@pytest.mark.parametrize("prompts", [("a",), ("a", "b")])
def test_score_is_the_probability_of_the_checkpoint(prompts):
    goal = np.mean([PROMPTS[prompt] for prompt in prompts], axis=0)
    cosine = STATES @ goal / np.linalg.norm(STATES, axis=-1) / np.linalg.norm(goal)
    expected = 1 / (1 + np.exp(3 - np.exp(2) * cosine))
    rewards = score(make(prompts=prompts, sigmoid=True), jnp.asarray(STATES))
    assert rewards.shape == (2, 5)
    np.testing.assert_allclose(rewards, expected, rtol=1e-5)


def test_numbers_are_arguments():
    params, calls = make(sigmoid=True), []

    @jax.jit
    def rewards(params):
        calls.append(None)
        return score(params, jnp.asarray(STATES))

    before = rewards(params)
    after = rewards(replace(params, logit_bias=jnp.float32(-1.0), logit_scale=jnp.float32(1.0)))
    assert len(calls) == 1
    assert np.all(np.asarray(before) != np.asarray(after))


def test_without_it_nothing_changes():
    """A checkpoint with a bias gives the cosine unless asked for more."""
    params = make()
    assert params.logit_scale is params.logit_bias is None
    cosine = STATES[..., 0] / np.linalg.norm(STATES, axis=-1)
    np.testing.assert_allclose(score(params, jnp.asarray(STATES)), cosine, atol=1e-6)


@pytest.mark.parametrize("missing", ["logit_bias", "logit_scale"])
def test_checkpoints_without_its_numbers(missing):
    clip = {"logit_scale": jnp.float32(2.0), "logit_bias": jnp.float32(-3.0)}
    del clip[missing]
    with pytest.raises(ConfigError, match=f"the CLIP has no {missing}.*leave sigmoid out"):
        make(clip, sigmoid=True)


ENV = SimpleNamespace(cameras={"default": jnp.zeros(3)}, assets=lambda look: None)


@pytest.mark.slow
def test_settings_reach_the_reward(tmp_path):
    config = ODD["siglip"]
    write_tokenizer(save_checkpoint(tmp_path, config, random_params(config)))
    tower = load_tower(str(tmp_path), "cartpole")
    params, _ = build_reward(RewardSettings(prompt=("a pole",), sigmoid=True), ENV, tower)
    assert float(params.logit_bias) == float(tower.params["params"]["logit_bias"])
    rewards = score(params, jnp.asarray(np.random.default_rng(0).normal(size=(4, 144)), jnp.float32))
    assert 0 < float(rewards.min()) < float(rewards.max()) < 1


def test_an_embedded_clip_has_no_bias():
    with pytest.raises(ConfigError, match="the CLIP has no logit_bias"):
        build_reward(RewardSettings(prompt=("a pole",), sigmoid=True), ENV, load_tower("tiny", "cartpole"))
