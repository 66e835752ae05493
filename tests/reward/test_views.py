"""Rewards from several cameras at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.humanoid.env import Humanoid
from envs.humanoid.examples import EXAMPLES, example_qpos
from envs.humanoid.kinematics import locate
from jaxvlm.reward import label
from jaxvlm.vlmrm.build import build_reward, load_tower
from jaxvlm.vlmrm.config import RewardSettings


@pytest.mark.slow
def test_rewards_are_the_mean_over_cameras():
    env, tower = Humanoid(goal="kneeling"), load_tower("tiny", "humanoid")
    poses = [examples[0][0] for examples in EXAMPLES.values()][:5]
    scenes = jax.vmap(locate)(jnp.asarray(example_qpos(*poses))).scene  # with the cameras of the body

    @jax.jit
    def rewards_of(reward):
        return label(
            reward, scenes, encode=tower.encode, render=env.render, size=tower.size, chunk=3, batch_ndim=1
        )

    def seen_by(*cameras: str) -> np.ndarray:
        settings = RewardSettings(prompt=("a humanoid robot kneeling",), camera=cameras, look="textured")
        return np.asarray(rewards_of(build_reward(settings, env, tower)[0]))

    front, side = seen_by("modified"), seen_by("original")
    assert min(np.std(front), np.std(side)) > 2e-3  # both see the body
    assert np.abs(front - side).max() > 0.05
    np.testing.assert_allclose(seen_by("modified", "original"), (front + side) / 2, atol=2e-5)
