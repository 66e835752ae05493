"""The metadata against the tree: what is not listed is not in the wheel."""

import tomllib
from pathlib import Path

import pytest

import jaxvlm

ROOT = Path(jaxvlm.__file__).resolve().parents[1]
METADATA = ROOT / "pyproject.toml"

pytestmark = pytest.mark.skipif(
    not METADATA.exists(), reason="installed package: there is no checkout to compare"
)


@pytest.fixture(scope="module")
def metadata():
    return tomllib.loads(METADATA.read_text())


def packages_on_disk() -> set[str]:
    files = [path for name in ("jaxvlm", "envs") for path in (ROOT / name).rglob("*.py")]
    return {".".join(path.parent.relative_to(ROOT).parts) for path in files}


def test_every_folder_with_python_files_is_listed(metadata):
    listed = metadata["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(packages_on_disk())


def test_every_package_has_an_init():
    assert [
        name for name in packages_on_disk() if not (ROOT / name.replace(".", "/") / "__init__.py").exists()
    ] == []


@pytest.mark.parametrize("package", ["jaxvlm", "envs"])
def test_every_data_file_is_matched(metadata, package):
    patterns = metadata["tool"]["setuptools"]["package-data"][package]
    matched = {path for pattern in patterns for path in (ROOT / package).glob(pattern)}
    data = {
        path
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and not path.name.startswith(".")
    }
    assert data - matched == set()


def test_version_is_the_one_of_the_metadata(metadata):
    assert metadata["project"]["version"] == jaxvlm.__version__


def test_only_lower_bounds(metadata):
    extras = metadata["project"]["optional-dependencies"].values()
    for requirement in [*metadata["project"]["dependencies"], *(line for lines in extras for line in lines)]:
        assert ">=" in requirement
        assert not any(bound in requirement for bound in ("<", "==", "~=", "!="))
