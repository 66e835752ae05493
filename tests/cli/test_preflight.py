"""What a user is told before hours are spent."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
import pytest

from envs.captions import captioned_dataset
from envs.humanoid.env import Humanoid
from envs.registry import make_task
from jaxvlm.cli.preflight import balanced, concept_of, flat_note, goal_of, preflight, views_note
from jaxvlm.cli.session import build_shown
from jaxvlm.errors import ConfigError
from jaxvlm.render import free_camera
from jaxvlm.vlmrm import preset
from jaxvlm.vlmrm.program import RewardStats


def told(task, name="laptop", rollout_length=None, **reward) -> list[str]:
    """Notes before a training of `task` with a preset."""
    config = preset(task.name, task.algorithm, name)
    config = replace(config, rollout_length=rollout_length or config.rollout_length)
    chosen = {"prompt": task.goal_prompts, "look": task.look, **reward}
    config = replace(config, reward=replace(config.reward, **chosen))
    return preflight(config, task, build_shown(config, task))


def test_a_sentence_that_ranks_frames_passes_without_a_word():
    assert told(make_task("cartpole")) == []


def test_a_sentence_that_says_nothing_is_warned_of():
    """The task's own sentence through a CLIP with random weights."""
    (note,) = told(make_task("cartpole"), clip="untrained")
    assert "does not tell goal frames from others (AUC 0." in note
    assert "on 256 states at the goal and 256 others" in note
    assert "clip check" in note


def test_scores_that_are_not_finite_are_told(monkeypatch):
    monkeypatch.setattr("jaxvlm.cli.preflight.auc", lambda scores, truth: float("nan"))
    (note,) = told(make_task("cartpole"))
    assert note.endswith("are not finite, so nothing can be learned from them; see `jaxvlm clip check`")


def test_a_sentence_whose_goal_no_state_is_at_is_said_to_be_unknown(monkeypatch):
    """Not a number is neither above nor below chance: it must not pass for a signal."""
    dataset = captioned_dataset("cartpole")
    never = replace(dataset.concept("upright"), log_odds=lambda states: -1.0 - 0.0 * states.theta)
    concepts = tuple(never if concept.name == "upright" else concept for concept in dataset.concepts)
    monkeypatch.setattr(
        "jaxvlm.cli.preflight.find_dataset", lambda domain: replace(dataset, concepts=concepts)
    )
    (note,) = told(make_task("cartpole"))
    assert "is not known: none of 8192 random states are at it" in note


@pytest.mark.parametrize(
    ("at_goal", "taken"), [(500, 32), (5, 5), (990, 54)], ids=["enough", "few at the goal", "few others"]
)
def test_states_at_the_goal_and_others_are_scored_in_equal_numbers(at_goal, taken):
    truth = np.zeros(1000, bool)
    truth[np.random.default_rng(0).permutation(1000)[:at_goal]] = True
    chosen = balanced(truth, 64, seed=0)
    assert len(set(chosen.tolist())) == 64
    assert truth[chosen].sum() == taken


def test_an_opposite_sentence_that_ranks_as_high_is_warned_of():
    """The goal's own sentence in place of the opposite: what a CLIP sees that cannot read the difference."""
    task = make_task("cartpole")
    (note,) = told(replace(task, opposite_prompts=task.goal_prompts))
    assert f"{task.goal_prompts[0]!r} ranks goal frames as high (AUC 1.00) as" in note
    assert "do not trust its reward" in note


@pytest.mark.slow
def test_ones_own_sentence_is_measured_by_the_caption_that_says_the_same():
    task, dataset = make_task("cartpole"), captioned_dataset("cartpole")
    assert concept_of(dataset, task, task.goal_prompts) == "upright"
    assert concept_of(dataset, task, ("pole hanging down below the cart",)) == "hanging"
    assert concept_of(dataset, task, ("a pole that dances",)) is None
    humanoid = captioned_dataset("humanoid")
    assert (
        concept_of(humanoid, make_task("humanoid-splits"), make_task("humanoid-splits").goal_prompts)
        == "splits"
    )
    assert concept_of(humanoid, make_task("humanoid"), ("a humanoid robot lying on the floor",)) == "lying"


def test_a_sentence_is_judged_by_the_tasks_one_goal_or_by_what_it_says():
    humanoid, splits = captioned_dataset("humanoid"), make_task("humanoid-splits").goal_prompts
    assert goal_of(humanoid, make_task("humanoid-kneeling"), splits) == "kneeling"
    assert goal_of(humanoid, make_task("humanoid"), splits) == "splits"
    assert goal_of(humanoid, make_task("humanoid"), ("a robot that dances",)) is None
    phases = make_task("humanoid-stand-then-kneel")
    assert goal_of(humanoid, phases, phases.goal_prompts) == "standing"
    assert goal_of(humanoid, phases, phases.then_prompts) == "kneeling"
    assert goal_of(humanoid, phases, ("a humanoid robot standing up, then kneeling",)) is None


def test_a_sentence_without_a_predicate_is_told_what_stands_for_success():
    assert make_task("humanoid").metric == "healthy_fraction"
    (note,) = told(replace(make_task("cartpole"), metric="healthy_fraction"))
    assert "no predicate is known for this sentence: success is the healthy fraction" in note
    assert "jaxvlm rate" in note


def test_a_gpus_preset_on_a_cpu_is_remarked():
    task = make_task("humanoid-kneeling")
    (note,) = told(task, "default", reward="ground-truth")
    assert "--preset laptop" in note
    assert told(task, "laptop", reward="ground-truth") == []


def test_rollouts_of_parts_of_episodes_are_remarked():
    task = make_task("cartpole")
    (note,) = told(task, rollout_length=33, reward="ground-truth")
    assert "--rollout-length 33 is no whole number of episodes of 201 rows" in note
    assert told(task, rollout_length=402, reward="ground-truth") == []


def test_a_clip_of_two_views_that_sees_one_is_remarked():
    task = make_task("humanoid-kneeling")
    config = preset(task.name, task.algorithm, "laptop")

    def note(clip, *cameras):
        return views_note(replace(config, reward=replace(config.reward, clip=clip, camera=cameras)), task)

    assert "`--camera default side` takes them all" in (note("tiny:humanoid-112", "default") or "")
    assert note("tiny:humanoid-112", "side", "default") is None
    assert note("tiny", "default") is None
    assert note("untrained:humanoid-112", "default") is None


@dataclass(frozen=True)
class TurnedAway(Humanoid):
    """The humanoid with a camera that looks away from it."""

    @property
    def cameras(self):
        away = free_camera((7.0, 0.0, 1.0), distance=3.5, azimuth=0.0, elevation=10.0)
        return {**super().cameras, "away": away}


@pytest.mark.slow
def test_a_camera_that_sees_nothing_is_refused():
    task = replace(make_task("humanoid-kneeling"), env=TurnedAway(goal="kneeling"))
    with pytest.raises(ConfigError, match="camera 'away' at"):
        told(task, camera=("away",))


def test_rewards_that_never_vary_are_remarked():
    config = preset("cartpole", "dqn", "laptop")
    counts, means = jnp.array([100.0, 100.0]), jnp.array([0.25, 0.25])

    def note(deviation, count=counts, reward="clip"):
        stats = RewardStats(count=count, mean=means, m2=count * jnp.asarray(deviation) ** 2)
        return flat_note(replace(config, reward=replace(config.reward, reward=reward)), stats)

    assert "all 200 frames of random actions earned the same reward, 0.25:" in (note([0.0, 1e-7]) or "")
    assert note([0.0, 1e-3]) is None  # of one seed they vary
    assert note([0.0, 0.0], reward="ground-truth") is None
    assert note([0.0, jnp.nan]) is None  # not a number is not alike
    assert note([0.0, 0.0], count=jnp.zeros(2)) is None  # nothing was seen: learning starts at once
