"""Sets of states on disk: whole or refused, and readable with NumPy and JSON alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from envs.captions.scenes import scene_type, states_of
from envs.cartpole import CartPoleScene
from jaxvlm.errors import ConfigError, RunError
from jaxvlm.evaluation.states import StateDataset, find_dataset_folder, join, made_by, scene_fields


def states(count=6, seed=0, source=None, goals=("upright",)):
    generator = np.random.default_rng(seed)
    index = {name: np.arange(count, dtype=np.int32) // 2 for name in ("seed", "episode", "step")}
    return StateDataset(
        domain="cartpole",
        scenes={name: generator.normal(size=count).astype(np.float32) for name in ("x", "theta")},
        labels={goal: generator.random(count) < 0.5 for goal in goals},
        graded={goal: generator.normal(size=count).astype(np.float32) for goal in goals},
        index={"source": np.zeros(count, np.int32), **index},
        sources=(source or {"kind": "sampler"},),
    )


def equal(a, b):
    assert a.arrays().keys() == b.arrays().keys()
    for name, array in a.arrays().items():
        np.testing.assert_array_equal(array, b.arrays()[name])
        assert array.dtype == b.arrays()[name].dtype
    assert (a.domain, a.sources) == (b.domain, b.sources)


def test_what_is_saved_is_loaded(tmp_path):
    dataset = replace(
        states(),
        human={"upright": np.array([1, 0, -1, -1, 1, 0], np.int8)},
        votes={"upright": np.array([[1], [0], [-1], [-1], [1], [0]], np.int8)},
        meta={**made_by(["make"]), "raters": {"upright": ["ann"]}},
    )
    folder = dataset.save(tmp_path / "deep" / "set")
    loaded = StateDataset.load(folder)
    equal(dataset, loaded)
    assert loaded.meta["command"] == ["make"]
    assert "jax" in loaded.meta["versions"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]  # no draft is left


def test_numpy_and_json_are_enough(tmp_path):
    dataset = states()
    folder = dataset.save(tmp_path / "set")
    description = json.loads((folder / "dataset.json").read_text())
    with np.load(folder / "states.npz", allow_pickle=False) as arrays:
        assert set(arrays.files) == set(description["arrays"])
        np.testing.assert_array_equal(arrays["label/upright"], dataset.labels["upright"])
        np.testing.assert_array_equal(arrays["scene/theta"], dataset.scenes["theta"])
    assert description["states"] == 6
    assert description["goals"]["upright"]["positives"] == int(dataset.labels["upright"].sum())
    kinds = {name.partition("/")[0] for name in description["meaning"]}
    assert {name.partition("/")[0] for name in description["arrays"]} <= kinds


def test_an_existing_folder_is_kept_unless_it_is_to_be_replaced(tmp_path):
    first, second = states(seed=1), states(seed=2)
    folder = first.save(tmp_path / "set")
    with pytest.raises(RunError, match="exists already"):
        second.save(folder)
    equal(StateDataset.load(folder), first)
    second.save(folder, overwrite=True)
    equal(StateDataset.load(folder), second)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_else_lies_in_a_folder_stays(tmp_path):
    folder = states(seed=1).save(tmp_path / "set")
    (folder / "labels.csv").write_text("state,label\n0,1\n")
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("a")
    for seed in (2, 3):
        states(seed=seed).save(folder, overwrite=True)
        equal(StateDataset.load(folder), states(seed=seed))
        assert (folder / "labels.csv").read_text() == "state,label\n0,1\n"
        assert (folder / "notes" / "a.txt").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_through_a_link_the_folder_it_points_to_is_replaced_again_and_again(tmp_path):
    real = states(seed=1).save(tmp_path / "elsewhere" / "set")
    link = tmp_path / "linked"
    link.symlink_to(real)
    (real.parent / ".set.replaced").symlink_to(tmp_path)  # a link that lies in the way
    for seed in (2, 3):
        assert states(seed=seed).save(link, overwrite=True) == link
        assert link.is_symlink()
        equal(StateDataset.load(real), states(seed=seed))
    assert [path.name for path in real.parent.iterdir()] == ["set"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "linked"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    folder = states().save(tmp_path / "set")

    def full(*arguments, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(RunError, match="no space left"):
        states(seed=1).save(folder, overwrite=True)
    equal(StateDataset.load(folder), states())
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_process_killed_while_it_replaces_loses_nothing(tmp_path):
    folder = states().save(tmp_path / "set")
    folder.rename(tmp_path / ".set.replaced")  # as it is between the two renames
    assert find_dataset_folder("set", tmp_path) == folder
    equal(StateDataset.load(folder), states())
    folder.rename(tmp_path / ".set.replaced")
    (tmp_path / "linked").symlink_to(folder)
    equal(StateDataset.load(tmp_path / "linked"), states())


def cut(folder):
    file = folder / "states.npz"
    file.write_bytes(file.read_bytes()[:-40])


def change(folder, **values):
    file = folder / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "damaged: states.npz is not the file that was written; make it anew"),
        (lambda folder: (folder / "states.npz").unlink(), "damaged: it has no states.npz; make it anew"),
        (lambda folder: (folder / "dataset.json").unlink(), "no state dataset"),
        (lambda folder: (folder / "dataset.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "dataset.json").write_text("[]"), "no state dataset"),
        (lambda folder: change(folder, format=2), "update jaxvlm"),
        (lambda folder: change(folder, sources=None), "damaged"),
        (lambda folder: change(folder, raters={}), "damaged: votes on 'upright' .* but it has 0 raters"),
    ],
)
def test_what_cannot_be_used_is_named(spoil, message, tmp_path):
    voted = {"upright": np.zeros((6, 1), np.int8)}
    folder = replace(states(), votes=voted, meta={"raters": {"upright": ["ann"]}}).save(tmp_path / "set")
    spoil(folder)
    with pytest.raises(RunError, match=message):
        StateDataset.load(folder)


def test_datasets_are_found_by_path_and_by_name(tmp_path):
    folder = states().save(tmp_path / "sets" / "mine")
    assert find_dataset_folder(folder, tmp_path) == folder
    assert find_dataset_folder("mine", tmp_path / "sets") == folder
    with pytest.raises(RunError, match=r"'other'.*dataset make"):
        find_dataset_folder("other", tmp_path / "sets")


def test_joined_states_keep_their_sources_and_common_goals():
    a, b = states(4, 0, {"kind": "a"}, ("upright", "hanging")), states(6, 1, {"kind": "b"})
    both = join([a, b])
    assert len(both) == 10
    np.testing.assert_array_equal(both.index["source"], [0] * 4 + [1] * 6)
    assert both.goals == ("upright",)
    assert [source["kind"] for source in both.sources] == ["a", "b"]
    np.testing.assert_array_equal(both.labels["upright"][4:], b.labels["upright"])
    # Episodes of different sources are different groups: 2 of the first, 3 of the second.
    assert len(np.unique(both.groups)) == 5
    with pytest.raises(ConfigError, match="several domains"):
        join([a, replace(b, domain="humanoid")])
    with pytest.raises(ConfigError, match="at least one"):
        join([])


def test_rows_and_truth():
    dataset = replace(states(), human={"upright": np.array([1, 0, -1, -1, 1, 0], np.int8)})
    part = dataset.rows(np.array([5, 0, 2]))
    holds, known = part.truth("upright", "human")
    np.testing.assert_array_equal(holds, [False, True, False])
    np.testing.assert_array_equal(known, [True, True, False])
    assert part.truth("upright")[1].all()
    with pytest.raises(ConfigError, match="no human labels of 'hanging'"):
        dataset.truth("hanging", "human")
    with pytest.raises(ConfigError, match="one length"):
        replace(dataset, labels={"upright": np.zeros(5, bool)})


def test_scenes_come_back_as_the_environment_has_them():
    dataset = states()
    scene = dataset.scene(scene_type("cartpole"))
    assert isinstance(scene, CartPoleScene)
    np.testing.assert_array_equal(states_of("cartpole", scene).theta, dataset.scenes["theta"])
    with pytest.raises(RunError, match="make it anew"):
        dataset.scene(scene_type("humanoid"))
    with pytest.raises(ConfigError, match="dataclass"):
        scene_fields({"x": np.zeros(3)})
