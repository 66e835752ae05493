"""Whether a camera can see anything, checked on the host before a run."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.compiler import compiler_options
from jaxvlm.errors import ConfigError
from jaxvlm.render.ray.assets import RayAssets
from jaxvlm.render.ray.cameras import RayCamera, camera_pose
from jaxvlm.render.ray.render import render_buffers
from jaxvlm.render.ray.scene import RayScene
from jaxvlm.render.ray.vectors import columns_of

PROBE = 64  # side of the picture that is looked at, pixels


def validate_camera(scene: RayScene, assets: RayAssets, camera: RayCamera, name: str = "") -> None:
    """Refuses a view that shows nothing worth a reward.

    Args:
      scene: one scene, not a batch; usually the initial state.
      assets: of its model.
      camera: the view.
      name: what an error calls the camera.

    Raises:
      ConfigError: the camera is inside a geom, behind a plane, or sees no geom but planes.
    """
    what = f"camera {name!r}" if name else "the camera"
    position, quaternion = (np.asarray(x, np.float64) for x in camera_pose(scene, camera))
    if not (np.isfinite(position).all() and np.isfinite(quaternion).all()):
        raise ConfigError(f"{what} has a pose that is not finite: {position.tolist()}, {quaternion.tolist()}")
    place = np.round(position, 3).tolist()
    spec = assets.spec
    geoms = np.array(spec.geoms)
    axes = np.array(columns_of(jnp.asarray(scene.geom_quat)[geoms]))  # [axis, component, slot]
    centers, sizes = np.asarray(scene.geom_pos)[geoms], np.asarray(assets.size)
    local = np.einsum("acs,sc->sa", axes, position - centers)
    for slot, (kind, geom) in enumerate(zip(spec.kinds, spec.names, strict=True)):
        if _contains(kind, local[slot], sizes[slot]):
            raise ConfigError(f"{what} at {place} is inside geom {geom}; move it out")
        if kind == "plane" and local[slot, 2] <= 0 and _over(local[slot], sizes[slot]):
            raise ConfigError(
                f"{what} at {place} is below or on plane {geom}, which is seen from above only; raise it"
            )
    draw = jax.jit(render_buffers, static_argnums=3, compiler_options=compiler_options())
    segmentation = np.asarray(draw(scene, assets, camera, PROBE)[2])
    solid = [geom for kind, geom in zip(spec.kinds, spec.geoms, strict=True) if kind != "plane"]
    if solid and not np.isin(segmentation, solid).any():
        forward = np.round(-np.asarray(columns_of(jnp.asarray(quaternion[None])))[2, :, 0], 3).tolist()
        raise ConfigError(
            f"{what} at {place} looks along {forward} and sees no geom but planes and sky; point it at the scene"
        )


def _over(local: np.ndarray, size: np.ndarray) -> bool:
    return bool(np.all((size[:2] <= 0) | (np.abs(local[:2]) <= size[:2])))


def _contains(kind: str, local: np.ndarray, size: np.ndarray) -> bool:
    if kind == "plane":
        return False
    if kind == "round":
        axis = np.array([0.0, 0.0, np.clip(local[2], -size[2], size[2])])
        return bool(np.linalg.norm(local - axis) < size[0])
    if kind == "ellipsoid":
        return bool(np.sum((local / size) ** 2) < 1)
    if kind == "cylinder":
        return bool(np.hypot(*local[:2]) < size[0] and abs(local[2]) < size[2])
    return bool((np.abs(local) < size).all())
