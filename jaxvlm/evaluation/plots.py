"""Figures of what rewards are worth: VLM-RM's 4a, 4b and 7, and sheets of the states that a reward gets wrong."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from jaxvlm.errors import ConfigError
from jaxvlm.runtime.plots import GREEN, GREY, PALETTE, new_figure, save_figure

UNRELATED = math.sqrt(0.5)  # EPIC distance of rewards that have nothing to do with each other
MARKERS = "os^Dv<>P*X"
COLUMNS = 4  # panels in a row
Row = Mapping[str, Any]


def distance_by_alpha(
    path: str | Path, rows: Sequence[Row], *, title: str = "", figure: str = "epic"
) -> Path:
    """The paper's figure 4a: distance against alpha, a line a model with its interval as a band, a panel a goal.

    Args:
        path: file to write.
        rows: with label (of the model), goal, alpha and `figure` with its `_low` and `_high`, as those of
            `jaxvlm epic`.
        title: above all panels.
        figure: which of the rows' figures, `epic`, `auc` or `epic_graded`.

    Raises:
        ConfigError: no rows.
        RunError: the file cannot be written.
    """
    models = _unique(rows, "label")
    canvas, panels = _panels(rows, title)
    for axes, goal in panels:
        for place, model in enumerate(models):
            chosen = _sorted([row for row in rows if row["goal"] == goal and row["label"] == model], "alpha")
            if not chosen:
                continue
            x, y, low, high = _columns(chosen, "alpha", figure)
            colour, dash = PALETTE[place % len(PALETTE)], "--" if untrained(model) else "-"
            axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(
                x, y, dash, color=colour, marker=MARKERS[place % len(MARKERS)], markersize=4, label=model
            )
        _chance(axes, figure)
        axes.set_title(goal, fontsize=10)
    return _finish(canvas, panels, path, "α", _NAMES[figure])


def distance_by_size(path: str | Path, rows: Sequence[Row], *, title: str = "", figure: str = "epic") -> Path:
    """The paper's figure 4b: distance against the number of parameters of a model, a panel a goal, a line an alpha.

    Several models of one size, such as other seeds of a training, are points above each other, and the line goes
    through their mean. Models without training are crosses that no line joins. Arguments as for `distance_by_alpha`;
    rows have `parameters` besides.
    """
    alphas = sorted({row["alpha"] for row in rows})
    canvas, panels = _panels(rows, title)
    for axes, goal in panels:
        for place, alpha in enumerate(alphas):
            colour, share = PALETTE[place % len(PALETTE)], (place - (len(alphas) - 1) / 2) * 0.03
            chosen = [row for row in rows if row["goal"] == goal and row["alpha"] == alpha]
            for trained, marker in ((True, MARKERS[place % len(MARKERS)]), (False, "x")):
                some = _sorted([row for row in chosen if untrained(row["label"]) != trained], "parameters")
                if not some:
                    continue
                x, y, low, high = _columns(some, "parameters", figure)
                shifted = x * (1 + share)  # so that intervals of one model stay apart
                errors = np.maximum(np.nan_to_num(np.stack([y - low, high - y])), 0.0)
                axes.errorbar(
                    shifted,
                    y,
                    errors,
                    fmt=marker,
                    color=colour,
                    markersize=4,
                    elinewidth=0.8,
                    alpha=0.9,
                    label=f"α = {alpha:g}" if trained else None,
                )
                sizes = np.unique(x)
                if trained and len(sizes) > 1:
                    axes.plot(
                        sizes * (1 + share),
                        [y[x == size].mean() for size in sizes],
                        color=colour,
                        linewidth=1.4,
                    )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(EngFormatter(sep="") if _narrow(rows) else NullFormatter())
        _chance(axes, figure)
        axes.set_title(goal, fontsize=10)
    if any(untrained(row["label"]) for row in rows):
        panels[0][0].plot([], [], "x", color=GREY, label="untrained")
    return _finish(canvas, panels, path, "parameters", _NAMES[figure])


def reward_histograms(
    path: str | Path,
    scores: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    *,
    title: str = "",
    notes: Mapping[tuple[str, str], str] | None = None,
) -> Path:
    """The paper's figure 7: how rewards of goal states and of others are distributed, with their means as dotted lines.

    Rewards are in standard deviations from their mean, so that the gap between the lines tells the correlation: it is
    the gap times sqrt(p (1 - p)), p the share of goal states.

    Args:
        path: file to write.
        scores: goal -> model -> rewards f[n] and truth bool[n]: a row a goal, a column a model.
        title: above all.
        notes: (goal, model) -> what to say in a panel.

    Raises:
        ConfigError: nothing to draw.
        RunError: the file cannot be written.
    """
    models = list(dict.fromkeys(model for row in scores.values() for model in row))
    if not models:
        raise ConfigError("a figure of rewards needs at least one model and goal, got none")
    # One model fills rows with its goals.
    columns = min(COLUMNS, len(scores)) if len(models) == 1 else len(models)
    lines = math.ceil(len(scores) * len(models) / columns)
    width = max(5.0, 0.9 + 2.6 * columns)
    canvas = new_figure(width, 0.9 + 1.8 * lines)
    grid = canvas.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(scores) * len(models) :]:
        axes.set_axis_off()
    places = iter(grid.flat)
    for goal, row in scores.items():
        for place, model in enumerate(models):
            axes = next(places)
            if place == 0:
                axes.set_ylabel(goal, fontsize=9)
            if model not in row:
                axes.set_axis_off()
                continue
            values, truth = np.asarray(row[model][0], np.float64), np.asarray(row[model][1], bool)
            values = (values - values.mean()) / (values.std() or 1.0)
            edges = np.linspace(values.min(), values.max() + 1e-9, 36)
            for chosen, colour, label in ((~truth, GREY, "other states"), (truth, GREEN, "goal states")):
                if chosen.any():
                    share = np.full(int(chosen.sum()), 1 / chosen.sum())
                    axes.hist(values[chosen], edges, weights=share, color=colour, alpha=0.5, label=label)
                    axes.axvline(values[chosen].mean(), color=colour, linestyle=":", linewidth=1.8)
            axes.set_yticks([])
            if notes and (goal, model) in notes:
                axes.set_ylim(top=1.22 * axes.get_ylim()[1])
                axes.text(
                    0.99,
                    0.98,
                    notes[goal, model],
                    transform=axes.transAxes,
                    ha="right",
                    va="top",
                    fontsize=7,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
                )
    if len(models) > 1:
        for axes, model in zip(grid[0], models, strict=True):
            axes.set_title(textwrap.shorten(model, 34, placeholder=" …"), fontsize=9)
    elif title:
        title = f"{title}, CLIP {models[0]}"
    for axes in grid[-1]:
        axes.set_xlabel("reward (standard deviations)", fontsize=8)
    _legend(canvas, grid[0][0])
    if title:
        canvas.suptitle(textwrap.fill(title, int(11 * width)), fontsize=10)
    return save_figure(canvas, path)


def state_sheet(
    path: str | Path,
    blocks: Sequence[tuple[str, np.ndarray, Sequence[str]]],
    *,
    title: str = "",
    columns: int = 8,
) -> Path:
    """Pictures of states in blocks under headings, a caption below each.

    Args:
        path: file to write.
        blocks: heading, frames u8[k, size, width, 3] and their captions.
        title: above all.
        columns: pictures in a row.

    Raises:
        ConfigError: no picture.
        RunError: the file cannot be written.
    """
    blocks = [block for block in blocks if len(block[1])]
    if not blocks:
        raise ConfigError("a sheet of states needs at least one picture, got none")
    heights = [math.ceil(len(frames) / columns) for _, frames, _ in blocks]
    shape = blocks[0][1].shape
    width = 1.25 * columns * shape[2] / shape[1]
    canvas = new_figure(max(width, 6.4), 0.5 + sum(0.35 + 1.45 * rows for rows in heights))
    parts: Any = canvas.subfigures(
        len(blocks), 1, squeeze=False, height_ratios=[0.35 + 1.45 * rows for rows in heights]
    )
    for part, rows, (heading, frames, captions) in zip(parts.flat, heights, blocks, strict=True):
        part.suptitle(heading, fontsize=9, x=0.01, ha="left")
        for place, axes in enumerate(part.subplots(rows, columns, squeeze=False).flat):
            axes.set_axis_off()
            if place < len(frames):
                axes.imshow(frames[place])
                axes.set_title(captions[place], fontsize=6.5, pad=2)
    if title:
        canvas.suptitle(textwrap.fill(title, 100), fontsize=10)
    return save_figure(canvas, path)


def untrained(model: str) -> bool:
    """Whether a model's name says that its weights are random."""
    return model.partition(":")[0] == "untrained"


_NAMES = {"epic": "EPIC distance", "auc": "AUROC", "epic_graded": "EPIC distance to graded truth"}


def _panels(rows: Sequence[Row], title: str) -> tuple[Figure, list[tuple[Axes, str]]]:
    if not rows:
        raise ConfigError("a figure of distances needs at least one row, got none")
    goals = _unique(rows, "goal")
    columns = min(COLUMNS, len(goals))
    lines = math.ceil(len(goals) / columns)
    canvas = new_figure(
        5.6 if columns == 1 else 2.9 * columns + 0.6, 3.6 if columns == 1 else 2.5 * lines + 1.1
    )
    grid = canvas.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(goals) :]:
        axes.set_axis_off()
    if title:
        canvas.suptitle(textwrap.fill(title, 60 if columns == 1 else 34 * columns), fontsize=10)
    return canvas, list(zip(grid.flat, goals, strict=False))


def _finish(canvas: Figure, panels: list[tuple[Axes, str]], path: str | Path, x: str, y: str) -> Path:
    columns = min(COLUMNS, len(panels))
    for place, (axes, _) in enumerate(panels):
        if place % columns == 0:
            axes.set_ylabel(y)
        if place + columns >= len(panels):
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)
    _legend(canvas, panels[0][0])
    return save_figure(canvas, path)


def _legend(canvas: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    canvas.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 5), fontsize=8, frameon=False
    )


def _chance(axes: Axes, figure: str) -> None:
    level = 0.5 if figure == "auc" else UNRELATED
    axes.axhline(level, color=GREY, linestyle=":", linewidth=1, zorder=0, label="unrelated reward")


def _narrow(rows: Sequence[Row]) -> bool:
    """Whether sizes span less than a decade, in which a logarithmic axis has no labels of its own."""
    sizes = [row["parameters"] for row in rows]
    return max(sizes) < 10 * min(sizes)


def _unique(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _sorted(rows: Sequence[Row], key: str) -> list[Row]:
    return sorted(rows, key=lambda row: row[key])


def _columns(rows: Sequence[Row], x: str, figure: str) -> list[np.ndarray]:
    """x, the figure and its ends, f64[rows] each; what is None in JSON is not a number."""
    keys = (x, figure, f"{figure}_low", f"{figure}_high")
    return [
        np.array([math.nan if row[key] is None else row[key] for row in rows], np.float64) for key in keys
    ]
