"""The window: a contiguous run of the newest messages, in which no turn is cut."""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ialstore.ids import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ialstore.context.tokens import TokenCounting
    from ialstore.conversation import ConversationStore
    from ialstore.model import Message

__all__ = ["Recent", "read_recent"]

_LOOK_AHEAD: Final = 4
"""Messages read past those wanted, to see whether the turn of the last one goes on."""
_MORE_PAGES: Final = (50, 100, 200, 400)
"""Sizes of the pages read after the first, when it holds no whole turn or hardly a message."""


@dataclass(frozen=True, slots=True)
class Recent:
    """The newest messages as read, newest first, without events.

    Attributes:
        messages: what was read, also past what is wanted.
        sums: tokens of the first n messages, at index n; ends where the budget is passed.
        ends: numbers n, ascending, so that no turn lies partly in the first n.
        wanted: how many messages the budget asks for.
        too_long: the messages read have more tokens than the budget.
        latest: the newest message of any role, an event too.
        seconds: time that reading took.
    """

    messages: tuple[Message, ...] = field(default=(), repr=False)
    sums: tuple[int, ...] = (0,)
    ends: tuple[int, ...] = ()
    wanted: int = 0
    too_long: bool = False
    latest: Message | None = None
    seconds: float = 0.0

    @property
    def newest_turn_tokens(self) -> int:
        """Tokens of the newest turn; 0 where there is none, or none that could fit."""
        return self.sums[self.ends[0]] if self.ends and self.ends[0] < len(self.sums) else 0

    def fitting(self, room: int) -> int:
        """Return how many of the newest messages fit, turns whole.

        At most as many as are wanted, or one turn where that is longer.
        """
        most = bisect_right(self.sums, room) - 1
        return max((end for end in self._reach() if end <= most), default=0)

    def newest(self, count: int) -> tuple[Message, ...]:
        """Return the newest messages, newest first."""
        return self.messages[:count]

    def tokens(self, count: int) -> int:
        """Return the tokens of so many of the newest messages that fit."""
        return self.sums[count]

    def beyond(self, count: int) -> Iterator[tuple[Message, bool]]:
        """Yield the wanted messages behind the first ``count``, oldest first.

        Each comes with whether its turn is whole, so that it could be shown with more tokens.
        """
        whole = max(self._reach(), default=0)
        if (
            self.too_long and not self.ends
        ):  # so is the newest turn, although its beginning is unread
            whole = len(self.messages)
        for place in reversed(range(count, min(max(self.wanted, whole), len(self.messages)))):
            yield self.messages[place], place < whole

    def _reach(self) -> tuple[int, ...]:
        return tuple(end for place, end in enumerate(self.ends) if place == 0 or end <= self.wanted)


def read_recent(
    store: ConversationStore,
    user_id: str,
    session_id: str | None,
    *,
    wanted: int,
    max_tokens: int,
    counting: TokenCounting,
) -> Recent:
    """Read the newest messages of a session, or of a user: one page, rarely more.

    Reads on while there is no whole turn yet, or while events leave less than half of what is
    wanted, but no further than the tokens reach.
    """
    started = time.perf_counter()
    messages: list[Message] = []
    sums = [0]
    ends: tuple[int, ...] = ()
    latest: Message | None = None
    cursor: str | None = None
    for limit in (wanted + _LOOK_AHEAD, *_MORE_PAGES):
        page = store.history(user_id, session_id=session_id, limit=limit, cursor=cursor)
        if latest is None and page.items:
            latest = page.items[0]
        cursor = page.cursor
        for message in page:
            if message.role is Role.EVENT:
                continue
            messages.append(message)
            if sums[-1] <= max_tokens:
                sums.append(sums[-1] + counting.message(message))
        ends = _turn_ends(messages, complete=cursor is None)
        enough = bool(ends) and 2 * len(messages) >= wanted
        if cursor is None or enough or sums[-1] > max_tokens:
            break
    return Recent(
        tuple(messages),
        tuple(sums),
        ends,
        wanted,
        too_long=sums[-1] > max_tokens,
        latest=latest,
        seconds=time.perf_counter() - started,
    )


def _turn_ends(messages: Sequence[Message], *, complete: bool) -> tuple[int, ...]:
    """Return the numbers n, ascending, so that no turn lies partly in the first n messages.

    Unless all was read, the turn of the oldest message is taken to go on, and no other: of turns
    that interleave with more than 4 messages between their own, one may be cut.
    """
    last: dict[tuple[str, str], int] = {}
    for place, message in enumerate(messages):
        if message.turn_id is not None:
            last[message.session_id, message.turn_id] = place
    if not complete:
        # A result follows its call: where the oldest message of a turn is one, the call is unread.
        cut = [turn for turn, place in last.items() if messages[place].role is Role.TOOL]
        if messages and messages[-1].turn_id is not None:
            cut.append((messages[-1].session_id, messages[-1].turn_id))
        last |= dict.fromkeys(cut, len(messages))
    ends: list[int] = []
    reach = 0
    for place, message in enumerate(messages):
        if message.turn_id is not None:
            reach = max(reach, last[message.session_id, message.turn_id])
        if reach <= place:
            ends.append(place + 1)
    return tuple(ends)
