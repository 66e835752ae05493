"""Section 4.2: do agents learn CartPole and MountainCar from a sentence, and for which alpha?"""

from jaxvlm.reproduce.draw import success_bars
from jaxvlm.reproduce.figure import Block, Compared, Figure, Picture, Place, Row, Section, caution
from jaxvlm.reproduce.material import Material
from jaxvlm.reproduce.poses import lines_of, seeds_of

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
TASKS = (
    ("cartpole", "CartPole", "100 % for most alphas"),
    ("mountain-car", "MountainCar, textured", "100 % for most alphas"),
    ("mountain-car-plain", "MountainCar, as it is", "not learned"),
)


def _name(task: str, alpha: float, place: Place) -> str:
    return place.named(f"{task}-a{alpha:g}")


def rows(place: Place) -> list[Row]:
    """A training for each task and alpha."""
    return [
        place.train(_name(task, alpha, place), task, "--alpha", f"{alpha:g}")
        for task, _, _ in TASKS
        for alpha in ALPHAS
    ]


def section(found: Material) -> Section:
    """Success over alpha."""
    compared, blocks = [], list[Block]()
    for task, words, paper in TASKS:
        runs = {alpha: found.run(_name(task, alpha, found.place)) for alpha in ALPHAS}
        done = {alpha: run for alpha, run in runs.items() if run}
        solved = [alpha for alpha, run in done.items() if run.success.value >= 0.99]
        if not done:
            compared.append(Compared(f"{words}: success", paper, None))
            continue
        for alpha, run in done.items():
            compared.append(
                Compared(f"{words}, alpha {alpha:g}: success", paper, run.success, str(run.seeds))
            )
        blocks.append(
            Picture(
                success_bars(
                    [f"α = {alpha:g}" for alpha in done],
                    [run.success for run in done.values()],
                    [run.rates for run in done.values()],
                    title=words,
                ),
                says=f"{words}: success by alpha, "
                + ", ".join(f"{run.success.value:.2f} at {alpha:g}" for alpha, run in done.items()),
                caption=f"{words}: at least 99 % of all episodes succeed for {len(solved)} of {len(done)} alphas.",
                seeds=f"{seeds_of(list(done.values()))} of {next(iter(done.values())).episodes} episodes",
                interval=lines_of(list(done.values())),
            )
        )
    return Section(
        found="With a CLIP reward agents solve CartPole, and MountainCar drawn with textures, in 100 % of episodes for "
        "most strengths of goal-baseline regularisation. MountainCar as Gym draws it was not learned: the "
        "authors take it that its line drawing is too far from what CLIP has seen.",
        compared=tuple(compared),
        blocks=tuple(blocks),
        caution=caution(found.place)
        + (
            ""
            if found.place.clips
            else " The plain MountainCar shows this: the embedded CLIP has seen line drawings as often as textures, "
            "so realism makes no difference to it."
        ),
    )


FIGURE = Figure("classic", "Section 4.2: CartPole and MountainCar from a sentence", rows, section)
