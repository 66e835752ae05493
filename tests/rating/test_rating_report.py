"""Success, agreement between raters and with the predicate, by hand."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rating.material import make_material

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation import rate_interval
from jaxvlm.rating import Answer, Material, Rule, Session
from jaxvlm.rating.report import ALL, Ratings, histograms, lines, summarise, table
from jaxvlm.runtime.files import plain


@pytest.fixture
def two_raters(tmp_path):
    """Two seeds of three episodes of nine steps, all rated by one and five by the other."""
    material = make_material(tmp_path / "rating", source="a-run")
    session = Session([(material, material.trajectories)], "share")
    said = {"ann": [0, 25, 50, 75, 100, 25], "bob": [0, 0, 25, 75, 100, None]}
    for name, values in said.items():
        for item, value in zip(material.trajectories, values, strict=True):
            if value is not None:
                session.answer(Answer(name, item.id, value, f"{name}-{item.id}"))
    ratings = Ratings.of(session)
    session.close()
    return ratings


def test_success_with_intervals(two_raters):
    summary = summarise(two_raters)
    (run,) = summary["runs"]
    assert (run["run"], run["items"], run["seeds"], run["trained"]) == ("a-run", 6, [40, 41], 1000)
    ann, bob, together, predicate = (run["by"][name] for name in ("ann", "bob", ALL, "predicate"))
    expected = rate_interval(3, 6)
    assert (ann["rate"], ann["low"], ann["high"]) == pytest.approx(tuple(expected))
    assert ann["histogram"] == {"0": 1, "25": 2, "50": 1, "75": 1, "100": 1}
    assert (bob["successes"], bob["rated"]) == (2, 5)
    # Medians of both: 0, 12.5, 37.5, 75, 100 and 25 of the one who answered.
    assert (together["successes"], together["rated"]) == (2, 6)
    assert ann["per_seed"]["40"]["rate"] == pytest.approx(1 / 3)
    assert ann["over_seeds"]["value"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert predicate["rated"] == 6
    share = np.array([item.share for item in two_raters.items])
    assert predicate["successes"] == int((share >= 0.5).sum())


def test_agreement_between_raters(two_raters):
    between = summarise(two_raters)["between_raters"]
    (pair,) = between["pairs"]
    assert between["items"] == pair["items"] == 5
    assert pair["same"] == pytest.approx(3 / 5)
    assert pair["same_verdict"] == pytest.approx(4 / 5)
    # Answers 0 25 50 75 100 and 0 0 25 75 100: by chance (1*2 + 1*1 + 0 + 1 + 1) / 25.
    assert pair["kappa"]["value"] == pytest.approx((0.6 - 0.2) / 0.8)
    assert pair["kappa"]["low"] <= pair["kappa"]["value"] <= pair["kappa"]["high"]
    # Verdicts 0 0 1 1 1 and 0 0 0 1 1.
    assert pair["kappa_verdict"]["value"] == pytest.approx((0.8 - 0.48) / 0.52)
    assert 0.4 < between["alpha_nominal"]["value"] < between["alpha_ordinal"]["value"] < 1


def test_frames_of_one_episode_are_drawn_together(tmp_path):
    """Raters agree on all frames of one episode and on none of another's: with two episodes all is possible."""
    material = make_material(tmp_path / "rating", seeds=1, episodes=2, frames=8)
    session = Session([(material, material.frames)], "frame")
    for number, item in enumerate(material.frames):
        said = number % 2
        session.answer(Answer("ann", item.id, said, f"a{number}"))
        session.answer(Answer("bob", item.id, said if item.episode else 1 - said, f"b{number}"))
    ratings = Ratings.of(session)
    session.close()
    assert len(ratings.groups) == 16
    assert sorted(np.bincount(ratings.groups)) == [8, 8]
    (pair,) = summarise(ratings)["between_raters"]["pairs"]
    assert pair["kappa"]["value"] == pytest.approx(0.0)
    assert (pair["kappa"]["low"], pair["kappa"]["high"]) == pytest.approx((-1.0, 1.0))


def test_the_mean_of_frames_draws_episodes(tmp_path):
    """Ten frames of each of ten episodes, all goals or none: a share of frames is one of ten episodes."""
    material = make_material(tmp_path / "rating", seeds=1, episodes=10, frames=10)
    session = Session([(material, material.frames)], "frame")
    for number, item in enumerate(material.frames):
        session.answer(Answer("ann", item.id, item.episode % 2, f"a{number}"))
    ratings = Ratings.of(session)
    session.close()
    share = summarise(ratings)["runs"][0]["by"]["ann"]["share"]
    assert share["value"] == pytest.approx(0.5)
    assert share["high"] - share["low"] > 0.5


def test_an_episode_that_ended_early_is_not_told_by_its_share(tmp_path):
    """Nor does a seed of such episodes only make the mean over seeds unknown."""
    material = make_material(tmp_path / "rating")
    short = tuple(replace(item, steps=4) if item.seed == 40 else item for item in material.trajectories)
    found = summarise(rated(replace(material, trajectories=short)))["runs"][0]
    assert not found["told_by_raters"]
    by = found["by"]["ann"]
    assert by["rated"] == 3
    assert math.isnan(by["per_seed"]["40"]["rate"])
    assert by["over_seeds"]["value"] == pytest.approx(by["per_seed"]["41"]["rate"])


def test_episodes_of_several_sources_are_not_one(tmp_path):
    material = make_material(tmp_path / "rating", seeds=1, episodes=2, frames=8)
    frames = tuple(replace(item, source=number % 2) for number, item in enumerate(material.frames))
    session = Session([(replace(material, frames=frames), frames)], "frame")
    for number, item in enumerate(frames):
        session.answer(Answer("ann", item.id, number % 2, f"a{number}"))
    ratings = Ratings.of(session)
    session.close()
    assert sorted(np.bincount(ratings.groups)) == [4, 4, 4, 4]


def test_agreement_with_the_predicate(two_raters):
    found = summarise(two_raters)["with_predicate"]["ann"]
    truth = np.array([item.share >= 0.5 for item in two_raters.items])
    ann = np.array([False, False, True, True, True, False])
    assert found["counts"] == {
        "both": int((ann & truth).sum()),
        "rater_only": int((ann & ~truth).sum()),
        "predicate_only": int((~ann & truth).sum()),
        "neither": int((~ann & ~truth).sum()),
    }
    assert found["same_verdict"]["rate"] == pytest.approx((ann == truth).mean())
    said = np.array([0, 25, 50, 75, 100, 25])
    difference = said - 100 * np.array([item.share for item in two_raters.items])
    assert found["difference"] == pytest.approx(difference.mean())
    assert found["distance"] == pytest.approx(np.abs(difference).mean())


def test_half_of_the_steps_is_a_success(two_raters):
    # 0.5 in floating point, and the values around it that a sum of steps may give.
    values = np.array([50.0, 50 - 1e-9, 49.9, math.nan, 0.0, 100.0])
    np.testing.assert_array_equal(two_raters.verdict(values), [1, 1, 0, math.nan, 0, 1])
    assert two_raters.bucket(np.array([12.4, 12.6, 62.4, math.nan])).tolist()[:3] == [0, 25, 50]


LAST = Rule(length=9, window=1, threshold=1.0)  # as MountainCar's
PHASES = Rule(length=9, window=9, threshold=0.5, phases=2)


def rated(*materials, values=(0, 25, 50, 75, 100, 25)):
    """Whole episodes of each material as one rater sees them, and all of it agreed to by another."""
    session = Session([(material, material.trajectories) for material in materials], "share")
    for material in materials:
        for item, value in zip(material.trajectories, values, strict=True):
            for name in ("ann", "bob"):
                session.answer(Answer(name, item.id, value, f"{name}-{item.id}"))
    ratings = Ratings.of(session)
    session.close()
    return ratings


@pytest.mark.parametrize("rule", [LAST, PHASES])
def test_success_is_the_tasks_own_and_people_do_not_tell_it_by_shares(tmp_path, rule):
    """Shares of 0, 2/9, 4/9, 7/9, 1 and 0 of the steps; the last step is a success wherever there is any."""
    material = make_material(tmp_path / "rating", rule=rule)
    if rule is PHASES:  # half of all steps, all of them in one phase
        items = tuple(replace(item, success=item.share == 1) for item in material.trajectories)
        material = replace(material, trajectories=items)
    material.save()
    summary = summarise(rated(Material.open(material.folder)))
    (run,) = summary["runs"]
    ann, predicate = run["by"]["ann"], run["by"]["predicate"]
    assert (predicate["successes"], predicate["rated"]) == ((4, 6) if rule is LAST else (1, 6))
    assert run["success"] == rule.words
    assert not run["told_by_raters"]
    assert ann["rated"] == 0
    assert math.isnan(ann["rate"])
    assert ann["answers"] == 6
    assert ann["share"]["value"] == pytest.approx(275 / 6)
    # Two seeds: means of 25 and 66.7, drawn whole.
    assert (ann["share"]["low"], ann["share"]["high"]) == pytest.approx((25, 200 / 3))
    with_predicate, between = summary["with_predicate"]["ann"], summary["between_raters"]
    assert with_predicate["same_verdict"]["rated"] == 0
    assert sum(with_predicate["counts"].values()) == 0
    assert with_predicate["kappa_quadratic"]["value"] > 0.5
    assert between["pairs"][0]["judged"] == 0
    assert between["pairs"][0]["kappa"]["value"] == between["alpha_nominal"]["value"] == 1
    assert math.isnan(between["alpha_verdict"]["value"])
    text = "\n".join(lines(summary))
    assert "success by people is not defined by this scale" in text
    assert "mean share 45.8% [25%, 67%]" in text
    assert "shares of 6: quadratic kappa" in text
    assert "verdict" not in text
    assert "nan" not in text
    json.dumps(plain(summary), allow_nan=False)
    histograms(tmp_path / "histograms.png", summary)


def test_verdicts_are_compared_where_shares_tell_them(tmp_path):
    ratings = rated(make_material(tmp_path / "one"), make_material(tmp_path / "two", rule=LAST))
    summary = summarise(ratings)
    assert [run["told_by_raters"] for run in summary["runs"]] == [True, False]
    found = summary["with_predicate"]["ann"]
    assert (found["items"], found["same_verdict"]["rated"]) == (12, 6)
    assert summary["between_raters"]["pairs"][0]["judged"] == 6


@pytest.mark.slow
def test_material_of_earlier_versions_opens_and_its_success_is_unknown(tmp_path):
    material = make_material(tmp_path / "rating")
    path = material.folder / "material.json"
    data = json.loads(path.read_text())
    for name in ("rule", "origin"):
        del data[name]
    for item in data["trajectories"]:
        del item["success"]
    path.write_text(json.dumps(data))
    ratings = rated(Material.open(material.folder))
    (run,) = summarise(ratings)["runs"]
    assert run["success"] is None
    assert [run["by"][name]["rated"] for name in ("ann", "predicate")] == [0, 0]
    assert "success: not known" in "\n".join(lines(summarise(ratings)))
    assert {row["success"] for row in csv.DictReader(io.StringIO(table(ratings)))} == {""}
    # The task's rule tells success by share, or nothing can be said of it.
    for rule, known in ((Rule(9, 9, 0.5), 6), (LAST, 0)):
        again = replace(ratings, sources=tuple(replace(each, rule=rule) for each in ratings.sources))
        summary = summarise(again)
        assert summary["runs"][0]["by"]["predicate"]["rated"] == known
        assert (
            "Of 6 episodes an earlier version recorded it was not noted" in "\n".join(lines(summary))
        ) == (known == 0)


def test_seeds_are_kept_apart(two_raters):
    by = summarise(two_raters)["runs"][0]["by"]["ann"]
    assert [list(each["histogram"].values()) for each in by["per_seed"].values()] == [
        [1, 1, 1, 0, 0],
        [0, 1, 0, 1, 1],
    ]


@pytest.mark.slow
def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    folders = [tmp_path / "table1-64" / "rating", tmp_path / "table1-112" / "rating"]
    ratings = rated(*(make_material(folder, source="kneeling-clip") for folder in folders))
    summary = summarise(ratings)
    assert [run["run"] for run in summary["runs"]] == ["kneeling-clip"] * 2
    assert [run["folder"] for run in summary["runs"]] == [
        str(folder.parent / "kneeling-clip") for folder in folders
    ]
    text = "\n".join(lines(summary))
    assert "table1-64/kneeling-clip: 6 items" in text
    assert "table1-112/kneeling-clip: 6 items" in text
    found = {row["folder"] for row in csv.DictReader(io.StringIO(table(ratings)))}
    assert len(found) == 2


@pytest.mark.parametrize(
    ("values", "printed"),
    [
        # One seed succeeds always and the other never: six episodes would promise 19 to 81 %.
        ((100, 75, 50, 0, 25, 0), "50.0% [0%, 100%] of 6"),
        # Seeds that agree say nothing of other seeds: Wilson's interval of six successes.
        ((100, 75, 50, 75, 50, 100), "100.0% [61%, 100%] of 6"),
    ],
)
def test_success_draws_whole_seeds(tmp_path, monkeypatch, values, printed):
    summary = summarise(rated(make_material(tmp_path / "rating"), values=values))
    ann = summary["runs"][0]["by"]["ann"]
    wilson = rate_interval(ann["successes"], 6)
    assert (ann["low"], ann["high"]) == pytest.approx((wilson.low, wilson.high))
    assert ann["drawn"]["low"] <= wilson.low
    assert ann["drawn"]["high"] >= wilson.high
    text = lines(summary)
    assert "draw whole seeds" in text[0]
    (line,) = (line for line in text if line.startswith("  ann  ") and "mean share" in line)
    assert printed in line
    # Of one seed it is Wilson's of its own episodes.
    alone = rate_interval(ann["per_seed"]["40"]["successes"], 3)
    assert ann["per_seed"]["40"]["drawn"] == pytest.approx(
        {"value": alone.value, "low": alone.low, "high": alone.high}
    )
    drawn = []
    monkeypatch.setattr(
        "jaxvlm.rating.plot.bars", lambda path, panels, labels, **texts: drawn.append((panels, texts))
    )
    histograms(tmp_path / "histograms.png", summary)
    (([(title, _)], texts),) = drawn
    assert title == f"secret-run\nn = 6, 2 seeds, success {printed.removesuffix(' of 6')}"
    assert "draw whole seeds" in texts["caption"]


def test_success_in_frames_of_one_seed_draws_episodes(tmp_path):
    """Ten frames of each of four episodes, all goals or none: they say what four episodes say."""
    material = make_material(tmp_path / "rating", seeds=1, episodes=4, frames=10)
    session = Session([(material, material.frames)], "frame")
    for number, item in enumerate(material.frames):
        session.answer(Answer("ann", item.id, item.episode % 2, f"a{number}"))
    ratings = Ratings.of(session)
    session.close()
    summary = summarise(ratings)
    found = summary["runs"][0]["by"]["ann"]
    assert found["high"] - found["low"] < 0.35
    assert (found["drawn"]["low"], found["drawn"]["high"]) == pytest.approx((0.0, 1.0))
    assert "items of 1 seed, after" in "\n".join(lines(summary))


@pytest.mark.parametrize("name", ["predicate", "all raters"])
def test_a_rater_called_as_a_row_of_the_report_is_refused(tmp_path, name):
    material = make_material(tmp_path / "rating")
    session = Session([(material, material.trajectories)], "share")
    session.answer(Answer(name, material.trajectories[0].id, 50, "t"))  # as earlier versions let pass
    with pytest.raises(ConfigError, match="as a row of the report is: give another name") as refused:
        Ratings.of(session)
    statement = str(refused.value).partition("statement ")[2]
    (store,) = session.stores.values()
    store._connection.execute(statement)
    assert Ratings.of(session).raters == ("another name",)
    session.close()


def test_words_files_and_the_picture(two_raters, tmp_path):
    summary = summarise(two_raters)
    text = "\n".join(lines(summary))
    assert "a-run: 6 items of 2 seeds, after 1,000 steps" in text
    assert "Cohen's kappa 0.50 [" in text
    assert "Krippendorff's alpha" in text
    assert "nan" not in text
    json.dumps(plain(summary), allow_nan=False)
    rows = list(csv.DictReader(io.StringIO(table(two_raters))))
    assert len(rows) == 11
    assert rows[0]["run"] == "a-run"
    assert {row["rater"] for row in rows} == {"ann", "bob"}
    assert {row["seed"] for row in rows} == {"40", "41"}
    assert float(rows[0]["predicate"]) == 100 * two_raters.items[0].share
    succeeded = {(str(item.seed), str(item.episode)): str(int(item.success)) for item in two_raters.items}
    assert all(row["success"] == succeeded[row["seed"], row["episode"]] for row in rows)
    assert {row["folder"] for row in rows} == {str(tmp_path / "a-run")}
    path = histograms(tmp_path / "histograms.png", summary)
    with Image.open(path) as picture:
        assert picture.width > 400


def test_one_rater_has_nobody_to_agree_with(tmp_path):
    material = make_material(tmp_path / "rating")
    session = Session([(material, material.trajectories)], "share")
    with pytest.raises(ConfigError, match="nobody has rated"):
        Ratings.of(session)
    session.answer(Answer("ann", material.trajectories[0].id, 0, "t"))
    summary = summarise(Ratings.of(session))
    session.close()
    assert summary["between_raters"] is None
    assert list(summary["runs"][0]["by"]) == ["ann", "predicate"]
    # One answer tells of no agreement beyond chance, and says so.
    assert "kappa undefined" in "\n".join(lines(summary))


@pytest.mark.slow
def test_frames_and_states(tmp_path):
    material = make_material(tmp_path / "rating", frames=2)
    session = Session([(material, material.frames)], "frame")
    for number, item in enumerate(material.frames):
        session.answer(Answer("ann", item.id, int(item.share), f"a{number}"))
        session.answer(Answer("bob", item.id, int(item.share), f"b{number}"))
    ratings = Ratings.of(session)
    session.close()
    summary = summarise(ratings)
    assert summary["between_raters"]["alpha_nominal"]["value"] == 1.0
    assert summary["with_predicate"][ALL]["same_verdict"]["rate"] == 1.0
    assert "rater minus predicate +0.00 on average" in "\n".join(lines(summary))
    columns = "run,seed,episode,step,rater,value,predicate,answered,success,folder"
    assert table(ratings).splitlines()[0] == columns
    states = tuple(replace(item, state=7 + number) for number, item in enumerate(ratings.items))
    exported = table(replace(ratings, items=states)).splitlines()
    assert exported[0] == "state,label,rater"
    assert exported[1] == f"7,{int(ratings.items[0].share)},ann"
