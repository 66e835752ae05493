"""`jaxvlm probe TASK`: what does this reward want? The states that a sentence likes best, before any training."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxvlm.cli.common import (
    Output,
    find_dataset,
    find_task,
    import_ours,
    parse,
    take_task,
)

SUMMARY = "What does this reward want? Searches the states that a sentence likes best, before any training."


@dataclass(frozen=True)
class Probe:
    """What does this reward want? Searches the states that a sentence likes best, before any training."""

    clip: str = "tiny"
    """CLIP checkpoint: `tiny`, `untrained`, `untrained:DIRECTORY`, a directory or a hub name."""
    clip_size: int = 0
    """Side of the frames in pixels, a multiple of the patch of a ViT; 0 is the checkpoint's own."""
    prompt: tuple[str, ...] = ()
    """Goal prompts; their embeddings are averaged."""
    baseline: tuple[str, ...] = ()
    """Baseline prompts; their embeddings are averaged."""
    negative: tuple[str, ...] = ()
    """Prompts of what is not the goal: the reward is the softmax probability of the goal among them."""
    alpha: float = 0.0
    """Strength of goal-baseline regularisation, 0 to 1."""
    paraphrase: tuple[str, ...] | None = None
    """Other wordings, each searched on its own, and their ensemble; with nothing after it, those of the captions."""
    opposite: tuple[str, ...] | None = None
    """Sentences whose best states should not be at the goal; with nothing after it, the task's own."""
    look: str = "plain"
    """How the scene is drawn."""
    camera: tuple[str, ...] = ("default",)
    """Views; scores average over them."""
    chains: int = 12
    """Searches of each sentence, side by side from states of their own."""
    population: int = 32
    """Pictures that a chain scores in a round."""
    rounds: int = 24
    """Rounds of draws."""
    states: int = 1000
    """Random states that sentences are compared on."""
    hold: bool = True
    """Lets the physics have half a second with what is found, where that is cheap (humanoid)."""
    seed: int = 0
    """Seed of states and search."""
    output: Path = Path("runs/probe")
    """Folder for the pictures and the JSON."""


def run(arguments: Sequence[str]) -> None:
    """Searches, judges, prints and draws."""
    flags = "[--prompt TEXT ...] [--clip CHECKPOINT] [--camera NAME ...] [...]"
    name, rest = take_task(arguments, "probe", SUMMARY, flags)
    task = find_task(name)
    default = Probe(
        prompt=task.goal_prompts, baseline=task.baseline_prompts, look=task.look, camera=task.cameras
    )
    options = parse(Probe, rest, prog=f"jaxvlm probe {name}", default=default)

    from jaxvlm.cli.preflight import goal_of
    from jaxvlm.cli.probe_report import describe_row, print_table
    from jaxvlm.cli.probe_search import Prober, validate_options
    from jaxvlm.cli.probe_sentences import sentences_of
    from jaxvlm.cli.probe_sheet import save_sentences, save_sheet
    from jaxvlm.clip.naming import stem_of
    from jaxvlm.runtime import enable_compilation_cache
    from jaxvlm.runtime.files import write_json
    from jaxvlm.vlmrm.build import load_tower

    enable_compilation_cache()
    validate_options(options, task)
    space = import_ours("envs.probing").search_space(task.domain)
    directory = Output(options.output).prepare()
    dataset = find_dataset(task.domain)
    concept = goal_of(dataset, task, options.prompt)
    sentences = sentences_of(options, task, dataset, concept)
    tower = load_tower(options.clip, task.domain, options.clip_size)
    prober = Prober(options, task, dataset, space, tower, concept, sentences)
    for note in prober.notes:
        print(f"note: {note}")
    goal = f"goal {concept}" if concept else "no goal is known for this sentence: pictures only"
    print(f"{task.name} with CLIP {options.clip}, {goal}")
    began = time.monotonic()
    found = prober.search()
    took = time.monotonic() - began
    print(
        f"searched in {took:.0f}s, {prober.compiled:.0f}s of it compilation: {options.chains} chains a sentence, "
        f"{prober.pictures:,} pictures"
    )
    if concept and not prober.truth.any():
        print(
            f"note: none of {options.states} random states is at the goal: raise --states to compare scores"
        )
    print_table(found)
    for row in found:
        print(describe_row(row, many=len(found) > 1))
    if space.free:
        print(f"note: {space.free}")

    stem = stem_of(task.name, options.clip, tower.size if options.clip_size else 0)
    result = {
        "task": task.name,
        "concept": concept,
        "options": replace(options, output=str(options.output)),
        "size": tower.size,
        "pictures": prober.pictures,
        "seconds": took,
        "seconds_compiling": prober.compiled,
        "parameters": space.names,
        "sentences": found,
        "rank_correlations": prober.correlations,
    }
    write_json(directory / f"{stem}.json", result)
    sheet = save_sheet(directory / f"{stem}.png", prober, found)
    print(f"figures  {directory / f'{stem}.json'}")
    print(f"picture  {sheet}")
    if len(found) > 1:
        figure = save_sentences(directory / f"{stem}-sentences.png", prober, found)
        print(f"picture  {figure}")
