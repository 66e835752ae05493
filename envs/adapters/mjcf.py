"""A MuJoCo model of one's own as an environment: any XML whose geoms the ray caster draws and MJX can step.

    jaxvlm train mjcf:robot.xml --prompt "..." --clip PATH

It moves by the model's actuators from around its first keyframe, or its rest where it has none.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco as mujoco_package
import numpy as np
from flax import struct

from jaxvlm.errors import ConfigError

mujoco: Any = mujoco_package  # its compiled names are unknown to type checkers

CONTROL = 0.025  # s of a step, as far as whole steps of the physics allow
NOISE = 0.01  # of joints at a reset, rad or m uniformly to either side, and of their speeds
BALL = 1  # mjtJoint: 0 is free, 2 slides, 3 turns


@struct.dataclass
class ModelState:
    """As the environments of other libraries have it."""

    data: Any  # mjx.Data
    obs: Any  # f32[nq + nv], positions and velocities
    reward: Any  # f32[], 0: a model does not say what it is for
    done: Any  # f32[], 0: nor when it is over


class ModelEnvironment:
    """Steps a model; actions in [-1, 1] span the range of each actuator, or are its control where it has no range."""

    def __init__(self, model: Any, rest: np.ndarray) -> None:
        from mujoco import mjx

        self.mj_model = model
        self.mjx_model = mjx.put_model(model, impl="jax")
        self.substeps = max(1, round(CONTROL / model.opt.timestep))
        self.action_size = int(model.nu)
        self._rest = rest
        limited = model.actuator_ctrllimited.astype(bool)
        low = np.where(limited, model.actuator_ctrlrange[:, 0], -1.0)
        high = np.where(limited, model.actuator_ctrlrange[:, 1], 1.0)
        self._middle, self._half = 0.5 * (low + high), 0.5 * (high - low)
        # What noise may be added to: of a free or a ball joint a number more or less is no orientation.
        simple = model.jnt_type > BALL
        self._noisy = np.zeros(model.nq)
        self._noisy[model.jnt_qposadr[simple]] = NOISE

    def reset(self, key: jax.Array) -> ModelState:
        from mujoco import mjx

        position, velocity = jax.random.split(key)
        qpos = self._rest + self._noisy * jax.random.uniform(position, (self.mj_model.nq,), minval=-1.0)
        qvel = NOISE * jax.random.uniform(velocity, (self.mj_model.nv,), minval=-1.0)
        data = mjx.make_data(self.mjx_model).replace(qpos=qpos, qvel=qvel)
        return self._observed(mjx.forward(self.mjx_model, data))

    def step(self, state: ModelState, action: jax.Array) -> ModelState:
        from mujoco import mjx

        control = self._middle + self._half * jnp.clip(action, -1.0, 1.0)

        def substep(data: Any, _: None) -> tuple[Any, None]:
            return mjx.step(self.mjx_model, data), None

        data, _ = jax.lax.scan(substep, state.data.replace(ctrl=control), None, self.substeps)
        return self._observed(data)

    def _observed(self, data: Any) -> ModelState:
        zero = jnp.float32(0.0)
        return ModelState(data=data, obs=jnp.concatenate([data.qpos, data.qvel]), reward=zero, done=zero)


def load_model(path: str) -> tuple[ModelEnvironment, np.ndarray]:
    """The environment of an XML file, and the positions that its resets are drawn around.

    Raises:
      ConfigError: a file that is not there or is no model, a model without actuators, or one that MJX cannot step.
    """
    if not Path(path).is_file():
        raise ConfigError(
            f"there is no file {path}; give the path of a MuJoCo model, an XML file, after mjcf:"
        )
    try:
        model = mujoco.MjModel.from_xml_path(path)
    except ValueError as error:
        raise ConfigError(f"{path} is no model that MuJoCo can read: {str(error).strip()}") from error
    if model.nu == 0:
        raise ConfigError(
            f"{path} has no actuators, so there is nothing that an agent could do; add some to its XML"
        )
    rest = np.array(model.key_qpos[0] if model.nkey else model.qpos0)
    try:
        return ModelEnvironment(model, rest), rest
    except NotImplementedError as error:
        raise ConfigError(
            f"MJX cannot step {path}: {error}; see MuJoCo's documentation of MJX for what it can"
        ) from error
