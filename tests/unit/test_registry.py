"""Names and URL schemes lead to classes."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ialstore import ConfigurationError, InvalidInputError, MissingDriverError, registry
from ialstore.registry import BUILT_IN, GROUPS, Registration, find, known, make, register
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    """Undo what was read of the installed packages."""
    registry._installed.cache_clear()  # noqa: SLF001 - other tests must not see a planted package
    yield
    registry._installed.cache_clear()  # noqa: SLF001 - as above
    sys.modules.pop("their_store", None)


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
    with pytest.raises(ConfigurationError, match="known: dynamodb, memory, sqlite"):
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


STORE = """
from ialstore_backends.memory import MemoryConversationStore
class Store(MemoryConversationStore): SCHEME = "theirs"
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that installs a package with the entry point ``theirs``."""

    def install(
        name: str = "their-store",
        target: str = "their_store:Store",
        source: str = STORE,
        kind: str = "conversation",
    ) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            f"[{GROUPS[kind]}]\ntheirs = {target}\nmemory = {target}\n"
        )
        (tmp_path / "their_store.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()

    return install


def test_another_package_is_found_by_its_entry_point(install: Callable[..., None]) -> None:
    install()
    registrations = known("conversation")
    assert registrations["theirs"].packages == ("their-store",)
    assert registrations["theirs"].load().__name__ == "Store"
    assert registrations["memory"].load() is MemoryConversationStore, "ours must not be replaced"


@pytest.mark.parametrize(
    ("source", "target", "error", "said"),
    [
        pytest.param(
            STORE,
            "their_stores:Store",
            MissingDriverError,
            "theirs of the package their-store: its entry point names the module their_stores, "
            "which is not there; reinstall the package: pip install --force-reinstall "
            "'their-store'",
            id="the module is missing",
        ),
        pytest.param(
            "import a_driver_that_is_not_there.x",
            "their_store:Store",
            MissingDriverError,
            "theirs of the package their-store needs the module a_driver_that_is_not_there, which "
            "is not installed; the extras of their-store say what brings it",
            id="a driver is missing",
        ),
        pytest.param(
            "from ialstore.listing import gone",
            "their_store:Store",
            ConfigurationError,
            "theirs of the package their-store: their_store can't be imported: cannot import name "
            "'gone' from 'ialstore.listing' (PLACE); upgrade their-store or ialstore",
            id="made for another version",
        ),
        pytest.param(
            "raise ValueError('secret')",
            "their_store:Store",
            ConfigurationError,
            "theirs of the package their-store: their_store can't be imported: ValueError; "
            "upgrade their-store or ialstore",
            id="the module raises",
        ),
        pytest.param(
            STORE,
            "their_store:Stor",
            ConfigurationError,
            "theirs of the package their-store: their_store has no Stor",
            id="the class is missing",
        ),
        pytest.param(
            "def Store(): ...",
            "their_store:Store",
            ConfigurationError,
            "theirs of the package their-store: their_store has no class Store",
            id="no class",
        ),
        pytest.param(
            "class Store: ...",
            "their_store:Store",
            ConfigurationError,
            "theirs of the package their-store: Store is no subclass of ialstore.ConversationStore",
            id="another class",
        ),
        pytest.param(
            "from ialstore import ConversationStore\n"
            "class Store(ConversationStore):\n"
            "    _append = _replace = _get = _history = _sessions = None",
            "their_store:Store",
            ConfigurationError,
            "theirs of the package their-store: Store does not define _delete, _erase",
            id="hooks are missing",
        ),
        pytest.param(
            STORE.replace("SCHEME", "CAPABILITIES = None; SCHEME"),
            "their_store:Store",
            ConfigurationError,
            "theirs of the package their-store: Store does not set CAPABILITIES",
            id="no capabilities",
        ),
        pytest.param(
            STORE.replace('"theirs"', "''"),
            "their_store:Store",
            ConfigurationError,
            "theirs of the package their-store: Store does not set SCHEME",
            id="no scheme",
        ),
    ],
)
def test_a_broken_package_says_what_to_do(
    install: Callable[..., None], source: str, target: str, error: type[Exception], said: str
) -> None:
    install(source=source, target=target)
    with pytest.raises(ConfigurationError) as caught:
        find("conversation", "theirs")
    assert type(caught.value) is error
    assert re.sub(r"\(.*\)", "(PLACE)", str(caught.value)) == said


def test_an_embedder_of_another_package_must_embed(install: Callable[..., None]) -> None:
    install(source="class Store:\n    def embed(self, texts): ...", kind="embedder")
    with pytest.raises(ConfigurationError, match="Store does not define embed_query"):
        find("embedder", "theirs")


def test_a_cache_of_another_package_is_found(install: Callable[..., None]) -> None:
    install(source="class Store: ...", kind="cache")
    assert find("cache", "theirs").__name__ == "Store"


def test_two_packages_of_one_name_are_in_each_other_s_way(install: Callable[..., None]) -> None:
    """Which of them came first would decide where the data goes."""
    install()
    install("other-store")
    with pytest.raises(ConfigurationError) as caught:
        find("conversation", "theirs")
    assert "theirs is named by several packages: " in str(caught.value)
    assert "their-store" in str(caught.value)
    assert str(caught.value).endswith("; uninstall all but one")
    assert find("conversation", "memory") is MemoryConversationStore


def test_a_registered_class_must_be_a_store() -> None:
    register("conversation", "mine", MemoryVectorIndex)
    with pytest.raises(
        ConfigurationError, match=r"mine: MemoryVectorIndex is no subclass of ialstore\.Conv"
    ):
        find("conversation", "mine")


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
    register("cache", "part", Part)
    made = make("cache", "part", {"size": 3}, "x.toml: embedder")
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
    register("cache", "part", Part)
    with pytest.raises(ConfigurationError, match=said):
        make("cache", "part", options, "x.toml: embedder")


def test_what_takes_any_argument_gets_them_all() -> None:
    register("cache", "anything", Anything)
    assert make("cache", "anything", {"a": 1}, "x").options == {"a": 1}
