"""What the grid-world's embedded CLIP can do on rooms it has not seen, and what an untrained one cannot."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.captions import captioned_dataset
from envs.captions.gridworld import steps_to
from envs.gridworld.room import OBJECTS
from jaxvlm.clip import load, load_tokenizer, resolve
from jaxvlm.clip.captions import vocabulary
from jaxvlm.clip.figures import embed_states, embed_texts
from jaxvlm.reward import auc

STATES = 600
GOALS = [goal.concept for goal in captioned_dataset("gridworld").goals]


@pytest.fixture(scope="module")
def states():
    return captioned_dataset("gridworld").sample_states(jax.random.key(11), STATES)


@pytest.fixture(scope="module")
def scores(states):
    """Cosines of pictures with the goals' prompts, f32[states, goals], by checkpoint."""
    dataset, result = captioned_dataset("gridworld"), {}
    prompts = [dataset.concept(goal).wordings[0] for goal in GOALS]
    held_out = [dataset.concept(goal).held_out for goal in GOALS]
    for name in ("tiny", "untrained"):
        clip, params = load(f"{name}:gridworld", jnp.float32)
        images = embed_states(clip, params, dataset, states, "plain")[:, 0]
        texts = embed_texts(clip, params, load_tokenizer(f"{name}:gridworld"), prompts + held_out)
        result[name], result[f"{name}, held out"] = np.split(images @ texts.T, 2, axis=1)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("wording", ["tiny", "tiny, held out"])
@pytest.mark.parametrize("goal", GOALS)
def test_every_goal_is_ranked(states, scores, goal, wording):
    dataset, column = captioned_dataset("gridworld"), GOALS.index(goal)
    holds = np.asarray(dataset.concept(goal).holds(states))
    assert auc(scores[wording][:, column], holds) > 0.98
    # Among agents on some object alone: both the colour and the shape are read.
    on_any = np.min([np.asarray(steps_to(states, byte)) for byte in OBJECTS], axis=0) == 0
    assert auc(scores[wording][on_any, column], holds[on_any]) > 0.98


def test_the_score_falls_with_every_step_away():
    """Walks of eleven steps in five rooms: the mean falls, fastest where the object is left."""
    looks = json.loads((resolve("tiny:gridworld") / "figures.json").read_text())["looks"]
    for goal in GOALS:
        mean = np.asarray(looks["plain"]["goals"][goal]["landscape"]["mean"]["0.0"])
        falls = -np.diff(mean)
        assert falls.min() > 0, goal
        assert falls.argmax() == 0, goal


@pytest.mark.parametrize("goal", GOALS)
def test_an_untrained_clip_does_not_rank_them(states, scores, goal):
    holds = np.asarray(captioned_dataset("gridworld").concept(goal).holds(states))
    assert auc(scores["untrained"][:, GOALS.index(goal)], holds) < 0.8


def test_the_checkpoint_knows_the_declared_words():
    dataset = captioned_dataset("gridworld")
    tokenizer, directory = load_tokenizer("tiny:gridworld"), resolve("tiny:gridworld")
    assert tokenizer.vocab_size == 4 + len(vocabulary(dataset))
    concepts = json.loads((directory / "concepts.json").read_text())["concepts"]
    for concept in dataset.concepts:
        assert tokenizer.unknown_words(concept.held_out) == []
        assert concepts[concept.name] == {"wordings": list(concept.wordings), "held_out": concept.held_out}
    assert "not zero-shot" in (directory / "README.md").read_text()
