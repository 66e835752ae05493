"""Folders of pictures, and the order in which a rater sees them."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rating.material import KNEELING, make_material

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.rating import Answer, Material, Session
from jaxvlm.rating.criteria import CRITERIA, criterion
from jaxvlm.rating.material import draw_missing, missing, share_of, sheet


@pytest.fixture
def material(tmp_path):
    return make_material(tmp_path / "rating", frames=2)


def test_a_folder_is_read_as_it_was_written(material):
    assert Material.open(material.folder) == material
    assert Material.exists(material.folder)
    assert not Material.exists(material.folder / "images")


def test_names_of_pictures_say_nothing(material):
    names = [path.name for path in (material.folder / "images").iterdir()]
    assert len(names) == 6 + 12
    assert all(re.fullmatch(r"[0-9a-f]{16}\.webp", name) for name in names)
    with Image.open(material.folder / "images" / names[0]) as picture:
        assert not set(picture.info) - {"loop", "background", "timestamp", "duration"}


def test_a_sheet_holds_frames_row_by_row():
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 2, 4, 3), np.uint8) + 1
    page = sheet(frames)
    assert page.shape == (2 * 2, 3 * 4, 3)
    assert page[0, :, 0].tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert page[2, :, 0].tolist() == [4] * 4 + [5] * 4 + [0] * 4
    with pytest.raises(ConfigError, match="choose a smaller --size"):
        sheet(np.zeros((1, 8, 20_000, 3), np.uint8))


def test_drawing_goes_on_where_it_was_cut_off(material):
    lost = [material.trajectories[1], material.frames[3]]
    for item in lost:
        material.picture(item).unlink()
    items = (*material.trajectories, *material.frames)
    assert missing(material, items) == lost
    asked, done = [], []

    def scenes(item, steps):
        asked.append((item, steps.tolist()))
        return steps

    draw_missing(
        material, items, scenes, lambda steps: np.zeros((len(steps), 8, 8, 3), np.uint8), done.append
    )
    assert asked == [(lost[0], list(range(9))), (lost[1], [lost[1].step])]
    assert done == [1, 2]
    assert missing(material, items) == []


def test_more_frames_of_an_episode_keep_those_it_has(material):
    more = material.with_frames(4)
    assert more.frames[:12] == material.frames
    assert len(more.frames) == 24
    assert set(more.picked_frames(2)) == set(material.frames)
    for item in more.frames:
        row = [(each.seed, each.episode) for each in more.trajectories].index((item.seed, item.episode))
        assert item.share == more.read_holds()[row, item.step]
    places = [(item.seed, item.episode, item.step) for item in more.frames]
    assert len(set(places)) == len(places)


def test_share_of_counts_the_steps_there_are():
    assert share_of(np.array([True, False, False, False]), 2) == 0.5
    assert share_of(np.array([False]), 0) == 0.0


def test_damaged_folders_say_so(material):
    path = material.folder / "material.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "version": 99}))
    with pytest.raises(RunError, match="another format than 1"):
        Material.open(material.folder)
    path.write_text("{")
    with pytest.raises(RunError, match="cannot read"):
        Material.open(material.folder)
    (material.folder / "episodes.npz").write_text("no")
    with pytest.raises(RunError, match=r"episodes\.npz"):
        material.read_holds()


def test_every_rater_has_an_order_that_stays(tmp_path):
    one = make_material(tmp_path / "one", source="one", episodes=20)
    two = make_material(tmp_path / "two", source="two", episodes=20)
    alone, both = (
        Session([(each, each.trajectories) for each in group], "share") for group in ([one], [one, two])
    )
    ann = both.order("ann")
    assert sorted(ann) == sorted(both.items)
    assert ann == both.order("ann") != both.order("bob")
    # A run that is added changes nothing between the others, and is mixed with them.
    assert [name for name in ann if name in alone.items] == alone.order("ann")
    sources = [both.items[name][0].source for name in ann]
    assert 10 < sum(a != b for a, b in itertools.pairwise(sources)) < 60
    seeds = [both.items[name][1].seed for name in ann]
    assert 10 < sum(a != b for a, b in itertools.pairwise(seeds)) < 70
    alone.close()
    both.close()


def test_goals_come_one_after_the_other(tmp_path):
    goal = replace(KNEELING, prompt="a humanoid robot standing up")
    materials = [make_material(tmp_path / "one"), make_material(tmp_path / "two", goal=goal)]
    session = Session([(each, each.trajectories) for each in materials], "share")
    prompts = [session.items[name][0].goal.prompt for name in session.order("ann")]
    assert sum(a != b for a, b in itertools.pairwise(prompts)) == 1
    session.close()


def test_each_folder_keeps_its_own_answers(tmp_path):
    materials = [make_material(tmp_path / name, source=name) for name in ("one", "two")]
    session = Session([(each, each.trajectories) for each in materials], "share")
    for number, each in enumerate(materials):
        session.answer(Answer("ann", each.trajectories[0].id, 50, str(number)))
    session.close()
    again = Session([(materials[1], materials[1].trajectories)], "share")
    assert [answer.item for answer in again.answers()] == [materials[1].trajectories[0].id]
    with pytest.raises(ConfigError, match="no such item"):
        again.answer(Answer("ann", materials[0].trajectories[0].id, 50, "x"))
    with pytest.raises(ConfigError, match="30 is no answer; give one of 0, 25, 50, 75, 100"):
        again.answer(Answer("ann", materials[1].trajectories[0].id, 30, "x"))
    again.close()
    with pytest.raises(ConfigError, match="nothing to rate"):
        Session([], "share")


def test_criteria():
    assert criterion("kneeling", "humanoid-kneeling") == CRITERIA["kneeling"]
    assert criterion(None, "cartpole") == CRITERIA["cartpole"]
    assert criterion("at_red_ball") == "The agent is on the red ball."
    assert "sentence" in criterion(None, "brax:ant")
