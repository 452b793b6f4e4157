"""What a workload takes of the table of vectors, from what ``Prediction`` says of a call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore.cost import Units
from ialstore.estimate import Call, Estimate, Partition, Stored, sample_records
from ialstore.model import Consistency
from ialstore.vector_model import IndexSpec
from ialstore_backends.dynamodb.estimate import STORAGE_PRICE
from ialstore_backends.lsh.packed.estimate import estimate as packed_estimate
from ialstore_backends.lsh.prediction import Prediction, Prepared
from ialstore_backends.lsh.table import TABLE

if TYPE_CHECKING:
    from ialstore.estimate import Workload
    from ialstore.vector_model import VectorRecord
    from ialstore_backends.lsh.options import LshOptions

__all__ = ["estimate"]

_SAMPLES: Final = (250, 1000)
"""Vectors of the two searches from which one of more vectors is reckoned."""
_QUERIES: Final = 2
_EVENTUAL: Final = Consistency.EVENTUAL
_USER: Final = "0" * 36


@dataclass(frozen=True, slots=True)
class _Sample:
    """What vectors are like."""

    dimension: int
    message_bytes: int
    is_kept: bool


def estimate(options: LshOptions, workload: Workload, age_days: float) -> Estimate:
    """Return what vectors of this age take; see ``Component.estimate``.

    A search through the index of more than 1,000 vectors is reckoned from those of 250 and of
    1,000, as a power of their number, which is rather too high.
    """
    if options.layout == "packed":
        return packed_estimate(options, workload, age_days)
    prediction = _prediction(options, workload.dimension)
    sample = _Sample(workload.dimension, workload.message_bytes, workload.retention_days is None)
    record = _records(sample)[0]
    count = workload.messages_per_day * workload.kept_days(age_days)
    calls = [
        Call(
            "store the vectors of a turn",
            workload.turns_per_day,
            {place: one + one for place, one in prediction.by_place(_USER, record).items()},
        )
    ]
    if workload.hits:
        found = _search(options, sample, workload.hits, math.ceil(count))
        times = workload.turns_per_day * workload.contexts_per_turn
        calls.append(Call("search", times, found))
    stored = prediction.stored_bytes(_USER, record)
    return Estimate(
        calls=tuple(calls),
        stored=tuple(Stored(place, count * size, STORAGE_PRICE) for place, size in stored.items()),
        partitions=tuple(
            Partition("a chunk of a user", place, 1 / options.chunks, "chunks") for place in stored
        ),
        expired_per_day=0.0 if workload.retention_days is None else workload.messages_per_day,
        recovers=options.point_in_time_recovery,
    )


def _search(options: LshOptions, sample: _Sample, hits: int, count: int) -> dict[str, Units]:
    """Return what a search of so many vectors takes, by place."""
    if options.strong_reads:  # it reads every row
        prediction = _prediction(options, sample.dimension)
        record = _records(sample)[0]
        return {TABLE: prediction.all_rows(_USER, record, count, consistency=Consistency.STRONG)}
    small, large = _SAMPLES
    if count <= large:
        return _sampled(options, sample, hits, count)
    low, high = (_sampled(options, sample, hits, size) for size in (small, large))
    return {place: _beyond(low[place], high[place], count) for place in high}


def _beyond(low: Units, high: Units, count: int) -> Units:
    """Return the units at a count, of which those at both samples are known."""
    small, large = _SAMPLES
    power = math.log(high.read / low.read) / math.log(large / small)
    return Units(read=high.read * (count / large) ** power, requests=high.requests)


@lru_cache(maxsize=256)
def _sampled(
    options: LshOptions,
    sample: _Sample,
    hits: int,
    count: int,
) -> dict[str, Units]:
    """Return what a search takes on the mean, by place."""
    prediction = _prediction(options, sample.dimension)
    there = _prepared(options, sample, count)
    queries = np.random.default_rng(1).standard_normal((_QUERIES, sample.dimension))
    found = [
        prediction.search_by_place(_USER, one, hits, records=there, consistency=_EVENTUAL)
        for one in queries
    ]
    total = {place: sum((one[place] for one in found), Units()) for place in found[0]}
    return {
        place: Units(read=one.read / _QUERIES, requests=round(one.requests / _QUERIES))
        for place, one in total.items()
    }


@lru_cache(maxsize=8)
def _prepared(options: LshOptions, sample: _Sample, count: int) -> Prepared:
    prediction = _prediction(options, sample.dimension)
    return prediction.prepared(_USER, _records(sample)[:count])


@lru_cache(maxsize=1)
def _records(sample: _Sample) -> Sequence[VectorRecord]:
    return sample_records(
        _SAMPLES[-1], sample.dimension, sample.message_bytes, is_kept=sample.is_kept
    )


def _prediction(options: LshOptions, dimension: int) -> Prediction:
    return Prediction(IndexSpec(dimension), options)
