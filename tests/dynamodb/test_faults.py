"""Faults between the store and the service, by a proxy in front of a real server."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from botocore.session import Session

from ialstore import (
    AccessDeniedError,
    ConflictError,
    CorruptError,
    DeadlineExceededError,
    IalStoreError,
    Message,
    Outcome,
    PartialWriteError,
    ThrottledError,
    UnavailableError,
    deadline,
    meter,
)
from ialstore.testing.proxy import (
    BlackHole,
    Corrupt,
    Decision,
    Drip,
    FaultProxy,
    Instead,
    ProxiedRequest,
    ResetAfter,
    ResetBefore,
    Rewrite,
    Truncate,
)
from ialstore.testing.servers import RunningServer
from ialstore.wrappers.retry import RetryConversationStore
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions
from tests.dynamodb.harm import FAULTS, unprocessed
from tests.harm import failing
from tests.timing import ends_within

SLACK_SECONDS = 0.5
"""Beyond a deadline, on a busy machine; the contract's own 100 ms is for an idle one."""


def say(content: str = "x", **fields: Any) -> Message:
    given: dict[str, Any] = {"user_id": "u", "session_id": "s", "role": "user"}
    given |= {"content": content, **fields}
    return Message.new(**given)


@dataclass
class Place:
    """A store behind a proxy, and the same table without one."""

    store: DynamoConversationStore
    plain: DynamoConversationStore
    proxy: FaultProxy

    def fail(self, decision: Decision, operation: str = "", times: int = 1 << 30) -> None:
        """Let the next requests of an operation fail."""
        self.proxy.decide = failing(decision, operation, times)

    def there(self) -> list[Message]:
        return list(self.plain.history("u", newest_first=False, limit=1000))


@pytest.fixture
def place(dynoxide: RunningServer, prefix: str) -> Iterator[Place]:
    with (
        FaultProxy(dynoxide.port) as proxy,
        DynamoConversationStore(prefix, DynamoOptions(endpoint=proxy.endpoint)) as store,
        DynamoConversationStore(prefix, DynamoOptions(endpoint=dynoxide.endpoint)) as plain,
    ):
        plain.setup()
        store.append(say("before"))
        yield Place(store, plain, proxy)


@pytest.mark.parametrize(("decision", "error"), FAULTS, ids=repr)
def test_a_fault_is_an_error_of_ours_and_loses_nothing(
    place: Place, decision: Decision, error: type[IalStoreError]
) -> None:
    """A1, A4, A5, A8, E1, C4: whatever comes in place of a reply."""
    before = place.there()
    place.fail(decision)
    message = say("after")
    calls: list[Callable[[], object]] = [
        lambda: place.store.append(message),
        lambda: place.store.replace(replace(before[0], content="changed")),
        lambda: place.store.history("u"),
        lambda: place.store.get("u", [message.id]),
        lambda: place.store.sessions("u"),
        lambda: place.store.delete("u", [say().id]),
    ]
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        assert type(caught.value) is error
        assert caught.value.backend == "dynamodb"
        assert caught.value.__cause__ is not None
    place.fail(None)
    assert place.store.append(message).stored or place.store.append(message).duplicates
    assert {one.id for one in place.there()} == {before[0].id, message.id}


@pytest.mark.parametrize("decision", [ResetAfter(), Truncate(), Corrupt()], ids=repr)
def test_a_lost_reply_is_looked_up(place: Place, decision: Decision) -> None:
    """A5, E4: the write happened; the read-back tells, and nothing is doubled."""
    place.fail(decision, "PutItem", times=1)
    message = say()
    assert place.store.append(message).stored == (message.id,)
    assert [one.id for one in place.there()].count(message.id) == 1


def test_a_write_that_may_still_come_is_unknown(place: Place) -> None:
    """C4: the reply is lost and nothing is there: it may be on its way."""
    place.fail(ResetBefore(), "PutItem")
    with pytest.raises(UnavailableError) as caught:
        place.store.append(say())
    assert (caught.value.outcome, caught.value.retryable) == (Outcome.UNKNOWN, True)


def test_a_lost_reply_to_another_content_is_a_conflict(place: Place) -> None:
    """A10: same id, other content."""
    message = say("one")
    place.plain.append(message)
    place.fail(ResetAfter(), "PutItem", times=1)
    with pytest.raises(ConflictError):
        place.store.append(replace(message, content="two"))


@pytest.mark.parametrize("decision", [BlackHole(), Drip(0.05)], ids=repr)
def test_no_call_outlasts_its_deadline(place: Place, decision: Decision) -> None:
    """A6, A7, C3: also where a peer drips its headers byte by byte; and it heals."""
    place.fail(decision)
    message = say()
    calls: list[Callable[[], object]] = [
        lambda: place.store.append(message),
        lambda: place.store.history("u"),
        lambda: place.store.append(*[say(str(number)) for number in range(20)]),
    ]

    def late(call: Callable[[], object]) -> None:
        with deadline(0.4), pytest.raises((DeadlineExceededError, PartialWriteError)):
            call()

    for call in calls:
        assert ends_within(0.4 + SLACK_SECONDS, partial(late, call))
    place.fail(None)
    result = place.store.append(message)  # what dripped may have been applied
    assert (*result.stored, *result.duplicates) == (message.id,)
    assert place.store.history("u").items


def test_a_body_that_drips_ends_at_the_deadline(place: Place) -> None:
    """A6: the head came at once."""
    for number in range(3):
        place.plain.append(say("x" * 3000, created_at=None, key=None, name=str(number)))

    place.fail(Drip(0.002), "Query")

    def late() -> None:
        with deadline(1.5), pytest.raises(DeadlineExceededError):
            place.store.history("u")

    assert ends_within(1.5 + SLACK_SECONDS, late)


def test_a_batch_says_exactly_what_became_of_each(place: Place) -> None:
    """S2, A1: some throttled, some lost, some stored."""
    messages = [say(str(number)) for number in range(12)]
    ids = [one.id for one in messages]

    def decide(request: ProxiedRequest) -> Decision:
        if request.operation == "GetItem":
            return Instead.error("ThrottlingException")
        if request.operation != "PutItem":
            return None
        which = ids.index(request.json()["Item"]["timestamp_type"]["S"][-36:])
        return (None, Instead.error("ThrottlingException"), ResetAfter())[which % 3]

    place.proxy.decide = decide
    with pytest.raises(PartialWriteError) as caught:
        place.store.append(*messages)
    error = caught.value
    assert list(error.stored) == ids[0::3]
    assert list(error.not_stored) == ids[1::3]
    assert list(error.unknown) == ids[2::3]
    assert error.retryable
    place.fail(None)
    result = place.store.append(*messages)
    assert sorted([*result.stored, *result.duplicates]) == ids
    assert len(place.there()) == 13


def test_an_error_that_no_call_expects_is_not_hidden(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(place.store._writer, "_put", fail)  # noqa: SLF001 - planted
    with pytest.raises(ZeroDivisionError):
        place.store.append(say(), say())
    monkeypatch.setattr(place.store._writer._access, "_send_batch", fail)  # noqa: SLF001 - planted
    with pytest.raises(ZeroDivisionError):
        place.store.bulk_load([say()])


# -- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3])
def test_what_a_batch_left_undone_is_sent_again(place: Place, times: int) -> None:
    """A2, E4: unprocessed items and keys, with pauses."""
    messages = [say("x" * 5000 + str(number)) for number in range(30)]
    place.proxy.decide = unprocessed("Items", times)
    assert place.store.bulk_load(messages).written == 30
    place.proxy.decide = unprocessed("Keys", times)
    assert place.store.get("u", [one.id for one in messages]) == messages
    place.fail(None)
    assert place.there()[1:] == messages


def test_a_batch_that_never_ends_is_given_up_in_time(place: Place) -> None:
    """A2, C3: for ever; what is left is counted."""
    messages = [say(str(number)) for number in range(25)]
    place.proxy.decide = unprocessed("Items", 1 << 30)
    with deadline(0.5):
        report = place.store.bulk_load(messages)
    assert report.failed > 0
    assert report.written + report.failed == 25
    # What was on its way at the deadline may be there as well.
    assert report.written <= len(place.there()) - 1 <= 25

    def nothing_done(request: ProxiedRequest) -> Decision:
        reply = {"Responses": {}, "UnprocessedKeys": request.json()["RequestItems"]}
        return Instead(200, json.dumps(reply).encode())

    place.proxy.decide = nothing_done
    with deadline(0.5), pytest.raises(ThrottledError):
        place.store.get("u", [one.id for one in messages])


def test_a_load_that_fails_is_counted(place: Place) -> None:
    """S12: what could not be written."""
    messages = [say(str(number)) for number in range(30)]
    place.fail(Instead.error("ThrottlingException"), "BatchWriteItem", times=1)
    report = place.store.bulk_load(messages)
    assert (report.written, report.failed) in ((5, 25), (25, 5))
    place.fail(None)
    assert place.store.bulk_load(messages).written == 30


# -- the directory --------------------------------------------------------------------------------


def test_a_message_is_not_written_before_it_is_listed(place: Place) -> None:
    """S9: a session with a live message is listed, whatever fails."""
    message = say(session_id="new")
    place.fail(ResetAfter(), "UpdateItem")
    with pytest.raises(UnavailableError) as caught:
        place.store.append(message)
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert message.id not in [one.id for one in place.there()]
    place.fail(None)
    assert place.store.append(message).stored
    assert "new" in [one.session_id for one in place.plain.sessions("u")]


# -- long contents --------------------------------------------------------------------------------


def long_text(seed: int = 0) -> str:
    """Return a text that hardly compresses."""
    return base64.b85encode(bytes(os.urandom(700_000))).decode() + str(seed)


def test_a_content_in_parts_is_never_seen_in_part(place: Place) -> None:
    """S1, S4: parts before their head; a failure in between leaves no message."""
    message = say(long_text())
    place.fail(Instead.error("ThrottlingException"), "PutItem", times=1)
    with pytest.raises(ThrottledError) as caught:
        place.store.append(message)
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert len(place.there()) == 1
    orphans = parts_of(place, message)
    place.fail(None)
    assert place.store.append(message).stored == (message.id,)
    assert place.store.append(message).duplicates == (message.id,)
    with pytest.raises(ConflictError):
        place.store.append(replace(message, content="x"))
    with pytest.raises(ConflictError):
        place.store.append(replace(message, content=long_text(1)))
    assert place.store.get("u", [message.id]) == [message]
    assert place.store.history("u", limit=1).items == (message,)
    changed = replace(message, content=long_text(2))
    assert place.store.replace(changed)
    assert place.store.get("u", [message.id]) == [changed]
    assert place.store.replace(replace(message, content="short"))
    assert place.store.delete("u", [message.id]) == 1
    assert not place.store.replace(changed)
    assert parts_of(place, message) == orphans


def parts_of(place: Place, message: Message) -> list[Any]:
    reader = place.plain._reader  # noqa: SLF001 - what the table holds
    from ialstore_backends.dynamodb import keys

    with place.plain._operation("check") as op:  # noqa: SLF001 - as above
        return list(reader.parts_of_day(op, "u", keys.day_of(message.id)))


def test_parts_that_can_not_be_written_or_removed_are_told_or_left(place: Place) -> None:
    """E1, S13: no error of ours is private; what a clean-up leaves is for `optimize`."""
    message = say(long_text())
    place.fail(Instead.error("ThrottlingException"), "BatchWriteItem")
    with pytest.raises(ThrottledError) as caught:
        place.store.bulk_load([message])
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert place.store.append(message).stored == (message.id,)
    assert place.store.replace(replace(message, content="short"))
    assert [one.content for one in place.plain.get("u", [message.id])] == ["short"]
    assert place.store.delete("u", [message.id]) == 1
    assert len(place.there()) == 1


def test_orphaned_parts_go_when_they_are_old(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """S13: `optimize` removes what no head names, and nothing else."""
    kept, lost = say(long_text()), say(long_text(1))
    place.store.append(kept)
    place.fail(Instead.error("AccessDeniedException"), "PutItem", times=1 << 30)

    def decide(request: ProxiedRequest) -> Decision:
        is_head = request.operation == "PutItem" and "ConditionExpression" in request.json()
        return Instead.error("AccessDeniedException") if is_head else None

    place.proxy.decide = decide
    with pytest.raises(AccessDeniedError):
        place.store.append(lost)
    there = len(parts_of(place, lost))
    assert there > len(parts_of(place, kept)) // 2
    assert place.plain.optimize("u").removed == 0
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 7200)
    report = place.plain.optimize("u")
    assert report.removed == there // 2
    assert report.reclaimed_bytes > 500_000
    assert place.plain.get("u", [kept.id]) == [kept]


def test_a_part_that_is_missing_is_corruption(place: Place) -> None:
    """C5: never a shorter text; a bomb neither."""
    message = say(long_text())
    place.store.append(message)
    (first, *_) = parts_of(place, message)
    place.plain._client.call(  # noqa: SLF001 - planted damage
        place.plain._operation("delete"),  # noqa: SLF001 - as above
        "DeleteItem",
        {
            "TableName": place.plain.table,
            "Key": {name: first[name] for name in ("user_date", "timestamp_type")},
        },
    )
    with pytest.raises(CorruptError, match="is missing"):
        place.store.get("u", [message.id])


def test_a_message_that_is_replaced_while_it_is_read(place: Place) -> None:
    """S4: a reader sees the old one or the new one."""
    message = say(long_text())
    place.store.append(message)
    changed = replace(message, content=long_text(1))
    actions: list[Callable[[], object]] = []

    def decide(request: ProxiedRequest) -> Decision:
        if request.operation == "BatchGetItem" and actions:
            actions.pop()()
        return None

    place.proxy.decide = decide
    actions[:] = [lambda: place.plain.replace(changed)]
    assert place.store.get("u", [message.id]) == [changed]
    actions[:] = [lambda: place.plain.replace(replace(message, content="short"))]
    assert [one.content for one in place.store.get("u", [message.id])] == ["short"]
    place.plain.replace(changed)
    actions[:] = [lambda: place.plain.delete("u", [message.id])]
    assert place.store.history("u", session_id="s").items[-1].content == "before"
    place.plain.append(message)
    actions[:] = [
        lambda: place.plain.replace(changed),
        lambda: place.plain.replace(message),
        lambda: place.plain.replace(changed),
    ]
    with pytest.raises(UnavailableError, match="changes faster"):
        place.store.get("u", [message.id])


# -- retry, threads, forks ------------------------------------------------------------------------


def test_a_steady_outage_is_not_made_worse(place: Place) -> None:
    """E4: at most a tenth more calls, once the first burst is used up."""
    retry = RetryConversationStore(place.store)
    place.fail(Instead.error("ThrottlingException"))
    for _ in range(30):
        with deadline(0.2), pytest.raises(IalStoreError):
            retry.get("u", [say().id])
    before = len(place.proxy.requests)
    for _ in range(50):
        with deadline(0.2), pytest.raises(IalStoreError):
            retry.get("u", [say().id])
    assert len(place.proxy.requests) - before <= 50 * 1.1 + 1


def test_many_threads_start_cold(
    dynoxide: RunningServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A16, S15: one client, no matter how many ask first."""
    with DynamoConversationStore(prefix, DynamoOptions(endpoint=dynoxide.endpoint)) as store:
        store.setup()
    with DynamoConversationStore(prefix, DynamoOptions(endpoint=dynoxide.endpoint)) as store:
        made: list[object] = []
        create = Session.create_client

        def count(*args: Any, **options: Any) -> Any:
            made.append(1)
            return create(*args, **options)

        monkeypatch.setattr(Session, "create_client", count)
        start = threading.Barrier(32)

        def work(number: int) -> bool:
            start.wait()
            message = say(str(number), session_id=f"s{number}")
            return bool(store.append(message).stored) and bool(store.history("u", limit=3).items)

        with ThreadPoolExecutor(32) as pool:
            assert all(pool.map(work, range(32)))
        assert len(made) == 1
        assert len(store.history("u", limit=1000)) == 32


def test_nothing_outside_the_units_of_a_call_is_counted(place: Place) -> None:
    """A failed condition is billed, though the service reports nothing."""
    message = say("x" * 2500)
    place.store.append(message)
    with meter() as metered:
        place.store.append(message)
    assert (metered.units.write, metered.units.requests) == (3.0, 1)


def test_a_service_that_does_not_tell_the_old_row_is_asked(place: Place) -> None:
    """A9, A10: what made a condition false is read back."""

    def forget(reply: bytes) -> bytes:
        told = json.loads(reply)
        told.pop("Item", None)
        return json.dumps(told).encode()

    message = say("one")
    assert place.plain.append(message).stored
    place.fail(Rewrite(reply=forget), "PutItem")
    assert place.store.append(message).duplicates == (message.id,)
    with pytest.raises(ConflictError):
        place.store.append(replace(message, content="two"))
    assert place.store.replace(say()) is False

    def delete_first(reply: bytes) -> bytes:
        place.plain.delete("u", [message.id])
        return forget(reply)

    place.fail(Rewrite(reply=delete_first), "PutItem", times=1)
    assert place.store.append(message).stored == (message.id,)
