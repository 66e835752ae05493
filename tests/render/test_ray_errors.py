"""What the ray caster refuses, and that it names it."""

import re

import mujoco
import numpy as np
import pytest
from render.ray_models import PRIMITIVES, load

from jaxvlm.errors import ConfigError
from jaxvlm.render import (
    free_camera,
    make_ray_assets,
    model_cameras,
    render_ray,
    scene_from_data,
    validate_camera,
)

MESH = """<mujoco><asset><mesh name="t" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset>
<worldbody><geom name="statue" type="mesh" mesh="t"/><geom size=".1"/></worldbody></mujoco>"""
HEIGHTS = """<mujoco><asset><hfield name="h" nrow="4" ncol="4" size="1 1 1 1"/></asset>
<worldbody><geom name="hill" type="hfield" hfield="h"/></worldbody></mujoco>"""
POINT = """<mujoco><worldbody><light name="lamp" type="point" pos="0 0 2"/><geom size=".1"/></worldbody></mujoco>"""
HIDDEN = (
    """<mujoco><worldbody><geom size=".1" group="3"/><geom size=".1" rgba="1 1 1 0"/></worldbody></mujoco>"""
)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (MESH, "geom 'statue' is a mesh"),
        (HEIGHTS, "geom 'hill' is a height field"),
        (POINT, "light 'lamp' is of type 2"),
        (HIDDEN, "no visible geoms"),
        (HIDDEN.replace("1 1 1 0", "1 1 1 .5"), "geom number 1 (without a name) has alpha 0.5"),
    ],
)
def test_what_cannot_be_drawn_is_named(xml, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_ray_assets(mujoco.MjModel.from_xml_string(xml))


def test_a_hidden_mesh_does_not_matter():
    xml = MESH.replace('type="mesh"', 'type="mesh" group="3"')
    assert make_ray_assets(mujoco.MjModel.from_xml_string(xml)).spec.geoms == (1,)


SKIN = """vertex="0 0 0 1 0 0 0 1 0" face="0 1 2">
<bone body="part" bindpos="0 0 0" bindquat="1 0 0 0" vertid="0 1 2" vertweight="1 1 1"/></skin>"""
SITES = f"""<mujoco><asset><material name="clear" rgba="1 0 0 0"/><skin name="cloth" {SKIN}
<skin name="film" material="clear" {SKIN}<skin name="bare" group="4" {SKIN}</asset><worldbody>
<site name="here" group="2"/><site name="hidden" group="3"/><site name="glass" rgba="1 1 1 0"/>
<site name="unseen" material="clear"/><geom size=".1"/>
<body name="part"><joint name="slide" type="slide"/><geom size=".1"/>
<site name="there" rgba="0 1 0 .5"/></body></worldbody>
<tendon><spatial name="string"><site site="here"/><site site="there"/></spatial>
<fixed name="gear"><joint joint="slide" coef="1"/></fixed></tendon></mujoco>"""


def test_what_mujoco_shows_and_we_do_not_is_named():
    assets = make_ray_assets(mujoco.MjModel.from_xml_string(SITES))
    assert assets.spec.left_out == ("site 'here'", "site 'there'", "tendon 'string'", "skin 'cloth'")
    assert make_ray_assets(load(PRIMITIVES)[0]).spec.left_out == ()


def test_bad_sizes_and_textures_are_named():
    model, _ = load(PRIMITIVES)
    model.geom_size[1, 2] = 0.0
    with pytest.raises(ConfigError, match="geom 'box' has size"):
        make_ray_assets(model)
    model, _ = load(PRIMITIVES)
    model.tex_height[1] = 40
    with pytest.raises(ConfigError, match="texture 'cube' is 32 x 40"):
        make_ray_assets(model)


@pytest.mark.slow
def test_scenes_of_other_models_and_empty_pictures():
    model, data = load(PRIMITIVES)
    scene, assets = scene_from_data(data), make_ray_assets(model)
    camera = free_camera((0, 0, 0), 3.0, 0.0, -10.0)
    with pytest.raises(ConfigError, match="scene has 3 geoms"):
        render_ray(scene.replace(geom_pos=scene.geom_pos[:3]), assets, camera, 8)
    with pytest.raises(ConfigError, match="size 0"):
        render_ray(scene, assets, camera, 0)


@pytest.mark.slow
def test_a_light_that_moves_needs_its_pose():
    xml = "<mujoco><worldbody><body><freejoint/><geom size='.1'/><light pos='0 0 1'/></body></worldbody></mujoco>"
    model, data = load(xml)
    scene, assets = scene_from_data(data), make_ray_assets(model)
    camera = free_camera((0, 0, 0), 3.0, 0.0, -10.0)
    none = np.zeros((0, 3), np.float32)
    with pytest.raises(
        ConfigError, match=r"light moves with a body, .* give `scene_from_data` the MjModel too"
    ):
        render_ray(scene.replace(light_pos=none, light_dir=none), assets, camera, 8)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (((0, 0, 0), 0.0, 0.0, 0.0), "distance 0"),
        (((0, 0, 0), 1.0, 0.0, 0.0, 180.0), "fovy 180"),
        (((0, 0), 1.0, 0.0, 0.0), "lookat"),
        (((0, 0, np.nan), 1.0, 0.0, 0.0), "finite"),
    ],
)
def test_views_that_are_none(view, message):
    with pytest.raises(ConfigError, match=message):
        free_camera(*view)


@pytest.mark.slow
def test_cameras_that_see_nothing():
    model, data = load(PRIMITIVES)
    scene, assets = scene_from_data(data), make_ray_assets(model)
    validate_camera(scene, assets, model_cameras(model)["fixed"])
    inside = {"box": (-0.8, 0.05, 0.5), "cylinder": (0.5, 0.7, 0.9), "ellipsoid": (1.0, -0.8, 0.6)}
    inside |= {"capsule": (1.4, 0.2, 0.9), "sphere": (-0.3, -1.0, 1.05)}
    for name, place in inside.items():
        camera = free_camera((place[0] - 1e-3, place[1], place[2]), 1e-3, 180.0, 0.0)
        with pytest.raises(ConfigError, match=f"'eye' at .* inside geom '{name}'"):
            validate_camera(scene, assets, camera, "eye")
    with pytest.raises(ConfigError, match="below or on plane 'floor'"):
        validate_camera(scene, assets, free_camera((0, 0, 0.5), 3.0, 0.0, 40.0))
    with pytest.raises(ConfigError, match="sees no geom but planes"):
        validate_camera(scene, assets, free_camera((30, 0, 2), 3.0, 0.0, 0.0))


def test_a_camera_of_the_model_needs_a_scene_that_has_it():
    model, data = load(PRIMITIVES)
    scene, assets = scene_from_data(data), make_ray_assets(model)
    scene = scene.replace(camera_pos=scene.camera_pos[:0], camera_quat=scene.camera_quat[:0])
    camera = model_cameras(model)["fixed"]
    for use in (validate_camera, lambda *view: render_ray(*view, 8)):
        with pytest.raises(ConfigError, match="camera number 0, and the scene has no cameras; take a free"):
            use(scene, assets, camera)


def test_only_perspective_cameras():
    xml = "<mujoco><worldbody><geom size='.1'/><camera name='flat' projection='orthographic'/></worldbody></mujoco>"
    with pytest.raises(ConfigError, match="'flat' is orthographic"):
        model_cameras(mujoco.MjModel.from_xml_string(xml))
