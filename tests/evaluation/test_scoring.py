"""Scores of states against the reward that training uses, and what is said of them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.captions import captioned_dataset
from envs.cartpole import CartPole, CartPoleScene
from jaxvlm.errors import ConfigError
from jaxvlm.evaluation.scoring import Prompts, Views, histogram, measure, parameters_of, score_states
from jaxvlm.evaluation.states import StateDataset, scene_fields
from jaxvlm.reward import auc, goal_distance, label, pearson_distance
from jaxvlm.vlmrm.build import build_reward, load_tower
from jaxvlm.vlmrm.config import RewardSettings

ALPHAS = (0.0, 0.5)
PROMPTS = Prompts(("pole vertically upright on top of the cart",), ("pole and cart",))


@pytest.fixture(scope="module")
def tower():
    return load_tower("tiny", "cartpole")


@pytest.fixture(scope="module")
def dataset():
    captions = captioned_dataset("cartpole")
    drawn = captions.sample_states(jax.random.key(3), 40)
    graded = np.asarray(captions.concept("upright").log_odds(drawn), np.float32)
    index = {name: np.zeros(40, np.int32) for name in ("source", "seed", "step")}
    return StateDataset(
        domain="cartpole",
        scenes=scene_fields(jax.vmap(captions.environment.scene, (0, None))(drawn, captions.params)),
        labels={"upright": graded > 0},
        graded={"upright": graded},
        index={**index, "episode": np.arange(40, dtype=np.int32) // 2},
        sources=({"kind": "sampler"},),
    )


@pytest.fixture(scope="module")
def scores(tower, dataset):
    scene = dataset.scene(CartPoleScene)
    return score_states(tower, scene, {"upright": PROMPTS}, Views(CartPole(), "plain"), ALPHAS)["upright"]


@pytest.mark.slow
def test_scores_are_the_rewards_of_training(tower, dataset, scores):

    env, scene = CartPole(), jax.tree.map(jnp.asarray, dataset.scene(CartPoleScene))
    assert scores.shape == (2, 40, 1)
    for alpha, ours in zip(ALPHAS, scores, strict=True):
        settings = RewardSettings(prompt=PROMPTS.goal, baseline=PROMPTS.baseline, alpha=alpha)
        params, _ = build_reward(settings, env, tower)
        theirs = label(
            params, scene, encode=tower.encode, render=env.render, size=tower.size, chunk=16, batch_ndim=1
        )
        np.testing.assert_allclose(ours[:, 0], theirs, atol=2e-5)


def test_rows_hold_the_figures(dataset, scores):
    rows = measure(dataset, "upright", scores, alphas=ALPHAS, cameras=("default",), resamples=50)
    truth, graded = dataset.labels["upright"], dataset.graded["upright"]
    for row, values in zip(rows, scores[..., 0], strict=True):
        np.testing.assert_allclose(row["epic"], goal_distance(values, truth), rtol=1e-5)
        np.testing.assert_allclose(row["epic_graded"], pearson_distance(values, graded), rtol=1e-5)
        assert row["auc"] == auc(values, truth)
        assert row["epic_low"] <= row["epic"] <= row["epic_high"]
        assert (row["n"], row["positives"], row["groups"]) == (40, int(truth.sum()), 20)
    assert [row["alpha"] for row in rows] == [0.0, 0.5]


def test_views_are_averaged_and_told_apart(dataset, scores):
    two = np.concatenate([scores, -scores], axis=-1)
    rows = measure(dataset, "upright", two, alphas=ALPHAS, cameras=("a", "b"), each_camera=True, resamples=10)
    assert [row["camera"] for row in rows] == ["a+b", "a+b", "a", "a", "b", "b"]
    assert np.isnan(rows[0]["epic"])  # the mean of both is constant
    np.testing.assert_allclose(rows[2]["epic"] ** 2 + rows[4]["epic"] ** 2, 1.0, atol=1e-5)


def test_people_decide_where_they_are_asked(dataset, scores):
    human = np.full(40, -1, np.int8)
    human[:10], human[10:20] = 1, 0
    asked = replace(dataset, human={"upright": human})
    row = measure(
        asked, "upright", scores, alphas=ALPHAS, cameras=("default",), labels="human", resamples=10
    )[0]
    np.testing.assert_allclose(row["epic"], goal_distance(scores[0, :20, 0], human[:20] == 1), rtol=1e-5)
    assert (row["n"], row["positives"], row["groups"]) == (20, 10, 10)
    assert np.isnan(row["epic_graded"])


def test_states_that_are_all_alike_are_refused(dataset, scores):
    none = replace(dataset, labels={"upright": np.zeros(40, bool)})
    with pytest.raises(ConfigError, match="no labelled state"):
        measure(none, "upright", scores, alphas=ALPHAS, cameras=("default",))


def test_histograms_count_everything(dataset, scores):
    truth = dataset.labels["upright"]
    found = histogram(scores[0, :, 0], truth, bins=5)
    assert len(found["edges"]) == 6
    assert sum(found["goal_counts"]) == truth.sum()
    assert sum(found["other_counts"]) == (~truth).sum()


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (Views(CartPole(), "shiny"), "unknown look 'shiny'.*plain"),
        (Views(CartPole(), "plain", ("top",)), "unknown camera 'top'.*default"),
        (Views(CartPole(), "plain", ()), "no camera"),
    ],
)
def test_views_that_are_not_there(views, message):
    with pytest.raises(ConfigError, match=message):
        views.validate()


def test_parameters_are_those_of_both_towers(tower):
    visual = sum(leaf.size for leaf in jax.tree.leaves(tower.params["params"]["visual"]))
    assert parameters_of(tower) > visual
