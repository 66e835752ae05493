"""Sections on how rewards part and on sequences, from run directories that are made up."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvlm.reproduce import Place, fooling, misspecification, sequence
from jaxvlm.reproduce.figure import Picture, Table, Text
from jaxvlm.reproduce.material import Material, Trained
from jaxvlm.reproduce.poses import POSES

SEEDS, EPISODES, ROLLOUTS = 3, 10, 24


def make_run(folder: Path, name: str, *, phases: bool = False, fooled: bool = True) -> Path:
    """A run whose reward goes on rising when success has come and gone."""
    run = folder / "runs" / name
    for part in ("plots", "videos"):
        (run / part).mkdir(parents=True)
    config = {"learning_starts": 1000, "task": "humanoid-kneeling", "episodes": EPISODES}
    (run / "config.json").write_text(json.dumps(config))
    rows = []
    for k in range(ROLLOUTS):
        success = [min(k, 18 - k) / 20 if k < 18 else 0.0] * SEEDS
        row = {
            "step": 1000 * (k + 1),
            "reward": [0.1 * k + 0.01 * s for s in range(SEEDS)],
            "success": success,
        }
        if phases:
            row |= {"success_phase_1": success, "success_phase_2": [0.0] * SEEDS}
        rows.append(json.dumps(row))
    (run / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    per_seed = {"success_rate": [0.2, 0.5, 0.9], "pose_fraction": [0.3, 0.5, 0.8]}
    if phases:
        per_seed["success_by_step"] = np.linspace(0, 1, 100 * SEEDS).reshape(SEEDS, 100).tolist()
    result = {"episodes": EPISODES, "success_rate": 0.5, "per_seed": per_seed, "clip_digest": None}
    (run / "evaluation.json").write_text(json.dumps(result))
    head = "seed,episode,success,pose_fraction,ground_truth_return,clip_reward,length"
    lines = [head + (",phase_1,phase_2" if phases else "")]
    for seed in range(SEEDS):
        lines += [f"{seed},{k},1,0.5,50,0.2,100" + (",0.75,0.25" if phases else "") for k in range(EPISODES)]
    (run / "evaluation-episodes.csv").write_text("\n".join(lines) + "\n")
    Image.new("RGB", (40, 20)).save(run / "videos" / "best.png")
    if fooled:
        Image.new("RGB", (40, 20)).save(run / "plots" / "fooled.png")
        figures = {
            "episodes": 16, "auc": [0.9, 0.85, 0.95], "fooled_share": [0.1, 0.05, 0.2], "goal_share": [0.5, 0.4, 0.6],
            "clearly_fooled_share": [0.02, 0.01, 0.03], "shown": [{"reward": 0.5, "missed": ["torso tilt"]}],
        }  # fmt: skip
        (run / "fooled.json").write_text(json.dumps(figures))
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything that both figures want."""
    folder = tmp_path_factory.mktemp("report")
    for row in [*misspecification.rows(Place(folder)), *sequence.rows(Place(folder))]:
        if row.task:
            make_run(folder, row.name, phases="-then-" in row.name)
    runs = folder / "runs" / "humanoid-kneeling-s"
    judged = next(
        row for row in misspecification.rows(Place(folder)) if row.name.endswith("-fooled-s-1500-mined")
    )
    (folder / judged.product).write_text((runs / "fooled.json").read_text())
    return folder


@pytest.mark.parametrize("figure", [misspecification, sequence], ids=["misspecification", "sequence"])
def test_rows_are_told_apart_and_need_each_other_only(figure):
    for place in (Place(), Place(clips=("PATH",))):
        rows = figure.rows(place)
        names = [row.name for row in rows]
        assert len(set(names)) == len(names)
        assert len({row.product for row in rows}) == len(rows)
        assert {need for row in rows for need in row.needs} <= set(names)


@pytest.mark.slow
@pytest.mark.parametrize("figure", [misspecification, sequence], ids=["misspecification", "sequence"])
def test_every_picture_has_its_seeds_and_its_interval(figure, folder):
    section = figure.section(Material(Place(folder)))
    pictures = [block for block in section.blocks if isinstance(block, Picture)]
    assert len(pictures) > 4
    for picture in pictures:
        assert "3 seeds" in picture.seeds
        assert re.search(r"95 %|lowest to the highest", picture.interval), picture.interval
        assert picture.says
    for block in section.blocks:
        if isinstance(block, Table):
            assert all(len(row) == len(block.header) for row in block.rows)


@pytest.mark.parametrize("figure", [misspecification, sequence], ids=["misspecification", "sequence"])
def test_nothing_that_is_missing_is_shown(figure, tmp_path):
    section = figure.section(Material(Place(tmp_path)))
    assert not any(isinstance(block, (Picture, Table)) for block in section.blocks)


def test_reward_and_success_part_in_the_table(folder):
    section = misspecification.section(Material(Place(folder)))
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert [row[0] for row in table.rows] == [pose.name for pose in POSES]
    early, late, gained, lost, auc, fooled, clearly = table.rows[0][1:]
    assert early.value > 0.5 > 0 > late.value
    assert gained.value > 0.4
    assert lost.value > 0.3
    assert (auc.value, fooled.value, clearly.value) == (0.9, 0.1, 0.02)


def test_a_mean_of_fewer_seeds_says_of_how_many_it_is(tmp_path):
    """What came after the highest success is told of no seed that never had any; two of three never had."""
    for pose in POSES[:2]:
        run = make_run(tmp_path, f"humanoid-{pose.name}-a0", fooled=False)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for row in rows:
            row["success"] = [row["success"][0], 0.0, 0.0 if pose is POSES[0] else row["success"][0]]
        (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    section = misspecification.section(Material(Place(tmp_path)))
    table = next(block for block in section.blocks if isinstance(block, Table))
    column = next(k for k, name in enumerate(table.header) if name.startswith("share of the reward's rise"))
    one, two = (row[column] for row in table.rows)
    assert one == f"{over_seeds_of(tmp_path, POSES[0])[0]:.2f} (1 of 3 seeds)"
    assert two.endswith("] (2 of 3 seeds)")
    assert "Means over 3 seeds" in table.caption
    assert "where fewer tell, a cell says how many" in table.caption


def over_seeds_of(folder, pose):
    """Share of the reward's rise after the highest success of those seeds that tell."""
    each = misspecification.partings(Trained(folder / "runs" / f"humanoid-{pose.name}-a0"))
    return [seed.gain_after for seed in each if np.isfinite(seed.gain_after)]


def test_shares_of_phases_are_read_from_the_episodes(folder):
    run = Trained(folder / "runs" / "humanoid-stand-then-kneel")
    first, second = sequence.phase_shares(run)
    assert (first.value, second.value) == (0.75, 0.25)


def test_a_figure_that_nobody_knows_is_left_open(folder):
    """Agents that never meet their goal have no AUC: it is NaN, and null in JSON."""
    figures = {"auc": [None, None, None], "goal_share": [0.5, None, None]}
    assert fooling.interval_of(figures, "auc") is None
    assert fooling.interval_of(figures, "fooled_share") is None
    value, low, high = fooling.interval_of(figures, "goal_share")
    assert (value, np.isnan(low), np.isnan(high)) == (0.5, True, True)


def test_agents_are_kept_for_what_they_earned_once_they_learned(tmp_path):
    run = make_run(tmp_path, "a-run", fooled=False)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines[0]["reward"] = [9.0, 0.0, 0.0]  # of random actions
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert Trained(run).rewards == pytest.approx([2.3, 2.31, 2.32])
    assert Trained(run).chosen == 2


@pytest.mark.parametrize(("starts", "random"), [(1000, 1), (1500, 2), (2000, 2)])
def test_rollouts_of_random_actions_are_left_out(tmp_path, starts, random):
    """A rollout is random where it begins before learning does, also where learning begins in its middle."""
    run = make_run(tmp_path, "a-run", fooled=False)
    config = json.loads((run / "config.json").read_text()) | {"learning_starts": starts}
    (run / "config.json").write_text(json.dumps(config))
    reward, _ = misspecification._training(Trained(run))
    assert reward.shape == (ROLLOUTS - random, SEEDS)


@pytest.mark.slow
def test_remedies_of_other_checkpoints_are_not_shown(folder, tmp_path):
    """A folder may hold what the embedded CLIPs left: it says nothing about the checkpoints that are given."""
    given = Place(folder, clips=("OTHER",))
    assert not any(row.name.startswith("humanoid-kneeling-s") for row in misspecification.rows(given))
    tables = [b for b in misspecification.section(Material(given)).blocks if isinstance(b, Table)]
    assert not any("small CLIP" in str(row) for table in tables for row in table.rows)
    shown = [b for b in misspecification.section(Material(Place(folder))).blocks if isinstance(b, Table)]
    assert any("small CLIP" in str(row) for table in shown for row in table.rows)
    texts = [b.words for b in misspecification.section(Material(Place(folder))).blocks if isinstance(b, Text)]
    assert any("That is one round" in words for words in texts)


@pytest.mark.slow
def test_remedies_that_ask_for_no_clip_of_their_own_are_tried_on_given_checkpoints(tmp_path):
    given = Place(tmp_path, clips=("OTHER",))
    rows = {row.name: row for row in misspecification.rows(given)}
    alpha, cameras = rows["humanoid-kneeling-a0.4-OTHER"], rows["humanoid-kneeling-cameras-OTHER"]
    assert "--alpha 0.4" in alpha.command
    assert "--clip OTHER --camera default side" in cameras.command
    assert not any(row.arguments[:2] == ("clip", "train") for row in rows.values())
    for name in ("humanoid-kneeling-a0-OTHER", alpha.name, cameras.name):
        assert f"{name}-fooled" in rows
        make_run(tmp_path, name)
    *_, table = [b for b in misspecification.section(Material(given)).blocks if isinstance(b, Table)]
    assert [row[0] for row in table.rows] == [
        "kneeling, front", "the same with alpha 0.4", "agents of two cameras, front and side",
    ]  # fmt: skip
    texts = [b.words for b in misspecification.section(Material(given)).blocks if isinstance(b, Text)]
    assert not any("one round" in words for words in texts)


def test_every_remedy_has_what_fools_it():
    rows = misspecification.rows(Place())
    names = {row.name for row in rows}
    trained = [row.name for row in rows if row.task]
    assert [name for name in trained if f"{name}-fooled" not in names] == []
