"""States that agents of the humanoid visited in training: how well a CLIP ranks them, and material to train one on.

    python benchmarks/visited.py runs/A runs/B                             # AUC on each run's own goal
    python benchmarks/visited.py runs/A --clip PATH                        # another checkpoint than the embedded one
    python benchmarks/visited.py runs/A runs/B --save envs/humanoid/visited.npz --keep 3000
    python benchmarks/visited.py runs/A --play                             # what its best agents do now
    python benchmarks/visited.py runs/A --play --agents 2 3                # those of the third and fourth seed

States are drawn uniformly from what the replay buffer of a run's newest checkpoint still holds, or with `--play` from
episodes of its best agents, every seed's, whose actions are sampled. An observation has no place on the floor, so one
is drawn. `--save` keeps, of every run, `--states` poses, half drawn uniformly, half from the
tenth that its agents were rewarded most for, and `--keep` of the poses that the file holds already.
"""

import argparse
from pathlib import Path

PLACE = 0.25  # m, standard deviation
EPISODES, LENGTH = (
    24,
    101,
)  # of a seed that is played; the last row resets and shows what the last action led to


def read_run(path: Path, count: int, generator, play: bool = False, agents: list[int] | None = None):
    """The goal of a run, `count` qpos of its agents, f32[count, 24], and the rewards for being there.

    `agents` are the places of the seeds that count; None takes all.
    """
    import numpy as np

    from envs.registry import make_task
    from jaxvlm.runtime import Run
    from jaxvlm.vlmrm.build import build
    from jaxvlm.vlmrm.config import TrainConfig

    run = Run.open(path)
    config = TrainConfig.from_dict({name: value for name, value in run.config.items() if name != "sinks"})
    task = make_task(config.task, config.variant)
    built = build(config, task.env, task.params, domain=task.domain, holds_buffer=not play)
    observation, reward, valid = (played if play else replayed)(run, built)
    chosen = list(range(len(observation))) if agents is None else agents
    if not set(chosen) <= set(range(len(observation))):
        raise SystemExit(f"{path} has agents 0 to {len(observation) - 1}; --agents names {agents}")
    observation, reward, valid = observation[chosen], reward[chosen], valid[chosen]
    flat = observation[..., :22].reshape(-1, 22)
    valid, reward = valid.reshape(-1), reward.reshape(-1)
    rows = generator.choice(np.flatnonzero(valid), count, replace=False)
    place = PLACE * generator.standard_normal((count, 2))
    qpos = np.concatenate([place, flat[rows]], axis=1).astype(np.float32)
    return config.task.removeprefix("humanoid-"), qpos, reward[rows]


def replayed(run, built):
    """What the replay buffer holds: observations, the rewards for them, and whether they count."""
    import numpy as np

    from jaxvlm.vlmrm.train import abstract_state

    state, _ = run.checkpoints.restore(abstract_state(built))
    # A row's reward is for the state that its action led to, which is in the slot after it.
    data, size = state.buffer.data, int(state.buffer.size)
    slots = data.reward.shape[1]
    taken = (int(state.buffer.cursor) - size + np.arange(size)) % slots
    reward, valid = (np.asarray(leaf)[:, taken] for leaf in (data.reward, data.valid))
    return np.asarray(data.observation)[:, (taken + 1) % slots], reward, valid


def played(run, built):
    """The same of `EPISODES` episodes of each seed's best agent."""
    import jax
    import numpy as np

    from jaxvlm.rl import MINING, play_episodes
    from jaxvlm.vlmrm.policies import best_agent
    from jaxvlm.vlmrm.train import seeds_of

    program = built.program
    agent = best_agent(run, built)

    @jax.jit
    def play(inputs, agent, seeds):
        rows, _ = play_episodes(
            program.env,
            inputs.env_params,
            program.agent.act,
            agent,
            seeds,
            step=program.config.steps,
            deterministic=False,
            episodes=EPISODES,
            length=LENGTH,
            stream=MINING,
        )
        return rows.observation, program.label_stage(inputs, rows), rows.valid

    observation, reward, valid = (np.asarray(leaf) for leaf in play(built.inputs, agent, seeds_of(built)))
    return observation[:, 1:], reward[:, :-1], valid[:, :-1]


def main() -> None:
    """Reads runs, measures, saves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--clip", default="tiny")
    parser.add_argument("--camera", nargs="+", default=["default"], help="views that rewards average over")
    parser.add_argument(
        "--play", action="store_true", help="let the best agents play, in place of the replay"
    )
    parser.add_argument("--agents", nargs="+", type=int, help="of each run, by place; the default is all")
    parser.add_argument("--count", type=int, default=4000, help="states of each run")
    parser.add_argument("--save", type=Path, help="write states to train on here")
    parser.add_argument("--states", type=int, default=800, help="of each run, to save")
    parser.add_argument("--keep", type=int, default=0, help="of the poses that are in the file already")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.keep and not (options.save and options.save.exists()):
        parser.error(f"--keep {options.keep} keeps poses of an existing --save file, and there is none")
    if options.save and options.states // 2 > options.count // 10:
        parser.error(f"{options.states} states need --count {5 * options.states} to choose the best from")

    import jax
    import numpy as np

    from envs.humanoid.kinematics import pose_scene
    from envs.humanoid.predicates import GOALS, holds
    from envs.registry import make_task
    from jaxvlm.reward import auc
    from jaxvlm.reward.label import encode_scenes, score
    from jaxvlm.runtime import enable_compilation_cache
    from jaxvlm.vlmrm.build import build_reward, choose_chunk, load_tower
    from jaxvlm.vlmrm.config import RewardSettings

    enable_compilation_cache()
    tower, generator, kept = load_tower(options.clip, "humanoid"), np.random.default_rng(options.seed), []
    tasks = {goal: make_task(f"humanoid-{goal}") for goal in GOALS}
    rewards = {
        goal: build_reward(
            RewardSettings(prompt=task.goal_prompts, look=task.look, camera=tuple(options.camera)),
            task.env,
            tower,
        )[0]
        for goal, task in tasks.items()
    }
    render, chunk = tasks[GOALS[0]].env.render, choose_chunk(tower)

    @jax.jit
    def judge(rewards, qpos):
        """Score and truth of every goal, all of the same pictures."""
        scenes = pose_scene(qpos)
        embeddings = encode_scenes(
            rewards[GOALS[0]], scenes, encode=tower.encode, render=render, size=tower.size, chunk=chunk
        )
        return {goal: (score(rewards[goal], embeddings).mean(-1), holds(goal, scenes)) for goal in GOALS}

    print(f"CLIP {options.clip}, {options.count} states of each run")
    print(f"{'run':<28}{'goal':<16}{'true':>8}{'AUC':>8}   AUC of all goals")
    for path in options.runs:
        own, qpos, earned = read_run(path, options.count, generator, options.play, options.agents)
        figures, truth = {}, None
        for goal, (value, true) in judge(rewards, qpos).items():
            value, true = np.asarray(value), np.asarray(true)
            figures[goal] = auc(value, true) if 10 <= true.sum() <= len(true) - 10 else float("nan")
            if goal == own:
                truth = true
        share = float("nan") if truth is None else truth.mean()
        others = " ".join(f"{goal} {value:.3f}" for goal, value in figures.items() if value == value)
        print(f"{path.name:<28}{own:<16}{share:>8.1%}{figures.get(own, float('nan')):>8.3f}   {others}")
        if options.save:
            first = generator.choice(options.count, options.states, replace=False)
            best = np.argsort(earned)[-options.count // 10 :]
            first[: options.states // 2] = generator.choice(best, options.states // 2, replace=False)
            kept.append(qpos[first])
    if options.save:
        if options.keep:
            with np.load(options.save) as arrays:
                kept.append(generator.permutation(np.unique(arrays["qpos"], axis=0))[: options.keep])
        np.savez_compressed(options.save, qpos=np.concatenate(kept).astype(np.float16))
        print(f"{sum(map(len, kept))} states in {options.save}")


if __name__ == "__main__":
    main()
