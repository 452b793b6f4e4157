"""Units a second at the peak, and hot partitions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ialstore import Units
from ialstore.costing import capacity
from ialstore.estimate import Call, Estimate, Partition, Workload

WORKLOAD = Workload(users=86_400, peak_factor=5, hot_user_factor=100)
ESTIMATE = Estimate(
    calls=(
        Call("append", 2.0, {"table": Units(write=3)}),
        Call("search", 1.0, {"table": Units(read=500)}),
        Call("elsewhere", 9.0, {"other": Units(read=1)}),
    ),
    partitions=(Partition("a chunk", "table", 0.5, "chunks"), Partition("a day", "third", 1.0)),
)


def test_peaks_are_those_of_all_users() -> None:
    """As many users as seconds of a day: the mean is what one of them uses."""
    found = capacity([ESTIMATE], WORKLOAD)
    peaks = {peak.place: (round(peak.read, 6), round(peak.write, 6)) for peak in found.peaks}
    assert peaks == {"table": (2500, 30), "other": (45, 0)}


def test_a_partition_bears_its_share_of_the_busiest_user() -> None:
    chunk, day = capacity([ESTIMATE], WORKLOAD).loads
    assert chunk.read == pytest.approx(500 * 500 / 86_400 / 2)
    assert chunk.write == pytest.approx(6 * 500 / 86_400 / 2)
    assert chunk.at_once == 250
    assert chunk.room == pytest.approx(3000 / chunk.read)
    assert day.room == float("inf")


def test_what_fits_warns_of_nothing() -> None:
    assert capacity([ESTIMATE], WORKLOAD).warnings == ()


def test_a_hot_partition_is_named_with_its_remedy() -> None:
    (warning,) = capacity([ESTIMATE], replace(WORKLOAD, hot_user_factor=1e6)).warnings
    assert warning.startswith("a chunk in table is a hot partition")
    assert warning.endswith("change chunks")


def test_a_call_that_reads_more_than_a_second_of_a_partition_is_named() -> None:
    estimate = replace(
        ESTIMATE,
        calls=(Call("search", 1.0, {"table": Units(read=6002)}),),
        partitions=(Partition("a chunk", "table", 0.5),),
    )
    (warning,) = capacity([estimate], replace(WORKLOAD, users=1)).warnings
    assert warning == (
        "one call reads 3,001 units of a chunk in table at once, more than the 3,000 of a second"
    )


def test_a_new_table_is_to_be_warmed_up_where_it_begins_lower() -> None:
    (warning,) = capacity([ESTIMATE], replace(WORKLOAD, users=600_000)).warnings
    assert warning.startswith("table needs 17,361 read and 208 write units a second")
