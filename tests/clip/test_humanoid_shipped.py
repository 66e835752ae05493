"""What the humanoid's embedded CLIP can do on states it has not seen, and what an untrained one cannot."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.captions import captioned_dataset
from jaxvlm.clip import load, load_tokenizer, resolve
from jaxvlm.clip.captions import select, vocabulary
from jaxvlm.clip.figures import embed_states, embed_texts
from jaxvlm.reward import auc

STATES = 1200


@pytest.fixture(scope="module")
def areas():
    """AUC of each goal's prompt against its predicate, by checkpoint and goal."""
    dataset = captioned_dataset("humanoid")
    states = dataset.sample_states(jax.random.key(11), STATES)
    result = {}
    for name in ("tiny", "untrained"):
        clip, params = load(f"{name}:humanoid", jnp.float32)
        images = embed_states(clip, params, dataset, states, "textured")
        prompts = [dataset.concept(goal.concept).wordings[0] for goal in dataset.goals]
        texts = embed_texts(clip, params, load_tokenizer(f"{name}:humanoid"), prompts)
        result[name] = {
            goal.concept: auc(
                (images @ text).mean(1), np.asarray(dataset.concept(goal.concept).holds(states))
            )
            for goal, text in zip(dataset.goals, texts, strict=True)
        }
    return result


@pytest.mark.slow
def test_every_goal_is_ranked(areas):
    """0.976 to 0.997 on the 2,000 states of the card; 1,200 others may differ by a hundredth.

    The aim is 0.98 for each, which kneeling alone does not meet.
    """
    assert areas["tiny"]["kneeling"] > 0.97, areas["tiny"]
    assert min(area for goal, area in areas["tiny"].items() if goal != "kneeling") > 0.98, areas["tiny"]
    assert np.median(list(areas["tiny"].values())) > 0.985


@pytest.mark.slow
def test_an_untrained_clip_does_not_rank_them(areas):
    """Posture changes how much of a frame is white, so chance does not come out at exactly one half."""
    for goal, area in areas["untrained"].items():
        assert area < areas["tiny"][goal] - 0.1, goal
    assert abs(np.median(list(areas["untrained"].values())) - 0.5) < 0.2


@pytest.mark.slow
def test_the_larger_one_ranks_them_better_from_both_sides():
    """0.994 to 1.000 on the 2,000 states of its card."""
    dataset = replace(captioned_dataset("humanoid"), cameras=("default", "side"))
    states = select(dataset.sample_states(jax.random.key(12), STATES), slice(0, 500))
    clip, params = load("tiny:humanoid-112", jnp.float32)
    images = embed_states(clip, params, dataset, states, "textured")
    assert images.shape[1] == 2
    prompts = [dataset.concept(goal.concept).wordings[0] for goal in dataset.goals]
    texts = embed_texts(clip, params, load_tokenizer("tiny:humanoid-112"), prompts)
    for goal, text in zip(dataset.goals, texts, strict=True):
        holds = np.asarray(dataset.concept(goal.concept).holds(states))
        assert auc((images @ text).mean(1), holds) > 0.985, goal.concept


@pytest.mark.parametrize("domain", ["humanoid", "humanoid-112"])
def test_the_checkpoint_knows_the_declared_words(domain):
    dataset = captioned_dataset("humanoid")
    tokenizer = load_tokenizer(f"tiny:{domain}")
    assert tokenizer.vocab_size == 4 + len(vocabulary(dataset))
    directory = resolve(f"tiny:{domain}")
    concepts = json.loads((directory / "concepts.json").read_text())
    assert set(concepts["concepts"]) == {concept.name for concept in dataset.concepts}
    assert concepts["goals"] == [dataset.concept(goal.concept).wordings[0] for goal in dataset.goals]
    for concept in dataset.concepts:
        assert tokenizer.unknown_words(concept.held_out) == []
    card = (directory / "README.md").read_text()
    assert "not zero-shot" in card
    assert all(f"| {goal.concept} | 0.0 |" in card for goal in dataset.goals)
