"""Instructions on where to hold the cart of a continuous CartPole, and a controller to measure policies by.

72 tasks: eight places along the track, each said in nine ways. A task's place is that of its words, moved by up to
`SPREAD` metres, drawn by seed, so that no two tasks are the same.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import solve_discrete_are

from .cartpole import CartPole, CartPoleParams, CartPoleState, dynamics_under

PLACES = (
    ("at the far left", -1.75), ("on the left", -1.25), ("somewhat left of the middle", -0.75),
    ("just left of the middle", -0.25), ("just right of the middle", 0.25), ("somewhat right of the middle", 0.75),
    ("on the right", 1.25), ("at the far right", 1.75),
)  # m from the middle of the track  # fmt: skip
WORDINGS = (
    "hold the cart {} and the pole upright", "keep the cart {} with the pole balanced", "balance the pole {}",
    "park the cart {} without dropping the pole", "the cart should stand {} under an upright pole",
    "drive until you are {} and stay there, pole up", "stay {} while the pole points up",
    "bring the cart to rest {}, the pole vertical", "wait {} with the pole standing",
)  # fmt: skip
SPREAD = 0.15  # m
STARTS = 2.0  # m, either side of the middle
HORIZON = 150  # steps of an episode, 3 s
# Weights of position against force that the controller is tried with; the best one for a task counts.
_WEIGHTS = (0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class Holding:
    """The 72 tasks of a seed."""

    env: CartPole
    params: CartPoleParams  # leaves [72]
    instructions: tuple[str, ...]
    target: np.ndarray  # f64[72], m
    horizon: int = HORIZON


def make_holding(seed: int) -> Holding:
    """Tasks to hold the cart somewhere, place by place."""
    generator, env = (
        np.random.default_rng(seed),
        CartPole(reward="hold", continuous=True, early_termination=True),
    )
    target = np.repeat([place for _, place in PLACES], len(WORDINGS))
    target = target + generator.uniform(-SPREAD, SPREAD, target.size)
    params = env.default_params
    params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, target.shape), params)
    return Holding(
        env=env,
        params=replace(
            params,
            target=jnp.asarray(target, jnp.float32),
            initial_x=jnp.full(target.shape, STARTS, jnp.float32),
        ),
        instructions=tuple(all_instructions()),
        target=target,
    )


def all_instructions() -> list[str]:
    """Every instruction, place by place."""
    return [wording.format(words) for words, _ in PLACES for wording in WORDINGS]


def regulator_gains(params: CartPoleParams) -> Float[np.ndarray, "g 4"]:
    """Gains of linear-quadratic regulators about the upright pole, N per unit of the observation.

    The pushes u = -K (observation - target) minimise the sum of (q x^2 + x_dot^2 + 10 theta^2 + theta_dot^2) + 0.01 u^2
    for the linearised dynamics, a row for each q; the Riccati equation is solved by SciPy.
    """
    exact = CartPoleState(*(jnp.zeros(()) for _ in range(4)))

    def step(state: Float[Array, "4"], force: Float[Array, ""]) -> Float[Array, "4"]:
        moved = dynamics_under(force, CartPoleState(*state), params)
        return jnp.stack(jax.tree.leaves(moved))

    at_rest = jnp.stack(jax.tree.leaves(exact))
    a, b = jax.jacobian(step, argnums=(0, 1))(at_rest, jnp.zeros(()))
    a, b, effort = np.asarray(a, np.float64), np.asarray(b, np.float64)[:, None], np.array([[0.01]])
    gains = []
    for weight in _WEIGHTS:
        cost = solve_discrete_are(a, b, np.diag([weight, 1.0, 10.0, 1.0]), effort)
        gains.append(np.linalg.solve(effort + b.T @ cost @ b, b.T @ cost @ a)[0])
    return np.asarray(gains, np.float32)


def regulate(
    gain: Float[Array, "4"], observation: Float[Array, "*batch 4"], params: CartPoleParams
) -> Float[Array, "*batch 1"]:
    """The action of a regulator that holds the cart at `params.target`: a share of the full force."""
    away = observation - jnp.array([1.0, 0.0, 0.0, 0.0]) * params.target
    force = -jnp.sum(gain * away, axis=-1, keepdims=True)
    return jnp.clip(force / params.force, -1.0, 1.0)
