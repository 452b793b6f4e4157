"""W4: an async face gives the answers of the sync object, and raises its errors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ialstore import (
    AsyncContextEngine,
    AsyncConversationStore,
    AsyncVectorIndex,
    ContextEngine,
    ConversationStore,
    HashingEmbedder,
    IalStoreError,
    IndexSpec,
    InvalidInputError,
    Message,
    StoreNotReadyError,
    VectorIndex,
    VectorRecord,
    Where,
)
from ialstore.events import OperationEvent
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex

SPEC = IndexSpec(2)
START = datetime(2024, 2, 29, 12, tzinfo=UTC)
MESSAGES = [
    Message.new(
        user_id="u",
        session_id=f"s{number % 2}",
        role=("user", "assistant")[number % 2],
        content=f"word{number} and more",
        created_at=START,
        key=str(number),
        seq=number,
    )
    for number in range(6)
]
NEVER = "00000000-0000-7004-96d0-834cdfba6509"
RECORDS = [
    VectorRecord(one.id, np.array([1.0, number]), one.session_id, one.role, one.content)
    for number, one in enumerate(MESSAGES)
]

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def call(name: str, *args: Any, **kwargs: Any) -> Call:
    """Return a call to make on a sync object and on its face."""
    return name, args, kwargs


STORE_CALLS = [
    call("setup"),
    call("append", *MESSAGES),
    call("append", MESSAGES[0]),
    call("append"),
    call("replace", MESSAGES[0]),
    call("get", "u", [MESSAGES[1].id, NEVER]),
    call("history", "u", limit=2),
    call("history", "u", session_id="s1", since=START, newest_first=False, limit=1000),
    call("summaries", "u", limit=3),
    call("sessions", "u", limit=1),
    call("users", limit=10),
    call("optimize", "u"),
    call("delete", "u", [MESSAGES[0].id, NEVER]),
    call("delete_session", "u", "s1"),
    call("bulk_load", MESSAGES),
    call("erase", "u"),
    call("check"),
    # what is refused
    call("append", MESSAGES[0], "no message"),
    call("append", *([MESSAGES[0]] * 101)),
    call("replace", None),
    call("get", "", [NEVER]),
    call("history", "u", limit=0),
    call("history", "u", cursor="damaged"),
    call("sessions", "u", consistency="sometimes"),
    call("delete", "u", ["no id"]),
    call("users", limit=-1),
    call("bulk_load", [MESSAGES[0], None]),
]
INDEX_CALLS = [
    call("setup"),
    call("upsert", "u", RECORDS),
    call("upsert", "u", []),
    call("prefetch", "u"),
    call("search", "u", [1, 1]),
    call("search", "u", [1, 1], 2, where=Where(roles=["user"]), effort=1.0),
    call("get", "u", [RECORDS[1].id, NEVER]),
    call("count", "u"),
    call("ids", "u", limit=4),
    call("users"),
    call("optimize", "u"),
    call("delete", "u", [RECORDS[0].id, NEVER]),
    call("bulk_load", [("u", record) for record in RECORDS]),
    call("delete_session", "u", "s1"),
    call("erase", "u"),
    call("check"),
    # what is refused
    call("upsert", "u", [None]),
    call("search", "u", [1, 1, 1]),
    call("search", "u", [1, 1], k=10**9),
    call("search", "u", [1, 1], where=None),
    call("get", "u", "no ids"),
    call("ids", "u", cursor="damaged"),
    call("bulk_load", [("u", None)]),
]
ENGINE_CALLS = [
    call("append", *MESSAGES),
    call("replace", MESSAGES[0]),
    call("build_context", "word3", "u", "s0", max_tokens=500),
    call("build_context", "word3", "u"),
    call("search", "word3", "u"),
    call("search", "word3", "u", 2, where=Where(session_id="s0")),
    call("delete", "u", [MESSAGES[0].id]),
    call("repair", "u"),
    call("delete_session", "u", "s1"),
    call("erase", "u"),
    call("get_performance_metrics"),
    call("save", "u", "s", "user", "hello", summary="in short", metadata={"a": 1}),
    call("save_interaction", "u", "s", "hello?", "hello."),
    # what is refused
    call("append", None),
    call("build_context", 5, "u"),
    call("search", "?", "u"),
    call("build_context", "word", "u", max_tokens=-1),
    call("save", "u", "s", "nobody", "hello"),
    call("delete", "u", ["no id"]),
]


def plain(answer: Any) -> Any:
    """Return an answer without what differs from call to call: times taken and ids of now."""
    if isinstance(answer, dict):
        return sorted(answer)
    if isinstance(answer, Message):
        return answer if answer in MESSAGES else (answer.content, answer.summary, answer.metadata)
    if isinstance(answer, VectorRecord):
        return answer.id, answer.vector.tolist(), answer.session_id, answer.role, answer.text
    if isinstance(answer, (list, tuple)):
        return [plain(one) for one in answer]
    if hasattr(answer, "timings"):
        return answer.recent, answer.memories, answer.tokens, answer.left_out
    return answer


def problem(error: IalStoreError) -> Any:
    """Return what a caller sees of an error."""
    return type(error), str(error), {k: v for k, v in vars(error).items() if k != "messages"}


def sync_answers(sync: Any, calls: list[Call]) -> list[Any]:
    """Return the answers and errors of the sync object."""
    answers: list[Any] = []
    for name, args, kwargs in calls:
        try:
            answers.append((name, plain(getattr(sync, name)(*args, **kwargs))))
        except IalStoreError as error:
            answers.append((name, problem(error)))
    return answers


async def async_answers(face: Any, calls: list[Call]) -> list[Any]:
    """Return the answers and errors of its face."""
    answers: list[Any] = []
    for name, args, kwargs in calls:
        try:
            answers.append((name, plain(await getattr(face, name)(*args, **kwargs))))
        except IalStoreError as error:
            answers.append((name, problem(error)))
    return answers


def memory_store(_: Path) -> ConversationStore:
    return MemoryConversationStore()


def sqlite_store(folder: Path) -> ConversationStore:
    return SqliteConversationStore(folder / "conversations.db")


def memory_index(_: Path) -> VectorIndex:
    return MemoryVectorIndex(SPEC)


def sqlite_index(folder: Path) -> VectorIndex:
    return SqliteVectorIndex(folder / "vectors.db", SPEC)


def engine(_: Path) -> ContextEngine:
    embedder = HashingEmbedder(dimension=64)
    index = MemoryVectorIndex(IndexSpec(64, model=embedder.model))
    return ContextEngine(MemoryConversationStore(), index, embedder)


@pytest.mark.parametrize(
    ("make", "face_of", "calls"),
    [
        pytest.param(memory_store, AsyncConversationStore, STORE_CALLS, id="memory store"),
        pytest.param(sqlite_store, AsyncConversationStore, STORE_CALLS, id="sqlite store"),
        pytest.param(memory_index, AsyncVectorIndex, INDEX_CALLS, id="memory index"),
        pytest.param(sqlite_index, AsyncVectorIndex, INDEX_CALLS, id="sqlite index"),
        pytest.param(engine, AsyncContextEngine, ENGINE_CALLS, id="engine"),
    ],
)
def test_the_answers_and_errors_are_those_of_the_sync_object(
    make: Callable[[Path], Any],
    face_of: Callable[[Any], Any],
    calls: list[Call],
    tmp_path: Path,
    run: Any,
) -> None:
    (tmp_path / "sync").mkdir()
    (tmp_path / "async").mkdir()
    with make(tmp_path / "sync") as sync:
        expected = sync_answers(sync, calls)

    async def main() -> list[Any]:
        async with face_of(make(tmp_path / "async")) as face:
            return await async_answers(face, calls)

    assert run(main) == expected
    public = {name for name in dir(face_of) if not name.startswith("_")}
    methods = {name for name in public if callable(getattr(face_of, name))}
    assert methods - {name for name, *_ in calls} == {"aclose"} | (
        methods & {"is_optimize_due", "is_prefetch_due", "subscribe"}
    )


@pytest.mark.parametrize(
    ("make", "face_of", "calls"),
    [
        pytest.param(memory_store, AsyncConversationStore, STORE_CALLS, id="store"),
        pytest.param(memory_index, AsyncVectorIndex, INDEX_CALLS, id="index"),
    ],
)
def test_a_closed_face_refuses_what_the_closed_sync_object_refuses(
    make: Callable[[Path], Any],
    face_of: Callable[[Any], Any],
    calls: list[Call],
    tmp_path: Path,
    run: Any,
) -> None:
    """S15: a later call raises `StoreNotReadyError`; E2: what is invalid is refused before."""
    sync = make(tmp_path)
    sync.close()

    async def main() -> list[Any]:
        face = face_of(make(tmp_path))
        await face.aclose()
        await face.aclose()
        return await async_answers(face, calls)

    answers = run(main)
    assert answers == sync_answers(sync, calls)
    assert {kind for _, (kind, *_) in answers} >= {StoreNotReadyError, InvalidInputError}


def test_every_call_of_a_closed_engine_raises_that_it_is_closed(tmp_path: Path, run: Any) -> None:
    async def main() -> list[Any]:
        face = AsyncContextEngine(engine(tmp_path))
        await face.aclose()
        await face.aclose()
        with pytest.raises(StoreNotReadyError):
            await face.store.get("u", [])
        with pytest.raises(StoreNotReadyError):
            await face.index.count("u")
        return await async_answers(face, ENGINE_CALLS)

    for name, (kind, text, attributes) in run(main):
        assert kind is StoreNotReadyError
        assert text == f"{name}: this memory store is closed; open it again"
        assert (attributes["backend"], attributes["operation"]) == ("memory", name)


def test_a_face_says_of_itself_what_the_sync_object_says(tmp_path: Path) -> None:
    store = MemoryConversationStore(timeout_seconds=3, retention_days=1)
    index = memory_index(tmp_path)
    whole = engine(tmp_path)
    store.append(*MESSAGES)
    index.upsert("u", RECORDS)
    pairs: list[tuple[Any, Any]] = [
        (store, AsyncConversationStore(store)),
        (index, AsyncVectorIndex(index)),
    ]
    for sync, face in pairs:
        for name in ("capabilities", "backend", "settings", "retention_seconds", "held_bytes"):
            assert getattr(face, name) == getattr(sync, name), name
        assert face.sync is sync
    assert AsyncVectorIndex(index).spec is index.spec
    assert not AsyncVectorIndex(index).is_optimize_due("u")
    assert not AsyncVectorIndex(index).is_prefetch_due("u")
    both = AsyncContextEngine(whole)
    assert (both.sync, both.embedder, both.budget) == (whole, whole.embedder, whole.budget)
    assert (both.store.sync, both.index.sync) == (whole.store, whole.index)
    assert [repr(face) for face in (pairs[0][1], pairs[1][1])] == [
        "AsyncConversationStore(memory)",
        "AsyncVectorIndex(memory)",
    ]
    assert repr(both) == f"Async{whole!r}"


def test_a_face_tells_its_subscribers_of_every_call(run: Any) -> None:
    seen: list[OperationEvent] = []

    async def main() -> None:
        async with AsyncConversationStore(MemoryConversationStore()) as face:
            unsubscribe = face.subscribe(seen.append)
            await face.append(MESSAGES[0])
            unsubscribe()
            await face.append(MESSAGES[1])

    run(main)
    assert [(one.operation, one.items) for one in seen] == [("append", 1)]
