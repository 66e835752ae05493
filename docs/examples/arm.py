"""A robot arm from a MuJoCo model of one's own, told by a sentence what to do.

jaxvlm clip train docs/examples/arm.py --output arm-clip
jaxvlm train docs/examples/arm.py:up --clip arm-clip
"""

from pathlib import Path

import jax
import jax.numpy as jnp

from envs.adapters.foreign import Foreign
from envs.registry import Task
from envs.wrappers import Judged
from jaxvlm.clip.captions import CaptionedDataset, Concept, Goal, Sweep, both, expand

ARM = Foreign("mjcf", str(Path(__file__).with_name("arm.xml")))
WIDE = 25.0  # degrees of both links to either side of a direction


def towards(state, direction):
    """Log-odds that both links point one way, in degrees from straight down; 20 degrees are one unit."""
    shoulder, elbow = state.qpos[..., 0], state.qpos[..., 1]

    def near(angle):
        off = jnp.rad2deg(angle) - direction
        off = jnp.abs((off + 180.0) % 360.0 - 180.0)
        return (WIDE - off) / 20.0

    return both(near(shoulder), near(shoulder + elbow))


def points_up(state):
    return towards(state, 180.0) > 0.0


def captions():
    """Four directions, and the picture itself."""
    a, arm = "[a|the]", "[arm|robot arm]"
    directions = {"up": 180.0, "down": 0.0, "left": 90.0, "right": -90.0}
    words = {"up": "up", "down": "down", "left": "to the left", "right": "to the right"}
    return CaptionedDataset(
        domain="arm",
        environment=ARM,
        params=ARM.drawing_params,
        sample_states=sample_states,
        concepts=(
            *(
                Concept(
                    name,
                    expand(
                        f"a robot arm pointing straight {words[name]}",
                        f"{a} {arm} [pointing|reaching|stretched out] [straight|] {words[name]}",
                        f"{a} {arm} [that points|that reaches|held] [straight|] {words[name]}",
                    ),
                    f"a straight arm that points {words[name]}",
                    lambda state, direction=direction: towards(state, direction),
                )
                for name, direction in directions.items()
            ),
            Concept(
                "scene",
                expand(
                    "a robot arm on a post",
                    f"{a} {arm} [on a post|with a red ball|and a post]",
                    f"[a picture|an image] of {a} {arm} [on a post|with a red ball|]",
                ),
                "an image of the post with a robot arm",
                lambda state: jnp.full_like(state.qpos[..., 0], 2.0),
            ),
        ),
        goals=(Goal("up", "down", Sweep("shoulder", "degrees", ANGLES, (-60.0, 0.0, 60.0), turned)),),
        baseline="scene",
        looks=("model",),
    )


ANGLES = tuple(float(angle) for angle in range(-180, 181, 5))


def turned(values, elbow):
    """Arms with the shoulder at `values` from straight up."""
    return ARM.posed(jnp.deg2rad(jnp.stack([values + 180.0, jnp.full_like(values, elbow)], axis=1)))


def sample_states(key, count):
    """Shoulders all the way round, a third of them near straight up; half of the elbows nearly straight."""
    angle, bend, kind = jax.random.split(key, 3)
    shoulder = jax.random.uniform(angle, (count,), minval=-180.0, maxval=180.0)
    elbow = jax.random.uniform(bend, (count,), minval=-150.0, maxval=150.0)
    high, straight = jax.random.uniform(kind, (2, count))
    shoulder = jnp.where(high < 0.33, 180.0 + shoulder * 40.0 / 180.0, shoulder)
    elbow = jnp.where(straight < 0.5, 0.2 * elbow, elbow)
    return ARM.posed(jnp.deg2rad(jnp.stack([shoulder, elbow], axis=1)))


TASKS = {
    "up": Task(
        env=Judged(ARM, points_up),
        summary="swing up and stay there",
        goal_prompts=("a robot arm pointing straight up",),
        baseline_prompts=("a robot arm on a post",),
        opposite_prompts=("a robot arm pointing straight down",),
        concept="up",
        episode_length=100,
        window=50,
    ),
}
