"""The two looks of the humanoid's world: `original` is Gymnasium's, `textured` follows VLM-RM's recipe.

The paper's recipe is a near-white smooth robot on a dark floor under a blue sky with soft clouds. Its picture
files are not used: all pictures here are painted by the functions below, once, on the host, as uint8.
"""

import io

import numpy as np

from jaxvlm.render.textures import fractal_noise, smoothstep, value_noise

SKY_SIDE = 256  # texels of a face of the sky cube
FLOOR_SIDE = 256  # texels of one repeat of the floor
SKIN_SIDE = 64  # texels of a face of the body's cube

ORIGINAL = """
<mujoco>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.4 0.5 0.6" rgb2="0 0 0" width="100" height="100"/>
    <texture name="skin" type="cube" builtin="flat" mark="cross" rgb1="0.8 0.6 0.4" rgb2="0.8 0.6 0.4" markrgb="1 1 1"
      random="0.01" width="127" height="1278"/>
    <texture name="floor" type="2d" builtin="checker" rgb1="0 0 0" rgb2="0.8 0.8 0.8" width="100" height="100"/>
    <material name="floor" texture="floor" texrepeat="60 60" rgba="0.8 0.9 0.8 1"
      reflectance="0.5" shininess="1" specular="1"/>
    <material name="skin" texture="skin" texuniform="true" rgba="0.8 0.6 0.4 1"/>
  </asset>
  <worldbody>
    <light type="directional" pos="0 0 1.3" dir="0 0 -1.3" diffuse="1 1 1" specular="0.1 0.1 0.1"
      cutoff="100" exponent="1"/>
  </worldbody>
</mujoco>
"""

TEXTURED = """
<mujoco>
  <asset>
    <texture name="sky" type="skybox" fileright="side.png" fileleft="side.png" fileup="up.png" filedown="down.png"
      filefront="side.png" fileback="side.png"/>
    <texture name="skin" type="cube" file="skin.png"/>
    <texture name="floor" type="2d" file="floor.png"/>
    <material name="floor" texture="floor" texrepeat="60 60" reflectance="0" shininess="0" specular="0"/>
    <material name="skin" texture="skin" texuniform="true" shininess="1" specular="1"/>
  </asset>
  <worldbody>
    <light type="directional" pos="0 0 1" dir="0 0 -1.5" diffuse="1 1 1" specular="0.5 0.5 0.5"
      cutoff="100" exponent="1"/>
  </worldbody>
</mujoco>
"""

LOOKS = {"textured": TEXTURED, "original": ORIGINAL}


def look_files(look: str) -> dict[str, bytes]:
    """The files that the model of a look includes: `look.xml` and its pictures, as bytes."""
    files = {"look.xml": LOOKS[look].encode()}
    if look == "textured":
        side, up, down = paint_sky()
        pictures = {"side": side, "up": up, "down": down, "floor": paint_slate(), "skin": paint_metal()}
        files |= {f"{name}.png": _png(picture) for name, picture in pictures.items()}
    return files


def paint_sky() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Side, top and bottom of the sky cube, u8[SKY_SIDE, SKY_SIDE, 3] each.

    The sky repeats every quarter turn, so one picture serves all four sides without a seam, and top and bottom
    look the same whichever way they are turned.
    """
    steps = 2.0 * (np.arange(SKY_SIDE, dtype=np.float32) + 0.5) / SKY_SIDE - 1.0
    u, v = np.meshgrid(steps, -steps)
    one = np.ones_like(u)
    directions = ((one, u, v), (u, v, one), (u, v, -one))
    return tuple(_to_bytes(_sky(*direction)) for direction in directions)  # pyright: ignore[reportReturnType]


def _sky(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Colours of directions, float32[..., 3]: blue that pales towards the horizon, with soft clouds."""
    elevation = np.arctan2(z, np.hypot(x, y))  # rad
    turn = 4.0 * np.arctan2(y, x)
    stops = np.deg2rad([-20.0, 0.0, 6.0, 25.0, 60.0])
    colours = [(176, 205, 226), (196, 224, 243), (150, 205, 240), (78, 160, 222), (58, 136, 204)]
    palette = np.asarray(colours, np.float32) / 255.0
    sky = np.stack([np.interp(elevation, stops, palette[:, channel]) for channel in range(3)], axis=-1)
    # The plane of the noise is wound round the zenith, angle for the quarter turn and radius for elevation:
    # clouds are smaller and flatter towards the horizon.
    radius = 3.2 * np.exp(-5.5 * elevation)
    density = fractal_noise(radius * np.cos(turn), radius * np.sin(turn), 6, 84, gain=0.6)
    cover = (
        smoothstep(0.40, 0.72, density) * smoothstep(-0.02, 0.06, elevation) * smoothstep(0.8, 0.5, elevation)
    )
    cloud = np.asarray((252, 253, 255), np.float32) / 255.0
    return sky + (0.85 * cover)[..., None] * (cloud - sky)


# Slabs of one repeat as (left, top, right, bottom) in sixths; together they cover it without gaps.
_SLABS = (
    (0, 0, 2, 1), (2, 0, 3, 2), (3, 0, 5, 1), (5, 0, 6, 1), (0, 1, 1, 3), (1, 1, 2, 2), (3, 1, 4, 2), (4, 1, 6, 3),
    (1, 2, 3, 3), (3, 2, 4, 4), (0, 3, 2, 4), (2, 3, 3, 4), (4, 3, 5, 5), (5, 3, 6, 4), (0, 4, 1, 6), (1, 4, 3, 5),
    (3, 4, 4, 5), (5, 4, 6, 5), (1, 5, 2, 6), (2, 5, 4, 6), (4, 5, 6, 6),
)  # fmt: skip


def paint_slate() -> np.ndarray:
    """Dark slabs of several sizes with thin joints, u8[FLOOR_SIDE, FLOOR_SIDE, 3]; it tiles, its edges being joints."""
    steps = 6.0 * (np.arange(FLOOR_SIDE, dtype=np.float32) + 0.5) / FLOOR_SIDE
    x, y = np.meshgrid(steps, steps)
    grain = fractal_noise(9.0 * x, 14.0 * y, 4, 91, gain=0.7) - 0.5
    layers = fractal_noise(1.3 * x, 3.1 * y, 4, 92) - 0.5
    tones = value_noise(3.7 * np.arange(len(_SLABS)), np.asarray(0.5), 93)
    shade = np.zeros_like(x)
    for k, (left, top, right, bottom) in enumerate(_SLABS):
        inside = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))  # sixths
        tone = 0.225 + 0.09 * (tones[k] - 0.5)
        slab = tone + 0.16 * grain + 0.14 * layers
        joint = smoothstep(0.015, 0.06, inside)
        shade = np.where(inside > 0, 0.09 + joint * (slab - 0.09), shade)
    return _to_bytes(np.repeat(shade[..., None], 3, axis=-1))


def paint_metal() -> np.ndarray:
    """Near-white brushed metal, faint diagonal strokes, u8[SKIN_SIDE, SKIN_SIDE, 3]."""
    steps = (np.arange(SKIN_SIDE, dtype=np.float32) + 0.5) / SKIN_SIDE
    x, y = np.meshgrid(steps, steps)
    strokes = value_noise(4.0 * (x + y), 40.0 * (x - y), 95)
    return _to_bytes(np.repeat((0.90 + 0.075 * strokes)[..., None], 3, axis=-1))


def _to_bytes(picture: np.ndarray) -> np.ndarray:
    return np.round(255.0 * np.clip(picture, 0.0, 1.0)).astype(np.uint8)


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
