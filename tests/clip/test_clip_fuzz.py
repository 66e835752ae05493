"""Broken checkpoints: whatever is wrong with the files, loading ends with one of the library's own errors, or well."""

import contextlib
import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxvlm.clip import load, load_config, save_checkpoint
from jaxvlm.clip.openclip import CONFIG, WEIGHTS
from jaxvlm.errors import JaxvlmError
from tests.clip.recipes import ODD, openclip_model, random_params, write_openclip

HUGGING_FACE = ("config.json", "preprocessor_config.json", "model.safetensors")
FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-2, 4),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.integers(0, 4), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A good checkpoint of each layout, which tests copy."""
    folder = tmp_path_factory.mktemp("whole")
    for name, layout in (("mixed", "huggingface"), ("siglip", "huggingface_siglip")):
        save_checkpoint(folder / layout, ODD[name], random_params(ODD[name]))
    for name in ("gelu", "resnet", "siglip"):
        (folder / name).mkdir()
        write_openclip(folder / name, name, openclip_model(name)[1])
    return folder


def copied(whole, name, tmp_path):
    target = tmp_path / "checkpoint"
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(whole / name, target)


def places(values, path=()):
    """Paths of all values of a JSON object, inner objects too."""
    found = [path] if path else []
    if isinstance(values, dict):
        for key in values:
            found += places(values[key], (*path, key))
    return found


def replaced(values, path, value):
    node = values
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value


@pytest.mark.slow
@pytest.mark.parametrize("name", ["huggingface", "huggingface_siglip", "gelu", "resnet", "siglip"])
@FUZZ
@given(data=st.data())
def test_configs_with_other_values(whole, tmp_path, name, data):
    directory = copied(whole, name, tmp_path)
    file = data.draw(st.sampled_from(HUGGING_FACE[:2])) if name.startswith("huggingface") else CONFIG
    values = json.loads((directory / file).read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(values)))
        replaced(values, path, data.draw(VALUES))
    (directory / file).write_text(json.dumps(values))
    with contextlib.suppress(JaxvlmError):
        load(directory)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["huggingface", "gelu"])
@FUZZ
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255), st.booleans()), max_size=6),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_weights_with_other_bytes(whole, tmp_path, name, edits, kept):
    directory = copied(whole, name, tmp_path)
    file = directory / (HUGGING_FACE[2] if name == "huggingface" else WEIGHTS)
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for place, byte, in_header in edits:
        size = header if in_header else len(content)
        content[min(int(place * size), size - 1)] = byte
    file.write_bytes(content[: int(kept * len(content))])
    with contextlib.suppress(JaxvlmError):
        load(directory)


@FUZZ
@given(text=st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_configs_that_are_no_json(whole, tmp_path, text):
    directory = copied(whole, "huggingface", tmp_path)
    (directory / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(JaxvlmError):
        load_config(directory)


def test_a_header_of_absurd_size(whole, tmp_path):
    directory = copied(whole, "huggingface", tmp_path)
    file = directory / HUGGING_FACE[2]
    file.write_bytes((2**62).to_bytes(8, "little") + file.read_bytes()[8:])
    with pytest.raises(JaxvlmError, match="is not a safetensors file"):
        load(directory)
