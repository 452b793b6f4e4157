"""What an event counts, under the names that all exporters give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ialstore.events import OperationEvent

__all__ = ["AMOUNTS", "Amount", "amounts", "plain_details"]


@dataclass(frozen=True, slots=True)
class Amount:
    """Something that is counted.

    Attributes:
        what: one sentence.
        unit: in UCUM, as OpenTelemetry writes units.
    """

    what: str
    unit: str


AMOUNTS: Final[Mapping[str, Amount]] = {
    "items": Amount("Messages, ids or hits returned or written.", "{item}"),
    "requests": Amount("Requests sent over the network, retries included.", "{request}"),
    "read_units": Amount("Read units used.", "{unit}"),
    "write_units": Amount("Write units used.", "{unit}"),
    "vector_write_bytes": Amount("Bytes written to an index that bills by the byte.", "By"),
    "vector_search_bytes": Amount("Bytes searched in an index that bills by the byte.", "By"),
    "cache_hits": Amount("Lookups that a cache answered.", "{lookup}"),
    "cache_misses": Amount("Lookups that a cache could not answer.", "{lookup}"),
    "cache_fills": Amount("Values put into a cache.", "{value}"),
    "cache_refused_fills": Amount("Values that a cache refused: a writer came between.", "{value}"),
    "cache_invalidations": Amount("Values that a write removed from a cache.", "{value}"),
    "cache_unmarked": Amount("Writes that could not be announced to a cache.", "{write}"),
    "dual_missed": Amount("Users for whom the second store of a write failed.", "{user}"),
    "retries": Amount("Calls to the store that the retry wrapper repeated.", "{call}"),
    "shadow_compared": Amount("Answers that were compared with those of a shadow.", "{answer}"),
    "shadow_differing": Amount("Answers of a shadow that were others.", "{answer}"),
    "shadow_dropped": Amount("Reads that a shadow had no time for.", "{read}"),
    "shadow_failed": Amount("Reads that a shadow could not answer.", "{read}"),
    "shadow_searches": Amount("Searches among the answers compared.", "{search}"),
    "shadow_recall": Amount("Sum of the recalls of a shadow in these searches.", "1"),
}
"""By name."""
_OF_DETAILS: Final = (
    "cache_hits",
    "cache_misses",
    "cache_fills",
    "cache_refused_fills",
    "cache_invalidations",
    "cache_unmarked",
    "dual_missed",
    "retries",
    "shadow_compared",
    "shadow_differing",
    "shadow_dropped",
    "shadow_failed",
    "shadow_searches",
    "shadow_recall",
)


def amounts(event: OperationEvent) -> dict[str, float]:
    """Return what an event counted, by the names of ``AMOUNTS``; what is 0 is left out.

    What a layer counts in the event's details stays, 0 or not: a rate of hits needs both sides.
    """
    units = event.units
    found: dict[str, float] = {
        "items": event.items or 0,
        "requests": units.requests,
        "read_units": units.read,
        "write_units": units.write,
        "vector_write_bytes": units.vector_write_bytes,
        "vector_search_bytes": units.vector_search_bytes,
    }
    found = {name: amount for name, amount in found.items() if amount}
    for name in _OF_DETAILS:
        amount = event.details.get(name)
        if isinstance(amount, (int, float)) and not isinstance(amount, bool):
            found[name] = amount
    return found


def plain_details(event: OperationEvent) -> dict[str, Any]:
    """Return the details that are one number, truth value or text each."""
    return {
        name: value
        for name, value in event.details.items()
        if isinstance(value, (bool, float, int, str))
    }
