"""A balloon that is told where to fly: an environment of one's own, with a CLIP of its own.

jaxvlm clip train docs/examples/balloon.py --output balloon-clip
jaxvlm train docs/examples/balloon.py:cloud --clip balloon-clip
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.registry import Task
from jaxvlm.clip.captions import CaptionedDataset, Concept, Goal, Sweep, expand
from jaxvlm.render import Camera2D, box, circle, paint, pixel_grid
from jaxvlm.spaces import Box

GROUND = 0.12  # height of the grass, in sides of the picture
NEAR = 0.12  # between the middles of balloon and cloud
DRAG, THRUST = 0.85, 0.02  # of the speed, and sides a step squared


@struct.dataclass
class Sky:
    """The state of the world, and all that a picture is drawn from."""

    balloon: Any  # f32[2], across and up, in sides of the picture
    speed: Any  # f32[2], sides a step
    cloud: Any  # f32[2]


@struct.dataclass
class Colours:
    """RGB in [0, 1]; whatever is large or shared belongs here and not into a scene."""

    sky: Any
    grass: Any
    cloud: Any
    balloon: Any
    basket: Any


@dataclass(frozen=True)
class Balloon:
    """Two burners push a balloon about; a cloud stands somewhere in the sky. Success is to be at the goal."""

    goal: str = "cloud"  # or "grass"

    name = "balloon"
    looks = ("plain",)
    default_params = None  # numbers that may differ between environments side by side would be here

    @property
    def cameras(self):
        return {"default": Camera2D()}  # the unit square

    def observation_space(self, params):
        return Box(-2.0, 2.0, (6,))

    def action_space(self, params):
        return Box(-1.0, 1.0, (2,))

    def reset(self, key, params):
        place, cloud = jax.random.uniform(key, (2, 2), minval=0.15, maxval=0.85)
        cloud = cloud.at[1].set(0.45 + 0.5 * cloud[1])
        state = Sky(balloon=place, speed=jnp.zeros(2), cloud=cloud)
        return observe(state), state

    def step(self, key, state, action, params):
        speed = DRAG * state.speed + THRUST * jnp.clip(action, -1.0, 1.0)
        place = jnp.clip(state.balloon + speed, jnp.array([0.05, GROUND + 0.1]), jnp.array([0.95, 0.95]))
        state = Sky(balloon=place, speed=place - state.balloon, cloud=state.cloud)
        odds = at_cloud(state) if self.goal == "cloud" else on_grass(state)
        success, never = odds > 0.0, jnp.bool_(False)
        return observe(state), state, success.astype(jnp.float32), never, never, {"success": success}

    def scene(self, state, params):
        return state

    def assets(self, look):
        rgb = {"sky": (0.55, 0.78, 0.95), "grass": (0.30, 0.62, 0.25), "cloud": (1.0, 1.0, 1.0)}
        rgb |= {"balloon": (0.85, 0.12, 0.10), "basket": (0.45, 0.28, 0.12)}
        return Colours(**{part: jnp.array(colour) for part, colour in rgb.items()})

    def render(self, scene, assets, camera, size):
        grid = pixel_grid(camera, size)
        frame = jnp.broadcast_to(assets.sky, (size, size, 3))
        frame = paint(frame, box(grid, jnp.array([0.5, 0.0]), jnp.array([1.0, GROUND])), assets.grass)
        for across, up, radius in ((-0.08, 0.0, 0.07), (0.0, 0.03, 0.09), (0.09, 0.0, 0.065)):
            puff = circle(grid, scene.cloud + jnp.array([across, up]), radius)
            frame = paint(frame, puff, assets.cloud)
        basket = box(grid, scene.balloon - jnp.array([0.0, 0.08]), jnp.array([0.02, 0.02]))
        frame = paint(frame, basket, assets.basket)
        return paint(frame, circle(grid, scene.balloon, 0.055), assets.balloon)


def observe(state):
    return jnp.concatenate([state.balloon - state.cloud, state.balloon, 10.0 * state.speed])


def at_cloud(state):
    """Log-odds that the balloon is at the cloud: they fall with the distance, everywhere."""
    return (NEAR - jnp.linalg.norm(state.balloon - state.cloud, axis=-1)) / 0.06


def on_grass(state):
    """Log-odds that the balloon has landed."""
    return (GROUND + 0.14 - state.balloon[..., 1]) / 0.06


def far_from_cloud(state):
    return jnp.clip(-2.0 - at_cloud(state), -4.0, 4.0)


def high_up(state):
    return jnp.clip((state.balloon[..., 1] - 0.6) / 0.06, -4.0, 4.0)


def captions():
    """Sentences, and when they are true: what a CLIP of these pictures is trained on."""
    a, balloon = "[a|the|]", "[balloon|red balloon]"
    concepts = (
        Concept(
            "at_cloud",
            expand(
                "a red balloon at the white cloud",
                f"{a} {balloon} [in front of|touching|hiding|covering] {a} [cloud|white cloud]",
                f"{a} [cloud|white cloud] [with|behind] {a} {balloon}",
            ),
            "a white cloud hiding behind the red balloon",
            at_cloud,
        ),
        Concept(
            "on_grass",
            expand(
                "a red balloon on the grass",
                f"{a} {balloon} [landed on|standing on|down on] [the grass|the ground|the meadow]",
                f"{a} [landed|grounded] {balloon}",
            ),
            "the balloon standing on the meadow landed",
            on_grass,
        ),
        Concept(
            "far",
            expand(
                "a red balloon far from the white cloud",
                f"{a} {balloon} [far from|a long way from|far away from] {a} [cloud|white cloud]",
            ),
            "a white cloud far away from the balloon",
            far_from_cloud,
        ),
        Concept(
            "high",
            expand(
                "a red balloon high up in the sky",
                f"{a} {balloon} [high up|high above the ground|far above the grass|high] [in the sky|]",
            ),
            "the sky with the balloon high above the ground",
            high_up,
        ),
        Concept(
            "scene",
            expand(
                "a balloon in a landscape",
                f"{a} {balloon} and {a} [cloud|white cloud]",
                f"[a picture of|an image of|] {a} {balloon} [in a landscape|with a cloud]",
            ),
            "a landscape with a balloon",
            lambda state: jnp.full_like(state.balloon[..., 0], 2.0),
        ),
    )
    return CaptionedDataset(
        domain="balloon",
        environment=Balloon(),
        params=None,
        sample_states=sample_states,
        concepts=concepts,
        goals=(
            # What `jaxvlm landscape` and the card plot: the score as the balloon passes the cloud, or sinks.
            Goal("at_cloud", "far", Sweep("balloon from cloud", "", STEPS, (0.0, 0.1), beside_the_cloud)),
            Goal("on_grass", "high", Sweep("height", "", HEIGHTS, (0.3, 0.7), above_the_grass)),
        ),
        baseline="scene",
    )


STEPS = tuple(float(x) for x in np.linspace(-0.4, 0.4, 41))
HEIGHTS = tuple(float(x) for x in np.linspace(GROUND + 0.1, 0.95, 41))


def beside_the_cloud(values, above):
    cloud = jnp.broadcast_to(jnp.array([0.5, 0.6]), (values.shape[0], 2))
    place = cloud + jnp.stack([values, jnp.full_like(values, above)], axis=1)
    return Sky(balloon=place, speed=jnp.zeros_like(place), cloud=cloud)


def above_the_grass(values, across):
    place = jnp.stack([jnp.full_like(values, across), values], axis=1)
    return Sky(balloon=place, speed=jnp.zeros_like(place), cloud=jnp.full_like(place, 0.7))


def sample_states(key, count):
    """Balloons and clouds anywhere; half of the balloons near the cloud, some on the grass."""
    far, near, kind = jax.random.split(key, 3)
    place, cloud = jax.random.uniform(far, (2, count, 2), minval=0.05, maxval=0.95)
    cloud = cloud.at[:, 1].set(0.4 + 0.55 * cloud[:, 1])
    beside = cloud + 0.12 * jax.random.normal(near, (count, 2))
    chosen = jax.random.uniform(kind, (count, 1))
    place = jnp.where(chosen < 0.5, beside, place)
    place = place.at[:, 1].set(jnp.where(chosen[:, 0] > 0.9, GROUND + 0.1, place[:, 1]))
    place = jnp.clip(place, jnp.array([0.05, GROUND + 0.1]), jnp.array([0.95, 0.95]))
    return Sky(balloon=place, speed=jnp.zeros_like(place), cloud=cloud)


TASKS = {
    "cloud": Task(
        env=Balloon("cloud"),
        summary="fly to the cloud and stay there",
        goal_prompts=("a red balloon at the white cloud",),
        baseline_prompts=("a balloon in a landscape",),
        opposite_prompts=("a red balloon far from the white cloud",),
        concept="at_cloud",
        criterion="The balloon is in front of the cloud.",
        episode_length=60,
        window=30,
    ),
    "grass": Task(
        env=Balloon("grass"),
        summary="land on the grass",
        goal_prompts=("a red balloon on the grass",),
        baseline_prompts=("a balloon in a landscape",),
        opposite_prompts=("a red balloon high up in the sky",),
        concept="on_grass",
        criterion="The balloon stands on the grass.",
        episode_length=60,
        window=30,
    ),
}
