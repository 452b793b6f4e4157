"""``ialstore cost``: tables for people, a document for programs, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ialstore.cli.exits import ExitCode
from ialstore.prices import PRICES_FILE

Run = Callable[..., Any]

STORE = "dynamodb://app-"
SMALL = ("--users", 100, "--turns-per-day", 10, "--retention-days", 30, "--dimension", 16)

GOLDEN = """\
A month, once as much expires as is said
dynamodb://app-
billing on-demand
component     place                    quantity  unit          USD
writes        conversation-history-v2   158,167  write units  0.10
writes        SessionIndex               60,833  write units  0.04
writes        UserTimeIndex              60,833  write units  0.04
reads         conversation-history-v2   182,500  read units   0.02
reads         SessionIndex                3,042  read units   0.00
reads         UserTimeIndex               4,562  read units   0.00
storage       conversation-history-v2    0.0776  GB           0.02
storage       SessionIndex               0.0392  GB           0.01
storage       UserTimeIndex              0.0398  GB           0.01
time to live  conversation-history-v2    60,833  items        0.00
total                                                         0.24
0.002378 USD a user, 7.82 for a million turns
"""


@pytest.fixture(autouse=True)
def no_prices_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IALSTORE_PRICES", raising=False)


def test_the_bill_of_a_small_workload(run: Run) -> None:
    result = run("cost", STORE, *SMALL)
    assert result.code == 0, result.err
    bill = result.out.partition("\n\n")[2].partition("\n\nAs it grows")[0]
    assert bill + "\n" == GOLDEN
    for heading in (
        "Workload",
        "As it grows",
        "On demand, provisioned or reserved",
        "At the peak, units a second",
        "The busiest user's partitions, at the peak",
        "What a change would do",
        "The cheapest",
        "Prices",
    ):
        assert f"\n{heading}\n" in f"\n{result.out}", heading
    assert "USD, list prices of us-east-1 as of 2026-11-28, from the built-in prices" in result.out


def test_without_a_store_it_prices_dynamodb(run: Run) -> None:
    document = run("cost", *SMALL, "--json").json
    assert document["configuration"]["urls"] == ["dynamodb://app-", "lsh+dynamodb://app-"]
    assert document["configuration"]["billing"] == "on-demand"
    assert sum(line["amount"] for line in document["lines"]) == pytest.approx(document["total"])
    assert document["total"] == document["by_billing"]["on-demand"]
    assert document["growth"][-1]["total"] == pytest.approx(document["total"], rel=0.05)
    assert document["break_even"]["provisioned"]["write"] == pytest.approx(0.2889, abs=1e-4)
    assert document["mean_utilization"] == pytest.approx(0.175)
    assert document["workload"]["users"] == 100
    assert document["prices"]["date"] == "2026-11-28"
    least = min(one["total"] for one in document["cheapest"].values())
    assert least <= document["total"]
    assert {one["name"] for one in document["capacity"]["partitions"]} >= {"the day of a user"}
    assert all(one["change"] for one in document["advice"])


def test_what_a_backend_is_not_certain_of_is_said(run: Run) -> None:
    url = "dynamodb-vector://app-"
    result = run("cost", url, *SMALL)
    assert "an upper bound" in result.out
    assert "At the peak, units a second" in result.out
    assert "upper bound" in run("cost", url, *SMALL, "--json").json["notes"][0]


def test_an_option_that_changes_the_price_is_shown_and_advised(run: Run) -> None:
    document = run("cost", "dynamodb-vector://app-", *SMALL, "--json").json
    assert document["configuration"]["urls"] == ["dynamodb-vector://app-"]
    changes = [one["change"] for one in document["advice"]]
    assert changes == ["dynamodb-vector strong_reads=false"], "it is only billed on demand"
    shown = run("cost", "dynamodb-vector://app-?strong_reads=false", *SMALL).out
    assert "\ndynamodb-vector://app-?strong_reads=false\nbilling" in shown


def test_what_is_paid_by_nodes_is_advised_and_keeps_its_promises(run: Run) -> None:
    url = "opensearch://search.example.com/v"
    document = run("cost", url, *SMALL, "--json").json
    (advice,) = document["advice"]
    assert (advice["change"], bool(advice["gives_up"])) == ("opensearch replicas=0", True)
    cheapest = {name: one["urls"] for name, one in document["cheapest"].items()}
    assert cheapest["keeping every promise"] == [url]
    assert cheapest["giving up what is named above"] == [f"{url}?replicas=0"]
    assert "\nWhat a change would do\nopensearch replicas=0 saves" in run("cost", url, *SMALL).out


def test_one_url_of_a_store_and_an_index_is_shown_once(run: Run) -> None:
    assert run("cost", "sqlite:///m.db", *SMALL).out.count("sqlite:///m.db\n") == 1


def test_what_can_keep_both_keeps_what_no_other_url_is_for(run: Run, folder: Path) -> None:
    urls = ("sqlite:///m.db", "faiss:///vectors")
    named = run("cost", *urls, *SMALL, "--json").json
    (folder / "pair.toml").write_text(
        f'[conversation]\nurl = "{urls[0]}"\n[vector]\nurl = "{urls[1]}"\n'
    )
    configured = run("cost", "--config", "pair.toml", *SMALL, "--json").json
    assert named["total"] == configured["total"]
    for wrong in (urls[:1] * 2, ("dynamodb://app-", *urls)):
        result = run("cost", *wrong, *SMALL)
        assert result.code == ExitCode.USAGE
        assert "sqlite:///m.db has nothing to keep beside the others" in result.err


def test_without_memories_nothing_is_searched(run: Run) -> None:
    asked = ("cost", "lsh+dynamodb://app-?layout=packed", *SMALL, "--memories", 0, "--json")
    assert "search" not in {one["name"] for one in run(*asked).json["calls"]}


def test_a_layout_that_holds_codes_is_priced_as_if_it_held_none(run: Run) -> None:
    document = run("cost", "lsh+dynamodb://app-?layout=packed", *SMALL, "--json").json
    (note,) = document["notes"]
    assert "holds no codes of the user, as is reckoned" in note
    plain = run("cost", "lsh+dynamodb://app-", *SMALL, "--json").json
    assert 0 < document["total"] < plain["total"]


def test_each_call_is_explained(run: Run) -> None:
    result = run("cost", STORE, *SMALL, "--explain")
    assert "append the messages of a turn  " in result.out
    assert "By call" not in run("cost", STORE, *SMALL).out


def test_a_configuration_is_priced_as_it_stands(run: Run, folder: Path) -> None:
    text = (
        '[conversation]\nurl = "dynamodb://mine-"\nspread = 4\nbilling = "provisioned"\n'
        "retention_days = 7\n"
        '[vector]\nurl = "lsh+dynamodb://mine-"\nchunks = 2\n'
    )
    (folder / "ialstore.toml").write_text(text)
    document = run("cost", "--users", 10, "--turns-per-day", 3, "--dimension", 16, "--json").json
    assert document["configuration"]["urls"] == [
        "dynamodb://mine-?spread=4",
        "lsh+dynamodb://mine-?chunks=2",
    ]
    assert document["configuration"]["billing"] == "provisioned"
    assert document["workload"]["retention_days"] == 7
    document = run(
        "cost", "--billing", "reserved-1y", "--retention-days", 9, "--dimension", 16, "--json"
    ).json
    assert document["configuration"]["billing"] == "reserved-1y"
    assert document["workload"]["retention_days"] == 9


def test_what_costs_least_follows_from_the_amounts(run: Run) -> None:
    """With few users whole units and blocks are dearer than the shares of the table say."""
    few = run("cost", STORE, *SMALL)
    (said,) = (line for line in few.out.splitlines() if "costs least" in line)
    totals = run("cost", STORE, *SMALL, "--json").json["by_billing"]
    assert min(totals, key=totals.get) == "on-demand"
    assert "17.5% of it is used on the mean. Here on-demand costs least. That is above the " in said
    assert "shares of reserved-1y and reserved-3y, which would be cheaper" in said
    many = ("cost", STORE, *SMALL, "--users", 1_000_000)
    (said,) = (line for line in run(*many).out.splitlines() if "costs least" in line)
    totals = run(*many, "--json").json["by_billing"]
    assert min(totals, key=totals.get) == "reserved-3y"
    assert said.endswith("Here reserved-3y costs least.")


def test_an_index_alone_is_priced_alone(run: Run) -> None:
    document = run("cost", "--url", "lsh+dynamodb://mine-", *SMALL, "--json").json
    assert document["configuration"]["urls"] == ["lsh+dynamodb://mine-"]


def test_an_embedded_store_takes_disk_and_a_machine(run: Run) -> None:
    result = run("cost", "sqlite:///x.db", *SMALL, "--host", "t4g.small")
    assert result.code == 0, result.err
    assert "disk, conversations" in result.out
    assert "\non hosts.t4g.small\n" in result.out
    assert "What a change would do" not in result.out
    document = run("cost", "sqlite:///x.db", *SMALL, "--json").json
    assert (document["by_billing"], document["break_even"]) == ({}, {})


def test_machines_are_as_many_as_hold_what_is_searched_at_once(run: Run) -> None:
    """2 sessions of 30 minutes a day, 4 times as many in the busiest hour: a sixth of the users."""
    asked = ("cost", "sqlite:///x.db", "--users", 10_000, "--dimension", 384)
    document = run(*asked, "--host", "t4g.small", "--json").json
    (machines,) = (one for one in document["lines"] if one["component"] == "machines")
    (note,) = document["notes"]
    assert note.startswith(f"{machines['quantity']:,.0f} of hosts.t4g.small, 2 GiB each, ")
    assert "for the 16.7% of the users" in note
    assert note.endswith("users are divided among them")
    vectors = 10_000 / 6 * 2 * 20 * 365
    assert 384 * 4 < machines["quantity"] * 1.5 * 2**30 / vectors < 384 * 4 + 2000
    few = run("cost", "sqlite:///x.db", *SMALL, "--host", "t4g.small", "--json").json
    assert [one["quantity"] for one in few["lines"] if one["component"] == "machines"] == [1]
    assert "divided" not in few["notes"][0]
    nothing = run("cost", STORE, *SMALL, "--host", "t4g.small", "--json").json
    assert [one["quantity"] for one in nothing["lines"] if one["component"] == "machines"] == [1]
    assert nothing["notes"] == []
    (note,) = run(*asked, "--json").json["notes"]
    assert note.endswith("in the busiest hour: --host prices machines")


def test_what_nothing_is_known_of_is_to_be_filled_in(run: Run) -> None:
    result = run("cost", "sqlite:///x.db", *SMALL, "--host", "own")
    assert result.code == ExitCode.USAGE
    assert "hosts.own has no amount" in result.err


def test_a_cache_answers_what_it_is_said_to(run: Run) -> None:
    document = run("cost", STORE, *SMALL, "--cache-hit-rate", 0.5, "--json").json
    assert document["configuration"]["cache"] == {"node": "cache.t4g.micro", "hit_rate": 0.5}
    result = run("cost", STORE, *SMALL, "--cache-hit-rate", 0.5)
    assert "a cache on cache.t4g.micro that answers 50% of what it can" in result.out
    assert run("cost", STORE, *SMALL, "--cache-hit-rate", 2).code == ExitCode.USAGE


def test_a_workload_may_stand_in_a_file(run: Run, folder: Path) -> None:
    (folder / "load.toml").write_text("users = 7\nturns_per_day = 3.5\nretention_days = 9\n")
    given = ("cost", STORE, "--workload", "load.toml", "--json")
    assert run(*given).json["workload"]["users"] == 7
    changed = run(*given, "--users", 8).json["workload"]
    assert (changed["users"], changed["turns_per_day"]) == (8, 3.5)
    (folder / "load.toml").write_text("user = 7\n")
    result = run(*given)
    assert result.code == ExitCode.USAGE
    assert "did you mean users" in result.err


def test_what_is_kept_for_ever_grows(run: Run) -> None:
    result = run("cost", STORE, "--users", 10, "--turns-per-day", 3, "--keep-for-ever")
    assert "retention days     for ever" in result.out
    assert "\nA month, after a year\n" in result.out
    document = run("cost", STORE, "--users", 10, "--keep-for-ever", "--json").json
    assert [one["month"] for one in document["growth"]] == [1, 3, 6, 12, 24, 36]
    sizes = [one["gigabytes"] for one in document["growth"]]
    assert sizes == sorted(sizes)
    result = run("cost", STORE, "--keep-for-ever", "--retention-days", 3)
    assert "not both" in result.err


def test_a_hot_partition_is_warned_of(run: Run) -> None:
    busy = ("--users", 100, "--turns-per-day", 2000, "--retention-days", 1)
    result = run("cost", STORE, *busy, "--hot-user-factor", 10_000)
    assert "warning: the day of a user in conversation-history-v2 is a hot partition" in result.out


def test_the_table_of_prices_can_be_printed_and_replaced(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run("cost", "--print-prices").out
    assert text == PRICES_FILE.read_text(encoding="utf-8")
    dearer = text.replace('region = "us-east-1"', 'region = "here"')
    dearer = dearer.replace("amount = 0.625", "amount = 6.25")
    (folder / "mine.toml").write_text(dearer)
    ours = run("cost", STORE, *SMALL, "--json").json
    mine = run("cost", STORE, *SMALL, "--prices", "mine.toml", "--json").json
    assert mine["prices"]["region"] == "here"
    writes = [
        sum(line["amount"] for line in one["lines"] if line["component"] == "writes")
        for one in (ours, mine)
    ]
    assert writes[1] == pytest.approx(10 * writes[0])
    assert run("cost", "--print-prices", "--prices", "mine.toml").out == dearer
    monkeypatch.setenv("IALSTORE_PRICES", "mine.toml")
    assert run("cost", STORE, *SMALL, "--json").json["prices"]["region"] == "here"
    assert run("cost", "--print-prices").out == dearer
    (folder / "mine.toml").write_text("x = 1\n")
    assert run("cost", "--print-prices").code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ((STORE, "--url", STORE), "give either URLs or --config or --url"),
        (("dynamo://x",), "did you mean dynamodb"),
        (("fais:///x",), "there is no store or index fais; did you mean faiss?"),
        (("nothing",), "is not a URL"),
        ((STORE, "--users", 0), "error: workload: users must be from 1"),
        ((STORE, "--turns-per-day", "nan"), "turns_per_day must be from"),
        ((f"{STORE}?spred=4",), "did you mean spread"),
        ((STORE, "--prices", "none.toml"), "can't be read"),
        ((STORE, "--host", "t4g.smal"), "did you mean hosts.t4g.small"),
        (("faiss://host/x",), "faiss"),
    ],
)
def test_what_is_wrong_is_refused(run: Run, given: tuple[object, ...], fault: str) -> None:
    result = run("cost", *given)
    assert result.code == ExitCode.USAGE
    assert fault in result.err
