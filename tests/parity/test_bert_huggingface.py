"""The sentence encoder against transformers' PyTorch BertModel on random weights."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.transfer.bert import Bert, BertConfig, load_sentence_encoder, mean_pooled
from tests.transfer.test_bert import SMALL, write_encoder

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("sizes", [
    {}, {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 3, "intermediate_size": 40},
])  # fmt: skip
def test_hidden_states_of_a_random_model(tmp_path, sizes):
    from transformers import BertConfig as TheirConfig
    from transformers import BertModel

    folder = write_encoder(tmp_path / "bert")
    torch.manual_seed(0)
    theirs = BertModel(TheirConfig(**(SMALL | sizes), initializer_range=0.4, layer_norm_eps=1e-12)).eval()
    theirs.save_pretrained(folder)
    ours = load_sentence_encoder(folder)
    assert ours.config == BertConfig.from_dict(theirs.config.to_dict())
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 12, (5, 9)).astype(np.int32)
    mask = (np.arange(9) < rng.integers(2, 10, (5, 1))).astype(np.float32)
    with torch.no_grad():
        wanted = theirs(torch.tensor(ids).long(), attention_mask=torch.tensor(mask)).last_hidden_state.numpy()
    found = np.asarray(Bert(ours.config).apply(ours.params, jnp.asarray(ids), jnp.asarray(mask)))
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(found[mask > 0], wanted[mask > 0], atol=1e-4)
    # And the sentence: their states, averaged over what the mask keeps.
    mean = (wanted * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    pooled = np.asarray(mean_pooled(jnp.asarray(found), jnp.asarray(mask)))
    np.testing.assert_allclose(pooled, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-4)
