"""Blind contact sheets of what agents of the humanoid did: does the eye see what the predicates say?

    python benchmarks/blind.py runs/A runs/B --folder sheets        # a numbered sheet for each run, and the key
    python benchmarks/blind.py --folder sheets --seen A 1 4 7-9     # agreement of a look with the predicate

    python benchmarks/blind.py runs/A --folder sheets --play        # states of its best agents, not of its replay

A sheet shows states from the replay buffer of a run's newest checkpoint in random order. Half of them, or as many as
there are, meet the goal by the predicate; the others come from the half of all other states that earned more, so near
misses are among them. Look at the sheet before the key, and name the pictures that show the goal.
"""

import argparse
import json
from pathlib import Path

SIZE, COLUMNS = 200, 6  # pixels a side of a picture; pictures in a row


def chosen_states(path: Path, count: int, generator, play: bool):
    """The goal of a run, f32[n, 24] qpos in random order, and whether each meets the goal."""
    import jax
    import numpy as np
    from visited import read_run

    from envs.humanoid.kinematics import pose_scene
    from envs.humanoid.predicates import holds

    goal, qpos, earned = read_run(path, 4000, generator, play)
    qpos[:, :2] = 0.0
    true = np.asarray(jax.jit(lambda q: holds(goal, pose_scene(q)))(qpos))
    hits = generator.permutation(np.flatnonzero(true))[: count // 2]
    misses = np.flatnonzero(~true)
    misses = generator.permutation(misses[np.argsort(-earned[misses])[: len(misses) // 2]])
    misses = misses[: count - len(hits)]
    rows = generator.permutation(np.concatenate([hits, misses]))
    return goal, qpos[rows], true[rows]


def draw_sheet(qpos, path: Path) -> None:
    """Numbered pictures from the default camera."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from PIL import Image, ImageDraw

    from envs.humanoid.env import Humanoid
    from envs.humanoid.kinematics import pose_scene
    from jaxvlm.render import draw_batch
    from jaxvlm.runtime import tile

    env = Humanoid()
    view = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], env.cameras["default"])
    draw = jax.jit(lambda qpos, assets: draw_batch(env.render, pose_scene(qpos), assets, view, SIZE)[:, 0])
    frames = np.asarray(draw(qpos, env.assets("textured"))).copy()
    for number, frame in enumerate(frames, 1):
        picture = Image.fromarray(frame)
        ImageDraw.Draw(picture).text((6, 4), str(number), fill=(200, 0, 0), font_size=22)
        frames[number - 1] = np.asarray(picture)
    Image.fromarray(tile(frames[None], columns=COLUMNS)[0]).save(path)


def numbers(words: list[str]) -> set[int]:
    """Numbers and ranges such as 7-9."""
    found: set[int] = set()
    for word in words:
        first, _, last = word.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def compare(key: dict, seen: set[int]) -> str:
    """How the eye and the predicate agree, with Cohen's kappa."""
    pairs = [(number in seen, true) for number, true in enumerate(key["true"], 1)]
    both, neither = pairs.count((True, True)), pairs.count((False, False))
    only_eye, only_predicate = pairs.count((True, False)), pairs.count((False, True))
    n = len(pairs)
    agreed = (both + neither) / n
    eye, predicate = (both + only_eye) / n, (both + only_predicate) / n
    chance = eye * predicate + (1 - eye) * (1 - predicate)
    kappa = (agreed - chance) / (1 - chance) if chance < 1 else float("nan")
    return (
        f"{key['goal']}: {both + neither} of {n} alike, kappa {kappa:.2f}; "
        f"the eye alone says yes to {only_eye}, the predicate alone to {only_predicate}"
    )


def main() -> None:
    """Draws sheets, or compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("sheets"))
    parser.add_argument("--count", type=int, default=24, help="pictures of a sheet")
    parser.add_argument(
        "--play", action="store_true", help="states of the best agents, in place of the replay"
    )
    parser.add_argument("--seen", nargs="+", help="name of a run, and the numbers that show its goal")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if bool(options.runs) == bool(options.seen):
        parser.error("give either runs to draw or --seen to compare")
    if options.seen:
        name, *words = options.seen
        file = options.folder / f"{name}.json"
        if not file.exists():
            parser.error(f"{file} does not exist; draw the sheet of {name} first")
        key, seen = json.loads(file.read_text(encoding="utf-8")), numbers(words)
        if outside := sorted(seen - set(range(1, len(key["true"]) + 1))):
            parser.error(f"the sheet of {name} has pictures 1 to {len(key['true'])}, not {outside}")
        print(compare(key, seen))
        return
    if len({path.name for path in options.runs}) < len(options.runs):
        parser.error("two runs have the same name; draw them into different folders")

    import numpy as np

    options.folder.mkdir(parents=True, exist_ok=True)
    for path in options.runs:
        goal, qpos, true = chosen_states(
            path, options.count, np.random.default_rng(options.seed), options.play
        )
        draw_sheet(qpos, options.folder / f"{path.name}.png")
        key = {"goal": goal, "run": str(path), "true": true.tolist()}
        (options.folder / f"{path.name}.json").write_text(json.dumps(key) + "\n", encoding="utf-8")
        print(f"{options.folder / path.name}.png: which of these {len(qpos)} are {goal}?")


if __name__ == "__main__":
    main()
