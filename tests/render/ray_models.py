"""Small MuJoCo models that several tests draw."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from jaxvlm.render import RayScene, scene_from_data

PRIMITIVES = """
<mujoco>
  <asset>
    <texture name="grid" type="2d" builtin="checker" rgb1=".2 .3 .4" rgb2=".7 .6 .3" width="64" height="64"/>
    <texture name="cube" type="cube" builtin="gradient" rgb1="1 .4 .4" rgb2=".3 .3 1" width="32" height="192"
      mark="edge" markrgb="0 0 0"/>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".6 .8 1" rgb2=".1 .2 .4" width="64" height="384"/>
    <material name="floor" texture="grid" texrepeat="4 4" specular=".3" shininess=".4" reflectance=".3"/>
    <material name="cube" texture="cube" texuniform="true" specular=".6" shininess=".3"/>
    <material name="flat" rgba=".3 .7 .4 1" emission=".1"/>
  </asset>
  <worldbody>
    <light type="spot" pos="-1 -1.5 3.5" dir=".3 .4 -1" cutoff="50" exponent="3" diffuse=".7 .7 .6"
      specular=".4 .4 .4" attenuation="1 .05 .01"/>
    <light type="directional" pos="0 0 4" dir=".5 -.3 -1" diffuse=".5 .5 .5" specular=".2 .2 .2"/>
    <geom name="floor" type="plane" size="4 4 .05" material="floor"/>
    <body pos="-.8 0 .5"><freejoint/><geom name="box" type="box" size=".3 .2 .4" material="cube"/></body>
    <body pos=".5 .7 .6"><freejoint/><geom name="cylinder" type="cylinder" size=".25 .4" material="cube"/></body>
    <body pos=".6 -.8 .6"><freejoint/><geom name="ellipsoid" type="ellipsoid" size=".5 .25 .35" material="flat"/></body>
    <body pos="1.4 .2 .5"><freejoint/><geom name="capsule" type="capsule" size=".15 .3" material="cube"/></body>
    <body pos="-.3 -1 .8">
      <freejoint/><geom name="sphere" type="sphere" size=".3" rgba="1 .5 .2 1"/>
      <camera name="follow" mode="trackcom" pos="0 -3 1" xyaxes="1 0 0 0 .3 1"/>
    </body>
    <camera name="fixed" pos="0 -4 2" xyaxes="1 0 0 0 .4 1" fovy="60"/>
  </worldbody>
</mujoco>
"""


def load(xml: str) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """A model in its initial state, ready to be drawn."""
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def shuffled(model: mujoco.MjModel, data: mujoco.MjData, seed: int) -> RayScene:
    """Turns every free body of `PRIMITIVES` at random."""
    rng = np.random.default_rng(seed)
    mujoco.mj_resetData(model, data)
    for body in range(model.njnt):
        quaternion = rng.normal(size=4)
        data.qpos[7 * body + 3 : 7 * body + 7] = quaternion / np.linalg.norm(quaternion)
    mujoco.mj_forward(model, data)
    return scene_from_data(data)


def stacked(items: list) -> object:
    """A batch of equal pytrees."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *items)
