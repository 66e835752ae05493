"""Figure 2: the reward over pole angle and car position, for several alphas."""

import csv
from pathlib import Path

import numpy as np

from jaxvlm.clip.naming import stem_of
from jaxvlm.evaluation import mean_interval
from jaxvlm.reproduce.draw import bands
from jaxvlm.reproduce.figure import Block, Compared, Figure, Picture, Place, Row, Section, Table, caution
from jaxvlm.reproduce.material import Material, number
from jaxvlm.reward import spearman

# Task, words, the domain of its CLIP, the axis, the goal on it and how wide it is drawn, what the paper saw.
PANELS = (
    ("cartpole", "CartPole", "cartpole", "pole angle (degrees)", 0.0, 6.0, "highest at the upright pole for every α"),
    ("mountain-car-plain", "MountainCar, as it is", "mountain_car", "position of the car", 0.5, 0.05,
     "roughly the right maximum, badly shaped"),
    ("mountain-car", "MountainCar, textured", "mountain_car", "position of the car", 0.5, 0.05,
     "well shaped once α is above 0"),
)  # fmt: skip
SEEDS = (1, 2)  # of CLIPs that are trained like the embedded one, which has seed 0
MINUTES = 12.0  # of such a training


def _clips(domain: str, place: Place) -> list[str]:
    """Checkpoints of a panel: those given, or the embedded one and two that were trained alike."""
    if place.clips:
        return [place.clips[-1]]
    return ["tiny", *(str(place.folder / "clips" / f"{domain}-s{seed}") for seed in SEEDS)]


def _product(task: str, clip: str) -> str:
    return f"landscapes/{stem_of(task, clip)}.csv"


def rows(place: Place) -> list[Row]:
    """A landscape for each panel and CLIP, and the CLIPs."""
    found = []
    for task, _, domain, *_ in PANELS:
        for index, clip in enumerate(_clips(domain, place)):
            needs = ()
            if index:
                trained = place.clip_train(
                    Path(clip).name, domain, "--seed", str(SEEDS[index - 1]), minutes=MINUTES
                )
                found.append(trained)
                needs = (trained.name,)
            found.append(
                Row(
                    name=f"landscape-{stem_of(task, clip)}",
                    arguments=(
                        "landscape",
                        task,
                        "--clip",
                        clip,
                        "--output",
                        str(place.folder / "landscapes"),
                    ),
                    product=_product(task, clip),
                    needs=needs,
                    minutes=0.5,
                )
            )
    return list({row.name: row for row in found}.values())


def read_landscape(path: Path) -> tuple[np.ndarray, dict[float, np.ndarray]]:
    """The axis of a landscape and its curves by alpha."""
    with path.open(encoding="utf-8", newline="") as lines:
        table = list(csv.DictReader(lines))
    axis, *columns = table[0]
    curves = {
        float(name.removeprefix("alpha_")): np.asarray([number(row[name]) for row in table])
        for name in columns
    }
    return np.asarray([number(row[axis]) for row in table]), curves


def section(found: Material) -> Section:
    """A panel a task; bands over CLIPs."""
    compared, blocks, lines = list[Compared](), list[Block](), []
    for task, words, domain, axis, goal, wide, paper in PANELS:
        paths = [found.file(_product(task, clip)) for clip in _clips(domain, found.place)]
        read = [read_landscape(path) for path in paths if path]
        if not read:
            compared.append(Compared(words, paper, None))
            continue
        x = read[0][0]
        # Along the hill the reward is to rise as the ground does (gymnasium's curve), over the pole's angle to its top.
        series, wanted = {}, (np.sin(3.0 * x) if domain == "mountain_car" else -np.abs(x - goal))
        count = f"{len(read)} CLIP{'s' if len(read) > 1 else ''}"
        for alpha in read[0][1]:
            # Every CLIP has a scale and an offset of its own, which no optimal policy depends on.
            each = np.stack(
                [(curves[alpha] - curves[alpha].mean()) / curves[alpha].std() for _, curves in read]
            )
            series[f"α = {alpha:g}"] = (each.mean(0), each.min(0), each.max(0))
            ranks = mean_interval([spearman(curves[alpha], wanted) for _, curves in read])
            tops = ", ".join(f"{float(x[int(curves[alpha].argmax())]):.2f}" for _, curves in read)
            lines.append((words, f"{alpha:g}", ranks, tops, count))
            if alpha in (0.0, 1.0):
                against = "height on the hill" if domain == "mountain_car" else "nearness to upright"
                what = f"{words}, α = {alpha:g}: rank correlation of reward and {against}"
                compared.append(Compared(what, paper, ranks, count))
        several = len(read) > 1
        blocks.append(
            Picture(
                bands(
                    x, series, xlabel=axis,
                    ylabel="reward (standard deviations)", title=words, goal=(goal - wide, goal + wide),
                ),
                says=f"{words}: reward over the state for alphas {', '.join(series)}",
                caption=f"{words}. Every curve in standard deviations of its own from its mean, as no optimal policy "
                "depends on scale and offset: how much α shrinks a reward is not seen. Green: the goal.",
                seeds=count + (" trained alike" if several else ""),
                interval="Bands: from the lowest to the highest of them"
                if several
                else "No band: one CLIP has no spread"
                + ("" if found.place.clips else "; further ones are rows that were not run yet"),
            )
        )  # fmt: skip
    if lines:
        blocks.append(
            Table(
                header=(
                    "",
                    "α",
                    "rank correlation of reward and nearness to upright, height on the hill",
                    "state of the highest reward, of each CLIP",
                    "of",
                ),
                rows=tuple(lines),
                caption="Means over CLIPs with Student's 95 % interval, where there are several. The goal is 0 "
                "degrees of the pole and 0.5 of the car, whose hill is highest at 0.52 and whose track ends at 0.6.",
            )
        )
    return Section(
        found="CartPole's reward is highest at the upright pole for every α. MountainCar's is highest near the top of "
        "the hill, but without textures it is badly shaped on the way; with textures and goal-baseline regularisation "
        "it rises along the hill.",
        compared=tuple(compared),
        blocks=tuple(blocks),
        caution=caution(found.place),
    )


FIGURE = Figure("fig2", "Figure 2: reward landscapes", rows, section)
