"""``ConversationModel``: every message of every user in one list, answering by looking through it.

Written from the contract; it shares no code with any store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ialstore.model import Message
from ialstore.testing.clock import ManualClock

__all__ = ["ConversationModel", "ModelQuery", "same"]


def same(one: Message, other: Message) -> bool:
    """Return whether two messages are the same by M7."""
    return _compared(one) == _compared(other)


def _compared(message: Message) -> tuple[Any, ...]:
    return (
        message.session_id,
        message.content,
        json.dumps(message.payload),
        message.name,
        message.turn_id,
        message.source_id,
        json.dumps(message.metadata, sort_keys=True),
    )


@dataclass
class ConversationModel:
    """What a store has to answer.

    Attributes:
        clock: decides on expiry.
        messages: what is stored, expired ones too, in no order.
        ever: the newest time of each session that was ever stored or tried, by user and session.
    """

    clock: ManualClock
    messages: list[Message] = field(default_factory=list[Message])
    ever: dict[tuple[str, str], datetime] = field(default_factory=dict[tuple[str, str], datetime])

    def is_live(self, message: Message) -> bool:
        """Return whether a message has not expired."""
        return message.expires_at is None or self.clock() < message.expires_at

    def live(self, user_id: str) -> list[Message]:
        """Return the live messages of a user in the order of ids."""
        found = [one for one in self.messages if one.user_id == user_id and self.is_live(one)]
        return sorted(found, key=lambda one: one.id)

    def find(self, message: Message) -> Message | None:
        """Return the live message of the same user and id."""
        for one in self.messages:
            if one.user_id == message.user_id and one.id == message.id and self.is_live(one):
                return one
        return None

    def put(self, message: Message) -> None:
        """Store a message in place of one of the same id."""
        self.remove(message.user_id, [message.id])
        self.messages.append(message)
        self.tried(message)

    def tried(self, message: Message) -> None:
        """Take note that a message was to be stored, though it may have been refused.

        Its session may already have been told that it is active.
        """
        key = (message.user_id, message.session_id)
        self.ever[key] = max(message.created_at, self.ever.get(key, message.created_at))

    def remove(self, user_id: str, ids: Iterable[str]) -> int:
        """Remove messages by id; return how many live ones that were."""
        unwanted = set(ids)
        return self._remove(
            [one for one in self.messages if one.user_id == user_id and one.id in unwanted]
        )

    def remove_session(self, user_id: str, session_id: str | None) -> int:
        """Remove a session, or all of a user; return how many live messages that were."""
        for key in list(self.ever):
            if key[0] == user_id and session_id in (None, key[1]):
                del self.ever[key]
        return self._remove(
            [
                one
                for one in self.messages
                if one.user_id == user_id and session_id in (None, one.session_id)
            ]
        )

    def _remove(self, unwanted: list[Message]) -> int:
        gone = {id(one) for one in unwanted}
        self.messages = [one for one in self.messages if id(one) not in gone]
        return sum(self.is_live(one) for one in unwanted)

    def expired(self, user_id: str) -> list[str]:
        """Return the ids of a user's messages that have expired."""
        return [one.id for one in self.messages if one.user_id == user_id and not self.is_live(one)]

    def sessions(self, user_id: str) -> list[tuple[str, datetime]]:
        """Return sessions with a live message, the latest active first, ties by id."""
        newest = {one.session_id: one.created_at for one in self.live(user_id)}
        by_id = sorted(newest.items())
        return sorted(by_id, key=lambda pair: pair[1], reverse=True)


@dataclass(frozen=True)
class ModelQuery:
    """A history that is walked through."""

    user_id: str
    session_id: str | None
    since: datetime | None
    until: datetime | None
    newest_first: bool

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of ``history``."""
        return {
            "session_id": self.session_id,
            "since": self.since,
            "until": self.until,
            "newest_first": self.newest_first,
        }

    def answer(self, model: ConversationModel, behind: str | None = None) -> list[Message]:
        """Return what there is behind an id, or from the beginning."""
        found = [
            one
            for one in model.live(self.user_id)
            if (self.session_id is None or one.session_id == self.session_id)
            and (self.since is None or one.created_at >= self.since)
            and (self.until is None or one.created_at < self.until)
        ]
        if self.newest_first:
            return [one for one in reversed(found) if behind is None or one.id < behind]
        return [one for one in found if behind is None or one.id > behind]
