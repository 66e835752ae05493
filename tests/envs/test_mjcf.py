"""A model file as an environment, beside MuJoCo's own physics."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs.adapters.sources import quietly
from envs.checks import check_environment
from envs.registry import make_task
from jaxvlm.errors import ConfigError

ARM = """
<mujoco>
  <option timestep="0.005" integrator="implicitfast"><flag contact="disable"/></option>
  <worldbody>
    <geom name="floor" type="plane" size="2 2 .1"/>
    <body name="base" pos="0 0 1">
      <joint name="shoulder" axis="0 1 0" damping=".2"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.3" size=".04"/>
      <body pos="0 0 -.35">
        <joint name="elbow" axis="0 1 0" damping=".1"/>
        <geom type="capsule" fromto="0 0 0 0 0 -.2" size=".03"/>
      </body>
    </body>
    MORE
  </worldbody>
  <actuator>
    <motor joint="shoulder" ctrllimited="true" ctrlrange="-4 8"/>
    <motor joint="elbow"/>
  </actuator>
</mujoco>
"""


@pytest.fixture
def model(tmp_path):
    """Writes a model, and returns its path."""

    def write(change=("", ""), name="my-arm.xml"):
        path = tmp_path / name
        path.write_text(ARM.replace("MORE", "").replace(*change))
        return path

    return write


def test_a_name_is_a_path_that_holds_elsewhere(model, monkeypatch):
    path = model()
    monkeypatch.chdir(path.parent)
    task = make_task("mjcf:my-arm.xml")
    assert (task.name, task.domain) == (f"mjcf:{path}", f"mjcf_{path}")
    assert (task.algorithm, task.metric, task.env.env.looks) == ("sac", "finite_fraction", ("model",))
    assert make_task(task.name).env == task.env


@pytest.mark.slow
def test_steps_are_those_of_mujoco(model):
    path = model()
    task = make_task(f"mjcf:{path}")
    env, params = task.env.env, task.params
    with quietly():
        check_environment(env, params)
    observed, state = env.reset(jax.random.key(3), params)
    reference = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(reference)
    data.qpos[:], data.qvel[:] = observed[:2], observed[2:]
    step = jax.jit(env.step)
    for k in range(6):
        action = jnp.array([np.sin(k), 2.0 * np.cos(k)], jnp.float32)
        observed, state, reward, terminated, truncated, info = step(jax.random.key(k), state, action, params)
        # The motor with a range has it spanned by [-1, 1]; the other one is given what the action says, cut to that.
        data.ctrl[:] = 2.0 + 6.0 * action[0], np.clip(action[1], -1.0, 1.0)
        for _ in range(5):  # 25 ms
            mujoco.mj_step(reference, data)
        np.testing.assert_allclose(observed, np.concatenate([data.qpos, data.qvel]), atol=2e-4)
        assert (float(reward), bool(terminated), bool(truncated)) == (0.0, False, False)
        assert bool(info["success"])


@pytest.mark.slow
def test_resets_leave_orientations_alone(model):
    free = '<body pos="0 1 1"><freejoint/><geom name="ball" type="sphere" size=".1"/></body>'
    path = model(('<body name="base"', f'{free}<body name="base"'))
    task = make_task(f"mjcf:{path}")
    observations, _ = jax.vmap(task.env.reset, (0, None))(jax.random.split(jax.random.key(0), 8), task.params)
    np.testing.assert_allclose(observations[:, :7], np.tile([0, 1, 1, 1, 0, 0, 0], (8, 1)), atol=1e-6)
    joints = np.abs(observations[:, 7:9])
    assert joints.max() <= 0.01
    assert joints.std() > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("<actuator>", "<!--"), r"no model that MuJoCo can read: .*XML"),
        (("</worldbody>", "</worldbody></mujoco><!--"), "no model that MuJoCo can read"),
        (('<motor joint="elbow"/>', '<motor joint="wrist"/>'), "no model that MuJoCo can read: .*wrist"),
        (
            ('<option timestep="0.005"', '<option solver="PGS" timestep="0.005"'),
            r"MJX cannot step .*my-arm\.xml: .*PGS",
        ),
    ],
)
def test_a_file_that_is_no_use_is_refused(model, change, message):
    path = model(change)
    with pytest.raises(ConfigError, match=message):
        make_task(f"mjcf:{path}")


def test_a_model_has_to_be_there_and_to_move(model, tmp_path):
    with pytest.raises(
        ConfigError, match=r"there is no file .*nothing\.xml; give the path of a MuJoCo model"
    ):
        make_task(f"mjcf:{tmp_path / 'nothing.xml'}")
    still = "<mujoco><worldbody><geom type='sphere' size='.1'/></worldbody></mujoco>"
    path = tmp_path / "still.xml"
    path.write_text(still)
    with pytest.raises(
        ConfigError, match=r"still\.xml has no actuators, so there is nothing that an agent could do"
    ):
        make_task(f"mjcf:{path}")
