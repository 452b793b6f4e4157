"""Workloads: what is refused, and that more of anything never costs less."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore import InvalidInputError, UnsupportedOperationError
from ialstore.costing import Billing, Configuration, Part, Pricer
from ialstore.estimate import Workload, sample_message
from ialstore.prices import load_prices
from ialstore.registry import find
from ialstore.testing.profiles import profile
from ialstore.url import StoreURL

BASE = Workload(users=100, turns_per_day=6, retention_days=30, dimension=16, recent_messages=8)
PARTS = (
    Part("conversation", StoreURL.parse("dynamodb://app-")),
    Part("vector", StoreURL.parse("lsh+dynamodb://app-")),
)


def changed(name: str, value: Any) -> Workload:
    return replace(BASE, **{name: value})


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"users": 0}, "users must be from 1 to 10,000,000,000"),
        ({"turns_per_day": -1.0}, "turns_per_day must be from 0"),
        ({"turns_per_day": float("nan")}, "turns_per_day must be from"),
        ({"turns_per_day": "6"}, "turns_per_day must be a number"),
        ({"memories": True}, "memories must be a number"),
        ({"message_bytes": 1 << 21}, "message_bytes must be from 1 to"),
        ({"dimension": 5000}, "dimension must be from 1 to 4,096"),
        ({"retention_days": 0.0}, "retention_days must be from 1"),
        ({"sessions_per_day": 7.0}, "sessions_per_day must be at most turns_per_day"),
        ({"peak_factor": 0.5}, "peak_factor must be from 1"),
    ],
)
def test_a_figure_out_of_range_is_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidInputError, match=fault):
        replace(BASE, **given)


def test_every_figure_has_limits() -> None:
    for one in fields(Workload):
        with pytest.raises(InvalidInputError, match=one.name):
            changed(one.name, 1e12)


def test_a_sample_is_as_long_as_asked() -> None:
    for size in (1, 500, 5000):
        assert len(sample_message(replace(BASE, message_bytes=size)).content.encode()) == size


def total(workload: Workload, billing: Billing, *parts: Part) -> float:
    configuration = Configuration(parts=parts, billing=billing, machines={})
    return Pricer(workload, load_prices()).bill(configuration).total


@profile().property(max_examples=25)
@given(
    name=st.sampled_from(
        ["users", "turns_per_day", "message_bytes", "retention_days", "contexts_per_turn"]
    ),
    less=st.floats(1, 33),
    more=st.floats(1, 3),
    billing=st.sampled_from(Billing),
)
def test_more_never_costs_less(name: str, less: float, more: float, billing: Billing) -> None:
    """Below 4 KiB of text, from which on it is compressed."""
    whole = name in ("users", "message_bytes")
    factor = 20 if name == "message_bytes" else 1
    low, high = less * factor, less * factor * more
    amounts = [
        total(changed(name, round(value) if whole else value), billing, *PARTS)
        for value in (max(low, 2), max(high, 2))
    ]
    assert amounts[0] <= amounts[1] * (1 + 1e-9), f"{name}: {amounts}"


def test_what_is_kept_for_ever_is_priced_after_a_year() -> None:
    for_ever = total(replace(BASE, retention_days=None), Billing.ON_DEMAND, PARTS[0])
    a_year = total(replace(BASE, retention_days=365.0), Billing.ON_DEMAND, PARTS[0])
    assert for_ever == pytest.approx(a_year, rel=0.02)  # an expiry takes some bytes


def test_long_texts_are_read_whole_from_the_store() -> None:
    """The index holds the first 2 KiB of a text."""
    short, long = (
        find("conversation", "dynamodb").estimate(
            PARTS[0].url, replace(BASE, message_bytes=size), age_days=30
        )
        for size in (2000, 3000)
    )
    name = "read long memories whole"
    assert name not in [call.name for call in short.calls]
    (call,) = (call for call in long.calls if call.name == name)
    assert sum(one.read for one in call.units.values()) == BASE.memories


def test_who_recalls_nothing_reads_nothing() -> None:
    quiet = replace(BASE, recent_messages=0, memories=0)
    names = [
        call.name
        for part in PARTS
        for call in part.backend.estimate(part.url, quiet, age_days=30).calls
    ]
    assert "search" not in names
    assert "read the newest messages" not in names


def test_a_backend_that_does_not_say_is_refused() -> None:
    from ialstore.conversation import ConversationStore

    with pytest.raises(UnsupportedOperationError, match="does not say what a workload takes"):
        ConversationStore.estimate(StoreURL.parse("mine://x"), BASE, age_days=1)


@pytest.mark.parametrize("kind", ["conversation", "vector"])
def test_memory_is_not_billed(kind: str) -> None:
    assert total(BASE, Billing.ON_DEMAND, Part(kind, StoreURL.parse("memory:"))) == 0


def test_vectors_in_faiss_take_disk() -> None:
    pytest.importorskip("faiss")
    part = Part("vector", StoreURL.parse("faiss:///vectors"))
    configuration = Configuration(parts=(part,), machines={})
    (line,) = Pricer(BASE, load_prices()).bill(configuration).lines
    messages = 100 * 12 * 30
    assert 16 * 4 < line.quantity * 1e9 / messages < 3000
