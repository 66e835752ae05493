"""Files of states to train a CLIP on."""

import jax.numpy as jnp
import numpy as np
import pytest

from envs.captions import captioned_dataset
from envs.captions.humanoid import with_files
from envs.humanoid.kinematics import pose_scene
from envs.humanoid.rollouts import qpos_of, read_states, visited_states
from jaxvlm.errors import ConfigError


@pytest.mark.slow
def test_positions_are_found_again_from_observation_and_scene():
    qpos = visited_states()[::500]
    observation = np.concatenate([qpos[:, 2:], np.ones((len(qpos), 26), np.float32)], axis=1)
    found = qpos_of(observation, pose_scene(jnp.asarray(qpos)))
    np.testing.assert_allclose(found, qpos, atol=1e-5)


def test_orientations_are_read_with_length_one(tmp_path):
    qpos = np.ones((3, 24), np.float16)
    np.savez(tmp_path / "states.npz", qpos=qpos)
    found = read_states(tmp_path / "states.npz")
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found[:, 3:7], axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    "arrays", [{}, {"other": np.zeros(3)}, {"qpos": np.zeros((3, 5))}, {"qpos": np.full((3, 24), np.nan)}]
)
def test_files_that_hold_none_are_refused_before_training(tmp_path, arrays):
    path = tmp_path / "states.npz"
    if arrays:
        np.savez(path, **arrays)
    with pytest.raises(ConfigError, match=r"states\.npz"):
        captioned_dataset("humanoid", (path,))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    qpos = visited_states()[:50]
    np.save(tmp_path / "array.npy", qpos)
    (tmp_path / "empty.npz").touch()
    np.savez_compressed(tmp_path / "torn.npz", qpos=qpos)
    content = bytearray((tmp_path / "torn.npz").read_bytes())
    content[200:240] = bytes(40)
    (tmp_path / "torn.npz").write_bytes(content)
    for name in ("array.npy", "empty.npz", "torn.npz"):
        with pytest.raises(ConfigError, match=f"{name} holds no states of the humanoid"):
            read_states(tmp_path / name)


def test_orientations_of_no_length_are_refused(tmp_path):
    qpos = visited_states()[:3].copy()
    qpos[1, 3:7] = 0.0
    np.savez(tmp_path / "states.npz", qpos=qpos)
    with pytest.raises(ConfigError, match=r"state 1 of .*states\.npz has an orientation of length 0"):
        read_states(tmp_path / "states.npz")


def test_other_domains_learn_from_no_file(tmp_path):
    with pytest.raises(ConfigError, match="only the humanoid's does"):
        captioned_dataset("cartpole", (tmp_path / "states.npz",))


def test_they_are_half_of_the_states_of_policies(tmp_path):
    states = visited_states()[:50]
    few = np.ones((5, 24), np.float32)
    few[:, 0] = np.arange(5)
    np.savez(tmp_path / "few.npz", qpos=few)
    assert with_files(states, ()) is states
    more = with_files(states, (tmp_path / "few.npz", tmp_path / "few.npz"))
    np.testing.assert_array_equal(more[:50], states)
    np.testing.assert_array_equal(more[50:, 0], np.tile(np.arange(5), 10))
