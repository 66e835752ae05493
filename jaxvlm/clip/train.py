"""Training of the embedded CLIP: a tiny model of captioned renders, exported in the Hugging Face layout.

It is not zero-shot and no substitute for a pretrained CLIP. It exists so that frame -> CLIP -> reward ->
policy can be run, tested and timed without a download.
"""

import contextlib
import functools
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Int
from safetensors import SafetensorError

from jaxvlm.clip.captions import CaptionedDataset, truth_matrix, validate_dataset, vocabulary, words
from jaxvlm.clip.card import write_card
from jaxvlm.clip.checkpoint import load, save_checkpoint
from jaxvlm.clip.config import CLIPConfig
from jaxvlm.clip.figures import evaluate_clip
from jaxvlm.clip.losses import class_weights, infonce_loss, log_odds_loss, sigmoid_loss
from jaxvlm.clip.model import CLIP
from jaxvlm.clip.tiny import augmented, centred, clip_config, fold_mean_frame, init_params, validate_sizes
from jaxvlm.clip.tokenizer import Tokenizer, build_word_tokenizer
from jaxvlm.clip.train_config import ClipTrainConfig
from jaxvlm.compiler import compiler_options
from jaxvlm.errors import ConfigError

Progress = Callable[[int, dict[str, float]], None]


@struct.dataclass
class TrainState:
    """All that a training step changes."""

    clip: Any  # variables of the CLIP module, float32
    bias: jax.Array  # f32[], added to scale * cosine; used in training only
    optimiser: Any
    key: jax.Array


@struct.dataclass
class TrainData:
    """All that a training step reads and shares with the others."""

    sampler: jax.tree_util.Partial  # (key, count) -> states, with the arrays it draws from
    assets: Any  # looks, as `CaptionedDataset.assets` gives them
    mean_frame: jax.Array  # f32[h, w, 3], in [0, 1]
    token_ids: jax.Array  # i32[wordings, tokens]
    first_wording: jax.Array  # i32[concepts], row of `token_ids`
    wording_count: jax.Array  # i32[concepts]
    positive_share: jax.Array  # f32[concepts], mean truth


def validate_training(dataset: CaptionedDataset, config: ClipTrainConfig) -> None:
    """Raises `ConfigError` for numbers that cannot train or measure a CLIP of this dataset.

    Found here because it would otherwise be found while compiling, or after the last step.
    """
    looks = len(dataset.looks)
    if config.mine_every and dataset.mine is None:
        raise ConfigError(
            f"domain {dataset.domain!r} has no search for a CLIP's mistakes; leave --mine-every at 0"
        )
    if config.mine_every and looks > 1:
        raise ConfigError(
            f"domain {dataset.domain!r} has {looks} looks, mining draws one; leave --mine-every at 0"
        )
    if config.mine_every and config.loss != "sigmoid":
        raise ConfigError("mining compares a CLIP with log-odds, which only --loss sigmoid fits")
    views = len(dataset.cameras)
    if config.batch_size % (looks * views):
        raise ConfigError(
            f"batch_size {config.batch_size} does not split over {looks} looks and {views} views; "
            f"give a multiple of {looks * views}"
        )
    validate_sizes(config)
    texts = [text for concept in dataset.concepts for text in (*concept.wordings, concept.held_out)]
    longest = max(texts, key=lambda text: len(words(text)))
    tokens = len(words(longest)) + 2
    if tokens > config.context:
        raise ConfigError(
            f"context {config.context} is too short for {longest!r}, which has {tokens} tokens with the first "
            f"and last one; give at least {tokens}"
        )
    if not config.image_std > 0:
        raise ConfigError(f"image_std is {config.image_std}; give a number above 0")
    if config.evaluation_states < 2:
        raise ConfigError(f"evaluation_states is {config.evaluation_states}; figures need at least 2")
    # Keys keep 32 bits of a seed, and the figures take the next one.
    if not 0 <= config.seed < 2**31 - 1:
        raise ConfigError(f"seed is {config.seed}; give one from 0 to {2**31 - 2}")


def make_optimiser(config: ClipTrainConfig) -> optax.GradientTransformation:
    """AdamW with warm-up, cosine decay and clipping; only matrices of weights decay."""
    warmup = max(1, round(config.warmup * config.steps))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, warmup, max(config.steps, warmup + 1)
    )

    def decays(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: getattr(path[-1], "key", "") == "kernel", params
        )

    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(schedule, b2=0.98, weight_decay=config.weight_decay, mask=decays),
    )


def prepare(
    dataset: CaptionedDataset, config: ClipTrainConfig, tokenizer: Tokenizer, key: jax.Array
) -> TrainData:
    """Tokenises the wordings and measures the mean frame and the balance of the concepts."""
    assets = dataset.assets()
    sampler: Any = dataset.training_sampler() if dataset.training_sampler else dataset.sample_states
    states = sampler(key, config.mean_states * len(assets))
    draw = jax.jit(dataset.frames, static_argnums=2, compiler_options=compiler_options())
    frames = draw(states, assets, config.image_size)
    if not isinstance(sampler, jax.tree_util.Partial):
        sampler = jax.tree_util.Partial(sampler)
    counts = np.array([len(concept.wordings) for concept in dataset.concepts])
    ids = tokenizer([text for concept in dataset.concepts for text in concept.wordings])
    return TrainData(
        sampler=sampler,
        assets=assets,
        # Taken off every picture, so that what frames share does not drown what tells them apart.
        mean_frame=jnp.mean(frames.astype(jnp.float32), axis=(0, 1)) / 255,
        # Columns that only pad are cut: the text tower is causal and does not see them.
        token_ids=jnp.asarray(ids[:, : int(np.max(np.argmax(ids == tokenizer.eos_id, axis=1))) + 1]),
        first_wording=jnp.asarray(np.cumsum(counts) - counts),
        wording_count=jnp.asarray(counts),
        positive_share=jnp.mean(jax.nn.sigmoid(jax.jit(dataset.log_odds)(states)), axis=0),
    )


def caption_concepts(dataset: CaptionedDataset, config: ClipTrainConfig) -> Int[np.ndarray, " captions"]:
    """Which concept each caption of a step says.

    Concepts are balanced over facts, not over how many ways there are to say one; those that rewards are made
    of come up `prompt_emphasis` times as often.
    """
    repeats = [
        config.captions_per_concept * (config.prompt_emphasis if concept.name in dataset.prompts else 1)
        for concept in dataset.concepts
    ]
    return np.repeat(np.arange(len(dataset.concepts)), repeats)


def make_train_step(
    clip: CLIP, dataset: CaptionedDataset, config: ClipTrainConfig, optimiser: optax.GradientTransformation
) -> Callable[[TrainState, TrainData], tuple[TrainState, dict[str, Array]]]:
    """One jitted step: draw states and frames, draw captions, compare with the truth, move the weights.

    The state is donated. Of several views both the mean score and that of each are compared, in equal parts: the
    first is what rewards are, and lets one view keep silent where another sees better; the second keeps each of
    use alone.
    """

    views = len(dataset.cameras)
    concept = caption_concepts(dataset, config)
    goals = [goal.concept for goal in dataset.goals]
    # Captions whose whole range of log-odds is fitted: those that rewards are made of.
    goal_columns = np.flatnonzero([dataset.concepts[index].name in goals for index in concept])

    def compared(logits: Array, truth: Array, log_odds: Array, share: Array) -> Array:
        if config.loss == "infonce":
            return infonce_loss(logits, truth)
        loss = sigmoid_loss(logits, truth, share)
        if config.slope:
            of_goals = log_odds_loss(logits[:, goal_columns], log_odds, share[goal_columns])
            loss = loss + config.slope * of_goals
        return loss

    def loss_of(
        trained: Any, frames: Array, ids: Array, truth: Array, log_odds: Array, share: Array
    ) -> Array:
        """`frames` [n * views, ...], the views of a state side by side; `truth` and `log_odds` [n, captions]."""
        variables, bias = trained
        outputs: Any = clip.apply(variables, frames, ids)
        images, texts, log_scale = outputs
        images = images / jnp.linalg.norm(images, axis=-1, keepdims=True)
        texts = texts / jnp.linalg.norm(texts, axis=-1, keepdims=True)
        logits = jnp.exp(log_scale) * jnp.matmul(images, texts.T, precision="highest") + bias
        # Captions crowding into a cone costs the losses nothing, but a goal and a baseline that are nearly parallel
        # leave goal-baseline regularisation a direction of noise, and pictures overshoot the goal along it.
        crowding = config.text_spread * jnp.sum(jnp.mean(texts, axis=0) ** 2)
        if views == 1:
            return compared(logits, truth, log_odds, share) + crowding
        mean = compared(logits.reshape(-1, views, logits.shape[1]).mean(1), truth, log_odds, share)
        truth, log_odds = (jnp.repeat(rows, views, axis=0) for rows in (truth, log_odds))
        return 0.5 * (mean + compared(logits, truth, log_odds, share)) + crowding

    @functools.partial(jax.jit, donate_argnums=0, compiler_options=compiler_options())
    def step(state: TrainState, data: TrainData) -> tuple[TrainState, dict[str, Array]]:
        key, key_states, key_words, key_light = jax.random.split(state.key, 4)
        states = data.sampler(key_states, config.batch_size // views)
        frames = dataset.frames(states, data.assets, config.image_size)
        frames = frames.reshape(config.batch_size, *frames.shape[2:])
        if config.augment:
            frames = augmented(key_light, frames, config.augment)
        frames = centred(frames, data.mean_frame, config.image_std)
        wording = jax.random.uniform(key_words, concept.shape) * data.wording_count[concept]
        ids = data.token_ids[data.first_wording[concept] + wording.astype(jnp.int32)]
        log_odds = dataset.log_odds(states)
        truth = truth_matrix(log_odds, jnp.asarray(concept))
        trained = (state.clip, state.bias)
        loss, gradient = jax.value_and_grad(loss_of)(
            trained,
            frames,
            ids,
            truth,
            log_odds[:, concept[goal_columns]],
            data.positive_share[concept],
        )
        updates, opt_state = optimiser.update(gradient, state.optimiser, trained)
        moved: Any = optax.apply_updates(trained, updates)
        variables, bias = moved
        metrics = {
            "loss": loss,
            "gradient_norm": optax.tree.norm(gradient),
            "logit_scale": jnp.exp(variables["params"]["logit_scale"]),
        }
        return TrainState(variables, bias, opt_state, key), metrics

    return step


def make_mining(
    clip: CLIP, dataset: CaptionedDataset, config: ClipTrainConfig
) -> Callable[[jax.Array, TrainState, TrainData], TrainData]:
    """The dataset's mining of states on which the CLIP in training is wrong, as one jitted program."""
    names = [concept.name for concept in dataset.concepts]
    goals = np.asarray([names.index(goal.concept) for goal in dataset.goals])
    mine: Any = dataset.mine

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def search(key: jax.Array, state: TrainState, data: TrainData) -> Any:
        # First wordings are the prompts of the rewards.
        texts = clip.apply(state.clip, data.token_ids[data.first_wording[goals]], method="encode_text")
        texts = texts / jnp.linalg.norm(texts, axis=-1, keepdims=True)  # pyright: ignore[reportOperatorIssue, reportArgumentType]
        weight_true, weight_false = class_weights(data.positive_share[goals])
        bias = state.bias - jnp.log(weight_true / weight_false)  # the balance of classes moves what is fitted

        def predicted(states: Any, goal: Array) -> Array:
            frames = dataset.frames(states, data.assets, config.image_size)
            count, views = frames.shape[:2]
            frames = centred(
                frames.reshape(count * views, *frames.shape[2:]), data.mean_frame, config.image_std
            )
            images = clip.apply(state.clip, frames, method="encode_image")
            images = images / jnp.linalg.norm(images, axis=-1, keepdims=True)  # pyright: ignore[reportOperatorIssue, reportArgumentType]
            cosine = jnp.mean(
                jnp.sum(images.reshape(count, views, -1) * texts[goal][:, None], axis=-1), axis=1
            )
            return jnp.exp(state.clip["params"]["logit_scale"]) * cosine + bias[goal]

        return mine(key, data.sampler, predicted)

    return lambda key, state, data: data.replace(sampler=search(key, state, data))  # pyright: ignore[reportAttributeAccessIssue]


def train_steps(
    dataset: CaptionedDataset, config: ClipTrainConfig, tokenizer: Tokenizer
) -> Iterator[tuple[int, dict[str, float], TrainState, TrainData]]:
    """Trains; yields (steps done, metrics, state, data) every `report_every` steps and after the last one.

    The yielded state is donated to the next step: copy what has to outlive it. Raises `ConfigError` as
    `validate_training` does, and at the first report whose loss is not finite.
    """
    validate_training(dataset, config)
    key_data, key_init, key_train, key_mine = jax.random.split(jax.random.key(config.seed), 4)
    data = prepare(dataset, config, tokenizer, key_data)
    clip = CLIP(clip_config(config, tokenizer, (0.0, 0.0, 0.0)))
    optimiser = make_optimiser(config)
    variables = init_params(clip.config, key_init)
    bias = jnp.zeros(())
    state = TrainState(variables, bias, optimiser.init((variables, bias)), key_train)
    step = make_train_step(clip, dataset, config, optimiser)
    mine = make_mining(clip, dataset, config) if config.mine_every else None
    for done in range(1, config.steps + 1):
        state, metrics = step(state, data)
        if mine is not None and done % config.mine_every == 0 and done < config.steps:
            data = mine(jax.random.fold_in(key_mine, done), state, data)
        if done % config.report_every == 0 or done == config.steps:
            values = {name: float(value) for name, value in metrics.items()}
            if not math.isfinite(values["loss"]):
                raise ConfigError(f"the loss is not finite at step {done}; lower --learning-rate")
            yield done, values, state, data


def export(
    output: str | Path, state: TrainState, data: TrainData, config: ClipTrainConfig, tokenizer: Tokenizer
) -> CLIPConfig:
    """Writes config, float16 weights and preprocessing as a plain Hugging Face CLIPModel; returns its config.

    The input's mean is the average colour of the mean frame: what is left to fold into the position
    embeddings is then small, which keeps float16 exact enough.
    """
    mean = tuple(float(value) for value in jnp.mean(data.mean_frame, axis=(0, 1)))
    model = clip_config(config, tokenizer, mean)  # pyright: ignore[reportArgumentType]
    halved = jax.tree.map(lambda leaf: leaf.astype(jnp.float16).astype(jnp.float32), state.clip)
    scale = {"logit_scale": state.clip["params"]["logit_scale"]}
    halved = {"params": {**halved["params"], **scale}}
    save_checkpoint(output, model, fold_mean_frame(halved, model, data.mean_frame), jnp.float16)
    return model


def train_clip(
    dataset: CaptionedDataset,
    config: ClipTrainConfig,
    output: str | Path,
    progress: Progress | None = None,
    command: str | None = None,
    states: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Trains an embedded CLIP, writes its checkpoint directory and returns its held-out figures.

    The directory holds `config.json`, `model.safetensors`, `preprocessor_config.json`, the tokenizer,
    `concepts.json` (the wordings it knows), `figures.json` and a model card; `progress(step, metrics)` is
    called every `report_every` steps; `command` is what the card says it was made with, `states` the names and
    SHA-256 of the files of states that the dataset has besides its own, for the card as well. Everything follows
    from `config.seed` and these files. The directory, which may be an empty one before, appears complete at the end;
    a failure or a KeyboardInterrupt leaves nothing.

    Raises `ConfigError` for a dataset or numbers that cannot be trained and, before the first step, for an
    output that is taken or cannot be written; later, for a loss that is not finite.
    """
    validate_dataset(dataset)
    validate_training(dataset, config)
    output = Path(output)
    with _draft_of(output) as draft:
        with _writing(output):
            tokenizer = build_word_tokenizer(vocabulary(dataset), draft, config.context)
        start, losses = time.perf_counter(), {}
        for done, metrics, state, data in train_steps(dataset, config, tokenizer):
            losses[done] = metrics["loss"]
            if progress is not None:
                progress(done, metrics)
            if done == config.steps:
                with _writing(output):
                    export(draft, state, data, config, tokenizer)
        seconds = time.perf_counter() - start
        clip, params = load(draft, jnp.float32)
        figures = evaluate_clip(
            clip, params, tokenizer, dataset, seed=config.seed + 1, count=config.evaluation_states
        )
        loss = losses[config.steps]
        with _writing(output):
            write_card(
                draft, dataset, config, figures, command=command, seconds=seconds, loss=loss, states=states
            )
    return figures


@contextlib.contextmanager
def _draft_of(output: Path) -> Iterator[Path]:
    """A hidden folder beside `output`, which becomes `output` when the block ends well.

    Otherwise it is removed, with the parents that were made for it. Raises `ConfigError` where `output` is
    taken or cannot be made.
    """
    draft, made = None, []
    try:
        with _writing(output):
            for folder in reversed(output.parents):
                if not folder.exists():
                    folder.mkdir(exist_ok=True)
                    made.append(folder)
            if os.path.lexists(output) and not _is_empty_folder(output):
                raise ConfigError(f"output directory {output} exists already; choose another --output")
            draft = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
            draft.chmod(0o755)  # mkdtemp makes private folders
        yield draft
        with _writing(output):
            draft.rename(output)
    except BaseException:  # an interrupt too: what it leaves would stand in the way of the next try
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # something else lies there by now
                folder.rmdir()
        raise


@contextlib.contextmanager
def _writing(output: Path) -> Iterator[None]:
    """Turns what goes wrong in writing into a `ConfigError` that names `output`."""
    try:
        yield
    except Exception as error:
        # tokenizers raises bare Exception where a file cannot be written.
        if not isinstance(error, (OSError, SafetensorError)) and type(error) is not Exception:
            raise
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot write to {output}: {reason}; choose another --output") from error


def _is_empty_folder(path: Path) -> bool:
    # A link cannot be replaced by renaming a folder to it.
    return path.is_dir() and not path.is_symlink() and next(path.iterdir(), None) is None
