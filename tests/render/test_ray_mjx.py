"""Pictures of an `mjx.Model`, which has less of a look than the `mujoco.MjModel` that it was made from."""

import contextlib
import copy
import io
import warnings

import jax
import numpy as np
import pytest
from render.ray_models import PRIMITIVES, load

from envs.humanoid.model import load_model
from jaxvlm.render import free_camera, make_ray_assets, render_ray, scene_from_data

with contextlib.redirect_stdout(io.StringIO()):  # announces that its optional Warp backend is not installed
    from mujoco import mjx

PLAIN = """<mujoco>
  <asset><material name="matt" rgba=".3 .7 .4 1" emission=".1" specular=".2"/></asset>
  <worldbody>
    <light type="directional" pos="0 0 4" dir=".5 -.3 -1" diffuse=".5 .5 .5" specular=".2 .2 .2"/>
    <geom type="plane" size="3 3 .1" rgba=".4 .4 .5 1"/>
    <geom type="capsule" size=".2 .3" pos="0 .6 .5" material="matt"/>
    <geom type="box" size=".2 .3 .3" pos="0 -.6 .4" rgba="1 .5 .2 1"/>
  </worldbody>
</mujoco>"""


def on_device(model):
    model.geom_contype[:] = model.geom_conaffinity[:] = 0  # MJX has no contacts of cylinders
    return mjx.put_model(model, impl="jax")


@pytest.mark.slow
def test_a_model_without_textures_looks_alike():
    model, data = load(PLAIN)
    camera, draw = free_camera((0, 0, 0.4), 3.0, 30.0, -25.0), jax.jit(render_ray, static_argnums=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bare = make_ray_assets(on_device(model))
    scene, assets = scene_from_data(data), make_ray_assets(model)
    expected = np.asarray(draw(scene, assets, camera, 24))
    np.testing.assert_allclose(draw(scene, bare, camera, 24), expected, atol=1e-6)
    assert expected.std() > 0.1


def test_what_is_lost_of_materials_is_said():
    model, _ = load(PRIMITIVES)
    with pytest.warns(UserWarning, match="geoms 'floor', .*'box'.* unlike MuJoCo's; .* the MjModel") as said:
        make_ray_assets(on_device(model))
    assert len(said) == 1
    assert "'ellipsoid'" not in str(said[0].message)  # plain and round
    with pytest.warns(UserWarning, match=r"'floor', .* and 13 more may look"):
        make_ray_assets(on_device(copy.copy(load_model("original"))))
    mirror = """<mujoco><asset><material name="m" reflectance=".5"/></asset><worldbody>
      <geom name="pool" type="plane" size="1 1 1" material="m"/></worldbody></mujoco>"""
    with pytest.warns(UserWarning, match="geoms 'pool' may"):
        make_ray_assets(on_device(load(mirror)[0]))
