"""Light as OpenGL's fixed pipeline computes it, pass by pass, and hard shadows."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvlm.render.ray.assets import LightSpec, RayAssets
from jaxvlm.render.ray.primitives import MISS, Shapes, blocked, enter, over_geoms
from jaxvlm.render.ray.scene import RayScene
from jaxvlm.render.ray.surface import Surface
from jaxvlm.render.ray.vectors import Vec, dot, keep, normalized, scale, split, sub

Groups = list[tuple[str, int, Shapes]]
AMBIENT_WITHOUT_LIGHTS = 0.3


class Light(NamedTuple):
    """A light in the world."""

    spec: LightSpec
    colour: jax.Array  # f32[3, 3]: ambient, diffuse, specular
    pos: Vec
    dir: Vec
    fade: jax.Array  # f32[5]
    cone: jax.Array  # f32[]


def model_lights(scene: RayScene, assets: RayAssets, forward: Vec) -> list[Light]:
    """The headlight, which shines along the camera's axis, and the model's lights."""
    lights = []
    if assets.spec.headlight:
        spec = LightSpec(index=-1, directional=True, shadow=False, attenuated=False, moves=True)
        nothing = jnp.zeros(())
        lights.append(
            Light(spec, assets.headlight, (nothing, nothing, nothing), forward, jnp.zeros(5), nothing)
        )
    for i, spec in enumerate(assets.spec.lights):
        if scene.light_pos.shape[0]:
            pos, direction = scene.light_pos[spec.index], scene.light_dir[spec.index]
        else:
            pos, direction = assets.light_pos[i], assets.light_dir[i]
        lights.append(
            Light(
                spec,
                assets.light_colour[i],
                split(pos),
                split(direction),
                assets.light_fade[i],
                assets.light_cone[i],
            )
        )
    return lights


def lit(
    assets: RayAssets,
    groups: Groups,
    surface: Surface,
    direction: Vec,
    lights: list[Light],
    one_pass: bool = False,
) -> tuple[Vec, Vec]:
    """Colours of the first pass, with all lights that cast no shadow, and of the passes of those that do.

    Each pass is clamped, multiplied by the texture and added. `one_pass` puts all lights into the first.
    """
    base = AMBIENT_WITHOUT_LIGHTS if not lights else 0.0
    hit = surface.slot < len(assets.spec.geoms)
    first = [(base + surface.emission) * c for c in surface.rgb]
    later = [jnp.zeros_like(c) for c in surface.rgb]
    for light in lights:
        shine = _shine(light, surface, direction, assets.one)
        if one_pass or not light.spec.shadow:
            first = [a + b for a, b in zip(first, shine, strict=True)]
            continue
        open_sky = hit & ~_in_shadow(assets, groups, surface, light)
        open_sky = keep(open_sky.astype(jnp.float32), assets.one) > 0.0
        later = [
            a + jnp.where(open_sky, jnp.minimum(b, 1.0) * t, 0.0)
            for a, b, t in zip(later, shine, surface.texture, strict=True)
        ]
    first = [
        jnp.where(hit, jnp.minimum(a, 1.0), 1.0) * t for a, t in zip(first, surface.texture, strict=True)
    ]
    return (first[0], first[1], first[2]), (later[0], later[1], later[2])


def _shine(light: Light, surface: Surface, direction: Vec, one: jax.Array) -> list[jax.Array]:
    """Ambient, diffuse and specular light of one source: Blinn-Phong with a local viewer."""
    if light.spec.directional:
        towards, fade = scale(light.dir, -1.0), None
    else:
        gap = sub(light.pos, surface.point)
        reach = jnp.sqrt(jnp.maximum(dot(gap, gap), 1e-12))
        towards = scale(gap, 1.0 / reach)
        fade = _fade(light, towards, reach)
    facing = keep(dot(surface.normal, towards), one)
    half = normalized(sub(towards, direction))
    gloss = jnp.maximum(dot(surface.normal, half), 0.0)
    # x^n as exp(n log x): OpenGL has 0^0 = 1.
    highlight = jnp.exp(surface.shininess * jnp.log(jnp.maximum(gloss, 1e-20)))
    highlight = jnp.where(facing > 0.0, highlight * surface.specular, 0.0)
    diffuse = jnp.maximum(facing, 0.0)
    shine = []
    for i, colour in enumerate(surface.rgb):
        part = (light.colour[0, i] + light.colour[1, i] * diffuse) * colour + light.colour[2, i] * highlight
        shine.append(part if fade is None else part * fade)
    return shine


def _fade(light: Light, towards: Vec, reach: jax.Array) -> jax.Array:
    """How a spot weakens with distance and away from its axis."""
    along_axis = -dot(towards, light.dir)
    spot = jnp.exp(light.fade[4] * jnp.log(jnp.maximum(along_axis, 1e-20)))
    everywhere = light.fade[3] < -1.0  # a cutoff that OpenGL does not know leaves the light without a cone
    spot = jnp.where(everywhere, 1.0, jnp.where(along_axis >= light.fade[3], spot, 0.0))
    if not light.spec.attenuated:
        return spot
    return spot / (light.fade[0] + light.fade[1] * reach + light.fade[2] * reach * reach)


def _in_shadow(assets: RayAssets, groups: Groups, surface: Surface, light: Light) -> jax.Array:
    """Whether another geom stands between the light and each pixel's point; geoms are convex, so never their own.

    MuJoCo's shadow maps reach from the light's position on: a directional light knows nothing of what is behind
    its position, or farther than the shadow clip to its side, and a spot nothing outside its shadow's cone.
    """
    alone = sum(kind == "plane" for kind, *_ in groups) and all(
        shapes.size[0].shape[0] == 1 for kind, _, shapes in groups if kind == "plane"
    )
    # A single plane is the floor: nothing drawn lies below it.
    others = [group for group in groups if not (alone and group[0] == "plane")]
    gap = sub(surface.point, light.pos)
    below = keep(dot(gap, light.dir) - assets.reach[0], assets.one)
    if light.spec.directional:
        towards = scale(light.dir, -1.0)

        def between(
            kind: str, pixels: tuple[Vec, jax.Array, jax.Array], shapes: Shapes, slots: jax.Array
        ) -> jax.Array:
            point, own, below = pixels
            return jnp.where(slots == own, -1.0, blocked(kind, point, towards, shapes, below))

        most = jnp.full(below.shape, -1.0)
        for kind, start, shapes in others:
            pixels = (surface.point, surface.slot, below)
            most = over_geoms(jnp.maximum, most, partial(between, kind), pixels, shapes, start)
        side = sub(gap, scale(light.dir, dot(gap, light.dir)))
        return (most > 0.0) & (below > 0.0) & (dot(side, side) < 2.0 * assets.reach[2] ** 2)
    reach = jnp.sqrt(jnp.maximum(dot(gap, gap), 1e-12))
    ray = scale(gap, 1.0 / reach)

    def ahead(kind: str, pixels: tuple[Vec, jax.Array], shapes: Shapes, slots: jax.Array) -> jax.Array:
        ray, own = pixels
        return jnp.where(slots == own, MISS, enter(kind, light.pos, ray, shapes))

    nearest = jnp.full(reach.shape, MISS)
    for kind, start, shapes in others:
        pixels = (ray, surface.slot)
        nearest = over_geoms(jnp.minimum, nearest, partial(ahead, kind), pixels, shapes, start)
    deep = dot(gap, light.dir)
    inside = jnp.sqrt(jnp.maximum(reach * reach - deep * deep, 0.0)) < light.cone * deep
    return (nearest < reach) & inside & (deep > assets.reach[0])
