"""What a rater is asked to look for, in our words: the criteria of VLM-RM's table 2, and those of other tasks."""

CRITERIA = {
    "kneeling": "It kneels: both knees rest on the floor and it keeps its balance. Knees in the air, or a body that is "
    "falling over, do not count.",
    "lotus": "It sits on the floor with folded legs: both knees are on the floor and point outwards, the feet are "
    "tucked inwards.",
    "standing": "It stands on both feet and does not fall.",
    "arms-raised": "It stands, and both arms are raised above the shoulders.",
    "splits": "It sits on the floor in the side splits: both legs are stretched out on the floor, one to each side.",
    "hands-on-hips": "It stands with a hand on either side of its hips. Hands on the chest or the belly do not count.",
    "arms-crossed": "It stands with its arms crossed. Hands that only touch each other do not count.",
    "one-leg": "It stands on one leg and keeps its balance; the other foot does not touch the floor.",
    "cartpole": "The pole stands nearly upright on top of the cart, and the cart is on its track.",
    "cartpole-swingup": "The pole stands nearly upright on top of the cart, and the cart is on its track.",
    "mountain-car": "The car is at the top of the hill, at the flag.",
    "mountain-car-plain": "The car is at the top of the hill, at the flag.",
}
FALLBACK = (
    "What you see is what the sentence says. Where it is between two readings, decide as its author would."
)


def criterion(concept: str | None, task: str = "") -> str:
    """The criterion of a goal.

    Args:
      concept: the fact that is the goal, such as "kneeling" or "at_red_ball"; None where a task has but one.
      task: name of the task, which is looked up where the concept is not known.
    """
    for key in (concept, task):
        if key in CRITERIA:
            return CRITERIA[key]
    if concept is not None and concept.startswith("at_"):
        return f"The agent is on the {concept.removeprefix('at_').replace('_', ' ')}."
    return FALLBACK
