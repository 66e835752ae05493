"""Training on a picture of a bar: it learns, repeats itself, and exports what it learned."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.clip import CLIP, build_word_tokenizer, load, load_tokenizer
from jaxvlm.clip.captions import validate_dataset, vocabulary
from jaxvlm.clip.card import write_card
from jaxvlm.clip.figures import _goal_scores, evaluate_clip
from jaxvlm.clip.tiny import augmented, centred, clip_config, init_params
from jaxvlm.clip.train import TrainData, TrainState, caption_concepts, export, train_clip, train_steps
from jaxvlm.clip.train_config import ClipTrainConfig
from jaxvlm.errors import ConfigError
from tests.clip.tiny_dataset import CONFIG, Bar, BarState, bar_dataset


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint, its figures and its losses."""
    output, losses = tmp_path_factory.mktemp("bar"), {}
    figures = train_clip(
        bar_dataset(("white", "grey")),
        CONFIG,
        output,
        progress=lambda step, m: losses.setdefault(step, m["loss"]),
    )
    return output, figures, losses


@pytest.mark.slow
def test_training_lowers_the_loss_and_ranks_held_out_pictures(trained):
    _, figures, losses = trained
    assert list(losses) == [50, 100, 150, 200, 250, 300]
    assert losses[300] < 0.8 * losses[50]
    for look in ("white", "grey"):
        assert figures[look]["goal"]["auc"]["0.0"] > 0.95
        assert figures[look]["goal"]["auc"]["1.0"] > 0.95


@pytest.mark.slow
def test_of_two_views_the_mean_ranks_and_each_is_of_use_alone(tmp_path):
    """One view sees the bar and one does not; rewards are the mean of both."""
    both = dataclasses.replace(bar_dataset(), cameras=("blind", "default"))
    figures = train_clip(both, CONFIG, tmp_path / "clip")["white"]["goal"]
    assert figures["auc"]["0.0"] > 0.95
    assert figures["auc"]["1.0"] > 0.95
    card = (tmp_path / "clip" / "README.md").read_text()
    assert "--camera blind default" in card
    assert "each state from 2 views (blind, default)" in card
    clip, params = load(tmp_path / "clip", jnp.float32)
    tokenizer = load_tokenizer(tmp_path / "clip")
    areas = {}
    for view in both.cameras:
        alone = dataclasses.replace(both, cameras=(view,))
        areas[view] = evaluate_clip(clip, params, tokenizer, alone, count=64)["white"]["goal"]["auc"]["0.0"]
    assert areas["default"] > 0.95
    assert areas["blind"] == 0.5  # ties all
    with pytest.raises(ConfigError, match=r"batch_size 15 .* 1 looks and 2 views; give a multiple of 2"):
        train_clip(both, dataclasses.replace(CONFIG, batch_size=15), tmp_path / "odd")


def test_the_checkpoint_directory_is_complete(trained):
    output, _, losses = trained
    clip, params = load(output)
    assert load_tokenizer(output).unknown_words("the bar on the moon") == ["moon"]
    assert clip.config.image_size == 16
    assert jax.tree.leaves(params)[0].dtype == jnp.float32
    concepts = json.loads((output / "concepts.json").read_text())
    assert concepts["goal"] == "a bar on the left"
    assert concepts["concepts"]["left"]["held_out"] == "the left bar"
    # Python would read and write NaN, which is no JSON.
    stored = json.loads((output / "figures.json").read_text(), parse_constant=pytest.fail)
    assert stored["final_loss"] == losses[300]
    assert stored["looks"]["white"]["concepts"]["scene"]["auc"] is None  # it always holds
    assert "states" not in stored
    card = (output / "README.md").read_text()
    assert "`jaxvlm train ... --clip DIRECTORY`" in card
    assert "not zero-shot" in card
    assert "jaxvlm clip train bar --steps 300 --batch-size 16" in card


def test_a_card_names_the_files_of_states_and_the_command_that_was_given(trained, tmp_path):
    command, states = "jaxvlm clip train bar --states fooled.npz", [("fooled.npz", "0a1b")]
    given = (tmp_path, bar_dataset(("white", "grey")), CONFIG, trained[1])
    write_card(*given, command=command, seconds=1.0, loss=0.5, states=states)
    card = (tmp_path / "README.md").read_text()
    assert f"`{command}`" in card
    assert "the states of `fooled.npz` (SHA-256 `0a1b`)" in card
    stored = json.loads((tmp_path / "figures.json").read_text())
    assert stored["states"] == [{"name": "fooled.npz", "sha256": "0a1b"}]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(tmp_path):
    config = dataclasses.replace(CONFIG, steps=3, report_every=3)

    def run(seed: int) -> tuple[float, np.ndarray]:
        dataset = bar_dataset()
        tokenizer = build_word_tokenizer(vocabulary(dataset), tmp_path, config.context)
        (report,) = train_steps(dataset, dataclasses.replace(config, seed=seed), tokenizer)
        _, metrics, state, _ = report
        return metrics["loss"], np.asarray(state.clip["params"]["visual"]["patch"]["kernel"])

    first, again, other = run(0), run(0), run(1)
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1], again[1])
    assert other[0] != first[0]


@pytest.mark.slow
def test_the_mean_frame_is_folded_exactly(tmp_path):
    """The exported float16 model on uint8 frames against the trained one on centred floats."""
    config = dataclasses.replace(CONFIG, image_size=32, width=64, layers=2)
    dataset = bar_dataset()
    tokenizer = build_word_tokenizer(vocabulary(dataset), tmp_path, config.context)
    model = clip_config(config, tokenizer, (0.0, 0.0, 0.0))
    variables = init_params(model, jax.random.key(0))
    states = dataset.sample_states(jax.random.key(1), 16)
    frames = dataset.frames(states, dataset.assets(), 32)[:, 0]
    mean_frame = jnp.mean(frames.astype(jnp.float32), axis=0) / 255
    nothing = jnp.zeros(())
    state = TrainState(variables, nothing, (), jax.random.key(0))
    data = TrainData(
        jax.tree_util.Partial(dataset.sample_states), (), mean_frame, nothing, nothing, nothing, nothing
    )
    export(tmp_path, state, data, config, tokenizer)
    clip, params = load(tmp_path, jnp.float32)
    exported = clip.apply(params, frames, method="encode_image")
    original = clip.apply(variables, centred(frames, mean_frame, config.image_std), method="encode_image")
    exported, original = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (exported, original))
    error = float(jnp.max(jnp.abs(exported - original)))
    assert error < 1e-3
    # Without folding the difference is two orders larger, so the comparison means something.
    unfolded = clip.apply(variables, frames, method="encode_image")
    unfolded = unfolded / jnp.linalg.norm(unfolded, axis=-1, keepdims=True)
    assert float(jnp.max(jnp.abs(unfolded - original))) > 100 * error


def test_prompts_come_up_more_often_than_other_concepts():
    config = dataclasses.replace(CONFIG, captions_per_concept=1, prompt_emphasis=3)
    dataset = bar_dataset()
    goal = dataclasses.replace(dataset.goals[0], opposite="left")
    dataset = dataclasses.replace(dataset, goals=(goal,))
    assert caption_concepts(dataset, config).tolist() == [0, 0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0; give at least 1"),
        ({"loss": "hinge"}, "unknown loss 'hinge'; choose 'sigmoid' or 'infonce'"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; give a number above 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; give a number above 0"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0; give a number above 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; give 0 or more"),
        ({"text_spread": float("nan")}, "text_spread is nan; give 0 or more"),
        ({"slope": float("inf")}, "slope is inf; give a weight"),
        ({"warmup": 1.5}, "warmup is 1.5; give a share of the steps, from 0 to 1"),
    ],
)
def test_numbers_that_cannot_train_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        ClipTrainConfig(**change)


@pytest.mark.slow
def test_a_training_that_diverges_ends_at_the_first_report_of_it(tmp_path):
    reported = []
    config = dataclasses.replace(CONFIG, learning_rate=1e30, steps=200, report_every=10)
    with pytest.raises(ConfigError, match="the loss is not finite at step 10; lower --learning-rate"):
        train_clip(bar_dataset(), config, tmp_path / "clip", progress=lambda step, _: reported.append(step))
    assert reported == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_figures_of_several_goals_and_looks_compile_one_program(tmp_path):
    """Drawing and encoding are traced once, and so are goal-baseline rewards of as many states."""
    traced = []

    class Counting(Bar):
        def render(self, scene, assets, camera, size):
            traced.append(size)
            return super().render(scene, assets, camera, size)

    dataset = bar_dataset(("white", "grey"))
    (left,) = dataset.goals
    right = dataclasses.replace(left, concept="right", opposite="left")
    dataset = dataclasses.replace(dataset, environment=Counting(), goals=(left, right))
    tokenizer = build_word_tokenizer(vocabulary(dataset), tmp_path, CONFIG.context)
    model = clip_config(CONFIG, tokenizer, (0.0, 0.0, 0.0))
    variables = init_params(model, jax.random.key(0))
    before = _goal_scores._cache_size()  # pyright: ignore[reportAttributeAccessIssue]
    figures = evaluate_clip(CLIP(model), variables, tokenizer, dataset, count=62)
    assert set(figures["grey"]["goals"]) == {"left", "right"}
    assert len(traced) == 1
    # Random states and, unless another test had as many, those of the sweep.
    assert _goal_scores._cache_size() - before in (1, 2)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_batch_has_to_split_over_the_looks(tmp_path):
    dataset = bar_dataset(("white", "grey"))
    tokenizer = build_word_tokenizer(vocabulary(dataset), tmp_path, CONFIG.context)
    with pytest.raises(ConfigError, match="batch_size 15 does not split over 2 looks"):
        next(train_steps(dataset, dataclasses.replace(CONFIG, batch_size=15), tokenizer))


def test_declarations_that_cannot_be_trained_are_named():
    dataset = bar_dataset()
    left, right, scene = dataset.concepts
    cases = [
        ({"baseline": "middle"}, "no concept 'middle'; choose one of left, right, scene"),
        (
            {"concepts": (dataclasses.replace(left, wordings=left.wordings[:5]), right, scene)},
            "concept 'left' has 5 wordings; give at least 20",
        ),
        (
            {
                "concepts": (
                    left,
                    dataclasses.replace(right, wordings=(*right.wordings, "a bar on the left")),
                    scene,
                )
            },
            "'a bar on the left' is said by 'left' and 'right'",
        ),
        (
            {"concepts": (dataclasses.replace(left, held_out="a bar on the left"), right, scene)},
            "held-out wording 'a bar on the left' is also trained",
        ),
        (
            {"concepts": (dataclasses.replace(left, held_out="the bar is gone"), right, scene)},
            r"untrained words \['is', 'gone'\]",
        ),
    ]
    for change, message in cases:
        with pytest.raises(ConfigError, match=message):
            validate_dataset(dataclasses.replace(dataset, **change))
    validate_dataset(dataset)


@pytest.mark.slow
def test_augmentation_changes_light_and_sharpness_within_bounds():
    grey = jnp.full((64, 16, 16, 3), 100, jnp.uint8)
    lit = np.asarray(augmented(jax.random.key(0), grey, 0.2), float)
    middle = lit[:, 7:9].mean((1, 2, 3))
    assert np.std(middle) > 8
    assert middle.min() >= 100 * 0.8 - 0.05 * 255 - 1
    assert middle.max() <= 100 * 1.2 + 0.05 * 255 + 1
    slope = lit[:, -1].mean((1, 2)) - lit[:, 0].mean((1, 2))
    assert np.std(slope) > 6
    assert np.abs(slope).max() <= 100 * 0.2 + 1
    edge = jnp.zeros((64, 16, 16, 3), jnp.uint8).at[:, :, 8:].set(200)
    soft = np.asarray(augmented(jax.random.key(1), edge, 0.0), int)
    blurred = soft[:, 8, 7, 0] > 0
    assert 0.3 < blurred.mean() < 0.7
    assert soft[:, 8, 7, 0].max() <= 200 * 0.25 * 0.6 + 1
    np.testing.assert_array_equal(soft[~blurred], np.asarray(edge)[~blurred])


@pytest.mark.slow
def test_mining_sees_the_log_odds_of_the_clip_in_training(tmp_path):
    """Worked out again in NumPy from the state it saw. From then on its sampler is drawn from; nothing else changes."""
    seen, places = [], jnp.linspace(0.1, 0.9, 9)

    def draw(centre, key, count):
        return BarState(centre + 0.2 * jax.random.uniform(key, (count,)))

    def mine(key, sampler, predicted):
        jax.debug.callback(
            lambda value: seen.append(np.asarray(value)), predicted(BarState(places), jnp.zeros(9, jnp.int32))
        )
        return jax.tree_util.Partial(draw, jnp.float32(0.7))

    # From 0.15 to 0.35 the bar is always on the left: classes are as unequal as can be.
    dataset = dataclasses.replace(
        bar_dataset(), mine=mine, training_sampler=lambda: jax.tree_util.Partial(draw, jnp.float32(0.15))
    )
    config = dataclasses.replace(CONFIG, steps=60, mine_every=40, report_every=20)
    tokenizer = build_word_tokenizer(vocabulary(dataset), tmp_path, config.context)
    reports = []
    for done, _, state, data in train_steps(dataset, config, tokenizer):
        reports.append((done, jax.tree.map(jnp.copy, (state.clip, state.bias)), data))
    jax.effects_barrier()
    assert [done for done, _, _ in reports] == [20, 40, 60]
    (clip_then, bias), before, after = reports[1][1], reports[0][2], reports[1][2]
    assert (float(before.sampler.args[0]), float(after.sampler.args[0])) == (
        pytest.approx(0.15),
        pytest.approx(0.7),
    )
    for one, other in zip(jax.tree.leaves(before)[1:], jax.tree.leaves(after)[1:], strict=True):
        np.testing.assert_array_equal(one, other)

    clip = CLIP(clip_config(config, tokenizer, (0.0, 0.0, 0.0)))
    frames = dataset.frames(BarState(places), dataset.assets(), config.image_size)[:, 0]
    images = clip.apply(
        clip_then, centred(frames, before.mean_frame, config.image_std), method="encode_image"
    )
    text = clip.apply(clip_then, tokenizer([dataset.concept("left").wordings[0]]), method="encode_text")
    images, text = (np.asarray(x) / np.linalg.norm(x, axis=-1, keepdims=True) for x in (images, text))
    share = float(before.positive_share[0])
    assert share > 0.8
    balance = np.log(min(0.5 / share, 10.0) / min(0.5 / (1 - share), 10.0))
    expected = np.exp(clip_then["params"]["logit_scale"]) * (images @ text[0]) + bias - balance
    (found,) = seen
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.mean() > 1.0


@pytest.mark.parametrize(("change", "words"), [
    ({"mine_every": -1}, "mine_every is -1"), ({"augment": 1.0}, "augment is 1.0"),
    ({"augment": float("nan")}, "augment is nan"),
])  # fmt: skip
def test_numbers_that_cannot_work_are_named(change, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(CONFIG, **change)


@pytest.mark.slow
def test_a_slope_fits_the_log_odds_far_from_a_goal(tmp_path):
    """Mean distance between logits and log-odds of the goal's prompt, over the whole range of states."""
    dataset, off = bar_dataset(), []
    for slope in (0.0, 0.3):
        config = dataclasses.replace(CONFIG, steps=120, report_every=120, slope=slope)
        tokenizer = build_word_tokenizer(vocabulary(dataset), tmp_path / str(slope), config.context)
        ((_, _, state, data),) = train_steps(dataset, config, tokenizer)
        clip = CLIP(clip_config(config, tokenizer, (0.0, 0.0, 0.0)))
        states = dataset.sample_states(jax.random.key(5), 64)
        frames = centred(dataset.frames(states, data.assets, 16)[:, 0], data.mean_frame, config.image_std)
        images = clip.apply(state.clip, frames, method="encode_image")
        text = clip.apply(state.clip, tokenizer([dataset.concept("left").wordings[0]]), method="encode_text")
        images, text = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (images, text))
        logits = jnp.exp(state.clip["params"]["logit_scale"]) * images @ text[0] + state.bias
        off.append(float(jnp.mean(jnp.abs(logits - dataset.log_odds(states)[:, 0]))))
    assert off[1] < 0.9 * off[0], off


@pytest.mark.parametrize(
    ("change", "words"),
    [({"slope": -1.0}, "slope is -1"), ({"slope": 0.1, "loss": "infonce"}, "slope 0.1 fits log-odds")],
)
def test_a_slope_that_cannot_be_fitted_is_named(change, words):
    with pytest.raises(ConfigError, match=words):
        ClipTrainConfig(**change)


def test_mining_needs_a_search_and_log_odds(tmp_path):
    tokenizer = build_word_tokenizer(vocabulary(bar_dataset()), tmp_path, CONFIG.context)
    config = dataclasses.replace(CONFIG, mine_every=10)
    with pytest.raises(ConfigError, match="'bar' has no search"):
        next(train_steps(bar_dataset(), config, tokenizer))
    dataset = dataclasses.replace(bar_dataset(), mine=lambda key, sampler, predicted: sampler)
    with pytest.raises(ConfigError, match="--loss sigmoid"):
        next(train_steps(dataset, dataclasses.replace(config, loss="infonce"), tokenizer))
