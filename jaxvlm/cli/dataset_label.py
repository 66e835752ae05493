"""`jaxvlm dataset label DATASET`: people's word on what a state shows, beside the predicates'."""

import csv
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxvlm.cli.common import Output, import_ours, parse

if TYPE_CHECKING:
    from jaxvlm.evaluation.states import StateDataset

A_SHEET, SIZE = 48, 160  # states on a sheet, pixels a side of each


@dataclass(frozen=True)
class Label:
    """Take people's labels of a goal into a dataset, or draw the states that they are to label."""

    dataset: tyro.conf.Positional[str]
    """Folder of a state dataset, or its name."""
    goal: str
    """Goal that the labels are about; it need not be one that predicates know."""
    from_: Annotated[tuple[Path, ...], tyro.conf.arg(name="from")] = ()
    """CSV files with columns state, label (1 or 0) and, for several people, rater; earlier votes count as well."""
    draw: int = 0
    """Draw so many random states on numbered sheets instead, with a CSV file to fill in."""
    look: str | None = None
    """How they are drawn; the default is the task's."""
    camera: tuple[str, ...] = ("default",)
    """From where they are seen, side by side."""
    seed: int = 0
    """Of the choice of states to draw."""
    output: Path = Path("runs/labels")
    """Folder for the sheets."""
    datasets_dir: Path = Path("runs/datasets")
    """Folder of the datasets."""


def run(arguments: Sequence[str]) -> None:
    """Merges labels, or draws sheets."""
    options = parse(Label, arguments, prog="jaxvlm dataset label")

    from jaxvlm.errors import ConfigError, RunError
    from jaxvlm.evaluation import rate_interval
    from jaxvlm.evaluation.states import StateDataset, find_dataset_folder
    from jaxvlm.evaluation.votes import with_votes
    from jaxvlm.runtime.files import reason
    from jaxvlm.runtime.lock import locked

    folder = find_dataset_folder(options.dataset, options.datasets_dir)
    if bool(options.draw) == bool(options.from_) or options.draw < 0:
        raise ConfigError(
            "give --from FILE to take labels in, or --draw N to draw N states that are to be labelled"
        )
    if options.draw:
        draw_sheets(StateDataset.load(folder), folder.resolve().name, options)
        return
    refusal = RunError(f"{folder} is being labelled by another process; try again when it has ended")
    try:
        with locked(folder, refusal):  # two that read the same votes would lose the first one's
            merged = with_votes(StateDataset.load(folder), options.goal, options.from_)
            dataset = merged.dataset
            dataset.save(folder, overwrite=True)
    except OSError as error:
        raise RunError(f"cannot write dataset {folder}: {reason(error)}") from error
    holds, known = dataset.truth(options.goal, "human")
    print(
        f"{merged.labelled:,} states labelled, {merged.divided} of them left open as people are divided; now "
        f"{int(known.sum()):,} of {len(dataset):,} have people's word on {options.goal}: "
        f"{int((holds & known).sum()):,} show it; raters: {', '.join(dataset.raters(options.goal))}"
    )
    if merged.revised:
        print(
            f"note: {merged.revised} earlier votes of the same raters are replaced; if they were other people's, name "
            "the raters in a column rater"
        )
    if merged.replaced:
        print(
            f"note: {merged.replaced} labels from before single votes were kept are replaced: whose they were is not "
            "known, so they count in no majority"
        )
    if options.goal in dataset.labels:
        predicate = dataset.labels[options.goal]
        agreed = int((predicate == holds)[known].sum())
        if known.any():
            print(f"they agree with the predicate on a share of {rate_interval(agreed, int(known.sum()))}")
    print(f"dataset  {folder}")


def draw_sheets(dataset: "StateDataset", name: str, options: Label) -> None:
    """Numbered pictures of random states, and the CSV file that their labels go into."""
    import jax
    import numpy as np

    from jaxvlm.cli.epic import scenery
    from jaxvlm.errors import ConfigError
    from jaxvlm.evaluation.plots import state_sheet
    from jaxvlm.runtime import enable_compilation_cache
    from jaxvlm.runtime.files import write_atomic

    enable_compilation_cache()
    views, _ = scenery(dataset.domain, options.look, options.camera)
    views.validate()
    generator = np.random.default_rng(options.seed)
    chosen = np.sort(generator.choice(len(dataset), min(options.draw, len(dataset)), replace=False))
    scenes = dataset.scene(import_ours("envs.captions.scenes").scene_type(dataset.domain))
    draw = views.drawer(SIZE)
    directory = Output(options.output / f"{name}-{options.goal}").prepare()
    table = directory / "labels.csv"
    kept = table.exists()
    if kept and _states_in(table) != {str(row) for row in chosen}:
        raise ConfigError(
            f"{table} is for other states than --draw {options.draw} --seed {options.seed} chooses: name another "
            "--output, or move it away"
        )
    for start in range(0, len(chosen), A_SHEET):
        rows = chosen[start : start + A_SHEET]
        filled = np.resize(rows, A_SHEET)  # one program for all sheets
        frames = draw(jax.tree.map(lambda leaf, rows=filled: leaf[rows], scenes))[: len(rows)]
        sheet = directory / f"sheet-{start // A_SHEET + 1:03d}.png"
        block = (f"{options.goal}?", frames, [f"state {row}" for row in rows])
        state_sheet(sheet, [block], columns=max(2, 8 // len(options.camera)))
        print(f"picture  {sheet}", flush=True)
    if kept:
        print(f"note: {table} exists already and is left as it is")
    else:
        write_atomic(table, "state,label,rater\n" + "".join(f"{row},,\n" for row in chosen))
    print(f"table    {table}")
    print(
        "fill in its column label with 1 and 0, then: "
        + shlex.join(
            ["jaxvlm", "dataset", "label", options.dataset, "--goal", options.goal, "--from", str(table)]
        )
    )


def _states_in(table: Path) -> set[str]:
    """The states that a table of labels lists, as they are written."""
    lines = table.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return {(row.get("state") or "").strip() for row in csv.DictReader(lines)}
