"""Files about checkpoints whose names end alike: none is written over another's."""

import shutil

import pytest

from jaxvlm.clip import resolve
from jaxvlm.reproduce import Place, fig2

FEW = ("--chains", 1, "--population", 4, "--rounds", 1, "--states", 20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "flags", "suffixes"),
    [
        (("landscape",), ("--alphas", 0), (".csv", ".png")),
        (("clip", "check"), ("--states", 20), (".json", ".png")),
        (("probe",), FEW, (".json", ".png")),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_checkpoints_whose_names_end_alike_have_files_of_their_own(call, tmp_path, verb, flags, suffixes):
    for name in ("RN50", "RN101"):
        shutil.copytree(resolve("tiny:cartpole"), tmp_path / name / "openai")
        code, out, error = call(*verb, "cartpole", "--clip", f"{name}/openai", *flags, "--output", "made")
        assert code == 0, out + error
    stems = ("cartpole-RN50--openai", "cartpole-RN101--openai")
    assert {path.name for path in (tmp_path / "made").iterdir()} == {s + x for s in stems for x in suffixes}


@pytest.mark.slow
def test_a_landscape_is_where_its_row_looks_for_it(call, tmp_path):
    shutil.copytree(resolve("tiny:cartpole"), tmp_path / "RN50" / "openai")
    for clips in ((), ("RN50/openai",)):
        row = fig2.rows(Place(clips=clips))[0]
        assert call(*row.arguments)[0] == 0
        assert (tmp_path / "runs" / "reproduce" / row.product).exists()
    assert (tmp_path / "runs" / "reproduce" / "landscapes" / "cartpole-tiny.csv").exists()
