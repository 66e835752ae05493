"""Made-up material: small coloured loops instead of agents."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxvlm.rating.material import Drawing, Goal, Item, Material, Rule, draw_missing, new_id

KNEELING = Goal("a humanoid robot kneeling", "It kneels: both knees rest on the floor.")


def make_material(
    folder: Path,
    *,
    source: str = "secret-run",
    seeds: int = 2,
    episodes: int = 3,
    steps: int = 9,
    size: int = 32,
    frames: int = 0,
    goal: Goal = KNEELING,
    rule: Rule | None = None,
) -> Material:
    """A folder with loops in which a bar grows; the predicate holds in the last steps of an episode.

    The rule is that of half of all steps, unless there is another, of one phase.
    """
    rule = rule or Rule(steps, steps, 0.5)
    items, holds = [], []
    for seed in range(40, 40 + seeds):
        for episode in range(episodes):
            share = (seed * episodes + episode) % 5 / 4
            row = np.arange(steps) >= round(steps * (1 - share))
            holds.append(row)
            success = bool(row[-rule.window :].mean() >= rule.threshold)
            items.append(Item(new_id(), seed, episode, -1, steps, float(row.mean()), success=success))
    material = Material(
        folder,
        source,
        "made-up",
        goal,
        Drawing("plain", ("default",), size, fps=6.0),
        1000,
        origin=str(folder.parent / source),
        rule=rule,
        trajectories=tuple(items),
    )
    material.write_episodes(np.stack(holds), {"bar": np.tile(np.arange(steps), (len(items), 1))})
    if frames:
        material = material.with_frames(frames)
    material.save()
    rows = {(item.seed, item.episode): number for number, item in enumerate(items)}

    def scenes(item: Item, chosen: np.ndarray) -> tuple[int, np.ndarray]:
        return rows[item.seed, item.episode], chosen

    def draw(scene: tuple[int, np.ndarray]) -> np.ndarray:
        row, chosen = scene
        picture = np.full((len(chosen), size, size, 3), 40, np.uint8)
        for place, step in enumerate(chosen):
            height = max(1, size * (step + 1) // steps)
            picture[place, size - height :, size // 4 : -size // 4] = (70, 130 + 20 * (row % 6), 220)
        return picture

    draw_missing(material, (*material.trajectories, *material.frames), scenes, draw)
    return replace(material)
