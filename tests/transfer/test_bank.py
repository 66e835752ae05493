"""Banks of policies on disk: there and back, and everything that cannot be used is named."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.rl.networks import MLP
from jaxvlm.transfer import stack_policies
from jaxvlm.transfer.bank import Bank, check_encoder, load_bank, pick, save_bank
from jaxvlm.transfer.chunks import read_chunk, write_chunk


def one_policy(hidden=(3,)):
    return MLP(hidden, 2, "tanh").init(jax.random.key(0), jnp.zeros(4))


def make_bank(count=3):
    policies = [MLP((3,), 2, "tanh").init(jax.random.key(k), jnp.zeros(4)) for k in range(count)]
    return Bank(
        instructions=tuple(f"go to ball {k}" for k in range(count)),
        embeddings=np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32),
        params=stack_policies(policies),
        value=np.linspace(0, 1, count, dtype=np.float32),
        best=np.ones(count, np.float32),
        made_with={"family": "colour", "grid": 8},
    )


def test_a_bank_comes_back_as_it_was(tmp_path):
    bank = make_bank()
    found = load_bank(save_bank(tmp_path / "bank", bank), one_policy)
    assert (found.instructions, found.encoder, found.made_with) == (
        bank.instructions,
        "minilm",
        bank.made_with,
    )
    jax.tree.map(np.testing.assert_array_equal, found.params, bank.params)
    for name in ("embeddings", "value", "best"):
        np.testing.assert_array_equal(getattr(found, name), getattr(bank, name))
    save_bank(tmp_path / "bank", pick(bank, [2, 0]))  # in place of the other
    again = load_bank(tmp_path / "bank", one_policy)
    assert again.instructions == ("go to ball 2", "go to ball 0")
    np.testing.assert_array_equal(again.value, [1.0, 0.0])


def broken(name, value):
    return lambda: dataclasses.replace(make_bank(), **{name: value})


def without_finite_weights():
    bank = make_bank()
    kernel = bank.params["params"]["Linear_0"]["kernel"].at[1, 0, 0].set(jnp.inf)
    layers = {**bank.params["params"], "Linear_0": {**bank.params["params"]["Linear_0"], "kernel": kernel}}
    return dataclasses.replace(bank, params={"params": layers})


@pytest.mark.parametrize(("make", "words"), [
    (lambda: pick(make_bank(), [0]), "has 1 policy"),
    (broken("instructions", ("a", " ", "c")), "instruction of policy 1 is empty"),
    (broken("instructions", ("a", "b")), "2 instructions but 3 policies"),
    (broken("value", np.ones(2, np.float32)), "value has 2 rows"),
    (broken("best", np.array([1, np.nan, 1], np.float32)), "best of 'go to ball 1' is not finite"),
    (without_finite_weights, r"the policy of 'go to ball 1' has numbers in 'params/Linear_0/kernel'"),
])  # fmt: skip
def test_a_bank_that_cannot_be_used_is_not_written(make, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        save_bank(tmp_path / "bank", make())
    assert not (tmp_path / "bank").exists()


def edit(folder, **changes):
    described = json.loads((folder / "bank.json").read_text())
    (folder / "bank.json").write_text(json.dumps(described | changes))


@pytest.mark.parametrize(("change", "words"), [
    (lambda folder: (folder / "bank.json").unlink(), "holds no bank"),
    (lambda folder: (folder / "bank.json").write_text("{"), "is damaged"),
    (lambda folder: edit(folder, format=9), "format 9, this version reads 1"),
    (lambda folder: edit(folder, instructions=["a", "b"]), "expected"),
])  # fmt: skip
def test_a_bank_that_cannot_be_read_is_named(change, words, tmp_path):
    folder = save_bank(tmp_path / "bank", make_bank())
    change(folder)
    with pytest.raises(RunError, match=words):
        load_bank(folder, one_policy)


def test_a_place_where_nothing_can_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*bank\.json: not a directory"):
        save_bank(tmp_path / "file" / "bank", make_bank())
    with pytest.raises(RunError, match=r"cannot write .*chunk\.npz: file exists"):
        write_chunk(tmp_path / "file" / "chunk.npz", ["a"], np.zeros((1, 2)), np.zeros((1, 2), int))
    write_chunk(tmp_path / "chunks" / "chunk.npz", ["a"], np.zeros((1, 2)), np.zeros((1, 2), int))
    assert [path.name for path in (tmp_path / "chunks").iterdir()] == ["chunk.npz"]


def test_a_chunk_with_other_bytes_is_learned_again(tmp_path):
    path, values = tmp_path / "chunk.npz", np.arange(8.0).reshape(1, 8)
    write_chunk(path, ["a"], values, np.zeros((1, 8), int))
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = read_chunk(path, ["a"])
        assert found is None or np.array_equal(found[0], values)
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_chunk(path, ["a"])[0], values)
    assert read_chunk(path, ["b"]) is None


def test_policies_of_another_kind_and_another_encoder_are_named(tmp_path):
    folder = save_bank(tmp_path / "bank", make_bank())
    with pytest.raises(RunError, match="Linear_0"):
        load_bank(folder, lambda: one_policy((4,)))
    with pytest.raises(ConfigError, match=r"have 6 numbers, those of the bank 5 \(minilm\)"):
        check_encoder(make_bank(), np.zeros((2, 6), np.float32))
