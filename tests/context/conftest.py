"""What the tests of the context engine share: an engine over stores that a test can meddle with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ialstore import IndexSpec, Message
from ialstore.config import open_index, open_store
from ialstore.context import ContextBudget, ContextEngine
from ialstore.embedding import HashingEmbedder
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

START = datetime(2024, 2, 29, 12, tzinfo=UTC)


class Clock:
    """The time of a store, in the hands of a test."""

    def __init__(self) -> None:
        self.now = START + timedelta(days=1)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def meddled(kind: type[Any], *hooks: str) -> type[Any]:
    """Return a store that does once, before or after a hook, what a test told it to."""

    def __init__(self: Any, *args: Any, **settings: Any) -> None:  # noqa: N807 - of the class below
        self.before = {}
        self.after = {}
        self.calls = []
        self.watch = bool
        kind.__init__(self, *args, **settings)

    def around(name: str) -> Callable[..., Any]:
        hook = getattr(kind, "_" + name)

        def call(self: Any, op: Any, *args: Any) -> Any:
            self.calls.append(name)
            self.watch(op)
            self.before.pop(name, bool)()
            result = hook(self, op, *args)
            self.after.pop(name, bool)()
            return result

        return call

    members = {"_" + name: around(name) for name in hooks}
    return type("Meddled" + kind.__name__, (kind,), {"__init__": __init__, **members})


Store = meddled(
    MemoryConversationStore,
    *("append", "replace", "get", "history", "delete", "delete_session", "erase"),
)
Index = meddled(
    MemoryVectorIndex, *("upsert", "search", "get", "delete", "delete_session", "ids", "erase")
)


class Embedder:
    """The hashing embedder; counts texts, and does once what a test told it to."""

    model = ""
    max_characters: int | None = None

    def __init__(self, dimension: int = 64) -> None:
        self.inner = HashingEmbedder(dimension=dimension)
        self.dimension = dimension
        self.texts: list[str] = []
        self.queries: list[str] = []
        self.instead: Callable[[], Any] | None = None

    def embed(self, texts: Sequence[str]) -> Any:
        self.texts += texts
        return self._once(lambda: self.inner.embed(texts))

    def embed_query(self, text: str) -> Any:
        self.queries.append(text)
        return self._once(lambda: self.inner.embed_query(text))

    def _once(self, usual: Callable[[], Any]) -> Any:
        instead, self.instead = self.instead, None
        return (instead or usual)()


class Rig:
    """An engine, its parts, and messages with times of their own, a second apart."""

    def __init__(self, store: Any = None, index: Any = None, **options: Any) -> None:
        self.clock = Clock()
        self.embedder = Embedder()
        retention = options.pop("retention_days", None)
        settings = {"clock": self.clock, "retention_days": retention}
        spec = IndexSpec(self.embedder.dimension)
        self.store = store or Store(**settings)
        self.index = index or Index(spec, **settings)
        counter = options.pop("token_counter", None)
        self.engine = ContextEngine(
            self.store,
            self.index,
            self.embedder,
            budget=ContextBudget(**options),
            **({"token_counter": counter} if counter else {}),
        )
        self._made = 0

    def message(
        self, content: str, role: str = "user", session_id: str = "s", **fields: Any
    ) -> Message:
        """Make a message a second after the one before."""
        self._made += 1
        fields = {"user_id": "u", "created_at": START + timedelta(seconds=self._made), **fields}
        return Message.new(session_id=session_id, role=role, content=content, **fields)

    def say(self, *contents: str, **fields: Any) -> list[Message]:
        """Append messages, one for each content."""
        messages = [self.message(content, **fields) for content in contents]
        for message in messages:
            self.engine.append(message)
        return messages

    def vector_ids(self, user_id: str = "u") -> list[str]:
        """Return the ids in the index."""
        return list(self.index.ids(user_id))

    def build(self, query: str = "", session_id: str | None = "s", **options: Any) -> Any:
        """Build a context of user u."""
        return self.engine.build_context(query, "u", session_id, **options)


def sqlite_rig(folder: Path) -> Rig:
    """Return an engine over files."""
    url = f"sqlite:///{folder / 'talk.db'}"
    return Rig(open_store(url), open_index(url, IndexSpec(64)))


@pytest.fixture(scope="session")
def new_rig() -> type[Rig]:
    """Make an engine over memory, with the options of a budget."""
    return Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Return an engine over memory with the default budget."""
    rig = Rig()
    yield rig
    rig.engine.close()


@pytest.fixture(params=["memory", "sqlite"])
def any_rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Return an engine over each backend that is always there."""
    rig = Rig() if request.param == "memory" else sqlite_rig(tmp_path)
    yield rig
    rig.engine.close()
