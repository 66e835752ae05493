"""CartPole with a reward of one's own: the sentence speaks of the pole, the rest is said in numbers.

jaxvlm train docs/examples/parked.py:right --clip tiny:cartpole                 # learns from `label`
jaxvlm train docs/examples/parked.py:right --clip tiny:cartpole --reward clip   # from the sentence alone
"""

import jax.numpy as jnp

from envs.cartpole import CartPole
from envs.registry import Task

PLACE = 1.0  # m, to the right of the middle of the track
WEIGHT = 0.3  # of a metre away from it; the CLIP reward is 0.17 with the pole up


def parked(clip, truth, seen):
    """The CLIP reward, less what the cart's distance from its place costs."""
    return clip - WEIGHT * jnp.abs(seen.scene.x - PLACE)


TASKS = {
    "right": Task(
        env=CartPole(),
        summary="keep the pole up, with the cart to the right",
        goal_prompts=("pole vertically upright on top of the cart",),
        episode_length=200,
        label=parked,
        metric="upright_fraction",
        threshold=0.9,
    )
}
