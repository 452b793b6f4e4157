"""What is refused, before any I/O, without showing what it was."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import IalStoreError, InvalidInputError, LimitExceededError
from ialstore.ids import HIGHEST_ID, LOWEST_ID, Role
from ialstore.testing.conversation.base import ConversationSuiteBase, Say
from ialstore.testing.conversation.helpers import SECRET, twin_of

__all__ = ["Refusals"]


_REFUSED: Final[list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception]]]] = [
    ("history", ("u1",), {"limit": 0}, InvalidInputError),
    ("history", ("u1",), {"limit": 1001}, LimitExceededError),
    ("history", ("u1",), {"limit": 10**9}, LimitExceededError),
    ("summaries", ("u1",), {"limit": -1}, InvalidInputError),
    ("sessions", ("u1",), {"limit": 0}, InvalidInputError),
    ("sessions", ("u1",), {"limit": 1001}, LimitExceededError),
    ("sessions", ("u1",), {"limit": 1.0}, InvalidInputError),
    ("history", ("u1",), {"limit": True}, InvalidInputError),
    ("history", ("u1",), {"since": "now"}, InvalidInputError),
    ("history", ("u1",), {"cursor": 5}, InvalidInputError),
    ("sessions", ("u1",), {"cursor": "x"}, InvalidInputError),
    ("append", ("text",), {}, InvalidInputError),
    ("append", (None,), {}, InvalidInputError),
    ("replace", ({},), {}, InvalidInputError),
]


class Refusals(ConversationSuiteBase):
    """What is refused, before any I/O, without showing what it was."""

    @pytest.mark.parametrize(
        ("since", "until"),
        [
            (datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
            (datetime(2024, 1, 1), None),  # noqa: DTZ001 - a naive one is the point
            (None, datetime(2024, 1, 1)),  # noqa: DTZ001 - as above
        ],
    )
    def test_a_range_that_is_none_is_refused(
        self, store: ConversationStore, since: datetime | None, until: datetime | None
    ) -> None:
        """S6, M2: since > until, or naive."""
        for listing in (store.history, store.summaries):
            with pytest.raises(InvalidInputError):
                listing("u1", since=since, until=until)

    @pytest.mark.parametrize(
        "changed",
        [
            pytest.param({"user_id": "\ud800"}, id="user"),
            pytest.param({"session_id": "\ud800"}, id="session"),
            pytest.param({"content": "a\udfff"}, id="content"),
            pytest.param({"content": "\ud83d\ude00"}, id="a pair of surrogates"),
            pytest.param({"payload": ["\ud800"]}, id="payload"),
            pytest.param({"payload": {"\ud800": 1}}, id="key of the payload"),
            pytest.param({"metadata": {"a": ["\ud800"]}}, id="metadata"),
            pytest.param({"metadata": {"\ud800": 1}}, id="key of the metadata"),
            pytest.param({"name": "\ud800"}, id="name"),
            pytest.param({"turn_id": "\ud800"}, id="turn"),
            pytest.param({"source_id": "\ud800"}, id="source"),
            pytest.param({"summary": "\ud800"}, id="summary"),
        ],
    )
    def test_lone_surrogates_are_refused_in_every_field(
        self, store: ConversationStore, say: Say, changed: dict[str, Any]
    ) -> None:
        """M1, M5, E2: by every write, before any I/O."""
        wrong = replace(say(), **changed)
        writes: list[Callable[[], object]] = [
            lambda: store.append(wrong),
            lambda: store.replace(wrong),
            lambda: store.bulk_load([wrong]),
            lambda: store.append(say(), wrong),
        ]
        for write in writes:
            with pytest.raises(InvalidInputError):
                write()
        assert list(store.history("u1")) == []

    @pytest.mark.parametrize("text", ["\ud800", "", "a\0b", "x" * 385, "#" * 129, None, 1, b"u"])
    def test_no_call_takes_another_id_of_a_user_or_session(
        self, store: ConversationStore, say: Say, text: Any
    ) -> None:
        """M1, E2: with the same error on every backend."""
        error = LimitExceededError if text in ("x" * 385, "#" * 129) else InvalidInputError
        message = say()
        for call in (
            lambda: store.append(replace(message, user_id=text)),
            lambda: store.append(replace(message, session_id=text)),
            lambda: store.replace(replace(message, user_id=text)),
            lambda: store.get(text, [message.id]),
            lambda: store.get(text, []),
            lambda: store.history(text),
            lambda: store.history("u1", session_id="" if text is None else text),
            lambda: store.summaries(text),
            lambda: store.sessions(text),
            lambda: store.delete(text, [message.id]),
            lambda: store.delete(text, []),
            lambda: store.delete_session(text, "s1"),
            lambda: store.delete_session("u1", text),
            lambda: store.erase(text),
            lambda: store.optimize(text),
        ):
            with pytest.raises(InvalidInputError) as caught:
                call()
            if text is not None:
                assert type(caught.value) is error

    @pytest.mark.parametrize(
        "text",
        ["", "x", "\ud800", LOWEST_ID, HIGHEST_ID, "01A2049C-C6E3-774B-AF40-DCE0CD2BB0B6", None, 5],
    )
    def test_no_call_takes_another_id_of_a_message(
        self, store: ConversationStore, say: Say, text: Any
    ) -> None:
        """M3, E2: any other text is `InvalidInputError`."""
        message = say()
        for call in (
            lambda: store.append(replace(message, id=text)),
            lambda: store.replace(replace(message, id=text)),
            lambda: store.bulk_load([replace(message, id=text)]),
            lambda: store.get("u1", [message.id, text]),
            lambda: store.delete("u1", [text]),
            lambda: store.get("u1", text),
            lambda: store.delete("u1", text),
        ):
            with pytest.raises(InvalidInputError):
                call()

    @pytest.mark.parametrize("changed", [{"role": Role.TOOL}, {"session_id": "s2"}, {"role": "x"}])
    def test_a_message_agrees_with_its_id(
        self, store: ConversationStore, say: Say, changed: dict[str, Any]
    ) -> None:
        """M3: role and session hash must agree with the message."""
        with pytest.raises(InvalidInputError):
            store.append(replace(say(), **changed))
        with pytest.raises(InvalidInputError):
            store.replace(replace(say(), **changed))

    @pytest.mark.parametrize(("method", "args", "options", "error"), _REFUSED)
    def test_arguments_that_break_the_contract_are_refused(
        self,
        store: ConversationStore,
        method: str,
        args: tuple[Any, ...],
        options: dict[str, Any],
        error: type[Exception],
    ) -> None:
        """S6, E2: refused with the same error on every backend."""
        with pytest.raises(error) as caught:
            getattr(store, method)(*args, **options)
        assert type(caught.value) is error

    def test_no_error_event_or_log_shows_content(
        self, store: ConversationStore, say: Say, caplog: pytest.LogCaptureFixture
    ) -> None:
        """E3: no secret and no content in any message, `repr` or log."""
        shown: list[str] = []
        text: Any = SECRET
        store.subscribe(lambda event: shown.append(repr(event)))
        message = say(
            SECRET,
            payload={SECRET: SECRET},
            name=SECRET,
            turn_id=SECRET,
            source_id=SECRET,
            summary=SECRET,
            metadata={SECRET: SECRET},
        )
        wrong: list[Callable[[], object]] = [
            lambda: store.append(replace(message, content=SECRET * 2)),
            lambda: store.append(message, replace(message, content=SECRET * 2)),
            lambda: store.append(replace(message, content=SECRET + "\ud800")),
            lambda: store.append(replace(message, payload=[SECRET, {1: SECRET}])),
            lambda: store.append(replace(message, payload=text)),
            lambda: store.append(replace(message, metadata=text)),
            lambda: store.append(replace(message, metadata={"a": (SECRET,)})),
            lambda: store.append(replace(message, name=SECRET * 50)),
            lambda: store.append(text),
        ]
        with caplog.at_level(logging.DEBUG):
            result = store.append(message)
            for call in wrong:
                with pytest.raises(IalStoreError) as caught:
                    call()
                shown += [repr(caught.value), str(caught.value)]
                shown += traceback.format_exception(caught.value)
            page, brief = store.history("u1"), store.summaries("u1")
        shown += [repr(result), repr(page), repr(brief), repr(store), repr(store.sessions("u1"))]
        shown += [repr(store.capabilities), repr(store.settings)]
        # What a driver logs for its own debugging, only the program itself can switch on.
        shown += [
            one.getMessage()
            for one in caplog.records
            if one.name.startswith("ialstore") or one.levelno > logging.DEBUG
        ]
        assert SECRET not in "\n".join(shown)

    def test_no_error_event_or_log_names_a_tenant(
        self, store: ConversationStore, say: Say, caplog: pytest.LogCaptureFixture
    ) -> None:
        """E3, C6: neither user nor session, whatever the call."""
        shown: list[str] = []
        store.subscribe(lambda event: shown.append(repr(event)))
        user, session = f"user {SECRET}", f"session {SECRET}"
        message = say(user_id=user, session_id=session)
        other = replace(message, content="other")
        moved = replace(message, session_id=twin_of(session))
        kept = say(user_id=user, session_id=twin_of(session))
        answered: list[Callable[[], object]] = [
            lambda: store.append(message),
            lambda: store.append(message),
            lambda: store.replace(message),
            lambda: store.get(user, [message.id]),
            lambda: store.sessions(user),
            lambda: store.bulk_load([message]),
            lambda: store.optimize(user),
            lambda: store.delete(user, [message.id]),
            lambda: store.append(message),
            lambda: store.delete_session(user, session),
            lambda: store.erase(user),
            lambda: store.append(message, kept),
        ]
        for listing in (store.history, store.summaries):
            answered += [partial(listing, user), partial(listing, user, session_id=session)]
        refused: list[Callable[[], object]] = [
            lambda: store.append(other),
            lambda: store.append(say(user_id=user, session_id=session), other),
            lambda: store.append(message, other),
            lambda: store.append(message, say()),
            lambda: store.append(moved),
            lambda: store.append(replace(kept, session_id=session)),
            lambda: store.replace(moved),
            lambda: store.replace(replace(kept, session_id=session)),
            lambda: store.replace(replace(message, session_id=f"{session}{session}")),
            lambda: store.append(replace(message, content="\ud800")),
            lambda: store.history(user * 100),
            lambda: store.history(user, session_id=session * 100),
            lambda: store.history(user, session_id=f"{session}\0"),
            lambda: store.history(user, cursor="x"),
            lambda: store.delete_session(user, f"{session}\ud800"),
        ]
        with caplog.at_level(logging.INFO):
            for call in answered:
                call()
            for call in refused:
                with pytest.raises(IalStoreError) as caught:
                    call()
                shown += [repr(caught.value), str(caught.value)]
                assert caught.value.__cause__ is None or SECRET not in str(caught.value.__cause__)
        shown += [one.getMessage() for one in caplog.records]
        assert SECRET not in "\n".join(shown)

    def test_errors_can_be_pickled(self, store: ConversationStore, say: Say) -> None:
        """E1: they travel between processes."""
        message = say()
        store.append(message)
        raised: list[IalStoreError] = []
        for call in (
            lambda: store.append(replace(message, content="other")),
            lambda: store.history("u1", limit=0),
            lambda: store.history("u1", cursor="x"),
        ):
            with pytest.raises(IalStoreError) as caught:
                call()
            raised.append(caught.value)
        for error in raised:
            again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made right here
            assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
