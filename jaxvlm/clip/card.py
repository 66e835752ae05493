"""What an embedded CLIP says about itself: its concepts, its figures and a model card."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxvlm.clip.captions import CaptionedDataset
from jaxvlm.clip.figures import GOAL_FIGURES
from jaxvlm.runtime.files import plain

CONCEPTS, FIGURES, CARD = "concepts.json", "figures.json", "README.md"


def write_card(
    output: Path,
    dataset: CaptionedDataset,
    config: Any,
    figures: Mapping[str, Any],
    *,
    command: str | None,
    seconds: float,
    loss: float,
    notes: str = "",
    states: Sequence[tuple[str, str]] = (),
) -> None:
    """Writes `concepts.json`, `figures.json` and the model card into a checkpoint's directory.

    `config` is the dataclass of the training's numbers, `notes` Markdown that is put before the tables, `states` the
    names and SHA-256 of files of further states.
    """
    concepts = {
        "domain": dataset.domain,
        "goal": dataset.concept(dataset.goal).wordings[0],
        "baseline": dataset.concept(dataset.baseline).wordings[0],
        "opposite": dataset.concept(dataset.opposite).wordings[0],
        "goals": [dataset.concept(goal.concept).wordings[0] for goal in dataset.goals],
        "look": dataset.looks[0],
        "cameras": list(dataset.cameras),
        "concepts": {
            concept.name: {"wordings": list(concept.wordings), "held_out": concept.held_out}
            for concept in dataset.concepts
        },
    }
    training = {"config": dataclasses.asdict(config), "final_loss": loss, "looks": figures}
    if states:
        training["states"] = [{"name": name, "sha256": digest} for name, digest in states]
    (output / CONCEPTS).write_text(json.dumps(concepts, indent=1) + "\n")
    (output / FIGURES).write_text(json.dumps(plain(training), indent=1) + "\n")
    (output / CARD).write_text(
        card(dataset, config, figures, command=command, seconds=seconds, notes=notes, states=states)
    )


def card(
    dataset: CaptionedDataset,
    config: Any,
    figures: Mapping[str, Any],
    *,
    command: str | None,
    seconds: float,
    notes: str = "",
    states: Sequence[tuple[str, str]] = (),
) -> str:
    """The model card, Markdown."""
    changed = [
        f"--{field.name.replace('_', '-')} {getattr(config, field.name)}"
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != field.default
    ]
    if dataset.cameras != ("default",):
        changed.append(f"--camera {' '.join(dataset.cameras)}")
    command = command or " ".join(["jaxvlm clip train", dataset.domain, *changed])
    goals, opposites = (
        "\n".join(f"| {use} | {dataset.concept(name).wordings[0]} |" for name in dict.fromkeys(names))
        for use, names in (
            ("goal", [goal.concept for goal in dataset.goals]),
            ("opposite", [goal.opposite for goal in dataset.goals]),
        )
    )
    wordings = sum(len(concept.wordings) for concept in dataset.concepts)
    # Rewards come from one view unless they are told of the others.
    use = "DIRECTORY" + ("" if dataset.cameras == ("default",) else f" --camera {' '.join(dataset.cameras)}")
    parts = [
        f"""---
license: mit
library_name: jaxvlm
tags: [clip, reinforcement-learning, reward-model]
---
# An embedded CLIP that knows {dataset.domain.replace("_", " ")} and nothing else

A tiny model of CLIP's architecture, trained from scratch by jaxvlm on its own synthetic renders, with
captions generated from simulator state. It is **not zero-shot and no substitute for a pretrained CLIP**: it
knows these scenes ({", ".join(dataset.looks)}) and {wordings} sentences about {len(dataset.concepts)}
facts. Its labels use the simulator's state, so what a policy learns from it says nothing about foundation
models. It exists so that the whole program (frame, CLIP, sentence reward, policy) can be run, tested and
timed without a download; load OpenAI's or OpenCLIP's weights for the method of the paper.

## Use
`jaxvlm train ... --clip {use}`, or `transformers.CLIPModel.from_pretrained` on this directory. `concepts.json`
lists the sentences it was trained on; words outside them become `[UNK]` and carry no meaning.

| prompt | |
|---|---|
{goals}
| baseline | {dataset.concept(dataset.baseline).wordings[0]} |
{opposites}

## Training
`{command}`

Seed {config.seed}, {config.steps} steps of {config.batch_size} pictures drawn on the fly at
{config.image_size} x {config.image_size}{_views(dataset)}, {seconds:.0f} s.
Loss `{config.loss}` between every picture and
{config.captions_per_concept} wordings of every fact ({config.prompt_emphasis} times as many of the
prompts' facts), whose graded truth is computed for all pairs. The mean frame is taken off the input; in
this file it is folded into the position embeddings.{_extras(dataset, config, states)}
"""
    ]
    if notes:
        parts.append(notes.strip() + "\n")
    parts.append(
        f"""## Held-out figures
{config.evaluation_states} fresh states from the sampler of the training{_without(dataset, config)}.
It crowds around the goal with near misses. Beside them, an even grid over {_coordinates(dataset)}.
Truth is "log-odds above 0". The EPIC distance to an indicator
has a floor well above 0 for any smooth score, so the distance to the graded truth stands beside it.
"""
    )
    for look, entry in figures.items():
        parts.append(_tables(look, entry))
    return "\n".join(parts)


def _views(dataset: CaptionedDataset) -> str:
    """Which views a state is drawn from, where there are several."""
    count = len(dataset.cameras)
    return f", each state from {count} views ({', '.join(dataset.cameras)})" if count > 1 else ""


def _extras(dataset: CaptionedDataset, config: Any, states: Sequence[tuple[str, str]]) -> str:
    """What training had besides fresh states as they are, each with a line of its own."""
    lines = []
    if dataset.training_sampler is not None:
        lines.append("A share of the states is drawn in training only, see the captions of the domain.")
    lines += [
        f"It has learned from the states of `{name}` (SHA-256 `{digest}`) too." for name, digest in states
    ]
    if config.mine_every:
        lines.append(
            f"Every {config.mine_every} steps a search added states on which the CLIP in training was most wrong."
        )
    if config.slope:
        lines.append(
            f"Beside it, with weight {config.slope:g}, a Huber loss fits the log-odds of the goals themselves, so that "
            "scores far from a goal differ as well."
        )
    if config.augment:
        lines.append(
            f"Light varied between pictures by up to {config.augment:.0%}, and half of them were softened."
        )
    return "".join("\n" + line for line in lines)


def _coordinates(dataset: CaptionedDataset) -> str:
    """What the grids of the goals are over."""
    return ", ".join(dict.fromkeys(goal.sweep.coordinate for goal in dataset.goals))


def _without(dataset: CaptionedDataset, config: Any) -> str:
    training_only = dataset.training_sampler is not None or config.mine_every
    return " (without the states that only training adds)" if training_only else ""


def _tables(look: str, entry: Mapping[str, Any]) -> str:
    lines = [
        f"### {look}",
        "| goal prompt | alpha | AUC | rank correlation | EPIC to the indicator | EPIC to the graded truth |",
        "|---|---|---|---|---|---|",
    ]
    goals = entry.get("goals")
    if goals is None:
        lines += _goal_rows("fresh states", entry["goal"]) + _goal_rows("even grid", entry["goal"]["grid"])
    else:
        for name, goal in goals.items():
            lines += _goal_rows(name, goal)
            if "grid" in goal:
                lines += _goal_rows(f"{name}, even grid", goal["grid"])
        lines += [
            "",
            "Mean score of the states of a goal (row) for the prompt of each (column), in standard deviations:",
            "",
            "| | " + " | ".join(goals) + " |",
            "|---|" + "---|" * len(goals),
        ]
        for name, row in entry["confusion"].items():
            lines.append(f"| {name} | " + " | ".join(f"{row[other]:.2f}" for other in goals) + " |")
    lines += [
        "",
        "| fact | AUC | rank correlation | AUC of wordings, median | worst | held-out wording |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in entry["concepts"].items():
        values = (row[key] for key in ("auc", "rank_correlation", "auc_median", "auc_worst", "auc_held_out"))
        lines.append(f"| {name} | " + " | ".join("-" if v != v else f"{v:.3f}" for v in values) + " |")
    return "\n".join(lines) + "\n"


def _goal_rows(states: str, goal: Mapping[str, Any]) -> list[str]:
    rows = []
    for alpha in goal["auc"]:
        values = " | ".join(f"{goal[name][alpha]:.3f}" for name in GOAL_FIGURES)
        rows.append(f"| {states} | {alpha} | {values} |")
    return rows
