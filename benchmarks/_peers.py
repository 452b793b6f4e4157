"""Stores of conversations, this library's and others', behind one face: what ``peers.py`` measures.

Others are imported when they are opened, by name, because only ``.venv-peers`` has them.
"""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from ialstore import AsyncConversationStore, ConversationStore, IndexSpec, Message, VectorRecord
from ialstore.wrappers.cache import CacheConversationStore, CacheOptions
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions
from ialstore_backends.sqlite import SqliteConversationStore, SqliteOptions, SqliteVectorIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "HITS",
    "LAST",
    "RANGE",
    "Checkpointer",
    "LangChain",
    "LangChainDynamo",
    "LangChainRedis",
    "LangGraph",
    "Mem0",
    "OpenAIAgents",
    "OpenAIAgentsRedis",
    "Ours",
    "OursAwaited",
    "OursCached",
    "OursDynamo",
    "OursOff",
    "Store",
    "Strands",
]

LAST: Final = 20
RANGE: Final = 100
"""Messages of a range of times."""
HITS: Final = 10
DIMENSION: Final = 384
USER: Final = "alice"
SESSION: Final = "monday"
START: Final = datetime(2026, 11, 2, tzinfo=UTC)


def time_of(number: int) -> datetime:
    """Return the time of a message."""
    return START + timedelta(seconds=number)


def vector_of(text: str) -> NDArray[np.float32]:
    """Return a vector of a text: the same for the same text, and no model behind it."""
    seed = int.from_bytes(text.encode()[:64], "little")
    return np.random.default_rng(seed).standard_normal(DIMENSION, np.float32)


class Store(ABC):
    """A conversation in a new place, and what can be done with it."""

    NAME: ClassVar[str]
    PACKAGES: ClassVar[tuple[str, ...]] = ()
    IN_ORDER: ClassVar[bool] = True
    READS: ClassVar[int] = 10
    """In a slice: fewer, where one takes long."""
    MOST: ClassVar[int] = 1_000_000
    """Messages that a conversation can hold, or that can be waited for."""
    APPENDS: ClassVar[float] = 1.0
    """The share of appends that are made: less, where one takes long."""
    CAN: ClassVar[frozenset[str]] = frozenset({"append", "last"})

    def __init__(self, place: str, *, log: bool) -> None:
        """Open it in a file, folder or at a URL.

        Args:
            place: where.
            log: whether SQLite's write-ahead log is switched on where it is not on already.
        """

    @abstractmethod
    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""

    @abstractmethod
    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""

    @abstractmethod
    def read(self) -> list[str]:
        """Return the last texts, the oldest first."""

    def read_range(self, first: int) -> list[str]:
        """Return the ``RANGE`` texts from a number on, found by their times."""
        raise NotImplementedError

    def search(self, text: str) -> list[str]:
        """Return the ``HITS`` texts whose vectors are nearest."""
        raise NotImplementedError

    def add(self, texts: Sequence[str]) -> None:
        """Add texts with their vectors, to be searched."""
        raise NotImplementedError

    def times(self, number: int, call: Callable[[], list[str]]) -> list[str]:
        """Call so many times and return the last answer."""
        for _ in range(number - 1):
            call()
        return call()

    @abstractmethod
    def close(self) -> None:
        """Close it."""


# -- ours -----------------------------------------------------------------------------------------


class Ours(Store):
    """``SqliteConversationStore``, and ``SqliteVectorIndex`` in the same file."""

    NAME = "ialstore"
    PACKAGES = ("ialstore",)
    CAN = frozenset({"append", "last", "range", "search"})

    def __init__(self, place: str, *, log: bool) -> None:
        self.store = self.opened(place)
        self.place = place
        self._count = 0
        self._stack = ExitStack()

    def opened(self, place: str) -> ConversationStore:
        """Return the store."""
        return SqliteConversationStore(place)

    def messages(self, texts: Sequence[str]) -> list[Message]:
        """Return new messages, a second apart."""
        self._count += len(texts)
        return [
            Message.new(
                user_id=USER,
                session_id=SESSION,
                role="user",
                content=one,
                created_at=time_of(self._count - len(texts) + number),
            )
            for number, one in enumerate(texts)
        ]

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""
        for one in texts:
            self.store.append(*self.messages([one]))

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""
        self.store.append(*self.messages(texts))

    def read(self) -> list[str]:
        """Read a page, the newest first."""
        page = self.store.history(USER, session_id=SESSION, limit=LAST)
        return [one.content for one in page][::-1]

    def read_range(self, first: int) -> list[str]:
        """Read a page of a range of times."""
        page = self.store.history(
            USER,
            session_id=SESSION,
            since=time_of(first),
            until=time_of(first + RANGE),
            newest_first=False,
            limit=RANGE,
        )
        return [one.content for one in page]

    def add(self, texts: Sequence[str]) -> None:
        """Append them and add their vectors."""
        said = self.messages(texts)
        self.store.append(*said)
        self.index.upsert(
            USER,
            [
                VectorRecord(one.id, vector_of(one.content), SESSION, "user", one.content)
                for one in said
            ],
        )

    @property
    def index(self) -> SqliteVectorIndex:
        """The index, opened when it is first asked for."""
        if not hasattr(self, "_index"):
            spec = IndexSpec(DIMENSION, "cosine", "benchmark")
            self._index = self._stack.enter_context(SqliteVectorIndex(self.place, spec))
        return self._index

    def search(self, text: str) -> list[str]:
        """Search the index."""
        return [hit.text or "" for hit in self.index.search(USER, vector_of(text), HITS)]

    def close(self) -> None:
        """Close both."""
        self._stack.close()
        self.store.close()


class OursOff(Ours):
    """``SqliteConversationStore``, which forces nothing onto the disk before a checkpoint."""

    NAME = "ialstore, normal"
    CAN = frozenset({"append", "last"})

    def opened(self, place: str) -> ConversationStore:
        """Return the store."""
        return SqliteConversationStore(place, options=SqliteOptions(synchronous="normal"))


class OursDynamo(Ours):
    """``DynamoConversationStore``."""

    CAN = frozenset({"append", "last", "range"})

    def opened(self, place: str) -> ConversationStore:
        """Return the store."""
        store = DynamoConversationStore(f"{uuid.uuid4().hex}-", DynamoOptions(endpoint=place))
        store.setup()
        return store


class OursCached(Ours):
    """The cache in Redis, in front of a store in memory, which its reads do not reach."""

    CAN = frozenset({"last"})

    def opened(self, place: str) -> ConversationStore:
        """Return the store."""
        from ialstore_backends.memory import MemoryConversationStore

        return CacheConversationStore(MemoryConversationStore(), CacheOptions(url=place))


class Awaited(Store):
    """What is awaited, in a loop of its own."""

    def __init__(self, place: str, *, log: bool) -> None:
        self.runner = asyncio.Runner()
        self.opened: Any = self.runner.run(self.open(place))

    @abstractmethod
    async def open(self, place: str) -> Any:
        """Open it in the loop."""

    @abstractmethod
    async def put(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""

    @abstractmethod
    async def last(self) -> list[str]:
        """Return the last texts, the oldest first."""

    @abstractmethod
    def closing(self) -> Coroutine[Any, Any, Any]:
        """Return what closes it in the loop."""

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""

        async def append() -> None:
            for one in texts:
                await self.put([one])

        self.runner.run(append())

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""
        self.runner.run(self.put(texts))

    def read(self) -> list[str]:
        """Read the last."""
        return self.runner.run(self.last())

    def times(self, number: int, call: Callable[[], list[str]]) -> list[str]:
        """Read so many times in one run of the loop."""

        async def read() -> list[str]:
            for _ in range(number - 1):
                await self.last()
            return await self.last()

        return self.runner.run(read())

    def close(self) -> None:
        """Close it, and its loop."""
        self.runner.run(self.closing())
        self.runner.close()


class OursAwaited(Awaited):
    """``AsyncConversationStore`` over ``SqliteConversationStore``."""

    NAME = "ialstore.aio"
    PACKAGES = ("ialstore",)

    async def open(self, place: str) -> Any:
        """Open it in the loop."""
        return AsyncConversationStore(SqliteConversationStore(place))

    async def put(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""
        await self.opened.append(
            *(
                Message.new(user_id=USER, session_id=SESSION, role="user", content=one)
                for one in texts
            )
        )

    async def last(self) -> list[str]:
        """Read a page, the newest first."""
        page = await self.opened.history(USER, session_id=SESSION, limit=LAST)
        return [one.content for one in page][::-1]

    def closing(self) -> Coroutine[Any, Any, Any]:
        """Return what closes it in the loop."""
        found: Coroutine[Any, Any, Any] = self.opened.aclose()
        return found


# -- others ---------------------------------------------------------------------------------------


class LangGraph(Store):
    """``SqliteStore``: the session is a namespace, a message a value under a key of its own."""

    NAME = "LangGraph store"
    PACKAGES = ("langgraph-checkpoint-sqlite",)
    IN_ORDER = False
    SEARCHES = hasattr(sqlite3.Connection, "enable_load_extension")
    """Its search is an extension of SQLite's, which not every Python can load."""
    CAN = frozenset({"append", "last", "range", *(["search"] if SEARCHES else [])})

    def __init__(self, place: str, *, log: bool) -> None:
        module: Any = importlib.import_module("langgraph.store.sqlite")
        self.put_op: Any = importlib.import_module("langgraph.store.base").PutOp
        self.stack = ExitStack()
        index = {"dims": DIMENSION, "embed": self._embed, "fields": ["content"]}
        made = module.SqliteStore.from_conn_string(place, index=index if self.SEARCHES else None)
        self.store: Any = self.stack.enter_context(made)
        if log:
            self.store.conn.execute("PRAGMA journal_mode=WAL")
        self.store.setup()
        self._count = 0

    @staticmethod
    def _embed(texts: Sequence[str]) -> list[list[float]]:
        return [vector_of(one).tolist() for one in texts]

    def _op(self, text: str, *, indexed: bool) -> Any:
        self._count += 1
        value = {"role": "user", "content": text, "at": time_of(self._count - 1).isoformat()}
        index: Any = ["content"] if indexed else False
        return self.put_op((USER, SESSION), str(uuid.uuid4()), value, index)

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""
        for one in texts:
            self.store.batch([self._op(one, indexed=False)])

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""
        self.store.batch([self._op(one, indexed=False) for one in texts])

    def add(self, texts: Sequence[str]) -> None:
        """Append texts with their vectors."""
        self.store.batch([self._op(one, indexed=True) for one in texts])

    def read(self) -> list[str]:
        """Search the namespace, which lists what changed last."""
        return self._contents(self.store.search((USER, SESSION), limit=LAST))

    def read_range(self, first: int) -> list[str]:
        """Search the namespace with a filter on the time."""
        span = {
            "$gte": time_of(first).isoformat(),
            "$lt": time_of(first + RANGE).isoformat(),
        }
        found = self.store.search((USER, SESSION), filter={"at": span}, limit=RANGE)
        return self._contents(found)

    def search(self, text: str) -> list[str]:
        """Search by vector."""
        return self._contents(self.store.search((USER, SESSION), query=text, limit=HITS))

    @staticmethod
    def _contents(found: Any) -> list[str]:
        return [one.value["content"] for one in found]

    def close(self) -> None:
        """Close it."""
        self.stack.close()


class Checkpointer(Store):
    """LangGraph's ``SqliteSaver``: each checkpoint holds the whole conversation."""

    NAME = "LangGraph saver"
    PACKAGES = ("langgraph-checkpoint-sqlite",)
    READS = 1
    MOST = 5_000
    APPENDS = 0.1

    def __init__(self, place: str, *, log: bool) -> None:
        module: Any = importlib.import_module("langgraph.checkpoint.sqlite")
        base: Any = importlib.import_module("langgraph.checkpoint.base")
        self.empty: Any = base.empty_checkpoint
        self.message: Any = importlib.import_module("langchain_core.messages").HumanMessage
        self.stack = ExitStack()
        self.saver: Any = self.stack.enter_context(module.SqliteSaver.from_conn_string(place))
        self.saver.setup()  # which switches the log on
        self.config: Any = {"configurable": {"thread_id": SESSION, "checkpoint_ns": ""}}
        self._held: list[Any] = []

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a checkpoint."""
        for one in texts:
            self.append_all([one])

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one checkpoint."""
        self._held += [self.message(one) for one in texts]
        checkpoint = self.empty() | {"channel_values": {"messages": self._held}}
        step = {"source": "loop", "step": len(self._held), "parents": {}}
        self.config = self.saver.put(self.config, checkpoint, step, {})

    def read(self) -> list[str]:
        """Read the newest checkpoint, and take the last of its messages."""
        newest = {"configurable": {"thread_id": SESSION, "checkpoint_ns": ""}}
        found = self.saver.get_tuple(newest).checkpoint["channel_values"]["messages"]
        return [one.content for one in found[-LAST:]]

    def close(self) -> None:
        """Close it."""
        self.stack.close()


class LangChain(Store):
    """``SQLChatMessageHistory``."""

    NAME = "LangChain"
    PACKAGES: ClassVar[tuple[str, ...]] = ("langchain-community", "langchain-core", "SQLAlchemy")
    READS = 1

    def __init__(self, place: str, *, log: bool) -> None:
        self.message: Any = importlib.import_module("langchain_core.messages").HumanMessage
        self.history: Any = self.opened(place)
        if log:
            with self.history.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")

    def opened(self, place: str) -> Any:
        """Return the history."""
        histories: Any = importlib.import_module("langchain_community.chat_message_histories")
        return histories.SQLChatMessageHistory(SESSION, connection=f"sqlite:///{place}")

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""
        for one in texts:
            self.history.add_message(self.message(one))

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""
        self.history.add_messages([self.message(one) for one in texts])

    def read(self) -> list[str]:
        """Read all, and take the last."""
        return [one.content for one in self.history.messages[-LAST:]]

    def close(self) -> None:
        """Close its connections."""
        self.history.engine.dispose()


class LangChainDynamo(LangChain):
    """``DynamoDBChatMessageHistory``: all of a session in one item, which is written anew."""

    PACKAGES = ("langchain-community", "boto3")
    MOST = 1000
    """An item holds 400 KB."""
    APPENDS = 0.2

    def opened(self, place: str) -> Any:
        """Return the history, in a table that is made for it."""
        histories: Any = importlib.import_module("langchain_community.chat_message_histories")
        session: Any = importlib.import_module("boto3").Session(region_name="us-east-1")
        name = uuid.uuid4().hex
        self.client: Any = session.client("dynamodb", endpoint_url=place)
        self.client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "SessionId", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "SessionId", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        return histories.DynamoDBChatMessageHistory(
            name, SESSION, endpoint_url=place, boto3_session=session
        )

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class LangChainRedis(LangChain):
    """``RedisChatMessageHistory``."""

    PACKAGES = ("langchain-community", "redis")

    def opened(self, place: str) -> Any:
        """Return the history."""
        histories: Any = importlib.import_module("langchain_community.chat_message_histories")
        return histories.RedisChatMessageHistory(uuid.uuid4().hex, url=place)

    def close(self) -> None:
        """Close the connections."""
        self.history.redis_client.close()


class OpenAIAgents(Awaited):
    """``SQLiteSession``."""

    NAME = "OpenAI Agents"
    PACKAGES: ClassVar[tuple[str, ...]] = ("openai-agents",)

    async def open(self, place: str) -> Any:
        """Open it in the loop."""
        return importlib.import_module("agents").SQLiteSession(SESSION, place)

    async def put(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""
        await self.opened.add_items([{"role": "user", "content": one} for one in texts])

    async def last(self) -> list[str]:
        """Read the last items."""
        return [one["content"] for one in await self.opened.get_items(limit=LAST)]

    def closing(self) -> Coroutine[Any, Any, Any]:
        """Return what closes it in the loop."""
        return asyncio.to_thread(self.opened.close)


class OpenAIAgentsRedis(OpenAIAgents):
    """``RedisSession``."""

    PACKAGES = ("openai-agents", "redis")

    async def open(self, place: str) -> Any:
        """Open it in the loop."""
        module: Any = importlib.import_module("agents.extensions.memory")
        return module.RedisSession.from_url(uuid.uuid4().hex, url=place)

    def closing(self) -> Coroutine[Any, Any, Any]:
        """Return what closes it in the loop."""
        found: Coroutine[Any, Any, Any] = self.opened.close()
        return found


class Mem0(Store):
    """mem0's ``SQLiteManager``, the part of it that needs no model: the history of a memory."""

    NAME = "mem0"
    PACKAGES = ("mem0ai",)
    READS = 1
    CAN = frozenset({"append", "last", "range"})

    def __init__(self, place: str, *, log: bool) -> None:
        self.manager: Any = importlib.import_module("mem0.memory.storage").SQLiteManager(place)
        if log:
            self.manager.connection.execute("PRAGMA journal_mode=WAL")
        self._count = 0

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""
        for one in texts:
            at = time_of(self._count).isoformat()
            self.manager.add_history(SESSION, None, one, "ADD", created_at=at, role="user")
            self._count += 1

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""
        rows = [
            {
                "memory_id": SESSION,
                "new_memory": one,
                "event": "ADD",
                "created_at": time_of(self._count + number).isoformat(),
                "role": "user",
            }
            for number, one in enumerate(texts)
        ]
        self.manager.batch_add_history(rows)
        self._count += len(texts)

    def read(self) -> list[str]:
        """Read all, and take the last."""
        return [one["new_memory"] for one in self.manager.get_history(SESSION)[-LAST:]]

    def read_range(self, first: int) -> list[str]:
        """Read all, and take those of the times."""
        since, until = (time_of(one).isoformat() for one in (first, first + RANGE))
        return [
            one["new_memory"]
            for one in self.manager.get_history(SESSION)
            if since <= one["created_at"] < until
        ]

    def close(self) -> None:
        """Close it."""
        self.manager.close()


class Strands(Store):
    """Strands' ``FileSessionManager``: a file for each message; none is forced onto the disk."""

    NAME = "Strands"
    PACKAGES = ("strands-agents",)
    READS = 1

    def __init__(self, place: str, *, log: bool) -> None:
        sessions: Any = importlib.import_module("strands.session.file_session_manager")
        self.types: Any = importlib.import_module("strands.types.session")
        Path(place).mkdir()
        self.manager: Any = sessions.FileSessionManager(SESSION, storage_dir=place)
        agent = self.types.SessionAgent(agent_id=USER, state={}, conversation_manager_state={})
        self.manager.create_agent(SESSION, agent)
        self._count = 0

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""
        for one in texts:
            message = {"role": "user", "content": [{"text": one}]}
            row = self.types.SessionMessage.from_message(message, self._count)
            self.manager.create_message(SESSION, USER, row)
            self._count += 1

    append_all = append_each
    """There is no call for many."""

    def read(self) -> list[str]:
        """Read the last files."""
        first = self._count - LAST
        found = self.manager.list_messages(SESSION, USER, limit=LAST, offset=first)
        return [one.message["content"][0]["text"] for one in found]

    def close(self) -> None:
        """Nothing is open."""
