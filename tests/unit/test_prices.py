"""The table of prices: ours is whole, and a user's replaces it and is checked."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ialstore import ConfigurationError
from ialstore.prices import load_prices

HEAD = 'date = 2026-11-28\nregion = "eu-west-1"\ncurrency = "EUR"\n'
DISK = '[disk.gb_month]\namount = 0.09\nsource = "my bill"\n'


@pytest.fixture(autouse=True)
def no_prices_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IALSTORE_PRICES", raising=False)


def test_our_table_is_dated_and_names_the_source_of_each_figure() -> None:
    prices = load_prices()
    assert prices.date >= date(2026, 11, 28)
    assert (prices.region, prices.currency) == ("us-east-1", "USD")
    assert prices.of("dynamodb.write_request_million") == 0.625
    assert prices.of("dynamodb.ttl_delete_million") == 0
    assert all(one.source for one in prices.figures.values())


def test_reserved_units_are_cheaper_than_provisioned_and_these_than_requests() -> None:
    """At full use: a unit of every second of an hour."""
    prices = load_prices()
    for kind in ("read", "write"):
        hours = {"1y": 8760, "3y": 3 * 8760}
        reserved = {
            term: (
                prices.of(f"dynamodb.reserved_{term}_{kind}_upfront") / count
                + prices.of(f"dynamodb.reserved_{term}_{kind}_hour")
            )
            / 100
            for term, count in hours.items()
        }
        provisioned = prices.of(f"dynamodb.{kind}_capacity_hour")
        requests = prices.of(f"dynamodb.{kind}_request_million") * 3600 / 1e6
        assert reserved["3y"] < reserved["1y"] < provisioned < requests
        assert 0.5 < 1 - reserved["1y"] / provisioned < 0.6  # AWS says up to 54 %
        assert 0.7 < 1 - reserved["3y"] / provisioned < 0.8  # and up to 77 %


def test_machines_come_cheapest_first_without_those_to_fill_in() -> None:
    machines = load_prices().section("hosts")
    amounts = [one.amount for one in machines.values()]
    assert amounts == sorted(amounts, key=lambda one: one or 0)
    assert "own" not in machines
    assert load_prices().memory_gib("hosts.t4g.small") == 2


def test_the_cheapest_machines_hold_what_is_needed() -> None:
    prices = load_prices()
    assert prices.cheapest("hosts", 1, usable=0.5) == ("t4g.small", 1)
    assert prices.cheapest("hosts", 1, usable=0.5, at_least=3) == ("t4g.small", 3)
    assert prices.cheapest("hosts", 8 * 2**30, usable=1) == ("t4g.large", 1)  # before 2 and 4
    with pytest.raises(ConfigurationError, match=r"there is no price none\.any"):
        prices.cheapest("none", 1, usable=1)


def test_a_figure_that_is_to_be_filled_in_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"hosts\.own has no amount"):
        load_prices().of("hosts.own")


def test_an_unknown_figure_names_the_closest() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean disk\.gb_month"):
        load_prices().of("disk.gb_moth")


def test_a_figure_without_memory_says_so() -> None:
    with pytest.raises(ConfigurationError, match="has no memory_gib"):
        load_prices().memory_gib("disk.gb_month")


def test_a_file_replaces_ours_and_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + DISK)
    prices = load_prices(path)
    assert (prices.region, prices.currency, prices.origin) == ("eu-west-1", "EUR", str(path))
    assert prices.of("disk.gb_month") == 0.09
    with pytest.raises(ConfigurationError, match="there is no price dynamodb"):
        prices.of("dynamodb.storage_gb_month")
    assert load_prices(environ={"IALSTORE_PRICES": str(path)}) == prices
    assert load_prices(environ={"IALSTORE_PRICES": ""}).currency == "USD"


def test_a_file_may_name_machines_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + '[hosts.rack]\namount = 1\nsource = "ours"\n')
    assert load_prices(path).of("hosts.rack") == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (DISK, "date must be a day"),
        (HEAD.replace("2026-11-28", "2026-11-28T00:00:00Z"), "date must be a day"),
        (HEAD.replace('"eu-west-1"', '" "'), "region must be a text"),
        (HEAD.replace('"EUR"', "1"), "currency must be a text"),
        (HEAD + "[dynamo]\n", "dynamo is unknown; did you mean dynamodb"),
        (HEAD.replace("date", "dat"), "dat is unknown; did you mean date"),
        ("disk = 1\n" + HEAD, "disk must be a table"),
        (HEAD + "[disk]\ngb_month = 1", r"disk\.gb_month must be a table"),
        (HEAD + DISK.replace("gb_month", "gb_moth"), "did you mean gb_month"),
        (HEAD + DISK.replace("amount", "amont"), "amont is unknown; did you mean amount"),
        (HEAD + "[disk.gb_month]\namount = 1", "source is missing"),
        (HEAD + DISK.replace('"my bill"', '""'), "source must be a text"),
        (HEAD + DISK.replace('"my bill"', "1"), "source must be a text"),
        (HEAD + DISK.replace("0.09", "-1"), "not negative"),
        (HEAD + DISK.replace("0.09", "inf"), "finite"),
        (HEAD + DISK.replace("0.09", "true"), "amount must be a number"),
        (HEAD + DISK.replace("0.09", '"0.09"'), "amount must be a number"),
        ("date = ", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=fault):
        load_prices(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_prices(tmp_path / "none.toml")
