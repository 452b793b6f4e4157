"""``copy`` and ``verify``: user by user, both sides side by side in the order of ids.

The source goes on being written to. What a copy wrote is held against the source once more right
after: what was changed or deleted there meanwhile is changed or deleted in the target too, so that
nothing old is brought back. Passes are repeated until one finds nothing to do; its counts and
hashes are those of the user's report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar

from ialstore.component import Progress, no_progress
from ialstore.conversation import ConversationStore
from ialstore.ids import HIGHEST_ID
from ialstore.migrate.journal import Journal
from ialstore.migrate.pairs import ConversationPair, Pair, VectorPair
from ialstore.migrate.plan import CopyOptions, Part, check_plan, planned_users
from ialstore.migrate.verify import CopyReport, Identified, Tally, UserReport, joined

__all__ = ["copy", "verify"]

T = TypeVar("T", bound=Identified)

_PASSES: Final = 2
"""Further passes over a user that may write; who changes faster is reported as different."""
_SETTLING: Final = 5
"""Looks at what the source says of a batch that was written."""
_CONFIRMED: Final = 1000
"""Differences of a user that ``verify`` looks at twice: more are no coincidence of timing."""
_WAIT_SECONDS: Final = 1.0
"""For a target without strong reads to show what was written."""
_EXAMPLES: Final = 5
MOVE_EVERY: Final = 1000
"""Items after which the journal learns how far a user is copied."""

_EVERYTHING: Final = CopyOptions()


def copy(
    source: Part,
    target: Part,
    options: CopyOptions = _EVERYTHING,
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> CopyReport:
    """Make a store or index hold what another one holds; both may be in use.

    Repeating it is safe, also by several processes at once: what is there already is compared and
    left alone.

    Args:
        source: what is read.
        target: what is written; of the same kind.
        options: what to copy.
        journal: where to go on after a run that was stopped; see ``Journal``.
        progress: called with the number of messages or vectors looked at so far, and None.
        sleep: waits some seconds; only used with a target without strong reads.

    Returns:
        A report of each user. What the target holds beyond the source is reported, and stays
        unless ``delete_extra`` is set.

    Raises:
        InvalidInputError: source and target are of different kinds, or the same object.
        ConfigurationError: the indexes were made for different vectors; nothing is written.
        UnsupportedOperationError: no users are named, and the source can't list them.
        IalStoreError: either side or the journal failed; the same call goes on from there.
    """
    check_plan(source, target, options)
    own = Journal() if journal is None else journal
    try:
        run = _run(source, target, options, progress)
        reports: list[UserReport] = []
        resumed = 0
        for user_id in planned_users(source, target, options):
            report = own.done(source.KIND, user_id)
            if report is None:
                report = run.copied(user_id, own, sleep)
                own.finish_user(source.KIND, report)
            else:
                resumed += own.is_resumed
            reports.append(report)
        return CopyReport(tuple(reports), resumed)
    finally:
        if journal is None:
            own.close()


def verify(
    source: Part,
    target: Part,
    options: CopyOptions = _EVERYTHING,
    *,
    progress: Progress | None = None,
) -> CopyReport:
    """Compare a target with its source, and write nothing; see ``copy``.

    What differs is read once more, so that a write that came in between does not count.
    """
    check_plan(source, target, options)
    run = _run(source, target, options, progress)
    users = planned_users(source, target, options)
    return CopyReport(tuple(run.verified(user_id) for user_id in users))


def _run(source: Part, target: Part, options: CopyOptions, progress: Progress | None) -> _Run[Any]:
    pair: Any = ConversationPair if isinstance(source, ConversationStore) else VectorPair
    return _Run(pair(source, target), options, progress or no_progress)


class _Run(Generic[T]):
    """One copy, or one comparison."""

    def __init__(self, pair: Pair[Any, T], options: CopyOptions, progress: Progress) -> None:
        self.pair = pair
        self.options = options
        self._progress = progress
        self._seen = 0

    def verified(self, user_id: str) -> UserReport:
        """Compare what a user has."""
        a_pass = _Pass(self, user_id, writes=False)
        a_pass.go()
        return a_pass.report

    def copied(
        self, user_id: str, journal: Journal, sleep: Callable[[float], object]
    ) -> UserReport:
        """Copy and compare until there is nothing left to do."""
        position = journal.position(self.pair.source.KIND, user_id)
        done = UserReport(user_id=user_id)
        is_open = True
        if position != HIGHEST_ID:
            a_pass = self._pass(done, writes=True, position=position, journal=journal)
            done = a_pass.report
            is_open = a_pass.has_written or position != ""
        left = _PASSES
        while is_open:
            if not self.pair.target.capabilities.strong_reads:
                sleep(_WAIT_SECONDS)
            a_pass = self._pass(done, writes=left > 0)
            left -= 1
            done = a_pass.report
            is_open = a_pass.has_written
        return done

    def _pass(self, done: UserReport, *, writes: bool, **where: Any) -> _Pass[T]:
        """Walk once; the report adds up what was done in the walks before."""
        a_pass = _Pass(self, done.user_id, writes=writes)
        a_pass.go(**where)
        a_pass.report = replace(
            a_pass.report,
            stored=done.stored + a_pass.report.stored,
            replaced=done.replaced + a_pass.report.replaced,
            deleted=done.deleted + a_pass.report.deleted,
        )
        return a_pass

    def looked_at_one_more(self) -> None:
        """Tell who is waiting."""
        self._seen += 1
        self._progress(self._seen, None)


class _Pass(Generic[T]):
    """One walk through all that a user has on both sides."""

    def __init__(self, run: _Run[T], user_id: str, *, writes: bool) -> None:
        self.report = UserReport(user_id=user_id)
        self.has_written = False
        self._run = run
        self._pair = run.pair
        self._user_id = user_id
        self._writes = writes
        self._source = self._target = Tally()
        self._waiting: list[tuple[T | None, T | None]] = []
        self._bytes = 0
        self._confirmed = 0

    def go(self, position: str = "", journal: Journal | None = None) -> None:
        """Walk from behind a position, which the journal is told of from time to time."""
        pair = self._pair
        after = max(position, self._run.options.lowest)
        pairs = joined(
            pair.read(pair.source, self._user_id, after),
            pair.read(pair.target, self._user_id, after),
        )
        since_move = 0
        for ours, theirs in pairs:
            if ours is not None and theirs is not None and pair.same(ours, theirs):
                self._count(ours, theirs)
            else:
                self._wait(ours, theirs)
            self._run.looked_at_one_more()
            since_move += 1
            if journal is not None and since_move >= MOVE_EVERY:
                self._flush()
                journal.move(pair.source.KIND, self._user_id, _id_of(ours, theirs))
                since_move = 0
        self._flush()
        if journal is not None and self.has_written:
            journal.move(pair.source.KIND, self._user_id, HIGHEST_ID)
        self.report = replace(self.report, source=self._source, target=self._target)

    def _wait(self, ours: T | None, theirs: T | None) -> None:
        size = 0 if ours is None else self._pair.size(ours)
        if self._waiting and (
            len(self._waiting) >= self._pair.MAX_ITEMS or self._bytes + size > self._pair.MAX_BYTES
        ):
            self._flush()
        self._waiting.append((ours, theirs))
        self._bytes += size

    def _flush(self) -> None:
        """Deal with what differs so far."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        missing: list[T] = []
        different: list[T] = []
        extra: list[T] = []
        again = self._looked_at_again(waiting)
        now = self._pair.now()
        for ours, theirs in again:
            left, right = self._live(ours, theirs, now)
            if left is not None and right is not None:
                if not self._pair.same(left, right):
                    different.append(left)
            elif left is not None:
                missing.append(left)
            elif right is not None:
                extra.append(right)
            self._count(left, right)
        if self._writes:
            self._write(missing, different, extra)
        else:
            self._note(missing=missing, different=different, extra=extra)

    def _looked_at_again(
        self, waiting: Sequence[tuple[T | None, T | None]]
    ) -> Sequence[tuple[T | None, T | None]]:
        """Return pairs as they are now, where what came in between would count as a difference."""
        pair, user_id = self._pair, self._user_id
        if self._writes:
            ids = [right.id for left, right in waiting if left is None and right is not None]
            ours = pair.get(pair.source, user_id, ids)
            return [
                (ours.get(right.id) if left is None and right is not None else left, right)
                for left, right in waiting
            ]
        if self._confirmed >= _CONFIRMED:
            return waiting
        self._confirmed += len(waiting)
        ids = [_id_of(left, right) for left, right in waiting]
        ours = pair.get(pair.source, user_id, ids)
        theirs = pair.get(pair.target, user_id, ids)
        return [(ours.get(one), theirs.get(one)) for one in ids]

    def _live(self, ours: T | None, theirs: T | None, now: int) -> tuple[T | None, T | None]:
        """Return what of both has not expired, and would not by the default of the target."""
        if theirs is not None and _is_over(self._pair.expires(theirs, moved=False), now):
            theirs = None
        if ours is not None and _is_over(self._pair.expires(ours, moved=True), now):
            if not _is_over(self._pair.expires(ours, moved=False), now):
                self.report = replace(self.report, expired=self.report.expired + 1)
            ours = None
        return ours, theirs

    def _write(self, missing: Sequence[T], different: Sequence[T], extra: Sequence[T]) -> None:
        """Make the target hold what the source holds."""
        pair, user_id, report = self._pair, self._user_id, self.report
        wrote: dict[str, T | None] = {one.id: one for one in (*missing, *different)}
        stored = pair.add(user_id, missing) if missing else 0
        if different:
            pair.put(user_id, different)
        deleted = 0
        if self._run.options.delete_extra:
            ids = [one.id for one in extra]
            deleted = pair.remove(user_id, ids) if ids else 0
            wrote.update((one, None) for one in ids)
        else:
            self._note(missing=(), different=(), extra=extra)
            report = self.report
        self.report = replace(
            report,
            stored=report.stored + stored,
            replaced=report.replaced + len(different),
            deleted=report.deleted + deleted,
        )
        if wrote:
            self.has_written = True
            self._settle(wrote)

    def _settle(self, wrote: dict[str, T | None]) -> None:
        """Follow the source, where it changed between the reading and the writing.

        Whoever writes both sides writes the source first. So once the source is seen to be as it
        was written, after it was written, what comes later comes later on the target too.
        """
        pair, user_id = self._pair, self._user_id
        for _ in range(_SETTLING):
            now = pair.get(pair.source, user_id, list(wrote))
            moved = {one: now.get(one) for one, was in wrote.items() if self._moved(was, now, one)}
            if not moved:
                return
            pair.put(user_id, [one for one in moved.values() if one is not None])
            pair.remove(user_id, [one for one, is_now in moved.items() if is_now is None])
            wrote = moved

    def _moved(self, was: T | None, now: Mapping[str, T], message_id: str) -> bool:
        """Whether the source says otherwise than what was written."""
        found = now.get(message_id)
        if found is None:  # which means nothing where a read may be behind
            return was is not None and self._pair.source.capabilities.strong_reads
        if was is None:
            return True
        return not self._pair.equal(found, was)

    def _count(self, ours: T | None, theirs: T | None) -> None:
        if ours is not None:
            self._source = self._source.with_one(self._pair.form(ours, moved=True))
        if theirs is not None:
            self._target = self._target.with_one(self._pair.form(theirs, moved=False))

    def _note(self, *, missing: Sequence[T], different: Sequence[T], extra: Sequence[T]) -> None:
        report = self.report
        ids = [one.id for one in (*missing, *different, *extra)]
        self.report = replace(
            report,
            missing=report.missing + len(missing),
            different=report.different + len(different),
            extra=report.extra + len(extra),
            examples=(*report.examples, *ids)[:_EXAMPLES],
        )


def _is_over(expires: int | None, now: int) -> bool:
    return expires is not None and expires <= now


def _id_of(ours: T | None, theirs: T | None) -> str:
    there = theirs if ours is None else ours
    return "" if there is None else there.id
