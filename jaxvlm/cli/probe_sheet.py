"""The pictures of a probe: what each sentence likes best, and sentences side by side."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from jaxvlm.clip.captions import select
from jaxvlm.runtime.files import replace_file
from jaxvlm.runtime.plots import BLUE, GREEN, GREY, VERMILION, new_figure, save_figure, take_literally

if TYPE_CHECKING:
    from jaxvlm.cli.probe_search import Found, Optimum, Prober

SIZE = 128  # pixels of a picture in the sheet
COLUMNS = {1: 7, 2: 4}  # by the number of views; 3 for more
SHOWN, SHOWN_EACH = 12, 5  # optima that are pictured of a single sentence, and of each of several
WIDTH = 1.5  # inches of a picture


def save_sheet(path: Path, prober: "Prober", found: "Sequence[Found]") -> Path:
    """Best states of each sentence with score and verdict, after the median and the best true goal state."""
    chains, known = prober.options.chains, prober.truth.any()
    shown = min(chains, SHOWN if len(found) == 1 else SHOWN_EACH)
    rows_of = [row * chains + k for row in range(len(found)) for k in range(shown)]
    examples: list[int] = []
    if known:
        goal = np.flatnonzero(prober.truth)
        for scores in prober.scores:
            ranked = goal[np.argsort(scores[goal], kind="stable")]
            examples += [int(ranked[len(ranked) // 2]), int(ranked[-1])]
    drawn = select(prober.ends, np.asarray(rows_of))
    if known:
        both = (select(prober.sampled, np.asarray(examples)), drawn)
        drawn = jax.tree.map(lambda *leaves: jnp.concatenate([jnp.asarray(leaf) for leaf in leaves]), *both)
    frames = prober.frames(drawn, SIZE)
    given, frames = frames[: len(examples)], frames[len(examples) :]

    lead = 2 if known else 0
    views = frames.shape[2] // SIZE
    columns = COLUMNS.get(views, 3)
    lines = -(-(shown + lead) // columns)
    width = columns * WIDTH * views
    under = 0.42 if known else 0.55  # inches for two lines of a caption, or for three
    figure = new_figure(width, len(found) * (0.6 + lines * (WIDTH + under)))
    sections = figure.subfigures(len(found), 1, squeeze=False, hspace=0.02)[:, 0]
    for row, (section, result) in enumerate(zip(sections, found, strict=True)):
        title = f"{result.use}: {result.text}\n{result.verdict}"
        section.suptitle(
            "\n".join(textwrap.fill(line, int(11 * width)) for line in title.split("\n")),
            fontsize=9,
            x=0.01,
            ha="left",
        )
        grid = section.subplots(lines, columns, squeeze=False).reshape(-1)
        for axes in grid:
            axes.axis("off")
        if known:
            for place, (label, value) in enumerate(
                (("median goal state", result.goal_median), ("best goal state", result.goal_best))
            ):
                _picture(grid[place], given[2 * row + place], f"{value:.3f}\n{label}", BLUE)
        for place in range(shown):
            optimum = result.optima[place]
            right = None if optimum.holds is None else optimum.holds != (result.use == "opposite")
            colour = GREY if right is None else GREEN if right else VERMILION
            _picture(grid[lead + place], frames[row * shown + place], _caption(optimum), colour)
    take_literally(figure)
    return replace_file(path, lambda draft: figure.savefig(draft, dpi=110))


def save_sentences(path: Path, prober: "Prober", found: "Sequence[Found]") -> Path:
    """How robust a reward is to its wording: AUC, optima at the goal, and rank correlations of the scores."""
    count = len(found)
    labels = [textwrap.fill(f"{row.use}: {row.text}", 44) for row in found]
    judged = found[0].auc is not None
    figure = new_figure(10.5 if judged else 7.5, 1.4 + 0.52 * count)
    panels = list(figure.subplots(1, 3 if judged else 1, squeeze=False)[0])
    places = np.arange(count)[::-1]
    if judged:
        for axes, values, label in (
            (panels[0], [row.auc for row in found], "AUC on random states"),
            (panels[1], [row.met for row in found], "optima at the goal (share)"),
        ):
            for place, interval in zip(places, values, strict=True):
                assert interval is not None
                axes.plot([interval.low, interval.high], [place, place], color=BLUE, linewidth=2.0)
                axes.plot([interval.value], [place], "o", color=BLUE)
            axes.set_xlim(-0.03, 1.03)
            axes.set_xlabel(label)
        panels[0].axvline(0.5, color=GREY, linestyle="--", linewidth=1.0)
        panels[0].set_yticks(places, labels, fontsize=7)
        panels[1].set_yticks(places, [])
        for axes in panels[:2]:
            axes.set_ylim(-0.6, count - 0.4)
    heat = panels[-1]
    heat.imshow(np.asarray(prober.correlations), vmin=-1.0, vmax=1.0, cmap="PuOr_r", aspect="auto")
    for row in range(count):
        for column in range(count):
            value = prober.correlations[row][column]
            dark = abs(value) > 0.6
            heat.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="w" if dark else "k"
            )
    heat.set_xticks(range(count), [str(k + 1) for k in range(count)], fontsize=7)
    heat.set_yticks(range(count), [str(k + 1) for k in range(count)] if judged else labels, fontsize=7)
    heat.set_xlabel("rank correlation of scores")
    title = f"{prober.task.name}, CLIP {prober.options.clip}; one search of {prober.options.chains} chains a sentence"
    figure.suptitle(f"{title}, lines: 95 % intervals" if judged else title, fontsize=10)
    return save_figure(figure, path)


def _picture(axes: Axes, frame: np.ndarray, caption: str, colour: str) -> None:
    axes.axis("on")
    axes.imshow(frame)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.5)
    axes.set_title(caption, fontsize=6.5, color=colour, y=0.0, va="top", pad=-4)


def _caption(optimum: "Optimum") -> str:
    if optimum.holds is None:
        return "\n".join([f"{optimum.score:.3f}", *textwrap.wrap(", ".join(optimum.facts[:4]), 30)[:2]])
    verdict = "goal" if optimum.holds else "not the goal"
    first = f"{optimum.score:.3f}  {verdict}"
    if not optimum.holds:
        rest = optimum.missed[0].short if optimum.missed else ""
        return f"{first}\n{rest}"
    if optimum.held is None:
        return first
    return f"{first}\n{'holds' if optimum.held else 'lost'} after 0.5 s of physics"
