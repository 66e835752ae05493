"""The reward that was written by hand: its formula, and that it does not ask for what it stands for."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.humanoid.env import Humanoid
from envs.humanoid.examples import EXAMPLES, example_qpos
from envs.humanoid.handwritten import REWARDS, kneeling
from envs.humanoid.kinematics import pose_scene
from envs.humanoid.measures import Measures, measure
from envs.registry import make_task
from jaxvlm.errors import ConfigError


@pytest.mark.parametrize(
    ("height", "tilt", "speed", "expected"),
    [
        (0.41, 0.0, 0.0, 1.0),
        (0.51, 0.0, 0.0, 0.5 / math.e + 0.5),
        (0.41, 30.0, 0.5, 0.5 + 0.4 / math.e + 0.1 / math.e),
        (0.78, 0.0, 0.0, 0.5),  # standing earns half
    ],
)
def test_its_formula(height, tilt, speed, expected):
    nothing = Measures(**{field.name: jnp.float32(0.0) for field in dataclasses.fields(Measures)})
    measures = nothing.replace(pelvis_clearance=jnp.float32(height), torso_tilt=jnp.float32(tilt))
    assert float(kneeling(measures, jnp.float32(speed))) == pytest.approx(expected, abs=2e-6)


@pytest.mark.slow
def test_kneeling_earns_most_and_kneeling_on_one_knee_nearly_as_much():
    poses = [example for example, *_ in EXAMPLES["kneeling"]][:2]
    qpos = jnp.asarray(np.concatenate([np.reshape(example_qpos(pose), (1, 24)) for pose in poses]))
    true, other = jax.jit(lambda qpos: kneeling(measure(pose_scene(qpos)), jnp.zeros(2)))(qpos)
    assert true > 0.98
    assert other > 0.95  # the predicate says no: one knee is in the air


def test_it_is_a_variant_of_kneeling_alone():
    task = make_task("humanoid-kneeling", "handwritten")
    assert task.env.env.reward == "handwritten"
    assert set(REWARDS) == {"kneeling"}
    with pytest.raises(ConfigError, match="has no variant 'handwritten'"):
        make_task("humanoid-lotus", "handwritten")
    with pytest.raises(ConfigError, match="nobody wrote a reward by hand for 'lotus'"):
        Humanoid(goal="lotus", reward="handwritten")
