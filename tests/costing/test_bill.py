"""Bills: sums by hand, and shares that add up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore import Units
from ialstore.costing import Billing, break_even
from ialstore.costing.bill import Line, make_bill
from ialstore.estimate import Call, Estimate, Stored, Workload
from ialstore.prices import load_prices

WORKLOAD = Workload(users=1000, peak_factor=7)
PRICES = load_prices()
ESTIMATE = Estimate(
    calls=(
        Call("append", 24.0, {"table": Units(write=2), "index": Units(write=1)}),
        Call("read", 48.0, {"table": Units(read=1.5)}),
    ),
    stored=(Stored("table", 4e6, "dynamodb.storage_gb_month"),),
)
"""A thousand users: 730,000 appends and 1,460,000 reads a month; 4 GB."""


def priced(estimate: Estimate, billing: Billing = Billing.ON_DEMAND) -> dict[tuple[str, str], Line]:
    bill = make_bill([estimate], WORKLOAD, PRICES, billing)
    assert math.isclose(bill.total, sum(line.amount for line in bill.lines))
    return {(line.component, line.place): line for line in bill.lines}


def test_a_month_on_demand_is_the_sum_by_hand() -> None:
    lines = priced(ESTIMATE)
    amounts = {key: round(line.amount, 6) for key, line in lines.items()}
    assert amounts == {
        ("writes", "table"): round(1.46 * 0.625, 6),
        ("writes", "index"): round(0.73 * 0.625, 6),
        ("reads", "table"): round(2.19 * 0.125, 6),
        ("storage", "table"): 1.0,
    }
    assert lines["writes", "table"].quantity == pytest.approx(1_460_000)
    assert lines["reads", "table"].unit == "read units"


def test_provisioned_capacity_is_that_of_the_peak() -> None:
    """Means of 0.56, 0.28 and 0.83 a second, seven times that, of which 70 % are used."""
    lines = priced(ESTIMATE, Billing.PROVISIONED)
    assert {key: line.quantity for key, line in lines.items() if "s" in key[0]} | {} == {
        ("writes", "table"): 6,
        ("writes", "index"): 3,
        ("reads", "table"): 9,
        ("reads", "index"): 1,
        ("storage", "table"): 4,
    }
    assert lines["writes", "table"].amount == pytest.approx(6 * 730 * 0.00065)
    assert lines["reads", "index"].amount == pytest.approx(730 * 0.00013)


@pytest.mark.parametrize(
    ("times", "blocks", "single"), [(1.0, 0, 42), (2.0, 1, 0), (3.0, 1, 25), (100.0, 42, 0)]
)
def test_reserved_capacity_comes_in_blocks_where_they_pay_off(
    times: float, blocks: int, single: int
) -> None:
    """A block of 100 write units for a year is as dear as 46 that are not reserved."""
    workload = replace(WORKLOAD, users=1_000_000, peak_factor=1.0)
    estimate = Estimate(calls=(Call("append", times * 2.519, {"table": Units(write=1)}),))
    (line,) = make_bill([estimate], workload, PRICES, Billing.RESERVED_1Y).lines
    block = 150 / 8760 + 0.0128
    assert line.quantity == math.ceil(times * 2.519e6 / 86_400 / 0.7)
    assert line.amount == pytest.approx(730 * (blocks * block + single * 0.00065))


def test_what_can_only_be_paid_by_request_is() -> None:
    """A vector index of DynamoDB itself: bytes, whatever the billing."""
    units = Units(write=1, vector_write_bytes=4000, vector_search_bytes=50_000)
    estimate = Estimate(calls=(Call("store", 24.0, {"t": units}),), is_on_demand_only=True)
    lines = priced(estimate, Billing.RESERVED_3Y)
    assert lines["writes", "t"].amount == pytest.approx(0.73 * 0.625)
    assert lines["vector writes", "t"].amount == pytest.approx(730_000 * 4000 / 1e9 * 0.52)
    assert lines["vector searches", "t"].amount == pytest.approx(730_000 * 50_000 / 1e9 * 0.002)
    bill = make_bill([estimate], WORKLOAD, PRICES, Billing.ON_DEMAND)
    assert sum(call.amount for call in bill.calls) == pytest.approx(bill.total)


def test_machines_recovery_and_expiry_are_on_the_bill() -> None:
    estimate = replace(
        ESTIMATE, machines={"hosts.t4g.small": 2.0}, recovers=True, expired_per_day=24.0
    )
    lines = priced(estimate)
    assert lines["machines", "hosts.t4g.small"].amount == pytest.approx(2 * 730 * 0.0168)
    assert lines["point-in-time recovery", "tables"].amount == pytest.approx(4 * 0.2)
    expired = lines["time to live", "table"]
    assert (round(expired.quantity), expired.amount) == (730_000, 0.0)


@given(
    billing=st.sampled_from(Billing),
    times=st.lists(st.floats(0, 1000), min_size=2, max_size=2),
    units=st.lists(st.floats(0, 500), min_size=3, max_size=3),
)
def test_the_calls_and_the_rest_add_up_to_the_total(
    billing: Billing, times: list[float], units: list[float]
) -> None:
    estimate = replace(
        ESTIMATE,
        calls=(
            Call("a", times[0], {"t": Units(read=units[0], write=units[1])}),
            Call("b", times[1], {"t": Units(read=units[1]), "u": Units(write=units[2])}),
        ),
        machines={"hosts.t4g.small": 1.0},
    )
    bill = make_bill([estimate], WORKLOAD, PRICES, billing)
    assert sum(bill.by_cause.values()) == pytest.approx(bill.total, abs=1e-5)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_at_the_break_even_capacity_costs_what_requests_cost(kind: str) -> None:
    for billing in (Billing.PROVISIONED, Billing.RESERVED_1Y, Billing.RESERVED_3Y):
        share = break_even(PRICES, kind, billing)
        requests = 100 * share * 3600 * 730 / 1e6 * PRICES.of(f"dynamodb.{kind}_request_million")
        # So many requests that 100 units are what their peak needs.
        workload = replace(WORKLOAD, users=100, peak_factor=1.0)
        call = Call("x", 86_400 * 0.7, {"t": Units(read=kind == "read", write=kind == "write")})
        bill = make_bill([Estimate(calls=(call,))], workload, PRICES, billing)
        (line,) = (line for line in bill.lines if line.component == f"{kind}s")
        assert 100 <= line.quantity <= 101  # a float may round up
        assert requests == pytest.approx(line.amount, rel=0.02)
