"""`jaxvlm probe`: its figures, its pictures, and what it says to bad input."""

import json

import pytest
from PIL import Image

from envs.captions import captioned_dataset
from envs.registry import make_task
from jaxvlm.cli.probe import Probe
from jaxvlm.cli.probe_sentences import sentences_of
from jaxvlm.errors import ConfigError

SMALL = ("--chains", 3, "--population", 8, "--rounds", 4, "--states", 200)


@pytest.mark.slow
def test_the_poles_sentence_wants_it_upright(call, tmp_path):
    code, out, _ = call("probe", "cartpole", *SMALL, "--paraphrase", "--opposite", "--output", tmp_path)
    assert code == 0
    assert "likes best meet the goal in 3 of 3 chains" in out
    assert "meet the goal in 0 of 3, as it should be" in out
    result = json.loads((tmp_path / "cartpole-tiny.json").read_text())
    rows = result["sentences"]
    uses = [row["use"] for row in rows]
    assert uses == ["goal", "held-out", "paraphrase", "paraphrase", "paraphrase", "ensemble", "opposite"]
    assert len(rows[-2]["prompts"]) == 5
    goal, opposite = rows[0], rows[-1]
    assert goal["auc"][0] > 0.95
    assert opposite["auc"][0] < 0.1
    assert goal["optima"][0]["score"] >= goal["optima"][-1]["score"] > goal["goal_median"]
    assert goal["counts"] == {"met": 3, "fooled": 0, "short": 0}
    assert abs(goal["optima"][0]["parameters"][1]) < 0.2  # rad
    assert opposite["optima"][0]["missed"][0]["measure"] == "pole_angle"
    assert result["parameters"] == ["x (m)", "theta (rad)"]
    assert result["pictures"] == 7 * 3 * 8 * 5 + 200
    assert result["rank_correlations"][0] == pytest.approx([row["with_first"] for row in rows], abs=1e-5)
    for name in ("cartpole-tiny.png", "cartpole-tiny-sentences.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 300


@pytest.mark.slow
def test_the_same_seed_finds_the_same(call, tmp_path):
    found = []
    for name in ("a", "b"):
        folder = tmp_path / name
        assert call("probe", "mountain-car", *SMALL, "--seed", 5, "--output", folder)[0] == 0
        found.append(json.loads((folder / "mountain-car-tiny.json").read_text())["sentences"])
    assert found[0] == found[1]
    assert found[0][0]["optima"][0]["holds"]


@pytest.mark.slow
def test_random_weights_are_seen_to_say_nothing(call, tmp_path):
    code, out, _ = call("probe", "cartpole", *SMALL, "--clip", "untrained", "--output", tmp_path)
    assert code == 0
    assert "does not tell goal states from others" in out or "no state that this sentence likes best" in out
    assert (tmp_path / "cartpole-untrained.json").is_file()


@pytest.mark.slow
def test_without_random_states_at_the_goal_no_median_is_spoken_of(call, tmp_path):
    few = (*SMALL[:-2], "--states", 2, "--clip", "untrained", "--output", tmp_path)
    code, out, _ = call("probe", "cartpole", *few)
    assert code == 0
    assert "none of 2 random states is at the goal" in out
    assert "no random state meets the goal, so there is no median" in out
    assert "fooled:" not in out
    assert "below the median" not in out
    assert "as high as goal states do" not in out


@pytest.mark.slow
def test_alpha_and_a_baseline_are_part_of_the_reward(call, tmp_path):
    code, _, _ = call("probe", "mountain-car", *SMALL, "--alpha", 0.5, "--output", tmp_path)
    assert code == 0
    row = json.loads((tmp_path / "mountain-car-tiny.json").read_text())["sentences"][0]
    assert row["auc"][0] > 0.9
    assert row["optima"][0]["score"] > 0.4  # goal-baseline rewards of goal states are near 1


@pytest.mark.slow
def test_a_free_sentence_of_the_humanoid_has_pictures_and_known_facts(call, tmp_path):
    code, out, _ = call(
        "probe", "humanoid", "--prompt", "a robot doing a handstand", *SMALL, "--camera", "default", "side",
        "--output", tmp_path,
    )  # fmt: skip
    assert code == 0
    assert "pictures only" in out
    assert "of 3 best states: " in out
    row = json.loads((tmp_path / "humanoid-tiny.json").read_text())["sentences"][0]
    assert row["auc"] is None
    assert row["facts"]
    with Image.open(tmp_path / "humanoid-tiny.png") as picture:
        assert picture.size[0] > picture.size[1]


@pytest.mark.slow
def test_the_humanoids_poses_are_judged_by_predicate_and_physics(call, tmp_path):
    code, out, _ = call("probe", "humanoid-kneeling", *SMALL, "--output", tmp_path)
    assert code == 0
    assert "of 3" in out
    row = json.loads((tmp_path / "humanoid-kneeling-tiny.json").read_text())["sentences"][0]
    assert row["auc"][0] > 0.9
    for optimum in row["optima"]:
        assert optimum["holds"] is not bool(optimum["missed"])
        assert optimum["held"] in (True, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pendulum",), "unknown task 'pendulum'"),
        (("cartpole", "--camera", "behind"), "unknown camera 'behind'; this task has default"),
        (("cartpole", "--look", "gold"), "unknown look 'gold'"),
        (("cartpole", "--alpha", 2), "alpha is 2.0"),
        (("cartpole", "--population", 2), "population is 2"),
        (("cartpole", "--chains", 0), "chains is 0"),
        (("cartpole", "--rounds", 0), "rounds is 0"),
        (("cartpole", "--states", 1), "states is 1"),
        (("cartpole", "--seed", -1), "seed is -1"),
        (("cartpole", "--prompt", " "), "a prompt needs at least one word"),
        (("cartpole", "--alpha", 0.5, "--baseline"), "there is no baseline prompt"),
        (("cartpole", "--clip", "nowhere/at-all"), "nowhere/at-all"),
        (("humanoid",), "has no prompt of its own"),
        (("cartpole", "--prompt"), "--prompt is given without a sentence"),
    ],
)
def test_bad_input_is_named_in_one_line(call, arguments, said):
    code, _, err = call("probe", *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_words_that_the_clip_never_saw_are_noted(call, tmp_path):
    code, out, _ = call("probe", "cartpole", "--prompt", "a zebra on the cart", *SMALL, "--output", tmp_path)
    assert code == 0
    assert "never seen 'zebra'" in out


def test_no_task_shows_what_there_is(call):
    code, out, _ = call("probe")
    assert code == 2
    assert "usage: jaxvlm probe TASK" in out
    assert "humanoid-kneeling" in out


def test_sentences_that_are_not_known_have_to_be_given():
    task, dataset = make_task("humanoid"), captioned_dataset("cartpole")
    options = Probe(prompt=("a robot that dances",), paraphrase=())
    with pytest.raises(ConfigError, match="no other wordings of 'a robot that dances' are known"):
        sentences_of(options, task, dataset, None)
    given = sentences_of(Probe(prompt=("a",), paraphrase=("b",), opposite=("c",)), task, dataset, None)
    assert [row.prompts for row in given] == [("a",), ("b",), ("a", "b"), ("c",)]
    assert [row.use for row in given] == ["goal", "paraphrase", "ensemble", "opposite"]
