"""MuJoCo scenes of primitive shapes, drawn by casting rays: pure functions of small poses and shared assets."""

from jaxvlm.render.ray.assets import RayAssets as RayAssets
from jaxvlm.render.ray.assets import make_ray_assets as make_ray_assets
from jaxvlm.render.ray.cameras import RayCamera as RayCamera
from jaxvlm.render.ray.cameras import free_camera as free_camera
from jaxvlm.render.ray.cameras import model_cameras as model_cameras
from jaxvlm.render.ray.render import render_buffers as render_buffers
from jaxvlm.render.ray.render import render_ray as render_ray
from jaxvlm.render.ray.scene import RayScene as RayScene
from jaxvlm.render.ray.scene import scene_from_data as scene_from_data
from jaxvlm.render.ray.validate import validate_camera as validate_camera
