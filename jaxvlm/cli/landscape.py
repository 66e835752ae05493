"""`jaxvlm landscape TASK`: the paper's figure 2, reward against pole angle or car position."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxvlm.cli.common import Output, find_dataset, find_task, parse, take_task

if TYPE_CHECKING:
    from jaxvlm.clip.captions import CaptionedDataset, Sweep


@dataclass(frozen=True)
class Landscape:
    """Plot the CLIP reward of a task over its state parameter, for several alphas."""

    clip: str = "tiny"
    """CLIP checkpoint: `tiny`, `untrained`, `untrained:DIRECTORY`, a directory or a hub name."""
    clip_size: int = 0
    """Side of the frames in pixels, a multiple of the patch of a ViT; 0 is the checkpoint's own."""
    prompt: tuple[str, ...] = ()
    """Goal prompts; their embeddings are averaged."""
    baseline: tuple[str, ...] = ()
    """Baseline prompts; their embeddings are averaged."""
    alphas: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Strengths of goal-baseline regularisation."""
    look: str = "plain"
    """How the scene is drawn."""
    camera: tuple[str, ...] = ("default",)
    """Views; scores average over them."""
    output: Path = Path("runs/landscapes")
    """Folder for the PNG and the CSV."""


def run(arguments: Sequence[str]) -> None:
    """Draws, scores and plots."""
    name, rest = take_task(
        arguments,
        "landscape",
        "Plot the CLIP reward of a task over its state parameter, for several alphas.",
        "[--clip CHECKPOINT] [--prompt TEXT ...] [...]",
    )
    task = find_task(name)
    default = Landscape(
        prompt=task.goal_prompts, baseline=task.baseline_prompts, look=task.look, camera=task.cameras
    )
    options = parse(Landscape, rest, prog=f"jaxvlm landscape {name}", default=default)

    import jax.numpy as jnp

    from jaxvlm.cli.preflight import goal_of
    from jaxvlm.clip.naming import stem_of
    from jaxvlm.errors import ConfigError
    from jaxvlm.reward.label import encode_scenes, score
    from jaxvlm.reward.similarity import validate_alpha
    from jaxvlm.runtime import enable_compilation_cache
    from jaxvlm.runtime.files import write_atomic
    from jaxvlm.runtime.plots import landscape
    from jaxvlm.vlmrm.build import build_reward, choose_chunk, load_tower, validate_look
    from jaxvlm.vlmrm.config import RewardSettings

    enable_compilation_cache()
    alphas = [validate_alpha(alpha) for alpha in options.alphas]
    if not alphas:
        raise ConfigError("no alpha is given; name at least one, such as --alphas 0 0.5 1")
    dataset = find_dataset(task.domain)
    tower = load_tower(options.clip, task.domain, options.clip_size)
    settings = RewardSettings(
        clip=options.clip,
        prompt=options.prompt,
        baseline=options.baseline,
        alpha=max(alphas),
        look=options.look,
        camera=options.camera,
    )
    validate_look(options.look, task.env)
    params, notes = build_reward(settings, task.env, tower)
    for note in notes:
        print(f"note: {note}")
    directory = Output(options.output).prepare()
    concept = goal_of(dataset, task, options.prompt)
    print(f"goal {concept}" if concept else "no goal is known for this sentence: none is marked")
    sweep, scenes, values, holds = sweep_scenes(dataset, concept)
    embeddings = encode_scenes(
        params,
        scenes,
        encode=tower.encode,
        render=task.env.render,
        size=tower.size,
        chunk=choose_chunk(tower),
    )
    curves = {}
    for alpha in alphas:
        rewards = np.asarray(score(replace(params, alpha=jnp.float32(alpha)), embeddings)).mean(-1)
        curves[alpha] = rewards.reshape(len(sweep.contexts), -1).mean(0)
    goal = values[holds]
    stem = stem_of(task.name, options.clip, tower.size if options.clip_size else 0)
    picture = landscape(
        directory / f"{stem}.png",
        values,
        curves,
        xlabel=sweep.label,
        goal=(float(goal.min()), float(goal.max())) if goal.size else None,
        title=" + ".join(options.prompt),
    )
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerow([sweep.coordinate, *(f"alpha_{alpha:g}" for alpha in alphas)])
    writer.writerows(zip(values.tolist(), *(curve.tolist() for curve in curves.values()), strict=True))
    table = directory / f"{stem}.csv"
    write_atomic(table, rows.getvalue())
    for alpha, curve in curves.items():
        print(
            f"alpha {alpha:<5g} highest at {values[int(curve.argmax())]:.4g}, "
            f"lowest at {values[int(curve.argmin())]:.4g}"
        )
    print(f"picture  {picture}")
    print(f"table    {table}")


def sweep_scenes(
    dataset: "CaptionedDataset", concept: str | None
) -> tuple["Sweep", Any, np.ndarray, np.ndarray]:
    """The line of a goal, scenes along it, every context after the other, the values and where the goal holds.

    A concept that no reward of the domain is made of has the line of the first goal; of None nothing holds.
    """
    import jax
    import jax.numpy as jnp

    sweep = next((goal.sweep for goal in dataset.goals if goal.concept == concept), dataset.sweep)
    values = jnp.asarray(sweep.values, jnp.float32)
    states = [sweep.states(values, context) for context in sweep.contexts]
    stacked = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *states)
    scenes = jax.jit(dataset.scenes)(stacked)
    holds = (
        np.zeros(len(values), bool) if concept is None else jax.jit(dataset.concept(concept).holds)(states[0])
    )
    return sweep, scenes, np.asarray(values), np.asarray(holds)
