"""The painted background of the textured MountainCar: sky, far ranges, and the hill the car drives on.

Painted once, on the host. Lengths are pixels of gymnasium's 600 x 400 screen, y up.
"""

import numpy as np

from jaxvlm.render.textures import fractal_noise, ridged_noise, smoothstep, value_noise

WIDTH, HEIGHT = 600.0, 400.0
RESOLUTION = 448  # twice the 224 that CLIP's towers see


def draw_lines(height: np.ndarray, slope: np.ndarray, flag_x: float, flag_bottom: float) -> np.ndarray:
    """gymnasium's black curve, flag pole and yellow flag on white; arguments as in `paint_scenery`."""
    x, y = _pixel_centres()
    wide, tall = WIDTH / RESOLUTION, HEIGHT / RESOLUTION
    picture = np.ones((RESOLUTION, RESOLUTION, 3), np.float32)
    black = np.zeros(3, np.float32)
    # The stroke is one unit across; per pixel, seen along the curve's normal on the squashed screen.
    pixel = np.sqrt((slope * wide) ** 2 + tall**2)
    picture = _over_stroke(picture, black, (y - height) / pixel, 0.5 * np.sqrt(1.0 + slope**2) / pixel)
    pole = np.clip(0.5 + np.minimum(y - flag_bottom, flag_bottom + 51.0 - y) / tall, 0.0, 1.0)
    picture = _over_stroke(picture, black, (x - flag_x) / wide, 0.5 / wide, pole)
    half = 5.5 * (1.0 - (x - flag_x + 0.5) / 26.0)  # of the pennant, which tapers over 26 units
    cloth = np.clip(0.5 + (half - np.abs(y - flag_bottom - 45.5)) / tall, 0.0, 1.0)
    cloth = cloth * np.clip(0.5 + (x - flag_x + 0.5) / wide, 0.0, 1.0)
    return _mix(picture, _rgb((204, 204, 0)), cloth).astype(np.float32)


def paint_scenery(height: np.ndarray, slope: np.ndarray, flag_x: float, flag_bottom: float) -> np.ndarray:
    """Paints the picture, float32[RESOLUTION, RESOLUTION, 3] in [0, 1].

    Args:
        height: the hill's surface above the bottom of the screen, float32[RESOLUTION], one a column.
        slope: its derivative, likewise.
        flag_x: where the flag pole stands.
        flag_bottom: height of its foot.
    """
    x, y = _pixel_centres()
    pixel = HEIGHT / RESOLUTION

    picture = _sky(x, y)
    far = 150 + 75 * (fractal_noise(x[:1] / 130, np.zeros((1, 1)), 5, 3) - 0.5) + 45 * _bump(x[:1], 330, 60)
    picture = _over(picture, _far_range(x, y, far), (far - y) / pixel)
    wood = 84 + 50 * (fractal_noise(x[:1] / 90, np.zeros((1, 1)), 3, 11) - 0.5)
    wood = wood + 9 * value_noise(x[:1] / 3.2, np.zeros((1, 1)), 12)  # tree tops
    picture = _over(picture, _wood(x, y, wood), (wood - y) / pixel)

    depth = (height - y) / np.sqrt(1.0 + slope**2)  # below the surface, measured across it
    picture = _over(picture, _hill(x, y, depth, slope), depth / pixel)
    return np.clip(_flag(picture, x, y, flag_x, flag_bottom, pixel), 0.0, 1.0).astype(np.float32)


def _pixel_centres() -> tuple[np.ndarray, np.ndarray]:
    steps = (np.arange(RESOLUTION, dtype=np.float32) + 0.5) / RESOLUTION
    x, y = np.meshgrid(np.float32(WIDTH) * steps, np.float32(HEIGHT) * (1.0 - steps))
    return x, y


def _sky(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A blue that pales towards the horizon, and soft clouds lit from above."""
    up = y / HEIGHT
    stops = np.array([0.0, 0.3, 0.65, 1.0])
    colours = _rgb((214, 231, 243), (188, 217, 241), (112, 170, 226), (52, 118, 196))
    sky = np.stack([np.interp(up, stops, colours[:, channel]) for channel in range(3)], axis=-1)
    # Clouds are wider than tall, the more so the lower they are; the shift by noise rolls their edges.
    u, v = x / 150.0, (y - 60.0) / 62.0
    u = u + 0.5 * fractal_noise(2.0 * u, 2.0 * v, 3, 21)
    v = v + 0.5 * fractal_noise(2.0 * u, 2.0 * v, 3, 22)
    density = fractal_noise(u, v, 6, 30)
    above = fractal_noise(u + 0.10, v + 0.22, 6, 30)
    cover = smoothstep(0.50, 0.74, density) * smoothstep(0.12, 0.45, up)
    light = np.clip(0.93 + 1.3 * (density - above), 0.72, 1.0)[..., None]
    cloud = light * _rgb((255, 255, 255)) + (1.0 - light) * _rgb((150, 170, 205))
    return _mix(sky, cloud, 0.92 * cover)


def _far_range(x: np.ndarray, y: np.ndarray, crest: np.ndarray) -> np.ndarray:
    """Distant peaks in blue haze, snow on their upper parts."""
    folds = ridged_noise(x / 46, y / 60, 5, 40)
    rock = _mix(_rgb((96, 116, 148)), _rgb((136, 154, 182)), folds)
    snow = smoothstep(0.0, 0.5, 0.3 - (crest - y) / 75 + 1.1 * (folds - 0.45))
    rock = _mix(rock, _rgb((232, 240, 250)), snow)
    return _mix(rock, _rgb((196, 216, 236)), 0.75 * smoothstep(170, 60, y))


def _wood(x: np.ndarray, y: np.ndarray, crest: np.ndarray) -> np.ndarray:
    """A wooded ridge in front of them."""
    leaves = fractal_noise(x / 7, y / 9, 4, 50, gain=0.7)
    trees = _mix(_rgb((30, 58, 52)), _rgb((84, 116, 84)), leaves)
    return _mix(trees, _rgb((176, 198, 200)), 0.35 * smoothstep(0.0, 80.0, crest - y))


def _hill(x: np.ndarray, y: np.ndarray, depth: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Rock with gullies that run down from the surface, snow on top and grass at the foot."""
    # Coordinates that follow the hill: `across` runs along the surface.
    warp = 26.0 * (fractal_noise(x / 60, y / 60, 4, 60) - 0.5)
    across, down = (x + warp) / 34.0, (depth + warp) / 70.0
    relief = 0.6 * ridged_noise(across, down, 6, 61, gain=0.55) + 0.4 * fractal_noise(x / 26, y / 20, 6, 62)
    # Lit from the upper left: the slope of the relief towards the light.
    falls_y, falls_x = np.gradient(relief)
    light = np.clip(0.78 + 7.0 * (falls_y - 0.9 * falls_x) - 0.05 * slope, 0.30, 1.30)[..., None]
    grain = fractal_noise(x / 5, y / 5, 3, 63, gain=0.8)

    rock = _mix(_rgb((88, 80, 74)), _rgb((150, 140, 130)), 1.3 * relief - 0.25)
    rock = _mix(
        rock, _rgb((122, 96, 72)), 0.55 * smoothstep(0.52, 0.68, fractal_noise(x / 80, y / 40, 4, 64))
    )
    rock = rock * (0.82 + 0.36 * grain[..., None]) * light

    blades = fractal_noise(x / 3.0, y / 6.0, 3, 65, gain=0.8)
    meadow = fractal_noise(x / 55, y / 22, 4, 66)
    grass = _mix(_rgb((46, 80, 34)), _rgb((124, 150, 66)), 0.5 * blades + 0.9 * meadow - 0.15)
    grass = _mix(grass, _rgb((158, 150, 84)), 0.5 * smoothstep(0.55, 0.72, meadow))
    grass = grass * (0.6 + 0.4 * light)
    snow = _rgb((244, 248, 255)) * np.clip(0.55 + 0.50 * light, 0.74, 1.03)
    snow = _mix(snow, _rgb((176, 198, 230)), 0.5 * smoothstep(0.95, 0.5, light[..., 0]))

    noise = fractal_noise(x / 45, y / 45, 5, 67) - 0.5
    # Grass and snow lie deepest on the surface itself and thin out in the cliff below it.
    turf = smoothstep(
        -16.0, 16.0, 96.0 - y + 120.0 * noise - 30.0 * (relief - 0.5) + 26.0 * np.exp(-depth / 9.0)
    )
    cap = smoothstep(
        -10.0, 10.0, y - 246.0 + 150.0 * noise - 110.0 * (relief - 0.45) + 34.0 * np.exp(-depth / 8.0)
    )
    hill = _mix(_mix(rock, grass, turf), snow, cap)
    # A rim of light where the surface meets the sky, and shade in the depth.
    hill = (
        hill
        * (1.0 + 0.10 * np.exp(-np.maximum(depth, 0.0) / 3.0) - 0.16 * smoothstep(40, 260, depth))[..., None]
    )
    return hill


def _flag(
    picture: np.ndarray, x: np.ndarray, y: np.ndarray, foot: float, bottom: float, pixel: float
) -> np.ndarray:
    """A yellow pennant on a pole, its middle where gymnasium draws it."""
    top, tip = bottom + 58.0, 30.0
    pole = np.minimum((1.6 - np.abs(x - foot)) / (1.5 * pixel), np.minimum(y - bottom + 4, top - y) / pixel)
    picture = _over(picture, _rgb((70, 62, 58)), pole)
    out = np.clip((x - foot) / tip, 0.0, 1.0)
    middle = bottom + 46.0 + 1.6 * np.sin(7.0 * out)
    half = 11.0 * (1.0 - (x - foot) / tip)
    cloth = np.minimum((half - np.abs(y - middle)) / pixel, (x - foot - 0.5) / (1.5 * pixel))
    folds = (0.92 + 0.10 * np.cos(7.0 * out))[..., None]
    return _over(picture, folds * _rgb((250, 212, 24)), cloth)


def _bump(x: np.ndarray, middle: float, width: float) -> np.ndarray:
    return np.exp(-(((x - middle) / width) ** 2))


def _over(picture: np.ndarray, layer: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Lays `layer` over `picture`, antialiased by the distance in pixels that a point lies inside it."""
    return _mix(picture, layer, np.clip(inside + 0.5, 0.0, 1.0))


def _over_stroke(
    picture: np.ndarray,
    colour: np.ndarray,
    distance: np.ndarray,
    half: np.ndarray | float,
    ends: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Lays a stroke over `picture`; `distance` from its middle and half its width are in pixels."""
    return _mix(
        picture, colour, ends * np.clip(0.5 + half - np.abs(distance), 0.0, np.minimum(1.0, 2.0 * half))
    )


def _mix(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    return start + np.clip(share, 0.0, 1.0)[..., None] * (end - start)


def _rgb(*colours: tuple[int, int, int]) -> np.ndarray:
    """8-bit colours as float32 in [0, 1]: [3] for one, [n, 3] for several."""
    return np.squeeze(np.asarray(colours, np.float32) / np.float32(255.0))
