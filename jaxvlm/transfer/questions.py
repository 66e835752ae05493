"""Open questions of CLIP-RL as series of experiments: one number changes, a few arms are compared, a figure answers."""

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from jaxvlm.errors import ConfigError
from jaxvlm.runtime.files import write_atomic
from jaxvlm.runtime.plots import GREY, PALETTE, new_figure, save_figure
from jaxvlm.transfer.config import TransferConfig
from jaxvlm.transfer.experiment import ArmResult, split_tasks
from jaxvlm.transfer.report import against, rare, steps_of

FEW = ("random", "uniform", "language", "clip-rl", "ridge", "oracle")


@dataclass(frozen=True)
class Question:
    """A series: by label, what is changed of a `TransferConfig`; `net.` stands for its `base` and `fine`."""

    asks: str
    axis: str
    series: Mapping[str, Mapping[str, Any]]
    arms: tuple[str, ...] = FEW


QUESTIONS: dict[str, Question] = {
    "library": Question(
        "How many known policies does it take?",
        "known policies",
        {str(size): {"sources": size} for size in (2, 4, 8, 16, 32, 56)},
    ),
    "representation": Question(
        "Are weights or behaviour the better picture of a policy, and does a common start matter?",
        "start of the known policies",
        {
            "common": {"initialisation": "common", "match": True},
            "independent, matched": {"initialisation": "independent", "match": True},
            "independent": {"initialisation": "independent", "match": False},
        },
        ("uniform", "language", "clip-rl", "clip-rl-behaviour", "soft-target", "ridge", "oracle"),
    ),
    "networks": Question(
        "Do other widths, depths and activations average as well?",
        "hidden layers of the policies",
        {
            "16, 16": {"net.hidden_sizes": (16, 16), "net.activation": "tanh"},
            "64, 64": {"net.hidden_sizes": (64, 64), "net.activation": "tanh"},
            "128, 128": {"net.hidden_sizes": (128, 128), "net.activation": "tanh"},
            "64": {"net.hidden_sizes": (64,), "net.activation": "tanh"},
            "64, 64, 64": {"net.hidden_sizes": (64, 64, 64), "net.activation": "tanh"},
            "64, 64 ReLU": {"net.hidden_sizes": (64, 64), "net.activation": "relu"},
        },
    ),
    "negative": Question(
        "What happens where language says near and the policy is far?",
        "held-out tasks",
        {"all": {}},
        ("random-silent", "language-nearest", "language", "ridge"),
    ),
}


def variation(config: TransferConfig, question: Question, label: str) -> TransferConfig:
    """The experiment of one label of a series."""
    changes = dict(question.series[label])
    net = {name.removeprefix("net."): changes.pop(name) for name in list(changes) if name.startswith("net.")}
    return replace(
        config,
        arms=question.arms,
        base=replace(config.base, **net),
        fine=replace(config.fine, **net),
        **changes,
    )


def validate_question(
    name: str, config: TransferConfig, default: TransferConfig, kinds: Sequence[np.ndarray]
) -> None:
    """Checks a whole series before its first experiment.

    Args:
      name: of the question.
      config: what was asked for.
      default: the same without anybody's flags.
      kinds: of each seed's tasks, see `alike`.

    Raises:
      ConfigError: a flag sets what the series sets, or some experiment of it has too few tasks.
    """
    question = find_question(name)
    sets = {"arms", *(setting for changes in question.series.values() for setting in changes)}
    for setting in sorted(sets):
        inner = setting.removeprefix("net.")
        ours, usual = (
            (getattr(c.base, inner), getattr(c.fine, inner)) if inner != setting else getattr(c, setting)
            for c in (config, default)
        )
        if ours != usual:
            raise ConfigError(f"--preset {name} sets {inner} itself; leave it out")
    for label in question.series:
        own = variation(config, question, label)
        needed, tasks = own.sources + own.validation + own.targets, len(kinds[0])
        if needed > tasks:
            raise ConfigError(
                f"--preset {name} comes to {own.sources} sources, {own.validation} validation tasks and {own.targets} "
                f"targets, {needed} tasks, and a family has {tasks}; lower --validation or --targets"
            )
        for seed, kind in enumerate(kinds):
            split_tasks(own, seed, kind)


def find_question(name: str) -> Question:
    """Raises `ConfigError` for a question that nobody asked."""
    if name not in QUESTIONS:
        raise ConfigError(f"unknown question {name!r}; choose of {', '.join(QUESTIONS)}")
    return QUESTIONS[name]


def series_table(
    question: Question, results: Mapping[str, Mapping[str, ArmResult]], config: TransferConfig
) -> str:
    """Markdown: a row a label, steps to the threshold by arm, the difference to language in brackets."""
    lines = [
        f"| {question.axis} | {' | '.join(question.arms)} |",
        "|---" * (len(question.arms) + 1) + "|",
    ]
    for label, found in results.items():
        cells = []
        for arm in question.arms:
            figures, beside = found[arm].summary(config.few_shot), against(found, arm)
            never = f", {rare(figures['censored'])} never" if figures["censored"] else ""
            cells.append(
                steps_of(figures)
                + (f" ({beside}{never})" if beside != "-" else f" ({never[2:]})" if never else "")
            )
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def series_figure(
    path: Path,
    question: Question,
    results: Mapping[str, Mapping[str, ArmResult]],
    config: TransferConfig,
    title: str,
) -> Path:
    """Steps to the threshold over the series, a line an arm, bars are standard errors over seeds."""
    figure = new_figure(7.2, 4.4)
    axes: Axes = figure.subplots()
    plain = {"random": GREY, "uniform": GREY, "oracle": "black"}
    coloured = [arm for arm in question.arms if arm not in plain]
    places = np.arange(len(results))
    for arm in question.arms:
        figures = [found[arm].summary(config.few_shot) for found in results.values()]
        error = np.nan_to_num([f["standard_error"] for f in figures])
        axes.errorbar(
            places,
            [f["steps"] for f in figures],
            yerr=error,
            color=plain.get(arm) or PALETTE[coloured.index(arm) % len(PALETTE)],
            linestyle="--" if arm in ("uniform", "oracle") else "-",
            marker="o",
            markersize=4,
            capsize=2,
            label=arm,
        )
    axes.set_xticks(places, [textwrap.fill(label, 14) for label in results])
    axes.set_xlabel(question.axis)
    axes.set_ylabel(f"environment steps to {config.threshold:.0%} of the best")
    axes.set_ylim(bottom=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.set_title("\n".join([*textwrap.wrap(question.asks, 72), title]), fontsize=10)
    return save_figure(figure, path)


def negative_figure(
    path: Path, results: Mapping[str, ArmResult], likeness: np.ndarray, title: str
) -> tuple[Path, str]:
    """Steps from the policy of the most similar sentence, as a multiple of a fresh policy's, over how alike it behaves.

    Args:
      path: file to write.
      results: with the arms "language-nearest" and "random-silent".
      likeness: f64[seeds, targets], cosine of what the nearest sentence's policy does with what a policy that learned
        the target does, about the mean of all known ones.
      title: above the figure.

    Returns:
      The file, and what it shows in a sentence.
    """
    nearest, fresh = results["language-nearest"], results["random-silent"]
    ratio = nearest.steps / fresh.steps
    figure = new_figure(6.4, 4.0)
    axes: Axes = figure.subplots()
    ever = nearest.reached
    axes.scatter(likeness[ever], ratio[ever], color=PALETTE[0], s=22, label="reached the threshold")
    if not ever.all():
        axes.scatter(
            likeness[~ever],
            ratio[~ever],
            color=PALETTE[1],
            marker="^",
            s=26,
            label="never did: at least so many",
        )
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([2.0**k for k in range(-5, 6)]))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("likeness of its policy to one that learned the target (cosine of behaviour)")
    axes.set_ylabel("steps, as a multiple of a fresh policy's")
    axes.legend(loc="best", fontsize=8)
    axes.set_title(title, fontsize=10)
    far = likeness < np.median(likeness)
    words = (
        f"From the policy of the most similar sentence {np.mean(ratio > 1):.0%} of {ratio.size} targets take longer "
        f"than from a fresh policy, {np.median(ratio):.2f} times as long in the median: {np.median(ratio[far]):.2f} "
        f"times where that policy behaves less like one of the target than the median ({np.median(likeness):.2f}), "
        f"{np.median(ratio[~far]):.2f} times elsewhere."
    )
    return save_figure(figure, path), words


def write_answer(
    directory: Path,
    question: Question,
    results: Mapping[str, Mapping[str, ArmResult]],
    config: TransferConfig,
    title: str,
    more: Sequence[str] = (),
) -> Path:
    """Writes answer.md, series.csv and series.png (the figure of a series of more than one); returns the report."""
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerow(["label", "arm", "steps", "standard_error", "censored", "zero_shot", "few_shot"])
    for label, found in results.items():
        for arm in question.arms:
            f = found[arm].summary(config.few_shot)
            writer.writerow(
                [
                    label,
                    arm,
                    *(
                        f"{f[key]:.4f}"
                        for key in ("steps", "standard_error", "censored", "zero_shot", "few_shot")
                    ),
                ]
            )
    write_atomic(directory / "series.csv", rows.getvalue())
    parts = [
        f"# {question.asks}",
        f"{title}. Steps are environment steps until the return is {config.threshold:.0%} "
        "of the best, means and standard errors over seeds; in brackets the paired difference to `language`, a tie "
        "where Student's 95 % interval of it holds 0, and the share of runs that never got there, which count with all "
        "their steps.",
        series_table(question, results, config),
    ]
    if len(results) > 1:
        series_figure(directory / "series.png", question, results, config, title)
        parts.append("![steps over the series](series.png)")
    write_atomic(directory / "answer.md", "\n\n".join([*parts, *more]) + "\n")
    return directory / "answer.md"
