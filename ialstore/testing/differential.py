"""``DifferentialSuite``: several conversation stores side by side, each asked the same.

They have to agree on every answer, on the class of every error and on what an error says of each
id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeVar, Unpack, cast

import pytest

from ialstore import events
from ialstore.capabilities import ConversationCapabilities
from ialstore.component import Progress, StoreSettings
from ialstore.conversation import ConversationStore
from ialstore.errors import ConflictError, IalStoreError, PartialWriteError
from ialstore.ids import Role
from ialstore.model import (
    AppendResult,
    EraseReport,
    LoadReport,
    Message,
    MessageSummary,
    OptimizeReport,
    Page,
    SessionInfo,
)
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import MakeStore, Settle, opener
from ialstore.testing.conversation.machine import run_machine
from ialstore.testing.pages import all_items

__all__ = ["DifferentialSuite", "DisagreementError", "SideBySide"]

T = TypeVar("T")
R = TypeVar("R")

UNKNOWN: Final = "01a2049c-c6e3-774b-af40-dce0cd2bb0b6"

BAD_CALLS: Final[dict[str, Callable[[ConversationStore], object]]] = {
    "no user": lambda store: store.history(""),
    "a user with NUL": lambda store: store.sessions("\0"),
    "no session": lambda store: store.delete_session("u1", ""),
    "a limit of none": lambda store: store.summaries("u1", limit=0),
    "a limit beyond all": lambda store: store.history("u1", limit=10**9),
    "a damaged cursor": lambda store: store.history("u1", cursor="x"),
    "too many ids": lambda store: store.get("u1", [UNKNOWN] * 101),
    "no id": lambda store: store.delete("u1", ["x"]),
    "too many messages": lambda store: store.append(*[_message("")] * 101),
    "a lone surrogate": lambda store: store.replace(_message("\ud800")),
    "a bad message to load": lambda store: store.bulk_load([_message("\ud800")]),
    "two contents of one id": lambda store: store.append(_message("a"), _message("b")),
}


def _message(content: str) -> Message:
    return Message(id=UNKNOWN, user_id="alice", session_id="s1", role=Role.USER, content=content)


class DisagreementError(AssertionError):
    """Stores answered one call differently; says which, and how."""


OpenAll = Callable[..., "SideBySide"]


class SideBySide:
    """Looks like one conversation store, and asks several.

    The answer is that of the first. A cursor holds one of each store. ``optimize`` and ``check``
    have nothing to compare; ``sessions`` is compared where it is exact; ``users`` returns those
    whom all list.
    """

    def __init__(self, stores: Mapping[str, ConversationStore]) -> None:
        self.stores = stores
        self.first = next(iter(stores))
        said = {store.capabilities.atomic_append for store in stores.values()}
        if len(said) > 1:
            pytest.fail("capabilities.atomic_append: stores side by side must agree on it")

    @property
    def capabilities(self) -> ConversationCapabilities:
        """What all of them can do."""
        all_ = [store.capabilities for store in self.stores.values()]
        return replace(
            all_[0],
            strong_reads=all(one.strong_reads for one in all_),
            durable=all(one.durable for one in all_),
            needs_setup=any(one.needs_setup for one in all_),
            writable=all(one.writable for one in all_),
            users=all(one.users for one in all_),
            multi_process=all(one.multi_process for one in all_),
            exact_sessions=all(one.exact_sessions for one in all_),
            activity_precision=max(one.activity_precision for one in all_),
        )

    @property
    def backend(self) -> str:
        """The names of the stores."""
        return " beside ".join(self.stores)

    # -- writing --------------------------------------------------------------------------------

    def append(self, *messages: Message) -> AppendResult:
        """Append to each."""
        return self._same("append", lambda store: store.append(*messages))

    def replace(self, message: Message) -> bool:
        """Replace in each."""
        return self._same("replace", lambda store: store.replace(message))

    def delete(self, user_id: str, ids: Sequence[str]) -> int:
        """Delete from each."""
        return self._same(f"delete of {user_id!r}", lambda store: store.delete(user_id, ids))

    def delete_session(self, user_id: str, session_id: str) -> int:
        """Delete from each."""
        return self._same(
            f"delete_session of {user_id!r}, {session_id!r}",
            lambda store: store.delete_session(user_id, session_id),
        )

    def erase(self, user_id: str) -> EraseReport:
        """Erase from each; what is out of reach is up to the store."""
        return self._same(
            f"erase of {user_id!r}",
            lambda store: store.erase(user_id),
            lambda report: (report.messages, report.remaining),
        )

    def bulk_load(
        self, messages: Iterable[Message], *, progress: Progress | None = None
    ) -> LoadReport:
        """Load into each."""
        given = list(messages)
        return self._same(
            "bulk_load", lambda store: store.bulk_load(iter(given), progress=progress)
        )

    def optimize(self, user_id: str, *, progress: Progress | None = None) -> OptimizeReport:
        """Do the maintenance of each; what there is to do is up to the store."""
        return self._same(
            f"optimize of {user_id!r}",
            lambda store: store.optimize(user_id, progress=progress),
            lambda _: None,
        )

    # -- reading --------------------------------------------------------------------------------

    def get(self, user_id: str, ids: Sequence[str], **options: Any) -> list[Message]:
        """Read from each."""
        return self._same(f"get of {user_id!r}", lambda store: store.get(user_id, ids, **options))

    def history(self, user_id: str, **query: Any) -> Page[Message]:
        """Return one page, the same of each."""
        return self._page("history", user_id, query)

    def summaries(self, user_id: str, **query: Any) -> Page[MessageSummary]:
        """Return one page, the same of each."""
        return self._page("summaries", user_id, query)

    def sessions(self, user_id: str, **query: Any) -> Page[SessionInfo]:
        """Return one page, the same of each that lists sessions exactly."""
        return self._page("sessions", user_id, query)

    def users(self, *, limit: int = 100, cursor: str | None = None) -> Page[str]:
        """Return on one page all users whom every store lists."""
        listed = [_all_users(store, limit, cursor) for store in self.stores.values()]
        common = listed[0].intersection(*listed[1:])
        return Page(tuple(common))

    # -- their life -----------------------------------------------------------------------------

    def setup(self) -> None:
        """Set up each."""
        self._same("setup", lambda store: store.setup())

    def check(self) -> list[str]:
        """Return what each finds, behind its name."""
        return [f"{name}: {one}" for name, store in self.stores.items() for one in store.check()]

    def close(self) -> None:
        """Close each."""
        for store in self.stores.values():
            store.close()

    def subscribe(self, listener: events.Listener) -> Callable[[], None]:
        """Tell of the calls of the first."""
        return self.stores[self.first].subscribe(listener)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- comparing ------------------------------------------------------------------------------

    def _same(
        self,
        call: str,
        ask: Callable[[ConversationStore], T],
        compared: Callable[[T], object] | None = None,
    ) -> T:
        """Return what the first answers, or raise what it raises, once all do the same."""
        answers = {name: _answer(partial(ask, store)) for name, store in self.stores.items()}
        _agree(call, answers, compared or _exact)
        return _given(answers[self.first])

    def _page(self, method: str, user_id: str, query: dict[str, Any]) -> Page[Any]:
        call = f"{method} of {user_id!r}, {query}"
        cursors = self._cursors(query.pop("cursor", None))

        def turn(name: str, cursor: str | None) -> Page[Any]:
            page: Page[Any] = getattr(self.stores[name], method)(user_id, cursor=cursor, **query)
            return page

        answers = {name: _answer(partial(turn, name, one)) for name, one in cursors.items()}
        comparable = {
            name: answer
            for name, answer in answers.items()
            if method != "sessions" or _lists_exactly(self.stores[name].capabilities)
        }
        if comparable:
            _agree(call, comparable, lambda page: _exact(list(page)))
        page = _given(answers[self.first])
        pages = {name: _given(answer) for name, answer in answers.items()}
        ended = [name for name in comparable if pages[name].cursor is None]
        for name in comparable:
            if ended and name not in ended and len(turn(name, pages[name].cursor)):
                raise DisagreementError(f"{call}: {ended[0]} ends where {name} goes on")
        if page.cursor is None:
            return page
        return Page(page.items, json.dumps({name: one.cursor for name, one in pages.items()}))

    def _cursors(self, cursor: str | None) -> dict[str, str | None]:
        """Return the cursor of each store that has not come to its end.

        What one of them met the end of may have grown since, for a cursor that another has.
        """
        try:
            joint = json.loads(cursor or "")
        except ValueError:
            return dict.fromkeys(self.stores, cursor)
        return {name: one for name, one in joint.items() if one is not None}


def _lists_exactly(can: ConversationCapabilities) -> bool:
    return can.exact_sessions and not can.activity_precision


def _all_users(store: ConversationStore, limit: int, cursor: str | None) -> set[str]:
    return set(all_items(lambda turned: store.users(limit=limit, cursor=turned or cursor)))


def _answer(call: Callable[[], T]) -> T | Exception:
    """Return what a call returns, or what it raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever one raises the others have to raise, too
        return error


def _given(answer: T | Exception) -> T:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _agree(
    call: str, answers: Mapping[str, T | Exception], compared: Callable[[T], object]
) -> None:
    """Compare all answers with the first.

    Raises:
        DisagreementError: one is different; the call and both stores are named.
    """
    told = {
        name: _told(answer) if isinstance(answer, Exception) else compared(answer)
        for name, answer in answers.items()
    }
    (first, wanted), *others = told.items()
    for name, found in others:
        if found != wanted:
            raise DisagreementError(
                f"{call}: {first} and {name} disagree: {_difference(wanted, found)}"
            )


def _told(error: Exception) -> tuple[object, ...]:
    """Return what has to be equal in two errors."""
    if not isinstance(error, IalStoreError):
        return (type(error).__name__,)
    told = (type(error).__name__, error.operation, error.retryable, str(error.outcome))
    if isinstance(error, ConflictError):
        return (*told, error.ids)
    if isinstance(error, PartialWriteError):
        return (
            *told,
            error.stored,
            error.duplicates,
            error.conflicting,
            error.not_stored,
            error.unknown,
        )
    return told


def _exact(value: object) -> object:
    """Return what is equal only to the same: JSON values as texts, messages as their fields."""
    if isinstance(value, Message):
        values = {one.name: getattr(value, one.name) for one in fields(value)}
        texts = {name: json.dumps(values[name]) for name in ("payload", "metadata")}
        return values | texts
    if isinstance(value, list):
        return [_exact(one) for one in cast("list[object]", value)]
    return value


def _difference(one: object, other: object) -> str:
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(cast("list[object]", one), cast("list[object]", other), strict=False)
        for place, (mine, yours) in enumerate(pairs):
            if mine != yours:
                return f"at place {place}: {_difference(mine, yours)}"
        return f"{len(cast('list[object]', one))} and {len(cast('list[object]', other))} items"
    if isinstance(one, dict) and isinstance(other, dict):
        mine, yours = cast("dict[str, object]", one), cast("dict[str, object]", other)
        unlike = [name for name in mine if mine[name] != yours[name]]
        return ", ".join(f"{name} {mine[name]!r} and {yours[name]!r}" for name in unlike)
    return f"{one!r} and {other!r}"


class DifferentialSuite:
    """Inherit from it and define the fixture ``make_stores``."""

    MACHINE_SHARE: ClassVar[float] = 1 / 3
    """Of the profile's runs: each step asks several stores."""

    @pytest.fixture
    def make_stores(self) -> Mapping[str, MakeStore]:
        """Return functions that open the stores, by name; define it in your subclass.

        Each is like the ``make_store`` of a ``ConversationStoreSuite``.
        """
        raise NotImplementedError(
            "define a fixture make_stores that returns a dict: "
            "{'mine': lambda **settings: MyStore(...), 'memory': MemoryConversationStore}"
        )

    @pytest.fixture
    def settles(self) -> Mapping[str, Settle]:
        """Return the ``settle`` of each store without strong reads, by name."""
        return {}

    @pytest.fixture
    def open_all(
        self,
        make_stores: Mapping[str, MakeStore],
        settles: Mapping[str, Settle],
    ) -> Iterator[OpenAll]:
        """Return a function that opens all of them, side by side."""
        opened: list[ConversationStore] = []
        yield partial(_open_all, make_stores, settles, opened)
        for store in opened:
            store.close()

    def test_all_answer_alike(self, open_all: OpenAll) -> None:
        """S1, S2, S3, S4, S5, S6, S7, S8, S9, S10, S11, S12, S13, C2, C6: in any order of calls."""
        with open_all() as all_:
            if not all_.capabilities.writable:
                pytest.skip("capabilities.writable is false of one of them: this test writes")
        run_machine(cast("MakeStore", open_all), share=self.MACHINE_SHARE)

    @pytest.mark.parametrize("name", BAD_CALLS)
    def test_all_refuse_the_same(self, open_all: OpenAll, name: str) -> None:
        """E2: invalid input is refused with the same error on every backend."""
        with open_all() as all_, pytest.raises(IalStoreError):
            BAD_CALLS[name](cast("ConversationStore", all_))


def _open_all(
    make_stores: Mapping[str, MakeStore],
    settles: Mapping[str, Settle],
    opened: list[ConversationStore],
    **settings: Unpack[StoreSettings],
) -> SideBySide:
    clock = ManualClock()
    return SideBySide(
        {
            name: opener(make, settles.get(name), clock, opened)(**settings)
            for name, make in make_stores.items()
        }
    )
