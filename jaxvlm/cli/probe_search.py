"""The work of `jaxvlm probe`: draws, scores and judges states on the device, all chains of all sentences at once."""

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.cli.common import validate_draw
from jaxvlm.cli.preflight import SIGNAL
from jaxvlm.cli.probe_sentences import Sentence
from jaxvlm.clip.captions import CaptionedDataset, select
from jaxvlm.clip.figures import auc, spearman
from jaxvlm.compiler import compiler_options
from jaxvlm.evaluation.intervals import Interval, bootstrap, rate_interval
from jaxvlm.render import RayAssets, draw_batch, validate_camera
from jaxvlm.reward.label import encode_scenes, score
from jaxvlm.reward.similarity import validate_alpha
from jaxvlm.runtime import Progress
from jaxvlm.vlmrm import probe
from jaxvlm.vlmrm.build import Tower, build_reward, choose_chunk, validate_look
from jaxvlm.vlmrm.config import RewardSettings

if TYPE_CHECKING:
    from envs.registry import Task
    from jaxvlm.cli.probe import Probe

COMMON = 0.8  # a fact that holds in this share of random states says nothing about one of them
RESAMPLES = 300


@dataclass(frozen=True)
class Optimum:
    """The best state of one chain."""

    score: float
    holds: bool | None  # the goal's predicate; None where no goal is known
    fooled: bool  # not at the goal, and scored above the median of true goal states
    missed: tuple[Any, ...]  # conditions of the goal that it misses, worst first
    facts: tuple[str, ...]  # known facts that hold, without those that hold of nearly every state
    parameters: tuple[float, ...]
    held: (
        bool | None
    )  # the goal holds after the physics has had a moment with it; None where that is not known
    held_score: float | None


@dataclass(frozen=True)
class Found:
    """What the search found for one sentence."""

    use: str
    prompts: tuple[str, ...]
    text: str
    verdict: str
    auc: Interval | None  # on random states, with its interval; None where no goal is known
    rank_correlation: float | None  # with the graded truth
    with_first: float  # rank correlation with the scores of the first sentence, on the same states
    goal_median: float | None  # of the scores of random states at the goal
    goal_best: float | None
    sampled_best: float
    met: Interval | None  # share of chains that end at the goal
    counts: probe.Counts | None
    different: int  # optima that differ from each other
    facts: dict[str, int]  # known facts by the number of optima that they hold of
    optima: tuple[Optimum, ...]  # best first


def validate_options(options: "Probe", task: "Task") -> None:
    """Raises `ConfigError` for a number or a look that cannot work."""
    probe.validate_search(probe.CrossEntropy(options.population), options.chains, options.rounds)
    validate_draw(options.states, options.seed)
    validate_alpha(options.alpha)
    validate_look(options.look, task.env)


class Prober:
    """One probe: its programs, and what they found.

    A block of `sentences x chains x population` states is what all programs take, so that drawing and encoding compile
    once.
    """

    def __init__(
        self,
        options: "Probe",
        task: "Task",
        dataset: CaptionedDataset,
        space: Any,
        tower: Tower,
        concept: str | None,
        sentences: list[Sentence],
    ):
        """Embeds the sentences.

        Raises:
          ConfigError: prompts, cameras or numbers that no reward can be made of.
        """
        self.options, self.task, self.dataset, self.space = options, task, dataset, space
        self.tower, self.concept, self.sentences = tower, concept, sentences
        self.settings = probe.CrossEntropy(options.population)
        self.compiled, self.pictures = 0.0, 0
        rewards, notes = [], []
        for sentence in sentences:
            settings = RewardSettings(
                prompt=sentence.prompts,
                baseline=options.baseline,
                negative=options.negative,
                alpha=options.alpha,
                look=options.look,
                camera=options.camera,
            )
            params, more = build_reward(settings, task.env, tower)
            rewards.append(params)
            notes += [note for note in more if note not in notes]
        self.notes = notes
        self.reward = replace(rewards[0], clip={"params": {"visual": tower.params["params"]["visual"]}})
        small = [replace(params, clip=None, assets=None, cameras=None) for params in rewards]
        self.rows = jax.tree.map(lambda *leaves: jnp.stack(leaves), *small)
        self.block = len(sentences) * options.chains * options.population
        self._embed = jax.jit(self._embed_block, compiler_options=compiler_options())
        self._log_odds = jax.jit(dataset.log_odds)

    # --- programs

    def _embed_block(self, reward: Any, states: Any) -> jax.Array:
        """Image embeddings of a block of states, f32[block, views, e]."""
        scenes = self.dataset.scenes(states)
        return encode_scenes(
            reward,
            scenes,
            encode=self.tower.encode,
            render=self.task.env.render,
            size=self.tower.size,
            chunk=choose_chunk(self.tower),
        )

    def embed(self, states: Any) -> jax.Array:
        """The same of any number of states, a block at a time."""
        count = jax.tree.leaves(states)[0].shape[0]
        parts = []
        for begin in range(0, count, self.block):
            index = np.minimum(np.arange(begin, begin + self.block), count - 1)
            parts.append(self._embed(self.reward, select(states, index)))
        return jnp.concatenate(parts)[:count]

    def search(self) -> list[Found]:
        """The whole probe; prints how far it is."""
        options, count = self.options, len(self.sentences)
        key_states, key_start, key_context, key_search = jax.random.split(jax.random.key(options.seed), 4)
        chains, population = options.chains, options.population
        total = options.states + count * chains * population * (options.rounds + 1)
        states = self.dataset.sample_states(key_states, options.states)
        self._check_cameras(states)

        # Every sentence starts from the same states, in the same rooms, and draws the same noise.
        contexts = self.space.contexts(key_context, chains)
        wide = jax.tree.map(
            lambda leaf: jnp.repeat(jnp.tile(leaf, (count, *[1] * (leaf.ndim - 1))), population, axis=0),
            contexts,
        )
        first = self.space.starts(key_start, chains * population).reshape(chains, population, -1)
        first = jnp.broadcast_to(first, (count, *first.shape))
        scale, low, high = self.space.scale, self.space.low, self.space.high
        decode = jax.jit(self.space.states)
        begin = jax.jit(jax.vmap(probe.start, (0, 0, None)))
        draw = jax.jit(jax.vmap(partial(probe.draw, search=self.settings), (None, 0, None, None)))
        improve = jax.jit(jax.vmap(partial(probe.improve, search=self.settings), (0, 0, 0, None)))

        @jax.jit
        def own(rows: Any, embeddings: jax.Array) -> jax.Array:
            embeddings = embeddings.reshape(count, chains * population, *embeddings.shape[1:])
            return jax.vmap(score)(rows, embeddings).mean(-1).reshape(count, chains, population)

        def scores(vectors: jax.Array) -> jax.Array:
            states = decode(vectors.reshape(self.block, -1), wide)
            return own(self.rows, self._embed(self.reward, states))

        with Progress(total, unit="pictures") as progress:
            progress.announce("compiling ...")
            began = time.monotonic()
            ends = begin(first, scores(first), scale)
            drawn = draw(key_search, ends, low, high)
            improve(ends, drawn, jnp.zeros((count, chains, population)), scale)
            jax.block_until_ready(ends)
            done = self.block
            self.compiled = time.monotonic() - began
            progress.update(done)
            for step in range(options.rounds):
                drawn = draw(jax.random.fold_in(key_search, step), ends, low, high)
                ends = jax.block_until_ready(improve(ends, drawn, scores(drawn), scale))
                done += self.block
                progress.update(done, best=float(ends.score[0].max()))
            self._sample(states)
            progress.update(done + options.states)
            self.pictures = done + options.states
        return self._judge(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), ends), contexts)

    # --- judgement

    def _check_cameras(self, states: Any) -> None:
        if not isinstance(self.reward.assets, RayAssets):
            return
        scene = self.dataset.environment.scene(
            jax.tree.map(lambda leaf: leaf[0], states), self.dataset.params
        )
        for name in self.options.camera:
            validate_camera(scene, self.reward.assets, self.task.env.cameras[name], name)

    def _sample(self, states: Any) -> None:
        """Scores random states by every sentence, and asks the predicates."""
        self.sampled = states
        scores = jax.jit(jax.vmap(score, (0, None)))(self.rows, self.embed(states)).mean(-1)
        self.scores = np.asarray(scores, np.float64)  # [sentences, states]
        self.log_odds = np.asarray(self._log_odds(states), np.float64)
        self.names = [concept.name for concept in self.dataset.concepts]
        self.graded = None if self.concept is None else self.log_odds[:, self.names.index(self.concept)]
        self.truth = self.graded > 0 if self.graded is not None else np.zeros(len(self.log_odds), bool)
        self.correlations = [[spearman(a, b) for b in self.scores] for a in self.scores]

    def _judge(self, ends: probe.Chains, contexts: Any) -> list[Found]:
        chains, count = self.options.chains, len(self.sentences)
        tiled = jax.tree.map(lambda leaf: jnp.tile(leaf, (count, *[1] * (leaf.ndim - 1))), contexts)
        states = jax.jit(self.space.states)(ends.best, tiled)
        log_odds = np.asarray(self._log_odds(states))
        missed = self.space.shortfalls(self.concept, states) if self.concept else [[] for _ in ends.best]
        held_odds, held_scores = None, None
        if self.options.hold and self.space.hold is not None:
            held = self.space.hold(ends.best)
            held_odds = np.asarray(self._log_odds(held))
            embeddings = self.embed(held).reshape(count, chains, -1, self.rows.goal.shape[-1])
            held_scores = np.asarray(jax.jit(jax.vmap(score))(self.rows, embeddings).mean(-1)).reshape(-1)
        # Rare facts first: they say most about a state.
        share = (self.log_odds > 0).mean(axis=0)
        telling = [k for k in np.argsort(share, kind="stable") if share[k] < COMMON]
        goal = self.names.index(self.concept) if self.concept else None
        values, vectors = np.asarray(ends.score, np.float64), np.asarray(self.space.canonical(ends.best))

        found, order = [], []
        for row, sentence in enumerate(self.sentences):
            best_first = row * chains + np.argsort(-values[row * chains : (row + 1) * chains], kind="stable")
            order.append(best_first)
            own = self.scores[row]
            median = float(np.median(own[self.truth])) if self.truth.any() else float("nan")
            optima = tuple(
                Optimum(
                    score=float(values[k]),
                    holds=None if goal is None else bool(log_odds[k, goal] > 0),
                    fooled=bool(goal is not None and log_odds[k, goal] <= 0 and values[k] > median),
                    missed=tuple(missed[k]),
                    facts=tuple(self.names[c] for c in telling if log_odds[k, c] > 0),
                    parameters=tuple(vectors[k].tolist()),
                    held=None if held_odds is None or goal is None else bool(held_odds[k, goal] > 0),
                    held_score=None if held_scores is None else float(held_scores[k]),
                )
                for k in best_first
            )
            number = {self.names[c]: int((log_odds[best_first, c] > 0).sum()) for c in telling}
            facts = {name: n for name, n in sorted(number.items(), key=lambda item: -item[1]) if n}
            counts = met = area = None
            if goal is not None:
                holds = np.asarray([optimum.holds for optimum in optima])
                counts = probe.count_ends(values[best_first], holds, median)
                met = rate_interval(counts.met, chains)
                area = bootstrap(auc, (own, self.truth), resamples=RESAMPLES)
            known = self.truth.any()
            found.append(
                Found(
                    use=sentence.use,
                    prompts=sentence.prompts,
                    text=sentence.text,
                    verdict=_verdict(sentence, counts, optima, area, facts, median=bool(known)),
                    auc=area,
                    rank_correlation=None if self.graded is None else spearman(own, self.graded),
                    with_first=self.correlations[0][row],
                    goal_median=median if known else None,
                    goal_best=float(own[self.truth].max()) if known else None,
                    sampled_best=float(own.max()),
                    met=met,
                    counts=counts,
                    different=probe.different(
                        vectors[best_first],
                        self.space.scale,
                        periods=self.space.periods,
                        quaternion=self.space.quaternion,
                    ),
                    facts=facts,
                    optima=optima,
                )
            )
        self.ends = select(states, np.concatenate(order))
        return found

    def frames(self, states: Any, size: int) -> np.ndarray:
        """Pictures of states from every camera, side by side: uint8[n, size, views * size, 3]."""
        render = self.task.env.render

        @partial(jax.jit, compiler_options=compiler_options())
        def draw(reward: Any, states: Any) -> jax.Array:
            scenes = self.dataset.scenes(states)
            with jax.default_matmul_precision("highest"):
                return draw_batch(render, scenes, reward.assets, reward.cameras, size)

        frames = np.asarray(draw(self.reward, states))
        return np.concatenate(list(np.moveaxis(frames, 1, 0)), axis=2)


def _verdict(
    sentence: Sentence,
    counts: probe.Counts | None,
    optima: tuple[Optimum, ...],
    area: Interval | None,
    facts: dict[str, int],
    *,
    median: bool,
) -> str:
    """One line in plain words."""
    if counts is None or area is None:
        most = [f"{name} in {n}" for name, n in list(facts.items())[:5]]
        return f"of {len(optima)} best states: " + (", ".join(most) if most else "no known fact holds")
    if sentence.use == "opposite":
        right = "as it should be" if counts.met == 0 else "so it does not say the opposite"
        return f"the states this sentence likes best meet the goal in {counts.met} of {len(optima)}, {right}"
    failing = [optimum.missed[0].measure for optimum in optima if optimum.fooled and optimum.missed]
    words = probe.say(counts, failing, median=median)
    if area.value < SIGNAL:
        words += (
            f"; and it does not tell goal states from others (AUC {area.value:.2f}, chance is 0.5): "
            "training on it is unlikely to work"
        )
    return words
