"""The ways to convert pickled weights that an error tells, taken at their word."""

import re

import jax
import numpy as np
import pytest

from jaxvlm.clip import load
from jaxvlm.clip.openclip import WEIGHTS
from jaxvlm.errors import CheckpointError
from tests.clip.recipes import openclip_model, write_openclip

torch = pytest.importorskip("torch")


class Holder(torch.nn.Module):
    """Tensors by their dotted names, as OpenAI's archives hold them."""

    def __init__(self, tensors):
        super().__init__()
        for name, tensor in tensors.items():
            *path, last = name.split(".")
            place = self
            for part in path:
                if not hasattr(place, part):
                    place.add_module(part, torch.nn.Module())
                place = getattr(place, part)
            place.register_buffer(last, tensor)

    def forward(self, x):
        return x


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", ["pickle", "archive"])
def test_weights_are_converted_as_the_error_says(kind, tmp_path, monkeypatch):
    import safetensors.torch

    directory = write_openclip(tmp_path, "gelu", openclip_model("gelu")[1])
    expected = load(directory)[1]
    tensors = {
        # A transposed view, which safetensors does not write.
        name: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor
        for name, tensor in safetensors.torch.load_file(directory / WEIGHTS).items()
    }
    tensors["context_length"] = torch.tensor(77)
    (directory / WEIGHTS).unlink()
    if kind == "archive":
        torch.jit.trace(Holder(tensors), torch.ones(1)).save(directory / "ViT-B-32.pt")
    else:
        torch.save(tensors, directory / "ViT-B-32.pt")
    with pytest.raises(CheckpointError) as error:
        load(directory)
    pickle, archive = re.findall(
        r"weights = (torch\S+\(.*?\)(?:\.state_dict\(\))?)(?:, or|; then)", str(error.value)
    )
    monkeypatch.chdir(directory)
    names = {"torch": torch, "safetensors": safetensors}
    names["weights"] = eval(archive if kind == "archive" else pickle, names)
    eval(re.search(r"then (safetensors.*\))$", str(error.value))[1], names)
    jax.tree.map(np.testing.assert_array_equal, load(directory)[1], expected)
