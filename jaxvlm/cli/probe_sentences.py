"""The sentences that a probe puts side by side."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxvlm.clip.captions import CaptionedDataset
from jaxvlm.errors import ConfigError

if TYPE_CHECKING:
    from envs.registry import Task
    from jaxvlm.cli.probe import Probe

TRAINED = 3  # wordings of the captions beside the held-out one, where none are given


@dataclass(frozen=True)
class Sentence:
    """One row of a probe."""

    use: Literal["goal", "held-out", "paraphrase", "ensemble", "opposite"]
    prompts: tuple[str, ...]  # their embeddings are averaged

    @property
    def text(self) -> str:
        """As it is shown."""
        if self.use == "ensemble":
            return f"mean of {len(self.prompts)} wordings"
        return " + ".join(self.prompts)


def sentences_of(
    options: "Probe", task: "Task", dataset: CaptionedDataset, concept: str | None
) -> list[Sentence]:
    """The goal's sentence, its paraphrases and their ensemble, and opposite ones, as far as they are asked for.

    Raises:
      ConfigError: no prompt, or a list that is to be filled in and that nothing is known for.
    """
    if not options.prompt:
        if task.goal_prompts:
            raise ConfigError("--prompt is given without a sentence; give one, or leave --prompt out")
        raise ConfigError(
            f"task {task.name!r} has no prompt of its own; say what to probe with --prompt '...'"
        )
    rows = [Sentence("goal", options.prompt)]
    if options.paraphrase is not None:
        wordings = [("paraphrase", text) for text in options.paraphrase]
        if not wordings:
            if concept is None:
                raise ConfigError(
                    f"no other wordings of {' + '.join(options.prompt)!r} are known; give them after --paraphrase"
                )
            known = dataset.concept(concept)
            others = [text for text in known.wordings if text not in options.prompt]
            spread = np.unique(np.linspace(0, len(others) - 1, TRAINED).astype(int))
            wordings = [("held-out", known.held_out), *(("paraphrase", others[k]) for k in spread)]
        rows += [Sentence(use, (text,)) for use, text in wordings]  # pyright: ignore[reportArgumentType]
        rows.append(Sentence("ensemble", (*options.prompt, *(text for _, text in wordings))))
    if options.opposite is not None:
        opposite = options.opposite or task.opposite_prompts
        if not opposite:
            raise ConfigError(f"task {task.name!r} has no opposite prompts; give them after --opposite")
        rows += [Sentence("opposite", (text,)) for text in opposite]
    return rows
