"""Units a second at the peak, and what single partitions have to bear."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ialstore.costing.bill import rates

if TYPE_CHECKING:
    from ialstore.estimate import Estimate, Partition, Workload

__all__ = ["Capacity", "Load", "Peak", "capacity"]

READ_LIMIT: Final = 3000.0
"""Read units a second of one partition of DynamoDB."""
WRITE_LIMIT: Final = 1000.0
"""Write units a second of one partition."""
FRESH_READ_LIMIT: Final = 12_000.0
"""Read units a second of an on-demand table, or index, that was made just now."""
FRESH_WRITE_LIMIT: Final = 4000.0
"""Write units a second of such a table."""
_SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Peak:
    """Units a second of all users in the busiest hour.

    Attributes:
        place: table or index.
        read: read units.
        write: write units.
    """

    place: str
    read: float
    write: float


@dataclass(frozen=True, slots=True)
class Load:
    """What one partition has to bear of the busiest user in the busiest hour.

    Attributes:
        partition: which.
        read: read units a second.
        write: write units a second.
        at_once: read units of the greatest call.
        room: how many times as busy the user could be.
    """

    partition: Partition
    read: float
    write: float
    at_once: float
    room: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """What has to be planned for.

    Attributes:
        peaks: by place.
        loads: of partitions.
        warnings: sentences.
    """

    peaks: tuple[Peak, ...]
    loads: tuple[Load, ...]
    warnings: tuple[str, ...]


def capacity(estimates: Iterable[Estimate], workload: Workload) -> Capacity:
    """Return the units a second at the peak, and the load of the hottest partitions."""
    estimates = list(estimates)
    peaks = tuple(
        Peak(place, read * workload.peak_factor, write * workload.peak_factor)
        for place, (read, write) in rates(estimates, workload).items()
    )
    loads = tuple(
        _load(one, partition, workload) for one in estimates for partition in one.partitions
    )
    return Capacity(peaks, loads, (*_of_peaks(peaks), *_of_loads(loads)))


def _load(estimate: Estimate, partition: Partition, workload: Workload) -> Load:
    read = write = at_once = 0.0
    for call in estimate.calls:
        units = call.units.get(partition.place)
        if units is not None:
            read += call.times * units.read
            write += call.times * units.write
            at_once = max(at_once, units.read * partition.share)
    factor = partition.share * workload.peak_factor * workload.hot_user_factor / _SECONDS_PER_DAY
    read, write = read * factor, write * factor
    used = max(read / READ_LIMIT, write / WRITE_LIMIT)
    return Load(partition, read, write, at_once, 1 / used if used else float("inf"))


def _of_peaks(peaks: Iterable[Peak]) -> Iterator[str]:
    for peak in peaks:
        if peak.read > FRESH_READ_LIMIT or peak.write > FRESH_WRITE_LIMIT:
            yield (
                f"{peak.place} needs {peak.read:,.0f} read and {peak.write:,.0f} write units a "
                f"second at the peak; a new on-demand table begins with {FRESH_READ_LIMIT:,.0f} "
                f"and {FRESH_WRITE_LIMIT:,.0f}: warm it up before"
            )


def _of_loads(loads: Iterable[Load]) -> Iterator[str]:
    for load in loads:
        where = f"{load.partition.name} in {load.partition.place}"
        remedy = f"; change {load.partition.help}" if load.partition.help else ""
        if load.room < 1:
            yield (
                f"{where} is a hot partition: the busiest user needs {load.read:,.0f} read and "
                f"{load.write:,.0f} write units a second there, the limits are {READ_LIMIT:,.0f} "
                f"and {WRITE_LIMIT:,.0f}{remedy}"
            )
        if load.at_once > READ_LIMIT:
            yield (
                f"one call reads {load.at_once:,.0f} units of {where} at once, more than the "
                f"{READ_LIMIT:,.0f} of a second{remedy}"
            )
