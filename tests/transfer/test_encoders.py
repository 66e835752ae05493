"""Encoders of instructions behind one call."""

import json
import shutil

import numpy as np
import pytest

from jaxvlm.clip import embed_prompts, load, load_tokenizer
from jaxvlm.clip.checkpoint import resolve
from jaxvlm.errors import JaxvlmError, RunError
from jaxvlm.transfer.encoders import load_encoder

TEXTS = ["a pole that stands", "a cart"]


@pytest.mark.slow
def test_a_clips_text_tower_encodes_instructions():
    encode, unknown = load_encoder("clip:tiny:cartpole")
    clip, params = load("tiny:cartpole")
    expected = np.asarray(embed_prompts(clip, params, load_tokenizer("tiny:cartpole"), TEXTS))
    np.testing.assert_array_equal(encode(TEXTS), expected)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1.0, atol=1e-5)
    assert unknown("a pole and a ball") == ["ball"]


def test_a_directory_says_whether_it_holds_a_clip(tmp_path):

    folder = shutil.copytree(resolve("tiny:cartpole"), tmp_path / "clip")
    assert json.loads((folder / "config.json").read_text())["model_type"] == "clip"
    np.testing.assert_array_equal(
        load_encoder(str(folder))[0](TEXTS), load_encoder("clip:tiny:cartpole")[0](TEXTS)
    )
    with pytest.raises(JaxvlmError, match=r"nowhere has no config\.json"):
        load_encoder(str(tmp_path / "nowhere"))
    with pytest.raises(JaxvlmError, match="no/such/directory"):
        load_encoder("clip:no/such/directory")


def test_a_home_that_is_not_known_is_named():
    with pytest.raises(RunError, match="'~nosuch-user/x' is in no home directory that is known"):
        load_encoder("~nosuch-user/x")
