"""The verdict: each sentence, when it is said, and that its numbers are those measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ialstore.compare.costs import Workload
from ialstore.compare.model import Index, Size
from ialstore.compare.wording import amount, listed, size_text, thousands
from tests.compare.handmade import (
    FAISS,
    MEMORY,
    PACKED,
    PRICES,
    WRITES,
    billed,
    calls,
    embedded,
    price,
    report,
    search,
    size,
    table,
)


def said(*indexes: Index, **asked: Any) -> list[str]:
    return list(report(*indexes, **asked).verdict)


def one_of(sentences: list[str], *words: str) -> str:
    """Return the one sentence that has all these words."""
    (found,) = [one for one in sentences if all(word in one for word in words)]
    return found


REMOTE = table("far", size(100, search(0.99, 0.5, trips=2), upserts=calls(trips=1)))


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        pytest.param(
            billed("gsi", (1000, 0.97, 14.0), (9000, 0.96, 50.0)),
            "gsi reaches a recall@10 of 0.95 at 50 read units a search at 9,000 "
            "vectors a user, the most measured.",
            id="at all sizes",
        ),
        pytest.param(
            PACKED,
            "packed reaches a recall@10 of 0.95 at 30 read units a search up to "
            "10,000 vectors a user; with 40,000 it finds 0.930 at best.",
            id="up to a size",
        ),
        pytest.param(
            billed("odd", (1000, 0.9, 14.0), (9000, 0.96, 50.0)),
            "odd reaches a recall@10 of 0.95 at 50 read units a search at 9,000 "
            "vectors a user, but not at every size: with 1,000 it finds 0.900 at best.",
            id="not at a smaller size",
        ),
        pytest.param(
            billed("bad", (1000, 0.7, 14.0), (9000, 0.6, 50.0)),
            "bad does not reach a recall@10 of 0.95 at any size measured: at best 0.700 with 1,000 "
            "vectors a user.",
            id="nowhere",
        ),
        pytest.param(
            embedded("exact", (500, 1.0), exact=True),
            "exact reaches a recall@10 of 0.95 in this process, by exact search, in 1 ms (p50) at "
            "500 vectors a user, the most measured.",
            id="exact",
        ),
        pytest.param(
            embedded("graph", (500, 0.99)),
            "graph reaches a recall@10 of 0.95 in this process, in 1 ms (p50) "
            "at 500 vectors a user, the most measured.",
            id="embedded",
        ),
        pytest.param(
            REMOTE,
            "far reaches a recall@10 of 0.95 in 2 round trips a search (effort 0.5) at 100 vectors "
            "a user, the most measured.",
            id="a service without units",
        ),
    ],
)
def test_what_an_index_reaches(index: Index, sentence: str) -> None:
    assert said(index)[0].partition(" That is not settled")[0] == sentence


def test_the_least_work_that_is_enough_is_chosen_and_else_the_best() -> None:
    def asked(target: float) -> str:
        points = [
            search(recall, effort, read_units=units, trips=1)
            for effort, recall, units in ((0.1, 0.8, 5.0), (0.5, 0.96, 20.0), (None, 0.99, 40.0))
        ]
        return said(table("gsi", size(100, *points)), target=target)[0]

    assert "20 read units a search (effort 0.5)" in asked(0.95)
    assert "5 read units a search (effort 0.1)" in asked(0.5)
    assert "at best 0.990" in asked(0.995)


def test_an_effort_that_saves_nothing_is_none() -> None:
    def chosen(*points: tuple[float | None, float, float, float]) -> float | None:
        searches = [
            search(recall, effort, read_units=units, ms=ms) for effort, recall, units, ms in points
        ]
        (found,) = report(table("any", size(100, *searches))).found
        return found.chosen.effort

    assert chosen((0.3, 1.0, 0.0, 100.0), (1.0, 1.0, 0.0, 100.0), (None, 1.0, 0.0, 124.0)) is None
    assert chosen((0.3, 1.0, 0.0, 100.0), (None, 1.0, 0.0, 200.0)) == 0.3
    assert chosen((0.3, 0.97, 50.0, 10.0), (None, 0.97, 50.2, 20.0)) is None
    assert chosen((0.3, 0.97, 50.0, 10.0), (None, 0.96, 50.0, 10.0)) == 0.3
    assert chosen((0.3, 0.97, 40.0, 10.0), (None, 0.97, 50.0, 10.0)) == 0.3
    assert chosen((0.3, 0.9, 50.0, 10.0), (1.0, 0.9, 50.0, 10.0), (None, 0.9, 50.0, 10.0)) is None
    assert chosen((0.3, 0.9, 40.0, 10.0), (None, 0.9, 50.0, 10.0)) == 0.3


def test_what_more_queries_could_turn_is_doubted() -> None:
    doubt = "at best. That is not settled: with 40,000 vectors a user the 95 % interval"
    told = one_of(said(PACKED), "packed reaches", doubt)
    assert told.endswith("is 0.910 to 0.950; more --queries narrow it.")
    assert not [one for one in said(PACKED, target=0.5) if "not settled" in one]
    exact = embedded("exact", (500, 0.96), exact=True)
    assert not [one for one in said(exact) if "not settled" in one]


def test_the_cheapest_changes_with_the_size() -> None:
    gsi = billed("gsi", (1000, 0.97, 9.0), (10_000, 0.96, 600.0))
    result = report(gsi, FAISS)
    told = one_of(list(result.verdict), "is the cheapest up to about")
    (point,) = [one for one in result.crossings if one.over == "vectors"]
    assert 1000 < point.at < 10_000
    assert (point.below, point.above) == ("gsi", "faiss")
    assert told.startswith(f"gsi is the cheapest up to about {thousands(point.at)} vectors a user")
    assert "above that faiss" in told
    assert "for 1,000 users with 20 searches and 40 upserts a day each." in told
    by_place = {(one.index, one.vectors): one.month or 0.0 for one in result.costs}
    assert by_place["gsi", 1000] < point.month < by_place["gsi", 10_000]
    assert f"({by_place['gsi', 1000]:,.2f} EUR a month at 1,000)" in told


def test_the_break_even_point_may_lie_between_any_two_sizes() -> None:
    gsi = billed("gsi", (1000, 0.97, 9.0), (10_000, 0.96, 60.0), (40_000, 0.96, 3000.0))
    (point,) = [one for one in report(gsi, FAISS).crossings if one.over == "vectors"]
    assert 10_000 < point.at < 40_000


def test_the_cheapest_may_change_because_another_finds_too_little() -> None:
    """No lines cross: the cheaper one ends."""
    one = billed("packed", (1000, 0.97, 1.0), (10_000, 0.9, 2.0))
    told = one_of(said(one, FAISS), "is the cheapest up to")
    assert told.startswith("packed is the cheapest up to 1,000 vectors a user (")


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (embedded("faiss", (1000, 1.0), (9000, 1.0)), ["EUR a month at 1,000", "EUR at 9,000."]),
        (embedded("faiss", (1000, 1.0)), ["EUR a month at 1,000 vectors a user."]),
    ],
    ids=["two sizes", "one size"],
)
def test_one_may_be_the_cheapest_throughout(index: Index, words: list[str]) -> None:
    one_of(said(index), "faiss is the cheapest at every size measured", *words)


def test_those_that_cost_the_same_are_all_named() -> None:
    same = [embedded(name, (1000, 1.0), (9000, 1.0)) for name in ("faiss", "sqlite")]
    words = "faiss and sqlite cost the same and are the cheapest at every size measured"
    one_of(said(*same), words)


def test_what_costs_the_same_but_for_noise_breaks_nowhere_even() -> None:
    """Prices within one percent are a tie, whichever way they lean."""
    near = [
        billed("one", (1000, 0.97, 100.0), (2000, 0.97, 101.0), (9000, 0.97, 500.0)),
        billed("two", (1000, 0.97, 101.0), (2000, 0.97, 100.0), (9000, 0.97, 200.0)),
    ]
    result = report(*near)
    assert result.crossings == ()
    one_of(
        list(result.verdict),
        "one and two cost the same and are the cheapest up to 2,000 vectors a user (",
        "above that two (",
    )
    dear = billed("dear", (1000, 0.97, 150.0), (2000, 0.97, 101.0), (9000, 0.97, 100.0))
    (point,) = [one for one in report(dear, near[1]).crossings if one.over == "vectors"]
    assert (point.below, point.above) == ("two", "dear")
    assert 2000 < point.at < 9000


def test_a_break_even_point_is_told_though_the_first_size_is_a_tie() -> None:
    one = billed("one", (10, 0.97, 100.1), (1000, 0.97, 50.0), (9000, 0.97, 500.0))
    two = billed("two", (10, 0.97, 100.0), (1000, 0.97, 100.0), (9000, 0.97, 100.0))
    (point,) = [found for found in report(one, two).crossings if found.over == "vectors"]
    assert (point.below, point.above) == ("one", "two")


def test_without_a_price_nothing_is_said_about_cost() -> None:
    assert "No durable index whose price is known finds enough" in " ".join(said(REMOTE))
    assert "of cost there is nothing to say" in " ".join(said(billed("bad", (10, 0.1, 1.0))))


def test_what_keeps_nothing_is_left_out_of_the_costs() -> None:
    sentences = said(MEMORY, FAISS)
    one_of(sentences, "memory reaches", "It keeps nothing when the process ends")
    one_of(sentences, "faiss is the cheapest at every size measured")


def test_searches_decide_between_requests_and_machines() -> None:
    result = report(PACKED, FAISS)
    (point,) = [one for one in result.crossings if one.over == "searches"]
    told = one_of(list(result.verdict), "searches a user and day, where both cost")
    assert (point.below, point.above, point.vectors) == ("packed", "faiss", 10_000)
    assert told == (
        f"At 10,000 vectors a user packed is cheaper than faiss below {amount(point.at)} searches "
        f"a user and day, where both cost {point.month:,.2f} EUR a month."
    )
    packed, faiss = (
        next(one for one in result.costs if (one.index, one.vectors) == (name, 10_000))
        for name in ("packed", "faiss")
    )
    workload = result.asked.workload
    assert packed.month_at(point.at, workload) == pytest.approx(faiss.month_at(3, workload))


def test_two_of_one_price_a_search_never_cross() -> None:
    result = report(FAISS, embedded("sqlite", (1000, 1.0), exact=True))
    assert not [one for one in result.crossings if one.over == "searches"]


def test_one_that_costs_less_however_much_is_searched_never_crosses() -> None:
    result = report(billed("one", (1000, 0.97, 9.0)), billed("other", (1000, 0.97, 90.0)))
    assert result.crossings == ()


def test_what_costs_nothing_crosses_nothing() -> None:
    free = table("free", *(size(one, search(0.99), stored_bytes=None) for one in (10, 20)))
    figures = {**PRICES.figures, "hosts.small": price(0.0, 2)}
    prices = replace(PRICES, figures=figures)
    none = Workload(users=1, searches_per_day=0, upserts_per_day=0, active=1)
    result = report(free, embedded("faiss", (10, 1.0), (20, 1.0)), prices=prices, workload=none)
    assert result.crossings == ()


def test_no_two_break_even_where_a_third_is_cheaper() -> None:
    gsi = billed("gsi", (1000, 0.97, 9.0), (10_000, 0.96, 600.0))
    assert {(one.below, one.above) for one in report(gsi, FAISS).crossings} == {("gsi", "faiss")}
    cheap = billed("cheap", (1000, 0.97, 1.0), (10_000, 0.96, 2.0))
    both = {"gsi", "faiss"}
    points = report(gsi, FAISS, cheap).crossings
    assert not [one for one in points if {one.below, one.above} == both]
    assert {(one.below, one.above, one.over) for one in points} == {("cheap", "faiss", "searches")}


def test_no_two_break_even_where_a_third_is_free() -> None:
    gsi = billed("gsi", (1000, 0.97, 9.0), (10_000, 0.96, 600.0))
    sizes = (size(one, search(0.99), stored_bytes=None) for one in (1000, 10_000))
    free = table("free", *(replace(one, upserts=calls()) for one in sizes))
    figures = {**PRICES.figures, "hosts.small": price(0.0, 2)}
    points = report(
        gsi,
        billed("dear", (1000, 0.97, 90.0), (10_000, 0.96, 91.0)),
        free,
        prices=replace(PRICES, figures=figures),
    ).crossings
    assert points == ()


def test_growth_is_told_of_what_is_billed() -> None:
    told = one_of(said(PACKED, FAISS), "times the vectors")
    assert told == (
        "With 40 times the vectors, 1,000 to 40,000, a search of packed takes 10 times the read "
        "units, 9 to 90."
    )


def test_sizes_that_are_compared_at_different_efforts_say_so() -> None:
    def at(vectors: int, effort: float | None, units: float) -> Size:
        enough = search(0.96, effort, read_units=units, trips=1)
        less = search(0.94, 0.1, read_units=1.0, trips=1)
        return size(vectors, less, enough, upserts=WRITES, held_bytes=0)

    one = table("gsi", at(1000, 1.0, 9.0), at(10_000, None, 600.0))
    sentences = said(one, FAISS)
    efforts = (
        " (gsi at effort 1 with 1,000, at the default effort with 10,000; effort 0.1 misses the "
        "target with 1,000 within the sampling error; effort 0.1 misses the target with 10,000 "
        "within the sampling error)."
    )
    one_of(sentences, "times the vectors", efforts)
    one_of(sentences, "is the cheapest up to about", efforts)
    same = table("gsi", at(1000, 0.5, 9.0), at(10_000, 0.5, 600.0))
    assert "sampling error" not in " ".join(said(same, FAISS))


def test_latency_is_told_of_services_with_the_delay() -> None:
    told = one_of(said(PACKED, FAISS, delay_ms=5.0), "round trips: p50")
    # 4 ms, and 3 round trips of 5 ms; one in four took 12 ms.
    assert told == (
        "At 40,000 vectors a user a search of packed makes 3 requests in 3 round trips: p50 19 ms, "
        "p95 27 ms, with 5 ms added for each round trip."
    )
    assert "No delay was added" in " ".join(said(PACKED, FAISS))
    assert "where packed stands for" in " ".join(said(PACKED, FAISS))
    assert "where packed and gsi stand for" in " ".join(said(PACKED, billed("gsi", (9, 1.0, 9.0))))
    assert "delay" not in " ".join(said(FAISS))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.000012, "0.000012"),
        (0.0123, "0.0123"),
        (1.234, "1.23"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (-5, "-5"),
    ],
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert amount(value) == text


def test_words() -> None:
    assert (thousands(12_345), thousands(999.6)) == ("12,300", "1,000")
    assert (listed([]), listed(["a"]), listed(["a", "b", "c"])) == ("", "a", "a, b and c")
    assert (size_text(0), size_text(1536), size_text(3 << 40)) == ("0 B", "1.5 KiB", "3 TiB")
