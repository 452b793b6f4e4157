"""Vectors of queries in a cache: made once, each user's own, erased with the user."""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np
import pytest

from ialstore import ConfigurationError, IndexSpec, open_engine
from ialstore.context import ContextEngine
from ialstore.context.query_cache import QueryCache, QueryCacheOptions
from ialstore.embedding import HashingEmbedder
from ialstore.registry import register
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.memory_cache import MemoryCache

DIMENSION = 64


class Counting(HashingEmbedder):
    """Counts the queries that it embeds."""

    def __init__(self) -> None:
        super().__init__(dimension=DIMENSION)
        self.queries = 0

    def embed_query(self, text: str) -> Any:
        self.queries += 1
        return super().embed_query(text)


class Nameless(Counting):
    @property
    def model(self) -> str:
        return ""


_numbers = itertools.count()


@pytest.fixture
def embedder() -> Counting:
    return Counting()


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def queries(embedder: Counting, cache: MemoryCache) -> QueryCache:
    options = QueryCacheOptions(url="memory:")
    return QueryCache(options, embedder.model, embedder.dimension, cache=cache)


@pytest.fixture
def engine(embedder: Counting, queries: QueryCache) -> Any:
    spec = IndexSpec(DIMENSION, model=embedder.model)
    with ContextEngine(
        MemoryConversationStore(), MemoryVectorIndex(spec), embedder, query_cache=queries
    ) as engine:
        engine.save("alice", "s", "user", "The train leaves at seven.")
        yield engine


def test_a_question_that_is_asked_again_is_not_embedded_again(
    engine: ContextEngine, embedder: Counting
) -> None:
    first = engine.build_context("When does the train leave?", "alice", "t")
    again = engine.build_context("When does the train leave?", "alice", "t")

    assert embedder.queries == 1
    assert first.memories == again.memories != ()
    figures = engine.get_performance_metrics()
    assert figures["query_cache_hit_rate"] == 0.5
    assert figures["cache_hit_rate"] == 0, "that is of the store"


def test_a_search_takes_the_vector_that_a_context_made(
    engine: ContextEngine, embedder: Counting
) -> None:
    engine.build_context("When does the train leave?", "alice", "t")

    assert len(engine.search("When does the train leave?", "alice")) == 1
    assert embedder.queries == 1


def test_each_user_has_vectors_of_their_own(engine: ContextEngine, embedder: Counting) -> None:
    engine.build_context("the train", "alice")
    engine.build_context("the train", "bob")

    assert embedder.queries == 2


def test_vectors_of_another_model_are_not_taken(engine: ContextEngine, cache: MemoryCache) -> None:
    engine.build_context("the train", "alice")
    other = QueryCache(QueryCacheOptions(url="memory:"), "other", DIMENSION, cache=cache)
    vector = np.ones(DIMENSION, np.float32)

    assert np.array_equal(other.embed("alice", "the train", lambda _: vector), vector)
    assert np.array_equal(other.embed("alice", "the train", lambda _: vector * 2), vector)


def test_what_is_no_vector_is_made_anew(queries: QueryCache, cache: MemoryCache) -> None:
    vector = np.ones(DIMENSION, np.float32)
    queries.embed("alice", "q", lambda _: vector)
    for held in cache._buckets.values():  # noqa: SLF001 - as another program might
        for name in held.values:
            held.values[name] = b"garbage"

    assert np.array_equal(queries.embed("alice", "q", lambda _: vector * 2), vector * 2)
    assert queries.counts()["cache_damaged"] == 1


def test_erasing_a_user_erases_the_vectors(engine: ContextEngine, embedder: Counting) -> None:
    engine.build_context("the train", "alice")
    assert engine.erase("alice").cached == 1
    engine.build_context("the train", "alice")

    assert embedder.queries == 2


def test_a_cache_that_did_not_answer_is_named_when_a_user_is_erased(
    embedder: Counting,
) -> None:
    class Dead(MemoryCache):
        def settle(self, *args: Any, **options: Any) -> int:
            raise ConnectionError

    options = QueryCacheOptions(url="redis://agent:s3cret@cache.internal")
    queries = QueryCache(options, embedder.model, embedder.dimension, cache=Dead())
    report = queries.erase("alice")
    queries.close()

    assert report.cached == 0
    (left,) = report.out_of_reach
    assert "cache.internal" in left
    assert "86400 s" in left
    assert "s3cret" not in left


def test_memory_that_vectors_take_counts(engine: ContextEngine) -> None:
    engine.build_context("the train", "alice", "s")
    before = engine.get_performance_metrics()["memory_bytes_per_session"]
    engine.build_context("another train", "alice", "s")

    assert engine.get_performance_metrics()["memory_bytes_per_session"] > before


def test_a_configuration_names_the_cache() -> None:
    with open_engine(
        {"conversation": {"url": "memory:"}, "context": {"query_cache": "memory:"}}
    ) as engine:
        user = f"u{os.getpid()}-{next(_numbers)}"
        engine.build_context("one two", user)
        engine.build_context("one two", user)
        assert engine.get_performance_metrics()["query_cache_hit_rate"] == 0.5


def test_a_table_sets_its_options() -> None:
    config = {
        "conversation": {"url": "memory:"},
        "context": {"query_cache": {"url": "memory:", "ttl_secnds": 5}},
    }
    with pytest.raises(ConfigurationError, match="ttl_seconds"):
        open_engine(config)


def test_an_embedder_must_say_which_model_it_is() -> None:
    register("embedder", "nameless", Nameless)
    with pytest.raises(ConfigurationError, match="which model"):
        open_engine(
            {
                "conversation": {"url": "memory:"},
                "embedder": {"use": "nameless"},
                "context": {"query_cache": "memory:"},
            }
        )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_goes_on(engine: ContextEngine) -> None:
    engine.build_context("the train", "alice")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(not engine.build_context("the train", "alice", "t").memories)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
