"""The report: one HTML file that needs nothing else, readable on a phone, in light and dark."""

import base64
import html
import json
import math
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from jaxvlm import __version__
from jaxvlm.errors import JaxvlmError
from jaxvlm.evaluation import Interval
from jaxvlm.reproduce import find_figures
from jaxvlm.reproduce.draw import data_uri
from jaxvlm.reproduce.execute import Outcome
from jaxvlm.reproduce.figure import (
    Block,
    Figure,
    Picture,
    Place,
    Row,
    Section,
    Table,
    Text,
    full_caution,
    typed,
)
from jaxvlm.reproduce.material import FEW_SEEDS, Material, Trained, read_json
from jaxvlm.reproduce.plan import Plan, ledger
from jaxvlm.runtime.files import write_atomic

PAPERS = {
    "VLM-RM": "https://arxiv.org/abs/2310.12921",
    "CLIP-RL": "https://arxiv.org/abs/2512.01616",
}
STYLE = """
:root{color-scheme:light dark;--page:#fbfbfa;--card:#fff;--ink:#1c1f23;--soft:#5b636d;--line:#d9dcdf;--accent:#00598c;
--note:#eef4f8;--bad:#a63c00}
@media(prefers-color-scheme:dark){:root{--page:#15181b;--card:#1d2125;--ink:#e6e8ea;--soft:#a3abb3;--line:#363c42;
--accent:#7cc0ea;--note:#1c2a33;--bad:#ff9d66}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:68rem;margin:0 auto;padding:1rem}
h1{font-size:1.7rem;line-height:1.2;margin:.6rem 0}
h2{font-size:1.3rem;line-height:1.25;margin:2.6rem 0 .6rem;padding-top:.8rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .4rem}
p{margin:.6rem 0;max-width:46rem}
a{color:var(--accent)}
nav ol{columns:2 18rem;column-gap:3rem;padding-left:1.6rem}
.soft,figcaption,.state{color:var(--soft);font-size:.88rem}
.state.missing,.failed{color:var(--bad)}
.caution{background:var(--note);border-left:3px solid var(--accent);padding:.6rem .9rem;max-width:46rem}
p.caution{font-size:.93rem}
.scroll{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-size:.9rem}
caption{text-align:left;color:var(--soft);font-size:.88rem;padding-bottom:.3rem}
th,td{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{border-bottom:2px solid var(--line)}
td{font-variant-numeric:tabular-nums;min-width:3rem}
td .i{white-space:nowrap}
.pictures{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr));margin:1rem 0}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.5rem}
figure.wide{grid-column:1/-1}
figure img{display:block;width:100%;height:auto;background:#fff;border-radius:.2rem}
figcaption{padding:.4rem .2rem 0}
details{margin:.8rem 0}
summary{cursor:pointer;color:var(--accent)}
pre,code{font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
pre{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.6rem}
@media(max-width:30rem){body{font-size:15px}main{padding:.7rem}th,td{padding:.25rem .45rem}}
@media print{details{display:block}details>*{display:block}}
"""


def write_report(plan: Plan, outcome: Outcome | None = None, *, today: date | None = None) -> Path:
    """Writes `report/index.html` from what there is; a section that cannot be drawn says why. Returns the file."""
    material = Material(plan.place, others=plan.others)
    outcome = outcome or Outcome()
    parts, contents = [], ""
    for figure in plan.figures:
        section, drawn = _draw(figure, material)
        state = _state(figure, section, material)
        parts.append(_section(figure, section, drawn, material, outcome))
        contents += (
            f'<li><a href="#{figure.name}">{_escape(figure.title)}</a> '
            f'<span class="state{" missing" if state else ""}">{state}</span></li>'
        )
    body = "".join(
        [
            "<h1>The papers' figures, reproduced by jaxvlm</h1>",
            _opening(plan, material, today or datetime.now().date()),
            f"<nav><h3>Contents</h3><ol>{contents}<li><a href='#made'>How it was made</a></li></ol></nav>",
            *parts,
            _made(plan, material, outcome),
        ]
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>jaxvlm: the papers' figures</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )
    path = plan.place.folder / "report" / "index.html"
    write_atomic(path, page)
    return path


def _opening(plan: Plan, material: Material, today: date) -> str:
    budget = plan.place.budget
    rows = plan.rows
    done = sum(material.has(row) for row in rows)
    papers = ", ".join(f'<a href="{address}">{name}</a>' for name, address in PAPERS.items())
    words = (
        f"Drawn on {today.isoformat()} by jaxvlm {__version__}{_commit()}; what trained each row stands in its "
        f"section. Budget {budget.name} ({budget.words}). {done} of {len(rows)} rows are finished."
        + _left_out(plan, material)
    )
    return (
        f"<p>Figures and tables of two papers ({papers}), run again with jaxvlm. Beside each value of a paper stands "
        f"ours, with the number of seeds and an interval.</p><p class='soft'>{_words(words)}</p>"
        f'<p class="caution">{_escape(_how_to_read(budget.seeds))}</p>'
        f'<p class="caution">{_escape(full_caution(plan.place))}</p>'
    )


def _left_out(plan: Plan, material: Material) -> str:
    """Says which figures are not on the page, as it was not asked for them, and counts all rows there are."""
    shown_here = {figure.name for figure in plan.figures}
    every = find_figures(["all"])
    absent = [figure for figure in every if figure.name not in shown_here]
    if not absent:
        return ""
    rows = {row.name: row for figure in every for row in figure.rows(plan.place)}
    done = sum(map(material.has, rows.values()))
    return (
        f" This page leaves out {', '.join(figure.name for figure in absent)}; with them {done} of {len(rows)} rows "
        "are finished. `jaxvlm reproduce all` has every figure."
    )


def _how_to_read(seeds: int) -> str:
    rough = (
        f"of {seeds} seeds it reaches from the lowest to the highest, which holds the mean of many seeds about three "
        "times in four and not 95 times in a hundred"
        if seeds <= FEW_SEEDS
        else f"with {seeds} seeds it is rough"
    )
    return (
        "Success is of deterministic actions where nothing else is said; the paper's trajectories are sampled from the "
        "policy, and table 1 shows both. Intervals are of 95 %. Success over several seeds: a bootstrap that draws "
        f"whole seeds, whose episodes resemble each other; {rough}, and where all seeds agree it has no width, which "
        "means that they agree and not that the value is known exactly. The best of n seeds, chosen by CLIP reward "
        "as in the paper: Wilson's interval over its episodes, for that one agent. Means over seeds of other "
        "figures: Student's interval, of differences in steps that of the logarithm of their ratio."
    )


def _draw(figure: Figure, material: Material) -> tuple[Section, list[str]]:
    """A figure's section and its blocks; one that breaks costs nobody else's."""
    try:
        section = figure.section(material)
        return section, _blocks(section.blocks)
    except (OSError, LookupError, ValueError, TypeError, StopIteration, JaxvlmError) as error:
        told = Text(f"This section could not be drawn: {type(error).__name__}: {error}")
        section = Section(found="", blocks=(told,), broken=True)
        return section, _blocks(section.blocks)


def _is_empty(section: Section) -> bool:
    """Whether there is nothing yet to see or to compare."""
    return not any(isinstance(block, (Picture, Table)) for block in section.blocks) and all(
        line.ours is None for line in section.compared
    )


def _section(
    figure: Figure, section: Section, drawn: Sequence[str], material: Material, outcome: Outcome
) -> str:
    """A figure's part of the page."""
    rows = list(figure.rows(material.place))
    parts = [f'<section id="{figure.name}"><h2>{_escape(figure.title)}</h2>']
    if section.found:
        parts.append(f"<p><strong>What the paper found.</strong> {_words(section.found)}</p>")
    if section.compared:
        table = Table(
            header=("", "paper", "ours", "seeds"),
            rows=tuple((line.what, line.paper, line.ours, line.seeds) for line in section.compared),
        )
        parts.append(_table(table, empty="not run yet"))
    parts += drawn
    if section.caution and not _is_empty(section):
        parts.append(f'<p class="caution">{_escape(section.caution)}</p>')
    parts.append(_details(figure, rows, material, outcome))
    return "".join([*parts, "</section>"])


def _blocks(blocks: Sequence[Block]) -> list[str]:
    """Blocks in order; pictures that follow each other share a grid."""
    parts: list[str] = []
    pictures: list[str] = []
    for block in blocks:
        if isinstance(block, Picture):
            pictures.append(_picture(block))
            continue
        if pictures:
            parts.append(f'<div class="pictures">{"".join(pictures)}</div>')
            pictures = []
        if isinstance(block, Table):
            parts.append(_table(block))
        else:
            parts += [f"<p>{_words(words)}</p>" for words in block.words.split("\n\n")]
    if pictures:
        parts.append(f'<div class="pictures">{"".join(pictures)}</div>')
    return parts


def _picture(picture: Picture) -> str:
    if isinstance(picture.drawn, Path):
        kind = {".png": "png", ".gif": "gif", ".jpg": "jpeg"}[picture.drawn.suffix]
        source = f"data:image/{kind};base64," + base64.b64encode(picture.drawn.read_bytes()).decode("ascii")
    else:
        source = data_uri(picture.drawn)
    caption = f"{_sentence(picture.caption)} {_sentence(picture.seeds)} {_sentence(picture.interval)}"
    kind = ' class="wide"' if picture.wide else ""
    return (
        f'<figure{kind}><img src="{source}" alt="{_escape(picture.says)}"><figcaption>{_words(caption.strip())}'
        "</figcaption></figure>"
    )


def _table(table: Table, empty: str = "–") -> str:
    head = "".join(f"<th scope='col'>{_escape(cell)}</th>" for cell in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_cell(cell, empty)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    caption = f"<caption>{_words(table.caption)}</caption>" if table.caption else ""
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(cell: str | Interval | None, empty: str) -> str:
    if cell is None:
        return f'<span class="soft">{empty}</span>'
    return f'<span class="i">{shown(cell)}</span>' if isinstance(cell, Interval) else _words(cell)


def shown(interval: Interval) -> str:
    """`0.67 [0.00, 1.00]`; without ends where they are not known."""
    value = f"{interval.value:.2f}"
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return value
    return f"{value} [{interval.low:.2f}, {interval.high:.2f}]"


def _not_run(rows: Sequence[Row], material: Material) -> list[Row]:
    """Rows that are missing, without those that come with another one that is missing."""
    missing = [row for row in rows if not material.has(row)]
    names = {row.name for row in missing}
    return [row for row in missing if row.comes_with not in names]


def _state(figure: Figure, section: Section, material: Material) -> str:
    """What the contents say of a figure that is not whole."""
    if section.broken:
        return "could not be drawn"
    rows = list(figure.rows(material.place))
    missing = _not_run(rows, material)
    if not missing:
        return ""
    several = [row for row in rows if row.comes_with is None or row in missing]
    # Rows that are there are other figures', as long as nothing is drawn from them.
    return "not run yet" if _is_empty(section) else f"{len(missing)} of {len(several)} rows not run yet"


def _details(figure: Figure, rows: Sequence[Row], material: Material, outcome: Outcome) -> str:
    """Commands, settings and versions of a figure's rows; those that are missing in sight."""
    missing = _not_run(rows, material)
    parts = []
    if missing:
        listed = "\n".join(_escape(row.command) for row in missing)
        parts.append(
            f'<p class="state missing">Not run yet: {_rows(len(missing))}. '
            f"<code>{_escape(_command([figure], material.place))}</code> runs them:</p><pre>{listed}</pre>"
        )
    taken = [(row, run) for row in rows if row.task and (run := material.run(row.name)) and run.origin]
    if taken:
        items = "".join(f"<li>{_escape(_from_elsewhere(row, run))}</li>" for row, run in taken)
        parts.append(
            f"<p>Rows that runs of other folders stand in for, as they are:</p><ul class='soft'>{items}</ul>"
        )
    if several := _several_files(rows, material):
        parts.append(f'<p class="failed">{_escape(several)}</p>')
    failed = [(row.name, outcome.failed[row.name]) for row in rows if row.name in outcome.failed]
    failed += [
        (row.name, f"needs {outcome.skipped[row.name]}") for row in rows if row.name in outcome.skipped
    ]
    parts += [f'<p class="failed">{_escape(name)} failed: {_escape(words)}</p>' for name, words in failed]
    done = [row for row in rows if material.has(row)]
    if done:
        known = ledger(material.place.folder)
        table = Table(
            header=("row", "steps of a seed", "seeds", "CLIP (digest)", "device", "versions", "finished"),
            rows=tuple(_facts(row, material, known.get(row.name, {})) for row in done),
        )
        commands = "\n".join(_escape(row.command) for row in done)
        parts.append(
            f"<details><summary>Commands, settings and versions of {_rows(len(done))} that are finished</summary>"
            f"<pre>{commands}</pre>{_table(table)}</details>"
        )
    return "".join(parts)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _facts(row: Row, material: Material, entry: dict[str, Any]) -> tuple[str | Interval | None, ...]:
    """What a finished row was made with."""
    product = material.file(row.product)
    finished = entry.get("ended") or (_ended(product) if product else "")
    finished = str(finished)[:10]  # a date: earlier versions kept no zone
    run = material.run(row.name) if row.task else None
    if run is None:
        # Most products that are no runs say themselves what made them; of the others the ledger knows.
        told = product and product.suffix == ".json" and read_json(product)
        made = told if isinstance(told, dict) and told.get("versions") else entry
        device = (made.get("devices") or {}).get("kind")
        return (
            row.name,
            None,
            _flag(row, "--seeds"),
            _models(made),
            device,
            listed(made.get("versions") or {}) or None,
            finished,
        )
    kind = run.evaluation.get("reward")
    clip = f"{short(run.clip)} ({run.digest})" if kind == "clip" else "none: ground truth"
    return (
        row.name, f"{run.config.get('steps', 0):,}", str(run.seeds), clip, device_of(run), versions_of(run), finished
    )  # fmt: skip


def _flag(row: Row, flag: str) -> str | None:
    """What a row's command gives after a flag."""
    words = row.arguments
    return words[words.index(flag) + 1] if flag in words else None


def short(clip: str) -> str:
    """A checkpoint without the folders of this machine, in which it may no longer lie."""
    return Path(clip).name if Path(clip).is_absolute() or Path(clip).parts[:-1] == ("clips",) else clip


def _from_elsewhere(row: Row, run: Trained) -> str:
    config = run.config
    steps, seeds = config.get("steps", 0), config.get("seeds", 1)
    clip = f", CLIP {short(run.clip)} of digest {run.digest}" if run.digest else ""
    made = f"preset {config.get('preset', '?')}, {steps:,} steps of each of {seeds} seeds"
    return f"{row.name}: {run.origin}, {made}{clip}"


def _several_files(rows: Sequence[Row], material: Material) -> str:
    """Says where rows learned from different files of one name, such as two versions of the embedded CLIP."""
    digests: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        run = material.run(row.name) if row.task else None
        if run and run.digest and run.evaluation.get("reward") == "clip":
            # There is an embedded CLIP of this name for each domain, with which the names of its tasks begin.
            domain = str(run.config.get("task", "")).partition("-")[0] if run.clip == "tiny" else ""
            digests.setdefault((run.clip, domain), set()).add(run.digest)
    return " ".join(
        f"Rows learned from {len(found)} different files called {short(name)} ({', '.join(sorted(found))}): compare "
        "with care."
        for (name, _), found in digests.items()
        if len(found) > 1
    )


def device_of(run: Trained) -> str:
    """What a run was trained on."""
    devices = (run.sessions[-1] if run.sessions else run.evaluation).get("devices", {})
    return str(devices.get("kind", "unknown"))


def versions_of(run: Trained) -> str:
    """Of what its bits depend on most."""
    return listed((run.sessions[-1] if run.sessions else run.evaluation).get("versions", {}))


def listed(versions: Mapping[str, Any]) -> str:
    """`jaxvlm 0.1.0, jax 0.10.2`: the versions that figures depend on most, of those that are known."""
    return ", ".join(
        f"{name} {versions[name]}" for name in ("jaxvlm", "jax", "mujoco-mjx") if versions.get(name)
    )


def _models(made: Mapping[str, Any]) -> str | None:
    """The checkpoints of an evaluation with their digests; None where it does not name them."""
    models = made.get("models") or [{"model": made.get("clip"), "digest": made.get("clip_digest")}]
    known = [(short(str(m["model"])), str(m["digest"])[:12]) for m in models if m.get("digest")]
    return ", ".join(f"{name} ({digest})" for name, digest in known) or None


def _made(plan: Plan, material: Material, outcome: Outcome) -> str:
    """The last section: how to make the report again, and what it is made of."""
    runs = [run for row in plan.rows if row.task and (run := material.run(row.name))]
    versions = sorted(
        {json.dumps(run.sessions[-1]["versions"], sort_keys=True) for run in runs if run.sessions}
    )
    listed = "".join(
        f"<li>{_escape(', '.join(f'{name} {version}' for name, version in json.loads(line).items() if version))}</li>"
        for line in versions
    )
    devices = sorted({device_of(run) for run in runs})
    parts = [
        '<section id="made"><h2>How it was made</h2>',
        f"<pre>{_escape(_command(plan.figures, plan.place))}</pre>",
        "<p>Rows that exist are reused once their settings fit, rows that were stopped are resumed, missing ones "
        "are run. Every training keeps its settings, versions and devices in its run directory.</p>",
        f"<p>Trained on: {_escape(', '.join(devices) or 'nothing yet')}. Versions:</p><ul>{listed}</ul>",
    ]
    if plan.others:
        items = "".join(f"<li>{_escape(str(path))}</li>" for path in plan.others)
        parts.append(f"<p>Runs of other folders that stand beside the rows:</p><ul>{items}</ul>")
    if outcome.stopped:
        parts.append('<p class="failed">The command was stopped; the same command goes on.</p>')
    return "".join([*parts, "</section>"])


def _command(figures: Sequence[Figure], place: Place) -> str:
    """What runs rows of figures."""
    flags = ["--budget", place.budget.name, "--folder", str(place.folder)]
    flags += ["--clip", *place.clips] if place.clips else []
    flags += ["--labels", place.labels] if place.labels != "predicate" else []
    return typed(["reproduce", *(figure.name for figure in figures), *flags])


def _commit() -> str:
    """`, commit 1a2b3c4` in a checkout, with a star where files differ from it; else nothing."""
    here = Path(__file__).parent
    try:
        asked = ["git", "describe", "--always", "--dirty=*", "--exclude=*"]
        found = subprocess.run(asked, cwd=here, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    name = found.stdout.strip()
    return f", commit {name}" if found.returncode == 0 and name else ""


def _ended(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")


def _sentence(words: str) -> str:
    words = words.strip()
    if words[:1].isascii():  # an alpha stays small
        words = words[:1].upper() + words[1:]
    return words if not words or words.endswith(".") else f"{words}."


def _words(text: str) -> str:
    """Escaped, with links to the papers and `code`."""
    text = _escape(text)
    text = re.sub(
        r"https://arxiv\.org/abs/[\d.]+\d", lambda found: f'<a href="{found[0]}">{found[0][8:]}</a>', text
    )
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)


def _escape(text: str) -> str:
    return html.escape(text, quote=True)
