"""Histograms of answers, as in figure 5 of VLM-RM."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxvlm.rating.store import PREDICATE
from jaxvlm.runtime.plots import GREY, PALETTE, new_figure, save_figure

COLUMNS = 4  # panels side by side


def bars(
    path: str | Path,
    panels: Sequence[tuple[str, Mapping[str, Sequence[int]]]],
    labels: Sequence[str],
    *,
    xlabel: str,
    caption: str = "",
) -> Path:
    """Counts of answers, a panel a run and a colour a rater.

    Args:
      path: file to write, the format follows its suffix.
      panels: title, and counts by rater, in the order of `labels`.
      labels: of the answers.
      xlabel: below every panel.
      caption: below all of them.

    Raises:
      RunError: the file cannot be written.
    """
    columns = min(len(panels), COLUMNS)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(max(4.4, 3.2 * columns), 3.1 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    names = list(dict.fromkeys(name for _, groups in panels for name in groups))
    people = [name for name in names if name != PREDICATE]
    handles = {}
    for axis, (title, groups) in zip(axes.flat, panels, strict=False):
        width = 0.8 / max(len(groups), 1)
        for place, (name, counts) in enumerate(groups.items()):
            at = np.arange(len(labels)) + (place - (len(groups) - 1) / 2) * width
            colour = PALETTE[people.index(name) % len(PALETTE)] if name in people else "white"
            style = {} if name in people else {"edgecolor": GREY, "hatch": "///", "linewidth": 0.8}
            handles[name] = axis.bar(at, list(counts), 0.92 * width, color=colour, **style)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(np.arange(len(labels)), labels)
        axis.set_xlabel(xlabel)
        axis.yaxis.get_major_locator().set_params(integer=True)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("count")
    if caption:
        figure.supxlabel(caption, fontsize=8, color=GREY)
    figure.legend(
        list(handles.values()), list(handles), loc="outside upper right", ncols=len(handles), frameon=False
    )
    return save_figure(figure, path)
