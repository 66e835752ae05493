"""Finding things in pictures by their colours, for comparison with gymnasium's frames."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxvlm.render import to_uint8

TAN, LILAC, YELLOW, GREY = (202, 152, 101), (129, 132, 203), (204, 204, 0), (128, 128, 128)


def gymnasium_frame(env: gymnasium.Env, state: list[float], size: int = 224) -> np.ndarray:
    """gymnasium's own 600 x 400 picture of a state, squashed to a square; uint8[size, size, 3]."""
    env.unwrapped.state = np.asarray(state, np.float32)
    frame = Image.fromarray(np.asarray(env.render()))
    return np.asarray(frame.resize((size, size), Image.Resampling.BOX))


def drawer(env, look: str, size: int = 224):
    """A function from a scene to our picture of it, uint8[size, size, 3]."""
    assets, camera = env.assets(look), env.cameras["default"]
    draw = jax.jit(lambda scene, a, c: to_uint8(env.render(scene, a, c, size)))
    return lambda scene: np.asarray(draw(jax.tree.map(jnp.float32, scene), assets, camera))


def near(frame: np.ndarray, colour: tuple[int, int, int], tolerance: int = 60) -> np.ndarray:
    """Where a picture has about this colour, bool[h, w]."""
    return np.abs(frame.astype(int) - np.asarray(colour)).max(axis=-1) < tolerance


def solid(mask: np.ndarray) -> np.ndarray:
    """The mask without its outermost pixels: bodies stay, strokes of one or two pixels vanish."""
    inner = np.pad(mask, 1)
    rows = inner[:-2] & inner[1:-1] & inner[2:]
    return rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]


def centroid(mask: np.ndarray) -> np.ndarray:
    """Mean (x, y) of a mask, in pixels from the top left."""
    rows, columns = np.nonzero(mask)
    assert rows.size, "nothing of that colour in the picture"
    return np.array([columns.mean(), rows.mean()])


def extent(mask: np.ndarray) -> np.ndarray:
    """Left, right, top and bottom pixel of a mask."""
    rows, columns = np.nonzero(mask)
    assert rows.size, "nothing of that colour in the picture"
    return np.array([columns.min(), columns.max(), rows.min(), rows.max()])


def farthest(mask: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Mean of the pixels (x, y) of a mask farthest from `point`: the tip of a pole seen from its axle."""
    rows, columns = np.nonzero(mask)
    distance = np.hypot(columns - point[0], rows - point[1])
    far = distance > distance.max() - 1.5
    return np.array([columns[far].mean(), rows[far].mean()])
