"""A cache answers with what is not in the store, or no longer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import pytest

from ialstore import AppendResult, EraseReport, Message
from ialstore.caching.envelope import unseal
from ialstore.caching.reader import Slot
from ialstore.caching.values import read_tail, sealed_tail
from ialstore.component import StoreSettings
from ialstore.ids import HIGHEST_ID, LOWEST_ID
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from tests.kit.planted.cached import TAIL, Cached
from tests.kit.planted.registry import BreaksOthers, breaks


@breaks("W2")
class CacheMissesAppends(Cached):
    """What the cache holds of a session outlives an append to it."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        return self.inner._append(op, user_id, entries)  # noqa: SLF001 - as wrappers do


@breaks("W2")
class CacheMissesReplacements(Cached):
    """What the cache holds outlives a replacement."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        return self.inner._replace(op, entry)


@breaks("W2")
class CacheMissesDeletes(Cached):
    """What the cache holds outlives a delete."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self.inner._delete(op, user_id, ids)  # noqa: SLF001 - as wrappers do


@breaks("W2")
class CacheMissesDeletedSessions(Cached):
    """What the cache holds of a session outlives the session."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self.inner._delete_session(op, user_id, session_id)  # noqa: SLF001 - as wrappers do


@breaks("W2")
class CacheMissesErasure(Cached):
    """What the cache holds of a user outlives the erasure."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return self.inner._erase(op, user_id)  # noqa: SLF001 - as wrappers do


@breaks("W2")
class CacheMissesLoads(Cached):
    """What the cache holds outlives what is loaded in bulk."""

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        self.inner._load(op, entries)  # noqa: SLF001 - as wrappers do


@breaks("C2")
class CacheShowsExpired(BreaksOthers, Cached):
    """The cache answers with what has expired since it was filled."""

    @classmethod
    def plant(cls, monkeypatch: pytest.MonkeyPatch) -> None:
        def read(key: bytes, sealed: bytes, query: HistoryQuery, now: int) -> Any:
            read_at = json.loads(unseal(key, sealed) or b"[0]")[0]
            return read_tail(key, sealed, query, min(now, read_at))

        monkeypatch.setattr("ialstore.wrappers.cache.read_tail", read)


@breaks("C6")
class CacheForgetsTheUser(Cached):
    """The users of a store share what is cached."""

    def _address_of(self, op: Operation, user_id: str) -> tuple[str, ...]:
        return super()._address_of(op, "user")


@breaks("S6")
class CacheForgetsTheSession(Cached):
    """The sessions of a user share what is cached."""

    def _slot(self, op: Operation, user_id: str, part: str, *names: str) -> Slot:
        return super()._slot(op, user_id, "user", names[0])


@breaks("S6")
class CacheClaimsToHaveAll(BreaksOthers, Cached):
    """The newest messages, which alone are cached, are said to be all."""

    @classmethod
    def plant(cls, monkeypatch: pytest.MonkeyPatch) -> None:
        def seal(key: bytes, rows: Rows[Message], now: int) -> bytes:
            return sealed_tail(key, Rows(rows.items), now)

        monkeypatch.setattr("ialstore.wrappers.cache.sealed_tail", seal)


@breaks("S6")
class CacheCutsLongPages(Cached):
    """A page that is longer than what is cached ends where that ends."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        if query.limit <= TAIL:
            return super()._history(op, query)
        return Rows(super()._history(op, replace(query, limit=TAIL)).items)


@breaks("S6")
class CacheForgetsTheRange(BreaksOthers, Cached):
    """The cache answers as if no range had been asked for."""

    @classmethod
    def plant(cls, monkeypatch: pytest.MonkeyPatch) -> None:
        def read(key: bytes, sealed: bytes, query: HistoryQuery, now: int) -> Any:
            whole = replace(query, lower=LOWEST_ID, upper=HIGHEST_ID)
            return read_tail(key, sealed, whole, now)

        monkeypatch.setattr("ialstore.wrappers.cache.read_tail", read)


@breaks("S9")
class CacheListsExpiredSessions(Cached):
    """A list of sessions is cached although the expiry of a message changes it."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self._lists_sessions = True


@breaks("S9")
class CacheKeepsListsOfSessions(CacheListsExpiredSessions):
    """A cached list of sessions outlives what is written."""

    def _slot(self, op: Operation, user_id: str, part: str, *names: str) -> Slot:
        return super()._slot(op, user_id, part if names[0] == "tail" else names[0], *names)
