"""Pixels from small scenes: an antialiased 2-D canvas, procedural textures, and quantisation."""

from jaxvlm.render.pixels import paint as paint
from jaxvlm.render.pixels import resample as resample
from jaxvlm.render.pixels import to_uint8 as to_uint8
from jaxvlm.render.sdf import Camera2D as Camera2D
from jaxvlm.render.sdf import Grid as Grid
from jaxvlm.render.sdf import Patch as Patch
from jaxvlm.render.sdf import box as box
from jaxvlm.render.sdf import circle as circle
from jaxvlm.render.sdf import curve as curve
from jaxvlm.render.sdf import half_plane as half_plane
from jaxvlm.render.sdf import patch_around as patch_around
from jaxvlm.render.sdf import pixel_grid as pixel_grid
from jaxvlm.render.sdf import polygon as polygon
from jaxvlm.render.sdf import segment as segment
