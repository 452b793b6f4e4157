"""Protocols that look right and are not; the checker must find a stale read of each."""

from __future__ import annotations

from typing import Final

from ialstore.caching.protocol import Found, Step
from ialstore.errors import IalStoreError
from tests.caching.schedules import LAND, LOOK_ONLY, PUT, Design, Plan

__all__ = ["NAIVE"]


def reading_without_lease() -> Plan:
    """Plain cache-aside: what was read is put, whatever happened meanwhile."""
    look = yield LOOK_ONLY
    if look.found is Found.VALUE:
        return look
    loaded = yield Step.LOAD
    yield PUT
    return loaded


def writing_without_mark() -> Plan:
    """Invalidation after the write alone."""
    written = yield Step.WRITE
    yield Step.SETTLE
    return written


def writing_through() -> Plan:
    """The writer puts what it wrote."""
    written = yield Step.WRITE
    yield PUT
    return written


def writing_without_doubt() -> Plan:
    """A write that failed is taken for one that never happened."""
    yield Step.MARK
    try:
        written = yield Step.WRITE
    except IalStoreError:
        yield Step.SETTLE
        raise
    yield Step.SETTLE
    return written


def reading_that_lands_late() -> Plan:
    """A reader of this process is waited for until its caller has the answer."""
    look = yield Step.LOOK
    if look.found is Found.BUSY:
        look = yield Step.WAIT
    if look.found is Found.VALUE:
        return look
    loaded = yield Step.LOAD
    if look.found is Found.LEASED:
        yield Step.FILL
        yield LAND
    return loaded


NAIVE: Final = {
    "cache-aside": Design(reading=reading_without_lease, writing=writing_without_mark),
    "a lease, but no mark": Design(writing=writing_without_mark),
    "a mark, but no lease": Design(reading=reading_without_lease),
    "an eventually consistent fill": Design(eventual=True),
    "write-through": Design(writing=writing_through),
    "no doubt": Design(writing=writing_without_doubt),
    "waiting for a fill that is over": Design(
        reading=reading_that_lands_late,
        joined_before=frozenset({Step.LOAD, Step.FILL, LAND}),
        lands_after=LAND,
    ),
}
