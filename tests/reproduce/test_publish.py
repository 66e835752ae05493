"""A report is published without weights, and another folder starts from it."""

import contextlib
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from filled_folder import filled
from safetensors.numpy import save_file
from test_execute import plan_of, run

from jaxvlm.errors import ConfigError
from jaxvlm.reproduce import Figure, Place, Row, find_figures, misspecification
from jaxvlm.reproduce.figure import Section
from jaxvlm.reproduce.plan import ledger, make_plan
from jaxvlm.reproduce.publish import publish, start_from
from jaxvlm.reproduce.report import write_report
from jaxvlm.reproduce.scaling import models, parameters_of


def every(place):
    return [row for figure in find_figures(["all"]) for row in figure.rows(place)]


def of_weights(place, row):
    """A row that needs a run's weights, which the stand-in evaluates like a control."""
    return replace(place.control(row.name, "zero"), weights=True)


NAMES = ["fig2", "table1", "fig4", "clip-rl"]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """What was published of a full report."""
    target = tmp_path_factory.mktemp("published")
    with contextlib.chdir(tmp_path_factory.mktemp("first")):
        plan = filled(Path("all"), NAMES)
        weights = plan.place.folder / "runs" / "humanoid-kneeling-a0" / "checkpoints" / "100"
        weights.mkdir(parents=True)
        (weights / "weights").write_bytes(b"large")
        page = write_report(plan, today=date(2026, 1, 1))
        publish(plan.rows, plan.place, page, target)
        assert (target / "index.html").read_text() == page.read_text()
    return target


@pytest.mark.slow
def test_the_page_can_be_drawn_again_from_what_was_published(published, tmp_path, monkeypatch):
    names = {path.name for path in published.rglob("*") if path.is_file()}
    assert {"evaluation.json", "metrics.jsonl", "figures.json", "runs.csv", "scaling.json"} <= names
    assert not names & {"weights", "model.safetensors"}
    monkeypatch.chdir(tmp_path)
    place = Place(Path("all"))
    start_from(published, place.folder, every(place))
    again = make_plan(find_figures(NAMES), place, lambda row: None)
    assert set(again.states.values()) == {"finished"}
    assert write_report(again, today=date(2026, 1, 1)).read_text() == (published / "index.html").read_text()


def test_what_is_there_is_kept_and_the_rest_is_added(published, tmp_path):
    own = tmp_path / "runs" / "humanoid-kneeling-a0"
    own.mkdir(parents=True)
    (own / "config.json").write_text("{}")
    rows = every(Place(tmp_path))
    first = start_from(published, tmp_path, rows)
    assert [path.name for path in own.iterdir()] == ["config.json"]
    assert (tmp_path / "runs" / "humanoid-lotus-a0" / "evaluation.json").exists()
    assert first > 20
    assert start_from(published, tmp_path, rows) == 0


def test_weights_that_are_needed_are_made_again(tmp_path):
    place = Place(tmp_path / "first")
    row = place.train("cartpole-a0", "cartpole")
    control, episodes = place.control(row.name, "random"), place.episodes(row.name)
    outcome, _, _ = run(plan_of(place, row, control, episodes))
    assert not outcome.failed
    page = place.folder / "page"
    page.write_text("")
    publish([row, control, episodes], place, page, tmp_path / "published")
    there = replace(place, folder=tmp_path / "second")
    row = there.train("cartpole-a0", "cartpole")
    control, zero = there.control(row.name, "random"), of_weights(there, row)
    start_from(tmp_path / "published", there.folder, [row, control])
    assert ledger(there.folder)[row.name]["code"] == 0
    plan = plan_of(there, row, control, there.episodes(row.name))
    assert set(plan.states.values()) == {"finished"}
    # A policy that learned nothing needs the run's settings only.
    assert plan_of(there, row, there.control(row.name, "zero")).states == {
        row.name: "finished",
        zero.name: "missing",
    }
    plan = plan_of(there, row, control, zero, there.episodes(row.name))
    assert plan.states == {
        row.name: "outdated",
        control.name: "missing",  # of those agents
        zero.name: "missing",
        f"{row.name}-episodes": "comes",
    }
    outcome, lines, _ = run(plan)
    assert not outcome.failed
    assert lines[0].startswith(
        f"{row.name}: what is there was without the weights that {zero.name} needs, it is now "
    )
    assert (there.folder / "runs" / f"{row.name}-before" / "light.json").exists()
    assert not (there.folder / "runs" / row.name / "light.json").exists()
    assert not plan_of(there, row, control, zero).left


def leave_agents(run):
    save_file({"actor/bias": np.zeros(2, np.float32)}, run / "policies.safetensors")


def test_published_agents_play_without_being_trained_again(tmp_path):
    """Those of a CLIP that was trained beside them are of its very weights, which are not published."""

    def rows_of(place):
        clip = place.clip_train("xs", "humanoid")
        own = ("--clip", str(place.folder / "clips" / "xs"))
        tiny = place.train("humanoid-kneeling-a0", "humanoid-kneeling")
        return clip, tiny, place.train("humanoid-lotus-xs", "humanoid-lotus", *own, needs=(clip.name,))

    place = Place(tmp_path / "first")
    rows = rows_of(place)
    run(plan_of(place, *rows))
    for row in rows[1:]:
        leave_agents(place.folder / "runs" / row.name)
    page = place.folder / "page"
    page.write_text("")
    publish(rows, place, page, tmp_path / "published")
    there = replace(place, folder=tmp_path / "second")
    clip, tiny, own = rows = rows_of(there)
    start_from(tmp_path / "published", there.folder, rows)
    played = misspecification.fooled(tiny, there)
    assert plan_of(there, *rows, played).states == {
        clip.name: "finished",
        tiny.name: "finished",
        own.name: "finished",
        played.name: "missing",
    }
    played = misspecification.fooled(own, there)
    assert plan_of(there, *rows, played).states == {
        clip.name: "outdated",
        tiny.name: "finished",
        own.name: "outdated",
        played.name: "missing",
    }
    # What is not scored by that CLIP has all it needs.
    judged = misspecification.fooled(own, there, clip="s-1500-mined")
    judged = replace(judged, needs=(own.name,))
    assert set(plan_of(there, *rows, judged).states.values()) == {"finished", "missing"}
    # A pointer in place of a file, or one that was torn off, is no agents.
    agents = there.folder / "runs" / tiny.name / "policies.safetensors"
    for broken in (b"version https://", agents.read_bytes()[:-1]):
        agents.write_bytes(broken)
        assert plan_of(there, tiny, of_weights(there, tiny)).states[tiny.name] == "outdated"


def test_agents_are_not_scored_by_a_clip_that_was_made_anew(tmp_path, monkeypatch):
    """In a folder whose paths nothing is cut of, the settings name it as the row does."""
    monkeypatch.chdir(tmp_path)

    def rows_of(place):
        clip = place.clip_train("xs", "humanoid")
        own = ("--clip", "clips/xs")
        return clip, place.train("humanoid-lotus-xs", "humanoid-lotus", *own, needs=(clip.name,))

    place = Place(Path("first"))
    rows = rows_of(place)
    run(plan_of(place, *rows))
    leave_agents(place.folder / "runs" / rows[1].name)
    page = Path("page")
    page.write_text("")
    publish(rows, place, page, Path("published"))
    there = replace(place, folder=Path("second"))
    clip, own = rows = rows_of(there)
    start_from(Path("published"), there.folder, rows)
    (there.folder / clip.product).write_bytes((place.folder / clip.product).read_bytes())
    assert plan_of(there, *rows, misspecification.fooled(own, there)).states[own.name] == "outdated"


def test_agents_reach_folders_that_started_without_them_and_are_not_lost_by_those(tmp_path):
    place, target = Place(tmp_path / "first"), tmp_path / "published"
    row = place.train("cartpole-a0", "cartpole")
    run(plan_of(place, row))
    page = tmp_path / "page"
    page.write_text("")
    publish([row], place, page, target)
    there = replace(place, folder=tmp_path / "second")
    start_from(target, there.folder, [row])
    agents = Path("runs") / row.name / "policies.safetensors"
    leave_agents(place.folder / "runs" / row.name)
    publish([row], place, page, target)
    assert (target / "data" / agents).exists()
    publish([row], there, page, target)
    assert (target / "data" / agents).exists()
    start_from(target, there.folder, [row])
    assert (there.folder / agents).exists()
    # Of other agents the file goes.
    (there.folder / agents).unlink()
    path = there.folder / row.product
    result = json.loads(path.read_text())
    result["per_seed"]["success_rate"] = [0.123]
    path.write_text(json.dumps(result))
    publish([row], there, page, target)
    assert not (target / "data" / agents).exists()


def test_states_that_a_clip_is_to_learn_from_are_published(tmp_path):
    place = Place(tmp_path / "first")
    row = place.train("humanoid-kneeling-s", "humanoid-kneeling")
    run(plan_of(place, row))
    states = Path("runs") / row.name / "fooled.npz"
    (place.folder / states).write_bytes(b"states")
    page = tmp_path / "page"
    page.write_text("")
    publish([row], place, page, tmp_path / "published")
    assert (tmp_path / "published" / "data" / states).read_bytes() == b"states"


def test_a_clip_without_weights_is_trained_again_for_its_agents(tmp_path):
    place = Place(tmp_path / "first")
    clip = place.clip_train("xs", "humanoid")
    run(plan_of(place, clip))
    page = place.folder / "page"
    page.write_text("")
    publish([clip], place, page, tmp_path / "published")
    there = replace(place, folder=tmp_path / "second")
    clip = there.clip_train("xs", "humanoid")
    start_from(tmp_path / "published", there.folder, [clip])
    agents = there.train("humanoid-kneeling-xs", "humanoid-kneeling", needs=(clip.name,))
    assert plan_of(there, clip).states == {clip.name: "finished"}
    plan = plan_of(there, clip, agents)
    assert plan.states == {clip.name: "outdated", agents.name: "missing"}
    outcome, _, _ = run(plan)
    assert not outcome.failed
    assert (there.folder / clip.product).exists()


def test_publishing_again_adds(tmp_path):
    place, target = Place(tmp_path / "all"), tmp_path / "published"
    rows = [place.train(f"cartpole-a{k}", "cartpole") for k in range(2)]
    page = tmp_path / "page"
    page.write_text("one")
    run(plan_of(place, rows[0]))
    publish(rows, place, page, target)
    page.write_text("two")
    run(plan_of(place, rows[1]))
    assert publish(rows[1:], place, page, target) > 3
    assert (target / "index.html").read_text() == "two"
    assert {path.name for path in (target / "data" / "runs").iterdir()} == {"cartpole-a0", "cartpole-a1"}
    assert set(json.loads((target / "data" / "rows.json").read_text())) == {"cartpole-a0", "cartpole-a1"}


def test_bad_folders_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match="holds no data/; give a folder that --publish has written"):
        start_from(tmp_path, tmp_path / "all", [])
    place = Place(tmp_path / "all")
    row = place.train("cartpole-a0", "cartpole")
    run(plan_of(place, row))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write to --publish"):
        publish([row], place, tmp_path / "file", tmp_path / "file" / "published")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    with pytest.raises(ConfigError, match=r"has an index\.html of something else"):
        publish([row], place, tmp_path / "file", tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


@pytest.mark.parametrize("folder", ["web/data", "web/data/all", "."])
def test_a_report_is_not_published_into_itself(tmp_path, folder):
    place = Place(tmp_path / folder)
    row = place.train("cartpole-a0", "cartpole")
    run(plan_of(place, row))
    page = tmp_path / "page"
    page.write_text("")
    with pytest.raises(ConfigError, match="choose a folder apart from it"):
        publish([row], place, page, tmp_path / "web")
    assert not list(tmp_path.rglob("light.json"))


def test_weights_beside_the_mark_count(tmp_path):
    place = Place(tmp_path)
    row = place.train("cartpole-a0", "cartpole")
    control = of_weights(place, row)
    run(plan_of(place, row))
    folder = place.folder / "runs" / row.name
    (folder / "light.json").write_text("{}")
    assert plan_of(place, row, control).states[row.name] == "outdated"
    (folder / "checkpoints").mkdir()  # without any checkpoint in it
    assert plan_of(place, row, control).states[row.name] == "outdated"
    (folder / "checkpoints" / "9000").mkdir()
    assert plan_of(place, row, control).states[row.name] == "finished"


def test_what_was_set_aside_does_not_come_back(published, tmp_path):
    place, rows = Place(tmp_path), every(Place(tmp_path))
    start_from(published, tmp_path, rows)
    distances = tmp_path / "epic" / "scaling.json"
    distances.rename(distances.with_name("scaling-before.json"))
    assert start_from(published, tmp_path, rows) == 0
    assert not distances.exists()
    assert place.folder == tmp_path


def test_figures_of_other_states_and_clips_are_left_out(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Place(Path("all"))
    rows = every(place)
    own = place.folder / "datasets" / "humanoid-play" / "dataset.json"
    clip = place.folder / "clips" / "cartpole-s1" / "model.safetensors"
    for path in (own, clip):
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    start_from(published, place.folder, rows)
    assert own.read_text() == "{}"
    assert not (place.folder / "epic").exists()
    names = {path.name for path in (place.folder / "landscapes").iterdir()}
    assert "cartpole-tiny.csv" in names
    assert not [name for name in names if name.startswith("cartpole") and "s1" in name]
    assert [name for name in names if name.startswith("cartpole") and "s2" in name]


def test_agents_that_were_made_again_replace_all_of_the_earlier_ones(tmp_path):
    place, target = Place(tmp_path / "all"), tmp_path / "published"
    row = place.train("cartpole-a0", "cartpole")
    control = place.control(row.name, "random")
    page = tmp_path / "page"
    page.write_text("")
    run(plan_of(place, row, control))
    publish([row, control], place, page, target)
    there = target / "data" / control.product
    assert there.exists()
    (place.folder / control.product).unlink()
    publish([row, control], place, page, target)
    assert not there.exists()
    assert (target / "data" / row.product).exists()
    assert (target / "data" / "runs" / row.name / "light.json").exists()


def test_a_try_that_failed_is_not_what_is_published(tmp_path, monkeypatch):
    place, target = Place(tmp_path / "all"), tmp_path / "published"
    row = place.train("cartpole-a0", "cartpole")
    page = tmp_path / "page"
    page.write_text("")
    run(plan_of(place, row))
    publish([row], place, page, target)
    good = json.loads((target / "data" / "rows.json").read_text())[row.name]
    monkeypatch.setenv("FAKE_FAILS", row.name)
    (place.folder / "runs" / row.name).rename(tmp_path / "away")
    assert run(plan_of(place, row))[0].failed
    publish([row], place, page, target)
    assert json.loads((target / "data" / "rows.json").read_text())[row.name] == good
    other = replace(place, folder=tmp_path / "other")
    own = other.folder / "runs" / row.name
    own.mkdir(parents=True)
    start_from(target, other.folder, [other.train("cartpole-a0", "cartpole")])
    assert ledger(other.folder) == {}  # nothing of that run was taken


def test_neither_folders_nor_raters_are_published(tmp_path):
    place, target = Place(tmp_path / "all"), tmp_path / "published"
    row = place.train("cartpole-a0", "cartpole")
    run(plan_of(place, row))
    folder = place.folder / "runs" / row.name
    config = json.loads((folder / "config.json").read_text())
    config["reward"]["clip"] = str(place.folder / "clips" / "xs")
    config["notes"] = ["/far/away/clips/s", "a / b"]
    config["more"] = [
        f"jaxvlm dataset make '{folder}' random:x --output /far/away/sets",
        "untrained:/far/away/s:0",
    ]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "rating").mkdir()
    between = {"pairs": [{"raters": ["Ada", "Bob"]}]}
    by = {"predicate": {}, "Ada": {"rated": 3}, "Bob": {"rated": 4}}
    rated = {"raters": ["Ada", "Bob"], "runs": [{"folder": str(folder), "by": by}], "between": between}
    (folder / "rating" / "report-share.json").write_text(json.dumps(rated))
    (folder / "rating" / "report-goal.json").write_text("{}")
    states = Row("states", ("dataset", "make"), "datasets/states/dataset.json")
    (place.folder / "datasets" / "states").mkdir(parents=True)
    named = {"raters": {"upright": ["Bob", "Ada"], "hanging": ["Ada"]}, "domain": "cartpole"}
    (place.folder / states.product).write_text(json.dumps(named))
    page = tmp_path / "page.html"
    picture = '<img src="data:image/png;base64,/9j/4AAQ/a+/b=="/>'
    words = f"<pre>jaxvlm train x --clip &quot;/far/a way/clips/s&quot; --runs-dir {place.folder}/runs</pre>"
    page.write_text(f"{picture}<p>see https://arxiv.org/abs/2310.12921, and/or 1/2</p>{words}")
    publish([row, states], place, page, target)
    published = json.loads((target / "data" / states.product).read_text())
    assert published["raters"] == {"upright": ["rater 1", "rater 2"], "hanging": ["rater 2"]}
    assert (target / "index.html").read_text() == (
        f"{picture}<p>see https://arxiv.org/abs/2310.12921, and/or 1/2</p>"
        "<pre>jaxvlm train x --clip &quot;clips/s&quot; --runs-dir runs</pre>"
    )
    shown = target / "data" / "runs" / row.name
    config = json.loads((shown / "config.json").read_text())
    assert config["reward"]["clip"] == "clips/xs"
    assert config["notes"] == ["clips/s", "a / b"]
    name = f"runs/{row.name}"
    assert config["more"] == [
        f"jaxvlm dataset make '{name}' random:x --output away/sets",
        "untrained:away/s:0",
    ]
    rated = json.loads((shown / "rating" / "report-share.json").read_text())
    assert list(rated["runs"][0]["by"]) == ["predicate", "rater 1", "rater 2"]
    assert rated["between"]["pairs"][0]["raters"] == ["rater 1", "rater 2"]
    text = "".join(path.read_text() for path in (target / "data").rglob("*.json"))
    assert not any(word in text for word in ("Ada", "Bob", str(tmp_path), "/far"))
    assert not (shown / "rating" / "report-goal.json").exists()


def test_runs_of_other_folders_come_before_training_anew(tmp_path):
    first, target = Place(tmp_path / "first"), tmp_path / "published"
    row = first.train("cartpole-a0", "cartpole")
    run(plan_of(first, row))
    page = tmp_path / "page"
    page.write_text("")
    publish([row], first, page, target)
    there = Place(tmp_path / "second")
    row = there.train("cartpole-a0", "cartpole")
    zero = of_weights(there, row)
    start_from(target, there.folder, [row, zero])
    plan = plan_of(there, row, zero, runs=[first.folder / "runs"])
    assert plan.states[row.name] == "outdated"
    outcome, lines, _ = run(plan)
    assert not outcome.failed
    assert not any("jaxvlm train" in line for line in lines)
    assert (there.folder / "runs" / row.name / "reused.json").exists()
    assert (there.folder / "runs" / f"{row.name}-before").exists()


def test_a_clip_keeps_its_number_of_parameters(published, tmp_path):
    start_from(published, tmp_path, every(Place(tmp_path)))
    place = Place(tmp_path)
    (tmp_path / "epic" / "scaling.json").unlink()
    counts = [parameters_of(model, []) for model in models(place)]
    assert all(counts)
    assert counts[0] < counts[-1]


def test_a_checkpoint_of_a_folder_that_was_cut_is_still_the_rows(tmp_path, monkeypatch):
    """With `--clip mine`: the run keeps the whole path, of which the last parts are published."""
    monkeypatch.chdir(tmp_path)
    first, there = (Place(tmp_path / name, clips=("mine",)) for name in ("first", "second"))
    row = first.train("cartpole-a0", "cartpole")

    def plan(place, *rows):
        settings = {"task": "cartpole", "reward": {"clip": "mine"}}
        figure = Figure("figx", "Figure x", lambda place: rows, lambda found: Section(found=""))
        return make_plan([figure], place, lambda row: settings if row.task else None)

    run(plan(first, row))
    path = first.folder / "runs" / row.name / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "reward": {"clip": "/home/alice/mine"}}))
    page = tmp_path / "page"
    page.write_text("")
    publish([row], first, page, tmp_path / "published")
    row = there.train("cartpole-a0", "cartpole")
    start_from(tmp_path / "published", there.folder, [row])
    path = there.folder / "runs" / row.name / "config.json"
    assert json.loads(path.read_text())["reward"]["clip"] == "alice/mine"
    assert not plan(there, row).left
    # The settings do not name that checkpoint any more, so nothing can be scored by it.
    assert plan(there, row, there.control(row.name, "zero")).states[row.name] == "outdated"
    path.write_text(json.dumps({**config, "reward": {"clip": "alice/other"}}))
    with pytest.raises(ConfigError, match=r"made with reward\.clip alice/other, this row has mine"):
        plan(there, row)


def test_a_run_that_is_not_finished_is_not_published_for_its_controls(tmp_path):
    place, target = Place(tmp_path / "all"), tmp_path / "published"
    row = place.train("cartpole-a0", "cartpole")
    control = place.control(row.name, "random")
    run(plan_of(place, row, control))
    evaluation = place.folder / row.product
    evaluation.write_text(json.dumps(json.loads(evaluation.read_text()) | {"trained_steps": 1, "steps": 2}))
    page = tmp_path / "page"
    page.write_text("")
    publish([row, control], place, page, target)
    assert not (target / "data" / "runs").exists()
