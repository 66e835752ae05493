"""What scenes of a model share: shapes, paints, textures and lights, read from the model once on the host."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxvlm.errors import ConfigError
from jaxvlm.render.ray.model import DRAWN_GROUPS, OPAQUE, ModelReader
from jaxvlm.render.ray.textures import TextureSpec, pack

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis

# The order in which kinds are drawn; MuJoCo's types 0, 2, 3, 4, 5, 6. Spheres are capsules of length zero.
KINDS = ("plane", "round", "ellipsoid", "cylinder", "box")
KIND_OF_TYPE = {0: "plane", 2: "round", 3: "round", 4: "ellipsoid", 5: "cylinder", 6: "box"}
REFUSED = {1: "a height field", 7: "a mesh", 8: "a signed distance field"}
MAX_GEOMS = 1023  # their numbers share the 32 bits of a distance


@dataclass(frozen=True)
class Paint:
    """What of a material decides the program."""

    texture: int | None  # index of its texture
    uniform: bool  # texture in metres rather than in sizes of the geom
    reflective: bool


@dataclass(frozen=True)
class LightSpec:
    """What of a light decides the program."""

    index: int  # among the model's lights
    directional: bool  # else it shines from a point, in a cone
    shadow: bool
    attenuated: bool
    moves: bool  # with a body, or turns towards one


@dataclass(frozen=True)
class RaySpec:
    """What of a model decides the program; hashable. Geoms are drawn in slots: by kind, then by paint."""

    geoms: tuple[int, ...]  # the model's geom in a slot
    names: tuple[str, ...]  # of it, as an error says it
    kinds: tuple[str, ...]  # of a slot
    spheres: tuple[bool, ...]  # of a slot
    paints: tuple[int, ...]  # of a slot
    paint: tuple[Paint, ...]
    textures: tuple[TextureSpec, ...]
    sky: int | None  # index of the sky's texture
    lights: tuple[LightSpec, ...]
    headlight: bool
    reflector: int | None  # slot of the one geom that reflects
    haze: int | None  # slot of the endless plane whose horizon is hazy
    num_geoms: int  # of the model
    left_out: tuple[str, ...]  # sites, tendons and skins that MuJoCo shows too; for notes

    def groups(self) -> list[tuple[str, int, int]]:
        """Kind, first slot and end of the runs of one kind."""
        runs = []
        for kind in KINDS:
            slots = [slot for slot, k in enumerate(self.kinds) if k == kind]
            if slots:
                runs.append((kind, slots[0], slots[-1] + 1))
        return runs


@struct.dataclass
class RayAssets:
    """A model's look as arrays, with what decides the program as static metadata."""

    size: Leaf  # f32[slots, 3], m
    rgb: Leaf  # f32[paints, 3]
    finish: Leaf  # f32[paints, 4]: emission, specular, shininess (exponent), reflectance
    repeat: Leaf  # f32[paints, 2], how often a 2-D texture repeats
    texels: Leaf  # i32[texels]
    light_colour: Leaf  # f32[lights, 3, 3]: ambient, diffuse, specular
    light_fade: Leaf  # f32[lights, 5]: attenuation (constant, linear, square), cosine of the cutoff, exponent
    light_cone: Leaf  # f32[lights], tangent of half the angle in which a spot casts shadows
    light_pos: Leaf  # f32[lights, 3], at rest
    light_dir: Leaf  # f32[lights, 3], at rest
    headlight: Leaf  # f32[3, 3]: ambient, diffuse, specular
    reach: Leaf  # f32[3], m: nearest and farthest depth drawn, half side of a directional light's shadow
    haze: Leaf  # f32[4]: colour, and the share of the sky's distance that the haze is deep
    one: Leaf  # f32[], 1; see `keep`
    spec: RaySpec = struct.field(pytree_node=False)


def make_ray_assets(
    model: Any,
    *,
    headlight: Sequence[Sequence[float]] | None = None,
    shadows: bool = True,
    reflections: bool = True,
) -> RayAssets:
    """Reads what is needed to draw a model of primitive geoms as MuJoCo's own renderer does.

    Geoms of groups 0 to 2 are drawn, invisible ones (alpha 0) are not. Sites, tendons and skins are not;
    `spec.left_out` names those of a `mujoco.MjModel` that MuJoCo draws.

    Args:
      model: `mujoco.MjModel`, or `mjx.Model`. The latter lacks some of what is seen: texrepeat (1, 1), texuniform
        false, no reflectance, MuJoCo's default headlight and visual map, and lights at rest where `light_pos` says.
        A `UserWarning` names the geoms whose textures or reflections may differ for that; pass the MjModel.
      headlight: ambient, diffuse and specular colour, instead of the model's.
      shadows: whether lights that cast shadows do; without, drawing is faster.
      reflections: whether a reflective plane reflects.

    Raises:
      ConfigError: a geom, light, texture or size that cannot be drawn, named.
    """
    read = ModelReader(model)
    slots, kinds = _visible(read)
    materials = sorted({read.paint_key(geom) for geom in slots})
    paint_of = {geom: materials.index(read.paint_key(geom)) for geom in slots}
    slots.sort(key=lambda geom: (KINDS.index(kinds[geom]), not read.is_sphere(geom), paint_of[geom], geom))
    if read.lacks_materials:
        _warn_of_lost_materials(read, slots, kinds)
    used = sorted({t for key in materials if (t := read.texture_of(key)) is not None})
    sky = read.sky_texture()
    if sky is not None:
        used.append(sky)
    specs, texels = pack([read.texture(index) for index in used])
    paints = []
    for key in materials:
        texture = read.texture_of(key)
        paints.append(
            Paint(
                texture=None if texture is None else used.index(texture),
                uniform=read.texture_uniform(key),
                reflective=False,
            )
        )
    looks = [read.look(key) for key in materials]
    reflector = None
    if reflections:
        mirrors = [g for g in sorted(slots) if kinds[g] == "plane" and looks[paint_of[g]].reflectance > 0]
        boxes = [g for g in sorted(slots) if kinds[g] == "box" and looks[paint_of[g]].reflectance > 0]
        if mirrors and (not boxes or mirrors[0] < boxes[0]):  # MuJoCo lets one geom reflect, the first
            reflector = slots.index(mirrors[0])
    endless = [g for g in sorted(slots) if kinds[g] == "plane" and not read.size(g)[:2].any()]
    lights = read.lights()
    spec = RaySpec(
        geoms=tuple(slots),
        names=tuple(read.geom_name(geom) for geom in slots),
        kinds=tuple(kinds[geom] for geom in slots),
        spheres=tuple(read.is_sphere(geom) for geom in slots),
        paints=tuple(paint_of[geom] for geom in slots),
        paint=tuple(paints),
        textures=specs,
        sky=None if sky is None else used.index(sky),
        lights=tuple(
            LightSpec(
                index=light.index,
                directional=light.directional,
                shadow=shadows and light.shadow,
                attenuated=light.fade[:3] != (1.0, 0.0, 0.0),
                moves=light.moves,
            )
            for light in lights
        ),
        headlight=headlight is not None or read.headlight is not None,
        reflector=reflector,
        haze=next((slots.index(g) for g in endless), None) if sky is not None else None,
        num_geoms=read.num_geoms,
        left_out=read.left_out(),
    )
    count = len(lights)
    beam = headlight if headlight is not None else read.headlight
    beam = np.zeros((3, 3)) if beam is None else beam
    return RayAssets(
        size=_floats([read.size(geom) for geom in slots], (len(slots), 3)),
        rgb=_floats([look.rgb for look in looks], (len(looks), 3)),
        finish=_floats(
            [(k.emission, k.specular, 128.0 * k.shininess, k.reflectance) for k in looks], (len(looks), 4)
        ),
        repeat=_floats([read.texture_repeat(key) for key in materials], (len(looks), 2)),
        texels=jnp.asarray(texels),
        light_colour=_floats([light.colour for light in lights], (count, 3, 3)),
        light_fade=_floats([light.fade for light in lights], (count, 5)),
        light_cone=_floats([light.cone for light in lights], (count,)),
        light_pos=_floats([light.pos for light in lights], (count, 3)),
        light_dir=_floats([light.dir for light in lights], (count, 3)),
        headlight=_floats(beam, (3, 3)),
        reach=_floats(read.reach, (3,)),
        haze=_floats(read.haze, (4,)),
        one=jnp.float32(1.0),
        spec=spec,
    )


def _warn_of_lost_materials(read: ModelReader, slots: list[int], kinds: dict[int, str]) -> None:
    """Names the geoms that the MjModel may draw otherwise: textured ones, and those that could reflect."""
    differing = []
    for geom in slots:
        key = read.paint_key(geom)
        if read.texture_of(key) is not None or (key[0] >= 0 and kinds[geom] in ("plane", "box")):
            differing.append(read.geom_name(geom))
    if differing:
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        warnings.warn(
            f"an mjx.Model keeps neither texrepeat and texuniform of materials nor their reflectance, so geoms "
            f"{', '.join(differing[:5])}{more} may look unlike MuJoCo's; give make_ray_assets the MjModel instead",
            stacklevel=3,
        )


def _floats(values: Any, shape: tuple[int, ...]) -> Any:
    return jnp.asarray(np.asarray(values, np.float32).reshape(shape))


def _visible(read: ModelReader) -> tuple[list[int], dict[int, str]]:
    """Geoms to draw and their kinds."""
    if read.num_flexes:
        raise ConfigError("the model has flexible bodies (flex), which cannot be drawn; remove them")
    slots, kinds = [], {}
    for geom in range(read.num_geoms):
        alpha = read.alpha(geom)
        if read.group(geom) not in DRAWN_GROUPS or alpha == 0.0:
            continue
        name, kind = read.geom_name(geom), int(read.geom_type(geom))
        if alpha < OPAQUE:
            raise ConfigError(
                f"geom {name} has alpha {alpha:g}; transparent geoms cannot be drawn, make it opaque (1) or "
                "invisible (0)"
            )
        if kind not in KIND_OF_TYPE:
            raise ConfigError(
                f"geom {name} is {REFUSED.get(kind, f'of type {kind}')}, which cannot be drawn; use planes, spheres, "
                "capsules, ellipsoids, cylinders and boxes, or move it to a group above 2"
            )
        size = read.size(geom)
        if not np.isfinite(size).all() or (kind != 0 and (size[: 2 if kind == 2 else 3] <= 0).any()):
            raise ConfigError(f"geom {name} has size {np.asarray(size).tolist()}; sizes have to be above 0")
        slots.append(geom)
        kinds[geom] = KIND_OF_TYPE[kind]
    if len(slots) > MAX_GEOMS:
        raise ConfigError(f"the model has {len(slots)} visible geoms; at most {MAX_GEOMS} can be drawn")
    if not slots:
        raise ConfigError("the model has no visible geoms (groups 0 to 2, alpha above 0) to draw")
    return slots, kinds
