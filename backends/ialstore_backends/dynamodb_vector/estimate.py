"""What a workload takes of the table of vectors, from what ``Prediction`` says of a call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ialstore.estimate import Call, Estimate, Partition, Stored, sample_records
from ialstore.model import Consistency
from ialstore.vector_model import IndexSpec
from ialstore_backends.dynamodb.estimate import STORAGE_PRICE
from ialstore_backends.dynamodb.sizes import OVERHEAD_BYTES
from ialstore_backends.dynamodb_vector.prediction import Prediction
from ialstore_backends.dynamodb_vector.table import TABLE, VECTOR_INDEX

if TYPE_CHECKING:
    from ialstore.estimate import Workload
    from ialstore_backends.dynamodb_vector.options import VectorOptions

__all__ = ["estimate"]

_USER: Final = "0" * 36


def estimate(options: VectorOptions, workload: Workload, age_days: float) -> Estimate:
    """Return what vectors of this age take; see ``Component.estimate``."""
    prediction = Prediction(IndexSpec(workload.dimension), options)
    (record,) = sample_records(
        1, workload.dimension, workload.message_bytes, is_kept=workload.retention_days is None
    )
    count = math.ceil(workload.messages_per_day * workload.kept_days(age_days))
    stored = prediction.upsert(_USER, record)
    calls = [
        Call("store the vectors of a turn", workload.turns_per_day, {TABLE: stored + stored}),
    ]
    if workload.hits:
        consistency = Consistency.STRONG if options.strong_reads else Consistency.EVENTUAL
        found = prediction.usual_search(
            _USER, record, count, workload.hits, consistency=consistency
        )
        times = workload.turns_per_day * workload.contexts_per_turn
        calls.append(Call("search", times, {TABLE: found}))
    return Estimate(
        calls=tuple(calls),
        stored=(
            Stored(
                TABLE,
                count * (prediction.row_bytes(_USER, record) + OVERHEAD_BYTES),
                STORAGE_PRICE,
            ),
            Stored(
                VECTOR_INDEX,
                count * (prediction.entry_bytes(_USER, record) + OVERHEAD_BYTES),
                STORAGE_PRICE,
            ),
        ),
        partitions=(Partition("a chunk of a user", TABLE, 1 / options.chunks, "chunks"),),
        expired_per_day=0.0 if workload.retention_days is None else workload.messages_per_day,
        is_on_demand_only=True,
        recovers=options.point_in_time_recovery,
        notes=("a search is priced as if all vectors of the user were examined: an upper bound",),
    )
