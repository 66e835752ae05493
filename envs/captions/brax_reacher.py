"""Captions of brax's reacher: where fingertip and ball are, and how the arm is bent, seen from above.

Log-odds are piecewise linear in distances (m) and angles (degrees). The goal's falls everywhere, fast within 4 cm
of the ball, so a score that follows it leads there from any pose.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvlm.clip.captions import CaptionedDataset, Concept, Goal, Sweep, expand

from ..adapters.foreign import Foreign, ForeignState
from ..adapters.goals import SHOWN, TOUCH, fingertip, tip_to_ball

DOMAIN = "brax_reacher"
REACH = 0.2  # m, radius of the disc that balls lie in
ELBOW = 172.0  # degrees that the elbow bends either way, 3 rad
ENV = Foreign("brax", "reacher")


def distance(state: ForeignState) -> Float[Array, "..."]:
    """From fingertip to ball, m."""
    return tip_to_ball(state.qpos)


def elbow(state: ForeignState) -> Float[Array, "..."]:
    """Bend of the elbow, degrees: 0 is straight, positive turns left."""
    return jnp.rad2deg(state.qpos[..., 1])


def bent_by(state: ForeignState, low: float, high: float) -> Float[Array, "..."]:
    """Bend to either side between two angles; 12 degrees are one unit of log-odds, levelling at -4."""
    bend = jnp.abs(elbow(state))
    return jnp.clip(jnp.minimum(bend - low, high - bend) / 12.0, -4.0, 2.5)


def touching(state: ForeignState) -> Float[Array, "..."]:
    """Falls everywhere: +1.6 where the middles meet, 0 at the touch, -1.6 at 4 cm, then slowly to -4 at 40 cm."""
    gap = distance(state)
    return jnp.where(gap < 2 * TOUCH, (TOUCH - gap) / 0.0125, -1.6 - (gap - 2 * TOUCH) / 0.15)


def along(position: Float[Array, "... 2"], axis: int, sign: float) -> Float[Array, "..."]:
    """On one side of the shoulder, by 2 cm at least; 2 cm are one unit of log-odds."""
    return jnp.clip((sign * position[..., axis] - 0.02) / 0.02, -4.0, 2.5)


def ball(state: ForeignState) -> Float[Array, "... 2"]:
    return state.qpos[..., 2:4]


_A = "[a|the|]"
_ARM = "[arm|robot arm]"
_BALL = "[red ball|ball|red dot]"
_SIDES = {
    "left": (0, -1.0, "[on|at] the left"),
    "right": (0, 1.0, "[on|at] the right"),
    "top": (1, 1.0, "[at|near] the top"),
    "bottom": (1, -1.0, "[at|near] the bottom"),
}
_GOAL = SHOWN[DOMAIN].goals["touching"]

_CONCEPTS = (
    Concept(
        "touching",
        expand(
            _GOAL.prompt,
            f"{_A} {_ARM} touching {_A} {_BALL} [with its fingertip|]",
            f"{_A} {_ARM} [holding its fingertip on|with its fingertip on|pointing exactly at] {_A} {_BALL}",
            f"the fingertip [touches|is on|rests on|covers|has reached] the {_BALL}",
            f"{_A} fingertip [on|touching] {_A} {_BALL}",
        ),
        "the robot arm rests its fingertip on the ball",
        touching,
    ),
    Concept(
        "scene",
        expand(
            SHOWN[DOMAIN].baseline,
            f"[a|the] {_ARM} and [a|the] {_BALL}",
            f"[a|the] {_BALL} and [a|the] {_ARM}",
            f"[a picture|an image] of [a|the] {_ARM} [and a ball|]",
            f"[a|the] {_ARM} seen from above",
        ),
        "an image of a robot arm and the red dot",
        lambda state: jnp.full_like(state.qpos[..., 0], 2.0),
    ),
    Concept(
        "far",
        expand(
            _GOAL.opposite,
            f"{_A} {_ARM} [far|far away|a long way] from {_A} {_BALL}",
            f"{_A} fingertip [far|far away|a long way] from {_A} {_BALL}",
            f"the {_BALL} is [far away|far] from the [fingertip|arm]",
        ),
        "the red dot is a long way from the robot arm",
        lambda state: jnp.clip((distance(state) - 0.15) / 0.03, -4.0, 4.0),
    ),
    Concept(
        "not_touching",
        expand(
            f"{_A} {_ARM} [not touching|that does not touch|missing|that misses] {_A} {_BALL}",
            f"the fingertip [misses|is not on|is off|does not touch] the {_BALL}",
            f"{_A} gap between {_A} fingertip and {_A} {_BALL}",
        ),
        "the arm does not touch the ball",
        lambda state: -touching(state),
    ),
    Concept(
        "near",
        expand(
            f"{_A} {_ARM} [close to|near|next to|beside] {_A} {_BALL}",
            f"{_A} fingertip [close to|near|next to|beside] {_A} {_BALL}",
            f"the {_BALL} is [close to|near|next to] the fingertip",
        ),
        "the red dot is beside the fingertip",
        lambda state: jnp.clip((0.06 - distance(state)) / 0.02, -4.0, 3.0),
    ),
    Concept(
        "straight",
        expand(
            f"{_A} [straight|stretched|stretched out|extended|fully extended] {_ARM}",
            f"{_A} {_ARM} [stretched out|fully stretched|fully extended|in a straight line]",
            f"the {_ARM} [is straight|is stretched out|is extended|does not bend]",
        ),
        "the robot arm is fully extended",
        lambda state: bent_by(state, -40.0, 25.0),
    ),
    Concept(
        "folded",
        expand(
            f"{_A} [folded|closed|folded up] {_ARM}",
            f"{_A} {_ARM} [folded|folded back|folded up|closed|bent back] [onto itself|]",
            f"the {_ARM} [is folded|is closed|is folded back|lies on itself]",
        ),
        "the arm is folded back onto itself",
        lambda state: bent_by(state, 135.0, 210.0),
    ),
    Concept(
        "right_angle",
        expand(
            f"{_A} {_ARM} [bent at a right angle|bent by ninety degrees|in the shape of an l]",
            f"{_A} {_ARM} [with a right angle|with its elbow at a right angle|like the letter l]",
            "the elbow [is at|makes|forms] a right angle [in the arm|]",
            f"[an|the] l shaped {_ARM}",
        ),
        "the robot arm makes a right angle",
        lambda state: bent_by(state, 60.0, 120.0),
    ),
    *(
        Concept(
            f"elbow_{side}",
            expand(
                f"{_A} {_ARM} [bent|turning|bending|curving] to the {side}",
                f"{_A} {_ARM} [that bends|that turns|bent at the elbow] to the {side}",
                f"the elbow [bends|turns|is bent] to the {side}",
            ),
            f"the arm turns at the elbow to the {side}",
            lambda state, sign=sign: jnp.clip((sign * elbow(state) - 10.0) / 12.0, -4.0, 2.5),
        )
        for side, sign in (("left", 1.0), ("right", -1.0))
    ),
    *(
        Concept(
            f"ball_{side}",
            expand(
                f"{_A} {_BALL} {place} [of the picture|of the image|]",
                f"the {_BALL} [is|lies] {place}",
                f"{_A} {_ARM} and {_A} {_BALL} {place}",
            ),
            f"a picture with the red ball {place.split('|')[0].strip('[')} the {side}",
            lambda state, axis=axis, sign=sign: along(ball(state), axis, sign),
        )
        for side, (axis, sign, place) in _SIDES.items()
    ),
    *(
        Concept(
            f"tip_{side}",
            expand(
                f"{_A} fingertip {place} [of the picture|of the image|]",
                f"{_A} {_ARM} [pointing|reaching] to the {side}",
                f"{_A} {_ARM} with [its|the] fingertip {place}",
                f"the {_ARM} [points|reaches] to the {side}",
            ),
            f"the robot arm is reaching to the {side} of the image",
            lambda state, axis=axis, sign=sign: along(fingertip(state.qpos), axis, sign),
        )
        for side, (axis, sign, place) in _SIDES.items()
    ),
)


def sample_states(key: jax.Array, count: int) -> ForeignState:
    """Arms in any pose, balls anywhere they are put; two balls in five lie a few centimetres from the fingertip."""
    key_shoulder, key_elbow, key_ball, key_near, key_kind = jax.random.split(key, 5)
    shoulder = jax.random.uniform(key_shoulder, (count,), jnp.float32, -180.0, 180.0)
    bend = jax.random.uniform(key_elbow, (count,), jnp.float32, -ELBOW, ELBOW)
    arm = jnp.deg2rad(jnp.stack([shoulder, bend], axis=1))
    radius, turn = jax.random.uniform(key_ball, (2, count))
    angle = 2 * jnp.pi * turn
    anywhere = REACH * radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    tip = fingertip(jnp.concatenate([arm, anywhere], axis=1))
    near = tip + 0.02 * jax.random.normal(key_near, (count, 2))
    near = near * jnp.minimum(1.0, REACH / jnp.linalg.norm(near, axis=1, keepdims=True))
    close = jax.random.uniform(key_kind, (count, 1)) < 0.4
    return ENV.posed(jnp.concatenate([arm, jnp.where(close, near, anywhere)], axis=1))


def _sweep_states(values: Float[Array, " n"], shoulder: float) -> ForeignState:
    """An arm bent by 60 degrees, and the ball where its fingertip would be `values` cm further round."""
    arm = jnp.deg2rad(jnp.array([shoulder, 60.0]))
    tip = fingertip(jnp.concatenate([arm, jnp.zeros(2)]))
    radius = jnp.linalg.norm(tip)
    turn = 2.0 * jnp.arcsin(0.005 * values / radius)  # the chord is `values` cm long
    across = jnp.stack([-tip[1], tip[0]])
    place = jnp.cos(turn)[:, None] * tip + jnp.sin(turn)[:, None] * across
    return ENV.posed(jnp.concatenate([jnp.broadcast_to(arm, place.shape), place], axis=1))


def brax_reacher_captions() -> CaptionedDataset:
    """Arms and balls anywhere."""
    return CaptionedDataset(
        domain=DOMAIN,
        environment=ENV,
        params=ENV.drawing_params,
        sample_states=sample_states,
        concepts=_CONCEPTS,
        goals=(
            Goal(
                "touching",
                "far",
                Sweep(
                    coordinate="ball from fingertip",
                    unit="cm",
                    values=tuple(0.5 * k for k in range(-50, 51)),
                    contexts=(-150.0, -60.0, 30.0, 120.0),
                    states=_sweep_states,
                ),
            ),
        ),
        baseline="scene",
        looks=("clear",),
    )
