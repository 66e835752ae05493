"""`jaxvlm clip check TASK`: can this checkpoint and this sentence work, before anyone trains for hours?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvlm.cli.common import (
    Output,
    find_dataset,
    find_task,
    parse,
    take_task,
    validate_draw,
)


@dataclass(frozen=True)
class ClipCheck:
    """Does a checkpoint rank the frames of a task the way its sentence says?"""

    clip: str = "tiny"
    """CLIP checkpoint: `tiny`, `untrained`, `untrained:DIRECTORY`, a directory or a hub name."""
    clip_size: int = 0
    """Side of the frames in pixels, a multiple of the patch of a ViT; 0 is the checkpoint's own."""
    prompt: tuple[str, ...] = ()
    """Goal prompts; their embeddings are averaged."""
    baseline: tuple[str, ...] = ()
    """Baseline prompts; their embeddings are averaged."""
    opposite: tuple[str, ...] = ()
    """Prompts of what should score lowest."""
    alpha: float = 0.5
    """Strength of regularisation in the goal-baseline row."""
    look: str = "plain"
    """How the scene is drawn."""
    camera: tuple[str, ...] = ("default",)
    """Views; scores average over them."""
    states: int = 1000
    """Random states to score."""
    seed: int = 0
    """Seed that the states are drawn with."""
    output: Path = Path("runs/clip-check")
    """Folder for the PNG and the JSON."""


def run(arguments: Sequence[str]) -> None:
    """Scores random states by each prompt, compares with the ground truth and plots."""
    name, rest = take_task(
        arguments,
        "clip check",
        "Does a checkpoint rank the frames of a task the way its sentence says?",
        "[--clip CHECKPOINT] [--prompt TEXT ...] [...]",
    )
    task = find_task(name)
    default = ClipCheck(
        prompt=task.goal_prompts,
        baseline=task.baseline_prompts,
        opposite=task.opposite_prompts,
        look=task.look,
        camera=task.cameras,
    )
    options = parse(ClipCheck, rest, prog=f"jaxvlm clip check {name}", default=default)

    import jax
    import jax.numpy as jnp

    from jaxvlm.cli.landscape import sweep_scenes
    from jaxvlm.cli.preflight import goal_of
    from jaxvlm.clip.naming import stem_of
    from jaxvlm.errors import ConfigError
    from jaxvlm.names import plain_name
    from jaxvlm.reward import auc, spearman
    from jaxvlm.reward.label import encode_scenes, score
    from jaxvlm.reward.similarity import validate_alpha
    from jaxvlm.runtime import enable_compilation_cache
    from jaxvlm.runtime.files import write_json
    from jaxvlm.runtime.plots import scores as plot_scores
    from jaxvlm.vlmrm.build import build_reward, choose_chunk, load_tower, validate_look
    from jaxvlm.vlmrm.config import RewardSettings

    enable_compilation_cache()
    validate_draw(options.states, options.seed)
    validate_alpha(options.alpha)
    validate_look(options.look, task.env)
    if not options.prompt:
        raise ConfigError("there is no goal prompt; say what to check with --prompt '...'")
    dataset = find_dataset(task.domain)
    concept = goal_of(dataset, task, options.prompt)
    if concept is None:
        sentence = " + ".join(map(repr, options.prompt))
        raise ConfigError(
            f"no goal of {task.name} is known for {sentence}, so nothing says which states should score high; "
            "`jaxvlm probe` shows those that do"
        )
    tower = load_tower(options.clip, task.domain, options.clip_size)
    rows: dict[str, RewardSettings] = {}
    for use, prompts in (
        ("goal", options.prompt),
        ("baseline", options.baseline),
        ("opposite", () if set(options.opposite) == set(options.prompt) else options.opposite),
    ):
        if prompts:
            rows[use] = RewardSettings(prompt=prompts, look=options.look, camera=options.camera)
    if options.baseline and options.alpha > 0:
        rows[f"goal-baseline, alpha {options.alpha:g}"] = RewardSettings(
            prompt=options.prompt,
            baseline=options.baseline,
            alpha=options.alpha,
            look=options.look,
            camera=options.camera,
        )
    rewards_of = {}
    for use, settings in rows.items():
        rewards_of[use], notes = build_reward(settings, task.env, tower)
        for note in notes:
            print(f"note: {note}")
    directory = Output(options.output).prepare()

    # Each as one program: operation by operation they are hundreds, each to be compiled.
    states = jax.jit(dataset.sample_states, static_argnums=1)(jax.random.key(options.seed), options.states)
    graded = np.asarray(jax.jit(dataset.concept(concept).log_odds)(states), np.float64)
    holds = graded > 0
    scenes = jax.jit(dataset.scenes)(states)
    sweep, line, values, line_holds = sweep_scenes(dataset, concept)
    embeddings = encode_scenes(
        rewards_of["goal"],
        jax.tree.map(lambda a, b: jnp.concatenate([a, b]), scenes, line),
        encode=tower.encode,
        render=task.env.render,
        size=tower.size,
        chunk=choose_chunk(tower),
    )
    figures, curves = {}, {}
    for use, settings in rows.items():
        rewards = np.asarray(score(rewards_of[use], embeddings), np.float64).mean(-1)
        figures[use] = {
            "prompt": list(settings.prompt),
            "auc": auc(rewards[: options.states], holds),
            "rank_correlation": spearman(rewards[: options.states], graded),
        }
        curves[f"{use}: {' + '.join(settings.prompt)}"] = rewards[options.states :]

    print(
        f"{task.name} with CLIP {options.clip}, {options.states} random states, {holds.mean():.1%} of them at the goal "
        f"{concept}"
    )
    print(f"{'':<28}{'AUC':>8}{'rank correlation':>20}   prompt")
    for use, row in figures.items():
        print(f"{use:<28}{row['auc']:>8.3f}{row['rank_correlation']:>20.3f}   {' + '.join(row['prompt'])}")
    print(verdict(figures))
    others = [text for text in (*task.goal_prompts, *task.then_prompts) if text not in options.prompt]
    if task.starts and others:
        print(f"note: check the other phases on their own, with --prompt {' or '.join(map(repr, others))}")
    stem = stem_of(task.name, options.clip, tower.size if options.clip_size else 0)
    result = {
        "task": task.name,
        "goal": concept,
        "clip": options.clip,
        "size": tower.size,
        "look": options.look,
        "states": options.states,
        "rows": figures,
    }
    write_json(directory / f"{stem}.json", result)
    repeats = len(sweep.contexts)
    picture = plot_scores(
        directory / f"{stem}.png",
        np.tile(values, repeats),
        curves,
        np.tile(line_holds, repeats),
        xlabel=sweep.label,
        title=f"{plain_name(task.name)}, CLIP {options.clip}",
    )
    print(f"figures  {directory / f'{stem}.json'}")
    print(f"picture  {picture}")


def verdict(figures: dict[str, dict]) -> str:
    """One sentence on whether training can be expected to work."""
    goal = figures["goal"]
    opposite = figures.get("opposite")
    if not np.isfinite(goal["auc"]):
        return "no random state is at the goal: raise --states"
    if goal["auc"] < 0.6:
        return (
            f"this sentence does not tell goal frames from others (AUC {goal['auc']:.2f}, chance is 0.5): "
            "training on it is unlikely to work"
        )
    if opposite and opposite["auc"] >= goal["auc"]:
        return (
            f"the opposite sentence ranks goal frames as high (AUC {opposite['auc']:.2f}) as the goal sentence does "
            f"({goal['auc']:.2f}): this checkpoint does not read the difference, so do not trust its reward"
        )
    if goal["auc"] < 0.9 or goal["rank_correlation"] < 0.3:
        return "the sentence points the right way, but not clearly: look at the plot before training"
    return "the sentence ranks goal frames highest: training can work"
