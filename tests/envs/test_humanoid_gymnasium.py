"""What is observed of a `MjData`, beside gymnasium's own Humanoid-v4 at the same state."""

import mujoco
import numpy as np
import pytest
from humanoid_states import gymnasium_env

from envs.humanoid.env import observe
from envs.humanoid.model import load_model

BLOCKS = {"qpos": 22, "qvel": 23, "cinert": 140, "cvel": 84, "qfrc_actuator": 23, "cfrc_ext": 84}


@pytest.mark.parametrize("contacts", ["published", "floor", "limbs"])
def test_each_block_is_gymnasiums_at_the_same_state(contacts, monkeypatch):
    """Falls of gymnasium's environment, with its model as published (Runge-Kutta, every contact) and with ours."""
    env = gymnasium_env(monkeypatch)
    if contacts != "published":
        env.model = load_model("textured", contacts)
        env.data = mujoco.MjData(env.model)
    generator, largest = np.random.default_rng(3), np.zeros(376)
    for seed in range(2):
        env.reset(seed=seed)
        for _ in range(100):
            expected, *_ = env.step(generator.uniform(-0.4, 0.4, 17))
            got = observe(env.data, "full")
            start = 0
            for name, width in BLOCKS.items():
                block = slice(start, start + width)
                np.testing.assert_array_equal(got[block], expected[block].astype(np.float32), err_msg=name)
                start += width
            assert start == got.size == expected.size == 376
            np.testing.assert_array_equal(
                observe(env.data, "compact"),
                np.concatenate([expected[:22], 0.1 * expected[22:45]]).astype("f4"),
            )
            largest = np.maximum(largest, np.abs(expected))
    start = 0
    for name, width in BLOCKS.items():
        assert largest[start : start + width].max() > 1.0, name  # no block is compared with zeros
        start += width
    assert largest[-84:].max() > 100  # N: a body lies on its contact forces
