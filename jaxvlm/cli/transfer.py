"""`jaxvlm transfer`: does a new instruction start better from policies that are known? All arms and controls."""

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxvlm.cli.common import import_ours, parse, split_positional
from jaxvlm.errors import ConfigError
from jaxvlm.transfer.experiment import TransferConfig

PRESETS = {
    "default": "every arm, its numbers chosen on validation tasks",
    "paper": "the paper's method summary: 4 known policies, plain weights, nothing chosen",
}


@dataclass(frozen=True)
class Transfer:
    """Learns a bank of policies, aligns it with instructions and fine-tunes every arm's start on held-out tasks."""

    grid: int = 12
    """Cells a side of the room."""
    family: str = "colour"
    """Instructions: colour, shape, adversarial or paraphrase."""
    preset: str = "default"
    """Set of numbers that the other flags start from: default or paper; or an open question with a series of its own:
    library, representation, networks or negative."""
    encoder: str = "minilm"
    """`minilm` takes the vectors that come with the package; a directory, a BERT of sentence-transformers' layout or a
    CLIP's text tower; `clip:NAME`, that of a CLIP of the hub."""
    name: str | None = None
    """Name of the result's directory; the default says what was run."""
    runs_dir: Path = Path("runs/transfer")
    """Folder of the results."""
    config: Annotated[TransferConfig, tyro.conf.arg(name="")] = field(default_factory=TransferConfig)


def defaults(grid: int, preset: str) -> Transfer:
    """Numbers of a preset in a room of `grid` cells a side."""
    from jaxvlm.transfer.questions import QUESTIONS

    if preset not in {**PRESETS, **QUESTIONS}:
        raise ConfigError(
            f"unknown preset {preset!r}; known presets are {', '.join(PRESETS)} and, for the open questions, "
            f"{', '.join(QUESTIONS)}"
        )
    config = TransferConfig()
    # Larger rooms take longer to learn: updates in proportion to the square of the side, as paths and cells grow.
    base = max(40, round(60 * (grid / 12) ** 1.5))
    fine = max(24, round(36 * (grid / 12) ** 1.2))
    config = replace(config, base=replace(config.base, updates=base), fine=replace(config.fine, updates=fine))
    if preset == "paper":
        config = replace(
            config,
            sources=4,
            plain=True,
            tune=False,
            arms=(
                "random",
                "uniform",
                "language-nearest",
                "language",
                "clip-rl",
                "clip-rl-shuffled",
                "oracle",
            ),
        )
    return Transfer(grid=grid, preset=preset, config=config)


def run(arguments: Sequence[str]) -> None:
    """Runs the experiment and writes the report."""
    _, flags, rest = split_positional(["transfer", *arguments], ["--grid", "--preset"])
    try:
        grid = int(flags.get("--grid", "12"))
    except ValueError:
        raise ConfigError(f"--grid is {flags['--grid']!r}; give a whole number of cells") from None
    default = defaults(grid, flags.get("--preset", "default"))
    options = parse(Transfer, rest, prog="jaxvlm transfer", default=default, prefixes=True)

    from jaxvlm.runtime import enable_compilation_cache
    from jaxvlm.transfer.questions import QUESTIONS

    enable_compilation_cache()
    config = options.config
    directory = options.runs_dir / (
        options.name or f"{options.family}-{options.grid}-{config.sources}-{options.preset}"
    )
    if any((directory / name).exists() for name in ("report.md", "answer.md")):
        raise ConfigError(f"{directory} holds a report already; choose another --name")
    started = time.monotonic()

    def tell(what: str, done: int, of: int) -> None:
        print(f"  {time.monotonic() - started:5.0f} s  {what} {done}/{of}", flush=True)

    answer = ask if options.preset in QUESTIONS else compare
    report = answer(options, directory, tell)
    shutil.rmtree(directory / "unfinished", ignore_errors=True)
    print(f"\nreport  {report}  ({time.monotonic() - started:.0f} s)")


def compare(options: Transfer, directory: Path, tell: Any) -> Path:
    """One experiment with all its arms: the report."""
    from jaxvlm.transfer.report import diagnostics_table, table, write_report

    config = options.config
    title = f"{options.family}, {options.grid} x {options.grid}, {config.sources} known policies"
    print(f"{title}: {config.seeds} seeds, arms {', '.join(config.arms)}", flush=True)
    outcome = experiment_of(options, directory, directory / "bank", tell)
    notes = ()
    if diagnosed := diagnostics_table([state.diagnostics for state in outcome.states]):
        explained = (
            "What the alignments did, means over seeds. Spread: variance of known instructions in the shared space, "
            "0 where they collapsed. Follows: rank correlation of a new instruction's similarities to known tasks with "
            "those of the raw sentences, and with how near the goals really are. Finds its policy: share of "
            "instructions most similar to their own policy of all, among the pairs trained on and held-out ones."
        )
        notes = (explained, diagnosed)
    report = write_report(directory, title, outcome.results, config, notes)
    print()
    print(table(outcome.results, config))
    if diagnosed:
        print(f"\n{diagnosed}")
    return report


def ask(options: Transfer, directory: Path, tell: Any) -> Path:
    """An open question: an experiment for each label of its series."""
    from jaxvlm.runtime.files import plain
    from jaxvlm.transfer.questions import (
        find_question,
        negative_figure,
        series_table,
        validate_question,
        variation,
        write_answer,
    )

    question = find_question(options.preset)
    config, results, more = options.config, {}, []
    families = import_ours("envs.gridworld.families")
    usual = defaults(options.grid, options.preset).config
    validate_question(options.preset, config, usual, families.REGIONS * families.WORDINGS)
    title = (
        f"{options.family}, {options.grid} x {options.grid}, {config.seeds} seeds of {config.targets} targets"
    )
    print(f"{question.asks} {title}", flush=True)
    for label in question.series:
        own = replace(options, config=variation(config, question, label))
        # Experiments that differ in other numbers share their banks.
        numbers = plain({name: value for name, value in bank_numbers(own, 0).items() if name != "seed"})
        bank = directory / "bank" / hashlib.sha256(repr(numbers).encode()).hexdigest()[:12]
        if label:
            print(f"{question.axis}: {label}", flush=True)
        outcome = experiment_of(own, directory, bank, tell)
        results[label] = outcome.results
        if options.preset == "negative":
            picture, words = negative_figure(
                directory / "negative.png", outcome.results, nearest_likeness(outcome), title
            )
            more = [words, f"![steps over likeness]({picture.name})"]
    report = write_answer(directory, question, results, config, title, more)
    print()
    print(series_table(question, results, config))
    for words in more[:1]:
        print(f"\n{words}")
    return report


@dataclass(frozen=True)
class Outcome:
    """What is left of an experiment."""

    experiment: Any
    policies: list[Any]  # of all tasks, by seed
    states: list[Any]
    results: Any


def experiment_of(options: Transfer, directory: Path, bank: Path, tell: Any) -> Outcome:
    """Banks, alignments, choices and fine-tuning; what was finished by an earlier try is read."""
    from jaxvlm.transfer.experiment import Experiment, choose, prepare_seed, run_experiment

    config = options.config
    print("compiling ...", flush=True)
    worlds, env, ppo, evaluate = make_worlds(options)
    what = repr((options.family, options.grid, options.encoder, config))
    store = directory / "unfinished" / hashlib.sha256(what.encode()).hexdigest()[:12]
    experiment = Experiment(config, env, ppo, evaluate, worlds, tell, store)
    states, policies = [], []
    for seed in range(config.seeds):
        policies.append(bank_of(experiment, seed, bank / str(seed), options))
        states.append(prepare_seed(experiment, seed, policies[seed]))
        tell("bank and alignment of seed", seed + 1, config.seeds)
    choices = choose(experiment, states)
    return Outcome(experiment, policies, states, run_experiment(experiment, states, choices))


def nearest_likeness(outcome: Outcome) -> Any:
    """How the policy of the most similar sentence behaves beside one that learned the target, f64[seeds, targets]."""
    import numpy as np

    rows = []
    for seed, state in enumerate(outcome.states):
        split = state.split
        behaviour = np.asarray(outcome.experiment.behaviour(seed, outcome.policies[seed]), np.float64)
        behaviour -= behaviour[split.sources].mean(0)
        behaviour /= np.linalg.norm(behaviour, axis=1, keepdims=True)
        chosen = split.sources[outcome.results["language-nearest"].similarity[seed].argmax(1)]
        rows.append((behaviour[split.targets] * behaviour[chosen]).sum(1))
    return np.stack(rows)


def bank_numbers(options: Transfer, seed: int) -> dict[str, Any]:
    """What a bank is made with."""
    config = options.config
    return {
        "family": options.family, "grid": options.grid, "seed": config.seed + seed, "base": config.base,
        "initialisation": config.initialisation, "retries": config.retries, "learned": config.learned,
    }  # fmt: skip


def bank_of(experiment: Any, seed: int, folder: Path, options: Transfer) -> Any:
    """Policies of all tasks of a seed: read where an earlier try left them, else learned and kept.

    Raises `ConfigError` where what lies there was made with other numbers.
    """
    import jax
    import numpy as np

    from jaxvlm.runtime.files import plain
    from jaxvlm.transfer.bank import Bank, load_bank, save_bank

    config, world = options.config, experiment.worlds[seed]
    numbers = plain(bank_numbers(options, seed))
    if (folder / "bank.json").exists():
        bank = load_bank(folder, lambda: experiment.fresh(seed))
        if dict(bank.made_with) != numbers:
            raise ConfigError(
                f"{folder} holds a bank that was made with other numbers; choose another --name"
            )
        return bank.params
    learned = experiment.train_bank(seed)
    value = np.asarray(learned.value[:, -1])
    bank = Bank(
        instructions=world.instructions,
        embeddings=world.embeddings,
        params=jax.device_get(learned.params),
        value=value,
        best=world.best,
        encoder=options.encoder,
        made_with=numbers,
    )
    save_bank(folder, bank)
    share = value / world.best
    if share.min() < config.learned:
        slow = bank.instructions[int(share.argmin())]
        print(
            f"note: {slow!r} has learned {share.min():.0%} of the best return; raise --base.updates",
            flush=True,
        )
    return bank.params


def make_worlds(options: Transfer) -> tuple[list[Any], Any, Any, Any]:
    """Worlds of all seeds, the environment with its time limit, the learner and the exact evaluation."""
    import jax
    import numpy as np

    from jaxvlm.transfer.experiment import World
    from jaxvlm.transfer.learning import make_learner

    families = import_ours("envs.gridworld.families")
    oracle = import_ours("envs.gridworld.oracle")
    config, discount = options.config, options.config.base.discount
    made = [families.make_family(options.family, options.grid, config.seed + k) for k in range(config.seeds)]
    horizon = made[0].horizon
    env = import_ours("envs.wrappers").TimeLimit(made[0].env, horizon)
    ppo = make_learner(config.base, env, jax.tree.map(lambda leaf: leaf[0], made[0].params))

    @jax.jit
    def tables(params: Any) -> tuple[Any, jax.Array]:
        table = jax.vmap(lambda one: oracle.table_of_places(made[0].env, one))(params)
        best = jax.vmap(
            lambda one: oracle.expected_return(one, oracle.optimal_values(one, discount, horizon)[0])
        )(table)
        return table.replace(states=None), best

    def evaluate(policy: Any, table: Any) -> jax.Array:
        probabilities = policy(table.observation)
        return oracle.expected_return(table, oracle.policy_values(table, probabilities, discount, horizon))

    embed = families.cached_embeddings
    if options.encoder != "minilm":
        from jaxvlm.transfer.encoders import load_encoder

        embed, unknown_words = load_encoder(options.encoder)
        unknown = sorted({word for text in made[0].instructions for word in unknown_words(text)})
        if unknown:
            print(f"note: {options.encoder} has no token for {', '.join(map(repr, unknown))}", flush=True)
    worlds = []
    for k, family in enumerate(made):
        table, best = tables(family.params)
        embeddings = embed(family.instructions)
        steps = np.abs(family.goal[:, None] - family.goal[None]).sum(-1)
        chosen = np.random.default_rng(config.seed + k).choice(
            options.grid**2, min(config.probes, options.grid**2), replace=False
        )
        worlds.append(
            World(
                params=family.params,
                instructions=family.instructions,
                embeddings=embeddings,
                evaluation=table,
                best=np.asarray(best),
                nearness=(-steps / options.grid).astype(np.float32),
                probes=table.observation[0][chosen],
            )
        )
    return worlds, env, ppo, evaluate
