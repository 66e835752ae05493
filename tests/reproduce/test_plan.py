"""Which rows are reused, resumed, refused and run."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxvlm.cli.reproduce import expected
from jaxvlm.errors import ConfigError
from jaxvlm.reproduce import FIGURES, Figure, Place, Row, find_figures
from jaxvlm.reproduce.figure import BUDGETS, Section, typed
from jaxvlm.reproduce.material import Material
from jaxvlm.reproduce.plan import (
    arguments_of,
    copy_run,
    differences,
    enter,
    in_order,
    jobs,
    make_plan,
    same_checkpoint,
    set_aside,
)
from jaxvlm.reproduce.scaling import ALPHAS, epic_file, epic_rows

KNEELING = {
    "task": "humanoid-kneeling",
    "variant": "compact",
    "steps": 300_000,
    "seeds": 3,
    "reward": {
        "reward": "clip",
        "clip": "tiny",
        "alpha": 0.0,
        "baseline": ("a robot",),
        "prompt": ("p",),
        "chunk": 0,
    },
}


def figure(*rows):
    return Figure("figx", "Figure x", lambda place: rows, lambda found: Section(found=""))


def write_run(folder, config, finished=True):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if finished:
        (folder / "evaluation.json").write_text(
            json.dumps({"episodes": 2, "per_seed": {"success_rate": [0.5, 1]}})
        )
    return folder


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "all")


@pytest.fixture
def row(place):
    return place.train("humanoid-kneeling-a0", "humanoid-kneeling")


def plan_of(place, *rows, runs=(), wanted=KNEELING):
    return make_plan([figure(*rows)], place, lambda row: wanted if row.task else None, runs)


def test_rows_are_named_and_typed_alike_every_time(place, row):
    assert row == place.train("humanoid-kneeling-a0", "humanoid-kneeling")
    assert row.command == (
        "jaxvlm train humanoid-kneeling --preset laptop --seeds 3 --name humanoid-kneeling-a0 "
        f"--runs-dir {place.folder}/runs"
    )
    assert row.product == "runs/humanoid-kneeling-a0/evaluation.json"
    assert typed(["probe", "x", "--prompt", 'a "red" car']) == 'jaxvlm probe x --prompt "a \\"red\\" car"'
    given = replace(place, clips=("RN50/openai", "hub/large"))
    named = given.train(given.named("humanoid-kneeling-a0"), "humanoid-kneeling")
    assert named.name == "humanoid-kneeling-a0-hub--large"
    assert "--clip hub/large" in named.command


def test_what_exists_is_finished_and_what_stopped_is_resumed(place, row):
    assert plan_of(place, row).states == {row.name: "missing"}
    write_run(place.folder / "runs" / row.name, KNEELING, finished=False)
    plan = plan_of(place, row)
    assert plan.states == {row.name: "stopped"}
    assert arguments_of([row], place, "stopped") == ("resume", str(place.folder / "runs" / row.name))
    (place.folder / "runs" / row.name / "evaluation.json").write_text("{}")
    assert plan_of(place, row).states == {row.name: "finished"}
    assert not plan_of(place, row).left


def test_a_run_that_was_evaluated_before_its_end_is_not_finished(place, row, tmp_path):
    write_run(place.folder / "runs" / row.name, KNEELING)
    episodes = place.episodes(row.name)
    for product in (row.product, episodes.product, f"runs/{row.name}/fooled.json"):
        (place.folder / product).write_text("{}")
    fooled = Row("fooled", ("evaluate", row.name), f"runs/{row.name}/fooled.json", needs=(row.name,))
    control = place.control(row.name, "random")
    (place.folder / control.product).write_text("{}")
    rows = (row, episodes, fooled, control)
    assert set(plan_of(place, *rows).states.values()) == {"finished"}  # as earlier versions wrote it
    (place.folder / row.product).write_text(json.dumps({"trained_steps": 300, "steps": 400}))
    assert list(plan_of(place, *rows).states.values()) == ["stopped", "comes", "missing", "finished"]
    assert Material(place).run(row.name) is None
    with pytest.raises(ConfigError, match="trained to the end"):
        plan_of(place, row, runs=[place.folder / "runs"])
    (place.folder / row.product).write_text(json.dumps({"trained_steps": 400, "steps": 400}))
    assert set(plan_of(place, *rows).states.values()) == {"finished"}


def test_other_settings_are_an_error_of_one_line(place, row):
    write_run(place.folder / "runs" / row.name, {**KNEELING, "steps": 99, "seeds": 1})
    with pytest.raises(ConfigError) as error:
        plan_of(place, row)
    words = str(error.value)
    assert "made with steps 99, this row has 300000 (and 1 more)" in words
    assert "\n" not in words
    assert "--folder" in words
    assert "--runs" in words


def test_settings_that_the_device_chooses_or_that_are_newer_do_not_count():
    found = {**KNEELING, "reward": {**KNEELING["reward"], "chunk": 64, "baseline": ["a robot"]}, "sinks": []}
    del found["variant"]
    assert differences(KNEELING, found) == {}
    assert differences(KNEELING, {**found, "seeds": 4}) == {"seeds": (3, 4)}


def test_a_clip_that_was_trained_otherwise_is_refused(place):
    row = place.clip_train("xs", "humanoid", "--steps", "10")
    folder = place.folder / "clips" / "xs"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "figures.json").write_text(json.dumps({"config": {"steps": 20}}))
    with pytest.raises(ConfigError, match="steps 20, this row has 10"):
        make_plan([figure(row)], place, lambda row: {"steps": 10})
    (folder / "figures.json").unlink()
    with pytest.raises(ConfigError, match="no readable settings"):
        make_plan([figure(row)], place, lambda row: {"steps": 10})


def measured(place, clips, alphas=ALPHAS, dataset="humanoid-play-C"):
    """What `jaxvlm epic` leaves for the row of a place."""
    lines = [{"model": clip, "alpha": alpha} for clip in clips for alpha in alphas]
    path = place.folder / epic_file(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"dataset_name": dataset, "labels": "predicate", "rows": lines}))
    return path


def epic_plan(place):
    rows = [replace(row, needs=()) for row in epic_rows(place) if row.arguments[0] == "epic"]
    return make_plan([figure(*rows)], place, expected)


def test_another_set_of_checkpoints_is_another_file(tmp_path):
    two, three = Place(tmp_path, clips=("A", "C")), Place(tmp_path, clips=("A", "B", "C"))
    measured(two, ["A", "C"])
    assert list(epic_plan(two).states.values()) == ["finished"]
    assert list(epic_plan(three).states.values()) == ["missing"]
    assert epic_file(Place(tmp_path, clips=("C",))) == "epic/scaling-C.json"
    assert epic_file(Place(tmp_path)) == "epic/scaling.json"


def test_distances_are_finished_with_all_models_and_alphas_on_the_rows_states(tmp_path):
    place = Place(tmp_path, clips=("A", "x/clips/b", "C"))
    moved = ["A", "y/clips/b", "C"]  # the same checkpoint in a folder that was moved
    path = measured(place, moved)
    assert not epic_plan(place).left
    measured(place, [*moved, "D"])
    assert not epic_plan(place).left
    for change in (
        {"clips": moved[1:]}, {"clips": moved, "alphas": ALPHAS[1:]}, {"clips": moved, "dataset": "others"},
    ):  # fmt: skip
        measured(place, **change)
        assert list(epic_plan(place).states.values()) == ["outdated"], change
    for text in ("", "[]", "{}", '{"rows": 1}', '{"rows": [{}]}'):
        path.write_text(text)
        assert list(epic_plan(place).states.values()) == ["outdated"], text


def test_distances_to_people_are_made_again_once_more_states_are_labelled(tmp_path):
    place = Place(tmp_path, clips=("C",), labels="human")
    (row,) = [row for row in epic_rows(place) if row.arguments[0] == "epic"]
    assert row.arguments[row.arguments.index("--labels") + 1] == "human"
    path = measured(place, ["C"])
    found = json.loads(path.read_text())
    assert list(epic_plan(place).states.values()) == ["outdated"]  # those are to the predicates
    states = tmp_path / "datasets" / "humanoid-play-C" / "dataset.json"
    states.parent.mkdir(parents=True)

    def standing(labelled, positives, others=None):
        human = {"kneeling": {"labelled": labelled, "positives": positives}, **(others or {})}
        states.write_text(json.dumps({"human": human}))
        return epic_plan(place).states[row.name]

    lines = [{**line, "goal": "kneeling", "n": 60, "positives": 20} for line in found["rows"]]
    path.write_text(json.dumps({**found, "labels": "human", "rows": lines}))
    assert standing(60, 20) == "finished"
    assert (
        standing(60, 20, {"lotus": {"labelled": 9, "positives": 0}}) == "finished"
    )  # of which none is measured
    assert standing(60, 20, {"lotus": {"labelled": 9, "positives": 1}}) == "outdated"
    assert standing(61, 20) == standing(60, 21) == "outdated"


def test_states_of_other_sources_are_outdated_and_so_are_distances_on_them(tmp_path):
    place = Place(tmp_path, clips=("C",))
    *_, states, epic = epic_rows(place)
    states, epic = replace(states, needs=()), replace(epic, needs=(states.name,))
    path = measured(place, ["C"]).parents[1] / states.product
    path.parent.mkdir(parents=True)

    def standing(*command):
        path.write_text(json.dumps({"command": [shlex.join(["jaxvlm", *command])]}))
        return list(make_plan([figure(states, epic)], place, expected).states.values())

    assert standing(*states.arguments) == ["finished", "finished"]
    assert (
        standing(*(word.replace(str(tmp_path), "/elsewhere") for word in states.arguments))
        == ["finished"] * 2
    )
    source = states.arguments[2]
    assert standing(*(word for word in states.arguments if word != source)) == ["outdated"] * 2
    assert standing(*("9" if word == "6000" else word for word in states.arguments)) == ["outdated"] * 2
    path.write_text("{}")
    assert epic_plan(place).states[epic.name] == "finished"
    assert list(make_plan([figure(states, epic)], place, expected).states.values()) == ["outdated"] * 2


def test_what_was_measured_on_what_is_gone_is_made_again(tmp_path):
    place = Place(tmp_path)
    clip, agents = (
        place.clip_train("xs", "humanoid"),
        place.train("humanoid-kneeling-xs", "humanoid-kneeling"),
    )
    drawn = Row("landscape-xs", ("landscape", "cartpole"), "landscapes/xs.csv", needs=(clip.name,))
    states = Row("dataset-x", ("dataset", "make"), "datasets/x/dataset.json", needs=(agents.name,))
    epic = Row("epic-x", ("epic", "x"), "epic/x.json", needs=(states.name, clip.name))
    rows = (clip, agents, drawn, states, epic)

    def plan():
        return make_plan([figure(*rows)], place, lambda row: None)

    for row in rows:
        (tmp_path / row.product).parent.mkdir(parents=True)
        (tmp_path / row.product).write_text('{"command": ["jaxvlm dataset make"], "rows": []}')
    assert not plan().left
    (tmp_path / agents.product).unlink()
    assert list(plan().states.values()) == ["finished", "missing", "finished", "outdated", "outdated"]
    assert plan().why[states.name] == f"of an earlier {agents.name}"
    (tmp_path / clip.product).unlink()
    assert list(plan().states.values()) == ["missing", "missing", "outdated", "outdated", "outdated"]
    # What was published stays, though its CLIP has no weights and another row needs them.
    (tmp_path / clip.product).with_name("light.json").write_text("{}")
    (tmp_path / agents.product).write_text("{}")
    assert not plan().left


def test_what_is_older_than_the_run_it_was_made_of_is_made_again(tmp_path):
    place = Place(tmp_path)
    agents = place.train("humanoid-kneeling-xs", "humanoid-kneeling")
    states = Row("dataset-x", ("dataset", "make"), "datasets/x/dataset.json", needs=(agents.name,))
    epic = Row("epic-x", ("epic", "x"), "epic/x.json", needs=(states.name,))
    rows = (agents, states, epic)
    for row in rows:
        (tmp_path / row.product).parent.mkdir(parents=True)
        (tmp_path / row.product).write_text('{"command": ["jaxvlm dataset make"], "rows": []}')

    def stands(*hours, code=0):
        for row, hour in zip(rows, hours, strict=True):
            enter(tmp_path, [row.name], {"ended": f"2026-11-27T{hour}:00:00", "code": code})
        plan = make_plan([figure(*rows)], place, lambda row: None)
        return plan.states[states.name], plan.states[epic.name]

    assert stands("08", "09", "10") == ("finished", "finished")
    # Its run was removed, and trained again by a command that did not ask for the states.
    assert stands("11", "09", "10") == ("outdated", "outdated")
    assert stands("08", "11", "10") == ("finished", "outdated")
    # Times of another zone, as in what somebody else has published, are those of the same moments.
    enter(tmp_path, [agents.name], {"ended": "2026-11-27T12:00:00+00:00", "code": 0})
    for ended, state in (
        ("2026-11-27T13:30:00+02:00", "outdated"),
        ("2026-11-27T11:30:00-02:00", "finished"),
    ):
        enter(tmp_path, [states.name, epic.name], {"ended": ended, "code": 0})
        assert make_plan([figure(*rows)], place, lambda row: None).states[states.name] == state
    # An attempt that failed made nothing.
    assert stands("11", "09", "10", code=1) == ("finished", "finished")
    enter(tmp_path, [states.name, epic.name], {"ended": "2026-11-27T10:00:00", "code": 0})
    enter(tmp_path, [agents.name], {"ended": "2026-11-27T11:00:00", "code": 0})
    (tmp_path / agents.product).with_name("light.json").write_text("{}")
    assert not make_plan([figure(*rows)], place, lambda row: None).left
    # Agents that came without their checkpoints can show others.
    agents_file = (tmp_path / agents.product).with_name("policies.safetensors")
    save_file({"actor/bias": np.zeros(2, np.float32)}, agents_file)
    states_now = make_plan([figure(*rows)], place, lambda row: None).states
    assert [states_now[row.name] for row in rows] == ["finished", "outdated", "outdated"]


def test_what_is_set_aside_is_kept(tmp_path):
    place = Place(tmp_path, clips=("C",))
    *_, states, epic = epic_rows(place)
    for number in ("", "-2"):
        for row in (states, epic):
            product = tmp_path / row.product
            product.parent.mkdir(parents=True, exist_ok=True)
            product.write_text(row.name)
        assert set_aside(states, place) == tmp_path / "datasets" / f"humanoid-play-C-before{number}"
        assert set_aside(epic, place) == tmp_path / "epic" / f"scaling-C-before{number}.json"
        assert (tmp_path / f"datasets/humanoid-play-C-before{number}/dataset.json").read_text() == states.name
        assert not (tmp_path / epic.product).exists()


def test_one_checkpoint_by_several_names(tmp_path):
    (tmp_path / "clips" / "xs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "clips")
    assert same_checkpoint("tiny", "tiny")
    assert same_checkpoint(f"{tmp_path}/clips/xs", f"{tmp_path}/link/xs")
    assert same_checkpoint("old/clips/xs", "new/clips/xs")
    assert not same_checkpoint("tiny", "tiny:humanoid-112")
    assert not same_checkpoint("a/xs", "b/xs")
    assert same_checkpoint("a/xs", "b/xs", cut=True)
    assert not same_checkpoint("a/xs", "b/s", cut=True)


def test_one_checkpoint_without_its_weights_by_several_names(tmp_path, monkeypatch):
    """A run keeps the whole path and the seed of what was asked for by a name below the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert same_checkpoint("untrained:mine", f"untrained:{tmp_path}/mine:0")
    assert not same_checkpoint("untrained:mine", f"untrained:{tmp_path}/mine:1")
    assert not same_checkpoint("untrained:mine", f"{tmp_path}/mine")
    assert not same_checkpoint("untrained:a/clips/xs", "a/clips/xs")
    assert not same_checkpoint("untrained", "untrained:mine")
    assert same_checkpoint("untrained:mine", "untrained:alice/mine:0", cut=True)


def test_runs_of_other_folders_stand_in_where_task_and_reward_are_the_same(place, row, tmp_path):
    other = tmp_path / "other"
    reward = KNEELING["reward"]
    small = write_run(other / "small", {**KNEELING, "steps": 5, "reward": {**reward, "baseline": ["unused"]}})
    large = write_run(other / "large", {**KNEELING, "steps": 900})
    write_run(other / "alpha", {**KNEELING, "reward": {**reward, "alpha": 0.4}})
    write_run(other / "task", {**KNEELING, "task": "humanoid-lotus"})
    write_run(other / "stopped", KNEELING, finished=False)
    plan = plan_of(place, row, runs=[other])
    assert plan.states == {row.name: "reused"}
    assert plan.sources == {row.name: large}
    assert set(plan.others) == {small, other / "alpha", other / "task"}
    copy_run(large, place.folder / "runs" / row.name)
    again = plan_of(place, row)  # its steps differ, but it says where it came from
    assert again.states == {row.name: "finished"}
    assert large not in plan_of(place, row, runs=[other]).others  # it need not stand beside its copy
    with pytest.raises(ConfigError, match="for another reward"):
        plan_of(place, row, wanted={**KNEELING, "reward": {**reward, "alpha": 0.2}})


def test_a_copy_leaves_replay_buffers_behind(tmp_path):
    source = write_run(tmp_path / "source", KNEELING)
    for step in ("checkpoints/9000/arrays", "checkpoints/best/9000/arrays"):
        (source / step).mkdir(parents=True)
        (source / step / "data").write_text("x")
    copy_run(source, tmp_path / "copy")
    assert not (tmp_path / "copy/checkpoints/9000").exists()
    assert (tmp_path / "copy/checkpoints/best/9000/arrays/data").exists()
    assert json.loads((tmp_path / "copy/reused.json").read_text()) == {"from": str(source)}


def test_folders_without_runs_are_refused(place, row, tmp_path):
    with pytest.raises(ConfigError, match="is no folder"):
        plan_of(place, row, runs=[tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no finished run"):
        plan_of(place, row, runs=[tmp_path / "empty"])


def test_a_table_of_episodes_comes_with_a_training_that_is_still_to_come(place, row):
    episodes = place.episodes(row.name)
    plan = plan_of(place, row, episodes)
    assert plan.states[episodes.name] == "comes"
    assert plan.to_do == [row]
    write_run(place.folder / "runs" / row.name, KNEELING)
    assert plan_of(place, row, episodes).to_do == [episodes]  # an old run has to be evaluated again


def test_rows_follow_those_they_need():
    rows = {name: Row(name, (), name, needs) for name, needs in (("b", ("a",)), ("a", ()), ("c", ("b", "a")))}
    assert [row.name for row in in_order(rows)] == ["a", "b", "c"]
    with pytest.raises(ConfigError, match="needs 'x'"):
        in_order({"y": Row("y", (), "y", ("x",))})
    with pytest.raises(ConfigError, match="is no row before it"):
        in_order({"y": Row("y", (), "y", ("y",))})


def test_two_rows_of_one_name_must_be_one(place, row):
    with pytest.raises(ConfigError, match="different rows named"):
        plan_of(place, row, replace(row, minutes=1.0))


def test_poses_share_a_program_on_a_gpu(tmp_path):
    place = Place(tmp_path, BUDGETS["gpu"])
    poses = ("kneeling", "lotus", "splits")
    rows = [place.train(f"humanoid-{pose}-a0", f"humanoid-{pose}") for pose in poses]
    rows.append(place.train("humanoid-lotus-a0.4", "humanoid-lotus", "--alpha", "0.4"))
    states = dict.fromkeys([row.name for row in rows], "missing")
    together, alone = jobs(rows, place, states)
    assert arguments_of(together, place, "missing") == (
        "train", "humanoid-kneeling,humanoid-lotus,humanoid-splits", "--seeds", "4", "--name", "a0", "--runs-dir",
        f"{tmp_path}/runs",
    )  # fmt: skip
    assert alone == (rows[3],)
    states["humanoid-lotus-a0"] = "stopped"  # it goes on alone
    assert [len(job) for job in jobs(rows, place, states)] == [2, 1, 1]
    laptop = Place(tmp_path)
    assert len(jobs(rows, laptop, dict.fromkeys(states, "missing"))) == 4


def test_figures_by_name():
    assert [found.name for found in find_figures(["fig8", "fig2"])] == ["fig2", "fig8"]
    assert len(find_figures(["all"])) >= len(FIGURES) - 2
    with pytest.raises(ConfigError, match="unknown figure 'fig9'; choose of fig2"):
        find_figures(["fig2", "fig9"])
    with pytest.raises(ConfigError, match="no figure is named"):
        find_figures([])


def test_a_ground_truth_takes_no_checkpoint(tmp_path):
    """So that its run is the same row with other checkpoints, and a folder serves both."""
    given = Place(tmp_path, clips=("RN50/openai",))
    flags = ("humanoid-kneeling", "--reward", "ground-truth")
    assert given.train("by-hand", *flags) == Place(tmp_path).train("by-hand", *flags)
    assert "--clip" in given.train("from-a-sentence", "humanoid-kneeling").flags


def test_the_last_checkpoint_learns_to_kneel_once(tmp_path):
    plan = make_plan(
        find_figures(["fig4"]), Place(tmp_path, clips=("RN50/openai", "L-14/openai")), lambda row: None
    )
    kneeling = [row.flags for row in plan.rows if row.task == "humanoid-kneeling"]
    assert len(kneeling) == len(set(kneeling)) == 2


@pytest.mark.parametrize("budget", ["laptop", "gpu"])
@pytest.mark.parametrize("clips", [(), ("RN50/openai", "L-14/openai")])
def test_all_figures_agree_on_their_rows(tmp_path, budget, clips):
    plan = make_plan(find_figures(["all"]), Place(tmp_path, BUDGETS[budget], clips), lambda row: None)
    names = {row.name for row in plan.rows}
    assert len(names) == len(plan.rows)
    assert len({row.product for row in plan.rows}) == len(plan.rows)
    assert all(name in names for row in plan.rows for name in row.needs)
    for row in plan.rows:  # anything a figure makes stays in the folder of the report
        folders = [a for a in row.arguments if a.startswith("/")]
        assert all(a.startswith(str(tmp_path)) for a in folders), row.command
