"""Other options: what they save and cost adds up, and nothing is cheaper than the cheapest."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ialstore import ConfigurationError, InvalidInputError
from ialstore.costing import Billing, Cache, Configuration, Part, Pricer, advise, cheapest
from ialstore.estimate import Workload
from ialstore.prices import Prices, load_prices
from ialstore.url import StoreURL

PRICES = load_prices()
WORKLOAD = Workload(users=5000, turns_per_day=8, retention_days=90, dimension=32)
STORE = Part("conversation", StoreURL.parse("dynamodb://app-"))
INDEX = Part("vector", StoreURL.parse("lsh+dynamodb://app-"))


def configured(*parts: Part) -> Configuration:
    return Configuration(parts=parts, machines={})


@pytest.fixture(scope="module")
def pricer() -> Pricer:
    return Pricer(WORKLOAD, PRICES)


def test_what_a_change_saves_and_costs_is_the_difference_of_two_bills(pricer: Pricer) -> None:
    now = configured(STORE, INDEX)
    total = pricer.bill(now).total
    found = advise(pricer, now)
    assert [one.difference for one in found] == sorted(one.difference for one in found)
    changes = {one.change for one in found}
    assert {
        "dynamodb user_time_index=false",
        "dynamodb session_index=false",
        "dynamodb spread=4",
        "lsh+dynamodb strong_reads=false",
        "lsh+dynamodb codec=float32",
        "lsh+dynamodb chunks=1",
        "billing provisioned",
        "billing reserved-3y",
    } <= changes
    for one in found:
        assert pricer.bill(one.configuration).total - total == pytest.approx(one.difference)
        named = sum(one.costs.values()) - sum(one.saves.values())
        assert named == pytest.approx(one.difference, abs=0.1), one.change


def test_an_index_that_is_off_saves_writes_and_storage_and_costs_on_its_reads(
    pricer: Pricer,
) -> None:
    (found,) = (
        one
        for one in advise(pricer, configured(STORE))
        if one.change == "dynamodb user_time_index=false"
    )
    assert set(found.saves) == {"append the messages of a turn", "storage"}
    assert set(found.costs) == {"summaries of a user"}
    # 5,000 users append 16 messages a day: a write unit each.
    appended = 5000 * 16 * 730 / 24 / 1e6 * 0.625
    assert found.saves["append the messages of a turn"] == pytest.approx(appended)
    assert found.sentence("USD").startswith("dynamodb user_time_index=false saves ")


def test_the_cheapest_is_no_dearer_than_any_other(pricer: Pricer) -> None:
    def everything() -> Iterator[Configuration]:
        for by_user, by_session, spread, billing in itertools.product(
            ("true", "false"), ("true", "false"), ("1", "4", "16"), Billing
        ):
            part = STORE.with_option("user_time_index", by_user)
            part = part.with_option("session_index", by_session).with_option("spread", spread)
            yield replace(configured(part), billing=billing)

    least = min(pricer.bill(one).total for one in everything())
    found = cheapest(pricer, configured(STORE), keeps_all=False)
    assert pricer.bill(found).total == pytest.approx(least, abs=0.01)


def test_the_cheapest_that_keeps_every_promise_gives_up_nothing(pricer: Pricer) -> None:
    found = cheapest(pricer, configured(STORE, INDEX), keeps_all=True)
    assert found.billing is Billing.ON_DEMAND
    assert found.parts[1].value("strong_reads") == "true"
    assert found.parts[1].value("codec") == "int8"
    other = cheapest(pricer, configured(STORE, INDEX), keeps_all=False)
    assert pricer.bill(other).total <= pricer.bill(found).total


def test_who_gave_something_up_already_is_not_told_so_again(pricer: Pricer) -> None:
    now = replace(configured(STORE), billing=Billing.RESERVED_3Y)
    lost = {one.change: one.gives_up for one in advise(pricer, now)}
    assert not any(lost.values())
    now = replace(now, billing=Billing.PROVISIONED)
    lost = {one.change: one.gives_up for one in advise(pricer, now)}
    assert lost["billing reserved-1y"] == "the freedom to need less before the term ends"


def test_a_cache_answers_only_contexts_after_the_first_of_a_turn() -> None:
    """Each turn writes, which removes what is cached."""
    for contexts, rate in ((1.0, 0.0), (4.0, 0.75), (0.5, 0.0)):
        pricer = Pricer(replace(WORKLOAD, contexts_per_turn=contexts), PRICES)
        assert pricer.cache().hit_rate == rate
    pricer = Pricer(replace(WORKLOAD, contexts_per_turn=4.0), PRICES)
    alone = pricer.bill(configured(STORE)).by_cause
    cached = replace(configured(STORE), cache=pricer.cache())
    behind = pricer.bill(cached).by_cause
    read = "read the newest messages"
    assert behind[read] == pytest.approx(alone[read] / 4)
    assert behind["machines"] == pytest.approx(730 * 0.0128)
    changes = [one.change for one in advise(pricer, cached)]
    assert "no cache" in changes
    assert not any(one.startswith("a cache") for one in changes)


def test_a_cache_that_no_node_holds_is_refused_and_not_advised() -> None:
    pricer = Pricer(replace(WORKLOAD, users=10**8), PRICES)
    with pytest.raises(ConfigurationError, match="no node of elasticache holds"):
        pricer.cache()
    assert not any("cache" in one.change for one in advise(pricer, configured(STORE)))
    with pytest.raises(InvalidInputError, match="hit rate"):
        pricer.cache(1.5)


def test_what_the_table_of_prices_lacks_is_not_advised() -> None:
    """No price is invented: without those of reserved capacity, nobody is told to reserve."""
    figures = {name: one for name, one in PRICES.figures.items() if "reserved_3y" not in name}
    prices = Prices(date=PRICES.date, region="x", currency="USD", origin="mine", figures=figures)
    changes = [one.change for one in advise(Pricer(WORKLOAD, prices), configured(STORE))]
    assert "billing reserved-1y" in changes
    assert "billing reserved-3y" not in changes


def test_a_sentence_names_the_greatest_causes() -> None:
    pricer = Pricer(WORKLOAD, PRICES)
    (found,) = (
        one for one in advise(pricer, configured(STORE)) if one.change == "billing provisioned"
    )
    sentence = found.sentence("EUR")
    assert "others " in sentence
    assert sentence.endswith("EUR a month. It gives up room for peaks above the planned one.")
    nothing = replace(found, difference=0.0, saves={}, costs={})
    assert nothing.sentence("EUR") == "billing provisioned changes nothing."
    both = replace(found, difference=-2.0, saves={"x": 3.0}, costs={"y": 1.0}, gives_up="")
    assert both.sentence("EUR") == (
        "billing provisioned saves 3.00 (x 3.00) and costs 1.00 (y 1.00): 2.00 saving EUR a month."
    )


def test_machines_are_priced_and_embedded_stores_get_no_advice() -> None:
    """SQLite takes disk, which a scratch file shows, and a machine where one is asked for."""
    pricer = Pricer(replace(WORKLOAD, users=1000), PRICES)
    parts = tuple(
        Part(kind, StoreURL.parse("sqlite:///x.db")) for kind in ("conversation", "vector")
    )
    now = Configuration(parts=parts, machines={"hosts.t4g.small": 1.0})
    bill = pricer.bill(now)
    sizes = {line.place: line.quantity for line in bill.lines}
    messages = 1000 * 16 * 90
    assert 500 < sizes["disk, conversations"] * 1e9 / messages < 1500
    assert 32 * 4 < sizes["disk, vectors"] * 1e9 / messages < 2000
    assert bill.by_cause["machines"] == pytest.approx(730 * 0.0168)
    assert advise(pricer, now) == []
    assert cheapest(pricer, now, keeps_all=False) == now


def test_a_configuration_says_nothing_secret() -> None:
    part = Part("conversation", StoreURL.parse("dynamodb://app-?profile=me&spread=4"))
    assert part.shown() == "dynamodb://app-?spread=4"
    assert Part("vector", StoreURL.parse("memory:")).shown() == "memory:"
    assert not Part("vector", StoreURL.parse("memory:")).has_option("billing")
    assert Cache("n", 0.5) == Cache("n", 0.5)
