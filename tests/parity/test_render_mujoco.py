"""Our frames beside those of MuJoCo's own renderer (EGL or OSMesa): the same picture, geom by geom."""

import jax
import mujoco
import numpy as np
import pytest
from parity.native import draw_natively
from render.ray_models import PRIMITIVES

from envs.humanoid.model import load_model
from jaxvlm.render import (
    free_camera,
    make_ray_assets,
    model_cameras,
    render_buffers,
    render_ray,
    scene_from_data,
    to_uint8,
)

SIZE, POSES = 224, 20
MODIFIED = ((0.0, 0.0, 1.0), 3.5, 180.0, -10.0)


def humanoid_states(model: mujoco.MjModel) -> np.ndarray:
    """Random joint angles within their limits, random yaw, the lowest geom on the floor."""
    rng = np.random.default_rng(0)
    data, states = mujoco.MjData(model), []
    for _ in range(POSES):
        mujoco.mj_resetData(model, data)
        for joint in np.flatnonzero(model.jnt_limited):
            data.qpos[model.jnt_qposadr[joint]] = rng.uniform(*model.jnt_range[joint])
        yaw = rng.uniform(0.0, 2.0 * np.pi)
        data.qpos[3:7] = np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)
        mujoco.mj_forward(model, data)
        half = np.where(model.geom_type == mujoco.mjtGeom.mjGEOM_CAPSULE, model.geom_size[:, 1], 0.0)
        lowest = data.geom_xpos[:, 2] - model.geom_size[:, 0] - half * np.abs(data.geom_xmat[:, 8])
        data.qpos[2] -= lowest[model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE].min()
        states.append(data.qpos.copy())
    return np.array(states)


def primitive_states(model: mujoco.MjModel) -> np.ndarray:
    """Every body turned at random."""
    rng = np.random.default_rng(0)
    states = np.tile(model.qpos0, (POSES, 1))
    for joint in range(model.njnt):
        quaternion = rng.normal(size=(POSES, 4))
        states[:, 7 * joint + 3 : 7 * joint + 7] = quaternion / np.linalg.norm(quaternion, axis=1)[:, None]
    return states


def cases() -> list[tuple[str, mujoco.MjModel, np.ndarray, object, float]]:
    """Name, model, states, view and the least mean PSNR in dB."""
    primitives = mujoco.MjModel.from_xml_string(PRIMITIVES)
    found = [
        (
            "primitives",
            primitives,
            primitive_states(primitives),
            ((0.0, 0.0, 0.5), 4.0, 120.0, -25.0),
            29.0,
        )
    ]
    for look, least in (("textured", 31.0), ("original", 28.0)):
        model = load_model(look)
        states = humanoid_states(model)
        found += [(f"{look}, modified", model, states, MODIFIED, least)]
        found += [(f"{look}, track", model, states, "track", least)]
    return found


CASES = cases()


@pytest.fixture(scope="module")
def native(tmp_path_factory) -> dict[str, np.ndarray]:
    return draw_natively(
        tmp_path_factory.mktemp("native"),
        [(model, states, view, SIZE) for _, model, states, view, _ in CASES],
    )


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(CASES)), ids=[case[0] for case in CASES])
def test_the_same_picture_as_mujocos(native, index):
    _, model, states, view, least = CASES[index]
    camera = model_cameras(model)[view] if isinstance(view, str) else free_camera(*view)
    assets, data = make_ray_assets(model), mujoco.MjData(model)
    draw = jax.jit(render_ray, static_argnums=3)
    segment = jax.jit(lambda *a: render_buffers(*a, SIZE)[2])
    scores = []
    for qpos, rgb, geom in zip(states, native[f"rgb_{index}"], native[f"geom_{index}"], strict=True):
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        scene = scene_from_data(data)
        ours = np.asarray(to_uint8(draw(scene, assets, camera, SIZE)), float)
        ids = np.asarray(segment(scene, assets, camera))
        body, native_body = ids > 0, geom > 0
        scores.append(
            (
                (body & native_body).sum() / (body | native_body).sum(),
                (ids == geom).mean(),
                10.0 * np.log10(255.0**2 / np.mean((ours - rgb) ** 2)),
            )
        )
    overlap, agreement, psnr = np.mean(scores, axis=0)
    assert overlap >= 0.99
    assert agreement >= 0.999 - 0.0005 * (index == 0)  # MuJoCo's spheres have 28 slices, larger here
    assert psnr >= least
