"""W4: the async face has every public name of the sync one, with the same arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ialstore
from ialstore import (
    AsyncContextEngine,
    AsyncConversationStore,
    AsyncVectorIndex,
    ContextEngine,
    ConversationStore,
    VectorIndex,
)

FACES = [
    pytest.param(ConversationStore, AsyncConversationStore, id="store"),
    pytest.param(VectorIndex, AsyncVectorIndex, id="index"),
    pytest.param(ContextEngine, AsyncContextEngine, id="engine"),
]

RENAMED = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}
OF_BACKENDS = {
    "CAPABILITIES",
    "COST_CHOICES",
    "KIND",
    "OPTIONS",
    "SCHEME",
    "estimate",
    "from_url",
    "iam_policy",
}
"""What a class says to the registry; nobody asks a face."""
NEED_NO_THREAD = {"is_optimize_due", "is_prefetch_due", "subscribe"}
ONLY_OF_FACES = {"aclose", "sync"}
FACE_OF = {"ConversationStore": "AsyncConversationStore", "VectorIndex": "AsyncVectorIndex"}
"""What the properties of an engine's face return in place of the sync objects."""


def public(kind: type[Any]) -> set[str]:
    """Return the public names of a class, and those of its context manager."""
    names = {name for name in dir(kind) if not name.startswith("_")}
    return names | {name for name in RENAMED if hasattr(kind, name)}


def parameters(method: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a method; that a face also takes async iterables is no difference.

    Annotations are texts, as they are written.
    """
    found: list[inspect.Parameter] = []
    for one in inspect.signature(method).parameters.values():
        plain, _, wider = str(one.annotation).partition(" | Async")
        found.append(one.replace(annotation=plain if plain == wider else one.annotation))
    return found


def differences(sync: type[Any], face: type[Any]) -> Iterator[str]:
    """Yield one sentence for each way in which a face differs from the sync class."""
    expected = {RENAMED.get(name, name) for name in public(sync) - OF_BACKENDS}
    offered = public(face) | {name for name in RENAMED.values() if hasattr(face, name)}
    yield from (f"{name} is missing" for name in sorted(expected - offered))
    yield from (f"{name} is of no sync class" for name in sorted(offered - expected - {"sync"}))
    for name in sorted(public(sync) & public(face)):
        ours, theirs = inspect.getattr_static(sync, name), inspect.getattr_static(face, name)
        if isinstance(ours, property):
            if not isinstance(theirs, property):
                yield f"{name} is no property"
            elif returns(theirs.fget) != FACE_OF.get(returns(ours.fget), returns(ours.fget)):
                yield f"{name} is {returns(theirs.fget)}, not {returns(ours.fget)}"
            continue
        if inspect.iscoroutinefunction(theirs) == (name in NEED_NO_THREAD):
            yield f"{name} is to be awaited or not, against the rule"
        if parameters(ours) != parameters(theirs):
            yield f"{name}{inspect.signature(theirs)} is not {inspect.signature(ours)}"
        if returns(ours) != returns(theirs):
            yield f"{name} returns {returns(theirs)}, not {returns(ours)}"


def returns(function: Any) -> str:
    """Return the annotation of what a function returns, without the module of a name."""
    return str(inspect.signature(function).return_annotation).removeprefix("events.")


@pytest.mark.parametrize(("sync", "face"), FACES)
def test_a_face_has_the_same_names_arguments_defaults_and_results(
    sync: type[Any], face: type[Any]
) -> None:
    assert list(differences(sync, face)) == []


class Sync:
    """Stands for a sync class."""

    @property
    def size(self) -> int:
        return 0

    def read(self, name: str, *, limit: int = 50) -> list[str]:
        return [name] * limit

    def subscribe(self, listener: str) -> str:
        return listener

    def close(self) -> None: ...


class Same:
    """Its face, as it should be."""

    @property
    def sync(self) -> Sync:
        return Sync()

    @property
    def size(self) -> int:
        return 0

    async def read(self, name: str, *, limit: int = 50) -> list[str]:
        return [name] * limit

    def subscribe(self, listener: str) -> str:
        return listener

    async def aclose(self) -> None: ...


def test_what_is_the_same_is_no_difference() -> None:
    assert list(differences(Sync, Same)) == []


async def other_default(self: Any, name: str, *, limit: int = 10) -> list[str]:
    raise NotImplementedError


async def other_name(self: Any, user: str, *, limit: int = 50) -> list[str]:
    raise NotImplementedError


async def other_type(self: Any, name: bytes, *, limit: int = 50) -> list[str]:
    raise NotImplementedError


async def other_kind(self: Any, name: str, limit: int = 50) -> list[str]:
    raise NotImplementedError


async def other_result(self: Any, name: str, *, limit: int = 50) -> tuple[str]:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("name", "member", "fault"),
    [
        pytest.param("read", other_default, "is not", id="default"),
        pytest.param("read", other_name, "is not", id="name"),
        pytest.param("read", other_type, "is not", id="type"),
        pytest.param("read", other_kind, "is not", id="kind"),
        pytest.param("read", other_result, "read returns tuple[str], not list[str]", id="result"),
        pytest.param("read", Sync.read, "to be awaited", id="sync"),
        pytest.param("subscribe", Same.aclose, "to be awaited", id="async"),
        pytest.param("size", Sync.read, "size is no property", id="no property"),
        pytest.param("size", Same.sync, "size is Sync, not int", id="another property"),
        pytest.param("extra", Sync.read, "extra is of no sync class", id="more"),
        pytest.param("size", None, "size is missing", id="less"),
        pytest.param("aclose", None, "aclose is missing", id="no end"),
    ],
)
def test_a_planted_difference_is_found(name: str, member: Any, fault: str) -> None:
    members = {**vars(Same), name: member}
    if member is None:
        del members[name]
    found = list(differences(Sync, type("Drifted", (), members)))
    assert any(fault in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("sync", "opening"),
    [
        ("open_store", "open_async_store"),
        ("open_index", "open_async_index"),
        ("open_engine", "open_async_engine"),
    ],
)
def test_what_opens_a_face_takes_what_opens_the_sync_one(sync: str, opening: str) -> None:
    ours = inspect.signature(getattr(ialstore, sync)).parameters
    theirs = dict(inspect.signature(getattr(ialstore, opening)).parameters)
    threads = theirs.pop("max_threads")
    assert dict(ours) == theirs
    assert threads.kind is inspect.Parameter.KEYWORD_ONLY
