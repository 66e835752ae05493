"""Which geom a ray meets and where, against MuJoCo's own ray queries; cameras against MuJoCo's own."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from render.ray_models import PRIMITIVES, load, shuffled, stacked

from jaxvlm.render import (
    draw_batch,
    free_camera,
    make_ray_assets,
    model_cameras,
    render_buffers,
    render_ray,
    scene_from_data,
    to_uint8,
)

SIZE = 24


def cast(model, data, position, directions):
    """Distance to the nearest geom along each ray and its id, by `mj_multiRay`."""
    count = len(directions)
    geoms, distances = np.zeros(count, np.int32), np.zeros(count)
    for i, direction in enumerate(directions):
        geom = np.zeros(1, np.int32)
        distances[i] = mujoco.mj_ray(model, data, position, direction, None, 1, -1, geom)
        geoms[i] = geom[0]
    return distances, geoms


def pixel_directions(forward, up, fovy, size):
    """Unit rays through the middles of the pixels, row by row from the top, in float64."""
    right = np.cross(forward, up)
    half = np.tan(np.deg2rad(fovy) / 2)
    steps = ((np.arange(size) + 0.5) * 2 / size - 1) * half
    rays = forward + steps[None, :, None] * right - steps[:, None, None] * up
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return rays.reshape(-1, 3), np.einsum("hwc,c->hw", rays, forward)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_primitive_lies_where_mujoco_finds_it(seed):
    model, data = load(PRIMITIVES)
    scene = shuffled(model, data, seed)
    view = (0.0, 0.0, 0.5), 3.2, 100.0 + 60.0 * seed, -25.0
    draw = jax.jit(render_buffers, static_argnums=3)
    _, depth, geom = map(np.asarray, draw(scene, make_ray_assets(model), free_camera(*view), SIZE))
    position, forward, up = native_free_camera(model, data, *view)
    rays, slope = pixel_directions(forward, up, 45.0, SIZE)
    distance, expected = cast(model, data, position, rays)
    expected = expected.reshape(SIZE, SIZE)
    assert set(np.unique(expected)) >= {-1, 0, 1, 2, 3, 4}
    np.testing.assert_array_equal(geom, expected)
    seen = expected >= 0
    np.testing.assert_allclose(depth[seen], (distance.reshape(SIZE, SIZE) * slope)[seen], rtol=2e-5)
    assert np.isinf(depth[~seen]).all()


def native_free_camera(model, data, lookat, distance, azimuth, elevation):
    """Position, axis and up vector of MuJoCo's free camera."""
    camera = mujoco.MjvCamera()
    camera.lookat[:], camera.distance = lookat, distance
    camera.azimuth, camera.elevation = azimuth, elevation
    scene = mujoco.MjvScene(model, 100)
    option, perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
    mujoco.mjv_updateScene(model, data, option, perturb, camera, mujoco.mjtCatBit.mjCAT_ALL, scene)
    eye = scene.camera[0]
    both = np.array([scene.camera[0].pos, scene.camera[1].pos], np.float64)
    return both.mean(axis=0), np.array(eye.forward, np.float64), np.array(eye.up, np.float64)


@pytest.mark.parametrize(("azimuth", "elevation"), [(180.0, -10.0), (37.0, -60.0), (-90.0, 20.0)])
def test_free_camera_is_mujocos(azimuth, elevation):
    model, data = load(PRIMITIVES)
    camera = free_camera((0.1, -0.2, 1.0), 3.5, azimuth, elevation)
    position, forward, up = native_free_camera(model, data, (0.1, -0.2, 1.0), 3.5, azimuth, elevation)
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(camera.quat, np.float64))
    matrix = matrix.reshape(3, 3)
    np.testing.assert_allclose(camera.pos, position, atol=1e-6)
    np.testing.assert_allclose(-matrix[:, 2], forward, atol=1e-6)
    np.testing.assert_allclose(matrix[:, 1], up, atol=1e-6)


def test_own_cameras_follow_the_scene():
    model, data = load(PRIMITIVES)
    cameras = model_cameras(model)
    assert set(cameras) == {"follow", "fixed"}
    assert float(cameras["fixed"].fovy) == 60.0
    draw = jax.jit(render_buffers, static_argnums=3)
    assets = make_ray_assets(model)
    for step in (0.0, 0.7):
        data.qpos[-7:-5] += step
        mujoco.mj_forward(model, data)
        scene = scene_from_data(data)
        for name, camera in cameras.items():
            own = data.camera(name)
            matrix = own.xmat.reshape(3, 3)
            rays, _ = pixel_directions(-matrix[:, 2], matrix[:, 1], float(camera.fovy), SIZE)
            _, expected = cast(model, data, own.xpos.copy(), rays)
            np.testing.assert_array_equal(draw(scene, assets, camera, SIZE)[2], expected.reshape(SIZE, SIZE))


@pytest.mark.parametrize("kind", ["capsule", "cylinder"])
def test_a_ray_along_an_axis_sees_the_geom_in_its_way_and_none_to_its_side(kind):
    geom = f"<geom type='{kind}' size='.05 .3' pos='-.4 .3 .5'/>"
    model, data = load(f"<mujoco><worldbody><geom type='plane' size='9 9 .1'/>{geom}</worldbody></mujoco>")
    scene, assets = scene_from_data(data), make_ray_assets(model)
    draw, middle = jax.jit(render_buffers, static_argnums=3), (SIZE // 2, SIZE // 2)
    _, depth, geoms = draw(scene, assets, free_camera((0, 0, 0.5), 3.0, 0.0, -90.0), SIZE + 1)
    assert int(geoms[middle]) == 0
    assert float(depth[middle]) == pytest.approx(3.5, abs=1e-4)
    assert 1 in np.asarray(geoms)
    _, depth, geoms = draw(scene, assets, free_camera((-0.4, 0.3, 0.5), 3.0, 0.0, -90.0), SIZE + 1)
    assert int(geoms[middle]) == 1
    assert float(depth[middle]) == pytest.approx(3.0 - 0.3 - 0.05 * (kind == "capsule"), abs=1e-4)


@pytest.mark.slow
def test_one_program_serves_jit_vmap_and_scan():
    """Up to rounding: a distance gives 5 of its bits to the geom's number, and programs sum in different orders.

    A fortieth of one of 256 levels of colour is allowed; 1.2e-5 was seen.
    """
    rounding = 1e-4
    model, data = load(PRIMITIVES)
    assets = make_ray_assets(model)
    scenes = [shuffled(model, data, seed) for seed in range(3)]
    views = [free_camera((0.0, 0.0, 0.5), 4.0, 120.0, -25.0), model_cameras(model)["follow"]]
    draw = jax.jit(render_ray, static_argnums=3)
    alone = np.array([[draw(scene, assets, view, 16) for view in views] for scene in scenes])
    assert alone.min() >= 0.0
    assert alone.max() <= 1.0
    batch, cameras = stacked(scenes), stacked(views)
    both = jax.vmap(jax.vmap(render_ray, (None, None, 0, None)), (0, None, None, None))
    np.testing.assert_allclose(
        jax.jit(both, static_argnums=3)(batch, assets, cameras, 16), alone, atol=rounding
    )
    _, scanned = jax.jit(lambda s: jax.lax.scan(lambda c, x: (c, render_ray(x, assets, views[0], 16)), 0, s))(
        batch
    )
    np.testing.assert_allclose(scanned, alone[:, 0], atol=rounding)
    frames = jax.jit(lambda *a: draw_batch(render_ray, *a, 16))(batch, assets, cameras)
    difference = np.abs(np.asarray(frames, int) - np.asarray(to_uint8(jnp.asarray(alone)), int))
    assert frames.shape == (3, 2, 16, 16, 3)
    assert difference.max() <= 1


@pytest.mark.slow
def test_supersampling_is_the_mean_of_a_finer_picture():
    model, data = load(
        "<mujoco><worldbody><geom type='sphere' size='.5'/><light pos='0 0 3'/></worldbody></mujoco>"
    )
    scene, assets = scene_from_data(data), make_ray_assets(model)
    camera = free_camera((0, 0, 0), 2.0, 0.0, -20.0)
    draw = jax.jit(render_ray, static_argnums=3, static_argnames="supersample")
    fine = np.asarray(draw(scene, assets, camera, 32)).reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(draw(scene, assets, camera, 16, supersample=2), fine, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("count", [31, 40, 130])
def test_many_geoms_keep_their_numbers(count):
    spheres = "".join(f"<geom size='.04' pos='0 {0.1 * (i % 12)} {0.1 * (i // 12)}'/>" for i in range(count))
    model, data = load(f"<mujoco><worldbody>{spheres}</worldbody></mujoco>")
    camera = free_camera((0, 0.6, 0.5), 2.0, 180.0, 0.0, fovy=40.0)
    _, _, geom = jax.jit(render_buffers, static_argnums=3)(
        scene_from_data(data), make_ray_assets(model), camera, 64
    )
    assert set(np.unique(geom)) == set(range(-1, count))
