"""States that policies visit: falls under random actions, and what agents reached that learned from a CLIP."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .model import load_model

EPISODE = 100  # actions
SUBSTEPS = 5


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
    with np.load(Path(__file__).with_name("visited.npz")) as arrays:
        qpos = arrays["qpos"].astype(np.float32)
    qpos[:, 3:7] /= np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)  # MJX lets fast turns stretch them
    return qpos
