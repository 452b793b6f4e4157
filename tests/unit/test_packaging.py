"""What is installed under the name ialstore, read from its metadata."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distribution
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest

import ialstore
from ialstore.registry import BUILT_IN, Registration

PACKAGES = ("ialstore", "ialstore_backends")
RUN_TIME_EXTRAS = {
    "bedrock",
    "dynamodb",
    "faiss",
    "opensearch",
    "opentelemetry",
    "prometheus",
    "redis",
    "report",
    "sentence-transformers",
    "tiktoken",
    "zstd",
}
EXTRAS = {"all", "testing"} | RUN_TIME_EXTRAS


@pytest.fixture
def installed() -> Distribution:
    return distribution("ialstore")


def top_level(dist: Distribution) -> set[str]:
    """Return the packages a distribution makes importable, from a wheel or an editable install."""
    names: set[str] = set()
    for file in dist.files or ():
        if file.suffix == ".pth":
            for root in file.read_text().split("\n"):
                names |= {found.parent.name for found in Path(root).glob("*/__init__.py") if root}
        elif file.suffix == ".py":
            names.add(file.parts[0])
    return names


def test_it_installs_exactly_two_packages(installed: Distribution) -> None:
    assert top_level(installed) == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_typed(package: str) -> None:
    assert files(package).joinpath("py.typed").is_file()


def test_the_backends_folder_is_no_package() -> None:
    spec = find_spec("backends")
    assert spec is None or spec.origin is None, "backends/ has an __init__.py"


def test_the_version_is_the_package_s(installed: Distribution) -> None:
    assert installed.version == ialstore.__version__


def test_the_extras_are_the_promised_ones(installed: Distribution) -> None:
    assert set(installed.metadata.get_all("Provides-Extra") or ()) == EXTRAS


def test_the_extra_all_is_the_sum_of_those_for_run_time(installed: Distribution) -> None:
    needed: dict[str, set[str]] = {}
    for line in installed.requires or ():
        requirement, _, marker = line.partition(";")
        for extra in re.findall(r"extra\s*==\s*['\"]([^'\"]+)", marker):
            needed.setdefault(extra, set()).add(requirement.strip())
    assert needed["all"] == set().union(*(needed[extra] for extra in RUN_TIME_EXTRAS))


@pytest.mark.parametrize("one", BUILT_IN, ids=lambda one: f"{one.kind}:{one.name}")
def test_what_needs_an_extra_names_one_of_the_promised(one: Registration) -> None:
    assert one.extra in {"", *(f"ialstore[{extra}]" for extra in RUN_TIME_EXTRAS)}


def test_the_command_is_installed(installed: Distribution) -> None:
    (script,) = installed.entry_points.select(group="console_scripts")
    assert (script.name, script.value) == ("ialstore", "ialstore.cli:main")
