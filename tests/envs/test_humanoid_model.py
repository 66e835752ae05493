"""The model's published numbers, against gymnasium's own XML."""

import mujoco
import numpy as np
import pytest
from humanoid_states import gymnasium_model

from envs.humanoid.looks import paint_metal, paint_sky, paint_slate
from envs.humanoid.model import MAX_CONTACTS, limb_pairs, load_model
from envs.humanoid.rollouts import random_falls, visited_states
from jaxvlm.errors import ConfigError

BODIES = ("mass", "inertia", "ipos", "iquat", "pos", "quat", "parentid")
JOINTS = ("type", "range", "pos", "axis", "stiffness", "limited", "solref", "solimp", "margin")
GEOMS = ("type", "pos", "quat", "size", "friction", "margin", "condim", "solref", "solimp", "solmix", "gap")
FIELDS = [
    *(f"body_{name}" for name in BODIES),
    *(f"jnt_{name}" for name in JOINTS),
    *(f"dof_{name}" for name in ("damping", "armature", "frictionloss")),
    *(f"geom_{name}" for name in GEOMS),
    *(f"actuator_{name}" for name in ("gear", "ctrlrange", "ctrllimited", "trnid")),
    "qpos0",
]


@pytest.mark.parametrize("contacts", ["floor", "limbs", "all"])
def test_masses_inertias_joints_geoms_and_motors_are_gymnasiums(contacts):
    ours, theirs = load_model("textured", contacts), gymnasium_model()
    for field in FIELDS:
        np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), atol=1e-12, err_msg=field)
    for kind, count in (("body", 14), ("joint", 18), ("geom", 18), ("actuator", 17)):
        names = [[getattr(model, kind)(k).name for k in range(count)] for model in (ours, theirs)]
        assert names[0] == names[1]
    assert ours.opt.timestep == theirs.opt.timestep == 0.003


def colliding(model) -> set[tuple[str, str]]:
    """Pairs of geoms that can collide, by MuJoCo's rules."""
    names = [model.geom(k).name for k in range(model.ngeom)]
    pairs = {
        tuple(sorted((names[a], names[b]))) for a, b in zip(model.pair_geom1, model.pair_geom2, strict=True)
    }
    for a in range(model.ngeom):
        for b in range(a):
            if (model.geom_contype[a] & model.geom_conaffinity[b]) | (
                model.geom_contype[b] & model.geom_conaffinity[a]
            ):
                pairs.add(tuple(sorted((names[a], names[b]))))
    return pairs


def test_contacts_are_what_their_name_says():
    floor = {tuple(sorted(("floor", load_model().geom(k).name))) for k in range(1, 18)}
    assert colliding(load_model()) == floor
    limbs = colliding(load_model("textured", "limbs"))
    assert limbs - floor == {tuple(sorted(pair)) for pair in limb_pairs()}
    assert len(limb_pairs()) == len(set(limb_pairs())) == 58
    assert {("left_hand", "torso1"), ("left_larm", "right_larm"), ("left_shin1", "right_shin1")} < limbs
    everything = colliding(load_model("textured", "all"))
    assert limbs < everything
    assert len(everything) == 18 * 17 // 2
    with pytest.raises(ConfigError, match="'none'"):
        load_model("textured", "none")


@pytest.mark.parametrize("contacts", ["floor", "limbs", "all"])
def test_no_state_has_more_contacts_than_mjx_keeps(contacts):
    """So that the limit of the model costs no force; those of a condim are limited together."""
    model = load_model("textured", contacts)
    limit = int(model.numeric("max_contact_points").data[0])
    assert limit == MAX_CONTACTS[contacts]
    data, most = mujoco.MjData(model), 0
    for qpos in np.concatenate([random_falls()[::4], visited_states()[::4]]):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        most = max([most, *np.bincount(data.contact.dim[data.contact.dist < data.contact.includemargin])])
    assert 4 <= most <= limit


def test_the_original_look_is_gymnasiums():
    ours, theirs = load_model("original"), gymnasium_model()
    for field in (
        "light_dir",
        "light_pos",
        "light_diffuse",
        "light_specular",
        "mat_specular",
        "mat_shininess",
    ):
        np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), atol=1e-6, err_msg=field)
    np.testing.assert_allclose(ours.mat_reflectance, theirs.mat_reflectance)
    np.testing.assert_allclose(ours.mat_texrepeat, theirs.mat_texrepeat)
    np.testing.assert_array_equal(ours.mat_texuniform, theirs.mat_texuniform)
    np.testing.assert_array_equal(ours.cam_poscom0[0], theirs.cam_poscom0[0])
    assert ours.tex_type.tolist() == theirs.tex_type.tolist()
    assert ours.ntexdata == theirs.ntexdata
    with pytest.raises(ConfigError, match="no look 'shiny'"):
        load_model("shiny")


def test_painted_textures_have_the_tones_of_the_papers_look():
    side, up, down = paint_sky()
    assert {picture.shape for picture in (side, up, down)} == {(256, 256, 3)}
    # Side faces meet without a seam, and so do they with the top and the bottom.
    np.testing.assert_allclose(side[:, 0].astype(int), side[:, -1], atol=40)
    assert np.abs(side[:, 0].astype(int) - side[:, -1]).mean() < 6
    assert np.abs(side[0].astype(int) - up[-1]).mean() < 6
    assert np.abs(side[-1].astype(int) - down[0]).mean() < 2
    red, _, blue = side[:128].reshape(-1, 3).mean(0)
    assert blue > red + 40
    assert 50 < paint_slate().mean() < 58
    assert 10 < paint_slate().std() < 16
    assert 235 < paint_metal().mean() < 243
    np.testing.assert_array_equal(paint_slate(), paint_slate())


def test_models_are_shared_and_mujoco_accepts_both_looks():
    assert load_model("textured") is load_model("textured")
    for look in ("textured", "original"):
        mujoco.mj_forward(load_model(look), mujoco.MjData(load_model(look)))
