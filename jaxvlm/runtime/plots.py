"""Plots of runs and rewards, drawn on figures of their own: no pyplot, no global state, no display.

The colours are Okabe and Ito's, which people with any colour vision tell apart; kinds of lines differ in
width or dash as well.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter

from jaxvlm.errors import ConfigError
from jaxvlm.runtime.files import replace_file
from jaxvlm.runtime.metrics import mean

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
GREY = "#5f5f5f"
TITLE_WIDTH = 64  # characters of a title that fit above a figure of 6.4 inches


def learning_curves(
    path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    reward: str = "reward",
    truth: str = "success",
    title: str = "",
    reward_label: str = "CLIP reward",
    truth_label: str = "share of steps with success",
    truth_range: tuple[float, float] | None = (0.0, 1.0),
) -> Path:
    """Two panels over environment steps: what was learned from, and the ground truth beside it.

    The thick line is the mean over seeds, the thin ones are the seeds; rows without the value are skipped.

    Args:
        path: file to write, the format follows its suffix (png, pdf, svg).
        rows: of `metrics.jsonl`, see `jaxvlm.runtime.read_rows`.
        reward: key of the upper panel.
        truth: key of the lower panel.
        title: above both, broken into lines that fit.
        reward_label: axis label of the upper panel.
        truth_label: axis label of the lower panel.
        truth_range: limits of the lower axis, None lets the data decide.

    Raises:
        ConfigError: no row has either key.
        RunError: the file cannot be written.
    """
    if not any(key in row for row in rows for key in (reward, truth)):
        raise ConfigError(f"no row of the metrics has {reward!r} or {truth!r}: nothing to plot yet")
    figure = new_figure(6.4, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True)
    seeds = _curve(upper, rows, reward, BLUE)
    _curve(lower, rows, truth, VERMILION)
    upper.set_ylabel(reward_label)
    lower.set_ylabel(truth_label)
    lower.set_xlabel("environment steps per seed" if seeds > 1 else "environment steps")
    lower.xaxis.set_major_formatter(EngFormatter(sep=""))
    if truth_range is not None:
        margin = 0.04 * (truth_range[1] - truth_range[0])
        lower.set_ylim(truth_range[0] - margin, truth_range[1] + margin)
    if seeds > 1:
        upper.legend(loc="best")
    if title:
        figure.suptitle(textwrap.fill(title, TITLE_WIDTH))
    return save_figure(figure, path)


def landscape(
    path: str | Path,
    x: Any,
    curves: Mapping[float | str, Any],
    *,
    xlabel: str,
    goal: float | tuple[float, float] | None = None,
    title: str = "",
    ylabel: str = "CLIP reward",
) -> Path:
    """The reward over one state variable, a curve for each strength of regularisation.

    Args:
        path: file to write.
        x: f[K], values of the state variable.
        curves: alpha, or any label, to f[K] rewards; numbers are drawn from light to dark in their order.
        xlabel: name and unit of the variable.
        goal: where the task is achieved: a line at a value, or a band between two.
        title: above the plot.
        ylabel: axis label.

    Raises:
        ConfigError: no curve, or one of another length than `x`.
        RunError: the file cannot be written.
    """
    x = np.asarray(x, dtype=np.float64)
    if not curves:
        raise ConfigError("a landscape needs at least one curve, got none")
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    if goal is not None:
        _goal(axes, goal)
    numeric = all(isinstance(label, (int, float)) for label in curves)
    colours = _ramp(len(curves)) if numeric and len(curves) > 1 else _cycle(len(curves))
    for colour, (label, values) in zip(colours, curves.items(), strict=True):
        values = np.asarray(values, dtype=np.float64)
        if values.shape != x.shape or x.ndim != 1:
            raise ConfigError(f"curve {label!r} has shape {list(values.shape)}, x has {list(x.shape)}")
        axes.plot(x, values, color=colour, linewidth=1.8, label=f"α = {label:g}" if numeric else str(label))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    axes.margins(x=0.01)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return save_figure(figure, path)


def scores(
    path: str | Path,
    parameter: Any,
    prompts: Mapping[str, Any],
    is_goal: Any,
    *,
    xlabel: str,
    title: str = "",
) -> Path:
    """How well sentences tell goal states from others: a row of two panels for each prompt.

    Left the distributions of the score over goal and other states, each row on a scale of its own, right the
    score against the state parameter.

    Args:
        path: file to write.
        parameter: f[K], state parameter of every frame.
        prompts: sentence to f[K] scores of the frames.
        is_goal: bool[K], whether the frame shows a goal state.
        xlabel: name and unit of the parameter.
        title: above all.

    Raises:
        ConfigError: no prompt, or arrays of different lengths.
        RunError: the file cannot be written.
    """
    parameter, is_goal = np.asarray(parameter, dtype=np.float64), np.asarray(is_goal, dtype=bool)
    if not prompts:
        raise ConfigError("a plot of scores needs at least one prompt, got none")
    figure = new_figure(7.6, 0.6 + 2.3 * len(prompts))
    grid = figure.subplots(len(prompts), 2, squeeze=False)
    kinds = ((~is_goal, GREY, "other states", "o"), (is_goal, GREEN, "goal states", "^"))
    for (left, right), (prompt, values) in zip(grid, prompts.items(), strict=True):
        values = np.asarray(values, dtype=np.float64)
        if not values.shape == parameter.shape == is_goal.shape or values.ndim != 1:
            shapes = f"{list(values.shape)}, {list(parameter.shape)} and {list(is_goal.shape)}"
            raise ConfigError(f"scores of {prompt!r}, parameter and is_goal differ in shape: {shapes}")
        edges = np.histogram_bin_edges(values, bins=30)
        for chosen, colour, label, marker in kinds:
            if chosen.any():
                share = np.full(int(chosen.sum()), 1 / chosen.sum())
                left.hist(values[chosen], edges, weights=share, color=colour, alpha=0.55, label=label)
                right.scatter(
                    parameter[chosen],
                    values[chosen],
                    s=9,
                    color=colour,
                    marker=marker,
                    linewidths=0,
                    label=label,
                )
        left.set_ylabel("share of states")
        right.set_ylabel("score")
        left.set_title(_shorten(prompt), loc="left", fontsize=10)
    grid[-1, 0].set_xlabel("score")
    grid[-1, 1].set_xlabel(xlabel)
    grid[0, 1].legend(loc="best", markerscale=1.6)
    if title:
        figure.suptitle(textwrap.fill(title, TITLE_WIDTH))
    return save_figure(figure, path)


def _curve(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, colour: str) -> int:
    """Draws mean and seeds of one key; returns the number of seeds."""
    rows = [row for row in rows if key in row]
    steps = [row["step"] for row in rows]
    values = [row[key] if isinstance(row[key], list) else [row[key]] for row in rows]
    seeds = max(map(len, values), default=0)
    for seed in range(seeds if seeds > 1 else 0):
        line = [_finite(entry[seed]) if seed < len(entry) else math.nan for entry in values]
        axes.plot(steps, line, color=colour, linewidth=0.7, alpha=0.45, label="seeds" if seed == 0 else None)
    marker = "o" if len(rows) == 1 else None
    axes.plot(
        steps, [mean(entry) for entry in values], color=colour, linewidth=2, marker=marker, label="mean"
    )
    return seeds


def _finite(value: float | None) -> float:
    return math.nan if value is None else value


def _goal(axes: Axes, goal: float | tuple[float, float]) -> None:
    style = {"color": GREEN, "label": "goal", "zorder": 0}
    if isinstance(goal, tuple):
        axes.axvspan(*goal, alpha=0.18, linewidth=0, **style)
    else:
        axes.axvline(goal, linestyle="--", linewidth=1.4, **style)


def _ramp(count: int) -> list[tuple[float, float, float]]:
    """Light to dark blue: order is seen in lightness, which needs no colour vision."""
    light, dark = np.array([0.62, 0.79, 0.93]), np.array([0.02, 0.15, 0.38])
    return [tuple(light + (dark - light) * index / (count - 1)) for index in range(count)]


def _cycle(count: int) -> list[str]:
    return [PALETTE[index % len(PALETTE)] for index in range(count)]


def _shorten(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of its own, inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure in the style of all plots here; raises `RunError` where that is not possible."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(not axes.images, **({} if axes.images else {"color": "#e4e4e4", "linewidth": 0.7}))
        axes.set_axisbelow(True)
    for legend in [axes.get_legend() for axes in figure.axes]:
        if legend is not None:
            legend.set_frame_on(False)
    take_literally(figure)
    return replace_file(Path(path), lambda draft: figure.savefig(draft, dpi=150))


def take_literally(figure: Figure) -> None:
    """Has dollar signs of sentences and names drawn as they are, and not as the ends of a formula."""
    for text in figure.findobj(Text):
        words = text.get_text()  # pyright: ignore[reportAttributeAccessIssue]
        if "$" in words and "\\mathdefault" not in words:  # which matplotlib sets powers of ten in
            text.set_parse_math(False)  # pyright: ignore[reportAttributeAccessIssue]
