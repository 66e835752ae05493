"""The painted background of the textured MountainCar."""

import numpy as np


def paint_scenery(resolution: int = 448) -> np.ndarray:
    x = np.linspace(-1.2, 0.6, resolution)[None, :]
    y = (1 - np.linspace(0, 1, resolution))[:, None] * 1.2
    below = (y < 0.45 * np.sin(3 * x) + 0.55)[..., None]
    return np.where(below, np.array([0.4, 0.4, 0.35]), np.array([0.5, 0.7, 0.95])).astype(np.float32)
