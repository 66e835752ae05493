"""`jaxvlm dataset make`, `dataset label` and `epic` as a user meets them, inside the test process."""

import csv
import gc
import json
import shlex
import weakref
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from envs.registry import make_task
from jaxvlm.cli import main
from jaxvlm.cli.dataset import Plan, Players
from jaxvlm.cli.dataset_label import run as label
from jaxvlm.cli.epic import short_names, spelt_out
from jaxvlm.errors import ConfigError
from jaxvlm.evaluation import StateDataset
from jaxvlm.evaluation.states import find_dataset_folder

build = import_module("jaxvlm.vlmrm.build")  # the package's `build` is the function
TINY = shlex.split(
    "--steps 80 --num-envs 2 --rollout-length 20 --learning-starts 30 --updates 2 --batch-size 8 --buffer-size 400 "
    "--hidden-sizes 8 --episodes 3 --checkpoint-every 1 --reward ground-truth"
)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """A folder with a dataset of cartpole's."""
    folder = tmp_path_factory.mktemp("datasets")
    sources = ["grid:cartpole", "sampler:cartpole", "random:cartpole"]
    main(["dataset", "make", *sources, "--states", "90", "--name", "poles", "--output", str(folder)])
    return folder


@pytest.mark.slow
def test_a_dataset_has_what_was_asked_for(datasets):
    dataset = StateDataset.load(datasets / "poles")
    assert [int((dataset.index["source"] == place).sum()) for place in range(3)] == [30, 30, 30]
    assert [source["kind"] for source in dataset.sources] == ["grid", "sampler", "random"]
    theta = np.rad2deg((dataset.scenes["theta"] + np.pi) % (2 * np.pi) - np.pi)
    np.testing.assert_array_equal(dataset.labels["upright"], np.abs(theta) < 12)
    np.testing.assert_array_equal(dataset.graded["upright"] > 0, dataset.labels["upright"])
    # Of the random episodes a few states each, at different steps; everything else stands alone.
    random = dataset.index["source"] == 2
    assert len(np.unique(dataset.groups[~random])) == 60
    assert len(np.unique(dataset.index["episode"][random])) <= 8
    grid = dataset.scenes["x"][dataset.index["source"] == 0]
    np.testing.assert_allclose(grid.mean(), 0, atol=1e-6)  # the same on both sides


@pytest.mark.parametrize(("kind", "place"), [("sampler", 1), ("random", 2)])
def test_sources_without_an_agent_draw_apart(datasets, call, tmp_path, kind, place):
    sources = (f"{kind}:cartpole", f"{kind}:cartpole")
    flags = ("--states", 60, "--name", "two", "--output", tmp_path)
    assert call("dataset", "make", *sources, *flags)[0] == 0
    dataset, poles = StateDataset.load(tmp_path / "two"), StateDataset.load(datasets / "poles")
    first, second = (dataset.rows(np.flatnonzero(dataset.index["source"] == row)) for row in (0, 1))
    alone = poles.rows(np.flatnonzero(poles.index["source"] == place))
    # The first one draws with --seed itself, as it does alone.
    np.testing.assert_array_equal(first.scenes["theta"], alone.scenes["theta"])
    assert not np.intersect1d(first.scenes["theta"], second.scenes["theta"]).size
    seeds = [source["seed"] for source in dataset.sources]
    assert seeds[0] == 0 < seeds[1]
    assert [set(part.index["seed"]) for part in (first, second)] == [{seed} for seed in seeds]


def test_a_checkpoint_that_is_not_there_is_refused_before_any_is_loaded(datasets, call, monkeypatch):
    monkeypatch.setattr(build, "load_tower", lambda *_: pytest.fail("weights were read"))
    code, _, error = call("epic", datasets / "poles", "--clip", "tiny", "no/such/model")
    assert code == 2
    assert "no/such/model" in error
    code, _, error = call("epic", datasets / "poles", "--clip", "tiny", "--clip-size", 65)
    assert code == 2
    assert "65" in error


@pytest.mark.slow
def test_epic_writes_tables_and_pictures(datasets, call, tmp_path, monkeypatch):
    towers, load_tower = [], build.load_tower

    def load_alone(*arguments):
        gc.collect()
        assert not [tower for tower in towers if tower() is not None]  # one model's weights at a time
        towers.append(weakref.ref(tower := load_tower(*arguments)))
        return tower

    monkeypatch.setattr(build, "load_tower", load_alone)
    code, out, err = call(
        *("epic", "poles", "--datasets-dir", datasets, "--clip", "tiny", "untrained", "--alphas", 0, 1),
        *("--pictures", "--resamples", 50, "--output", "epic"),
    )
    assert code == 0, err
    result = json.loads((tmp_path / "epic" / "poles.json").read_text())
    rows = result["rows"]
    assert [(row["model"], row["alpha"]) for row in rows] == [
        ("tiny", 0), ("tiny", 1), ("untrained", 0), ("untrained", 1),
    ]  # fmt: skip
    assert rows[0]["auc"] > 0.95 > rows[2]["auc"]
    assert rows[0]["epic"] < 0.6 < rows[2]["epic"]
    assert all(row["epic_low"] <= row["epic"] <= row["epic_high"] for row in rows)
    assert all(row["n"] == 90 and 60 < row["groups"] <= 68 for row in rows)
    assert sum(result["histograms"][0]["goal_counts"]) == rows[0]["positives"]
    with (tmp_path / "epic" / "poles.csv").open() as file:
        table = list(csv.DictReader(file))
    assert float(table[0]["epic"]) == pytest.approx(rows[0]["epic"], rel=1e-4)
    for name in ("poles-alpha.png", "poles-histograms.png", "poles-pictures/upright-tiny.png"):
        assert (tmp_path / "epic" / name).stat().st_size > 5000
    assert not (tmp_path / "epic" / "poles-size.png").exists()  # both are of one size
    assert "EPIC distance" in out


@pytest.mark.slow
def test_people_can_be_asked(datasets, tmp_path, call, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = StateDataset.load(datasets / "poles").save(tmp_path / "runs" / "datasets" / "poles")
    label(["poles", "--goal", "upright", "--draw", "50"])
    sheets = tmp_path / "runs" / "labels" / "poles-upright"
    assert sorted(path.name for path in sheets.iterdir()) == ["labels.csv", "sheet-001.png", "sheet-002.png"]
    rows = list(csv.DictReader((sheets / "labels.csv").read_text().splitlines()))
    dataset = StateDataset.load(folder)
    lines = [f"{row['state']},{int(dataset.labels['upright'][int(row['state'])])},me" for row in rows]
    (sheets / "labels.csv").write_text("\n".join(["state,label,rater", *lines]))
    label(["poles", "--goal", "upright", "--from", str(sheets / "labels.csv")])
    assert "50 states labelled" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"labels\.csv is for other states than --draw 50 --seed 1 chooses"):
        label(["poles", "--goal", "upright", "--draw", "50", "--seed", "1"])
    holds, known = StateDataset.load(find_dataset_folder("poles", tmp_path / "runs" / "datasets")).truth(
        "upright", "human"
    )
    assert known.sum() == 50
    np.testing.assert_array_equal(holds[known], dataset.labels["upright"][known])
    code, _, _ = call("epic", "poles", "--labels", "human", "--alphas", 0, "--resamples", 20)
    assert code == 0
    # Beside what predicates say of the same dataset, and not over it.
    assert json.loads((tmp_path / "runs" / "epic" / "poles-human.json").read_text())["rows"][0]["n"] == 50


def test_people_who_are_asked_later_add_to_the_majority(datasets, tmp_path, capsys):
    dataset = StateDataset.load(datasets / "poles")
    folder = replace(dataset, human={"upright": np.ones(90, np.int8)}).save(tmp_path / "poles")

    def take(rater, verdict):
        (tmp_path / f"{rater}.csv").write_text(f"state,label\n0,{verdict}\n")
        label([str(folder), "--goal", "upright", "--from", str(tmp_path / f"{rater}.csv")])
        return capsys.readouterr().out, StateDataset.load(folder).human["upright"]

    out, human = take("ann", 0)
    assert "note: 1 labels from before single votes were kept are replaced" in out
    assert human.sum() == 89
    out, human = take("bob", 1)
    assert "note" not in out
    assert "1 states labelled, 1 of them left open" in out
    assert human[0] == -1
    out, human = take("cy", 1)
    assert "raters: ann, bob, cy" in out
    assert human[0] == 1
    out, human = take("bob", 0)
    assert "note: 1 earlier votes of the same raters are replaced" in out
    assert human[0] == 0


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_collected(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    code, _, error = call("dataset", "make", "grid:cartpole", "--output", "file")
    assert code == 2
    assert "cannot write to file" in error
    assert "choose another --output" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--goal lying", "no predicate labels of 'lying'; it has those of upright"),
        ("--camera top", "unknown camera 'top'"),
        ("--look shiny", "unknown look 'shiny'"),
        ("--alphas 0 1.5", "alpha is 1.5"),
        ("--labels human", "no human labels.*dataset label"),
        ("--clip no/such/model", "no/such/model"),
        ("--baseline 'pole vertically upright on top of the cart'", "have to differ"),
        ("--resamples 0", "at least one of each"),
    ],
)
def test_bad_input_is_one_line(arguments, message, datasets, call):
    import re

    code, _, err = call("epic", datasets / "poles", *shlex.split(arguments))
    assert code == 2
    assert err.count("\n") == 1
    assert re.search(message, err), err


def test_goals_without_states_are_left_out(datasets, call, tmp_path):
    dataset = StateDataset.load(datasets / "poles")
    hanging = dataset.rows(np.flatnonzero(~dataset.labels["upright"]))
    hanging.save(tmp_path / "none")
    code, _, err = call("epic", tmp_path / "none")
    assert code == 2
    assert "no goal states" in err
    assert "sampler:cartpole" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("grid:humanoid", "no grid of 'humanoid'; choose one of cartpole, mountain_car"),
        ("sampler:nowhere", "no sampler of 'nowhere'"),
        ("random:nowhere", "unknown task 'nowhere'"),
        ("no-such-run", "no run named 'no-such-run'"),
        ("grid:cartpole grid:mountain_car", "several domains, cartpole, mountain_car"),
        ("grid:cartpole --states 0", "a grid has no end"),
        ("grid:cartpole sampler:cartpole --states 1", "less than one for each of 2"),
        ("--states 5", "no source is given"),
    ],
)
def test_sources_that_cannot_be_used(arguments, message, call, tmp_path):
    code, _, err = call("dataset", "make", *shlex.split(arguments))
    assert code == 2
    assert message in err
    assert not list(tmp_path.iterdir())


def test_variants_of_a_task_have_environments_of_their_own():
    plans = [
        Plan("humanoid", {"kind": "run"}, 1, task=make_task("humanoid-kneeling", variant))
        for variant in (None, "paper")
    ]
    assert Players(plans)._joint == {}
    (shared,) = Players(plans[:1])._joint.values()
    assert shared[0] == plans[0].task.env


def test_switches_need_no_value():
    assert spelt_out([]) == []
    assert spelt_out(["set", "--pictures"]) == ["set", "--pictures", "True"]
    assert spelt_out(["set", "--pictures", "--seed", "1"]) == ["set", "--pictures", "True", "--seed", "1"]
    assert spelt_out(["--each-camera", "False", "set"]) == ["--each-camera", "False", "set"]


def test_models_are_named_shortly_where_that_tells_them_apart():
    assert short_names(["tiny", "runs/clips/small", "untrained:runs/clips/small"]) == [
        "tiny",
        "small",
        "untrained:small",
    ]
    assert short_names(["a/model", "b/model"]) == ["a/model", "b/model"]


@pytest.mark.slow
def test_states_of_runs(tmp_path, call):
    for name in ("first", "second"):
        assert call("train", "cartpole", *TINY, "--name", name, "--seeds", 2)[0] == 0
    code, out, err = call(
        *("dataset", "make", "first", "second", "--states", 0, "--checkpoint", "all", "--actions", "both"),
        *("--episodes", 2),
    )
    assert code == 0, err
    assert out.count("compiling") == 1  # both runs share a program
    dataset = StateDataset.load(tmp_path / "runs" / "datasets" / "cartpole")
    kept = {(s["run"], s["checkpoint"], s["step"], s["actions"]) for s in dataset.sources}
    assert len(kept) == len(dataset.sources) >= 8
    assert {s[1] for s in kept} == {"best", "step"}
    # Two episodes of 200 steps of two seeds each.
    assert len(dataset) == len(dataset.sources) * 800
    assert set(dataset.index["seed"]) == {0, 1}
    code, _, err = call(
        "dataset", "make", "first", "--checkpoint", "last", "--states", 10, "--name", "cartpole"
    )
    assert code == 2
    assert "exists already" in err
