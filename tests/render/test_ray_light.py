"""Light, shadow and texture against values worked out by hand."""

from types import SimpleNamespace

import jax
import mujoco
import numpy as np
import pytest
from render.ray_models import load

from jaxvlm.render import free_camera, make_ray_assets, render_ray, scene_from_data
from jaxvlm.render.ray.textures import fetch, mip_level, pack, unpack

DOWN = free_camera((0, 0, 0), 4.0, 90.0, -90.0)  # looks down, +x to the right
NO_HEADLIGHT = "<visual><headlight active='0'/></visual>"


def draw(xml, camera=DOWN, size=9, **options):
    model, data = load(f"<mujoco>{xml}</mujoco>")
    assets = make_ray_assets(model, **options)
    return np.asarray(jax.jit(render_ray, static_argnums=3)(scene_from_data(data), assets, camera, size))


def floor(light, more="", material="rgba='.5 .4 .3 1'"):
    return f"{NO_HEADLIGHT}<worldbody><geom type='plane' size='3 3 1' {material}/>{light}{more}</worldbody>"


def test_a_directional_light_shines_by_the_cosine():
    colours = "ambient='.1 .1 .1' diffuse='.5 1 .5' specular='0 0 0'"
    light = f"<light type='directional' pos='0 0 5' dir='.6 0 -.8' {colours}/>"
    frame = draw(floor(light))
    expected = np.array([0.5, 0.4, 0.3]) * (0.1 + 0.8 * np.array([0.5, 1.0, 0.5]))
    np.testing.assert_allclose(frame, np.broadcast_to(expected, frame.shape), atol=1e-5)


def test_colours_have_derivatives():
    """Of a picture by its paint, in reverse mode, past what the renderer stores for the compiler."""
    light = "<light type='directional' pos='0 0 5' dir='.6 0 -.8' ambient='.1 .1 .1' diffuse='.5 1 .5'/>"
    model, data = load(f"<mujoco>{floor(light)}</mujoco>")
    scene, assets = scene_from_data(data), make_ray_assets(model)

    def brightness(rgb):
        return render_ray(scene, assets.replace(rgb=rgb), DOWN, 9).mean()

    by_hand = (0.1 + 0.8 * np.array([0.5, 1.0, 0.5])) / 3.0
    found = np.asarray(jax.jit(jax.grad(brightness))(assets.rgb))
    np.testing.assert_allclose(found.sum(axis=0), by_hand, atol=1e-5)


def test_without_lights_there_is_a_little_ambient_light():
    np.testing.assert_allclose(draw(floor(""))[4, 4], 0.3 * np.array([0.5, 0.4, 0.3]), atol=1e-6)


def test_the_headlight_shines_along_the_view():
    frame = draw("<worldbody><geom type='plane' size='3 3 1' rgba='.5 .5 .5 1'/></worldbody>")
    # Seen from straight above: ambient .1, diffuse .4, specular .5 of .5 in the middle.
    np.testing.assert_allclose(frame[4, 4], 0.5 * 0.5 + 0.25, atol=1e-3)
    blue = draw(
        "<worldbody><geom type='plane' size='3 3 1' rgba='.5 .5 .5 1'/></worldbody>",
        headlight=[[0, 0, 0], [0, 0, 1], [0, 0, 0]],
    )
    np.testing.assert_allclose(blue[4, 4], [0, 0, 0.5], atol=1e-6)


SHADE = {
    "sphere": "type='sphere' size='.3'",
    "capsule": "type='capsule' size='.2 .2' euler='90 0 0'",
    "box": "type='box' size='.3 .3 .1'",
    "ellipsoid": "type='ellipsoid' size='.4 .3 .2'",
    "cylinder": "type='cylinder' size='.3 .1'",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHADE)
@pytest.mark.parametrize("lamp", ["directional", "spot"])
def test_geoms_cast_hard_shadows(kind, lamp):
    # The light comes in at 45 degrees from -x, so that the shadow of a geom 1 m up lies at x = 1.
    colours = "diffuse='1 1 1' specular='0 0 0'"
    light = f"<light type='{lamp}' pos='-1 0 2' dir='1 0 -1' {colours} cutoff='80' exponent='0'/>"
    geom = f"<geom {SHADE[kind]} pos='0 0 1' rgba='1 1 1 1'/>"
    frame = draw(floor(light, geom), size=33)
    open_floor = draw(floor(light), size=33)
    at = round(16 + 33 / 2 / (4 * np.tan(np.deg2rad(22.5))))
    assert open_floor[16, at].min() > 0.1
    np.testing.assert_allclose(frame[16, at], 0.0, atol=1e-6)
    np.testing.assert_allclose(frame[2, at], open_floor[2, at], atol=1e-6)
    np.testing.assert_allclose(draw(floor(light, geom), size=33, shadows=False)[16, at], open_floor[16, at])


@pytest.mark.parametrize("kind", SHADE)
def test_under_a_light_overhead_a_geom_shades_what_is_below_it_alone(kind):
    light = "<light type='directional' pos='0 0 2' dir='0 0 -1' diffuse='1 1 1' specular='0 0 0'/>"
    size = SHADE[kind].replace("euler='90 0 0'", "")  # upright
    geom = f"<geom {size} pos='1 0 1' rgba='1 1 1 1'/>"
    frame, open_floor = draw(floor(light, geom), size=33), draw(floor(light), size=33)
    np.testing.assert_array_equal(frame[:, :16], open_floor[:, :16])


def test_a_directional_light_knows_nothing_above_its_place():
    light = "<light type='directional' pos='0 0 {}' dir='0 0 -1' diffuse='1 1 1' specular='0 0 0'/>"
    geom = "<geom type='box' size='.2 .2 .1' pos='.8 0 1'/>"
    camera = free_camera((0, 0, 0), 4.0, 0.0, -40.0)
    lost = []
    for height in (2.0, 0.5):
        xml = floor(light.format(height), geom)
        lost.append((draw(xml, camera, 32, shadows=False) - draw(xml, camera, 32)).max())
    assert lost[1] < 1e-6 < 0.2 < lost[0]


def test_a_spot_fades_with_distance_and_angle():
    light = (
        "<light type='spot' pos='0 0 2' dir='0 0 -1' diffuse='1 1 1' specular='0 0 0' cutoff='30' exponent='2' "
        "attenuation='1 .5 .25' castshadow='false'/>"
    )
    frame = draw(floor(light, material="rgba='1 1 1 1'"), size=33)
    middle = frame[16, 16, 0]
    np.testing.assert_allclose(middle, 1 / (1 + 0.5 * 2 + 0.25 * 4), atol=1e-5)
    x = 4 * np.tan(np.deg2rad(22.5)) * 2 / 33 * 5
    reach = np.hypot(x, 2.0)
    expected = (2 / reach) ** 3 / (
        1 + 0.5 * reach + 0.25 * reach**2
    )  # cosine squared of the spot, cosine of the floor
    np.testing.assert_allclose(frame[16, 21, 0], expected, rtol=1e-4)
    assert frame[16, 31, 0] == 0.0  # outside the cone


MOVING = """
<mujoco>
  <worldbody>
    <light name="still" pos="0 0 4" dir="0 .3 -1"/>
    <light name="towards" mode="targetbody" target="arm" pos="2 0 3"/>
    <light name="after" mode="trackcom" pos="0 1 3"/>
    <geom name="floor" type="plane" size="3 3 1"/>
    <body name="trunk" pos="0 0 1">
      <freejoint/>
      <geom size=".2"/>
      <light name="fixed" pos=".1 0 .3" dir="1 .2 0"/>
      <light name="track" mode="track" pos="0 .5 1" dir=".2 0 -1"/>
      <light name="trackcom" mode="trackcom" pos="0 .5 1" dir="0 -.4 -1"/>
      <body name="arm" pos=".3 0 0">
        <joint axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 .6 0 0" size=".05"/>
        <light name="targetbody" mode="targetbody" target="trunk" pos=".4 0 .2"/>
        <light name="targetbodycom" mode="targetbodycom" target="trunk" pos=".4 .1 .2"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.mark.slow
def test_lights_move_as_mujoco_moves_them_where_the_data_does_not_know():
    model, data = load(MOVING)
    data.qpos[:] = [
        0.4,
        -0.3,
        1.2,
        0.8,
        0.2,
        -0.5,
        0.1,
        0.9,
    ]  # the quaternion is not of length one; MuJoCo makes it so
    mujoco.mj_forward(model, data)
    fields = ("xpos", "xmat", "subtree_com", "cam_xpos", "cam_xmat", "geom_xpos", "geom_xmat")
    bare = SimpleNamespace(**{name: getattr(data, name) for name in fields})  # as mjx.Data, without lights
    scene = scene_from_data(bare, model)
    np.testing.assert_allclose(scene.light_pos, data.light_xpos, atol=1e-6)
    np.testing.assert_allclose(scene.light_dir, data.light_xdir, atol=1e-6)
    # Without poses only the one that stands still can be drawn, and needs none.
    assert scene_from_data(bare).light_pos.shape == (0, 3)
    moves = {light.index for light in make_ray_assets(model).spec.lights if light.moves}
    assert moves == set(range(1, 8))
    model.light_bodyid[:], model.light_mode[:] = 0, 0
    assert scene_from_data(bare, model).light_pos.shape == (0, 3)


def test_a_mirror_adds_what_it_sees():
    ball = "<geom type='sphere' size='.3' pos='0 0 .6' rgba='1 0 0 1'/>"
    asset = "<asset><material name='m' rgba='.2 .2 .2 1' reflectance='.5' specular='0'/></asset>"
    colours = "diffuse='.5 .5 .5' specular='0 0 0'"
    light = f"<light type='directional' pos='0 0 5' dir='0 0 -1' {colours} castshadow='false'/>"
    camera = free_camera((0, 0, 0), 3.0, 0.0, -20.0)
    xml = asset + floor(light, ball, "material='m'")
    frame, plain = draw(xml, camera, 32), draw(xml, camera, 32, reflections=False)
    gain = frame - plain
    assert gain.min() >= -1e-6
    assert gain[..., 0].max() > 0.05
    np.testing.assert_allclose(gain[..., 1:], 0.0, atol=1e-6)  # a red ball, seen in a grey mirror
    assert np.argwhere(gain[..., 0] > 0.01)[:, 0].min() > 10  # below the ball


def test_the_sky_turns_with_the_view():
    sky = "<asset><texture type='skybox' builtin='gradient' rgb1='0 0 1' rgb2='1 0 0' width='32' height='192'/></asset>"
    ball = "<worldbody><geom size='.01'/></worldbody>"
    up = draw(sky + ball, free_camera((0, 0, 0), 1.0, 0.0, 89.0), 5)[0, 0]
    down = draw(sky + ball, free_camera((0, 0, 0), 1.0, 0.0, -89.0), 5)[0, 0]
    assert up[2] > 0.8 > 0.2 > up[0]
    assert down[0] > 0.8 > 0.2 > down[2]


def test_an_endless_plane_ends_in_haze():
    sky = "<asset><texture type='skybox' builtin='flat' rgb1='0 0 1' width='8' height='48'/></asset>"
    world = "<statistic extent='1'/><worldbody><geom type='plane' size='0 0 1' rgba='0 0 0 1'/></worldbody>"
    camera = free_camera((0, 0, 1), 1.0, 0.0, 0.0, fovy=20.0)
    frame = draw(sky + world, camera, 201)[:, 100]
    np.testing.assert_allclose(frame[:99], np.broadcast_to([0, 0, 1], (99, 3)), atol=0.01)
    # The haze is clear again at the plane, (1 - .3) x .7 x 50 m away and one metre below, and white between.
    edge = 100 + 100.5 * np.tan(np.arctan(1 / (0.7 * 35))) / np.tan(np.deg2rad(10))
    assert frame[100 : int(edge) + 2].min(axis=1).max() > 0.9
    np.testing.assert_allclose(frame[int(edge) + 2 :, 0], 0.0, atol=0.01)


def test_packed_textures_read_back():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (1, 6, 10, 3), np.uint8), rng.integers(0, 256, (6, 8, 8, 3), np.uint8)]
    specs, texels = pack(images)
    assert specs[1].base == 6 * 15
    texels = jax.numpy.asarray(texels)

    def look_up(spec, face, u, v, level, repeat):
        base = spec.base + face * spec.height * spec.stride
        size = jax.numpy.int32(spec.width), jax.numpy.int32(spec.height)
        u, v, level = jax.numpy.float32(u), jax.numpy.float32(v), jax.numpy.int32(level)
        packed = fetch(texels, jax.numpy.int32(base), size, u, v, level, repeat, jax.numpy.float32(1))
        return 255.0 * np.array(unpack(packed.astype(jax.numpy.int32)))

    for face, row, column in [(0, 0, 0), (3, 5, 2), (5, 7, 7)]:
        got = look_up(specs[1], face, (column + 0.5) / 8, (row + 0.5) / 8, 0, False)
        np.testing.assert_allclose(got, images[1][face, row, column], atol=0.01)
    # Half way over the right edge a repeating picture meets its left column.
    got = look_up(specs[0], 0, 1.0, 0.5 / 6, 0, True)
    np.testing.assert_allclose(got, images[0][0, 0, [9, 0]].mean(axis=0), atol=1.01)
    # The next level holds the means of 2 x 2 texels.
    got = look_up(specs[1], 2, 1.5 / 4, 2.5 / 4, 1, False)
    np.testing.assert_allclose(got, images[1][2, 4:6, 2:4].mean(axis=(0, 1)), atol=1.01)


def test_mip_levels_are_nearest():
    widths = np.array([0.1, 1.0, 1.4, 1.5, 2.8, 2.9, 1000.0], np.float32)
    np.testing.assert_array_equal(mip_level(jax.numpy.asarray(widths**2), 8), [0, 0, 0, 1, 1, 2, 7])


@pytest.mark.slow
def test_other_backends_draw_what_a_cpu_draws(monkeypatch):
    geoms = "".join(f"<geom {kind} pos='{i - 2} 0 .5'/>" for i, kind in enumerate(SHADE.values()))
    lamps = """<light type='directional' pos='0 0 5' dir='.6 .2 -.8'/>
               <light type='spot' pos='-1 -2 4' dir='.2 .4 -1' cutoff='60' exponent='1'/>"""
    mirror = "<asset><material name='mirror' rgba='.5 .4 .3 1' reflectance='.4'/></asset>"
    room = floor(lamps, geoms, material="material='mirror'")
    model, data = load(f"<mujoco>{mirror}{room}</mujoco>")
    assets, camera = make_ray_assets(model), free_camera((0, 0, 0), 4.0, 60.0, -40.0)

    def picture():
        return np.asarray(jax.jit(lambda scene: render_ray(scene, assets, camera, 24))(scene_from_data(data)))

    here = picture()
    assert np.unique(here.round(2)).size > 30
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, default, **_: default(*args))
    there = picture()
    assert np.mean(np.abs(there - here).max(axis=-1) > 1e-3) < 0.01
