"""Success without a human: when a humanoid kneels, stands on one leg or has its arms crossed, as pure functions.

VLM-RM (arXiv 2310.12921) had one person rate videos by the criteria of its table 2. Here each criterion is a list of
conditions on `Measures`; all of them must hold. `CONDITIONS` is the whole definition: thresholds, units and reasons.

Three of the eight poses cannot be reached by this body as a textbook shows them:

* A hip turns 60 degrees outwards and 25 to the side, so the widest split with the pelvis on the floor is a straddle of
  about 120 degrees.
* A thigh does not turn about its own length, so shins cannot be laid across each other. The nearest to a lotus is a
  low seat on the heels, knees on the floor and far apart, feet tucked in under the pelvis. With thighs 80 degrees
  apart the body rests in it without falling over.
* Hands do not reach the opposite upper arms unless elbows come up to the face, so arms are crossed where forearms are,
  in front of the chest or the belly.

A rollout counts as a success when its predicate holds in at least half its steps, as in the paper; so thresholds are
those at which an observer would still agree, not those of a perfect pose.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxvlm.errors import ConfigError

from .measures import Measures, measure


@dataclass(frozen=True)
class Condition:
    """One measure that must stay above `low` or below `high`, on both sides of the body where it has two.

    `tolerance` is what one unit of margin means, in the measure's unit, m or degrees: how far off still looks similar.
    """

    measure: str
    low: float | None = None
    high: float | None = None
    tolerance: float = 0.05
    reason: str = ""

    @property
    def unit(self) -> str:
        angles = ("tilt", "flexion", "angle", "spread", "lean", "facing")
        return "degrees" if self.measure.endswith(angles) else "m"


IN_FLOOR = Condition("lowest", low=-0.06, tolerance=0.03, reason="a hard landing sinks in by up to 5 cm")
LEGS_APART = Condition(
    "leg_penetration", high=0.06, tolerance=0.03, reason="legs do not pass through each other or the torso"
)
ARMS_APART = Condition(
    "arm_penetration",
    high=0.04,
    tolerance=0.03,
    reason="forearms are 6 cm thick: they do not pass through anything",
)
ARMS_OUTSIDE = Condition(
    "arm_penetration",
    high=0.08,
    tolerance=0.03,
    reason="arms do not count here, unless they vanish in the body",
)
BODY = (IN_FLOOR, LEGS_APART, ARMS_OUTSIDE)
BODY_AND_ARMS = (IN_FLOOR, LEGS_APART, ARMS_APART)

UPRIGHT = (
    Condition("torso_tilt", high=30.0, tolerance=10.0, reason="a torso tilted by more is falling or bowing"),
    Condition("lean", high=20.0, tolerance=8.0, reason="from 20 degrees off its feet a body falls"),
    Condition(
        "pelvis_clearance",
        low=0.64,
        tolerance=0.08,
        reason="0.78 on straight legs; 0.64 bends the knees by 70",
    ),
    Condition(
        "lower_foot_clearance", high=0.04, tolerance=0.05, reason="stands on the floor; 4 cm bridges a bounce"
    ),
)

CONDITIONS: dict[str, tuple[Condition, ...]] = {
    "kneeling": (
        Condition(
            "knee_clearance",
            high=0.06,
            tolerance=0.06,
            reason="both knees touch the floor; level shins hold them 2.6 cm up, on the feet",
        ),
        Condition("shin_angle", low=60.0, tolerance=12.0, reason="shins lie on the floor"),
        Condition("foot_behind_knee", low=0.0, tolerance=0.08, reason="shins point backwards"),
        Condition(
            "hip_over_knee",
            low=0.12,
            tolerance=0.05,
            reason="sits on the heels at the lowest, not on the floor",
        ),
        Condition("torso_tilt", high=35.0, tolerance=10.0, reason="not on all fours and not falling over"),
        Condition("thigh_spread", high=70.0, tolerance=10.0, reason="wider is a lotus seat"),
        *BODY,
    ),
    "lotus": (
        Condition(
            "pelvis_clearance",
            high=0.22,
            tolerance=0.06,
            reason="seated: 0.13 is as low as folded legs let it",
        ),
        Condition("knee_clearance", high=0.07, tolerance=0.06, reason="both knees are on the floor"),
        Condition(
            "thigh_spread",
            low=70.0,
            tolerance=10.0,
            reason="knees face outwards; 120 is the limit of the hips",
        ),
        Condition("knee_flexion", low=115.0, tolerance=12.0, reason="legs are folded"),
        Condition("foot_to_pelvis", high=0.25, tolerance=0.06, reason="feet are tucked in, under the seat"),
        Condition("torso_tilt", high=30.0, tolerance=10.0, reason="sits upright"),
        *BODY,
    ),
    "standing": (
        *UPRIGHT,
        Condition(
            "higher_foot_clearance",
            high=0.12,
            tolerance=0.05,
            reason="on both feet; a step lifts one by 10 cm",
        ),
        *BODY,
    ),
    "arms-raised": (
        Condition(
            "hand_over_head",
            low=0.04,
            tolerance=0.10,
            reason="hands are above the top of the head, not beside it",
        ),
        Condition(
            "elbow_up",
            low=0.06,
            tolerance=0.06,
            reason="elbows at the shoulders or higher, not forearms alone",
        ),
        *UPRIGHT,
        *BODY,
    ),
    "splits": (
        Condition("pelvis_clearance", high=0.18, tolerance=0.06, reason="sits on the floor or nearly"),
        Condition(
            "leg_spread", low=80.0, tolerance=12.0, reason="legs far apart; 120 is the limit of the hips"
        ),
        Condition("knee_flexion", high=35.0, tolerance=10.0, reason="legs are stretched"),
        Condition(
            "foot_clearance",
            high=0.16,
            tolerance=0.06,
            reason="legs lie on the floor or within 10 degrees of it",
        ),
        Condition(
            "foot_out", low=0.30, tolerance=0.10, reason="one leg to each side, not one ahead of the other"
        ),
        Condition("torso_tilt", high=45.0, tolerance=12.0, reason="upright, not lying with legs apart"),
        *BODY,
    ),
    "hands-on-hips": (
        Condition("hand_to_hip", high=0.08, tolerance=0.05, reason="hands at pelvis or lower waist"),
        Condition("hand_out", low=0.06, tolerance=0.05, reason="each hand on its own side, not on the belly"),
        Condition("elbow_beyond_hand", low=0.05, tolerance=0.05, reason="elbows point outwards"),
        Condition("hand_up", high=-0.17, tolerance=0.06, reason="below the ribs; the hips' base is at -0.40"),
        Condition(
            "hand_forward",
            high=0.22,
            tolerance=0.06,
            reason="arms that merely hang in front of bent hips do not count",
        ),
        *UPRIGHT,
        *BODY_AND_ARMS,
    ),
    "one-leg": (
        Condition(
            "higher_foot_clearance", low=0.15, tolerance=0.06, reason="the other foot is clearly lifted"
        ),
        Condition(
            "trunk_clearance", low=0.15, tolerance=0.10, reason="nothing but the foot touches the floor"
        ),
        *UPRIGHT,
        *BODY,
    ),
    "arms-crossed": (
        Condition(
            "hand_out",
            high=-0.02,
            tolerance=0.04,
            reason="each hand is across the midline, not just touching",
        ),
        Condition(
            "hand_to_other_forearm",
            high=0.12,
            tolerance=0.05,
            reason="forearms cross, not pass at a distance",
        ),
        Condition(
            "hand_forward", low=0.05, high=0.48, tolerance=0.06, reason="in front of the chest, not held out"
        ),
        Condition("hand_up", low=-0.30, high=0.12, tolerance=0.06, reason="between waist and shoulders"),
        Condition(
            "elbow_up", high=0.0, tolerance=0.06, reason="elbows below the shoulders, or the face is covered"
        ),
        *UPRIGHT,
        *BODY_AND_ARMS,
    ),
}
GOALS = ("kneeling", "lotus", "standing", "arms-raised", "splits", "hands-on-hips", "one-leg", "arms-crossed")


def condition_margins(goal: str, measures: Measures) -> Float[Array, "... conditions"]:
    """Margin of each condition of a goal, in tolerances, positive where it holds; in the order of `CONDITIONS`.

    Raises:
      ConfigError: an unknown goal.
    """
    if goal not in CONDITIONS:
        raise ConfigError(f"unknown goal {goal!r}: choose one of {', '.join(GOALS)}")
    return jnp.stack([_margin(condition, measures) for condition in CONDITIONS[goal]], axis=-1)


def goal_log_odds(goal: str, measures: Measures) -> Float[Array, "..."]:
    """How true a goal is, graded: positive exactly where it holds, up to 2, and down to -7 far from it.

    Between, every condition counts at once: in proportion to what it is missed by, and a little to what it has to
    spare, up to two tolerances, as long as the goal is missed. So there is a slope from standing with arms down to
    raised arms, and at the same time one from leaning by 20 degrees to standing straight. An agent that stands while it
    raises its arms needs the second as much as the first: at the threshold of leaning a body is past saving.

    Raises:
      ConfigError: an unknown goal.
    """
    margins = condition_margins(goal, measures)
    least = jnp.min(margins, axis=-1)
    missed = jnp.sum(jnp.clip(-margins, 0.0, 12.0), axis=-1)
    scarce = jnp.sum(2.0 - jnp.clip(margins, 0.0, 2.0), axis=-1)
    # 0 where the goal holds, so that the sign is that of the predicate.
    failed = jnp.tanh(2.5 * jnp.maximum(-least, 0.0))
    short = failed * (0.6 + 0.2 * scarce) + 0.3 * missed
    return 2.0 * jnp.tanh(2.0 * jnp.maximum(least, 0.0)) - 7.0 * jnp.tanh(short / 7.0)


def margin(goal: str, scene: Any) -> Float[Array, "..."]:
    """How clearly a goal holds: the least margin of its conditions, in tolerances; positive exactly where it holds.

    It is continuous in the pose and has no floor or ceiling.

    Args:
      goal: one of `GOALS`.
      scene: see `measures.measure`; one state or any batch.

    Raises:
      ConfigError: an unknown goal.
    """
    return jnp.min(condition_margins(goal, measure(scene)), axis=-1)


def holds(goal: str, scene: Any) -> Bool[Array, "..."]:
    """Whether a goal holds, in one state or in a batch of them; arguments as `margin`."""
    return margin(goal, scene) > 0


def _margin(condition: Condition, measures: Measures) -> Float[Array, "..."]:
    value = jnp.asarray(getattr(measures, condition.measure))
    parts = []
    if condition.low is not None:
        parts.append((value - condition.low) / condition.tolerance)
    if condition.high is not None:
        parts.append((condition.high - value) / condition.tolerance)
    least = parts[0] if len(parts) == 1 else jnp.minimum(*parts)
    return least if least.ndim == measures.torso_tilt.ndim else jnp.min(least, axis=-1)
