"""Loading an index with the vectors of a user, and measuring it.

Every index gets the same vectors, sizes and queries, under a user of its own that is erased
afterwards.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ialstore.compare.data import Dataset, records
from ialstore.compare.footprint import estimated_bytes, file_bytes, process_bytes
from ialstore.compare.intervals import interval
from ialstore.compare.model import Calls, Index, Journal, Load, Recall, Search, Size
from ialstore.compare.truth import Truth
from ialstore.errors import DeadlineExceededError, IalStoreError
from ialstore.url import redact_url

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.config import Config
    from ialstore.events import OperationEvent
    from ialstore.vector import VectorIndex
    from ialstore.vector_model import IndexSpec, SearchResult

__all__ = ["Plan", "Subject", "measure"]

T = TypeVar("T")

_TIMEOUT_SECONDS: Final = 60.0
"""Of a call: reading all of a large user may take long, and is to be measured, not refused."""
_SETTLE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.1
_BYTES_PER_WRITE_UNIT: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured of every index.

    Attributes:
        sizes: numbers of vectors, ascending.
        efforts: of searches; None is the default of the index. One that is exact has no other.
        k: hits of the searches whose cost counts.
        ks: each k of which the recall is told; what lies above ``k`` gets searches of its own.
        text_bytes: of each vector's text, where the data has none.
        upserts: how many are measured, one vector each.
        optimize: run ``optimize`` after the load.
        setup: create what is missing.
        keep: leave the vectors there.
    """

    sizes: tuple[int, ...]
    efforts: tuple[float | None, ...]
    k: int
    ks: tuple[int, ...]
    text_bytes: int
    upserts: int
    optimize: bool = True
    setup: bool = False
    keep: bool = False

    @property
    def depths(self) -> tuple[int, ...]:
        """Numbers of hits for which there are searches."""
        return tuple(sorted({self.k, *(k for k in self.ks if k > self.k)}))

    def told_by(self, depth: int) -> tuple[int, ...]:
        """Return each k of which the recall is told by the searches for so many hits."""
        return tuple(k for k in self.ks if k <= depth) if depth == self.k else (depth,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An index that is compared.

    Attributes:
        name: what people call it.
        config: its section ``[vector]`` says what it is.
        spec: what it is made for.
    """

    name: str
    config: Config = field(repr=False)
    spec: IndexSpec

    def open(self) -> VectorIndex:
        """Return the index; close it after use."""
        from ialstore.config import open_index

        return open_index(self.config, self.spec, timeout_seconds=_TIMEOUT_SECONDS)


def measure(
    subjects: Sequence[Subject],
    data: Dataset,
    plan: Plan,
    journal: Journal,
    progress: Progress,
    *,
    say: Callable[[str], None],
) -> None:
    """Measure what the journal does not have yet, and say why it waits.

    Raises:
        IalStoreError: an index failed; what was measured before is kept.
    """
    done = _Done(progress, say)
    truths: dict[int, Truth] = {}
    todo: list[_Measuring] = []
    for subject in subjects:
        with _named(subject.name), subject.open() as index:
            found = Index(
                name=subject.name,
                url=redact_url(subject.config.vector.url),
                backend=index.backend,
                exact=index.capabilities.exact,
                durable=index.capabilities.durable,
            )
        journal.enter(found)
        for size in plan.sizes:
            one = _Measuring(subject, data, plan, journal, size, found.exact, truths, done)
            if one.missing or one.size.upserts is None:
                todo.append(one)
    done.total = sum(one.steps for one in todo)
    for one in todo:
        with _named(one.subject.name):
            one.run()


@contextmanager
def _named(name: str) -> Generator[None]:
    """Let errors say which index they are of."""
    try:
        yield
    except IalStoreError as error:
        error.args = (f"{name}: {error}",)
        raise


class _Done:
    """Steps done, for a progress bar."""

    def __init__(self, progress: Progress, say: Callable[[str], None]) -> None:
        self._progress = progress
        self.say = say
        self.total = 0
        self._steps = 0

    def add(self, steps: int) -> None:
        self._steps += steps
        self._progress(self._steps, self.total)


class _Heard:
    """The events of the calls that are measured."""

    def __init__(self) -> None:
        self._of_call: list[OperationEvent] = []
        self.events: list[OperationEvent] = []

    def __call__(self, event: OperationEvent) -> None:
        self._of_call.append(event)

    def call(self, call: Callable[[], T]) -> T:
        """Make a call and keep its event."""
        self._of_call.clear()
        answer = call()
        self.events.append(self._of_call[-1])  # the outermost store speaks last
        return answer


@dataclass(slots=True)
class _Measuring:
    """One index with so many vectors."""

    subject: Subject
    data: Dataset
    plan: Plan
    journal: Journal
    count: int
    exact: bool
    truths: dict[int, Truth]
    done: _Done
    user: str = field(init=False)

    def __post_init__(self) -> None:
        seed = self.journal.run.basis.seed
        own = hashlib.sha256(f"{self.data.digest} {seed} {self.subject.name}".encode()).hexdigest()
        self.user = f"compare-{own[:12]}-{self.count}"

    @property
    def size(self) -> Size:
        return self.journal.run.index(self.subject.name).size(self.count)

    @property
    def missing(self) -> list[tuple[float | None, int]]:
        """Efforts and k of the searches that are not yet measured."""
        efforts = (None,) if self.exact else self.plan.efforts
        return [
            (effort, k)
            for effort in efforts
            for k in self.plan.depths
            if self.size.search(effort, k) is None
        ]

    @property
    def steps(self) -> int:
        return self.count + len(self.missing) * len(self.data.queries) + 2 * self.plan.upserts

    def run(self) -> None:
        gc.collect()
        memory, files = process_bytes(), file_bytes(self.subject.config.vector.url)
        try:
            with self.subject.open() as index:
                if self.plan.setup:
                    index.setup()
                if index.count(self.user):  # a run before this one was killed
                    index.erase(self.user)
                numbers = self._begin(index)
                written = (
                    None
                    if index.capabilities.durable
                    else self._run(lambda: nullcontext(index), numbers, memory)
                )
            upserts, deletes = written or self._run(self.subject.open, numbers, memory)
            stored = self._stored(files)  # a file that is open has a log beside it
            complete = replace(self.size, upserts=upserts, deletes=deletes, **stored)
        finally:
            if not self.plan.keep:
                with self.subject.open() as index:
                    index.erase(self.user)
        # Last, so that what is complete is also erased.
        self.journal.put(self.subject.name, complete)

    def _begin(self, index: VectorIndex) -> dict[str, int]:
        """Load all vectors and search for the first time; return the number of each by its id."""
        load, numbers = self._load(index)
        began = time.perf_counter()
        index.search(self.user, self.data.queries[0], self.plan.k)
        size = replace(
            self.size, load=load, first_search_seconds=_rounded(time.perf_counter() - began)
        )
        self.journal.put(self.subject.name, size)
        return numbers

    def _run(
        self,
        opened: Callable[[], AbstractContextManager[VectorIndex]],
        numbers: dict[str, int],
        memory: int | None,
    ) -> tuple[Calls, Calls]:
        """Measure everything; return what is not yet in the journal, upserts and deletes.

        Whatever else is measured, each effort begins with an index that holds nothing. One search
        goes before, which is not told.
        """
        for effort, k in self.missing:
            with opened() as index:
                index.search(self.user, self.data.queries[0], k, effort=effort)
                found = self._search(index, effort, k, numbers)
                size = replace(self.size, searches=(*self.size.searches, found))
                if (effort, k) == (None, self.plan.k):
                    now = process_bytes()
                    size = replace(
                        size,
                        held_bytes=index.held_bytes,
                        process_bytes=None
                        if now is None or memory is None
                        else max(0, now - memory),
                    )
            self.journal.put(self.subject.name, size)
        with opened() as index:
            index.search(self.user, self.data.queries[0], self.plan.k)
            return self._write(index)

    def _load(self, index: VectorIndex) -> tuple[Load, dict[str, int]]:
        """Load all vectors; return what it took, and the number of each vector by its id."""
        numbers: dict[str, int] = {}

        def given() -> Iterator[tuple[str, Any]]:
            made = records(self.data, self.user, 0, self.count, text_bytes=self.plan.text_bytes)
            for number, record in enumerate(made):
                numbers[record.id] = number
                self.done.add(1)
                yield self.user, record

        with _heard(index) as heard:
            began, used = time.perf_counter(), time.process_time()
            heard.call(lambda: index.bulk_load(given()))
            if self.plan.optimize:
                heard.call(lambda: index.optimize(self.user))
            seconds, cpu = time.perf_counter() - began, time.process_time() - used
        self._settle(index)
        units = [one.units for one in heard.events]
        load = Load(
            seconds=_rounded(seconds),
            cpu_seconds=_rounded(cpu),
            requests=sum(one.requests for one in units),
            read_units=sum(one.read for one in units),
            write_units=sum(one.write for one in units),
            vector_write_bytes=sum(one.vector_write_bytes for one in units),
        )
        return load, numbers

    def _settle(self, index: VectorIndex) -> None:
        """Wait until searches cost what they will, and reads see all where none is strong."""
        rest = index.capabilities.settling_seconds
        if rest and self.missing:
            self.done.say(
                f"{self.subject.name}: waiting for {rest:g} s, as searches cost more after a write"
            )
            time.sleep(rest)
        if index.capabilities.strong_reads:
            return
        end = time.monotonic() + _SETTLE_SECONDS
        while (found := index.count(self.user)) < self.count:
            if time.monotonic() > end:
                raise DeadlineExceededError(
                    f"{self.subject.name} shows {found:,} of {self.count:,} vectors, "
                    f"{_SETTLE_SECONDS:g} s after they were loaded"
                )
            time.sleep(_PAUSE_SECONDS)

    def _search(
        self, index: VectorIndex, effort: float | None, k: int, numbers: dict[str, int]
    ) -> Search:
        answers: list[SearchResult] = []
        with _heard(index) as heard:
            used = time.process_time()
            for query in self.data.queries:
                answers.append(
                    heard.call(lambda query=query: index.search(self.user, query, k, effort=effort))  # type: ignore[misc]
                )
                self.done.add(1)
            cpu = time.process_time() - used
        truth = self._truth()
        found = [[numbers[hit.id] for hit in one] for one in answers]
        recalls: list[Recall] = []
        for level in self.plan.told_by(k):
            shares = [truth.recall(number, one, level) for number, one in enumerate(found)]
            low, high = interval(shares, level)
            recalls.append(
                Recall(
                    k=level,
                    mean=round(fmean(shares), 6),
                    low=round(low, 6),
                    high=round(high, 6),
                )
            )
        return Search(
            effort=effort,
            k=k,
            recalls=tuple(recalls),
            examined=fmean(one.examined for one in answers),
            calls=_calls(heard.events, cpu),
        )

    def _truth(self) -> Truth:
        """Return the exact answers for so many vectors, computed once for all indexes."""
        if self.count not in self.truths:
            metric = self.subject.spec.metric
            vectors = self.data.vectors[: self.count]
            levels = sorted({*self.plan.ks, *self.plan.depths})
            self.truths[self.count] = Truth(metric, vectors, self.data.queries, levels)
        return self.truths[self.count]

    def _write(self, index: VectorIndex) -> tuple[Calls, Calls]:
        """Store the queries as vectors, one by one, and delete them again."""
        first = len(self.data.vectors)
        last = first + self.plan.upserts
        made = list(records(self.data, self.user, first, last, text_bytes=self.plan.text_bytes))
        found: list[Calls] = []
        calls: tuple[Callable[[Any], object], ...] = (
            lambda record: index.upsert(self.user, [record]),
            lambda record: index.delete(self.user, [record.id]),
        )
        for call in calls:
            with _heard(index) as heard:
                used = time.process_time()
                for record in made:
                    heard.call(lambda call=call, record=record: call(record))  # type: ignore[misc]
                    self.done.add(1)
                found.append(_calls(heard.events, time.process_time() - used))
        return found[0], found[1]

    def _stored(self, files: int | None) -> dict[str, Any]:
        """Return what is stored and how that is known, given the size of the files before."""
        url, load = self.subject.config.vector.url, self.size.load
        after = file_bytes(url)
        ways = {  # files may have room left from what was erased: then they grow too little
            "estimate": self._estimated_bytes(url),
            "files": None if after is None else after - (files or 0),
        }
        known = {way: size for way, size in ways.items() if size}
        if not known and load is not None and load.write_units:
            known["units"] = int(load.write_units * _BYTES_PER_WRITE_UNIT + load.vector_write_bytes)
        way = max(known, key=known.__getitem__, default="")
        return {"stored_bytes": known.get(way), "stored_by": way}

    def _estimated_bytes(self, url: str) -> int | None:
        texts = self.data.texts[: self.count]
        mean = fmean(len(one.encode()) for one in texts) if texts else self.plan.text_bytes
        return estimated_bytes(
            url, self.count, dimension=self.data.dimension, text_bytes=round(mean)
        )


@contextmanager
def _heard(index: VectorIndex) -> Generator[_Heard]:
    heard = _Heard()
    end = index.subscribe(heard)
    try:
        yield heard
    finally:
        end()


def _calls(events: Sequence[OperationEvent], cpu_seconds: float) -> Calls:
    units = [one.units for one in events]
    return Calls(
        seconds=tuple(_rounded(one.seconds) for one in events),
        round_trips=tuple(one.round_trips for one in events),
        cpu_seconds=_rounded(cpu_seconds / len(events)),
        requests=fmean(one.requests for one in units),
        read_units=fmean(one.read for one in units),
        write_units=fmean(one.write for one in units),
        vector_write_bytes=fmean(one.vector_write_bytes for one in units),
        vector_search_bytes=fmean(one.vector_search_bytes for one in units),
    )


def _rounded(seconds: float) -> float:
    return round(seconds, 6)
