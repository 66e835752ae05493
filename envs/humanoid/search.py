"""A search of poses without physics for what a score likes best: proposals that are kept where the score rises."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .kinematics import skeleton
from .postures import drop

JOINT_STEP, TURN_STEP = 0.25, 0.15  # rad, standard deviations of a proposal
MOVED = 0.4  # share of the joints that a proposal moves


def propose(key: jax.Array, qpos: Float[Array, "n 24"]) -> Float[Array, "n 24"]:
    """A change of every pose, within the joints' limits and with the lowest geom on the floor."""
    body = skeleton()
    key_joint, key_which, key_turn = jax.random.split(key, 3)
    step = JOINT_STEP * jax.random.normal(key_joint, qpos[:, 7:].shape)
    step = step * jax.random.bernoulli(key_which, MOVED, step.shape)
    joints = jnp.clip(qpos[:, 7:] + step, body.low, body.high)
    turn = 0.5 * TURN_STEP * jax.random.normal(key_turn, (qpos.shape[0], 3))
    w, x, y, z = jnp.moveaxis(qpos[:, 3:7], -1, 0)
    a, b, c = jnp.moveaxis(turn, -1, 0)
    quat = jnp.stack(
        [
            w - a * x - b * y - c * z,
            x + a * w + b * z - c * y,
            y + b * w + c * x - a * z,
            z + c * w + a * y - b * x,
        ],
        axis=-1,
    )
    quat = quat / jnp.linalg.norm(quat, axis=-1, keepdims=True)
    return drop(jnp.concatenate([qpos[:, :3], quat, joints], axis=1), jnp.zeros(qpos.shape[0]))


def climb(
    key: jax.Array,
    qpos: Float[Array, "n 24"],
    score: Callable[[Float[Array, "n 24"]], Float[Array, " n"]],
    rounds: int,
) -> tuple[Float[Array, "n 24"], Float[Array, " n"]]:
    """Hill climbing in `rounds` rounds, all poses side by side; the last poses and their scores."""

    def one(carry: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        qpos, best = carry
        new = propose(key, qpos)
        value = score(new)
        better = (value > best) | (jnp.isnan(best) & ~jnp.isnan(value))  # a pose without a score loses
        return (jnp.where(better[:, None], new, qpos), jnp.where(better, value, best)), None

    return jax.lax.scan(one, (qpos, score(qpos)), jax.random.split(key, rounds))[0]
