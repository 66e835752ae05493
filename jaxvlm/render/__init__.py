"""Pixels from small scenes: an antialiased 2-D canvas, a ray caster of MuJoCo models, textures, and quantisation."""

from jaxvlm.render.batch import draw_batch as draw_batch
from jaxvlm.render.batch import frame_by_frame as frame_by_frame
from jaxvlm.render.pixels import paint as paint
from jaxvlm.render.pixels import resample as resample
from jaxvlm.render.pixels import to_uint8 as to_uint8
from jaxvlm.render.ray import RayAssets as RayAssets
from jaxvlm.render.ray import RayCamera as RayCamera
from jaxvlm.render.ray import RayScene as RayScene
from jaxvlm.render.ray import free_camera as free_camera
from jaxvlm.render.ray import make_ray_assets as make_ray_assets
from jaxvlm.render.ray import model_cameras as model_cameras
from jaxvlm.render.ray import render_buffers as render_buffers
from jaxvlm.render.ray import render_ray as render_ray
from jaxvlm.render.ray import scene_from_data as scene_from_data
from jaxvlm.render.ray import validate_camera as validate_camera
from jaxvlm.render.sdf import Camera2D as Camera2D
from jaxvlm.render.sdf import Grid as Grid
from jaxvlm.render.sdf import Patch as Patch
from jaxvlm.render.sdf import box as box
from jaxvlm.render.sdf import circle as circle
from jaxvlm.render.sdf import curve as curve
from jaxvlm.render.sdf import patch_around as patch_around
from jaxvlm.render.sdf import pixel_grid as pixel_grid
from jaxvlm.render.sdf import polygon as polygon
