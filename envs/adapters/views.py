"""How models are seen that nobody dressed for the camera: a view that holds the robot, colours where they lack."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from jaxvlm.render import RayCamera, free_camera, model_cameras

from .sources import load_source

FOVY = 45.0  # degrees
MARGIN = 1.1  # of the distance at which the robot at rest just fills the frame
ANGLES = (90.0, -20.0)  # azimuth and elevation, degrees
PLANE = 0  # mjtGeom

# Look-at in m, distance in m, azimuth and elevation in degrees, where a fitted view would show too much.
VIEWS: Mapping[str, tuple[tuple[float, float, float], float, float, float]] = MappingProxyType(
    {"brax_reacher": ((0.0, 0.0, 0.0), 0.58, 90.0, -90.0)}  # what the arm can reach, from above
)
# Field of view in degrees of the default camera, where the model's own cuts off legs or floor.
FIELDS: Mapping[str, float] = MappingProxyType({"brax_halfcheetah": 56.0})
# Colours of geoms in the look `clear`, where they lose their textures. The reacher's ball is painted like its arm; the
# cheetah is of one brown, so that upside down its legs and its head are hard to tell apart, on a mirror of checkers.
_ARM, _TRUNK, _HIND, _FRONT = (0.16, 0.27, 0.50), (0.90, 0.58, 0.16), (0.10, 0.22, 0.55), (0.62, 0.12, 0.14)
COLOURS: Mapping[str, Mapping[str, tuple[float, float, float]]] = MappingProxyType(
    {
        "brax_reacher": {
            "ground": (0.42, 0.44, 0.46),
            "link0": _ARM,
            "link1": _ARM,
            "root": (0.10, 0.10, 0.10),
            "fingertip": (0.95, 0.75, 0.10),
            "target": (0.85, 0.10, 0.08),
        },
        "brax_halfcheetah": {
            "floor": (0.42, 0.46, 0.42),
            **dict.fromkeys(("torso", "head"), _TRUNK),
            **dict.fromkeys(("bthigh", "bshin", "bfoot"), _HIND),
            **dict.fromkeys(("fthigh", "fshin", "ffoot"), _FRONT),
        },
    }
)
# Radii in m, in the same look: their ball is thinner than the arm, inside of which it would vanish.
RADII: Mapping[str, Mapping[str, float]] = MappingProxyType({"brax_reacher": {"target": 0.015}})


def looks_of(domain: str) -> tuple[str, ...]:
    """Names of the ways a foreign model can be drawn, the one to be learned from first."""
    return ("clear", "model") if domain in COLOURS else ("model",)


def painted(model: Any, domain: str) -> Any:
    """A copy of the model as the look `clear` draws it; its physics is not used."""
    model = copy.copy(model)
    for name, radius in RADII.get(domain, {}).items():
        model.geom_size[model.geom(name).id, 0] = radius
    for name, colour in COLOURS[domain].items():
        model.geom_rgba[model.geom(name).id] = (*colour, 1.0)
        model.geom_matid[model.geom(name).id] = -1
    return model


@cache
def fit_cameras(library: str, environment: str) -> dict[str, RayCamera]:
    """A model's own cameras by name, `free`, and `default`.

    `free` stands still and looks at the robot as it is reset, from as far as all of it needs. `default` is the
    model's first camera, which its authors have it seen from and which follows robots that run away; without one
    it is `free`.
    """
    source = load_source(library, environment)
    domain = f"{library}_{environment}"
    with jax.ensure_compile_time_eval():
        own = model_cameras(source.model)
        if domain in VIEWS:
            free = free_camera(*VIEWS[domain], FOVY)
        else:
            centre, radius = bounding_sphere(source.model, source.rest)
            free = free_camera(centre, MARGIN * radius / np.sin(np.deg2rad(0.5 * FOVY)), *ANGLES, FOVY)
    default = next(iter(own.values()), free)
    if domain in FIELDS:
        default = replace(default, fovy=np.float32(FIELDS[domain]))
    return {"free": free, **own, "default": default}


def bounding_sphere(model: Any, qpos: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre, [3], and radius, both in m, of a sphere around all that is drawn except planes."""
    import mujoco as package

    mujoco: Any = package  # its compiled names are unknown to type checkers
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    drawn = (model.geom_type != PLANE) & (model.geom_group <= 2)
    if not drawn.any():
        return np.zeros(3), float(model.stat.extent)
    centres, radii = data.geom_xpos[drawn], model.geom_rbound[drawn]
    middle = 0.5 * ((centres - radii[:, None]).min(0) + (centres + radii[:, None]).max(0))
    return middle, float((np.linalg.norm(centres - middle, axis=1) + radii).max())
