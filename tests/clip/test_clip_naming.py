"""Checkpoints in file names: readable, and never two in one."""

import itertools

import pytest

from jaxvlm.clip.checkpoint import ALIASES
from jaxvlm.clip.naming import LONGEST, label_of, stem_of


@pytest.mark.parametrize(
    ("clip", "label"),
    [
        ("tiny", "tiny"),
        ("tiny:humanoid-112", "tiny-humanoid-112"),
        ("untrained", "untrained"),
        ("untrained:runs/clips/small", "untrained-runs--clips--small"),
        ("my-clip", "my-clip"),
        ("RN50/openai", "RN50--openai"),
        ("ViT-H-14/laion2b_s32b_b79k", "ViT-H-14--laion2b_s32b_b79k"),
        ("openai/clip-vit-large-patch14", "openai--clip-vit-large-patch14"),
        ("runs/x/clips/s-1500-s0", "runs--x--clips--s-1500-s0"),
    ],
)
def test_names_stay_readable(clip, label):
    assert label_of(clip) == label


def test_no_two_checkpoints_share_a_label():
    others = (
        "RN50--openai", "RN50-openai", "tiny-humanoid-112", "tiny:humanoid-112", "tiny/humanoid-112", "tiny", "a/b-c",
        "a-b/c", "a/-b", "a-/b", "a--b", "a/b", "a:b", "untrained:a:1", "untrained:a-1", "untrained:a/1", "/a/b", "/b",
        "../b", "b", "ä", "ö", "a b", "a+b", ".b", "c" * 300, "d" + "c" * 299, "x/" + "c" * 299, "y/" + "c" * 299,
    )  # fmt: skip
    names = [*ALIASES, *others]
    labels = [label_of(name) for name in names]
    for one, other in itertools.combinations(range(len(names)), 2):
        assert labels[one].lower() != labels[other].lower(), (names[one], names[other])
    for label in labels:
        assert set(label) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"), label
        assert label[0].isalnum()
        assert len(label) <= LONGEST + 9


def test_a_folder_has_one_label_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = label_of("clips/small")
    assert known == "clips--small"
    for name in (
        "./clips/small",
        "clips//small/",
        f"{tmp_path}/clips/small",
        f"../{tmp_path.name}/clips/small",
    ):
        assert label_of(name) == known
    assert label_of(f"untrained:{tmp_path}/clips/small") == f"untrained-{known}"
    outside = label_of(f"{tmp_path}-other/clips/small")
    assert outside.endswith("-small")
    assert outside != known


def test_stems_say_task_checkpoint_and_size():
    assert stem_of("cartpole", "tiny") == "cartpole-tiny"
    assert stem_of("brax:ant", "tiny", 168) == "brax-ant-tiny-168px"
