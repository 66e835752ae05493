"""How often a pose search without physics finds what scores like a goal and is none: can the humanoid's CLIP be fooled?

    python benchmarks/fooling.py                                   # the embedded CLIP, the fixed search
    python benchmarks/fooling.py --clip PATH --picture fooled.png  # another checkpoint, and what fooled it
    python benchmarks/fooling.py --seed 1000 --mine found.npz      # poses to train on; any seed but the fixed one

The search is fixed: for each of the eight goals 24 chains start at fresh poses of the captions' sampler (seed 7);
30 times each proposes a change of joints and of the torso's orientation, puts the body back on the floor, and keeps it
if the reward rises. A chain is fooled if its last reward is above the median of those of 2,000 held-out states for
which the predicate holds, and the predicate does not hold. `--rounds` searches longer, for a harder test beside the
fixed one.
"""

import argparse
import json
from pathlib import Path

SEED, CHAINS, ROUNDS, HELD_OUT = 7, 24, 30, 2000


def main() -> None:
    """Searches, counts and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", default="tiny")
    parser.add_argument("--camera", nargs="+", default=["default"], help="views that rewards average over")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--chains", type=int, default=CHAINS, help="of each goal")
    parser.add_argument("--mine", type=Path, help="save the last poses of all chains here, for training")
    parser.add_argument("--picture", type=Path, help="draw the poses that fooled it")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.mine and options.seed == SEED:
        parser.error(f"seed {SEED} is the test; mine with another --seed")

    import jax
    import jax.numpy as jnp
    import numpy as np

    from envs.captions import captioned_dataset
    from envs.humanoid.kinematics import pose_scene
    from envs.humanoid.poses import make_library, sample_qpos
    from envs.humanoid.predicates import GOALS, holds
    from envs.humanoid.search import climb
    from envs.registry import make_task
    from jaxvlm.reward.label import encode_scenes, score
    from jaxvlm.vlmrm.build import build_reward, choose_chunk, load_tower
    from jaxvlm.vlmrm.config import RewardSettings

    tower = load_tower(options.clip, "humanoid")
    tasks = [make_task(f"humanoid-{goal}") for goal in GOALS]
    env = tasks[0].env
    rewards = [
        build_reward(
            RewardSettings(prompt=t.goal_prompts, look=t.look, camera=tuple(options.camera)), env, tower
        )[0]
        for t in tasks
    ]
    chunk = choose_chunk(tower)

    @jax.jit
    def scores(rewards, scenes):
        """f32[goals, n]: all goals score the same pictures."""
        embeddings = encode_scenes(
            rewards[0], scenes, encode=tower.encode, render=env.render, size=tower.size, chunk=chunk
        )
        return jnp.stack([score(reward, embeddings).mean(-1) for reward in rewards])

    key_true, key_start, key_search = jax.random.split(jax.random.key(options.seed), 3)
    states = captioned_dataset("humanoid").sample_states(key_true, HELD_OUT)
    truth = np.stack([np.asarray(holds(goal, states.scene)) for goal in GOALS])
    of_states = np.asarray(scores(rewards, states.scene))
    medians = np.array([np.median(of_states[k][truth[k]]) for k in range(len(GOALS))])

    owner = np.repeat(np.arange(len(GOALS)), options.chains)
    rows = jnp.arange(len(owner))

    @jax.jit
    def search(rewards, qpos):
        def own(qpos):
            return scores(rewards, pose_scene(qpos))[owner, rows]

        return climb(key_search, qpos, own, options.rounds)

    start = sample_qpos(key_start, len(owner), make_library())
    qpos, best = search(rewards, start)
    scenes = pose_scene(qpos)
    verdict = np.stack([np.asarray(holds(goal, scenes)) for goal in GOALS])[owner, np.arange(len(owner))]
    above = np.asarray(best) > medians[owner]
    fooled = above & ~verdict
    print(
        f"CLIP {options.clip}, seed {options.seed}, {options.chains} chains a goal, {options.rounds} rounds"
    )
    print(f"{'goal':<16}{'fooled':>8}{'true, above':>14}{'true, below':>14}{'neither':>10}")
    figures = {}
    for k, goal in enumerate(GOALS):
        mine = owner == k
        counts = {
            "fooled": int((fooled & mine).sum()),
            "true_above": int((above & verdict & mine).sum()),
            "true_below": int((~above & verdict & mine).sum()),
            "neither": int((~above & ~verdict & mine).sum()),
        }
        figures[goal] = counts
        print(
            f"{goal:<16}"
            + "".join(f"{n:>{w}}" for n, w in zip(counts.values(), (8, 14, 14, 10), strict=True))
        )
    print(f"fooled in all: {int(fooled.sum())} of {len(owner)}")
    if options.json:
        options.json.write_text(json.dumps({"clip": options.clip, "goals": figures}, indent=1) + "\n")
    if options.mine:
        np.savez_compressed(options.mine, qpos=np.asarray(qpos, np.float32), fooled=fooled, goal=owner)
    if options.picture and fooled.any():
        from PIL import Image

        from jaxvlm.render import draw_batch
        from jaxvlm.runtime import tile

        view = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], env.cameras["default"])
        chosen = jax.tree.map(lambda leaf: leaf[np.flatnonzero(fooled)[:64]], scenes)
        draw = jax.jit(lambda scenes, assets: draw_batch(env.render, scenes, assets, view, 160)[:, 0])
        frames = np.asarray(draw(chosen, rewards[0].assets))
        Image.fromarray(tile(frames[None], columns=8)[0]).save(options.picture)
        print("pictured, row by row: " + ", ".join(GOALS[k] for k in owner[fooled][:64]))


if __name__ == "__main__":
    main()
