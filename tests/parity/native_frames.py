"""Draws frames with MuJoCo's own renderer, in a process of its own: OpenGL stays out of the tests.

    MUJOCO_GL=egl python native_frames.py job.npz frames.npz

The job holds pickled cases, each (model as bytes, qpos[n], camera, size); a camera is a name or (lookat, distance,
azimuth, elevation). The frames file holds `rgb_<case>` u8[n, size, size, 3] and `geom_<case>` i32[n, size, size].
"""

import pickle
import sys
import tempfile
from pathlib import Path

import mujoco
import numpy as np


def main() -> None:
    """Draws every case."""
    cases = pickle.loads(Path(sys.argv[1]).read_bytes())
    frames = {}
    for index, (binary, states, view, size) in enumerate(cases):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.mjb"
            path.write_bytes(binary)
            model = mujoco.MjModel.from_binary_path(str(path))
        data = mujoco.MjData(model)
        camera = view
        if not isinstance(view, str):
            camera = mujoco.MjvCamera()
            camera.lookat[:], camera.distance, camera.azimuth, camera.elevation = view
        renderer = mujoco.Renderer(model, size, size)
        colours, geoms = [], []
        for qpos in states:
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera)
            colours.append(renderer.render())
            renderer.enable_segmentation_rendering()
            geoms.append(renderer.render()[..., 0])
            renderer.disable_segmentation_rendering()
        renderer.close()
        frames[f"rgb_{index}"], frames[f"geom_{index}"] = np.array(colours), np.array(geoms)
    np.savez(sys.argv[2], **frames)


main()
