"""Another layout or spec: a new generation, to which the alias moves at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ialstore import (
    ConfigurationError,
    IndexSpec,
    LoadReport,
    Outcome,
    StoreNotReadyError,
    ThrottledError,
    UnavailableError,
)
from ialstore.testing.proxy import Decision, FaultProxy, ProxiedRequest, ResetAfter
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, Y
from ialstore_backends.opensearch.layout import first_generation, next_generation
from tests.harm import failing
from tests.opensearch.conftest import opened, tell
from tests.opensearch.harm import refusal
from tests.opensearch.test_faults import some

SPEC = spec_of("cosine")


class Lengths:
    """Embeds a text by its length."""

    model = "lengths"
    dimension = 3
    max_characters = None

    def embed(self, texts: Any) -> Any:
        return np.array([[len(text), 1.0, 0.0] for text in texts], np.float32)

    def embed_query(self, text: str) -> Any:
        return self.embed([text])[0]


@pytest.fixture
def filled(port: int, index_name: str) -> str:
    """Return the name of an index of two users' vectors."""
    with opened(port, index_name, SPEC) as index:
        index.setup()
        index.upsert(USER, some(4, text="four"))
        index.upsert("other", some(3, text="seven"))
    return index_name


def generations(port: int, name: str) -> dict[str, bool]:
    """Return the generations of an index, and whether the alias stands for each."""
    told = tell(port, "GET", f"/{name}--*")
    return {one: name in found["aliases"] for one, found in told.items()}


def test_a_new_layout_holds_what_the_old_one_held(
    port: int, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D9, S15: page by page; readers never see less."""
    monkeypatch.setattr("ialstore_backends.opensearch.reindexing._PAGE", 3)
    done: list[int] = []
    with opened(port, filled, SPEC) as before, opened(port, filled, SPEC, "&m=8&shards=2") as index:
        assert index.check()

        def progress(count: int, _: int | None) -> None:
            done.append(count)
            assert before.count(USER) == 4
            with pytest.raises(UnavailableError, match="can't be used just now") as caught:
                before.upsert(USER, some(1))
            assert caught.value.retryable
            assert caught.value.outcome is Outcome.NOT_APPLIED

        assert index.reindex(progress=progress) == LoadReport(7)
        assert done == [3, 6, 7]
        assert index.check() == []
        assert (index.count(USER), index.count("other")) == (4, 3)
        assert {hit.text for hit in before.search("other", Y)} == {"seven"}
        before.upsert(USER, some(5))
        assert index.count(USER) == 5
    new = next_generation(first_generation(filled))
    assert generations(port, filled) == {new: True}


def test_another_way_to_refresh_or_another_metric_needs_no_new_vectors(
    port: int, filled: str
) -> None:
    """V1: the exact vectors are kept."""
    with opened(port, filled, replace(SPEC, metric="dot", model=""), "&refresh=write") as index:
        with pytest.raises(ConfigurationError, match="refresh=read"):
            index.count(USER)
        index.reindex()
        assert index.check() == []
        assert index.get(USER, [some(1)[0].id])[0].vector.tolist() == list(Y)


def test_another_model_needs_an_embedder(port: int, filled: str) -> None:
    """V1: vectors are made from the texts."""
    with opened(port, filled, IndexSpec(3, model="lengths")) as index:
        with pytest.raises(ConfigurationError, match="with an embedder"):
            index.reindex()
        assert index.reindex(embedder=Lengths()).written == 7
        (found,) = index.get(USER, [some(1)[0].id])
        assert found.vector.tolist() == [4.0, 1.0, 0.0]
        assert index.check() == []


def test_a_vector_without_a_text_stops_it_and_everything_is_as_before(
    port: int, filled: str
) -> None:
    """V1: rather than losing one."""
    with opened(port, filled, SPEC) as before:
        before.upsert(USER, some(1, 10))
        with (
            opened(port, filled, IndexSpec(3, model="lengths")) as index,
            pytest.raises(ConfigurationError, match="1 vectors have no text"),
        ):
            index.reindex(embedder=Lengths())
        before.upsert(USER, some(1, 11))
        assert before.count(USER) == 6


def test_a_run_that_was_interrupted_is_named_and_run_again(port: int, filled: str) -> None:
    """S13: as if the process had died: nothing after the fault gets through."""
    with FaultProxy(port) as proxy:
        behind = int(proxy.endpoint.rpartition(":")[2])
        is_dead = False

        def decide(request: ProxiedRequest) -> Decision:
            nonlocal is_dead
            is_dead = is_dead or "_bulk" in request.path
            return refusal(429, "x") if is_dead else None

        proxy.decide = decide
        with opened(behind, filled, SPEC, "&m=8") as index:
            with pytest.raises(ThrottledError):
                index.reindex()
            with opened(port, filled, SPEC) as plain:
                assert any("takes no writes; reindex" in one for one in plain.check())
            proxy.decide = failing(None)
            assert index.reindex().written == 7
            assert index.check() == []
            index.upsert(USER, some(5))


def test_a_move_whose_answer_was_lost_loses_nothing(port: int, filled: str) -> None:
    """C4, A5: it may have been applied, and may be repeated."""
    with FaultProxy(port) as proxy:
        behind = int(proxy.endpoint.rpartition(":")[2])
        proxy.decide = failing(ResetAfter(), "_aliases")
        with opened(behind, filled, SPEC, "&m=8") as index:
            with pytest.raises(UnavailableError) as caught:
                index.reindex()
            assert caught.value.outcome is Outcome.UNKNOWN
            proxy.decide = failing(None)
            assert (index.count(USER), index.check()) == (4, [])
            assert index.reindex().written == 7
            index.upsert(USER, some(5))
            assert index.count(USER) == 5


def test_what_is_not_there_is_not_reindexed(port: int, index_name: str) -> None:
    """S15: it is to be set up."""
    with opened(port, index_name, SPEC) as index, pytest.raises(StoreNotReadyError):
        index.reindex()
