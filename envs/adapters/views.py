"""Cameras for models that nobody chose a view for."""

from functools import cache
from typing import Any

import jax
import numpy as np

from jaxvlm.render import RayCamera, free_camera, model_cameras

from .sources import load_source

FOVY = 45.0  # degrees
MARGIN = 1.1  # of the distance at which the robot at rest just fills the frame
PLANE = 0  # mjtGeom
TRACK, TRACK_COM = 1, 2  # mjtCamLight
# Azimuth and elevation in degrees of the free camera: of planar robots seen from above, and of all others.
ANGLES = {"brax_reacher": (90.0, -90.0), "playground_ReacherEasy": (90.0, -90.0), "playground_ReacherHard": (90.0, -90.0)}
OBLIQUE = (90.0, -20.0)


@cache
def fit_cameras(library: str, environment: str) -> dict[str, RayCamera]:
    """A model's own cameras, `free`, and `default`.

    `free` stands still and looks at the robot as it is reset, from as far as all of it needs. `default` is the
    model's first tracking camera, because robots run away; without one it is `free`.
    """
    source = load_source(library, environment)
    with jax.ensure_compile_time_eval():
        own = model_cameras(source.model)
        centre, radius = bounding_sphere(source.model, source.rest)
        distance = MARGIN * radius / np.sin(np.deg2rad(0.5 * FOVY))
        angles = ANGLES.get(f"{library}_{environment}", OBLIQUE)
        free = free_camera(centre, float(distance), *angles, FOVY)
    following = [name for name, mode in zip(own, source.model.cam_mode, strict=True) if mode in (TRACK, TRACK_COM)]
    return {"free": free, **own, "default": own[following[0]] if following else free}


def bounding_sphere(model: Any, qpos: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre, [3], and radius, in m, of a sphere around all that is drawn but planes."""
    import mujoco as package

    mujoco: Any = package  # its compiled names are unknown to type checkers
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    drawn = (model.geom_type != PLANE) & (model.geom_group <= 2)
    if not drawn.any():
        return np.zeros(3), float(model.stat.extent)
    centres, radii = data.geom_xpos[drawn], model.geom_rbound[drawn]
    low, high = (centres - radii[:, None]).min(0), (centres + radii[:, None]).max(0)
    middle = 0.5 * (low + high)
    return middle, float((np.linalg.norm(centres - middle, axis=1) + radii).max())
