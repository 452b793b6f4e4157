"""What a workload takes of a cluster: memory for the graphs of all vectors, and volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ialstore.estimate import GRAPH_SHARE, Choice, Estimate, Memory, Stored, graph_bytes
from ialstore.limits import MAX_TEXT_BYTES

if TYPE_CHECKING:
    from ialstore.estimate import Workload
    from ialstore_backends.opensearch.options import OpenSearchOptions

__all__ = ["CHOICES", "estimate"]

CHOICES: Final = (Choice("replicas", ("1", "0"), "answers and vectors when a node is lost"),)

_BITS: Final = {"in_memory": 32, "on_disk": 1}
"""Of a number in memory; ``on_disk`` compresses 32 times unless it is told otherwise."""
_NUMBER_BYTES: Final = 26
"""Of a volume: a number as the engine keeps it, its bytes in base64, and both as they were sent."""
_TEXT_BYTES: Final = 2.8
"""Of a volume, for each byte of text: twice as it is, and the words of it."""
_OTHER_BYTES: Final = 100
"""Of a volume: ids, and the rest of a document."""
_FREE: Final = 0.95 * 0.8
"""Of a volume: Linux keeps 5 % and the service 20 % (docs.aws.amazon.com, bp-storage)."""
_OCU_GIB: Final = 6
_LEAST_OCU: Final = 1.0
"""For searches, and as much for writes: two halves, one of them standing by."""
_GIB: Final = 1 << 30


def estimate(options: OpenSearchOptions, workload: Workload, age_days: float) -> Estimate:
    """Return what vectors of this age take; see ``Component.estimate``."""
    count = workload.messages_per_day * workload.kept_days(age_days)
    graph = count * graph_bytes(workload.dimension, options.m, _BITS[options.mode])
    size = count * document_bytes(workload.dimension, workload.message_bytes)
    notes = (
        "all vectors are in graphs in memory, also those of users who are searched exactly",
        "neither dedicated managers nor what searches take of processors are priced",
    )
    if options.aws_service == "aoss":
        needed = 2 * graph * workload.users / (_OCU_GIB * _GIB * GRAPH_SHARE)
        return Estimate(
            stored=(Stored("opensearch", size, "opensearch.serverless_gb_month"),),
            machines={"opensearch.ocu_hour": _LEAST_OCU + max(_LEAST_OCU, needed)},
            notes=notes,
        )
    copies = 1 + options.replicas
    return Estimate(
        stored=(Stored("opensearch", size * copies / _FREE, "opensearch.ebs_gb_month"),),
        memory=(Memory("opensearch_nodes", graph * copies, GRAPH_SHARE, copies),),
        notes=notes,
    )


def document_bytes(dimension: int, message_bytes: int) -> float:
    """Return the bytes of a volume that a vector with its text takes, once.

    As measured right after the writing; merges drop what is there only as it was sent, later.
    """
    text = min(message_bytes, MAX_TEXT_BYTES)
    return _NUMBER_BYTES * dimension + _TEXT_BYTES * text + _OTHER_BYTES
