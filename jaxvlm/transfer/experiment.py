"""The transfer experiment: a bank of policies, every arm's start for held-out tasks, fine-tuning, steps to a threshold.

Seeds are repetitions with a world, a bank and a split of their own. Of a seed's tasks some are sources, some validate
(temperature and head scales of every arm, language and random included, are chosen there), some are reported; the three
never meet, nor do tasks that differ in nothing but their instruction. Within a seed a task's runs draw the same numbers
in every arm, so that arms are compared in pairs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxvlm.errors import ConfigError
from jaxvlm.transfer.arms import ARMS, Sources, Targets, arm_similarity
from jaxvlm.transfer.chunks import chunk_size, read_chunk, write_chunk
from jaxvlm.transfer.config import TransferConfig
from jaxvlm.transfer.diagnostics import ALIGNMENTS, Diagnostics, diagnose
from jaxvlm.transfer.learners import LearnConfig, Learner
from jaxvlm.transfer.learning import Evaluate, Learned, learn
from jaxvlm.transfer.matching import match_permutations
from jaxvlm.transfer.policies import average_policies, flatten_policy
from jaxvlm.transfer.weights import similarity_weights


@dataclass(frozen=True)
class World:
    """The tasks of one seed, T of them, as the experiment needs them."""

    params: Any  # of the environment, leaves [T, ...]
    instructions: tuple[str, ...]
    embeddings: Float[np.ndarray, "T d"]
    evaluation: Any  # what tasks are evaluated with, leaves [T, ...]
    best: Float[np.ndarray, " T"]  # best return: exact, or what the experiment takes for it
    nearness: Float[np.ndarray, "T T"]  # of tasks to each other, for the oracle arm
    probes: Any  # observations of states in which behaviour is looked at, [m, ...]


@dataclass(frozen=True)
class Split:
    """Which tasks of a world are which."""

    sources: np.ndarray
    validation: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Choice:
    """An arm's numbers."""

    temperature: float
    actor_scale: float
    critic_scale: float


@dataclass(frozen=True)
class ArmResult:
    """An arm over all seeds and reported tasks."""

    choice: Choice
    steps: Float[np.ndarray, "seeds targets"]  # to the threshold; censored ones count with all their steps
    reached: np.ndarray  # bool[seeds, targets]
    curve: Float[np.ndarray, "seeds targets time"]  # share of the best return
    curve_steps: Float[np.ndarray, "seeds targets time"]
    similarity: Float[np.ndarray, "seeds targets sources"] | None

    def summary(self, few_shot: int) -> dict[str, float]:
        """Mean and standard error over seeds of what is reported; the error is not a number for one seed."""
        per_seed = self.steps.mean(1)
        error = per_seed.std(ddof=1) / len(per_seed) ** 0.5 if len(per_seed) > 1 else float("nan")
        return {
            "steps": float(per_seed.mean()),
            "standard_error": float(error),
            "censored": float(1.0 - self.reached.mean()),
            "zero_shot": float(self.curve[..., 0].mean()),
            "few_shot": float(self.curve[..., min(few_shot, self.curve.shape[-1] - 1)].mean()),
        }


Tell = Callable[[str, int, int], None]  # (what, done, of)


def alike(params: Any) -> np.ndarray:
    """Which tasks are the same but for their instruction: i64[T], equal numbers where all leaves [T, ...] are equal."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    rows = [b"".join(leaf[task].tobytes() for leaf in leaves) for task in range(len(leaves[0]))]
    return np.unique(np.array(rows, object), return_inverse=True)[1]


def split_tasks(config: TransferConfig, seed: int, kind: np.ndarray) -> Split:
    """Which of a world's tasks are known, which validate and which are reported.

    Sources are nested: those of a smaller library are among those of a larger one. In small rooms, and in the house,
    several instructions ask for the same. Of those a target or a validation task is the first that is drawn, so that
    each asks for something of its own, and the others are left out: no source is a held-out task in other words.

    Args:
      config: how many of each.
      seed: of the world.
      kind: i64[T], equal numbers where tasks are alike, see `alike`.

    Raises:
      ConfigError: too few tasks that differ.
    """
    order = np.random.default_rng(config.seed_of(seed)).permutation(len(kind))
    first = np.array([np.flatnonzero(kind[order] == each)[0] for each in kind[order]])
    held = order[np.unique(first)][: config.targets + config.validation]
    order = order[np.argsort(first, kind="stable")]  # those alike follow the first of them
    known = order[~np.isin(kind[order], kind[held])]
    validation = held[config.targets :]
    if len(validation) < config.validation or len(known) < config.sources:
        raise ConfigError(
            f"seed {seed} has {len(kind)} instructions for {len(set(kind))} different tasks; apart from "
            f"{config.targets} targets and {len(validation)} of {config.validation} validation tasks, and what asks "
            f"for the same, {len(known)} are left, and {config.sources} sources are asked for; give fewer of them, or "
            "a larger room"
        )
    return Split(sources=known[: config.sources], validation=validation, targets=held[: config.targets])


class Experiment:
    """The steps of the experiment; `env`, the algorithm and `evaluate` are the same for all seeds."""

    def __init__(
        self,
        config: TransferConfig,
        env: Any,
        learner_of: Callable[[LearnConfig], Learner],
        evaluate: Evaluate,
        worlds: Sequence[World],
        tell: Tell = lambda what, done, of: None,
        store: Path | None = None,
    ):
        """`store` is a folder in which finished chunks of fine-tuning are kept for a second try of the same experiment.

        Raises `ConfigError` where the tasks do not suffice for sources, validation and targets that differ.
        """
        self.store = store
        self.config, self.env, self.evaluate, self.worlds, self.tell = config, env, evaluate, worlds, tell
        self.learner_of, self.learner = learner_of, learner_of(config.base)
        learner_of(config.fine)  # what is wrong with it is to be said before the banks are trained
        if len(worlds) != config.seeds:
            raise ConfigError(f"{config.seeds} seeds need as many worlds, not {len(worlds)}")
        needed = config.sources + config.validation + config.targets
        for world in worlds:
            if len(world.instructions) < needed:
                raise ConfigError(
                    f"{config.sources} sources, {config.validation} validation tasks and {config.targets} targets are "
                    f"{needed} tasks, the family has {len(world.instructions)}"
                )
        self._programs: dict[tuple[LearnConfig, bool], Any] = {}
        self._diagnose = jax.jit(diagnose, static_argnums=(0, 5))
        self._similarity = jax.jit(arm_similarity, static_argnums=(0, 4))
        self._init = jax.jit(self.learner.init)
        self._keys = jax.jit(jax.vmap(lambda seed, task: jax.random.fold_in(self._key(seed, 2), task)))
        # On the host, where picking a task's rows costs nothing.
        self._tasks = [jax.device_get(world.params) for world in worlds]
        self._evaluations = [jax.device_get(world.evaluation) for world in worlds]
        self._alike = [alike(params) for params in self._tasks]
        for seed in range(config.seeds):
            self.split(seed)
        self._starts = jax.jit(self._weighted_starts, static_argnums=0)

    def split(self, seed: int) -> Split:
        """Which tasks are known and which are held out, see `split_tasks`."""
        return split_tasks(self.config, seed, self._alike[seed])

    def _key(self, seed: int | jax.Array, purpose: int) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.config.seed), seed), purpose)

    def _learn(self, config: LearnConfig, *arguments: Any, curve: bool = True) -> Learned:
        """`learn`, compiled once for each config and number of runs."""
        if (config, curve) not in self._programs:
            learner = self.learner_of(config)
            self._programs[config, curve] = jax.jit(
                lambda params, start, evaluation, keys: learn(
                    config, self.env, learner, params, start, self.evaluate, evaluation, keys, curve=curve
                )
            )
        return self._programs[config, curve](*arguments)

    def fresh(self, seed: int) -> Any:
        """The start that a seed's bank shares."""
        return self._init(self._key(seed, 0))

    def train_bank(self, seed: int) -> Learned:
        """Learns every task of a seed's world; those whose policy collapsed again, from other draws."""
        world, config = self.worlds[seed], self.config
        count = len(world.instructions)

        def attempt(number: int, tasks: np.ndarray) -> Learned:
            keys = jax.random.split(self._key(seed, 1 + 100_000 * number), count)[tasks]
            if config.initialisation == "common":
                size = len(tasks)
                start = jax.tree.map(
                    lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), self.fresh(seed)
                )
            else:
                start = jax.vmap(self.learner.init)(keys)
            own, evaluation = (
                jax.tree.map(lambda leaf: leaf[tasks], tree) for tree in (world.params, world.evaluation)
            )
            # Copies: what the device lends may not be written to.
            return jax.tree.map(np.array, self._learn(config.base, own, start, evaluation, keys, curve=False))

        learned = attempt(0, np.arange(count))
        for number in range(1, config.retries + 1):
            # Not "below": what is not a number has not learned either.
            failed = np.flatnonzero(~(learned.value[:, -1] >= config.learned * world.best))
            if not failed.size:
                break
            self.tell("learning again, policies that collapsed", number, config.retries)
            # Repeated up to a round number, so that a program serves several banks.
            tasks = np.resize(failed, -(-failed.size // 8) * 8)
            again = attempt(number, tasks)
            better = ~(again.value[: failed.size, -1] <= learned.value[failed, -1])
            better &= np.isfinite(again.value[: failed.size, -1])
            for old, new in zip(jax.tree.leaves(learned), jax.tree.leaves(again), strict=True):
                old[failed[better]] = new[: failed.size][better]
        return learned

    def behaviour(self, seed: int, bank: Any) -> jax.Array:
        """What policies do in the probe states, f32[n, b]."""
        probes = self.worlds[seed].probes
        return jax.vmap(lambda params: self.learner.behaviour(params, probes))(bank)

    def pairs(self, seed: int, bank: Any, tasks: np.ndarray) -> Sources:
        """Instructions of some tasks and what is known of their policies."""
        policies = jax.tree.map(lambda leaf: jnp.asarray(leaf[tasks]), bank)
        return Sources(
            instructions=jnp.asarray(self.worlds[seed].embeddings[tasks]),
            parameters=jax.vmap(flatten_policy)(policies),
            behaviour=self.behaviour(seed, policies),
        )

    def asked(self, seed: int, split: Split) -> Targets:
        """Validation tasks and targets, in that order."""
        world, tasks = self.worlds[seed], np.concatenate([split.validation, split.targets])
        return Targets(
            instructions=jnp.asarray(world.embeddings[tasks]),
            nearness=jnp.asarray(world.nearness[np.ix_(tasks, split.sources)]),
        )

    def diagnostics(self, seed: int, bank: Any, split: Split) -> dict[str, Diagnostics]:
        """What each arm's alignment did, judged on held-out pairs; arms without an alignment are left out."""
        known = self.pairs(seed, bank, split.sources)
        held = self.pairs(seed, bank, np.concatenate([split.validation, split.targets]))
        targets = self.asked(seed, split)
        return {
            name: jax.device_get(
                self._diagnose(name, self._arm_key(seed, name), known, held, targets, self.config.align)
            )
            for name in ALIGNMENTS
            if name in self.config.arms
        }

    def _arm_key(self, seed: int, name: str) -> jax.Array:
        """An arm draws the same numbers whichever others are run."""
        return self._key(seed, 10 + list(ARMS).index(name))

    def similarities(self, seed: int, bank: Any, split: Split) -> dict[str, np.ndarray]:
        """Of validation tasks and targets, in that order, to sources, f32[v + t, n], by arm."""
        sources, targets = self.pairs(seed, bank, split.sources), self.asked(seed, split)
        found = {}
        for name in ARMS:
            if name in self.config.arms and ARMS[name].similarity is not None:
                key = self._arm_key(seed, name)
                found[name] = np.asarray(self._similarity(name, key, sources, targets, self.config.align))
        return found

    def _weighted_starts(self, weighting: str, bank: Any, similarity: jax.Array, choice: jax.Array) -> Any:
        """Starts for rows of similarities [t, n], leaves [t, ...]; `choice` holds the three numbers of a `Choice`."""

        def one(row: jax.Array) -> Any:
            weights = similarity_weights(row, weighting, temperature=choice[0])
            return self.learner.scale_heads(average_policies(bank, weights), choice[1], choice[2])

        return jax.vmap(one)(similarity)

    def starts(self, arm: str, seed: int, state: "SeedState", choice: "Choice", rows: slice) -> list[Any]:
        """An arm's starts for the validation tasks and targets in `rows` of the similarities, NumPy leaves."""
        tasks = np.concatenate([state.split.validation, state.split.targets])[rows]
        if ARMS[arm].similarity is not None:
            numbers = jnp.array([choice.temperature, choice.actor_scale, choice.critic_scale], jnp.float32)
            similarity = jnp.asarray(state.similarity[arm][rows])
            stacked = self._starts(weighting_of(arm, self.config), state.bank, similarity, numbers)
            stacked = jax.device_get(stacked)
            return [jax.tree.map(lambda leaf, k=k: leaf[k], stacked) for k in range(len(tasks))]
        found = []
        for task in tasks:
            key = jax.random.fold_in(self._key(seed, 3), int(task))
            start = state.meta if arm == "reptile" else self._init(key)
            found.append(
                jax.device_get(self.learner.scale_heads(start, choice.actor_scale, choice.critic_scale))
            )
        return found

    def meta_start(self, seed: int, split: Split, rounds: int = 10, inner: int = 4) -> Any:
        """Reptile (Nichol et al. 2018, arXiv 1803.02999) over the sources: rounds of a few updates on each of them."""
        world, meta = self.worlds[seed], self.fresh(seed)
        tasks, evaluation = (
            jax.tree.map(lambda leaf: leaf[split.sources], tree) for tree in (world.params, world.evaluation)
        )
        config = replace(self.config.fine, updates=inner)
        count = len(split.sources)
        for index in range(rounds):
            start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), meta)
            keys = jax.random.split(self._key(seed, 1000 + index), count)
            after = self._learn(config, tasks, start, evaluation, keys, curve=False).params
            step = 1.0 - index / rounds
            meta = jax.tree.map(lambda m, a, s=step: m + s * (jnp.mean(a, axis=0) - m), meta, after)
            self.tell("meta-learning", index + 1, rounds)
        return meta

    def fine_tune(self, jobs: Sequence["Job"], what: str) -> Iterator[tuple["Job", Learned]]:
        """Learns from starts, a chunk of runs at a time; the last one is padded with its first job."""
        config, size = self.config, chunk_size(self.config.chunk)
        for first in range(0, len(jobs), size):
            part = list(jobs[first : first + size])
            labels = [repr((job.seed, job.task, job.label)) for job in part]
            kept = None if self.store is None else self.store / f"{what.replace(' ', '-')}-{first}.npz"
            if (found := read_chunk(kept, labels)) is not None:
                for job, value, steps in zip(part, *found, strict=True):
                    yield job, Learned(params=None, value=value, steps=steps)
                continue
            padded = part + [part[0]] * (size - len(part))
            stack = lambda trees: jax.tree.map(lambda *leaves: np.stack(leaves), *trees)  # noqa: E731
            learned = self._learn(
                config.fine,
                stack([_row(self._tasks[job.seed], job.task) for job in padded]),
                stack([job.start for job in padded]),
                stack([_row(self._evaluations[job.seed], job.task) for job in padded]),
                # The same numbers for a task in every arm.
                self._keys(np.array([job.seed for job in padded]), np.array([job.task for job in padded])),
            )
            values, steps = np.asarray(learned.value), np.asarray(learned.steps)
            if kept is not None:
                write_chunk(kept, labels, values[: len(part)], steps[: len(part)])
            for k, job in enumerate(part):
                yield job, Learned(params=None, value=values[k], steps=steps[k])
            self.tell(what, min(first + size, len(jobs)), len(jobs))


@dataclass(frozen=True)
class Job:
    """One fine-tuning run."""

    seed: int
    task: int
    start: Any
    label: Any  # what it belongs to


@dataclass
class SeedState:
    """What a seed has once its bank is learned."""

    split: Split
    bank: Any  # [n, ...], of the sources
    meta: Any | None
    similarity: dict[str, np.ndarray]
    diagnostics: dict[str, Diagnostics] = field(default_factory=dict)


def weighting_of(arm: str, config: TransferConfig) -> str:
    """How an arm weighs known policies, see `similarity_weights`."""
    own = ARMS[arm].weighting
    return "plain" if config.plain and own == "softmax" and arm != "oracle" else own


def has_temperature(arm: str, config: TransferConfig) -> bool:
    """Whether an arm's start depends on a temperature."""
    return ARMS[arm].similarity is not None and weighting_of(arm, config) == "softmax"


def prepare_seed(experiment: Experiment, seed: int, policies: Any = None) -> SeedState:
    """Bank, split, similarities and meta-learned start of a seed; `policies` of all its tasks, if they are known."""
    split = experiment.split(seed)
    policies = experiment.train_bank(seed).params if policies is None else policies
    if experiment.config.initialisation == "independent" and experiment.config.match:
        # A tanh is odd, so that a unit and its negative are one; other activations are not.
        signs = experiment.config.base.activation == "tanh"
        policies = matched(policies, int(split.sources[0]), signs=signs)
    return SeedState(
        split=split,
        bank=jax.tree.map(lambda leaf: jnp.asarray(leaf[split.sources]), policies),
        meta=experiment.meta_start(seed, split) if "reptile" in experiment.config.arms else None,
        similarity=experiment.similarities(seed, policies, split),
        diagnostics=experiment.diagnostics(seed, policies, split),
    )


def matched(bank: Any, reference: int, signs: bool = True) -> Any:
    """A bank whose policies do what they did, their hidden units in the order of one of them.

    `signs` also turns units around, which leaves only networks of an odd activation, as tanh, what they were.
    """
    one = lambda k: jax.tree.map(lambda leaf: np.asarray(leaf[k]), bank)  # noqa: E731
    count = jax.tree.leaves(bank)[0].shape[0]
    policies = [match_permutations(one(k), one(reference), signs=signs) for k in range(count)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *policies)


def choose(experiment: Experiment, states: Sequence[SeedState]) -> dict[str, Choice]:
    """Each arm's numbers by the mean steps to the threshold on validation tasks, a number at a time."""
    config = experiment.config
    plain = Choice(config.temperatures[-1], 1.0, 1.0)
    scales = {arm: ARMS[arm].scales for arm in config.arms}
    fixed = {arm: Choice(config.temperatures[-1], *own) for arm, own in scales.items() if own is not None}
    if not config.tune:
        return dict.fromkeys(config.arms, plain) | fixed
    # A temperature is chosen with the actor softened and the critic silent, where starts differ least in anything else.
    middle = config.actor_scales[len(config.actor_scales) // 2]
    best = dict.fromkeys(config.arms, Choice(config.temperatures[-1], middle, config.critic_scales[0]))
    best |= fixed
    values = {
        "temperature": config.temperatures,
        "actor_scale": config.actor_scales,
        "critic_scale": config.critic_scales,
    }
    measured: dict[tuple[str, Choice], list[float]] = {}
    for name, numbers in values.items():
        asked = {
            arm: [replace(best[arm], **{name: number}) for number in numbers]
            for arm in config.arms
            if len(numbers) > 1
            and arm not in fixed
            and (name != "temperature" or has_temperature(arm, config))
            and (name != "critic_scale" or experiment.learner.has_critic)
        }
        jobs = []
        for arm, choices in asked.items():
            for choice in choices:
                if (arm, choice) not in measured:  # the best so far was
                    jobs += jobs_of(experiment, states, arm, choice, targets=False)
        for job, learned in experiment.fine_tune(jobs, f"choosing {name.replace('_', ' ')}"):
            steps, _ = _threshold(experiment, job, learned)
            measured.setdefault(job.label, []).append(float(steps))
        for arm, choices in asked.items():
            best[arm] = min(choices, key=lambda choice, arm=arm: np.mean(measured[arm, choice]))
    return best


def jobs_of(
    experiment: Experiment, states: Sequence[SeedState], arm: str, choice: Choice, *, targets: bool
) -> list[Job]:
    """An arm's runs over all seeds, on targets or on validation tasks."""
    jobs = []
    for seed, state in enumerate(states):
        held = len(state.split.validation)
        tasks, rows = (
            (state.split.targets, slice(held, None)) if targets else (state.split.validation, slice(held))
        )
        starts = experiment.starts(arm, seed, state, choice, rows)
        jobs += [
            Job(seed, int(task), start, (arm, choice)) for task, start in zip(tasks, starts, strict=True)
        ]
    return jobs


def _row(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _threshold(experiment: Experiment, job: Job, learned: Learned) -> tuple[int, bool]:
    least = experiment.config.threshold * float(experiment.worlds[job.seed].best[job.task])
    reached = np.flatnonzero(learned.value >= np.float32(least))
    return int(learned.steps[reached[0] if reached.size else -1]), bool(reached.size)


def run_experiment(
    experiment: Experiment, states: Sequence[SeedState], choices: dict[str, Choice]
) -> dict[str, ArmResult]:
    """Fine-tunes every arm on the reported tasks of all seeds."""
    config = experiment.config
    jobs = [
        job for arm in config.arms for job in jobs_of(experiment, states, arm, choices[arm], targets=True)
    ]
    rows: dict[str, list[tuple[int, bool, np.ndarray, np.ndarray]]] = {arm: [] for arm in config.arms}
    for job, learned in experiment.fine_tune(jobs, "fine-tuning"):
        best = float(experiment.worlds[job.seed].best[job.task])
        rows[job.label[0]].append(
            (*_threshold(experiment, job, learned), learned.value / best, learned.steps)
        )
    shape = (config.seeds, config.targets)
    results = {}
    for arm, found in rows.items():
        steps, reached, curve, curve_steps = (np.asarray(column) for column in zip(*found, strict=True))
        known = [state.similarity.get(arm) for state in states]
        results[arm] = ArmResult(
            choice=choices[arm],
            steps=steps.reshape(shape).astype(np.float64),
            reached=reached.reshape(shape),
            curve=curve.reshape(*shape, -1),
            curve_steps=curve_steps.reshape(*shape, -1).astype(np.float64),
            similarity=None if known[0] is None else np.stack([s[config.validation :] for s in known]),  # pyright: ignore[reportOptionalSubscript]
        )
    return results
