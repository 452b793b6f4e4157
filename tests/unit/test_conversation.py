"""What the public methods of conversation stores do around the hooks of a backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from ialstore import (
    ConfigurationError,
    Consistency,
    ConversationStore,
    InvalidInputError,
    LoadReport,
    Message,
    Outcome,
    PartialWriteError,
    UnavailableError,
    UnsupportedOperationError,
)
from ialstore._cursor import make_cursor
from ialstore.capabilities import ConversationCapabilities
from ialstore.limits import LOAD_BATCH, MAX_PAGE_BYTES
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage, SessionInfo
from ialstore.operation import Operation
from ialstore.url import StoreURL
from ialstore_backends.memory import MemoryConversationStore

START = datetime(2024, 2, 29, 12, tzinfo=UTC)


def new(content: str = "", **fields: Any) -> Message:
    given: dict[str, Any] = {"user_id": "u", "session_id": "s", "role": "user", "content": content}
    return Message.new(**(given | fields))


class Recording(MemoryConversationStore):
    """A memory store that notes what its hooks get, and does what a test says."""

    def __init__(self, *plans: Exception | None) -> None:
        super().__init__()
        self.plans = list(plans)
        self.batches: list[list[str]] = []
        self.queries: list[HistoryQuery] = []

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        self.batches.append([entry.message.id for entry in entries])
        plan = self.plans.pop(0) if self.plans else None
        if plan is not None:
            raise plan
        super()._load(op, entries)

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        self.queries.append(query)
        return super()._history(op, query)


class Limited(MemoryConversationStore):
    """A memory store that claims little."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = ConversationCapabilities(
        strong_reads=False, writable=False
    )


class Minimal(MemoryConversationStore):
    """A store that lists no users but says it could."""

    _users = ConversationStore._users  # noqa: SLF001 - as if it were not overridden


def test_a_store_without_a_url_form_says_so() -> None:
    with pytest.raises(ConfigurationError, match="ConversationStore has no URL form"):
        ConversationStore.from_url(StoreURL("memory"))


def test_a_claim_without_its_hook_is_a_fault_of_the_backend() -> None:
    with pytest.raises(NotImplementedError):
        Minimal().users()


def test_what_a_store_does_not_claim_it_refuses() -> None:
    """C1, S14, W3: `UnsupportedOperationError`, named, before any I/O."""
    store = Limited()
    message = new()
    writes = {
        "append": lambda: store.append(message),
        "replace": lambda: store.replace(message),
        "delete": lambda: store.delete("u", [message.id]),
        "delete_session": lambda: store.delete_session("u", "s"),
        "erase": lambda: store.erase("u"),
        "bulk_load": lambda: store.bulk_load([message]),
        "optimize": lambda: store.optimize("u"),
        "setup": store.setup,
        "users": store.users,
    }
    for name, call in writes.items():
        with pytest.raises(UnsupportedOperationError) as caught:
            call()
        assert (caught.value.operation, caught.value.backend) == (name, "memory")
    for read in (store.history, store.summaries, store.sessions):
        assert len(read("u")) == 0
        with pytest.raises(UnsupportedOperationError):
            read("u", consistency=Consistency.STRONG)
    with pytest.raises(UnsupportedOperationError):
        store.get("u", [message.id], consistency=Consistency.STRONG)


def test_a_load_goes_in_batches_of_limited_number_and_size() -> None:
    """S12: read as it is needed."""
    store = Recording()
    small = [new() for _ in range(LOAD_BATCH + 1)]
    assert store.bulk_load(small) == LoadReport(LOAD_BATCH + 1)
    assert [len(batch) for batch in store.batches] == [LOAD_BATCH, 1]

    store = Recording()
    third = MAX_PAGE_BYTES // 20
    store.bulk_load(new("x" * third) for _ in range(25))
    assert [len(batch) for batch in store.batches] == [20, 5]

    taken: list[int] = []

    def endless() -> Iterator[Message]:
        while True:
            taken.append(len(store.batches))
            yield new()

    store = Recording(UnavailableError("gone"))
    with pytest.raises(UnavailableError):
        store.bulk_load(endless())
    assert len(taken) == LOAD_BATCH + 1


def test_a_load_counts_what_could_not_be_written() -> None:
    """S12: `LoadReport(written, failed)`."""
    messages = [new(str(place)) for place in range(5)]
    ids = [one.id for one in messages]
    told: list[tuple[int, int | None]] = []
    store = Recording(PartialWriteError(not_stored=[ids[0], ids[1]], unknown=[ids[1], ids[3]]))

    report = store.bulk_load(messages, progress=lambda *step: told.append(step))

    assert report == LoadReport(written=2, failed=3)
    assert told == [(5, None)]


def test_a_load_counts_messages_and_not_ids() -> None:
    """S12: one id may be of several users, and come twice."""
    message = new()
    others = [message, message, new()]
    store = Recording(PartialWriteError(not_stored=[message.id]))
    assert store.bulk_load(others) == LoadReport(written=1, failed=2)


def test_a_load_that_failed_late_does_not_deny_what_it_wrote() -> None:
    """C4: the outcome is that of the whole call."""
    messages = [new() for _ in range(LOAD_BATCH + 1)]
    for before, outcome in ((None, Outcome.PARTIAL), (UnavailableError("gone"), None)):
        store = Recording(before, UnavailableError("gone"))
        with pytest.raises(UnavailableError) as caught:
            store.bulk_load(messages)
        assert caught.value.outcome is (outcome or Outcome.NOT_APPLIED)

    with pytest.raises(InvalidInputError) as refused:
        Recording().bulk_load([*messages[:LOAD_BATCH], "a text"])  # type: ignore[list-item]  # the point
    assert refused.value.outcome is Outcome.NOT_APPLIED
    with pytest.raises(InvalidInputError) as refused:
        Recording().bulk_load([*messages, "a text"])  # type: ignore[list-item]  # the point
    assert refused.value.outcome is Outcome.PARTIAL


def test_an_empty_range_needs_no_hook() -> None:
    """S6: [since, since) is empty."""
    store = Recording()
    assert len(store.history("u", since=START, until=START)) == 0
    assert len(store.summaries("u", since=START, until=START)) == 0
    assert store.queries == []
    store.history("u", since=START, until=START + timedelta(microseconds=1), limit=7)
    assert store.queries[0].limit == 7
    assert store.queries[0].lower < store.queries[0].upper


@pytest.mark.parametrize(
    "position",
    [
        "",
        "5",
        "5:",
        ":s",
        "x:s",
        "1e3:s",
        "9" * 30 + ":s",
        "9" * 5000 + ":s",
        "-9" + "9" * 17 + ":s",
        "5:a\0b",
        "5:" + "x" * 400,
    ],
)
def test_a_forged_cursor_of_sessions_is_damage(position: str) -> None:
    """S8: it grants nothing; whoever makes one with a checksum of its own gets no further."""
    store = MemoryConversationStore()
    with pytest.raises(InvalidInputError, match="the cursor is damaged"):
        store.sessions("u", cursor=make_cursor(("sessions", "u"), position))


def test_a_session_id_with_a_colon_is_a_position() -> None:
    """S9: whatever the session is called."""
    store = MemoryConversationStore()
    for place, session in enumerate(["5:b", ":", "a:5:"]):
        store.append(new(session_id=session, created_at=START - timedelta(seconds=place), key="k"))
    found: list[SessionInfo] = []
    page = store.sessions("u", limit=1)
    while page.cursor is not None:
        found += page
        page = store.sessions("u", limit=1, cursor=page.cursor)
    assert [one.session_id for one in [*found, *page]] == ["5:b", ":", "a:5:"]
