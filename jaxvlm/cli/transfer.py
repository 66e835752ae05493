"""`jaxvlm transfer`: does a new instruction start better from policies that are known? All arms and controls."""

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxvlm.cli.common import Output, import_ours, parse, split_positional
from jaxvlm.cli.transfer_worlds import families, make_setting
from jaxvlm.errors import ConfigError
from jaxvlm.transfer.config import TransferConfig
from jaxvlm.transfer.learners import ALGORITHMS, LearnConfig

PRESETS = {
    "default": "every arm, its numbers chosen on validation tasks",
    "paper": "the paper's method summary: 4 known policies, plain weights, nothing chosen",
    "continuous": "a CartPole with a continuous force and SAC: where to hold the cart",
}

# SAC makes a gradient step for two environment steps, each as dear as a hundred of them, so fewer runs are compared.
# A threshold below the rooms': the measure is a regulator that knows the physics.
_SAC = LearnConfig(
    num_envs=8,
    updates=60,
    gradient_steps=64,
    activation="relu",
    entropy_coefficient=0.1,
    tau=0.02,
)
CARTS = TransferConfig(
    algorithm="sac", seeds=3, validation=3, targets=6, threshold=0.8, learned=0.75, retries=1, base=_SAC,
    fine=replace(_SAC, updates=24), temperatures=(0.03, 0.1, 0.3), actor_scales=(0.6, 1.0),
    arms=("random", "uniform", "language-nearest", "language", "clip-rl", "clip-rl-shuffled", "soft-target", "ridge",
          "oracle"),
)  # fmt: skip


@dataclass(frozen=True)
class Transfer:
    """Learns a bank of policies, aligns it with instructions and fine-tunes every arm's start on held-out tasks."""

    grid: int = 12
    """Cells a side of the room."""
    family: str = "colour"
    """Instructions: colour, shape, adversarial or paraphrase in an open room; house, with walls, doors, lava and things
    to carry; cartpole, where to hold the cart under a pole."""
    preset: str = "default"
    """Set of numbers that the other flags start from: default, paper or continuous (cartpole); or an open question with
    a series of its own: library, representation, networks or negative."""
    encoder: str = "minilm"
    """`minilm` takes the vectors that come with the package; a directory, a BERT of sentence-transformers' layout or a
    CLIP's text tower; `clip:NAME`, that of a CLIP of the hub."""
    name: str | None = None
    """Name of the result's directory; the default says what was run."""
    runs_dir: Path = Path("runs/transfer")
    """Folder of the results."""
    config: Annotated[TransferConfig, tyro.conf.arg(name="")] = field(default_factory=TransferConfig)


def defaults(
    grid: int | None = None, preset: str = "default", family: str | None = None, algorithm: str | None = None
) -> Transfer:
    """Numbers of a preset for a family, a room's size and an algorithm; None takes the usual one.

    Raises `ConfigError` for a preset, family or algorithm that is unknown or does not fit the others.
    """
    from jaxvlm.transfer.questions import QUESTIONS

    if preset not in {**PRESETS, **QUESTIONS}:
        raise ConfigError(
            f"unknown preset {preset!r}; known presets are {', '.join(PRESETS)} and, for the open questions, "
            f"{', '.join(QUESTIONS)}"
        )
    family = family or ("cartpole" if preset == "continuous" else "colour")
    if family not in families():
        raise ConfigError(f"unknown family {family!r}; choose one of {', '.join(families())}")
    if (family == "cartpole") != (preset == "continuous"):
        raise ConfigError(
            f"--family {family} and --preset {preset} do not go together; CartPole's tasks have the preset continuous"
        )
    algorithm = algorithm or ("sac" if family == "cartpole" else "ppo")
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"unknown algorithm {algorithm!r}; choose one of {', '.join(ALGORITHMS)}")
    if (algorithm == "sac") != (family == "cartpole"):
        wanted = "sac" if family == "cartpole" else "ppo or dqn"
        raise ConfigError(f"--algorithm {algorithm} does not learn the tasks of {family}; choose {wanted}")
    if family == "cartpole" and grid is not None:
        raise ConfigError(f"--grid {grid} is a room's size and CartPole has none; leave it out")
    if family == "cartpole":
        return Transfer(grid=0, family=family, preset=preset, config=CARTS)
    if family == "house":
        size = 8 if grid is None else grid
        return Transfer(grid=size, family=family, preset=preset, config=_of_houses(preset, algorithm))
    grid = 12 if grid is None else grid
    if grid < 1:
        raise ConfigError(f"--grid is {grid}; give a number of cells, at least 6")
    # Below eight cells a side tasks share cells, and what asks for the same as a held-out task is not known.
    config = TransferConfig(algorithm=algorithm, sources=48 if grid >= 8 else 32)
    # Larger rooms take longer to learn: updates in proportion to the square of the side, as paths and cells grow.
    base = max(40, round(60 * (grid / 12) ** 1.5))
    fine = max(24, round(36 * (grid / 12) ** 1.2))
    config = replace(config, base=replace(config.base, updates=base), fine=replace(config.fine, updates=fine))
    if algorithm == "dqn":
        config = _with_values(config)
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
    return Transfer(grid=grid, family=family, preset=preset, config=config)


def _with_values(config: TransferConfig) -> TransferConfig:
    """The numbers for DQN, whose only heads are values: there is no critic to silence."""
    numbers = {"activation": "relu", "learning_rate": 3e-3, "tau": 0.02}
    return replace(
        config,
        base=replace(config.base, **numbers),
        fine=replace(config.fine, **numbers, epsilon_start=0.3),
        critic_scales=(1.0,),
        arms=tuple(arm for arm in config.arms if arm != "random-silent"),
    )


def _of_houses(preset: str, algorithm: str) -> TransferConfig:
    """The numbers for houses, where a task takes longer to be met by chance and longer to do."""
    if preset != "default" or algorithm != "ppo":
        other = f"--algorithm {algorithm}" if preset == "default" else f"--preset {preset}"
        raise ConfigError(f"{other} is for open rooms; choose one of their families instead of house")
    base = LearnConfig(
        num_envs=32,
        rollout_length=32,
        updates=80,
        minibatches=4,
        learning_rate=2e-3,
        entropy_coefficient=0.05,
    )
    return TransferConfig(
        # Six wordings ask for each room; without those of held-out ones at least 42 tasks are left.
        base=base, fine=replace(base, updates=30), seeds=3, sources=40, validation=4, targets=6, chunk=32,
        temperatures=(0.03, 0.1, 0.3), actor_scales=(0.6, 1.0),
    )  # fmt: skip


def run(arguments: Sequence[str]) -> None:
    """Runs the experiment and writes the report."""
    first = ["--grid", "--preset", "--family", "--algorithm"]
    _, flags, rest = split_positional(["transfer", *arguments], first)
    try:
        grid = int(flags["--grid"]) if "--grid" in flags else None
    except ValueError:
        raise ConfigError(f"--grid is {flags['--grid']!r}; give a whole number of cells") from None
    default = defaults(
        grid, flags.get("--preset", "default"), flags.get("--family"), flags.get("--algorithm")
    )
    options = parse(Transfer, rest, prog="jaxvlm transfer", default=default, prefixes=True)

    from jaxvlm.runtime import enable_compilation_cache
    from jaxvlm.transfer.questions import QUESTIONS

    enable_compilation_cache()
    config = options.config
    room = [str(options.grid)] if options.grid else []
    usual = config.algorithm in ("ppo", "sac")
    own = [options.family, *room, str(config.sources), options.preset, *([] if usual else [config.algorithm])]
    directory = options.runs_dir / (options.name or "-".join(own))
    if any((directory / name).exists() for name in ("report.md", "answer.md")):
        raise ConfigError(f"{directory} holds a report already; choose another --name")
    Output(directory, "--runs-dir or --name").prepare()  # hours before anything is written there
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
    title = f"{_place(options)}, {config.sources} known policies"
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


def _place(options: Transfer) -> str:
    """The family, the room's size and what is not usual about the algorithm, for titles."""
    room = f", {options.grid} x {options.grid}" if options.grid else ""
    return options.family + room + (", DQN" if options.config.algorithm == "dqn" else "")


def ask(options: Transfer, directory: Path, tell: Any) -> Path:
    """An open question: an experiment for each label of its series."""
    from jaxvlm.runtime.files import plain
    from jaxvlm.transfer.experiment import alike
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
    rooms = import_ours("envs.gridworld.families")
    usual = defaults(options.grid, options.preset, options.family, config.algorithm).config
    kinds = [
        alike(rooms.make_family(options.family, options.grid, config.seed_of(k)).params)
        for k in range(config.seeds)
    ]
    validate_question(options.preset, config, usual, kinds)
    title = f"{_place(options)}, {config.seeds} seeds of {config.targets} targets"
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
    setting = make_setting(options)
    what = repr((options.family, options.grid, options.encoder, config))
    store = directory / "unfinished" / hashlib.sha256(what.encode()).hexdigest()[:12]
    experiment = Experiment(
        config, setting.env, setting.learner_of, setting.evaluate, setting.worlds, tell, store
    )
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
        "family": options.family, "grid": options.grid, "seed": config.seed_of(seed), "base": config.base,
        "algorithm": config.algorithm,
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
