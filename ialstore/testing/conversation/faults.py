"""What a store makes of a driver that fails: needs the fixture ``faults``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import IalStoreError, Outcome, PartialWriteError, UnavailableError
from ialstore.events import OperationEvent
from ialstore.model import AppendResult, LoadReport, Message
from ialstore.testing.conversation.base import ConversationSuiteBase, Faults, OpenStore, Say
from ialstore.testing.conversation.helpers import calls_of, everything

__all__ = ["Failures"]

_FOR_EVER: Final = 1_000_000
_MAY_NOT_ASK: Final = ("bulk_load", "check", "optimize", "setup")
"""Calls that may end well without the driver, or report what failed."""

_FAULTS: Final[dict[str, Callable[[Faults], None]]] = {
    "one call": lambda faults: faults.unavailable(1),
    "two calls": lambda faults: faults.unavailable(2),
    "for ever": lambda faults: faults.unavailable(_FOR_EVER),
    "lost reply": lambda faults: faults.lost_reply(),
}


class Failures(ConversationSuiteBase):
    """What a store makes of a driver that fails."""

    @pytest.fixture
    def failing(self, faults: Faults | None) -> Faults:
        """Return what makes the driver fail; skip where there is no such thing."""
        if faults is None:
            pytest.skip(
                "define a fixture faults that makes your driver fail: unavailable(calls) and "
                "lost_reply(), see ialstore.testing.conversation.base.Faults"
            )
        return faults

    def test_an_outage_ends_every_call_with_an_error_that_says_so(
        self, store: ConversationStore, failing: Faults, say: Say
    ) -> None:
        """E1, C4, C5: retryable, not applied, from its cause; never an empty answer."""
        message = say()
        store.append(message)
        heard: list[OperationEvent] = []
        store.subscribe(heard.append)
        calls = calls_of(store, replace(message, summary="other"))
        calls["append"] = lambda: store.append(say())
        for name, call in calls.items():
            if name in _MAY_NOT_ASK:
                continue
            failing.unavailable(_FOR_EVER)
            with pytest.raises(UnavailableError) as caught:
                call()
            failing.unavailable(0)
            error = caught.value
            assert (error.operation, error.backend) == (name, store.backend)
            assert (error.retryable, error.outcome) == (True, Outcome.NOT_APPLIED), name
            assert error.__cause__ is not None, f"E1: {name}: raise ... from cause"
            assert (heard[-1].operation, heard[-1].error) == (name, "UnavailableError")
            assert everything(store) == [message]

    def test_a_load_counts_what_an_outage_kept_out(
        self, store: ConversationStore, failing: Faults, say: Say
    ) -> None:
        """S12, C4: or raises; repeating it completes it."""
        messages = [say(str(place)) for place in range(30)]
        failing.unavailable(_FOR_EVER)
        reports: list[LoadReport] = []
        error = raised_by(lambda: reports.append(store.bulk_load(messages)))
        failing.unavailable(0)
        if error is None:
            assert reports == [LoadReport(written=0, failed=30)]
        else:
            assert isinstance(error, UnavailableError)
            assert (error.retryable, error.outcome) == (True, Outcome.NOT_APPLIED)
        assert everything(store) == []
        assert store.bulk_load(messages) == LoadReport(written=30)
        assert everything(store) == messages

    @pytest.mark.parametrize("fault", _FAULTS)
    def test_a_message_is_stored_once_however_often_it_fails(
        self, store: ConversationStore, failing: Faults, say: Say, fault: str
    ) -> None:
        """S1, C4: acknowledged, not applied or unknown; repeating it stores it once."""
        before, message = say("before"), say("message")
        store.append(before)
        _FAULTS[fault](failing)
        error = raised_by(lambda: store.append(message))
        failing.unavailable(0)

        there = everything(store)
        assert there[:1] == [before], "C4: what was acknowledged stays"
        assert there[1:] in ([], [message])
        if error is None:
            assert there == [before, message], "C4: it was acknowledged, and is not there"
        else:
            assert isinstance(error, UnavailableError)
            assert error.retryable, "E1: the same call may succeed later"
            assert error.outcome in (Outcome.NOT_APPLIED, Outcome.UNKNOWN)
            told = error.outcome is Outcome.NOT_APPLIED
            assert not (told and message in there), "C4: it was called not applied, and is there"
        again = store.append(message)
        ids = (message.id,)
        assert again == (AppendResult((), ids) if message in there else AppendResult(ids))
        assert everything(store) == [before, message]

    @pytest.mark.parametrize("fault", _FAULTS)
    def test_a_failed_batch_says_what_became_of_each(
        self, store: ConversationStore, failing: Faults, say: Say, fault: str
    ) -> None:
        """S2, C4, E1: exactly; repeating it completes it."""
        duplicate, *new = messages = [say(str(place)) for place in range(60)]
        store.append(duplicate)
        _FAULTS[fault](failing)
        error = raised_by(lambda: store.append(*messages))
        failing.unavailable(0)

        there = {one.id for one in everything(store)}
        assert duplicate.id in there
        asked = {one.id for one in messages}
        if isinstance(error, PartialWriteError):
            _assert_exact(error, asked, there, duplicate.id)
            assert not store.capabilities.atomic_append, "S2: a failed batch stores nothing"
        elif error is None:
            assert there == asked, "C4: it was acknowledged"
        else:
            assert isinstance(error, UnavailableError)
            told = error.outcome is Outcome.NOT_APPLIED
            assert not told or there == {duplicate.id}, "C4: it was called not applied"
        if store.capabilities.atomic_append:
            assert there in ({duplicate.id}, asked), "S2: all of a batch or nothing"
        result = store.append(*messages)
        assert set(result.stored) == asked - there
        assert set(result.duplicates) == there
        assert everything(store) == [duplicate, *new]

    def test_other_writes_whose_reply_is_lost_are_safe_to_repeat(
        self, store: ConversationStore, failing: Faults, say: Say
    ) -> None:
        """C4, S4, S10, S11, S12: what is not known may be applied, at most once."""
        kept, gone, loaded = say("kept"), say("gone"), say("loaded", session_id="s2")
        changed = replace(kept, content="changed")
        store.append(kept, gone)
        writes: list[tuple[Callable[[], object], list[Message]]] = [
            (lambda: store.replace(changed), [changed, gone]),
            (lambda: store.delete("u1", [gone.id]), [changed]),
            (lambda: store.bulk_load([loaded]), [changed, loaded]),
            (lambda: store.delete_session("u1", "s2"), [changed]),
            (lambda: store.erase("u1"), []),
        ]
        for write, expected in writes:
            failing.lost_reply()
            error = raised_by(write)
            if error is not None:
                assert error.outcome in (Outcome.UNKNOWN, Outcome.PARTIAL), "C4: it was applied"
                assert error.retryable, "E1: the same call may succeed later"
            write()
            assert everything(store) == expected

    def test_what_was_acknowledged_outlives_an_outage(
        self, store: ConversationStore, open_store: OpenStore, failing: Faults, say: Say
    ) -> None:
        """C4, S15: with `capabilities.durable`, also when the store is closed meanwhile."""
        if not store.capabilities.durable:
            pytest.skip("capabilities.durable is false: nothing is there after reopening")
        message = say()
        store.append(message)
        failing.unavailable(_FOR_EVER)
        with pytest.raises(UnavailableError):
            store.append(say())
        store.close()
        failing.unavailable(0)
        assert everything(open_store()) == [message]


def raised_by(call: Callable[[], object]) -> IalStoreError | None:
    """Return the error of ialstore that a call raises, or None."""
    try:
        call()
    except IalStoreError as error:
        return error
    return None


def _assert_exact(
    error: PartialWriteError, asked: set[str], there: set[str], duplicate: str
) -> None:
    told = [
        *error.stored,
        *error.duplicates,
        *error.conflicting,
        *error.not_stored,
        *error.unknown,
    ]
    assert sorted(told) == sorted(asked), "E1: every id is in exactly one of the tuples"
    assert error.conflicting == (), "S2: there was no conflict"
    assert set(error.duplicates) <= {duplicate}
    assert set(error.stored) <= there - {duplicate}, "C4: what is called stored is there"
    assert set(error.not_stored).isdisjoint(there - {duplicate}), (
        "C4: what is called not stored is not there"
    )
    assert error.retryable, "E1: the same call may succeed later"
    assert error.outcome is Outcome.PARTIAL
