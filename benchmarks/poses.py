"""Draws the poses that the humanoid's predicates are held to: those that meet a goal, and near misses.

python benchmarks/poses.py docs/images/humanoid_poses.png
"""

import argparse
from pathlib import Path

SIZE = 150  # pixels of a picture


def main() -> None:
    """Draws all examples of all goals, a row a goal, with the predicate's verdict on each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--yaw", type=float, default=0.0, help="degrees that every pose is turned by")
    options = parser.parse_args()

    import jax
    import jax.numpy as jnp
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from envs.humanoid.env import Humanoid
    from envs.humanoid.examples import EXAMPLES, example_qpos
    from envs.humanoid.kinematics import pose_scene
    from envs.humanoid.predicates import margin
    from jaxvlm.render import draw_batch

    env = Humanoid()
    assets = env.assets("textured")
    view = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], env.cameras["default"])
    draw = jax.jit(lambda scenes, assets, view: draw_batch(env.render, scenes, assets, view, SIZE)[:, 0])
    columns = max(len(met) + len(missed) for met, missed in EXAMPLES.values())
    figure, axes = plt.subplots(
        len(EXAMPLES), columns, figsize=(1.55 * columns, 1.95 * len(EXAMPLES)), layout="constrained"
    )
    half = 0.5 * np.deg2rad(options.yaw)
    turn = np.array([np.cos(half), 0.0, 0.0, np.sin(half)])
    for row, (goal, (met, missed)) in zip(axes, EXAMPLES.items(), strict=True):
        qpos = np.array(example_qpos(*met, *missed))
        for pose in qpos:
            w, x, y, z = pose[3:7]
            c, s = turn[0], turn[3]
            pose[3:7] = c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w
        scenes = pose_scene(jnp.asarray(qpos))
        frames, margins = np.asarray(draw(scenes, assets, view)), np.asarray(margin(goal, scenes))
        for k, axis in enumerate(row):
            axis.axis("off")
            if k >= len(frames):
                continue
            holds = margins[k] > 0
            assert holds == (k < len(met)), f"{goal}: example {k} is not what it says"
            axis.imshow(frames[k])
            title = (*met, *missed)[k].title
            axis.set_title(
                f"{goal}\n{title}" if k == 0 else f"\n{title}",
                fontsize=6.5,
                color="darkgreen" if holds else "firebrick",
            )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=100)
    print(options.output)


if __name__ == "__main__":
    main()
