"""What is said about the humanoid: the sentences of the eight goals and of what else a frame shows, and when they hold.

See the head of `humanoid.py` for their log-odds.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvlm.clip.captions import Concept, expand

from ..humanoid.predicates import GOALS, goal_log_odds
from .humanoid_facts import (
    PosedHumanoid,
    all_of,
    arms_behind,
    arms_down,
    arms_forward,
    arms_sideways,
    before_face,
    belly_up,
    bowing,
    crouching,
    facing_off,
    falling,
    head_from_torso,
    lying,
    on_one_knee,
    one_arm_raised,
    sides,
    sitting,
    torso,
    within,
)


def _goal(name: str) -> Callable[[PosedHumanoid], Float[Array, "..."]]:
    return lambda state: goal_log_odds(name, state.measures)


_R = "[a|the|] [humanoid robot|robot|humanoid]"
_THE = "[a|the] [humanoid robot|robot|humanoid]"

_GOAL_WORDS: dict[str, tuple[tuple[str, ...], str]] = {
    "kneeling": (
        (
            "a humanoid robot kneeling",
            f"{_R} kneeling [on the floor|on the ground|down|on both knees|]",
            f"{_R} [on its knees|on both knees|down on its knees]",
            f"{_THE} [kneels|kneels down|kneels on the floor|is kneeling|is on its knees|has knelt down]",
            "[a|the] kneeling [humanoid robot|robot|humanoid]",
            f"{_R} with both knees on the [floor|ground]",
            "kneeling [on the floor|down|on both knees|]",
        ),
        "the kneeling robot is down on both knees",
    ),
    "lotus": (
        (
            "a humanoid robot seated down, meditating in the lotus position",
            f"{_R} [seated|seated down|sitting] [in the lotus position|in a lotus pose|cross-legged]",
            f"{_R} meditating [in the lotus position|in a lotus pose|on the floor|]",
            f"{_R} [in the lotus position|in a lotus pose|in lotus pose]",
            f"{_THE} [meditates|is meditating|sits cross-legged|sits in the lotus position]",
            "[a|the] [meditating|cross-legged] [humanoid robot|robot|humanoid]",
            "[meditation|lotus position|lotus pose]",
            f"{_R} [sitting|seated] with [its knees far apart|its feet tucked in|folded legs]",
        ),
        "the meditating robot is seated in lotus pose",
    ),
    "standing": (
        (
            "a humanoid robot standing up",
            f"{_R} standing [up|upright|on its feet|on both feet|on two legs|straight|]",
            f"{_R} [upright on its feet|on both feet|on its feet]",
            f"{_THE} [stands|stands up|stands upright|is standing|is standing up|is on its feet]",
            "[a|the] standing [humanoid robot|robot|humanoid]",
            "[a|the] [upright|balanced] [humanoid robot|robot|humanoid]",
            "standing [up|upright|on both feet|]",
        ),
        "the upright robot stands straight on its feet",
    ),
    "arms-raised": (
        (
            "a humanoid robot standing up, with both arms raised",
            f"{_R} standing [up|upright|] with [both arms|its arms|both hands|its hands] [raised|up|above its head]",
            f"{_R} with [both arms|its arms|both hands|its hands] [raised|up|in the air|above its head|overhead]",
            f"{_R} [raising|holding up|lifting] [both arms|its arms|both hands|its hands] [above its head|up|]",
            f"{_THE} [raises|lifts|holds up] [both arms|its arms|both hands|its hands]",
            "[hands up|arms up|both hands up|raised arms|arms raised|hands above the head|hands in the air]",
        ),
        "the standing robot holds both hands above its head",
    ),
    "splits": (
        (
            "a humanoid robot practicing gymnastics, doing the side splits",
            f"{_R} doing [the side splits|the splits|a split|a side split|gymnastics]",
            f"{_R} practicing [gymnastics|the splits|the side splits]",
            f"{_R} [in the splits|in a side split|in the side splits]",
            f"{_R} on the floor with its legs [spread wide|stretched out to the sides|stretched far apart]",
            f"{_THE} [does|performs|practices] [the splits|the side splits|a split|gymnastics]",
            "[side splits|the splits|gymnastics splits|doing the splits]",
        ),
        "the robot performs a side split on the floor",
    ),
    "hands-on-hips": (
        (
            "a humanoid robot standing up with hands on hips",
            f"{_R} standing [up|upright|] with [hands on hips|its hands on its hips|hands on the hips]",
            f"{_R} with [hands on hips|its hands on its hips|both hands on its hips|hands on the hips]",
            f"{_R} with [its hands on its waist|arms akimbo|its elbows pointing out]",
            f"{_R} [resting|holding|putting] [its|both] hands on its hips",
            f"{_THE} [puts|rests|holds|has] its hands on its [hips|waist]",
            "[hands on hips|hands on the hips|arms akimbo|hands on the waist]",
        ),
        "the standing robot rests both hands on the waist",
    ),
    "one-leg": (
        (
            "a humanoid robot standing up on one leg",
            f"{_R} standing [up|upright|] on [one leg|one foot|a single leg|a single foot]",
            f"{_R} [balancing|balanced|hopping] on [one leg|one foot|a single leg|a single foot]",
            f"{_R} [lifting one leg|lifting one foot|with one leg lifted|with one foot off the floor|with one leg up]",
            f"{_THE} [stands|balances|is standing|is balancing] on [one leg|one foot]",
            f"{_THE} [lifts|raises] [one leg|one foot|a leg|a foot]",
            f"{_R} [in a flamingo pose|standing like a flamingo|in a tree pose]",
            "[flamingo pose|on one leg|standing on one leg|one leg lifted]",
        ),
        "the robot lifts a foot and balances on a single leg",
    ),
    "arms-crossed": (
        (
            "a humanoid robot standing up, with its arms crossed",
            f"{_R} standing [up|upright|] with [its arms|both arms|its forearms] [crossed|folded]",
            f"{_R} with [its arms|both arms|its forearms] [crossed|folded] [over its chest|in front of its chest|]",
            f"{_R} [crossing|folding] [its arms|both arms|its forearms] [over its chest|in front of its chest|]",
            f"{_THE} [crosses|folds|has crossed|has folded] [its arms|both arms]",
            "[crossed|folded] arms",
            "arms [crossed|folded] [over the chest|]",
        ),
        "the standing robot folds its forearms over the chest",
    ),
}

_FACTS: tuple[tuple[str, tuple[str, ...], str, Callable[[PosedHumanoid], Float[Array, "..."]]], ...] = (
    (
        "scene",
        (
            "a humanoid robot",
            "[a|the|one] [humanoid robot|robot|humanoid]",
            "[a picture|an image|a photo|a drawing] of [a|the] [humanoid robot|robot|humanoid]",
            "[a|the|] [humanoid robot|robot|humanoid] [under|and] a blue sky",
            "[a|the] [humanoid robot|robot|humanoid] in [a|the] [picture|image|photo]",
        ),
        "an image of one robot and a sky",
        lambda state: jnp.full(state.measures.torso_tilt.shape, 2.0),
    ),
    (
        "lying",
        (
            "a humanoid robot lying on the floor",
            f"{_R} lying [on the floor|on the ground|down|flat|flat on the floor]",
            f"{_R} [stretched out|flat] on the ground",
            f"{_THE} [lies|lies down|lies on the floor|is lying down|has fallen over|lies on the ground]",
            "[a|the] [fallen|lying] [humanoid robot|robot|humanoid]",
            "lying [on the floor|down|on the ground]",
        ),
        "the fallen robot lies flat on the ground",
        lying,
    ),
    (
        "lying_back",
        (
            f"{_R} lying on its back [on the floor|on the ground|]",
            f"{_R} [flat on its back|on its back|facing the sky]",
            f"{_THE} [lies|is lying] [on its back|flat on its back|face up]",
            "lying on the back",
        ),
        "the humanoid is on its back on the floor",
        lambda state: all_of(lying(state), within(belly_up(state), low=0.4, unit=0.2)),
    ),
    (
        "lying_front",
        (
            f"{_R} lying on its [front|belly|stomach] [on the floor|on the ground|]",
            f"{_R} [face down|on its belly|on its stomach]",
            f"{_THE} [lies|is lying] [on its belly|on its front|face down]",
            "lying on the belly",
        ),
        "the humanoid is face down on the floor",
        lambda state: all_of(lying(state), within(-belly_up(state), low=0.4, unit=0.2)),
    ),
    (
        "sitting",
        (
            f"{_R} [sitting|seated] [on the floor|on the ground|down|]",
            f"{_THE} [sits|sits down|is sitting|is seated|sits on the floor|sits on the ground]",
            "[a|the] [sitting|seated] [humanoid robot|robot|humanoid]",
            "sitting [down|on the floor|]",
        ),
        "the seated robot sits down on the ground",
        sitting,
    ),
    (
        "sitting_legs_ahead",
        (
            f"{_R} sitting with [its legs ahead|its legs stretched forward|straight legs in front]",
            f"{_R} sitting on the floor with [its legs forward|its legs in front of it|both legs ahead]",
            f"{_THE} sits with [its legs ahead|its legs stretched forward|both legs in front of it]",
        ),
        "the robot sits on the floor with its legs ahead",
        lambda state: all_of(
            sitting(state),
            sides(within(state.measures.knee_flexion, high=70.0, unit=15.0)),
            within(state.measures.leg_spread, high=55.0, unit=10.0),
        ),
    ),
    (
        "crouching",
        (
            f"{_R} [crouching|squatting] [down|low|on its feet|]",
            f"{_R} in a [crouch|squat|deep squat]",
            f"{_THE} [crouches|squats|is crouching|is squatting|crouches down|squats down]",
            "[a|the] [crouching|squatting] [humanoid robot|robot|humanoid]",
            "[crouching|squatting|deep squat]",
        ),
        "the robot squats low in a deep crouch",
        crouching,
    ),
    (
        "one_knee",
        (
            f"{_R} [on one knee|kneeling on one knee|down on one knee|half kneeling]",
            f"{_R} with [one knee on the floor|one knee on the ground|only one knee down]",
            f"{_THE} [kneels on one knee|is on one knee|goes down on one knee]",
            "[on one knee|half kneeling]",
        ),
        "the robot is kneeling with only one knee on the ground",
        on_one_knee,
    ),
    (
        "falling",
        (
            f"{_R} falling [over|down|to the floor|]",
            f"{_R} [losing its balance|tipping over|about to fall|off balance]",
            f"{_THE} [falls|falls over|is falling|is tipping over|loses its balance|is losing its balance]",
            "[a|the] falling [humanoid robot|robot|humanoid]",
        ),
        "the falling robot loses its balance",
        falling,
    ),
    (
        "airborne",
        (
            f"{_R} [in the air|in mid-air|off the ground|off the floor|above the floor]",
            f"{_R} [jumping|floating|flying|hovering] [above the floor|above the ground|in the air|]",
            f"{_THE} [jumps|floats|is jumping|is in the air|does not touch the floor]",
        ),
        "the robot is floating off the floor",
        lambda state: within(state.measures.lowest, low=0.06, unit=0.04),
    ),
    (
        "grounded",
        (
            f"{_R} [touching|on|in contact with] the [floor|ground]",
            f"{_THE} [touches|is touching|stays on|is on] the [floor|ground]",
        ),
        "the humanoid is in contact with the ground",
        lambda state: -within(state.measures.lowest, low=0.06, unit=0.04),
    ),
    (
        "bowing",
        (
            f"{_R} [bowing|bending over|bent over|bending forward|bent forward]",
            f"{_THE} [bows|bends over|bends forward|is bowing|is bending over]",
            "[a|the] bowing [humanoid robot|robot|humanoid]",
        ),
        "the humanoid robot is bent forward and bows",
        bowing,
    ),
    (
        "arms_down",
        (
            f"{_R} with [its arms down|its arms at its sides|its arms hanging down|its hands at its sides]",
            f"{_R} [lowering|with lowered] arms",
            f"{_THE} [lets its arms hang|has its arms at its sides|keeps its arms down]",
            "[arms down|arms at the sides|arms hanging down|lowered arms]",
        ),
        "the robot has its arms hanging down at its sides",
        arms_down,
    ),
    (
        "arms_sideways",
        (
            f"{_R} with [its arms|both arms] [stretched sideways|stretched out sideways|spread wide|out to the sides]",
            f"{_R} [in a T pose|spreading its arms|stretching its arms sideways]",
            f"{_THE} [spreads its arms|stretches its arms sideways|holds its arms out to the sides]",
            "[arms sideways|arms spread wide|T pose]",
        ),
        "the robot holds both arms stretched sideways",
        arms_sideways,
    ),
    (
        "arms_forward",
        (
            f"{_R} with [its arms|both arms] [stretched forward|stretched out in front|pointing forward]",
            f"{_R} [reaching forward|stretching its arms forward|reaching out in front]",
            f"{_THE} [reaches forward|stretches its arms forward|holds its arms out in front]",
            "[arms forward|arms stretched forward|arms out in front]",
        ),
        "the robot holds its arms stretched out in front",
        arms_forward,
    ),
    (
        "arms_behind",
        (
            f"{_R} with [its arms|both arms|its hands|both hands] behind [its back|it]",
            f"{_THE} [holds|has|keeps] its [arms|hands] behind its back",
            "[arms behind the back|hands behind the back]",
        ),
        "the robot with both hands behind the back",
        arms_behind,
    ),
    (
        "one_arm_raised",
        (
            f"{_R} with [one arm|one hand|only one arm|only one hand] [raised|up|above its head]",
            f"{_R} [raising|lifting] [one arm|one hand]",
            f"{_THE} [raises|lifts] [one arm|one hand]",
            "[one arm up|one hand raised|one arm raised]",
        ),
        "the robot has raised only one hand",
        one_arm_raised,
    ),
    (
        "hands_before_face",
        (
            f"{_R} with [its hands|both hands|its arms|its forearms] [in front of its face|before its face]",
            f"{_R} [covering|hiding] its face [with its hands|with its arms|]",
            f"{_THE} [covers|hides] its face",
            "hands before the face",
        ),
        "the robot hides its face with both hands",
        before_face,
    ),
    (
        "legs_apart",
        (
            f"{_R} with [its legs|both legs] [apart|wide apart|far apart|spread|spread apart]",
            f"{_R} [spreading its legs|standing astride]",
            f"{_THE} [spreads its legs|has its legs apart|holds its legs apart]",
            "[legs apart|spread legs]",
        ),
        "the robot has both legs spread wide apart",
        lambda state: within(state.measures.leg_spread, low=45.0, unit=10.0),
    ),
    (
        "legs_together",
        (
            f"{_R} with [its legs|both legs|its feet|both feet] [together|close together|side by side]",
            f"{_R} holding its legs together",
            f"{_THE} [keeps its legs together|has its legs together]",
            "legs together",
        ),
        "the robot has both feet close together",
        lambda state: within(state.measures.leg_spread, high=20.0, unit=6.0),
    ),
    (
        "knees_bent",
        (
            f"{_R} with [bent knees|bent legs|both knees bent|its knees bent|both legs bent]",
            f"{_R} bending [its knees|both knees|its legs|both legs]",
            f"{_THE} [bends its knees|has bent knees|bends both legs]",
            "[bent knees|knees bent]",
        ),
        "the robot has both legs and knees bent",
        lambda state: sides(within(state.measures.knee_flexion, low=55.0, unit=12.0)),
    ),
    (
        "knees_straight",
        (
            f"{_R} with [straight legs|straight knees|stretched legs|both legs straight|its legs stretched]",
            f"{_R} stretching [its legs|both legs|its knees]",
            f"{_THE} [stretches its legs|has straight legs|keeps its legs straight]",
            "[straight legs|stretched legs]",
        ),
        "the robot keeps both knees straight",
        lambda state: sides(within(state.measures.knee_flexion, high=35.0, unit=10.0)),
    ),
    (
        "head_high",
        (
            f"{_R} with its head [high|high up|far above the floor|high above the floor]",
            f"{_R} at its full height",
            "[a|the] tall [humanoid robot|robot|humanoid]",
            f"{_THE} is [tall|at its full height|high up]",
            f"{_THE} [holds|keeps] its head high",
        ),
        "the tall robot holds its head far above the floor",
        lambda state: within(state.measures.head_clearance, low=1.2, unit=0.12),
    ),
    (
        "head_low",
        (
            f"{_R} with its head [low|low down|close to the floor|near the ground]",
            f"{_R} [close to the floor|low on the ground|near the ground]",
            f"{_THE} [is close to the floor|keeps its head low|is low down]",
        ),
        "the robot with its head low near the floor",
        lambda state: within(state.measures.head_clearance, high=0.8, unit=0.12),
    ),
    (
        "upside_down",
        (
            f"{_R} [upside down|on its head|standing on its head|head down|in a handstand]",
            f"{_THE} [is upside down|stands on its head|does a handstand|is head down]",
            "[a|the] upside down [humanoid robot|robot|humanoid]",
        ),
        "a robot does a handstand with its head down",
        lambda state: within(state.measures.torso_tilt, low=115.0, unit=12.0),
    ),
    (
        "leaning_left",
        (
            f"{_R} [leaning|tilted|tilting|bent] to the left",
            f"{_THE} [leans|tilts|is leaning|is tilted] [left|to the left]",
        ),
        "a robot tilting left",
        lambda state: within(-head_from_torso(state)[..., 1], low=0.3, unit=0.12),
    ),
    (
        "leaning_right",
        (
            f"{_R} [leaning|tilted|tilting|bent] to the right",
            f"{_THE} [leans|tilts|is leaning|is tilted] [right|to the right]",
        ),
        "a robot tilting right",
        lambda state: within(head_from_torso(state)[..., 1], low=0.3, unit=0.12),
    ),
    (
        "facing_camera",
        (
            f"{_R} [facing the camera|facing the viewer|seen from the front|looking at the camera]",
            f"{_THE} [faces the camera|faces the viewer|looks at the camera|faces us]",
            "[front view|seen from the front]",
        ),
        "the front of a robot facing us",
        lambda state: within(facing_off(state, 0.0), high=45.0, unit=12.0),
    ),
    (
        "facing_away",
        (
            f"{_R} [facing away|seen from behind|seen from the back|with its back to the camera]",
            f"{_THE} [faces away|turns its back|looks away from the camera]",
            "[back view|seen from behind]",
        ),
        "the back of a robot seen from behind",
        lambda state: within(facing_off(state, 180.0), high=45.0, unit=12.0),
    ),
    (
        "facing_left",
        (
            f"{_R} [facing left|facing to the left|looking left|turned to the left]",
            f"{_THE} [faces left|looks left|turns left|turns to the left]",
        ),
        "a robot looking to the left",
        lambda state: within(facing_off(state, -90.0), high=45.0, unit=12.0),
    ),
    (
        "facing_right",
        (
            f"{_R} [facing right|facing to the right|looking right|turned to the right]",
            f"{_THE} [faces right|looks right|turns right|turns to the right]",
        ),
        "a robot looking to the right",
        lambda state: within(facing_off(state, 90.0), high=45.0, unit=12.0),
    ),
    (
        "left_of_picture",
        (
            f"{_R} [on|in] the left [side|half|part] of the [picture|image]",
            f"{_R} on the left",
            f"{_THE} is [on the left|on the left side|in the left half]",
        ),
        "the left half of an image with a robot",
        lambda state: within(-torso(state)[..., 1], low=0.25, unit=0.1),
    ),
    (
        "right_of_picture",
        (
            f"{_R} [on|in] the right [side|half|part] of the [picture|image]",
            f"{_R} on the right",
            f"{_THE} is [on the right|on the right side|in the right half]",
        ),
        "the right half of an image with a robot",
        lambda state: within(torso(state)[..., 1], low=0.25, unit=0.1),
    ),
    (
        "near_camera",
        (
            f"{_R} [near|close to] the [camera|viewer]",
            f"{_THE} is [near|close to] the [camera|viewer]",
            "[a|the] close [humanoid robot|robot|humanoid]",
        ),
        "a humanoid close to us near the camera",
        lambda state: within(torso(state)[..., 0], low=0.3, unit=0.1),
    ),
    (
        "far_from_camera",
        (
            f"{_R} [far from|far away from] the [camera|viewer]",
            f"{_THE} is [far from|far away from] the [camera|viewer]",
            "[a|the] distant [humanoid robot|robot|humanoid]",
        ),
        "a distant humanoid far away from us",
        lambda state: within(-torso(state)[..., 0], low=0.3, unit=0.1),
    ),
)

# True of what the default view shows: left, right, near and the camera mean something else from anywhere else.
OF_DEFAULT_VIEW = frozenset(
    {
        *("leaning_left", "leaning_right", "left_of_picture", "right_of_picture"),
        *("facing_camera", "facing_away", "facing_left", "facing_right", "near_camera", "far_from_camera"),
    }
)

CONCEPTS = (
    *(Concept(goal, expand(*_GOAL_WORDS[goal][0]), _GOAL_WORDS[goal][1], _goal(goal)) for goal in GOALS),
    *(Concept(name, expand(*templates), held_out, fact) for name, templates, held_out, fact in _FACTS),
)
