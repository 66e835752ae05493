"""States of the humanoid under random actions, from MuJoCo itself with gymnasium's own XML."""

import os
import sys
import types

import gymnasium
import mujoco
import numpy as np


def gymnasium_model(**options):
    """Gymnasium's humanoid.xml, collisions with the floor only, with the given solver options."""
    path = os.path.join(os.path.dirname(gymnasium.__file__), "envs/mujoco/assets/humanoid.xml")
    model = mujoco.MjModel.from_xml_path(path)
    model.geom_contype[1:] = 0
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
    for name, value in options.items():
        setattr(model.opt, name, value)
    return model


def gymnasium_env(monkeypatch):
    """Gymnasium's Humanoid-v4 itself, without early termination; the package that writes its videos is not needed."""
    monkeypatch.setitem(sys.modules, "imageio", types.ModuleType("imageio"))
    from gymnasium.envs.mujoco.humanoid_v4 import HumanoidEnv

    return HumanoidEnv(terminate_when_unhealthy=False)


def random_states(model, count, seed=0):
    """(qpos, qvel, warm start, ctrl), float64[count, ...]: ten of each fall, in the air, landing and lying."""
    generator, data, states = np.random.default_rng(seed), mujoco.MjData(model), []
    while len(states) < count:
        mujoco.mj_resetData(model, data)
        data.qpos += generator.uniform(-0.01, 0.01, model.nq)
        data.qvel += generator.uniform(-0.01, 0.01, model.nv)
        for step in range(500):
            if step % 5 == 0:
                data.ctrl[:] = generator.uniform(-0.4, 0.4, model.nu)
            if step % 50 == 25:
                states.append([x.copy() for x in (data.qpos, data.qvel, data.qacc_warmstart, data.ctrl)])
            mujoco.mj_step(model, data)
    return [np.stack(column) for column in zip(*states[:count], strict=True)]


def step_all(model, states, steps=1):
    """Runs MuJoCo from each state; returns a list of `MjData`."""
    results = []
    for qpos, qvel, warm_start, ctrl in zip(*states, strict=True):
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:], data.qacc_warmstart[:], data.ctrl[:] = qpos, qvel, warm_start, ctrl
        mujoco.mj_step(model, data, nstep=steps)
        results.append(data)
    return results
