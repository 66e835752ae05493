"""The page: whole, self-contained, with an interval at every figure, whatever was run."""

import json
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import fake_jaxvlm
import numpy as np
import pytest
from filled_folder import filled
from PIL import Image

from jaxvlm.evaluation import Interval, bootstrap, mean_interval
from jaxvlm.reproduce import Figure, Place, clip_rl, fig4, fig6, find_figures, scaling, table1
from jaxvlm.reproduce.draw import bands, curves, step_histogram
from jaxvlm.reproduce.execute import Outcome
from jaxvlm.reproduce.figure import BUDGETS, Picture, Section, Table, Text
from jaxvlm.reproduce.material import Material, Trained, over_seeds, success_interval
from jaxvlm.reproduce.plan import make_plan
from jaxvlm.reproduce.report import shown, write_report

VOID = {"meta", "link", "img", "br"}
PAPERS = ("https://arxiv.org/abs/2310.12921", "https://arxiv.org/abs/2512.01616")


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.figures = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag == "figure":
            self.figures.append("")
        self.sources += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]
        if tag == "link":
            self.sources.append(given["href"])
        if tag == "img":
            assert given["alt"].strip()
        assert tag not in ("script", "iframe", "object", "embed")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "figure" in self.open:
            self.figures[-1] += data


def page_of(plan, outcome=None):
    path = write_report(plan, outcome, today=date(2026, 1, 2))
    text = path.read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def whole(made):
    """The page of all figures, and its text."""
    return page_of(made)


@pytest.mark.slow
def test_a_whole_page_needs_nothing_else(whole):
    page, text = whole
    assert all(source.startswith("data:") for source in page.sources)
    assert {link for link in page.links if not link.startswith("#")} == set(PAPERS)
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "url(" not in text
    assert "@import" not in text
    outside = re.sub(r'src="data:[^"]*"', "", text)
    assert set(re.findall(r"https?://[^\s\"'<]+", outside)) == set(PAPERS)
    assert "could not be drawn" not in text
    assert "not run yet" not in outside
    assert "prefers-color-scheme:dark" in text
    assert "width=device-width" in text
    assert "Drawn on 2026-01-02 by jaxvlm" in text
    assert len(text) < 6e6


def test_every_figure_says_its_seeds_and_its_interval(whole):
    page, _ = whole
    assert len(page.figures) > 30
    for caption in page.figures:
        assert re.search(r"\bseeds?\b|CLIP", caption), caption
        assert re.search(r"95 %|[Bb]ands|lowest to the highest", caption), caption


def test_every_table_with_intervals_says_its_seeds_and_what_they_are(whole):
    _, text = whole
    beside, others = 0, 0
    for table in re.findall(r"<table>.*?</table>", text):
        caption, head, *rows = re.split(r"<thead>|<tbody>|</tr>(?=<tr>)", table)
        if not re.search(r"\[[-+]?\d", table):
            continue
        if ">paper</th><th scope='col'>ours</th><th scope='col'>seeds</th>" in head:
            beside += 1
            for row in rows:
                *_, ours, seeds = re.findall(r"<td>(.*?)</td>", row)
                assert "[" not in ours or re.search(r"\d", seeds), row
        else:
            others += 1
            # In the caption or in its cells; what the intervals are stands in the caption.
            assert re.search(r"\b\d+ seeds?\b|\b(\d|[Oo]ne) CLIPs?\b", table), caption
            assert re.search(r"95 %|lowest to the highest", caption), caption
    assert beside == 10
    assert others >= 6


def test_details_give_commands_versions_and_dates(whole):
    _, text = whole
    assert "jaxvlm train humanoid-kneeling --preset laptop --seeds 3 --name humanoid-kneeling-a0" in text
    assert "300,000" in text
    assert "jaxvlm 0.1.0, jax 0.10.2, mujoco-mjx 3.17.0" in text
    assert "tiny (3faf3a34d982)" in text


def test_an_empty_folder_lists_what_is_missing(tmp_path):
    plan = make_plan(find_figures(["all"]), Place(tmp_path), lambda row: None)
    page, text = page_of(plan)
    assert "could not be drawn" not in text
    assert "0 of " in text
    assert "jaxvlm train humanoid-lotus --preset laptop" in text
    assert "jaxvlm evaluate" in text  # the controls
    assert not re.search(r"jaxvlm evaluate \S+\n", text)  # tables of episodes come with their trainings
    assert page.figures == []
    contents, *sections = text.split("<section ")
    assert contents.count("not run yet") == len(sections) - 1  # all but how it was made
    assert all("caution" not in section for section in sections)
    assert "<code>jaxvlm reproduce fig4 --budget laptop --folder " in text


@pytest.mark.slow
def test_a_figure_without_anything_to_see_is_not_run_yet(tmp_path):
    """Figures 4 and 7 need table 1's runs, which show nothing of theirs."""
    plan = filled(tmp_path, ["fig5"])
    _, text = page_of(
        make_plan(find_figures(["table1", "fig4", "fig5", "fig7"]), plan.place, lambda row: None)
    )
    states = dict(re.findall(r'<a href="#([\w-]+)">[^<]*</a> <span class="state[^"]*">([^<]*)<', text))
    assert (states["fig5"], states["fig4"], states["fig7"]) == ("", "not run yet", "not run yet")
    assert states["table1"] == "8 of 16 rows not run yet"


def test_a_page_of_some_figures_says_which_it_leaves_out_and_counts_all_rows(tmp_path):
    plan = make_plan(find_figures(["fig2", "clip-rl"]), Place(tmp_path), lambda row: None)
    _, text = page_of(plan)
    every = {row.name for figure in find_figures(["all"]) for row in figure.rows(plan.place)}
    assert (
        f"0 of {len(plan.rows)} rows are finished. This page leaves out classic, table1, fig3, fig4, " in text
    )
    assert f"with them 0 of {len(every)} rows are finished" in text
    _, text = page_of(make_plan(find_figures(["all"]), plan.place, lambda row: None))
    assert "leaves out" not in text
    assert f"0 of {len(every)} rows are finished" in text


@pytest.mark.slow
def test_distances_to_peoples_labels_say_so(tmp_path):
    plan = filled(tmp_path, ["fig7"])
    people = replace(plan.place, labels="human")
    row = scaling.epic_rows(people)[-1]
    assert row.product == "epic/scaling-human.json"
    material = Material(people)
    assert fig4.section(material).blocks == ()  # those to the predicates are not taken for them
    fake_jaxvlm.main(list(row.arguments))
    section = fig4.section(material)
    assert len(section.blocks) > 3
    assert "Distances are to the labels that people gave" in section.caution
    _, text = page_of(make_plan(find_figures(["fig7"]), people, lambda row: None))
    assert "told by the labels that people gave" in text
    assert f"--folder {tmp_path} --labels human" in text


@pytest.mark.slow
def test_checkpoints_that_are_given_are_not_called_embedded(tmp_path):
    names = ["fig2", "classic", "table1", "fig4", "fig6", "fig7"]
    plan = filled(tmp_path, names, clips=("RN50/openai", "ViT-bigG-14/laion2b_s39b_b160k"))
    page, text = page_of(plan)
    assert "could not be drawn" not in text
    assert len(page.figures) > 10
    assert "ViT-bigG-14/laion2b_s39b_b160k" in text
    for word in ("mbedded", "these very scenes", "0.1 to 10 million", "rows that were not run yet"):
        assert word not in text


def test_what_is_no_training_says_its_versions_too(tmp_path):
    plan = filled(tmp_path, ["table1"])
    control = tmp_path / "runs" / "humanoid-kneeling-a0" / "evaluation-random-100.json"
    told = {"clip": "tiny", "clip_digest": "0123456789abcdef", "devices": {"kind": "a device"}}
    told["versions"] = {"jaxvlm": "9.8.7", "jax": "6.5.4"}
    control.write_text(json.dumps(json.loads(control.read_text()) | told))
    _, text = page_of(plan)
    row = re.search(r"<td>humanoid-kneeling-a0-random</td>.*?</tr>", text)[0]
    assert "tiny (0123456789ab)" in row
    assert "a device" in row
    assert "jaxvlm 9.8.7, jax 6.5.4" in row


@pytest.mark.slow
def test_several_clips_of_a_size_count_as_several(made):
    """A distance of three CLIPs has Student's interval over them, and the page says how many there are."""
    material = Material(made.place)
    lines = scaling.measured(material)
    model = next(model for model in scaling.full(made.place) if model.size == "xs")
    alike = fig4._alike(material, lines, model)
    assert [other.seed for other in alike] == [0, 1, 2]
    each = [line.epic.value for line in fig4._chosen(lines, alike, goal="kneeling", alpha=0.4)]
    assert fig4._over_seeds(fig4._chosen(lines, alike, goal="kneeling", alpha=0.4)) == mean_interval(each)
    section = fig4.section(material)
    captions = [block for block in section.blocks if isinstance(block, Picture)]
    assert any(
        caption.seeds.startswith("1 to 3 CLIPs a size (3 of xs and s, 1 of m and l)") for caption in captions
    )
    # The value beside the paper's is the pictures'.
    compared = {line.what.partition(":")[0]: line for line in section.compared if "EPIC" in line.what}
    each = [line.epic.value for line in fig4._chosen(lines, alike, goal="kneeling", alpha=0.0)]
    assert (compared["xs"].ours, compared["xs"].seeds) == (mean_interval(each), "3 CLIPs")
    assert compared["l"].seeds == "1 CLIP"


def test_agents_of_a_size_are_said_to_be_of_one_clip(made):
    material = Material(made.place)
    agents = [block for block in fig4.section(material).blocks if "4c" in getattr(block, "caption", "")]
    histograms = fig6.section(material).blocks
    assert (len(agents), len(histograms)) == (1, 4)
    for picture in (*agents, *histograms):
        assert "learned from one CLIP of it (seed 0)" in picture.caption
        assert picture.caption.endswith("of m and l there is no other")
    assert {line.seeds for line in fig6.section(material).compared} == {"3 from 1 CLIP"}
    # With several CLIPs of every size nothing is said of those that have one, and of checkpoints given nothing at all.
    assert "no other" not in scaling.learned_from(Place(budget=BUDGETS["gpu"]))
    assert scaling.learned_from(Place(clips=("RN50/openai",))) == ""


def test_a_part_of_the_rows_gives_a_part_of_the_page(tmp_path):
    fake = Place(tmp_path)
    row = fake.train("humanoid-kneeling-a0", "humanoid-kneeling")
    fake_jaxvlm.main(list(row.arguments))
    plan = make_plan(find_figures(["all"]), fake, lambda row: None)
    page, text = page_of(plan, Outcome(failed={"humanoid-lotus-a0": "out of <memory>"}))
    assert "could not be drawn" not in text
    assert "humanoid-lotus-a0 failed: out of &lt;memory&gt;" in text
    assert len(page.figures) >= 3  # table 1, figures 3 and 5


def test_a_section_that_breaks_costs_no_other(tmp_path):
    def broken(found):
        raise KeyError("what")

    gone = Picture(tmp_path / "gone.png", "says", "caption", "3 seeds", "bars: 95 %")
    figures = [
        Figure("one", "One", lambda place: [], broken),
        Figure("gone", "Gone", lambda place: [], lambda found: Section(found="", blocks=(gone,))),
        Figure(
            "two", "Two", lambda place: [], lambda found: Section(found="<b>", blocks=(Text("a\n\n`b`"),))
        ),
    ]
    plan = make_plan(figures, Place(tmp_path), lambda row: None)
    _, text = page_of(plan)
    assert "could not be drawn: KeyError" in text
    assert "could not be drawn: FileNotFoundError" in text
    for name in ("One", "Gone"):
        assert f'{name}</a> <span class="state missing">could not be drawn</span>' in text
    assert 'Two</a> <span class="state"></span>' in text
    assert "&lt;b&gt;" in text
    assert "<p>a</p><p><code>b</code></p>" in text


def test_runs_that_stand_beside_are_named_by_what_they_learned_from(tmp_path):
    def said(**reward):
        (tmp_path / "config.json").write_text(
            json.dumps({"reward": {"clip": "tiny", "camera": ["default"], "look": "textured", **reward}})
        )
        return table1._learned_from(Trained(tmp_path))

    assert said(reward="clip", alpha=0.2) == "CLIP tiny, views default, alpha 0.2"
    assert said(reward="ground-truth") == "ground truth as reward"
    mixed = said(reward="mix", clip_weight=0.5, truth_weight=5.0)
    assert mixed == "5 times the ground truth and 0.5 times CLIP tiny, views default, alpha 0"
    assert said(reward="own") == "a reward of its own beside CLIP tiny, views default, alpha 0"


def test_pictures_of_files_are_inline(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    picture = Picture(tmp_path / "x.png", "says", "caption", "3 seeds", "bars: 95 %")
    figures = [Figure("one", "One", lambda place: [], lambda found: Section(found="", blocks=(picture,)))]
    page, _ = page_of(make_plan(figures, Place(tmp_path), lambda row: None))
    assert page.sources[-1].startswith("data:image/png;base64,")
    assert page.figures == ["Caption. 3 seeds. Bars: 95 %."]


def test_runs_of_other_folders_are_named(tmp_path):
    other = Place(tmp_path / "other")
    fake_jaxvlm.main(list(other.train("far", "humanoid-kneeling").arguments))
    fake_jaxvlm.main(
        list(other.train("lotus-predicate", "humanoid-lotus", "--reward", "ground-truth").arguments)
    )
    place = Place(tmp_path / "mine")
    plan = make_plan(find_figures(["table1"]), place, lambda row: None, [other.folder / "runs"])
    _, text = page_of(plan)
    assert "other/runs: CLIP tiny, views" in text
    assert "ground truth as reward" in text
    assert "Runs of other folders that stand beside the rows" in text


def test_a_run_that_stands_in_is_named_with_its_steps(tmp_path):
    place = Place(tmp_path)
    row = place.train("humanoid-kneeling-a0", "humanoid-kneeling")
    fake_jaxvlm.main(list(row.arguments))
    run = tmp_path / "runs" / row.name
    (run / "reused.json").write_text(json.dumps({"from": "/far/away"}))
    _, text = page_of(make_plan(find_figures(["table1"]), place, lambda row: None))
    assert (
        "humanoid-kneeling-a0: /far/away, preset ?, 300,000 steps of each of 3 seeds, CLIP tiny of digest"
        in text
    )
    other = place.train("humanoid-lotus-a0", "humanoid-lotus")
    fake_jaxvlm.main(list(other.arguments))
    path = tmp_path / "runs" / other.name / "evaluation.json"
    path.write_text(path.read_text().replace("3faf3a34d982e883", "aaaaaaaaaaaaaaaa"))
    _, text = page_of(make_plan(find_figures(["table1"]), place, lambda row: None))
    assert "from 2 different files called tiny (3faf3a34d982, aaaaaaaaaaaa): compare with care" in text


def test_every_domain_has_an_embedded_clip_of_its_own(tmp_path):
    place = Place(tmp_path)
    for name, digest in (("cartpole-a0", "3faf3a34d982e883"), ("mountain-car-a0", "aaaaaaaaaaaaaaaa")):
        fake_jaxvlm.main(list(place.train(name, name.removesuffix("-a0")).arguments))
        path = tmp_path / "runs" / name / "evaluation.json"
        path.write_text(path.read_text().replace("3faf3a34d982e883", digest))
    _, text = page_of(make_plan(find_figures(["classic"]), place, lambda row: None))
    assert "compare with care" not in text


def test_ratings_of_people_stand_beside_the_predicate(made, tmp_path):
    run = Trained(made.place.folder / "runs" / "humanoid-kneeling-a0")
    found = Material(made.place)
    assert found.ratings(run) is None
    (run.path / "rating").mkdir()
    path = run.path / "rating" / "report-share.json"

    def voice(*seeds):
        """Of one rater: histograms of seeds, and all of them together as earlier versions had them alone."""
        buckets = ("0", "25", "50", "75", "100")
        counts = [dict(zip(buckets, seed, strict=True)) for seed in seeds]
        together = {bucket: sum(seed[bucket] for seed in counts) for bucket in buckets}
        per_seed = {str(number): {"histogram": seed} for number, seed in enumerate(counts)}
        return {"histogram": together, "per_seed": per_seed}

    def ratings(*runs):
        path.write_text(json.dumps({"runs": runs}))
        read = found.ratings(run)
        return read and [seed.tolist() for seed in read]

    voices = {
        "ada": voice((4, 0, 0, 0, 0)),
        "all raters": voice((1, 0, 0, 1, 0), (0, 0, 0, 1, 1)),
        "predicate": voice((9, 0, 0, 0, 0)),
    }
    mine = {"run": run.path.name, "folder": str(run.path.resolve()), "by": voices}
    other = {"run": "humanoid-lotus-a0", "folder": "/far/lotus", "by": {"ada": voice((9, 0, 0, 0, 0))}}
    namesake = {**other, "run": run.path.name, "folder": f"/far/{run.path.name}"}
    expected = [[0, 0.75], [0.75, 1]]
    try:
        assert ratings(mine) == expected
        # Rated together with other runs, whose answers come first, one of them of the same name.
        assert ratings(other, mine) == ratings(namesake, mine) == expected
        # Moved since: its name tells it from others, and not from a namesake.
        moved = {**mine, "folder": "/elsewhere"}
        assert ratings(other, moved) == expected
        assert ratings(namesake, moved) is None
        assert ratings(other, other) is None
        # Of an earlier version, which pooled the seeds.
        by = {
            name: {"histogram": each["histogram"], "per_seed": {"0": {"rate": 1}}}
            for name, each in voices.items()
        }
        assert ratings({"run": run.path.name, "by": by}) is None
        assert ratings({"run": run.path.name, "by": {"predicate": voice((1, 0, 0, 0, 0))}}) is None
        assert ratings(mine) == expected
        picture = find_figures(["fig5"])[0].section(found).blocks[0]
        assert "Beside them 4 ratings by people of 2 seeds." in picture.caption
        assert picture.interval == "Lines: from the lowest to the highest seed"
        ratings({**mine, "by": {"ada": voice((1, 0, 0, 1, 0))}})
        picture = find_figures(["fig5"])[0].section(found).blocks[0]
        assert "highest seed, of ratings 95 % interval of Wilson's over episodes" in picture.interval
    finally:
        path.unlink()


def test_bars_of_raters_have_intervals_of_whole_seeds():
    """Each seed's ratings agree and seeds do not: whole seeds leave all of [0, 1] open, single ratings would not."""
    shares = [np.full(25, value) for value in (1.0, 1.0, 0.0)]
    drawing = step_histogram(shares, rated=[np.full(50, value) for value in (1.0, 1.0, 0.0)])
    predicate, raters = drawing.axes[0].containers[1], drawing.axes[0].containers[3]
    ends = [np.array(bars.errorbar.lines[2][0].get_segments())[:, :, 1] for bars in (predicate, raters)]
    np.testing.assert_allclose(ends[0], ends[1])
    assert ends[1][-1].tolist() == [0, 1]


def test_the_best_seed_is_the_one_with_the_most_reward_in_training(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "evaluation.json").write_text(
        json.dumps({"episodes": 10, "per_seed": {"success_rate": [1.0, 0.2], "pose_fraction": [0.9, 0.3]}})
    )
    rows = [{"step": 1, "reward": [0.1, 0.9]}, {"step": 2, "reward": [0.5, None]}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained = Trained(run)
    assert trained.chosen == 1
    assert trained.best.value == 0.2
    assert trained.best.low == pytest.approx(0.0567, abs=1e-3)  # Wilson's, 2 of 10
    assert trained.share.value == pytest.approx(0.6)
    assert 0 <= trained.share.low <= trained.share.high <= 1


def test_intervals_over_seeds_are_those_of_the_bootstrap():
    draw = np.random.default_rng(1)
    values = [draw.random(count) for count in (40, 60, 50, 30)]
    groups = np.repeat(np.arange(4), [len(row) for row in values])
    known = bootstrap(lambda row: float(row.mean()), [np.concatenate(values)], groups=groups, resamples=4000)
    np.testing.assert_allclose(over_seeds(values, resamples=4000), known, atol=5e-3)


def test_intervals_of_success_draw_whole_seeds():
    wide = success_interval([1.0, 0.0], 100)
    assert (wide.value, wide.low, wide.high) == (0.5, 0.0, 1.0)
    assert success_interval([1.0, 1.0, 1.0], 100) == Interval(1.0, 1.0, 1.0)
    one = success_interval([0.5], 10)
    assert 0.2 < one.low < 0.5 < one.high < 0.8
    assert shown(one) == "0.50 [0.24, 0.76]"
    assert shown(Interval(0.5, float("nan"), float("nan"))) == "0.50"


def test_runs_that_never_got_there_make_lower_bounds(tmp_path):
    """Of two seeds of two tasks: clip-rl is cut off in one of four runs, language in none."""
    rows = {
        "random": [(900, True)] * 4,
        "language": [(400, True), (400, True), (400, True), (400, True)],
        "clip-rl": [(100, True), (300, True), (100, True), (900, False)],
        "oracle": [(100, True)] * 4,
    }
    place = Place(tmp_path)
    for row in clip_rl.rows(place):
        path = tmp_path / row.product
        path.parent.mkdir(parents=True)
        lines = [
            f"{arm},{k // 2},{k % 2},{steps},{reached}"
            for arm, runs in rows.items()
            for k, (steps, reached) in enumerate(runs)
        ]
        path.write_text("\n".join(["arm,seed,target,steps,reached", *lines]) + "\n")
    runs = clip_rl.read_runs(tmp_path / clip_rl.rows(place)[0].product)
    np.testing.assert_array_equal(runs["clip-rl"].steps, [[100, 300], [100, 900]])
    np.testing.assert_array_equal(runs["clip-rl"].reached, [[True, True], [True, False]])
    difference = clip_rl.against(runs, "clip-rl", "language")
    assert difference is not None
    assert difference.value == pytest.approx((350 - 400) / 400)
    section = clip_rl.FIGURE.section(Material(place))
    tables = [block for block in section.blocks if isinstance(block, Table) and len(block.header) > 2]
    by_arm = {str(cells[0]): [str(cell) for cell in cells[1:]] for table in tables for cells in table.rows}
    assert by_arm["clip-rl"][0].startswith("at least 350")
    assert by_arm["clip-rl"][1] == "1 of 4"
    assert by_arm["clip-rl"][2].endswith("], or more")  # its own runs were cut off, not those of language
    assert by_arm["language"] == ["400 [400, 400]", "-", "None"]
    assert "lower" not in by_arm["oracle"][2]
    named = {line.what: str(line.ours) for line in section.compared}
    assert named["12 x 12, 48 known policies: steps of clip-rl against weighted sentences"].endswith(
        "], or more"
    )
    few, sizes = [block for block in section.blocks if isinstance(block, Picture)][1:3]
    assert "clip-rl at least 350 steps (1 of 4 runs never reached)" in few.says
    assert "Hatched, never reached by clip-rl 1 of 4 runs" in few.caption
    assert "lower bounds, as some runs never got to the threshold: 8 x 8: clip-rl; 12 x 12:" in sizes.caption


@pytest.mark.parametrize(
    "names",
    [
        ("two sentences, a clock", "two sentences, no clock", "one sentence, a clock"),
        ("crossing its arms", "hands on hips", "standing on one leg"),
        ("clip-rl", "clip-rl-shuffled", "clip-rl-noise", "language", "ridge"),
    ],
)
def test_a_legend_is_no_wider_than_its_picture(names):
    x = np.arange(3.0)
    of_points = {name: [Interval(1.0, 0.0, 2.0)] * 3 for name in names}
    of_lines = dict.fromkeys(names, (x, x - 1.0, x + 1.0))
    for drawing in (
        curves(x.tolist(), of_points, xlabel="x", ylabel="y"),
        bands(x, of_lines, xlabel="x", ylabel="y"),
    ):
        drawing.canvas.draw()
        box = drawing.legends[0].get_window_extent()
        assert 0.0 <= box.x0 < box.x1 <= drawing.bbox.width
