"""MuJoCo's own renderer as a peer: frames drawn in a process of their own."""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest


def draw_natively(
    folder: Path, cases: Sequence[tuple[mujoco.MjModel, np.ndarray, Any, int]]
) -> dict[str, np.ndarray]:
    """`rgb_<k>` and `geom_<k>` of each case (model, qpos[n], view, size); see `native_frames.py`.

    Skips the test where neither EGL nor OSMesa can be loaded.
    """
    job, result, path = folder / "job", folder / "frames.npz", folder / "model.mjb"
    packed = []
    for model, states, view, size in cases:
        mujoco.mj_saveModel(model, str(path))
        packed.append((path.read_bytes(), states, view, size))
    job.write_bytes(pickle.dumps(packed))
    program = Path(__file__).with_name("native_frames.py")
    said = []
    for backend in ("egl", "osmesa"):
        environment = {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
        run = subprocess.run(
            [sys.executable, str(program), str(job), str(result)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if run.returncode == 0:
            return dict(np.load(result))
        reason = run.stderr.strip().splitlines()
        said.append(f"{backend}: {reason[-1] if reason else run.returncode}")
    pytest.skip(f"MuJoCo's own renderer loads neither EGL nor OSMesa here ({'; '.join(said)})")
