"""A report is published without weights, and another folder starts from it."""

import contextlib
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from filled_folder import filled
from test_execute import plan_of, run

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.reproduce import Place, find_figures
from jaxvlm.reproduce.plan import ledger, make_plan
from jaxvlm.reproduce.publish import publish, start_from
from jaxvlm.reproduce.report import write_report

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


def test_the_page_can_be_drawn_again_from_what_was_published(published, tmp_path, monkeypatch):
    names = {path.name for path in published.rglob("*") if path.is_file()}
    assert {"evaluation.json", "metrics.jsonl", "figures.json", "runs.csv", "scaling.json"} <= names
    assert not names & {"weights", "model.safetensors"}
    monkeypatch.chdir(tmp_path)
    place = Place(Path("all"))
    start_from(published, place.folder)
    again = make_plan(find_figures(NAMES), place, lambda row: None)
    assert set(again.states.values()) == {"finished"}
    assert write_report(again, today=date(2026, 1, 1)).read_text() == (published / "index.html").read_text()


def test_what_is_there_is_kept_and_the_rest_is_added(published, tmp_path):
    own = tmp_path / "runs" / "humanoid-kneeling-a0"
    own.mkdir(parents=True)
    (own / "config.json").write_text("{}")
    first = start_from(published, tmp_path)
    assert [path.name for path in own.iterdir()] == ["config.json"]
    assert (tmp_path / "runs" / "humanoid-lotus-a0" / "evaluation.json").exists()
    assert first > 20
    assert start_from(published, tmp_path) == 0


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
    control, zero = there.control(row.name, "random"), there.control(row.name, "zero")
    start_from(tmp_path / "published", there.folder)
    assert ledger(there.folder)[row.name]["code"] == 0
    plan = plan_of(there, row, control, there.episodes(row.name))
    assert set(plan.states.values()) == {"finished"}
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


def test_a_clip_without_weights_is_trained_again_for_its_agents(tmp_path):
    place = Place(tmp_path / "first")
    clip = place.clip_train("xs", "humanoid")
    run(plan_of(place, clip))
    page = place.folder / "page"
    page.write_text("")
    publish([clip], place, page, tmp_path / "published")
    there = replace(place, folder=tmp_path / "second")
    start_from(tmp_path / "published", there.folder)
    clip = there.clip_train("xs", "humanoid")
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
        start_from(tmp_path, tmp_path / "all")
    place = Place(tmp_path / "all")
    row = place.train("cartpole-a0", "cartpole")
    run(plan_of(place, row))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot"):
        publish([row], place, tmp_path / "file", tmp_path / "file" / "published")
