"""What a workload takes of the layout ``packed``, from what ``PackedPrediction`` says of a call."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore.cost import Units
from ialstore.estimate import Call, Estimate, Partition, Stored, sample_records
from ialstore.model import Consistency
from ialstore.vector_model import IndexSpec
from ialstore_backends.dynamodb.estimate import STORAGE_PRICE
from ialstore_backends.lsh.options import LshOptions
from ialstore_backends.lsh.packed.entries import EntryFormat
from ialstore_backends.lsh.packed.prediction import PackedPrediction
from ialstore_backends.lsh.packed.rebuilding import FIRST, GROWTH, tail_limit
from ialstore_backends.lsh.table import TABLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore.estimate import Workload
    from ialstore_backends.lsh.packed.reckoning import PreparedUser

__all__ = ["estimate"]

_MOST: Final = 1000  # vectors of a sample
_QUERIES: Final = 8
_GROWTH: Final = 0.31
"""Cold searches grow as the number of vectors to this power: benchmarks/packed_units.py."""
_TOPICS: Final = 1000
_SUBJECTS: Final = 40
_DECAY: Final = 0.5
_NOW: Final = 1_800_000_000
_NOTE: Final = (
    "a search reads {:.1f} units where the process holds no codes of the user, as is reckoned, and "
    "{:.1f} where it holds them all; of vectors that are not those of text it may read more: "
    "ialstore compare measures yours"
)
_USER: Final = "0" * 36
_PLAIN: Final = LshOptions(layout="packed")
_OF_CODES: Final = 0.5  # of the writes of a vector; the rest is its row's


def estimate(options: LshOptions, workload: Workload, age_days: float) -> Estimate:
    """Return what vectors of this age take; see ``Component.estimate``.

    Searches are those of a process that holds nothing, among vectors that fall into topics as those
    of text do; their effort is the default.
    """
    prediction = PackedPrediction(IndexSpec(workload.dimension), options, _NOW)
    is_kept = workload.retention_days is None
    (record,) = sample_records(1, workload.dimension, workload.message_bytes, is_kept=is_kept)
    count = math.ceil(workload.messages_per_day * workload.kept_days(age_days))
    layout = EntryFormat(workload.dimension, "cosine")
    stored = prediction.upsert(_USER, record)
    calls = [Call("store the vectors of a turn", workload.turns_per_day, {TABLE: stored + stored})]
    if count >= FIRST:
        times = workload.messages_per_day / tail_limit(layout, count)
        calls.append(Call("merge codes into cells", times, {TABLE: prediction.merge(_USER, count)}))
        if age_days < workload.kept_days(math.inf):  # else as many go as come
            times = workload.messages_per_day / (count * math.log(GROWTH))
            read = prediction.all_rows(_USER, record, count, consistency=Consistency.STRONG)
            calls.append(Call("read all vectors to encode them anew", times, {TABLE: read}))
    notes: tuple[str, ...] = ()
    if workload.hits:
        cold, held = (_search(options, workload, count, held=held) for held in (False, True))
        times = workload.turns_per_day * workload.contexts_per_turn
        calls.append(Call("search", times, {TABLE: cold}))
        notes = (_NOTE.format(cold.read, held.read),)
    return Estimate(
        calls=tuple(calls),
        stored=(Stored(TABLE, count * prediction.stored_bytes(_USER, record), STORAGE_PRICE),),
        partitions=(
            Partition("the codes of a user", TABLE, _OF_CODES),
            Partition("a chunk of a user", TABLE, (1 - _OF_CODES) / options.chunks, "chunks"),
        ),
        expired_per_day=0.0 if is_kept else workload.messages_per_day,
        recovers=options.point_in_time_recovery,
        notes=notes,
    )


def _search(options: LshOptions, workload: Workload, count: int, *, held: bool) -> Units:
    """Return what a search of so many vectors takes on the mean."""
    found = _sampled(options, workload, min(count, _MOST), held=held)
    grown = 1.0 if held else (max(count, _MOST) / _MOST) ** _GROWTH
    return Units(read=found.read * grown, requests=found.requests)


def _sampled(options: LshOptions, workload: Workload, count: int, *, held: bool) -> Units:
    # Only what the rows of a sample depend on; the rest would make others of the same kind.
    plain = LshOptions(
        layout="packed",
        chunks=options.chunks,
        codec=options.codec,
        compression=options.compression,
    )
    prediction, there = _prepared(plain, workload.dimension, workload.message_bytes, count)
    consistency = Consistency.STRONG if options.strong_reads else Consistency.EVENTUAL
    total = Units()
    for query in _text_like(_MOST + _QUERIES, workload.dimension)[_MOST:]:
        total += prediction.search(
            _USER, query, workload.hits, records=there, consistency=consistency, held=held
        )
    return Units(read=total.read / _QUERIES, requests=round(total.requests / _QUERIES))


@lru_cache(maxsize=16)
def _prepared(
    options: LshOptions, dimension: int, message_bytes: int, count: int
) -> tuple[PackedPrediction, PreparedUser]:
    prediction = PackedPrediction(IndexSpec(dimension), options, _NOW)
    records = sample_records(count, dimension, message_bytes, is_kept=True)
    layout = EntryFormat(dimension, "cosine")
    vectors = _text_like(_MOST + _QUERIES, dimension)
    there = prediction.prepared(
        _USER,
        [replace(one, vector=vector) for one, vector in zip(records, vectors, strict=False)],
        tail=tail_limit(layout, count) // 2 if count >= FIRST else 0,
        # Codes don't depend on how rows are stored, and take longest to make.
        like=None if options == _PLAIN else _prepared(_PLAIN, dimension, message_bytes, count)[1],
    )
    return prediction, there


@lru_cache(maxsize=4)
def _text_like(count: int, dimension: int) -> NDArray[np.float64]:
    """Return vectors of topics within subjects, in an order of no meaning.

    Of 384 numbers, 1,000 of them are searched for as much as 1,000 turns of dialogue embedded by
    all-MiniLM-L6-v2.
    """
    rng = np.random.default_rng(8)
    subjects = rng.standard_normal((_SUBJECTS, dimension))
    topics = subjects[rng.integers(_SUBJECTS, size=_TOPICS)]
    topics = topics + rng.standard_normal((_TOPICS, dimension))
    scale = np.arange(1, dimension + 1) ** -_DECAY
    made: NDArray[np.float64] = topics[rng.integers(_TOPICS, size=count)]
    return (made + rng.standard_normal((count, dimension))) * scale
