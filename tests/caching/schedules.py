"""Every state that readers and writers of one cached value can reach, each visited once.

The steps are those of ``ialstore.caching.protocol``, run from the log of their answers; the cache
is a ``MemoryCache`` at a standing clock, put into each state and asked. Both are pure, so each
answer is worked out once. What may happen besides a process's next step:

- a process dies, at any step: after the effect of one but before its answer is the same state as
  before the next one, for the answer is lost with it;
- a write fails: not applied, or in doubt, and then it has landed, lands later, or never does;
- a read of the store fails;
- a value or a lease is evicted, a lease ends;
- the mark of a writer that is over ends, once its write can no longer land.

All readers are threads of one process: who finds the lease taken may wait for a reader that has
not begun to fill, as ``Reader`` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from ialstore.caching.protocol import Bucket, Found, Look, Step, reading, writing
from ialstore.errors import Outcome, UnavailableError
from ialstore_backends.memory_cache import MemoryCache

__all__ = ["LAND", "LOOK_ONLY", "PUT", "Design", "Plan", "Search", "explore"]

BUCKET: Final = Bucket("owner", "part")
NAME: Final = "name"
NOW: Final = 1_000.0
LONG_MS: Final = 60_000

# Steps that the library does not take.
LOOK_ONLY: Final = "look without a lease"
PUT: Final = "put without a lease"
LAND: Final = "let those who wait go on"

NOT_APPLIED: Final = UnavailableError("not applied")
IN_DOUBT: Final = UnavailableError("in doubt", outcome=Outcome.UNKNOWN)
NOTHING: Final = Look(Found.NOTHING)

Plan: TypeAlias = Generator[str, Any, Any]
"""``Steps``, and others that the library does not take."""
Log: TypeAlias = tuple[Any, ...]
"""What each step of a process gave; exceptions are what it raised."""


class Cached(NamedTuple):
    """What the cache holds. A lease is its token, and whether it still runs."""

    value: bytes | None = None
    lease: tuple[str, bool] | None = None
    marks: frozenset[str] = frozenset()


class Writer(NamedTuple):
    """A process that writes once. Its version is 0 until its write has landed."""

    log: Log = ()
    version: int = 0
    may_land: bool = False
    over: bool = False


class Reader(NamedTuple):
    """A process that reads, one read after the other.

    ``since`` is the version that the read on its way must not fall behind; ``waits_for`` the reader
    whose value it takes.
    """

    left: int
    log: Log = ()
    since: int = 0
    waits_for: str = ""


class State(NamedTuple):
    """The whole: processes by the order of their names."""

    cached: Cached
    stored: int
    writers: tuple[Writer, ...]
    readers: tuple[Reader, ...]


@dataclass(frozen=True)
class Design:
    """A protocol, and what it may rely on; by default those of the library.

    Attributes:
        reading: steps of a reader.
        writing: steps of a writer.
        joined_before: steps before which a reader's value may still be waited for.
        lands_after: step after which who waits has it.
        eventual: whether a read of the store may give the version before.
        early_marks: whether the mark of a writer may end before its late write lands.
    """

    reading: Callable[[], Plan] = reading
    writing: Callable[[], Plan] = writing
    joined_before: frozenset[str] = frozenset({Step.LOAD, Step.FILL})
    lands_after: str = Step.FILL
    eventual: bool = False
    early_marks: bool = False


class Next(NamedTuple):
    """Where the steps are after a log: at a step, or at their end."""

    step: str | None
    gave: Any = None


@cache
def after(steps: Callable[[], Plan], log: Log) -> Next:
    """Run the steps from the beginning through a log."""
    run = steps()
    try:
        step = next(run)
        for answer in log:
            step = run.throw(answer) if isinstance(answer, Exception) else run.send(answer)
    except StopIteration as end:
        return Next(None, end.value)
    except UnavailableError as error:
        return Next(None, error)
    return Next(step)


def _put_value(cache: MemoryCache, token: str, value: bytes) -> bool:
    """Put a value, whatever is there: no step of the library's."""
    marked = cache.look(BUCKET, NAME, None, 0).found is Found.MARKED
    if not marked:
        cache.settle([BUCKET], "")
        cache.look(BUCKET, NAME, token, LONG_MS)
    return not marked and cache.fill(BUCKET, NAME, token, value, LONG_MS)


_DEEDS: Final[dict[str, Callable[[MemoryCache, str, bytes], Any]]] = {
    Step.LOOK: lambda cache, token, _: cache.look(BUCKET, NAME, token, LONG_MS),
    Step.WAIT: lambda cache, token, _: cache.look(BUCKET, NAME, token, LONG_MS),
    Step.FILL: lambda cache, token, value: cache.fill(BUCKET, NAME, token, value, LONG_MS),
    Step.RELEASE: lambda cache, token, _: cache.release(BUCKET, NAME, token),
    Step.MARK: lambda cache, token, _: cache.mark([BUCKET], token, LONG_MS),
    Step.SETTLE: lambda cache, token, _: cache.settle([BUCKET], token),
    Step.SETTLE_IN_DOUBT: lambda cache, token, _: cache.settle([BUCKET], token, LONG_MS),
    LOOK_ONLY: lambda cache, _, __: cache.look(BUCKET, NAME, None, 0),
    PUT: _put_value,
    LAND: lambda *_: None,
}


@cache
def do(cached: Cached, step: str, token: str, value: bytes) -> tuple[Cached, Any]:
    """Let a real cache in this state do a step; return its state then, and its answer."""
    now = [NOW]
    cache = MemoryCache(clock=lambda: now[0])
    if cached.value is not None:
        assert _put_value(cache, "filler", cached.value)
    if cached.lease is not None:
        holder, runs = cached.lease
        now[0] = NOW if runs else NOW - LONG_MS / 1000
        cache.look(BUCKET, NAME, holder, LONG_MS)
        now[0] = NOW
    for mark in sorted(cached.marks):
        cache.mark([BUCKET], mark, LONG_MS)
    answer = _DEEDS[step](cache, token, value)
    return _state_of(cache), answer


def _state_of(cache: MemoryCache) -> Cached:
    held = cache._buckets.get(BUCKET)  # noqa: SLF001 - no method tells of leases and marks
    if held is None:
        return Cached()
    assert all(ends_at > NOW for ends_at in held.marks.values())
    lease = held.leases.get(NAME)
    return Cached(
        held.values.get(NAME),
        None if lease is None else (lease[0], lease[1] > NOW),
        frozenset(held.marks),
    )


class Stale(Exception):  # noqa: N818 - it is what a search looks for
    """A read ended with a version that its writer had replaced before the read began."""


Move: TypeAlias = tuple[str, State]
"""What happened, and the state then."""


def moves(design: Design, state: State) -> Iterator[Move]:
    """Yield all that may happen next.

    Raises:
        Stale: a read ended with what is stale; the argument says what happened.
    """
    for number, writer in enumerate(state.writers):
        yield from _writer_moves(design, state, number, writer)
    for number, reader in enumerate(state.readers):
        if reader.left:
            yield from _reader_moves(design, state, number, reader)
    cached = state.cached
    if cached.value is not None:
        yield "the value is evicted", state._replace(cached=cached._replace(value=None))
    if cached.lease is not None:
        holder, runs = cached.lease
        yield (
            f"the lease of {holder} is evicted",
            state._replace(cached=cached._replace(lease=None)),
        )
        if runs:
            ended = cached._replace(lease=(holder, False))
            yield f"the lease of {holder} ends", state._replace(cached=ended)


def _with_writer(state: State, number: int, writer: Writer, **changes: Any) -> State:
    writers = (*state.writers[:number], writer, *state.writers[number + 1 :])
    return state._replace(writers=writers, **changes)


def _writer_moves(design: Design, state: State, number: int, writer: Writer) -> Iterator[Move]:
    name = f"W{number + 1}"
    landed = state.stored + 1
    if writer.may_land:
        yield (
            f"the late write of {name} lands: version {landed}",
            _with_writer(
                state, number, writer._replace(version=landed, may_land=False), stored=landed
            ),
        )
        never = writer._replace(may_land=False)
        yield f"the late write of {name} never lands", _with_writer(state, number, never)
    if writer.over:
        if name in state.cached.marks and (design.early_marks or not writer.may_land):
            cached = state.cached._replace(marks=state.cached.marks - {name})
            yield f"the mark of {name} ends", state._replace(cached=cached)
        return

    def goes_on(answer: Any, writer: Writer = writer, **changes: Any) -> State:
        log = (*writer.log, answer)
        over = after(design.writing, log).step is None
        return _with_writer(state, number, writer._replace(log=log, over=over), **changes)

    def dies(writer: Writer) -> State:
        return _with_writer(state, number, writer._replace(log=(), over=True))

    step = after(design.writing, writer.log).step
    assert step is not None
    yield f"{name} dies before: {step}", dies(writer)
    if step == Step.WRITE:
        done, late = writer._replace(version=landed), writer._replace(may_land=True)
        yield f"{name}: write, version {landed}", goes_on(None, done, stored=landed)
        yield f"{name} dies in its write", dies(late)
        yield f"{name}: write, not applied", goes_on(NOT_APPLIED)
        yield (
            f"{name}: write, in doubt, version {landed}",
            goes_on(IN_DOUBT, done, stored=landed),
        )
        yield f"{name}: write, in doubt", goes_on(IN_DOUBT, late)
    else:
        cached, answer = do(state.cached, step, name, b"%d" % writer.version)
        yield f"{name}: {step}", goes_on(answer, cached=cached)


def _reader_moves(design: Design, state: State, number: int, reader: Reader) -> Iterator[Move]:
    name = f"R{number + 1}"
    since = reader.since
    if not reader.log:  # the read begins
        since = max(one.version if one.over else 0 for one in state.writers)

    def then(happened: str, changed: Reader, answer: Any, cached: Cached = state.cached) -> Move:
        log = (*changed.log, answer)
        end = after(design.reading, log)
        changed = changed._replace(log=log, since=since, waits_for="")
        if end.step is None:
            _check(design, happened, end.gave, since)
            changed = Reader(changed.left - 1)
        readers = (*state.readers[:number], changed, *state.readers[number + 1 :])
        return happened, state._replace(cached=cached, readers=readers)

    if reader.waits_for:
        yield then(f"{name} waits no longer", reader, NOTHING)
        return
    step = after(design.reading, reader.log).step
    assert step is not None
    dead = (*state.readers[:number], Reader(0), *state.readers[number + 1 :])
    yield f"{name} dies before: {step}", _land(design, state._replace(readers=dead), name, None)
    if step == Step.LOAD:
        yield then(f"{name}: load, version {state.stored}", reader, state.stored)
        if design.eventual and state.stored:
            yield then(f"{name}: load, version {state.stored - 1}", reader, state.stored - 1)
        failed, then_state = then(f"{name}: load fails", reader, NOT_APPLIED)
        yield failed, _land(design, then_state, name, None)
        return
    if step == Step.WAIT:
        yield then(f"{name}: gives up waiting", reader, NOTHING)
        for other in _may_be_joined(design, state):
            joined = reader._replace(waits_for=other)
            readers = (*state.readers[:number], joined, *state.readers[number + 1 :])
            yield f"{name}: waits for {other}", state._replace(readers=readers)
    loaded = [one for one in reader.log if type(one) is int]
    value = b"%d" % loaded[-1] if loaded else b""
    cached, answer = do(state.cached, step, name, value)
    happened, changed = then(f"{name}: {step}{_said(answer)}", reader, answer, cached)
    if step == design.lands_after:
        taken = answer is True or reader.log[-1] is True
        changed = _land(design, changed, name, value if taken else None)
    yield happened, changed


def _may_be_joined(design: Design, state: State) -> Iterator[str]:
    """Yield the readers that have a lease and have not come too far."""
    for number, reader in enumerate(state.readers):
        leased = any(isinstance(one, Look) and one.found is Found.LEASED for one in reader.log)
        if leased and after(design.reading, reader.log).step in design.joined_before:
            yield f"R{number + 1}"


def _land(design: Design, state: State, name: str, value: bytes | None) -> State:
    """Give those who wait for a reader its value, or nothing."""
    if all(one.waits_for != name for one in state.readers):
        return state
    answer = NOTHING if value is None else Look(Found.VALUE, value)
    readers: list[Reader] = []
    for reader in state.readers:
        if reader.waits_for != name:
            readers.append(reader)
            continue
        log = (*reader.log, answer)
        end = after(design.reading, log)
        if end.step is None:
            _check(design, f"R{len(readers) + 1} takes the value of {name}", end.gave, reader.since)
            readers.append(Reader(reader.left - 1))
        else:
            readers.append(reader._replace(log=log, waits_for=""))
    return state._replace(readers=tuple(readers))


def _check(design: Design, happened: str, gave: Any, since: int) -> None:
    # What the store itself gave late is no fault of the cache.
    if isinstance(gave, Exception) or (design.eventual and not isinstance(gave, Look)):
        return
    version = int(gave.value or b"") if isinstance(gave, Look) else gave
    if version < since:
        raise Stale(f"{happened}: it returns version {version}, though {since} was there before")


def _said(answer: Any) -> str:
    if not isinstance(answer, Look):
        return "" if answer is None else f", {answer}"
    return f", {answer.found}" + ("" if answer.value is None else f" {answer.value.decode()}")


@dataclass(frozen=True)
class Search:
    """What ``explore`` found: how many states, and the shortest schedule to a stale read."""

    states: int
    stale: tuple[str, ...] = ()


def explore(
    design: Design, *, writers: int, reads: tuple[int, ...], merging: bool = True
) -> Search:
    """Visit every state, the nearest first, until a read is stale.

    Args:
        design: the protocol.
        writers: how many, of one write each.
        reads: of each reader.
        merging: whether states that differ in nothing but the names of processes are one.
    """
    first = State(Cached(), 0, (Writer(),) * writers, tuple(map(Reader, reads)))
    came: dict[State, tuple[State, str] | None] = {first: None}
    queue = deque([first])
    while queue:
        state = queue.popleft()
        try:
            for happened, moved in moves(design, state):
                then = _renamed(moved) if merging else moved
                if then not in came:
                    came[then] = (state, happened)
                    queue.append(then)
        except Stale as stale:
            if merging:  # names would change on the way
                return explore(design, writers=writers, reads=reads, merging=False)
            return Search(len(came), (*_way_to(state, came), str(stale)))
    return Search(len(came))


_OTHER: Final = {"R1": "R2", "R2": "R1", "W1": "W2", "W2": "W1", "": ""}


def _renamed(state: State) -> State:
    """Return the same state for all that differ in names: two of a kind in a fixed order."""
    cached = state.cached
    if len(state.writers) == 2:
        one, two = (
            (hash(each), name in cached.marks)
            for each, name in zip(state.writers, ("W1", "W2"), strict=True)
        )
        if one > two:
            cached = cached._replace(marks=frozenset(_OTHER[mark] for mark in cached.marks))
            state = state._replace(cached=cached, writers=state.writers[::-1])
    if len(state.readers) == 2:
        holder = cached.lease[0] if cached.lease else ""
        one, two = (
            (hash((each.left, each.log, each.since, bool(each.waits_for))), name == holder)
            for each, name in zip(state.readers, ("R1", "R2"), strict=True)
        )
        if one > two:
            if cached.lease:
                cached = cached._replace(lease=(_OTHER[holder], cached.lease[1]))
            readers = tuple(
                each._replace(waits_for=_OTHER[each.waits_for]) for each in state.readers[::-1]
            )
            state = state._replace(cached=cached, readers=readers)
    return state


def _way_to(state: State, came: dict[State, tuple[State, str] | None]) -> list[str]:
    way: list[str] = []
    while (step := came[state]) is not None:
        state, happened = step
        way.append(happened)
    return way[::-1]
