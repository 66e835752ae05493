"""Drawings of the report: small ones, which a phone can show, each with its intervals."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from jaxvlm.evaluation import Interval
from jaxvlm.reproduce.material import over_seeds
from jaxvlm.runtime.plots import BLUE, GREEN, GREY, PALETTE, VERMILION, new_figure, take_literally

WIDTH, HEIGHT = 4.6, 3.2  # inches
LEGEND = 66  # letters that fit below a panel, of which each line and the gap behind it take 7
FEW = 7  # places whose numbers fit below a panel
BUCKETS = (0, 25, 50, 75, 100)  # per cent of an episode's steps, as the paper's rater had them
MARKERS = ("o", "s", "^", "D", "v", "P")


def panel(width: float = WIDTH, height: float = HEIGHT) -> tuple[Drawing, Axes]:
    """A drawing with one panel."""
    drawing = new_figure(width, height)
    return drawing, drawing.subplots()


def errors(intervals: Sequence[Interval]) -> np.ndarray:
    """Lengths of error bars, f64[2, n]; none where an end is not known."""
    values, lows, highs = (np.asarray(part, np.float64) for part in zip(*intervals, strict=True))
    return np.nan_to_num(np.stack([np.maximum(values - lows, 0), np.maximum(highs - values, 0)]))


def success_bars(
    names: Sequence[str],
    intervals: Sequence[Interval],
    seeds: Sequence[Sequence[float]],
    paper: Sequence[float | None] = (),
    *,
    xlabel: str = "success (share of episodes)",
    title: str = "",
) -> Drawing:
    """A bar for each row with its interval, a ring for each seed, and a diamond where the paper was."""
    drawing, axes = panel(height=1.0 + 0.36 * len(names))
    places = np.arange(len(names))[::-1]
    axes.barh(
        places,
        [interval.value for interval in intervals],
        xerr=errors(intervals),
        color="#9fc5de",
        ecolor=BLUE,
        height=0.62,
        capsize=2.5,
        label="mean",
    )
    first = True
    for place, rates in zip(places, seeds, strict=True):
        axes.scatter(
            rates, spread(float(place), len(rates)), s=18, facecolors="white", edgecolors=BLUE, zorder=3,
            label="each seed" if first else None,
        )  # fmt: skip
        first = False
    shown = [(place, value) for place, value in zip(places, paper, strict=False) if value is not None]
    if shown:
        axes.scatter(
            [value for _, value in shown], [place for place, _ in shown], marker="D", s=34, color=VERMILION, zorder=4,
            label="paper", clip_on=False,
        )  # fmt: skip
    axes.set_yticks(places, names)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel(xlabel)
    if title:
        axes.set_title(title, fontsize=10)
    drawing.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return drawing


def spread(place: float, count: int) -> np.ndarray:
    """Heights of a row's rings, a little apart, f64[count]."""
    return place + (np.linspace(-0.18, 0.18, count) if count > 1 else np.zeros(count))


def curves(
    x: Sequence[float],
    series: Mapping[str, Sequence[Interval | None]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log: bool = False,
    ylim: tuple[float, float] | None = None,
    ramp: bool = False,
) -> Drawing:
    """A line for each series with bars for its intervals; points that are missing are left out.

    With `ramp` series are ordered, and drawn from light to dark.
    """
    drawing, axes = panel()
    for index, (name, intervals) in enumerate(series.items()):
        beside = _beside(x, index, len(series), log)  # so that bars of one place do not lie upon each other
        known = [
            (place, interval)
            for place, interval in zip(beside, intervals, strict=True)
            if interval is not None
        ]
        if not known:
            continue
        colour = shade(index, len(series)) if ramp else PALETTE[index % len(PALETTE)]
        axes.errorbar(
            [place for place, _ in known],
            [interval.value for _, interval in known],
            yerr=errors([interval for _, interval in known]),
            color=colour,
            marker=MARKERS[index % len(MARKERS)],
            markersize=4.5,
            linewidth=1.6,
            elinewidth=1.0,
            capsize=2.0,
            label=name,
        )
    if log:
        axes.set_xscale("log")
    elif len(x) <= FEW:
        axes.set_xticks(list(x))  # also where little is known yet
    if ylim:
        axes.set_ylim(*ylim)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if title:
        axes.set_title(title, fontsize=10)
    if len(series) > 1:
        drawing.legend(loc="outside lower center", ncols=columns(series, 4), fontsize=8, frameon=False)
    return drawing


def columns(names: Collection[str], most: int) -> int:
    """Columns of a legend below a panel: as many as fit beside each other, and `most` at the most."""
    widest = max(map(len, names), default=1)
    return max(1, min(most, len(names), LEGEND // (widest + 7)))


def _beside(x: Sequence[float], index: int, count: int, log: bool) -> list[float]:
    """Places a little to the left or right of `x`."""
    part = 0.016 * (index - (count - 1) / 2)
    if log:
        return [float(place * (max(x) / min(x)) ** part) for place in x]
    return [float(place + part * (max(x) - min(x))) for place in x]


def bands(
    x: np.ndarray,
    series: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    goal: tuple[float, float] | None = None,
    ramp: bool = True,
) -> Drawing:
    """Lines with bands, (mean, low, high) by name; `goal` is where the task is achieved.

    With `ramp` series are ordered, and drawn from light to dark.
    """
    drawing, axes = panel()
    if goal:
        axes.axvspan(*goal, color="#009E73", alpha=0.16, linewidth=0)
    for index, (name, (mean, low, high)) in enumerate(series.items()):
        colour = shade(index, len(series)) if ramp else PALETTE[index % len(PALETTE)]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, mean, color=colour, linewidth=1.6, label=name)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.margins(x=0.01)
    if title:
        axes.set_title(title, fontsize=10)
    drawing.legend(loc="outside lower center", ncols=columns(series, 5), fontsize=8, frameon=False)
    return drawing


def step_histogram(
    shares: Sequence[np.ndarray],
    *,
    title: str = "",
    rated: Sequence[np.ndarray] | None = None,
    chosen: int | None = None,
) -> Drawing:
    """How long episodes were in the goal state: in five buckets, bars over all seeds' episodes with intervals.

    Args:
      shares: f64[episodes] in [0, 1] for each seed, by predicate.
      title: above.
      rated: f64[n] in [0, 1] for each seed that people rated, where there are ratings.
      chosen: index of the seed of `shares` whose dots are filled.
    """
    drawing, axes = panel(height=2.6)
    places = np.arange(len(BUCKETS))
    sides = [("by predicate", shares, "#9fc5de", BLUE)]
    if rated is not None:
        sides.append(("by raters", rated, "#f2c9a4", VERMILION))
    width = 0.8 / len(sides)
    for side, (label, rows, light, dark) in enumerate(sides):
        parts = bucket_shares(rows)
        beside = places + (side - (len(sides) - 1) / 2) * width
        axes.bar(
            beside, [part.value for part in parts], width, yerr=errors(parts), color=light, ecolor=dark, capsize=2.5,
            label=label,
        )  # fmt: skip
        for seed, row in enumerate(rows):
            own = np.bincount(bucket_of(row), minlength=len(BUCKETS)) / len(row)
            filled = dark if rows is shares and seed == chosen else "white"
            axes.plot(
                beside, own, "o", markersize=3.6, markerfacecolor=filled, color=dark, markeredgewidth=0.9
            )
    if rated is not None:
        axes.legend(fontsize=8, frameon=False)
    axes.set_xticks(places, [f"{bucket} %" for bucket in BUCKETS])
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("steps of an episode in the goal state")
    axes.set_ylabel("share of episodes")
    if title:
        axes.set_title(title, fontsize=10)
    return drawing


def bucket_shares(shares: Sequence[np.ndarray]) -> list[Interval]:
    """Share of episodes in each bucket; seeds are drawn whole where there are several."""
    nearest = [bucket_of(row) for row in shares]
    return [
        over_seeds([(row == index).astype(np.float64) for row in nearest]) for index in range(len(BUCKETS))
    ]


def bucket_of(shares: np.ndarray) -> np.ndarray:
    """The nearest bucket of each episode, i64[episodes]."""
    return np.abs(np.asarray(shares, np.float64)[:, None] * 100 - np.asarray(BUCKETS)).argmin(1)


def shade(index: int, count: int) -> tuple[float, float, float]:
    """Light to dark blue: order is seen in lightness."""
    light, dark = np.array([0.55, 0.76, 0.92]), np.array([0.02, 0.15, 0.38])
    part = index / (count - 1) if count > 1 else 1.0
    red, green, blue = light + (dark - light) * part
    return float(red), float(green), float(blue)


def data_uri(drawing: Drawing) -> str:
    """A drawing as an SVG inside an address, in the style of all plots here."""
    for axes in drawing.axes:
        axes.spines[["top", "right"]].set_visible(False)
        if not axes.images:
            axes.grid(True, color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
    take_literally(drawing)
    written = io.BytesIO()
    # The same drawing gives the same bytes: no date, no random names.
    with matplotlib.rc_context({"svg.hashsalt": "jaxvlm"}):
        drawing.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(written.getvalue()).decode("ascii")


def rates_over(
    x: Sequence[float],
    intervals: Sequence[Interval],
    seeds: Sequence[Sequence[float]],
    *,
    xlabel: str,
    names: Sequence[str] = (),
    title: str = "",
) -> Drawing:
    """Success over a number, on a logarithmic axis: means with intervals, rings for the seeds, a name at each point."""
    drawing, axes = panel()
    axes.errorbar(x, [interval.value for interval in intervals], yerr=errors(intervals), color=BLUE, marker="o",
                  markersize=4.5, capsize=2.5, linewidth=1.6)  # fmt: skip
    for place, rates in zip(x, seeds, strict=True):
        axes.scatter([place] * len(rates), rates, s=20, facecolors="white", edgecolors=BLUE, zorder=3)
    for place, name in zip(x, names, strict=False):
        axes.annotate(name, (place, 1.02), ha="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_ylim(-0.05, 1.12)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("success (share of episodes)")
    if title:
        axes.set_title(title, fontsize=10)
    return drawing


def two_histograms(
    edges: Sequence[float],
    goal: Sequence[float],
    other: Sequence[float],
    means: tuple[float, float],
    *,
    title: str = "",
) -> Drawing:
    """Rewards of goal states and of others as shares of each, with a dotted line at each mean, (goal, other)."""
    drawing, axes = panel(height=2.6)
    for counts, mean, colour, name in (
        (other, means[1], GREY, "other states"),
        (goal, means[0], GREEN, "goal states"),
    ):
        shares = np.asarray(counts, np.float64) / max(1.0, float(np.sum(counts)))
        axes.stairs(shares, np.asarray(edges, np.float64), fill=True, color=colour, alpha=0.5, label=name)
        axes.axvline(mean, color=colour, linestyle=":", linewidth=1.8)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("reward")
    axes.set_ylabel("share of states")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    return drawing
