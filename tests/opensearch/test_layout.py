"""What an index is made of, what is wrong with it, and when its reads see its writes."""

from __future__ import annotations

from typing import Any

import pytest

from ialstore import (
    ConfigurationError,
    Consistency,
    PartialWriteError,
    StoreNotReadyError,
    UnsupportedOperationError,
)
from ialstore.testing.proxy import Decision, FaultProxy, ProxiedRequest
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, X
from ialstore_backends.opensearch.layout import first_generation
from tests.harm import failing
from tests.opensearch.conftest import opened, tell
from tests.opensearch.harm import refusal
from tests.opensearch.test_faults import some

SPEC = spec_of("cosine")


@pytest.fixture
def generation(port: int, index_name: str) -> str:
    """Return the name of the generation of an index that is set up."""
    with opened(port, index_name, SPEC) as index:
        index.setup()
    return first_generation(index_name)


def put_alias(port: int, index: str, alias: str) -> None:
    tell(port, "POST", "/_aliases", {"actions": [{"add": {"index": index, "alias": alias}}]})


def test_other_layouts_are_named(port: int, index_name: str, generation: str) -> None:
    """D9, S15: mapping, settings and template."""
    with opened(port, index_name, SPEC, "&m=8&analyzer=english&shards=2") as other:
        found = other.check()
    assert [one.partition(": ")[2].partition(" is ")[0] for one in found[:3]] == [
        "properties.text.analyzer",
        "properties.vector.method.parameters.m",
        "index.number_of_shards",
    ]
    assert found[3] == f"the template {index_name} is of another layout; reindex"
    assert len(found) == 4
    tell(port, "PUT", f"/{generation}/_mapping", {"properties": {"more": {"type": "keyword"}}})
    tell(port, "DELETE", f"/_index_template/{index_name}")
    with opened(port, index_name, SPEC) as index:
        assert index.check() == [
            f"{generation} has fields that ialstore does not know: 1; reindex",
            f"the template {index_name} is not there; run ialstore setup",
        ]
        index.setup()
        assert len(index.check()) == 1


def test_an_index_that_is_gone_is_not_made_by_a_write(
    port: int, index_name: str, generation: str
) -> None:
    """D9: OpenSearch would make one of any mapping."""
    with opened(port, index_name, SPEC) as index:
        index.upsert(USER, some(1))
        tell(port, "DELETE", f"/{generation}")
        for call in (
            lambda: index.upsert(USER, some(1)),
            lambda: index.upsert(USER, some(2)),
            lambda: index.search(USER, X),
            lambda: index.get(USER, [some(1)[0].id]),
        ):
            with pytest.raises(StoreNotReadyError, match="setup"):
                call()
        assert index.check() == [f"{index_name} is not set up; run ialstore setup"]
    assert index_name not in set(tell(port, "GET", "/_all/_alias"))


@pytest.mark.parametrize("kind", ["index", "foreign", "several"])
def test_what_ialstore_did_not_make_is_refused(port: int, index_name: str, kind: str) -> None:
    """D9, S15: another index's name, an alias of another index, an alias of two."""
    if kind == "index":
        tell(port, "PUT", f"/{index_name}")
    for number in range({"index": 0, "foreign": 1, "several": 2}[kind]):
        tell(port, "PUT", f"/{index_name}-{number}")
        put_alias(port, f"{index_name}-{number}", index_name)
    with opened(port, index_name, SPEC) as index:
        for call in (lambda: index.search(USER, X), index.setup):
            with pytest.raises(ConfigurationError, match=r"alias|not made by ialstore"):
                call()
        assert len(index.check()) == 1


@pytest.mark.parametrize(
    ("meta", "error"),
    [
        ({"format": 2}, StoreNotReadyError),
        ({"format": "x"}, ConfigurationError),
        ({"dimension": None}, ConfigurationError),
        ({"refresh": "write"}, ConfigurationError),
    ],
    ids=repr,
)
def test_what_it_was_made_for_is_compared(
    port: int, index_name: str, generation: str, meta: dict[str, Any], error: type[Exception]
) -> None:
    """S15, V1: a newer format is refused, by check as well."""
    told = tell(port, "GET", f"/{generation}/_mapping")[generation]["mappings"]["_meta"]
    tell(port, "PUT", f"/{generation}/_mapping", {"_meta": {"ialstore": told["ialstore"] | meta}})
    with opened(port, index_name, SPEC) as index:
        with pytest.raises(error):
            index.count(USER)
        if error is StoreNotReadyError:
            with pytest.raises(error, match="upgrade"):
                index.check()
        else:
            assert len(index.check()) == 1


def test_two_who_set_up_at_once_get_the_same(port: int, index_name: str) -> None:
    """S15: one of them is quicker, between a look and a request."""
    with FaultProxy(port) as proxy:
        behind = int(proxy.endpoint.rpartition(":")[2])

        def decide(request: ProxiedRequest) -> Decision:
            if request.method == "PUT" and first_generation(index_name) in request.path:
                with opened(port, index_name, SPEC) as other:
                    other.setup()
            return None

        proxy.decide = decide
        with opened(behind, index_name, SPEC) as index:
            index.setup()
            assert index.check() == []


def test_a_setup_that_is_refused_raises(port: int, index_name: str) -> None:
    """S15: OpenSearch knows no such analyzer, or takes no such index."""
    with (
        opened(port, index_name, SPEC, "&analyzer=none-such") as index,
        pytest.raises(StoreNotReadyError, match="does not accept"),
    ):
        index.setup()
    with FaultProxy(port) as proxy:
        behind = int(proxy.endpoint.rpartition(":")[2])
        proxy.decide = failing(refusal(400, "validation_exception"), first_generation(index_name))
        with opened(behind, index_name, SPEC) as index:
            with pytest.raises(StoreNotReadyError, match="validation_exception"):
                index.setup()
            assert index.check() == [f"{index_name} is not set up; run ialstore setup"]
            proxy.decide = failing(None)
            index.setup()
            assert index.check() == []


def hold_back(port: int, index_name: str) -> None:
    """Let the index be refreshed by nobody but ialstore."""
    tell(port, "PUT", f"/{index_name}/_settings", {"index": {"refresh_interval": "-1"}})


@pytest.mark.parametrize("refresh", ["read", "write"])
def test_a_strong_read_sees_what_was_acknowledged(port: int, index_name: str, refresh: str) -> None:
    """C1, D9: though OpenSearch itself makes nothing visible; and by another handle."""
    with (
        opened(port, index_name, SPEC, f"&refresh={refresh}") as index,
        opened(port, index_name, SPEC, f"&refresh={refresh}") as other,
    ):
        index.setup()
        hold_back(port, index_name)
        index.upsert(USER, some(3))
        late = other.search(USER, X, consistency=Consistency.EVENTUAL)
        assert len(late) == (0 if refresh == "read" else 3)
        assert len(other.search(USER, X)) == 3
        index.delete(USER, [some(1)[0].id])
        assert other.count(USER) == 2
        assert len(other.ids(USER)) == 2
        assert other.erase(USER).vectors == 2
        assert other.users().items == ()


def test_without_refresh_reads_see_writes_later_and_erase_says_so(
    port: int, index_name: str
) -> None:
    """C1, S11, D9: get and delete by id see them at once all the same."""
    with opened(port, index_name, SPEC, "&refresh=never") as index:
        index.setup()
        hold_back(port, index_name)
        index.upsert(USER, some(3))
        assert index.count(USER) == 0
        assert len(index.get(USER, [one.id for one in some(3)])) == 3
        with pytest.raises(UnsupportedOperationError):
            index.count(USER, consistency=Consistency.STRONG)
        assert "refreshed" in index.erase(USER).out_of_reach[-1]
        tell(port, "POST", f"/{index_name}/_refresh")
        assert index.count(USER) == 3


def test_a_mapping_that_does_not_fit_is_named(port: int, index_name: str, generation: str) -> None:
    """D9: what another hand has made of the index."""
    tell(port, "DELETE", f"/{generation}")
    with opened(port, index_name, spec_of("cosine")) as index:
        mapping = index._layout.definition["mappings"]  # noqa: SLF001 - to be damaged
        mapping["properties"]["vector"] = {"type": "knn_vector", "dimension": 3}
        body = {"mappings": mapping, "settings": {"index": {"knn": True}}}
        tell(port, "PUT", f"/{generation}", body | {"aliases": {index_name: {}}})
        with pytest.raises(StoreNotReadyError, match="another layout; run ialstore check"):
            index.upsert(USER, some(1))
        with pytest.raises((StoreNotReadyError, PartialWriteError)):
            index.upsert(USER, some(2))
        assert any("vector.dimension is 3" in one for one in index.check())


@pytest.mark.parametrize("options", ["&engine=faiss", "&engine=faiss&mode=on_disk"])
def test_the_other_engines_have_their_mapping(port: int, index_name: str, options: str) -> None:
    """S15: what a node without their libraries can tell; their recall is not promised."""
    with opened(port, index_name, SPEC, options) as index:
        index.setup()
        assert index.check() == []
        assert index.capabilities.min_recall == 0
