"""What `build` makes of memory and of the settings that compute the image tower otherwise."""

import dataclasses
import re
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs.cartpole import CartPole
from envs.registry import make_task
from envs.wrappers import Judged, TimeLimit
from jaxvlm.errors import CheckpointError, ConfigError
from jaxvlm.render import make_ray_assets
from jaxvlm.vlmrm.build import build
from jaxvlm.vlmrm.config import RewardSettings
from tests.clip.recipes import needs_qwix
from tests.vlmrm.conftest import tiny_config

build_module = sys.modules["jaxvlm.vlmrm.build"]  # the package's `build` is the function


@pytest.mark.slow
def test_frames_at_a_time_fit_into_memory(monkeypatch):
    half = build_module.load_tower("tiny", "humanoid")
    half = dataclasses.replace(half, params=jax.tree.map(lambda x: x.astype(jnp.bfloat16), half.params))
    half.params["params"]["logit_scale"] = jnp.float32(3.0)  # as `load` keeps it
    full = build_module.load_tower("tiny", "humanoid")
    # Drawing takes as much in either case.
    assert 1.1 < build_module.most_frames(half, 10**9) / build_module.most_frames(full, 10**9) < 2.5
    assert build_module.most_frames(full, 10**9) == pytest.approx(
        10 * build_module.most_frames(full, 10**8), rel=0.01
    )
    assert build_module.most_frames(full, 10) == 1
    monkeypatch.setattr(build_module, "free_memory", lambda: 10**8)
    assert build_module.choose_chunk(full, "gpu") in (32, 64)
    monkeypatch.setattr(build_module, "free_memory", lambda: 10**12)
    assert build_module.choose_chunk(full, "gpu") == 2048
    monkeypatch.setattr(build_module, "free_memory", lambda: None)
    assert build_module.choose_chunk(full, "gpu") == 2048


def test_more_frames_than_fit_are_not_taken():
    task = make_task("cartpole")
    built = build(tiny_config(reward_chunk=10**9), task.env, task.params, domain="cartpole")
    assert built.program.chunk < 10**9
    assert any("--chunk 1000000000" in note and "fit into the free memory" in note for note in built.notes)


def test_floats_are_not_taken_for_normalised_frames():
    clip = SimpleNamespace(apply=lambda params, frames, method: frames[:, 0, 0])
    tower = build_module.Tower(name="any", clip=clip, params=None, tokenizer=None)
    frames = jnp.zeros((2, 4, 4, 3), jnp.uint8)
    assert tower.encode(None, frames).shape == (2, 3)
    for kind in (np.float32, jnp.bfloat16, np.int32):
        with pytest.raises(ConfigError, match=f"frames are {jnp.dtype(kind)}.*to_uint8"):
            tower.encode(None, frames.astype(kind))


def test_a_tower_prints_no_weights_and_real_clips_need_no_domain():
    tower = build_module.load_tower("tiny:cartpole")
    assert "projection_dim=64" in repr(tower)
    assert len(repr(tower)) < 2_000
    with pytest.raises(CheckpointError, match="known: tiny:cartpole"):
        build_module.load_tower("tiny")


class Blind(build_module.Tower):
    """Embeds without weights."""

    def embed(self, prompts):
        return jnp.ones((len(prompts), 2))


def test_a_note_names_what_is_not_drawn():
    sites = "".join(f'<site name="s{i}" size=".1"/>' for i in range(7))
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><geom size=".1"/>{sites}</worldbody></mujoco>'
    )
    tower = Blind(
        "blind", clip=None, params={"params": {}}, tokenizer=SimpleNamespace(unknown_words=lambda prompt: ())
    )
    env = SimpleNamespace(cameras={"default": None}, assets=lambda look: make_ray_assets(model))
    _, (note,) = build_module.build_reward(RewardSettings(prompt=("touch s0",)), env, tower)
    assert note.startswith(
        "site 's0', site 's1', site 's2', site 's3', site 's4' and 2 more cannot be seen: MuJoCo"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"reward_patches": "covered"}, r"covered: \d+ of 16 patches are kept.*least \d\.\d{4}"),
        ({"reward_quantise": "int8"}, r"--quantise int8; cosine to the tower as it is: least \d\.\d{4}"),
        ({"reward_layers": "scanned"}, None),
    ],
)
def test_shortcuts_of_the_image_tower(changes, match):
    if "reward_quantise" in changes:
        needs_qwix()
    task = make_task("cartpole")
    plain = build(tiny_config(), task.env, task.params, domain="cartpole")
    built = build(tiny_config(**changes), task.env, task.params, domain="cartpole")
    assert built.clip_digest == plain.clip_digest
    frames = jnp.asarray(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    exact = np.asarray(plain.program.encode(plain.inputs.reward.clip, frames))
    ours = np.asarray(built.program.encode(built.inputs.reward.clip, frames))
    cosine = (exact * ours).sum(-1) / np.linalg.norm(exact, axis=-1) / np.linalg.norm(ours, axis=-1)
    assert cosine.min() > 0.99
    if match:
        assert any(re.search(match, note) for note in built.notes)
        if "reward_quantise" in changes:
            assert np.abs(exact - ours).max() > 1e-4
    else:
        assert built.notes == plain.notes
        np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-4)


def test_ground_truth_needs_no_sentence():
    task = make_task("cartpole")
    config = tiny_config(reward_reward="ground-truth", reward_prompt=(), reward_baseline=(), reward_alpha=0.5)
    built = build(config, task.env, task.params, domain=task.domain)
    assert (built.inputs.reward, built.clip_digest) == (None, None)
    spoken = dataclasses.replace(config, reward=dataclasses.replace(config.reward, reward="clip"))
    with pytest.raises(ConfigError, match="no goal prompt"):
        build(spoken, task.env, task.params, domain=task.domain)
    # Sentences of phases that the task does not have are refused as before: they come with a schedule.
    phased = dataclasses.replace(config, reward=dataclasses.replace(config.reward, then=("a cart",)))
    with pytest.raises(ConfigError, match="cartpole has one phase"):
        build(phased, task.env, task.params, domain=task.domain)


def test_only_a_buffer_that_will_be_held_has_to_fit(monkeypatch):
    task = make_task("cartpole")
    config = tiny_config(reward_reward="ground-truth")
    monkeypatch.setattr("jaxvlm.rl.buffer.free_memory", lambda device=None: 1000)
    with pytest.raises(ConfigError, match="the replay buffer needs"):
        build(config, task.env, task.params, domain=task.domain)
    built = build(config, task.env, task.params, domain=task.domain, holds_buffer=False)
    assert built.program.buffer.capacity == config.buffer_rows


@pytest.mark.parametrize(
    ("starts", "standardise", "noted"), [(0, True, True), (0, False, False), (30, True, False)]
)
def test_rewards_that_nothing_standardises_are_noted(starts, standardise, noted):
    task = make_task("cartpole")
    config = tiny_config(reward_reward="ground-truth", learning_starts=starts, reward_standardise=standardise)
    notes = build(config, task.env, task.params, domain=task.domain).notes
    assert any("--learning-starts 0" in note for note in notes) == noted


@pytest.mark.parametrize(
    ("changes", "early", "noted"),
    [
        ({}, False, None),
        ({}, True, "episodes of cartpole can end before their time limit"),
        ({"algorithm_bootstrap_at_truncation": False}, False, "--bootstrap-at-truncation False stores"),
        ({"algorithm_bootstrap_at_truncation": False, "reward_standardise": False}, True, None),
    ],
)
def test_a_shift_of_rewards_that_can_change_the_optimum_is_noted(changes, early, noted):
    task = make_task("cartpole")
    env = TimeLimit(CartPole(early_termination=early), 200)
    notes = build(
        tiny_config(reward_reward="ground-truth", **changes), env, task.params, domain="cartpole"
    ).notes
    assert [note for note in notes if "--standardise False" in note] == list(notes)
    assert (len(notes), noted or "") == (bool(noted), notes[0][: len(noted)] if noted else "")
    judged = TimeLimit(Judged(CartPole(early_termination=early), lambda state: state.theta > 0), 200)
    config = tiny_config(reward_reward="ground-truth", **changes)
    assert build(config, judged, task.params, domain="cartpole").notes == notes


def test_a_temperature_is_refused_before_clip_is_loaded(monkeypatch):
    monkeypatch.setattr(build_module, "load_tower", lambda *_: pytest.fail("a CLIP was loaded"))
    task = make_task("cartpole")
    config = tiny_config(reward_negative=("cart",), reward_baseline=(), reward_temperature=0.0)
    with pytest.raises(ConfigError, match=r"temperature is 0\.0; the softmax over prompts needs one above 0"):
        build(config, task.env, task.params, domain=task.domain)
