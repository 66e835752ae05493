"""States that policies visit: falls under random actions, and what agents reached that learned from a CLIP."""

import zipfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxvlm.errors import ConfigError

from .measures import INDEX
from .model import load_model

EPISODE = 100  # actions
SUBSTEPS = 5
SHORTEST = 1e-3  # length of what is still read as an orientation


@cache
def random_falls(seed: int = 0, episodes: int = 240, states: int = 12) -> Float[np.ndarray, "n 24"]:
    """`states` of each of `episodes` episodes from the initial pose, float32 qpos; the same every time for a seed.

    A third of the episodes takes a new random action at each step, a third holds one for about 15 steps, a third
    does both: those end in more kinds of heaps than pure noise does.
    """
    import mujoco as mujoco_package

    mujoco: Any = mujoco_package  # its compiled names are unknown to type checkers
    model, generator = load_model(), np.random.default_rng(seed)
    data = mujoco.MjData(model)
    rows = []
    for episode in range(episodes):
        mujoco.mj_resetData(model, data)
        data.qpos += generator.uniform(-0.01, 0.01, model.nq)
        held = generator.uniform(-0.4, 0.4, model.nu)
        chosen = set(generator.choice(EPISODE, states, replace=False).tolist())
        for step in range(EPISODE):
            if generator.random() < 1 / 15:
                held = generator.uniform(-0.4, 0.4, model.nu)
            noise = generator.uniform(-0.4, 0.4, model.nu)
            data.ctrl[:] = (noise, held, 0.5 * (held + noise))[episode % 3]
            mujoco.mj_step(model, data, nstep=SUBSTEPS)
            if step in chosen:
                rows.append(data.qpos.copy())
    return np.asarray(rows, np.float32)


@cache
def visited_states() -> Float[np.ndarray, "n 24"]:
    """States of agents in training, float32 qpos; what `benchmarks/visited.py` has put into `visited.npz`.

    900 of each pose are of agents that learned it from the embedded CLIP of 64 pixels, at play (two of the four seeds
    of table 1 each); the other 6,000 were drawn from 10,000 of replay buffers: of agents that learned from the graded
    truth of a pose (two of raised arms, the others of crossed arms, hands on hips, one leg, lotus and splits), and of
    four earlier ones: kneeling, standing and raising arms by the first embedded CLIP, and kneeling by the predicate as
    reward.
    """
    return read_states(Path(__file__).with_name("visited.npz"))


def read_states(path: str | Path) -> Float[np.ndarray, "n 24"]:
    """The array `qpos` of an npz, float32 with orientations of length one: MJX lets fast turns stretch them.

    Raises:
      ConfigError: no such file, or one without finite poses of the humanoid.
    """
    unreadable = (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)
    try:
        with np.load(path) as arrays:
            qpos = arrays["qpos"].astype(np.float32)
    except unreadable as error:
        raise ConfigError(
            f"{path} holds no states of the humanoid ({error}); give an npz with an array `qpos`, such as "
            "`jaxvlm evaluate RUN --fooled 12` writes"
        ) from error
    if qpos.ndim != 2 or qpos.shape[1] != 24 or not len(qpos) or not np.isfinite(qpos).all():
        raise ConfigError(
            f"the array `qpos` in {path} is {list(qpos.shape)}; finite numbers [n, 24] are wanted"
        )
    length = np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)
    if length.min() < SHORTEST:
        raise ConfigError(
            f"state {length.argmin()} of {path} has an orientation of length {length.min():.2g}; its columns 3 to 6 "
            "are a quaternion of length 1"
        )
    qpos[:, 3:7] /= length
    return qpos


def qpos_of(observation: Float[np.ndarray, "n obs"], scene: Any) -> Float[np.ndarray, "n 24"]:
    """Positions of states from their observations, which have no place on the floor, and their scenes, which have.

    Args:
      observation: of `Humanoid`, compact or full, whatever a wrapper appends.
      scene: of the same states, with `geom_pos` f32[n, 18, 3].
    """
    # The torso's capsule lies about the origin of the body whose place qpos begins with.
    place = np.asarray(scene.geom_pos)[:, INDEX["torso1"], :2]
    return np.concatenate([place, np.asarray(observation)[:, :22]], axis=1).astype(np.float32)
