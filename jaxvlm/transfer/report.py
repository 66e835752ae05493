"""What the transfer experiment leaves: a table, a CSV, learning curves with bands, a heat map of similarities."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy import stats

from jaxvlm.evaluation.intervals import Interval
from jaxvlm.runtime.files import write_atomic
from jaxvlm.runtime.plots import GREY, PALETTE, new_figure, save_figure
from jaxvlm.transfer.arms import ARMS
from jaxvlm.transfer.config import TransferConfig
from jaxvlm.transfer.diagnostics import Diagnostics
from jaxvlm.transfer.experiment import ArmResult, has_temperature

SHOWN = ("random", "uniform", "language", "clip-rl", "clip-rl-shuffled", "ridge", "soft-target", "oracle")


def table(results: Mapping[str, ArmResult], config: TransferConfig) -> str:
    """Markdown: a row an arm, fewest steps last."""
    rows = sorted(results.items(), key=lambda item: -item[1].summary(config.few_shot)["steps"])
    lines = [
        "| arm | steps to threshold | against language | never reached | return at once | after "
        f"{config.few_shot} updates | temperature | actor x | critic x |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in rows:
        figures, choice = result.summary(config.few_shot), result.choice
        softmax = has_temperature(name, config)
        lines.append(
            f"| {name} | {steps_of(figures)} | {against(results, name)} "
            f"| {rare(figures['censored'])} | {figures['zero_shot']:.2f} | {figures['few_shot']:.2f} "
            f"| {f'{choice.temperature:g}' if softmax else '-'} | {choice.actor_scale:g} | {choice.critic_scale:g} |"
        )
    return "\n".join(lines)


def diagnostics_table(found: Sequence[Mapping[str, Diagnostics]]) -> str:
    """Markdown: a row an alignment, means over seeds; empty where no arm aligns anything."""
    if not found or not found[0]:
        return ""
    lines = [
        "| alignment | loss | spread (of the raw sentences) | follows language | follows the goals | finds its policy, "
        "known | held out (chance) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in found[0]:
        rows = [seed[name] for seed in found]

        def mean(what: str, rows: list[Diagnostics] = rows) -> float:
            return float(np.mean([getattr(row, what) for row in rows]))

        lines.append(
            f"| {name} | {mean('loss'):.2f} | {mean('spread'):.2f} ({mean('spread_raw'):.2f}) "
            f"| {mean('rank_language'):+.2f} | {mean('rank_truth'):+.2f} | {mean('retrieval_known'):.0%} "
            f"| {mean('retrieval_held'):.0%} ({mean('chance_held'):.0%}) |"
        )
    return "\n".join(lines)


def difference(steps: np.ndarray, other: np.ndarray) -> tuple[Interval, float]:
    """Difference in steps of two arms, paired by seed, as a share of the other's.

    A ratio of means less one. Its standard error counts what both arms vary by, and not ours alone (the ratio estimator
    of Cochran 1977, Sampling Techniques, chapter 6).

    Args:
      steps: of one arm, [seeds, targets].
      other: of the other one.

    Returns:
      The difference with Student's 95 % interval, of the ratio's logarithm and so above -1, and its standard error;
      neither for a single seed.
    """
    ours, theirs = steps.mean(1), other.mean(1)
    unknown, count = float("nan"), len(ours)
    if not theirs.any():  # every start of the other arm was good enough
        none = 0.0 if not ours.any() else unknown
        return Interval(none, none, none), none
    ratio = float(ours.mean() / theirs.mean())
    if count < 2:
        return Interval(ratio - 1.0, unknown, unknown), unknown
    error = float((ours - ratio * theirs).std(ddof=1) / count**0.5 / theirs.mean())
    if ratio == 0:
        return Interval(-1.0, -1.0, -1.0), error
    half = float(stats.t.ppf(0.975, count - 1)) * error / ratio
    return Interval(ratio - 1.0, ratio * math.exp(-half) - 1.0, ratio * math.exp(half) - 1.0), error


def tied(interval: Interval) -> bool:
    """Whether a difference may as well be none: few seeds need more than two standard errors, three of them 4.3."""
    return interval.low <= 0 <= interval.high


def against(results: Mapping[str, ArmResult], arm: str, other: str = "language") -> str:
    """The paired difference in words: a tie where Student's 95 % interval holds 0, neither for a single seed."""
    if arm == other or other not in results:
        return "-"
    interval, error = difference(results[arm].steps, results[other].steps)
    if not np.isfinite(error):
        return f"{interval.value:+.0%} (one seed)"
    return f"{interval.value:+.0%} ± {error:.0%}{', a tie' if tied(interval) else ''}"


def steps_of(figures: Mapping[str, float]) -> str:
    """Mean steps of `ArmResult.summary` and their standard error, which a single seed has none of."""
    error = figures["standard_error"]
    return f"{figures['steps']:,.0f}" + (f" ± {error:,.0f}" if np.isfinite(error) else "")


def rare(share: float) -> str:
    """A share of runs in percent; one that would be rounded to none keeps a digit, so that it is not taken for none."""
    return f"{share:.1%}" if 0 < share < 0.005 else f"{share:.0%}"


def write_report(
    directory: Path,
    title: str,
    results: Mapping[str, ArmResult],
    config: TransferConfig,
    notes: Sequence[str] = (),
) -> Path:
    """Writes report.md, runs.csv, curves.png, steps.png and similarities.png; returns the report."""
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerow(["arm", "seed", "target", "steps", "reached", "zero_shot", "few_shot", "final"])
    for name, result in results.items():
        for (seed, target), steps in np.ndenumerate(result.steps):
            curve = result.curve[seed, target]
            few = curve[min(config.few_shot, len(curve) - 1)]
            writer.writerow(
                [name, seed, target, int(steps), bool(result.reached[seed, target]),
                 f"{curve[0]:.4f}", f"{few:.4f}", f"{curve[-1]:.4f}"]
            )  # fmt: skip
    write_atomic(directory / "runs.csv", rows.getvalue())
    curves(directory / "curves.png", results, config, title)
    bars(directory / "steps.png", results, config, title)
    pictures = ["![learning curves](curves.png)", "![steps to threshold](steps.png)"]
    if _compared(results):
        heat_map(directory / "similarities.png", results, title)
        pictures.append("![similarities](similarities.png)")
    text = "\n\n".join(
        [
            f"# {title}",
            f"{config.seeds} seeds of {config.targets} held-out tasks each, {config.sources} known policies. Steps are "
            f"environment steps until the return is {config.threshold:.0%} of the best; runs that never get "
            "there count with all their steps, so their mean is a lower bound. Errors are standard errors over seeds. "
            "Differences are paired by seed; of a tie Student's 95 % interval holds 0. Every arm's temperature and "
            f"scales were {'chosen on validation tasks' if config.tune else 'not chosen: plain averages'}.",
            table(results, config),
            *notes,
            *pictures,
            "Arms: " + "; ".join(f"**{name}**: {ARMS[name].summary}" for name in results) + ".",
        ]
    )
    write_atomic(directory / "report.md", text + "\n")
    return directory / "report.md"


def curves(path: Path, results: Mapping[str, ArmResult], config: TransferConfig, title: str) -> Path:
    """Share of the best return over environment steps; bands are standard errors over seeds."""
    figure = new_figure(7.2, 4.4)
    axes: Axes = figure.subplots()
    shown, plain = (
        [name for name in SHOWN if name in results],
        {"random": GREY, "uniform": GREY, "oracle": "black"},
    )
    coloured = [name for name in shown if name not in plain]
    for name in shown:
        result = results[name]
        steps, curve = result.curve_steps.mean((0, 1)), result.curve.mean(1)
        mean = curve.mean(0)
        colour = plain.get(name) or PALETTE[coloured.index(name) % len(PALETTE)]
        dashed = name in ("oracle", "clip-rl-shuffled", "uniform")
        axes.plot(steps, mean, color=colour, linestyle="--" if dashed else "-", linewidth=1.8, label=name)
        if len(curve) > 1:
            error = curve.std(0, ddof=1) / len(curve) ** 0.5
            axes.fill_between(steps, mean - error, mean + error, color=colour, alpha=0.18, linewidth=0)
    axes.axhline(config.threshold, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("share of the best return")
    axes.set_ylim(0, 1.03)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.set_title(title, fontsize=10)
    return save_figure(figure, path)


def bars(path: Path, results: Mapping[str, ArmResult], config: TransferConfig, title: str) -> Path:
    """Steps to the threshold with standard errors; hatched where some runs never got there."""
    figure = new_figure(7.2, 0.8 + 0.32 * len(results))
    axes: Axes = figure.subplots()
    order = sorted(results, key=lambda name: results[name].summary(config.few_shot)["steps"])
    for place, name in enumerate(reversed(order)):
        figures = results[name].summary(config.few_shot)
        mean, error, censored = (figures[key] for key in ("steps", "standard_error", "censored"))
        error = 0.0 if np.isnan(error) else error
        colour, hatch = ("#9fc5de", "//") if censored else (PALETTE[0], None)
        axes.barh(place, mean, xerr=error or None, color=colour, hatch=hatch, edgecolor="white")
        if censored:
            axes.annotate(f" {rare(censored)} never", (mean + error, place), va="center", fontsize=8)
    axes.set_yticks(range(len(order)), list(reversed(order)))
    axes.set_xlabel(f"environment steps to {config.threshold:.0%} of the best return")
    axes.margins(x=0.12)
    axes.set_title(title, fontsize=10)
    return save_figure(figure, path)


def _compared(results: Mapping[str, ArmResult]) -> list[str]:
    """The arms whose similarities are shown."""
    names = ("language", "clip-rl", "clip-rl-shuffled", "soft-target", "ridge", "oracle")
    return [name for name in names if name in results and results[name].similarity is not None]


def heat_map(path: Path, results: Mapping[str, ArmResult], title: str) -> Path:
    """Similarity of the first seed's held-out tasks to known ones, arm by arm; sources ordered as the oracle does."""
    shown = _compared(results)
    figure = new_figure(2.6 * max(1, (len(shown) + 1) // 2) + 0.8, 4.2)
    grid = figure.subplots(2, max(1, (len(shown) + 1) // 2), squeeze=False)
    oracle = results["oracle"].similarity if "oracle" in results else None
    for axes, name in zip(grid.reshape(-1), shown, strict=False):
        similarity = results[name].similarity
        assert similarity is not None
        rows = similarity[0]
        if oracle is not None:
            rows = np.take_along_axis(rows, np.argsort(-oracle[0], axis=1), axis=1)
        spread = rows.std(axis=1, keepdims=True)
        axes.imshow(
            (rows - rows.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0),
            cmap="cividis",
            aspect="auto",
        )
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(
            "known tasks, nearest goal first" if oracle is not None else "known tasks", fontsize=8
        )
        axes.set_ylabel("held-out task", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in grid.reshape(-1)[len(shown) :]:
        axes.set_visible(False)
    figure.suptitle(title, fontsize=10)
    return save_figure(figure, path)
