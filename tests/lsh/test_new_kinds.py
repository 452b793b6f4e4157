"""Vectors of a new kind: everything is encoded early, and each kind is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ialstore_backends.lsh.packed import rebuilding
from ialstore_backends.lsh.packed.entries import Entries, EntryFormat, Floats, tombstone
from ialstore_backends.lsh.packed.head import Facts, Head, decode_head
from ialstore_backends.lsh.packed.rotation import rotation
from tests.lsh import test_plans as plans
from tests.lsh.test_plans import User, entries_of, recall, unit

DIMENSION = 128
COUNT = 1000
LATE = 110


def text(count: int, seed: int = 0) -> Floats:
    return plans.text_like(count, seed, DIMENSION)


def uniform(count: int, seed: int = 0) -> Floats:
    """Return vectors without any structure."""
    return unit(np.random.default_rng(seed).standard_normal((count, DIMENSION)))


def turned(count: int, seed: int = 0) -> Floats:
    """Return text as another model might embed it."""
    rng = np.random.default_rng(9)
    return unit(text(count, seed) @ np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))[0])


def shared(count: int, seed: int = 0) -> Floats:
    """Return text that shares one direction."""
    far = unit(np.random.default_rng(8).standard_normal((1, DIMENSION)))
    return unit(text(count, seed) + 4 * far)


NEW = {"uniform": uniform, "turned": turned, "shared": shared}


@dataclass
class Life:
    """A user whose vectors come in order, and what maintenance made of them."""

    vectors: Floats
    there: int
    metric: str = "cosine"
    log: list[str] = field(default_factory=list)
    head: Head | None = None

    def __post_init__(self) -> None:
        self.layout = EntryFormat(DIMENSION, self.metric)
        self._rotated = rotation(DIMENSION).apply(self.vectors)
        self._known = np.zeros(len(self.vectors), self.layout.dtype)
        self._known["tag"] = np.arange(len(self.vectors))
        self.encode()

    def facts(self) -> Facts:
        assert self.head is not None
        return self.head.facts

    def cells(self) -> Entries:
        return self.layout.from_bytes(b"".join(self.made.cells)).copy()

    def tail(self, vectors: Floats) -> Entries:
        rotated = rotation(DIMENSION).apply(vectors)
        return entries_of(self.layout, rotated, self.facts().mean, self.there)

    def is_new(self, tail: Entries, now: int = 0) -> bool:
        assert self.head is not None
        return rebuilding.is_of_new_kind(self.head, self.cells(), tail, now=now)

    def encode(self, late: NDArray[np.intp] | None = None) -> None:
        rotated, known = self._rotated[: self.there], self._known[: self.there]
        self._take(
            rebuilding.encode_all(
                self.layout, rotated, known, self.head, version=1, segment=0, late=late
            )
        )

    def maintain(self) -> str:
        """Let a tail fill, and do what is due; return what that was."""
        assert self.head is not None
        before, late = self.there, rebuilding.tail_limit(self.layout, self.facts().count)
        tail = self.tail(self.vectors[before : before + late])
        self.there += len(tail)
        what: str | None = rebuilding.due(self.head, self.layout, len(tail))
        if what == "encode":
            self.encode()
        elif self.is_new(tail):
            what = "early"
            self.encode(np.arange(before, self.there))
        else:
            self._take(rebuilding.merge(self.head, self.cells(), tail, segment=0, now=0))
        self.log.append(str(what))
        return str(what)

    def recall(self, queries: Floats) -> float:
        assert self.head is not None
        cells = [self.layout.from_bytes(cell) for cell in self.made.cells]
        tail = np.zeros(0, self.layout.dtype)
        return recall(User(self.vectors[: self.there], self.head, cells, tail), queries)

    def _take(self, made: rebuilding.Rebuilt) -> None:
        self.made, self.head = made, decode_head(made.head, self.layout)


@pytest.mark.parametrize("kind", NEW)
def test_a_new_kind_is_seen(kind: str) -> None:
    life = Life(text(COUNT), COUNT)
    assert life.is_new(life.tail(NEW[kind](LATE, 1)))


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("kind", [text, uniform, shared])
def test_what_goes_on_is_not_new(kind: Callable[[int, int], Floats], metric: str) -> None:
    life = Life(kind(COUNT, 0), COUNT, metric)
    assert not any(life.is_new(life.tail(kind(LATE, seed))) for seed in (1, 2, 3))


def test_what_does_not_count_is_of_no_kind() -> None:
    """What was removed or is expired is not merged, and a few vectors are no reason."""
    life = Life(text(COUNT), COUNT)
    tail = life.tail(uniform(LATE, 1))
    few = rebuilding.MIN_TAIL // 2
    assert life.is_new(tail[:few])
    assert not life.is_new(tail[: few - 1])
    dead = [tombstone(int(one["tag"]), 1) for one in tail[few - 1 :]]
    assert not life.is_new(np.concatenate([tail, life.layout.from_set(dead)]))
    tail["about"] = 100 << 8 | 1
    assert life.is_new(tail)
    assert not life.is_new(tail, now=10**6)
    assert life.head is not None
    assert not rebuilding.is_of_new_kind(life.head, life.cells()[:0], life.tail(text(50)), now=0)


def test_equal_vectors_are_of_the_kind_of_their_like() -> None:
    same = np.repeat(text(10), 30, axis=0)
    life = Life(same, len(same))
    assert not life.is_new(life.tail(same[::5]))
    assert life.is_new(life.tail(text(60, 1)))


def test_text_that_goes_on_is_encoded_when_that_is_due() -> None:
    life = Life(text(2 * COUNT), COUNT)
    while life.maintain() == "merge":
        continue
    assert life.log[-1] == "encode"
    assert 1.25 * COUNT <= life.there < 1.4 * COUNT
    assert not life.facts().mixed


@pytest.mark.parametrize("kind", ["uniform", "turned"])
def test_a_new_kind_is_found_once_a_tail_is_full_of_it(kind: str) -> None:
    """Everything is encoded early, and once more when more of it is there."""
    new = NEW[kind]
    life = Life(np.concatenate([text(COUNT), new(COUNT, 1)]), COUNT)
    while life.there < 1.4 * COUNT:
        life.maintain()
        assert life.recall(new(30, 5)) >= 0.9, life.log
    assert life.recall(text(30, 5)) >= 0.9, life.log
    assert life.log[0] == "early"
    assert (life.log.count("early"), life.log.count("encode")) == (1, 1), life.log


def test_a_later_encoding_looks_at_the_recall_of_each_kind() -> None:
    """A few that are hard to find are not outweighed by the many."""
    life = Life(np.concatenate([text(COUNT), uniform(LATE, 1)]), COUNT + LATE)
    queries = uniform(60, 5)
    before = life.recall(queries)
    life.encode(np.arange(COUNT, COUNT + LATE))
    early = life.recall(queries)
    life.encode()
    assert before < 0.88, "all of this would be for nothing"
    assert early >= 0.94
    assert life.recall(queries) >= 0.9


def test_whatever_comes_not_every_merge_becomes_an_encoding() -> None:
    """After an early encoding none is early until the number has grown by a quarter."""
    life = Life(np.concatenate([text(COUNT), uniform(LATE, 1)]), COUNT + LATE)
    life.encode(np.arange(COUNT, COUNT + LATE))
    assert life.head is not None
    assert not life.is_new(life.tail(turned(LATE, 1)))
    assert rebuilding.due(life.head, life.layout, LATE) == "merge"
    assert rebuilding.due(life.head, life.layout, life.there // 5) == "merge"
    assert rebuilding.due(life.head, life.layout, -(-life.there // 4)) == "encode"
    life.encode()
    assert life.is_new(life.tail(turned(LATE, 1)))
    assert rebuilding.due(life.head, life.layout, life.there // 5) == "merge"


def test_that_there_are_several_kinds_is_remembered() -> None:
    """That everything was encoded early counts until it is encoded again."""
    life = Life(np.concatenate([text(COUNT), uniform(LATE, 1)]), COUNT + LATE)
    assert (life.facts().early, life.facts().mixed) == (False, False)
    life.encode(np.arange(COUNT, COUNT + LATE))
    assert (life.facts().early, life.facts().mixed) == (True, True)
    assert life.head is not None
    nothing = life.cells()[:0]
    merged = rebuilding.merge(life.head, life.cells(), nothing, segment=0, now=0)
    facts = decode_head(merged.head, life.layout).facts
    assert (facts.early, facts.mixed) == (True, True)
    life.encode()
    assert (life.facts().early, life.facts().mixed) == (False, True)


def test_one_kind_has_the_same_thresholds_where_several_are_known() -> None:
    life = Life(text(COUNT), COUNT)
    alone = life.facts()
    assert life.head is not None
    life.head = replace(life.head, facts=replace(alone, epoch=0, mixed=True))
    life.encode()
    assert life.facts() != alone
    assert life.facts().calibration == alone.calibration
