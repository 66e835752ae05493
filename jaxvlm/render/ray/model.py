"""What is seen of a MuJoCo model, whether `mujoco.MjModel` or `mjx.Model`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxvlm.errors import ConfigError

# MuJoCo's defaults, for what mjx.Model does not keep.
HEADLIGHT = ((0.1, 0.1, 0.1), (0.4, 0.4, 0.4), (0.5, 0.5, 0.5))
HAZE = (1.0, 1.0, 1.0, 0.3)  # colour and depth
ZNEAR, ZFAR, SHADOW_CLIP, SHADOW_SCALE = 0.01, 50.0, 1.0, 0.6
DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)  # of a geom that leaves its colour to the material
RGB_ROLE = 1  # of a material's textures
DRAWN_GROUPS = (0, 1, 2)  # what MuJoCo's viewer shows unless told otherwise
OPAQUE = 0.995  # alpha below which MuJoCo blends a geom
WRAP_JOINT = 1  # mjtWrap, of tendons that are sums of joints and have no path
SPOT, DIRECTIONAL = 0, 1  # mjtLightType
TRACK, TRACKCOM, TARGETBODY, TARGETBODYCOM = 1, 2, 3, 4  # mjtCamLight; 0 is fixed to its body
TEXTURE_2D, TEXTURE_CUBE, TEXTURE_SKYBOX = 0, 1, 2

PaintKey = tuple[int, tuple[float, ...]]  # material, or -1, and rgba


@dataclass(frozen=True)
class Look:
    """How a paint answers light."""

    rgb: tuple[float, ...]
    emission: float = 0.0
    specular: float = 0.5
    shininess: float = 0.5
    reflectance: float = 0.0


@dataclass(frozen=True)
class Light:
    """A light of the model at rest."""

    index: int
    directional: bool
    shadow: bool
    moves: bool  # with a body, or turns towards one
    colour: np.ndarray  # [3, 3]: ambient, diffuse, specular
    fade: tuple[float, ...]  # attenuation (3), cosine of the cutoff, exponent
    cone: float
    pos: np.ndarray
    dir: np.ndarray


class ModelReader:
    """Reads a model field by field, with MuJoCo's defaults for what it lacks."""

    def __init__(self, model: Any):
        self.model = model
        self.num_geoms = int(model.ngeom)
        self.num_flexes = int(getattr(model, "nflex", 0))
        self._type = np.asarray(model.geom_type)
        self._group = np.asarray(model.geom_group)
        self._size = np.asarray(model.geom_size, np.float64)
        self.lacks_materials = not hasattr(model, "mat_texrepeat")  # as mjx.Model does, all but their colours
        visual = getattr(model, "vis", None)
        self.headlight = np.asarray(HEADLIGHT)
        near, far, clip, self._shadow_scale = ZNEAR, ZFAR, SHADOW_CLIP, SHADOW_SCALE
        self.haze = HAZE
        if visual is not None:
            self.haze = (*visual.rgba.haze[:3], visual.map.haze)
            lamp = visual.headlight
            self.headlight = np.stack([lamp.ambient, lamp.diffuse, lamp.specular]) if lamp.active else None
            near, far, clip = visual.map.znear, visual.map.zfar, visual.map.shadowclip
            self._shadow_scale = visual.map.shadowscale
        extent = float(np.asarray(model.stat.extent))
        self.reach = (near * extent, far * extent, clip * extent)

    def _name(self, table: str, index: int) -> str:
        """A name in quotes, or a number where there is none."""
        addresses = getattr(self.model, table, None)  # mjx.Model keeps the names of some things only
        if addresses is None:
            return f"number {index}"
        names, start = self.model.names, int(np.asarray(addresses)[index])
        name = names[start : names.index(b"\0", start)].decode()
        return repr(name) if name else f"number {index} (without a name)"

    def geom_name(self, geom: int) -> str:
        """How an error calls a geom."""
        return self._name("name_geomadr", geom)

    def geom_type(self, geom: int) -> int:
        """`mjtGeom`."""
        return int(self._type[geom])

    def group(self, geom: int) -> int:
        """Visualisation group."""
        return int(self._group[geom])

    def is_sphere(self, geom: int) -> bool:
        """Whether a geom is a sphere."""
        return self.geom_type(geom) == 2

    def size(self, geom: int) -> np.ndarray:
        """Half extents along the geom's axes; of spheres and capsules radius, radius, half length of the axis."""
        size = self._size[geom]
        kind = self.geom_type(geom)
        if kind == 2:
            return np.array([size[0], size[0], 0.0])
        if kind in (3, 5):
            return np.array([size[0], size[0], size[1]])
        return size.copy()

    def paint_key(self, index: int, kind: str = "geom") -> PaintKey:
        """Material and colour of a geom, site, tendon or skin: its own, or the material's where that is default."""
        material = int(np.asarray(getattr(self.model, f"{kind}_matid"))[index])
        own = tuple(float(c) for c in np.asarray(getattr(self.model, f"{kind}_rgba"), np.float32)[index])
        if material >= 0 and own == DEFAULT_RGBA:
            own = tuple(float(c) for c in np.asarray(self.model.mat_rgba)[material])
        return material, own

    def alpha(self, geom: int) -> float:
        """Opacity of a geom."""
        return self.paint_key(geom)[1][3]

    def left_out(self) -> tuple[str, ...]:
        """Sites, tendons and skins that MuJoCo's renderer shows unless told otherwise, as a note calls them."""
        model, found = self.model, []
        if not hasattr(model, "site_group"):  # mjx.Model does not know what of them is seen
            return ()
        for site in range(model.nsite):
            if model.site_group[site] in DRAWN_GROUPS and self.paint_key(site, "site")[1][3] > 0.0:
                found.append(f"site {self._name('name_siteadr', site)}")
        for tendon in range(model.ntendon):
            has_path = model.wrap_type[model.tendon_adr[tendon]] != WRAP_JOINT
            shown = has_path and model.tendon_group[tendon] in DRAWN_GROUPS
            if shown and self.paint_key(tendon, "tendon")[1][3] > 0.0:
                found.append(f"tendon {self._name('name_tendonadr', tendon)}")
        for skin in range(model.nskin):
            if model.skin_group[skin] in DRAWN_GROUPS and self.paint_key(skin, "skin")[1][3] > 0.0:
                found.append(f"skin {self._name('name_skinadr', skin)}")
        return tuple(found)

    def look(self, key: PaintKey) -> Look:
        """Colour and finish of a paint."""
        material, rgba = key
        if material < 0:
            return Look(rgb=rgba[:3])
        model = self.model
        mirror = getattr(model, "mat_reflectance", None)
        return Look(
            rgb=rgba[:3],
            emission=float(np.asarray(model.mat_emission)[material]),
            specular=float(np.asarray(model.mat_specular)[material]),
            shininess=float(np.asarray(model.mat_shininess)[material]),
            reflectance=0.0 if mirror is None or rgba[3] < OPAQUE else float(np.asarray(mirror)[material]),
        )

    def texture_of(self, key: PaintKey) -> int | None:
        """Index of the texture that gives a paint its colour."""
        if key[0] < 0:
            return None
        roles = np.asarray(self.model.mat_texid)
        texture = int(roles[key[0], RGB_ROLE] if roles.ndim == 2 else roles[key[0]])
        return None if texture < 0 else texture

    def texture_uniform(self, key: PaintKey) -> bool:
        """Whether a texture is laid in metres."""
        uniform = getattr(self.model, "mat_texuniform", None)
        return key[0] >= 0 and uniform is not None and bool(np.asarray(uniform)[key[0]])

    def texture_repeat(self, key: PaintKey) -> np.ndarray:
        """How often a 2-D texture repeats."""
        repeat = getattr(self.model, "mat_texrepeat", None)
        return np.ones(2) if key[0] < 0 or repeat is None else np.asarray(repeat)[key[0]]

    def sky_texture(self) -> int | None:
        """Index of the first skybox."""
        found = np.flatnonzero(np.asarray(self.model.tex_type) == TEXTURE_SKYBOX)
        return int(found[0]) if found.size else None

    def texture(self, index: int) -> np.ndarray:
        """Pixels u8[faces, h, w, 3] of a texture; a square cube or sky shows one picture on its six faces."""
        model = self.model
        width, height, channels, start, kind = (
            int(np.asarray(getattr(model, name))[index])
            for name in ("tex_width", "tex_height", "tex_nchannel", "tex_adr", "tex_type")
        )
        name = self._name("name_texadr", index)
        if channels not in (3, 4) or min(width, height) < 1:
            raise ConfigError(
                f"texture {name} is {width} x {height} with {channels} channels; textures of 3 or 4 can be drawn"
            )
        data = np.asarray(model.tex_data)[start : start + width * height * channels]
        picture = data.reshape(height, width, channels)[..., :3]
        space = getattr(model, "tex_colorspace", None)
        if kind == TEXTURE_2D and space is not None and int(np.asarray(space)[index]) == 2:
            picture = _linear(picture)
        if kind == TEXTURE_2D:
            return picture[None]
        if width == height:
            return np.broadcast_to(picture[None], (6, *picture.shape))
        if height != 6 * width:
            raise ConfigError(f"texture {name} is {width} x {height}; a cube is square or six squares high")
        return picture.reshape(6, width, width, 3)

    def lights(self) -> list[Light]:
        """The lights that shine.

        Raises:
          ConfigError: a point or image light, which MuJoCo's own renderer leaves dark, or for `mjx.Model` a light that
            moves.
        """
        model, found = self.model, []
        for index in range(int(model.nlight)):
            if not bool(np.asarray(model.light_active)[index]):
                continue
            name = self._name("name_lightadr", index)
            kind = int(np.asarray(model.light_type)[index])
            if kind not in (SPOT, DIRECTIONAL):
                raise ConfigError(
                    f"light {name} is of type {kind} (point or image), which MuJoCo's own renderer leaves dark; use a "
                    "directional light or a spot"
                )
            cutoff = float(np.asarray(model.light_cutoff)[index])
            fields = [
                np.asarray(getattr(model, f"light_{c}"))[index] for c in ("ambient", "diffuse", "specular")
            ]
            position, direction, moves = self._light_pose(index, name)
            half_angle = 0.5 * min(2.0 * cutoff * self._shadow_scale, 160.0)
            found.append(
                Light(
                    index=index,
                    moves=moves,
                    directional=kind == DIRECTIONAL,
                    shadow=bool(np.asarray(model.light_castshadow)[index]),
                    colour=np.stack(fields),
                    fade=(
                        *(float(a) for a in np.asarray(model.light_attenuation)[index]),
                        # OpenGL knows cutoffs up to 90 degrees, and 180 for none.
                        -2.0 if cutoff > 90.0 else float(np.cos(np.deg2rad(cutoff))),
                        float(np.asarray(model.light_exponent)[index]),
                    ),
                    cone=float(np.tan(np.deg2rad(half_angle))),
                    pos=position,
                    dir=direction / max(float(np.linalg.norm(direction)), 1e-12),
                )
            )
        return found

    def _light_pose(self, index: int, name: str) -> tuple[np.ndarray, np.ndarray, bool]:
        model = self.model
        own = np.asarray(model.light_pos)[index], np.asarray(model.light_dir)[index]
        rest = np.asarray(model.light_pos0)[index], np.asarray(model.light_dir0)[index]
        if hasattr(model, "light_bodyid"):
            return *own, bool(lights_move(model)[index])
        if int(np.asarray(model.light_mode)[index]) != 0 or not np.allclose(own[0], rest[0]):
            raise ConfigError(
                f"light {name} moves with a body, which mjx.Model does not know; pass the MjModel"
            )
        return *own, False


def lights_move(model: Any) -> np.ndarray:
    """Which lights of a `mujoco.MjModel` need a pose from each scene, bool[lights]; their bodies may stand still."""
    return (model.light_bodyid != 0) | (model.light_mode >= TRACKCOM)


def _linear(picture: np.ndarray) -> np.ndarray:
    """sRGB bytes as linear ones, as OpenGL reads textures marked so."""
    x = picture / 255.0
    y = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return np.round(255.0 * y).astype(np.uint8)
