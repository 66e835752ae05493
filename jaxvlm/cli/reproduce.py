"""`jaxvlm reproduce FIGURE...`: runs what is missing of the papers' figures and writes one HTML report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from jaxvlm.cli.common import parse
from jaxvlm.errors import ConfigError

if TYPE_CHECKING:
    from jaxvlm.reproduce import Row
    from jaxvlm.reproduce.plan import Plan


@dataclass(frozen=True)
class Reproduce:
    """Run what is missing of the papers' figures, one row after the other, and write one HTML report."""

    figures: tyro.conf.Positional[tuple[str, ...]]
    """fig2, classic, table1, fig3 to fig8, misspecification, sequence, clip-rl, or all."""
    budget: Literal["laptop", "gpu"] = "laptop"
    """Presets, steps and seeds of the trainings: for two CPU cores, hours; or for one GPU."""
    folder: Path = Path("runs/reproduce")
    """Folder of run directories, CLIPs, data sets, distances and the report; what exists there is reused."""
    runs: tuple[Path, ...] = ()
    """Folders of finished runs: those of a row's task and reward stand in for it with their own steps and seeds, as
    copies; others stand beside it in table 1."""
    clip: tuple[str, ...] = ()
    """Checkpoints, smallest first, instead of the embedded CLIPs: figures 4, 6 and 7 compare them, all others take the
    last."""
    labels: Literal["predicate", "human"] = "predicate"
    """Whose word the EPIC distances of figures 4 and 7 are to: the simulator's predicates, or people's. These label
    the states of the folder's `datasets/` with `jaxvlm dataset label` first."""
    jobs: int = 1
    """Rows that are run at once, each on its share of the cores."""
    publish: Path | None = None
    """Folder that the report is copied to with what it was drawn from and its agents: a page to publish. Of `all` it
    lists every figure, those that were not run yet with their commands."""
    start_from: Path | None = None
    """Such a folder: its rows are finished, and only those are run again of which another row needs what it lacks."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """List what would be run, and for about how long."""
    report_only: tyro.conf.FlagCreatePairsOff[bool] = False
    """Run nothing; write the report from what there is."""


def run(arguments: Sequence[str]) -> None:
    """Plans, runs, reports."""
    options = parse(Reproduce, _with_flags(arguments), prog="jaxvlm reproduce")
    import jax

    # Rows have processes of their own; this one must not take a GPU's memory from them.
    jax.config.update("jax_platforms", "cpu")
    from jaxvlm.reproduce import BUDGETS, Place, find_figures
    from jaxvlm.reproduce.execute import lock, run_plan
    from jaxvlm.reproduce.plan import make_plan
    from jaxvlm.reproduce.publish import check_target, start_from
    from jaxvlm.reproduce.report import write_report

    if options.jobs < 1:
        raise ConfigError(f"--jobs must be 1 or more, not {options.jobs}")
    figures = find_figures(options.figures)
    place = Place(options.folder, BUDGETS[options.budget], options.clip, options.labels)
    if options.start_from is not None:
        if options.dry_run:
            raise ConfigError("--dry-run writes nothing, so it cannot --start-from; leave one of them out")
        every = [row for figure in find_figures(["all"]) for row in figure.rows(place)]
        with lock(options.folder):
            copied = start_from(options.start_from, options.folder, every)
        print(
            f"started from {options.start_from}: {copied} runs, CLIPs, datasets and files that were not here"
        )
    if options.publish is not None and not options.dry_run:
        check_target(options.publish, options.folder)
    plan = make_plan(figures, place, expected, options.runs)
    if options.dry_run:
        show(plan, options.jobs)
        return
    if options.report_only:
        for row in plan.rows:
            if plan.states[row.name] == "outdated":
                why = plan.why.get(row.name)
                told = f"is {why}" if why else "was made of other things"
                print(f"note: {row.name} {told}: without --report-only it is made again")
        report = write_report(plan)
        print(f"report  {report}")
        put_out(plan, report, options.publish)
        return
    count = len(plan.to_do)
    print(f"{_counted(plan)}, {len(plan.rows) - len(plan.left)} finished, {count} to do", flush=True)
    outcome = run_plan(
        plan,
        lambda outcome: write_report(plan, outcome),
        at_once=options.jobs,
        tell=lambda line: print(line, flush=True),
    )
    report = write_report(plan, outcome)
    print(f"report  {report}")
    if outcome.stopped:
        print("stopped; the same command goes on")
    elif outcome.failed:
        print(f"failed: {', '.join(outcome.failed)}; see the logs, the same command tries them again")
    put_out(plan, report, options.publish)
    if outcome.stopped or outcome.failed:
        raise SystemExit(130 if outcome.stopped else 1)


def put_out(plan: "Plan", report: Path, target: Path | None) -> None:
    """Publishes a report where that is wanted."""
    if target is not None:
        from jaxvlm.reproduce.publish import publish

        print(f"published  {publish(plan.rows, plan.place, report, target)} files in {target}")


def _with_flags(arguments: Sequence[str]) -> list[str]:
    """The two switches need no value."""
    switches = ("--dry-run", "--report-only")
    rest = list(arguments)
    return [
        part
        for place, word in enumerate(rest)
        for part in (
            (word, "True")
            if word in switches and rest[place + 1 : place + 2] not in (["True"], ["False"])
            else (word,)
        )
    ]


def expected(row: "Row") -> Mapping[str, Any] | None:
    """The settings that a row's flags give, as they are kept beside what it makes; None for rows that keep none."""
    if row.task:
        from jaxvlm.cli.train import settings

        flags = list(row.flags)
        preset = "default"
        if "--preset" in flags:
            at = flags.index("--preset")
            preset = flags[at + 1]
            del flags[at : at + 2]
        return settings(row.task, preset, flags).config.to_dict()
    if row.arguments[:2] == ("clip", "train"):
        from jaxvlm.cli.clip_train import ClipTrain

        return asdict(parse(ClipTrain, row.arguments[3:], prog="jaxvlm clip train").config)
    if row.arguments[:2] == ("dataset", "make"):
        from jaxvlm.reproduce.plan import asked

        return asked(row.arguments[2:])
    if row.arguments[:1] == ("epic",):
        from jaxvlm.cli.epic import Epic
        from jaxvlm.reproduce.material import read_json

        options = parse(Epic, row.arguments[1:], prog="jaxvlm epic")
        labelled = read_json(Path(options.dataset) / "dataset.json") if options.labels == "human" else None
        return {
            "dataset_name": Path(options.dataset).resolve().name,
            "labels": options.labels,
            "cameras": list(options.camera),
            "models": options.clip,
            "alphas": options.alphas,
            "labelled": (labelled or {}).get("human", {}),
        }
    return None


def show(plan: "Plan", at_once: int = 1) -> None:
    """Prints what would be run."""
    from jaxvlm.reproduce.execute import estimate
    from jaxvlm.reproduce.figure import typed
    from jaxvlm.reproduce.plan import arguments_of, jobs, ledger
    from jaxvlm.runtime.progress import duration

    known = ledger(plan.place.folder)
    for row in plan.rows:
        if plan.states[row.name] == "finished":
            print(f"finished  {row.name}")
    for job in jobs(plan.to_do, plan.place, plan.states):
        state = plan.states[job[0].name]
        names = ", ".join(row.name for row in job)
        if state == "reused":
            print(f"reuse     {names}: {plan.sources[job[0].name]}, with its own steps and seeds")
            continue
        what = {"stopped": "resume", "outdated": "again"}.get(state, "run")
        minutes = estimate(job, plan.states, known)
        print(
            f"{what:<9} {names}, about {duration(60 * minutes)}: {typed(arguments_of(job, plan.place, state))}"
        )
    total = estimate(plan.to_do, plan.states, known)
    print(
        f"{_counted(plan)}, {len(plan.rows) - len(plan.left)} finished, {len(plan.to_do)} to do, about "
        f"{duration(60 * total / at_once)}"
    )


def _counted(plan: "Plan") -> str:
    return "1 row" if len(plan.rows) == 1 else f"{len(plan.rows)} rows"
