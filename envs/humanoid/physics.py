"""MJX behind three functions: everything that touches its API is in this file.

State between steps is small: positions, velocities and the solver's warm start. `mjx.Data` exists only inside a step.
"""

import contextlib
import copy
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import mujoco as mujoco_package
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.errors import ConfigError

from .model import Contacts, load_model

with contextlib.redirect_stdout(
    io.StringIO()
):  # MJX announces that its optional Warp backend is not installed
    from mujoco import mjx

mujoco: Any = mujoco_package  # its compiled names are unknown to type checkers

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis

TORSO = 1  # body; the world is 0


@struct.dataclass
class Motion:
    """What the physics carries from one step to the next."""

    qpos: Leaf  # f32[24]: root position in m and orientation wxyz, 17 joint angles in rad
    qvel: Leaf  # f32[23]: root velocity in m/s (world) and rad/s (body), joint velocities in rad/s
    warm_start: Leaf  # f32[23], acceleration that the solver starts from


def put_model(contacts: Contacts = "floor", iterations: int = 3, ls_iterations: int = 6) -> mjx.Model:
    """The model on the device; how it looks plays no part in its physics.

    Args:
      contacts: see `model.contact_xml`.
      iterations: of the Newton solver; with 1 the physics diverges.
      ls_iterations: of its line search.

    Raises:
      ConfigError: numbers that the solver cannot work with.
    """
    if iterations < 1 or ls_iterations < 1:
        raise ConfigError(
            f"the solver has {iterations} iterations and {ls_iterations} of line search; give at least 1 each"
        )
    model = copy.copy(load_model("textured", contacts))
    model.opt.iterations, model.opt.ls_iterations = iterations, ls_iterations
    return mjx.put_model(model, impl="jax")


# Its trace is seconds of Python. An inlined `jit` keeps it: programs of any batch size copy it and trace nothing.
@partial(jax.jit, static_argnames="substeps", inline=True)
def simulate(
    model: mjx.Model, motion: Motion, ctrl: Float[Array, "17"], substeps: int
) -> tuple[Motion, mjx.Data]:
    """Takes `substeps` physics steps under constant controls.

    Returns the motion afterwards and the data of the last step, whose derived quantities belong to the state that step
    began from: that is what `mj_step` leaves, and what gymnasium observes.
    """
    data = mjx.make_data(model).replace(
        qpos=motion.qpos, qvel=motion.qvel, qacc_warmstart=motion.warm_start, ctrl=ctrl
    )
    data = jax.lax.fori_loop(0, substeps, lambda _, data: _step(model, data), data)
    return Motion(data.qpos, data.qvel, data.qacc_warmstart), data


def _step(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """`mjx.step` with the Euler integrator, its two factorisations one after the other.

    jaxlib's LAPACK kernels split large batches over XLA's threads and wait for them on one of these threads. XLA
    starts the integrator's factorisation beside the solver's, since neither needs the other: with 256 environments
    on two cores both have been seen to wait for each other forever. Adding nothing that comes from the solver's
    result makes one need the other.
    """
    data = mjx.forward(model, data)
    nothing = 0.0 * data.qacc[0]  # not folded by XLA, which keeps NaN
    inertia = data._impl.M + nothing  # pyright: ignore[reportAttributeAccessIssue]
    return mjx.euler(model, data.tree_replace({"_impl.M": inertia}))


@partial(jax.jit, inline=True)
def contact_forces(model: mjx.Model, data: mjx.Data) -> Float[Array, "14 6"]:
    """`cfrc_ext`: forces from outside on each body, torque in N m first, then force in N."""
    return mjx.rne_postconstraint(model, data)._impl.cfrc_ext  # pyright: ignore[reportAttributeAccessIssue]


def host_pool(
    model: Any, size: int, noise: float, seed: int, observe: Callable[[Any], np.ndarray]
) -> tuple[Motion, np.ndarray, np.ndarray]:
    """`size` initial states, noise U(-noise, noise) on every number of qpos and qvel, solved by MuJoCo on the host.

    Returns motions, centres of mass and observations, each with a leading axis of states, float32.
    """
    generator, data = np.random.default_rng(seed), mujoco.MjData(model)
    states = []
    for _ in range(size):
        mujoco.mj_resetData(model, data)
        data.qpos += generator.uniform(-noise, noise, model.nq)
        data.qvel += generator.uniform(-noise, noise, model.nv)
        mujoco.mj_forward(model, data)
        mujoco.mj_rnePostConstraint(model, data)
        motion = Motion(data.qpos.copy(), data.qvel.copy(), data.qacc_warmstart.copy())
        states.append((motion, data.subtree_com[TORSO].copy(), observe(data)))
    return jax.tree.map(lambda *leaves: np.stack(leaves).astype(np.float32), *states)
