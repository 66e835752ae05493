"""What `jaxvlm probe` and `jaxvlm epic` cost, and why the probe searches the way it does.

    python benchmarks/probe.py speed       # both commands, compilation apart, beside the times they should stay below
    python benchmarks/probe.py search      # the cross-entropy method and a hill climb with as many pictures each
    python benchmarks/probe.py gradients   # whether derivatives of a score agree with its finite differences

`search` starts both from the same poses of the humanoid and lets each score the same number of pictures; the climb is
that of `benchmarks/fooling.py`, from the best of a chain's first poses. Scores are in standard deviations above the
median of random states at the goal. `gradients` takes the derivative of a score by the search's parameters through
kinematics, drawing and CLIP, and correlates it over parameters with central differences of `--width` of a parameter's
scale, at random states.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROBE_SECONDS, EPIC_SECONDS, EPIC_STATES = 60.0, 120.0, 5000
PLATEAU = 1e-9  # a difference below it is none: the score does not feel this parameter


def main() -> None:
    """Runs one of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "search", "gradients"))
    parser.add_argument("--clip", default="tiny")
    parser.add_argument("--goals", nargs="+", help="poses of the humanoid; all eight")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--chains", type=int, default=12, help="of each goal")
    parser.add_argument("--rounds", type=int, default=24, help="of the cross-entropy method")
    parser.add_argument("--states", type=int, default=64, help="at which derivatives are taken")
    parser.add_argument("--width", type=float, nargs="+", default=[0.01, 0.1])
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    figures = {"speed": speed, "search": search, "gradients": gradients}[options.what](options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the two commands, of one sentence and of 5,000 states; fails where one takes too long."""
    command = [sys.executable, "-m", "jaxvlm"]
    with tempfile.TemporaryDirectory() as folder:
        goal = (options.goals or ["kneeling"])[0]
        call = [*command, "probe", f"humanoid-{goal}", "--clip", options.clip, "--output", folder]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
        (written,) = Path(folder).glob("*.json")
        probe = json.loads(written.read_text(encoding="utf-8"))
        call = [*command, "dataset", "make", "sampler:humanoid", "--states", str(EPIC_STATES)]
        subprocess.run([*call, "--name", "states", "--output", folder], check=True, stdout=subprocess.DEVNULL)
        began = time.monotonic()
        call = [*command, "epic", str(Path(folder) / "states"), "--clip", options.clip]
        subprocess.run([*call, "--output", f"{folder}/epic"], check=True, stdout=subprocess.DEVNULL)
        epic = time.monotonic() - began
    searching = probe["seconds"] - probe["seconds_compiling"]
    rows = {
        "probe": {"pictures": probe["pictures"], "seconds": searching, "limit": PROBE_SECONDS},
        "epic": {"states": EPIC_STATES, "seconds": epic, "limit": EPIC_SECONDS},
    }
    for name, row in rows.items():
        verdict = "in time" if row["seconds"] < row["limit"] else "TOO SLOW"
        size = f"{row.get('pictures', row.get('states')):,} {'pictures' if 'pictures' in row else 'states'}"
        print(f"{name:<8}{size:<18}{row['seconds']:>7.1f} s of {row['limit']:.0f}  {verdict}")
    print(
        f"compiling the probe took {probe['seconds_compiling']:.1f} s more; epic's time is that of its process"
    )
    if any(row["seconds"] >= row["limit"] for row in rows.values()):
        sys.exit(1)
    return rows


def search(options: argparse.Namespace) -> dict[str, Any]:
    """How high both searches get and how often what they find is not at the goal."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from envs.captions import captioned_dataset
    from envs.humanoid.kinematics import pose_scene
    from envs.humanoid.predicates import GOALS, holds
    from envs.humanoid.search import climb
    from envs.probing import search_space
    from envs.probing.humanoid import pose_of
    from envs.registry import make_task
    from jaxvlm.reward.label import encode_scenes, score
    from jaxvlm.vlmrm import probe
    from jaxvlm.vlmrm.build import build_reward, choose_chunk, load_tower
    from jaxvlm.vlmrm.config import RewardSettings

    tower, space, settings = (
        load_tower(options.clip, "humanoid"),
        search_space("humanoid"),
        probe.CrossEntropy(),
    )
    env, chunk = make_task("humanoid").env, choose_chunk(tower)
    shape = (options.chains, settings.population)

    @jax.jit
    def scores(reward: Any, scenes: Any) -> jax.Array:
        embeddings = encode_scenes(
            reward, scenes, encode=tower.encode, render=env.render, size=tower.size, chunk=chunk
        )
        return score(reward, embeddings).mean(-1)

    @jax.jit
    def cross_entropy(reward: Any, key: jax.Array, first: jax.Array) -> tuple[jax.Array, jax.Array]:
        def scored(vectors: jax.Array) -> jax.Array:
            return scores(reward, pose_scene(pose_of(vectors.reshape(-1, vectors.shape[-1])))).reshape(shape)

        def step(chains: probe.Chains, key: jax.Array) -> tuple[probe.Chains, None]:
            drawn = probe.draw(key, chains, space.low, space.high, settings)
            return probe.improve(chains, drawn, scored(drawn), space.scale, settings), None

        chains = probe.start(first, scored(first), space.scale)
        chains, _ = jax.lax.scan(step, chains, jax.random.split(key, options.rounds))
        return pose_of(chains.best), chains.score

    @jax.jit
    def hill_climb(reward: Any, key: jax.Array, first: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = probe.start(
            first,
            scores(reward, pose_scene(pose_of(first.reshape(-1, first.shape[-1])))).reshape(shape),
            space.scale,
        )
        rounds = settings.population * options.rounds
        return climb(key, pose_of(start.best), lambda qpos: scores(reward, pose_scene(qpos)), rounds)

    searches = {"cross-entropy": cross_entropy, "hill climb": hill_climb}
    higher: dict[str, list[list[float]]] = {name: [[] for _ in range(options.seeds)] for name in searches}
    fooled = dict.fromkeys(searches, 0)
    goals = options.goals or list(GOALS)
    states = captioned_dataset("humanoid").sample_states(jax.random.key(99), 2000)
    for goal in goals:
        task = make_task(f"humanoid-{goal}")
        reward, _ = build_reward(RewardSettings(prompt=task.goal_prompts, look=task.look), task.env, tower)
        of_states = np.asarray(scores(reward, states.scene))
        true = of_states[np.asarray(holds(goal, states.scene))]
        for seed in range(options.seeds):
            key_first, key_search = jax.random.split(jax.random.key(seed))
            first = jnp.reshape(space.starts(key_first, options.chains * settings.population), (*shape, -1))
            for name, run in searches.items():
                qpos, best = run(reward, key_search, first)
                wrong = ~np.asarray(holds(goal, pose_scene(qpos)))
                above = (np.asarray(best) - np.median(true)) / np.std(true)
                higher[name][seed].append(float(above.mean()))
                fooled[name] += int((wrong & (above > 0)).sum())
        print(f"{goal} searched", file=sys.stderr)
    pictures = settings.population * (options.rounds + 1)
    print(f"{options.chains} chains of {pictures} pictures, {len(goals)} goals, {options.seeds} seeds")
    for name in searches:
        means = [float(np.mean(row)) for row in higher[name]]
        print(
            f"{name:<16}{min(means):.2f} to {max(means):.2f} standard deviations above the median goal state, fooled "
            f"in {fooled[name]} of {options.chains * len(goals) * options.seeds}"
        )
    return {"above": higher, "fooled": fooled, "goals": goals, "pictures": pictures}


def gradients(options: argparse.Namespace) -> dict[str, Any]:
    """Correlation, over parameters, of derivatives and differences: its median over states."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from envs.captions import captioned_dataset
    from envs.probing import search_space
    from envs.registry import make_task
    from jaxvlm.vlmrm.build import build_reward, load_tower
    from jaxvlm.vlmrm.config import RewardSettings

    figures = {}
    for name in ("cartpole", *(f"humanoid-{goal}" for goal in options.goals or ["kneeling", "arms-raised"])):
        task = make_task(name)
        dataset, space = captioned_dataset(task.domain), search_space(task.domain)
        tower = load_tower(options.clip, task.domain)
        reward, _ = build_reward(RewardSettings(prompt=task.goal_prompts, look=task.look), task.env, tower)
        values, slope = _programs(task, dataset, space, tower)
        vectors = space.starts(jax.random.key(1), options.states)
        exact = np.asarray(slope(vectors, reward)) * space.scale
        for width in options.width:
            columns = []
            for parameter, scale in enumerate(space.scale):
                step = jnp.zeros(vectors.shape[1]).at[parameter].set(width * scale)
                change = values(vectors + step, reward) - values(vectors - step, reward)
                columns.append(np.asarray(change) / (2 * width))
            figures[f"{name}, {width:g}"] = _correlation(np.stack(columns, axis=1), exact)
            found = figures[f"{name}, {width:g}"]
            print(f"{name:<24}differences of {width:g} of the scale: correlation {found:.2f}")
    return figures


def _programs(task: Any, dataset: Any, space: Any, tower: Any) -> tuple[Any, Any]:
    """Scores f32[n] of parameter vectors f32[n, d], and their derivatives; of frames that are not rounded to bytes."""
    import jax
    import jax.numpy as jnp

    from jaxvlm.reward.label import score

    config = tower.clip.config
    mean, spread = jnp.asarray(config.image_mean), jnp.asarray(config.image_std)

    def scored(vectors: Any, reward: Any) -> Any:
        scenes = dataset.scenes(space.states(vectors, space.contexts(jax.random.key(0), vectors.shape[0])))
        camera = jax.tree.map(lambda leaf: leaf[0], reward.cameras)
        frames = jax.vmap(lambda scene: task.env.render(scene, reward.assets, camera, tower.size))(scenes)
        embeddings = tower.clip.apply(reward.clip, (frames - mean) / spread, method="encode_image")
        return score(reward, embeddings[:, None]).mean(-1)

    slope = jax.jit(jax.grad(lambda vectors, reward: scored(vectors, reward).sum()))
    return jax.jit(scored), slope


def _correlation(a: Any, b: Any) -> float:
    """Of all numbers of two arrays; a derivative that is not a number counts as none."""
    import numpy as np

    b = np.nan_to_num(b, nan=0.0, posinf=0.0, neginf=0.0)
    if np.ptp(a) < PLATEAU or np.ptp(b) < PLATEAU:
        return float("nan")
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


if __name__ == "__main__":
    main()
