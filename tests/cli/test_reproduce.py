"""`jaxvlm reproduce`: what it lists, refuses and writes."""

import html
import json
import re
from pathlib import Path

import pytest


@pytest.fixture
def reproduce(call):
    """Runs the verb; returns exit code and output."""

    def reproduce(*arguments):
        code, out, error = call("reproduce", *arguments)
        return code, out + error

    return reproduce


def test_a_dry_run_lists_commands_and_writes_nothing(reproduce, tmp_path):
    code, out = reproduce("classic", "fig8", "--dry-run")
    assert code == 0
    assert (
        "jaxvlm train cartpole --seeds 3 --alpha 0.25 --name cartpole-a0.25 --runs-dir runs/reproduce/runs"
        in out
    )
    assert "run       humanoid-one-leg-a0.6, about 30m00s" in out
    assert out.splitlines()[-1].startswith("39 rows, 0 finished, 27 to do, about ")
    assert list(tmp_path.iterdir()) == []


def test_gpu_trains_poses_together(reproduce):
    code, out = reproduce("table1", "--budget", "gpu", "--dry-run")
    assert code == 0
    assert "jaxvlm train humanoid-kneeling,humanoid-lotus,humanoid-standing," in out
    assert "--seeds 4 --name a0 --runs-dir" in out
    # Two minutes each, as the ledger has the time of each.
    assert ", about 16m00s: jaxvlm train humanoid-kneeling,humanoid-lotus,humanoid-standing," in out


def test_checkpoints_in_place_of_the_embedded_ones(reproduce):
    code, out = reproduce("fig4", "--clip", "RN50/openai", "ViT-L-14/openai", "--dry-run")
    assert code == 0
    assert "clip train" not in out
    assert "--clip RN50/openai ViT-L-14/openai --alphas 0 0.2" in out
    assert "train humanoid-kneeling --preset laptop --seeds 3 --clip RN50/openai" in out


def test_distances_to_peoples_labels(reproduce):
    code, out = reproduce("fig7", "--labels", "human", "--dry-run")
    assert code == 0
    assert "--labels human --name scaling-human --output runs/reproduce/epic" in out
    code, out = reproduce("fig7", "--dry-run")
    assert "human " not in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fig9"], "unknown figure 'fig9'; choose of fig2, classic, table1"),
        ([], "no figure is named"),
        (["fig2", "--runs", "nowhere"], "--runs nowhere is no folder"),
        (["fig2", "--jobs", "0"], "--jobs must be 1 or more, not 0"),
        (["fig2", "--start-from", "nowhere"], "--start-from nowhere holds no data/"),
        (["fig2", "--start-from", "nowhere", "--dry-run"], "leave one of them out"),
    ],
)
def test_bad_input_is_one_line(reproduce, arguments, says):
    code, out = reproduce(*arguments)
    assert code == 2
    assert says in out
    assert len(out.strip().splitlines()) == 1


def test_settings_are_compared_with_those_of_the_flags(reproduce, tmp_path):
    from jaxvlm.cli.reproduce import expected
    from jaxvlm.reproduce import Place

    row = Place(tmp_path / "all").train("cartpole-a0.25", "cartpole", "--alpha", "0.25")
    config = expected(row)
    assert config["reward"]["alpha"] == 0.25
    run = tmp_path / "all" / "runs" / row.name
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(config))
    code, out = reproduce("classic", "--folder", "all", "--dry-run")
    assert code == 0
    assert "resume    cartpole-a0.25" in out
    (run / "config.json").write_text(json.dumps({**config, "batch_size": 7}))
    code, out = reproduce("classic", "--folder", "all", "--dry-run")
    assert code == 2
    assert f"was made with batch_size 7, this row has {config['batch_size']}; choose another --folder" in out


def test_distances_of_other_models_are_listed_as_to_be_made_again(reproduce, tmp_path):
    file = tmp_path / "all" / "epic" / "scaling.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"rows": [{"model": "runs/clips/xs-1500-s0", "alpha": 0.0}]}')
    code, out = reproduce("fig7", "--folder", "all", "--dry-run")
    assert code == 0
    assert "again     epic-scaling, about " in out
    assert "finished  epic-scaling" not in out
    code, out = reproduce("fig7", "--folder", "all", "--report-only")
    assert code == 0
    assert "note: epic-scaling was made of other things: without --report-only it is made again" in out
    assert file.exists()


def test_a_report_of_what_there_is(reproduce, tmp_path):
    code, out = reproduce("fig2", "clip-rl", "--report-only", "--folder", "all")
    assert (code, out) == (0, "report  all/report/index.html\n")
    assert "Not run yet" in (tmp_path / "all" / "report" / "index.html").read_text()


def test_a_report_is_published_and_started_from(reproduce, tmp_path):
    csv = tmp_path / "all" / "landscapes" / "cartpole-tiny.csv"
    csv.parent.mkdir(parents=True)
    csv.write_text("x,alpha_0\n-1,0\n0,1\n1,0\n")
    code, out = reproduce("fig2", "--report-only", "--folder", "all", "--publish", "docs")
    assert code == 0
    assert "published  2 files in docs" in out
    code, out = reproduce("fig2", "--report-only", "--folder", "other", "--start-from", "docs")
    assert code == 0
    assert "started from docs: 1 runs, CLIPs, datasets and files that were not here" in out
    assert (tmp_path / "other" / "landscapes" / csv.name).read_text() == csv.read_text()
    _, out = reproduce("fig2", "--folder", "other", "--dry-run", "--jobs", "4")
    assert "finished  landscape-cartpole-tiny" in out


@pytest.mark.slow
def test_a_figure_from_its_command_line_to_its_page(reproduce, tmp_path, monkeypatch):
    from jaxvlm.reproduce import fig2

    monkeypatch.setattr(fig2, "SEEDS", ())  # the embedded CLIPs only: nothing to train
    monkeypatch.setattr(fig2, "PANELS", fig2.PANELS[:1])
    code, out = reproduce("fig2")
    assert code == 0, out
    assert "[1/1] landscape-cartpole-tiny" in out
    page = (tmp_path / "runs" / "reproduce" / "report" / "index.html").read_text()
    assert page.count("<figure>") == 1
    code, out = reproduce("fig2")
    assert (code, "1 row, 1 finished, 0 to do" in out) == (0, True)


@pytest.mark.slow
def test_the_published_report_is_whole(reproduce):
    published = Path(__file__).parents[2] / "docs" / "report"
    rows = json.loads((published / "data" / "rows.json").read_text())
    done = {name for name, row in rows.items() if row.get("code", 0) == 0}  # none: it came with another row
    assert reproduce("all", "--report-only", "--start-from", published)[0] == 0
    figures = ("classic", "clip-rl", "fig2", "table1", "fig3", "fig5", "sequence", "fig8")
    _, out = reproduce(*figures, "--dry-run")
    # Agents whose weights other rows need are to be made again.
    there = {
        line.split()[1].rstrip(",") for line in out.splitlines() if line.split()[0] in ("finished", "again")
    }
    # What fools agents is shown by agents, which earlier rows came without: with them those are made again.
    fooled = {name for name in done if name.endswith("-fooled")}
    assert there == done - fooled
    _, out = reproduce("misspecification", "--dry-run")
    assert all(f"finished  {name}\n" in out for name in fooled)
    # The page has every figure, what is missing with its command, and says of all rows how many are there.
    from jaxvlm.reproduce import Place, find_figures
    from jaxvlm.reproduce.material import exists

    every = find_figures(["all"])
    page = html.unescape((published / "index.html").read_text())
    assert re.findall(r'<section id="([\w-]+)"', page) == [*(figure.name for figure in every), "made"]
    assert "could not be drawn" not in page
    assert "leaves out" not in page
    place = Place(Path("runs/reproduce"))
    rows = {row.name: row for figure in every for row in figure.rows(place)}
    there = {name for name, row in rows.items() if exists(row, place.folder)}
    assert f"{len(there)} of {len(rows)} rows are finished." in page
    assert all(row.command in page for row in rows.values() if row.comes_with is None)
    absent = rows.keys() - there
    for figure in every:
        start = page.index(f'<section id="{figure.name}"')
        section = page[start : page.index("</section>", start)]
        missing = [row for row in figure.rows(place) if row.name in absent and row.comes_with not in absent]
        assert (f"Not run yet: {len(missing)} row" in section) == bool(missing), figure.name
        listed = section.partition("Not run yet: ")[2].partition("</pre>")[0].splitlines()
        assert all(any(row.command in line for line in listed) for row in missing), figure.name
