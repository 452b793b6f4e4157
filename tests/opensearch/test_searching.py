"""Which way a search takes, and searches by words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ialstore import InvalidInputError, LimitExceededError, UnavailableError, VectorRecord, Where
from ialstore.events import OperationEvent
from ialstore.ids import message_id
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.proxy import FaultProxy
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, MakeIndex, X, wide
from ialstore.testing.vector.crowd import crowd, queries
from ialstore.testing.vector.oracle import Oracle
from ialstore_backends.opensearch import OpenSearchVectorIndex
from tests.opensearch.conftest import opened
from tests.opensearch.harm import changed

SPEC = spec_of("cosine")
TEXTS = (
    "I keep bees behind the house",
    "The bees made honey, and the bees were calm",
    "We had lunch in Lisbon",
    None,
)


@pytest.fixture
def index(shared: MakeIndex) -> OpenSearchVectorIndex:
    index = shared(SPEC, clock=ManualClock())
    assert isinstance(index, OpenSearchVectorIndex)
    index.setup()
    return index


def plans(index: OpenSearchVectorIndex) -> list[tuple[str, int]]:
    """Return the list to which each search adds its plan and its requests."""
    seen: list[tuple[str, int]] = []

    def listen(event: OperationEvent) -> None:
        if event.operation == "search":
            seen.append((event.details["plan"], event.units.requests))

    index.subscribe(listen)
    return seen


@pytest.mark.parametrize(
    ("exact_below", "effort", "plan"),
    [
        (200, None, ("exact", 2)),
        (199, None, ("graph", 3)),
        (199, 1, ("exact", 2)),
        (0, 0.5, ("graph", 2)),
        (0, 1, ("exact", 2)),
    ],
)
def test_small_users_and_the_greatest_effort_are_searched_exactly(
    port: int, index: OpenSearchVectorIndex, exact_below: int, effort: float | None, plan: object
) -> None:
    """V6: as the event says, whose requests begin with the refresh."""
    records = crowd(200)
    index.upsert(USER, records)
    with opened(port, index.name, SPEC, f"&exact_below={exact_below}") as other:
        other.count("nobody")  # reads what the index was made for
        seen = plans(other)
        oracle = Oracle.of(index)
        found = [
            oracle.judge(other.search(USER, query, 10, effort=effort), query, 10)
            for query in queries(records, 4)
        ]
        assert set(seen) == {plan}
        assert min(found) > 0.8
        if plan == ("exact", 2):
            assert min(found) == 1


def test_the_answer_tells_how_many_vectors_were_looked_at(index: OpenSearchVectorIndex) -> None:
    """V3: those that pass the filters, and those whose exact score was computed."""
    index.upsert(USER, crowd(200))
    result = index.search(USER, X, 10)
    assert (result.examined, result.reranked) == (200, 18)


def test_the_engine_faiss_is_told_its_candidates(port: int, index: OpenSearchVectorIndex) -> None:
    """V6: with the parameters that it knows."""
    index.upsert(USER, crowd(20))
    with FaultProxy(port) as proxy:
        behind = int(proxy.endpoint.rpartition(":")[2])
        options = "&engine=faiss&exact_below=0&ef_search=100"
        with opened(behind, index.name, SPEC, options) as other:
            assert len(other.search(USER, X, 5, effort=0.25)) == 5
        asked = proxy.requests[-1].json()["query"]["knn"]["vector"]
        assert (asked["k"], asked["method_parameters"]) == (50, {"ef_search": 50})


def tell_all(index: OpenSearchVectorIndex) -> list[str]:
    """Store the texts, each with its vector, and return their ids."""
    given = [
        VectorRecord(
            message_id(USER, f"s{number}", START, "user", str(number)),
            wide(*(0.0,) * number, 1.0),
            f"s{number}",
            "user",
            text,
            START + timedelta(seconds=5) if number == 0 else None,
        )
        for number, text in enumerate(TEXTS)
    ]
    index.upsert(USER, given)
    index.upsert("other", given)
    return [one.id for one in given]


def test_texts_are_found_by_words(index: OpenSearchVectorIndex) -> None:
    """V3, V5, C2, C6: best first by BM25, of this user, filtered, and nothing that is expired."""
    ids = tell_all(index)
    found = index.search_words(USER, "what do my bees do?")
    assert [hit.id for hit in found] == [ids[1], ids[0]]
    assert found.hits[0].score > found.hits[1].score > 0
    assert found.hits[1].text == TEXTS[0]
    where = Where(session_id="s0")
    assert [hit.id for hit in index.search_words(USER, "BEES", where=where)] == [ids[0]]
    assert [hit.id for hit in index.search_words(USER, "bees", 1)] == [ids[1]]
    assert index.search_words(USER, "").hits == ()
    assert index.search_words("nobody", "bees").hits == ()
    clock = index.settings.get("clock")
    assert isinstance(clock, ManualClock)
    clock.advance(5)
    assert [hit.id for hit in index.search_words(USER, "bees")] == [ids[1]]
    index.erase("other")


def test_vectors_and_words_are_searched_as_one(index: OpenSearchVectorIndex) -> None:
    """V3: what both searches find comes first."""
    ids = tell_all(index)
    found = index.search_hybrid(USER, wide(1.0, 0.9), "lunch with bees in Lisbon", 3)
    assert found.hits[0].id in ids[:2]
    assert len(found) == 3
    assert found.hits[0].score == pytest.approx(1 / 61 + 1 / 62, abs=1e-3)
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)
    only = index.search_hybrid(USER, X, "lunch", where=Where(exclude_session_id="s2"))
    assert ids[2] not in {hit.id for hit in only}
    index.erase("other")


def test_a_text_to_search_for_is_checked(index: OpenSearchVectorIndex) -> None:
    """E2: before any request."""
    long = "x " * 1025
    for call in (index.search_words, lambda user, text: index.search_hybrid(user, X, text)):
        with pytest.raises(LimitExceededError):
            call(USER, long)
        with pytest.raises(InvalidInputError):
            call("", "bees")
    index.search_words(USER, " ".join(map(str, range(500))))


def test_a_hit_without_a_score_is_no_answer(port: int, index: OpenSearchVectorIndex) -> None:
    """C5: whatever stands in its place."""
    index.upsert(USER, crowd(3))

    def drop(told: object) -> None:
        assert isinstance(told, dict)
        for hit in told["hits"]["hits"]:
            hit["_score"] = None

    with FaultProxy(port, changed("_search", drop)) as proxy:
        behind = int(proxy.endpoint.rpartition(":")[2])
        with opened(behind, index.name, SPEC) as other, pytest.raises(UnavailableError):
            other.search(USER, X)
