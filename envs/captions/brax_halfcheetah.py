"""Captions of brax's half-cheetah: how its trunk is turned and how high it is, seen from the side.

Log-odds are piecewise linear in the trunk's pitch (degrees) and in heights (m). Those of the goals fall everywhere,
on the way round as well, so a score that follows them has no local optimum.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvlm.clip.captions import CaptionedDataset, Concept, Goal, Sweep, expand
from jaxvlm.render import RayScene

from ..adapters.foreign import Foreign, ForeignState
from ..adapters.goals import NOSE_DOWN, ON_BACK, SHOWN, pitch

DOMAIN = "brax_halfcheetah"
# rad, limits of the joints: thigh, shin and foot of the hind leg, then of the front leg
LOW = (-0.52, -0.785, -0.4, -1.0, -1.2, -0.5)
HIGH = (1.05, 0.785, 0.785, 0.7, 0.87, 0.5)
RADIUS = 0.046  # m, of all its capsules
HALF_LENGTHS = (0.5, 0.15, 0.145, 0.15, 0.094, 0.133, 0.106, 0.07)  # m, trunk and head, hind leg, front leg
ENV = Foreign("brax", "halfcheetah")


def off_by(state: ForeignState, target: float) -> Float[Array, "..."]:
    """Degrees between the trunk's pitch and another, in [0, 180]."""
    return jnp.abs(jnp.mod(pitch(state.qpos) - target + 180.0, 360.0) - 180.0)


def close(angle: Float[Array, "..."], half_width: float) -> Float[Array, "..."]:
    """Zero at `half_width` degrees; falls everywhere, fast (15 degrees a unit) until -1, then slowly (60)."""
    beyond = angle - half_width - 15.0
    return jnp.where(beyond < 0.0, -1.0 - beyond / 15.0, -1.0 - beyond / 60.0)


def nose_height(state: ForeignState) -> Float[Array, "..."]:
    """How much higher the front of the trunk is than its rear, m."""
    return jnp.sin(jnp.deg2rad(pitch(state.qpos)))


_NOSE = 0.5 * (NOSE_DOWN[0] + NOSE_DOWN[1])
_A = "[a|the|]"
_CAT = "[robot cheetah|cheetah|robot]"
_ON_BACK, _NOSE_DOWN = (SHOWN[DOMAIN].goals[name] for name in ("on-back", "nose-down"))

_CONCEPTS = (
    Concept(
        "on_back",
        expand(
            _ON_BACK.prompt,
            f"{_A} {_CAT} [lying|resting|sleeping] on its back [with its legs in the air|with its legs up|]",
            f"{_A} {_CAT} [flat on its back|that lies on its back|that has rolled onto its back]",
            f"{_A} {_CAT} on its back with [its|the] legs [up|in the air]",
            f"the {_CAT} [lies|rests] on its back",
        ),
        "the robot rests flat on its back with its legs up",
        lambda state: close(off_by(state, 180.0), ON_BACK),
    ),
    Concept(
        "on_feet",
        expand(
            _ON_BACK.opposite,
            f"{_A} {_CAT} [standing|walking|running] [on its feet|on its legs|on all its feet]",
            f"{_A} {_CAT} [with its feet on the ground|on its feet|that stands on its feet]",
            f"the {_CAT} [stands|walks|runs] on its [feet|legs]",
        ),
        "the cheetah that stands on its legs",
        lambda state: close(off_by(state, 0.0), 30.0),
    ),
    Concept(
        "scene",
        expand(
            SHOWN[DOMAIN].baseline,
            f"[a|the] {_CAT}",
            f"[a picture|an image] of [a|the] {_CAT}",
            f"[a|the] {_CAT} [on a green floor|on the floor|seen from the side]",
        ),
        "an image of the robot on a green floor",
        lambda state: jnp.full_like(state.qpos[..., 0], 2.0),
    ),
    Concept(
        "nose_down",
        expand(
            _NOSE_DOWN.prompt,
            f"{_A} {_CAT} [standing|balancing|balanced] on its [nose|head]",
            f"{_A} {_CAT} [doing a headstand|in a headstand|tipped over onto its nose]",
            f"{_A} {_CAT} with its [rear|tail|hind legs] [in the air|up high]",
            f"the {_CAT} [stands|balances] on its [nose|head]",
        ),
        "the cheetah is balanced on its nose with its tail in the air",
        lambda state: close(off_by(state, _NOSE), 0.5 * (NOSE_DOWN[1] - NOSE_DOWN[0])),
    ),
    Concept(
        "rearing",
        expand(
            f"{_A} {_CAT} [rearing up|rearing|sitting up|sitting upright]",
            f"{_A} {_CAT} [standing|balancing] on its [hind legs|rear|tail]",
            f"{_A} {_CAT} with its [front legs|front] [in the air|up high]",
            f"the {_CAT} [rears up|sits up|stands on its hind legs]",
        ),
        "the cheetah is rearing with its front in the air",
        lambda state: close(off_by(state, 80.0), 33.0),
    ),
    Concept(
        "upside_down",
        expand(
            f"{_A} {_CAT} [upside down|turned over|turned upside down|the wrong way up|belly up]",
            f"[an upside down|an overturned|a capsized] {_CAT}",
            f"the {_CAT} [is upside down|is belly up|is turned over|has turned over]",
        ),
        "an overturned robot cheetah belly up",
        lambda state: jnp.clip((off_by(state, 0.0) - 90.0) / 15.0, -4.0, 4.0),
    ),
    Concept(
        "right_way_up",
        expand(
            f"{_A} {_CAT} [the right way up|right side up|belly down|not turned over|not upside down]",
            f"{_A} {_CAT} with its [belly|legs] [below|under] [it|its back]",
            f"the {_CAT} is [the right way up|right side up|belly down|not overturned]",
        ),
        "the robot cheetah is right side up with its belly below",
        lambda state: jnp.clip((90.0 - off_by(state, 0.0)) / 15.0, -4.0, 4.0),
    ),
    Concept(
        "not_on_back",
        expand(
            f"{_A} {_CAT} [not on its back|that is not on its back|not lying on its back]",
            f"{_A} {_CAT} that [has not rolled over|does not lie on its back]",
            f"the {_CAT} [is not on its back|does not lie on its back|has not rolled onto its back]",
        ),
        "the robot that is not lying on its back",
        lambda state: -close(off_by(state, 180.0), ON_BACK),
    ),
    Concept(
        "nose_higher",
        expand(
            f"{_A} {_CAT} [with its nose up|pointing its nose up|looking up|tilted up]",
            f"{_A} {_CAT} with its [nose|head] [higher than|above] its [tail|rear]",
            f"the {_CAT} [points upwards|looks upwards|climbs]",
        ),
        "the robot looks upwards with its head higher than its tail",
        lambda state: jnp.clip(5.0 * nose_height(state), -4.0, 4.0),
    ),
    Concept(
        "nose_lower",
        expand(
            f"{_A} {_CAT} [pointing its nose down|looking down|tilted down|with its nose to the floor]",
            f"{_A} {_CAT} with its [nose|head] [lower than|below] its [tail|rear]",
            f"the {_CAT} [points downwards|looks downwards|dives]",
        ),
        "the robot looks downwards with its nose lower than its tail",
        lambda state: jnp.clip(-5.0 * nose_height(state), -4.0, 4.0),
    ),
    Concept(
        "level",
        expand(
            f"{_A} {_CAT} with [a level|a horizontal|an even] [trunk|back|body]",
            f"{_A} [level|horizontal] {_CAT}",
            f"the [trunk|back|body] of the {_CAT} is [level|horizontal|parallel to the floor]",
        ),
        "the body of a cheetah is horizontal",
        lambda state: jnp.clip((0.35 - jnp.abs(nose_height(state))) / 0.12, -4.0, 2.5),
    ),
    Concept(
        "steep",
        expand(
            f"{_A} {_CAT} with [a steep|a vertical|an upended] [trunk|back|body]",
            f"{_A} [steep|vertical|upended] {_CAT}",
            f"the [trunk|back|body] of the {_CAT} is [steep|vertical|upended]",
        ),
        "an upended robot with a steep body",
        lambda state: jnp.clip((jnp.abs(nose_height(state)) - 0.75) / 0.12, -4.0, 2.0),
    ),
    Concept(
        "airborne",
        expand(
            f"{_A} {_CAT} [in the air|above the floor|off the ground|flying|jumping|leaping]",
            f"{_A} {_CAT} [that does not touch the ground|high above the floor]",
            f"the {_CAT} [jumps|leaps|flies|is off the ground]",
        ),
        "a robot cheetah leaping high above the ground",
        lambda state: jnp.clip((ground_clearance(state) - 0.1) / 0.04, -4.0, 3.0),
    ),
    Concept(
        "grounded",
        expand(
            f"{_A} {_CAT} [on the ground|touching the floor|touching the ground|in contact with the floor]",
            f"{_A} {_CAT} [that does not jump|that touches the ground]",
            f"the {_CAT} [touches the floor|touches the ground|is on the ground|does not jump]",
        ),
        "a robot cheetah that touches the floor",
        lambda state: jnp.clip((0.08 - ground_clearance(state)) / 0.03, -4.0, 2.5),
    ),
)


def ground_clearance(state: ForeignState) -> Float[Array, "..."]:
    """Height of the lowest point of the robot above the floor, m."""
    batch = state.qpos.shape[:-1]
    flat = ENV.posed(state.qpos.reshape(math.prod(batch), 9))
    scenes = jax.vmap(ENV.scene, in_axes=(0, None))(flat, ENV.drawing_params)
    return jax.vmap(_lowest)(scenes).reshape(batch)


def _lowest(scene: RayScene) -> Float[Array, ""]:
    _, x, y, _ = jnp.moveaxis(scene.geom_quat[1:], -1, 0)  # the floor comes first
    reach = jnp.abs(1.0 - 2.0 * (x * x + y * y)) * jnp.asarray(HALF_LENGTHS) + RADIUS
    return jnp.min(scene.geom_pos[1:, 2] - reach)


def grounded(qpos: Float[Array, "n 9"], clearance: Float[Array, " n"]) -> Float[Array, "n 9"]:
    """The same poses, lifted or lowered to a clearance in m."""
    return qpos.at[:, 1].add(clearance - ground_clearance(ENV.posed(qpos)))


def sample_states(key: jax.Array, count: int) -> ForeignState:
    """Trunks turned all the way round, legs anywhere within their limits, three in four on the floor.

    One in five is nearly on its back, one in five nearly on its nose, one in five nearly on its feet.
    """
    key_pitch, key_near, key_kind, key_joints, key_lift, key_high, key_x = jax.random.split(key, 7)
    anywhere = jax.random.uniform(key_pitch, (count,), jnp.float32, -180.0, 180.0)
    near = 18.0 * jax.random.normal(key_near, (count,))
    kind = jax.random.uniform(key_kind, (count,))
    centre = jnp.where(kind < 0.2, 180.0, jnp.where(kind < 0.4, _NOSE, 0.0))
    turned = jnp.where(kind < 0.6, centre + near, anywhere)
    joints = jax.random.uniform(key_joints, (count, 6), jnp.float32, jnp.asarray(LOW), jnp.asarray(HIGH))
    high = jax.random.uniform(key_high, (count,), jnp.float32, 0.0, 0.5)
    # A sole sinks in by up to 2 cm, as soft contacts let it.
    lift = jnp.where(jax.random.uniform(key_lift, (count,)) < 0.25, high, 0.04 * high - 0.02)
    x = jax.random.uniform(key_x, (count,), jnp.float32, -3.0, 3.0)
    zero = jnp.zeros_like(x)
    qpos = jnp.concatenate([jnp.stack([x, zero, -jnp.deg2rad(turned)], axis=1), joints], axis=1)
    return ENV.posed(grounded(qpos, lift))


def _sweep_states(values: Float[Array, " n"], bend: float) -> ForeignState:
    """Pitches, the legs bent by a share of their range, on the floor."""
    joints = jnp.asarray(LOW) + bend * (jnp.asarray(HIGH) - jnp.asarray(LOW))
    zero = jnp.zeros_like(values)
    root = jnp.stack([zero, zero, -jnp.deg2rad(values)], axis=1)
    qpos = jnp.concatenate([root, jnp.broadcast_to(joints, (values.shape[0], 6))], axis=1)
    return ENV.posed(grounded(qpos, zero))


def brax_halfcheetah_captions() -> CaptionedDataset:
    """Cheetahs turned any way, on the floor and above it."""
    sweep = Sweep(
        coordinate="pitch",
        unit="degrees",
        values=tuple(float(angle) for angle in range(-180, 181, 5)),
        contexts=(0.25, 0.5, 0.75),
        states=_sweep_states,
    )
    return CaptionedDataset(
        domain=DOMAIN,
        environment=ENV,
        params=ENV.drawing_params,
        sample_states=sample_states,
        concepts=_CONCEPTS,
        goals=(Goal("on_back", "on_feet", sweep), Goal("nose_down", "on_feet", sweep)),
        baseline="scene",
        looks=("clear",),
    )
