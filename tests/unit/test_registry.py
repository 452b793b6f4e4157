"""Names and URL schemes lead to classes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ialstore import ConfigurationError, InvalidInputError, MissingDriverError, registry
from ialstore.registry import BUILT_IN, GROUPS, Registration, find, known, make, register
from ialstore_backends.memory import MemoryConversationStore


@pytest.fixture(autouse=True)
def _untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo registrations, and what was read of the installed packages."""
    monkeypatch.setattr(registry, "_added", {})
    registry._installed.cache_clear()  # noqa: SLF001 - other tests must not see a planted package
    yield
    registry._installed.cache_clear()  # noqa: SLF001 - as above


def test_the_built_in_table_is_sorted() -> None:
    order = [(one.kind, one.name) for one in BUILT_IN]
    assert order == sorted(order)


@pytest.mark.parametrize("one", BUILT_IN, ids=lambda one: f"{one.kind}:{one.name}")
def test_every_built_in_target_loads(one: Registration) -> None:
    assert isinstance(one.load(), type)


def test_an_unknown_name_is_refused_with_the_closest_one() -> None:
    with pytest.raises(
        ConfigurationError, match=r"no conversation store memori; did you mean memory\?"
    ):
        find("conversation", "memori")


def test_an_unknown_name_unlike_any_other_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigurationError, match="known: memory, sqlite"):
        find("conversation", "xyz")


def test_a_registered_class_is_found() -> None:
    register("conversation", "mine", MemoryConversationStore)
    assert find("conversation", "mine") is MemoryConversationStore
    assert "mine" in known("conversation")
    assert "mine" not in known("vector")


def test_a_registered_class_takes_the_place_of_a_built_in_one() -> None:
    register("conversation", "sqlite", "ialstore_backends.memory:MemoryConversationStore")
    assert find("conversation", "sqlite") is MemoryConversationStore


def test_a_missing_driver_names_what_to_install() -> None:
    absent = Registration("cache", "x", "a_module_that_is_not_there:X", "ialstore[x]")
    with pytest.raises(MissingDriverError, match=r"pip install 'ialstore\[x\]'"):
        absent.load()


def test_a_missing_module_without_an_extra_is_named() -> None:
    absent = Registration("cache", "x", "a_module_that_is_not_there:X")
    with pytest.raises(
        MissingDriverError, match="a_module_that_is_not_there, which is not installed"
    ):
        absent.load()


def test_a_target_that_is_not_in_its_module_is_named() -> None:
    register("conversation", "mine", "ialstore_backends.memory:MemoryStore")
    with pytest.raises(
        ConfigurationError, match=r"mine: ialstore_backends\.memory has no MemoryStore"
    ):
        find("conversation", "mine")


def test_another_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "their_store-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-store\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUPS['conversation']}]\ntheirs = their_store:Store\nmemory = their_store:Store\n"
    )
    (tmp_path / "their_store.py").write_text("class Store: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    registrations = known("conversation")
    assert registrations["theirs"].extra == "their-store"
    assert registrations["theirs"].load().__name__ == "Store"
    assert registrations["memory"].load() is MemoryConversationStore, "ours must not be replaced"


def test_looking_at_names_imports_no_backend() -> None:
    program = (
        "import sys, ialstore.registry as r; r.known('conversation'); r.known('vector');"
        "sys.exit(any(m.startswith('ialstore_backends') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class Part:
    """What a configuration makes with named arguments."""

    def __init__(self, size: int, *, unit: str = "m") -> None:
        if size == 0:
            raise InvalidInputError("size must not be 0")
        self.size = size + 0
        self.unit = unit


class Anything:
    def __init__(self, **options: object) -> None:
        self.options = options


def test_what_takes_named_arguments_is_made_with_them() -> None:
    register("embedder", "part", Part)
    made = make("embedder", "part", {"size": 3}, "x.toml: embedder")
    assert (made.size, made.unit) == (3, "m")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 1, "unti": "m"}, r"x.toml: embedder.unti is unknown; did you mean unit\?"),
        ({"unit": "m"}, "x.toml: embedder.size is missing; part needs it"),
        ({"size": 0}, "x.toml: embedder: size must not be 0"),
        ({"size": "1"}, "x.toml: embedder: can only concatenate str"),
    ],
)
def test_a_wrong_argument_is_named(options: dict[str, object], said: str) -> None:
    register("embedder", "part", Part)
    with pytest.raises(ConfigurationError, match=said):
        make("embedder", "part", options, "x.toml: embedder")


def test_what_takes_any_argument_gets_them_all() -> None:
    register("embedder", "anything", Anything)
    assert make("embedder", "anything", {"a": 1}, "x").options == {"a": 1}
