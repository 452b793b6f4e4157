"""The policy that is printed is just enough: nothing is refused, and nothing is left over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from ialstore import Consistency, InvalidInputError, VectorIndex
from ialstore.component import Access
from ialstore.testing.proxy import Decision, FaultProxy, Instead, ProxiedRequest
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import X
from ialstore.url import StoreURL
from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from tests.dynamodb.iam import allows

HOSTILE = ["u", "u1", "*", "?", "$", "${*}", "u#", "u%23", "u*", "é\n"]


def policy(prefix: str, access: Access, options: str = "", **given: Any) -> list[dict[str, Any]]:
    url = StoreURL.parse(f"lsh+dynamodb://{prefix}?{options}")
    document = LshDynamoIndex.iam_policy(url, access, **given)
    statements: list[dict[str, Any]] = document["Statement"]
    return statements


@pytest.fixture
def proxy(dynoxide: RunningServer) -> Iterator[FaultProxy]:
    with FaultProxy(dynoxide.port) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy: FaultProxy, index: LshDynamoIndex, prefix: str) -> Iterator[LshDynamoIndex]:
    options = LshOptions(endpoint=proxy.endpoint, chunks=3)
    with LshDynamoIndex(prefix, index.spec, options, clock=index._clock) as behind:  # noqa: SLF001 - the same time
        yield behind


def write(index: VectorIndex, user: str, record: Any) -> None:
    """Make every call that writes, and every kind of request that they make."""
    some = [record(X, text="x", session_id=f"s{number % 3}") for number in range(60)]
    index.upsert(user, some)
    index.upsert(user, some[:1])
    index.bulk_load((user, one) for one in some)
    read(index, user, [one.id for one in some])
    index.delete(user, [some[0].id])
    index.delete_session(user, "s1")
    index.optimize(user)
    index.erase(user)


def read(index: VectorIndex, user: str, ids: list[str]) -> None:
    """Make every call that reads what belongs to a user."""
    for consistency in Consistency:
        index.get(user, ids[:3], consistency=consistency)
        index.get(user, ids[:1], consistency=consistency)
        index.search(user, X, consistency=consistency)
        index.count(user, consistency=consistency)
        index.ids(user, consistency=consistency)


def mend(index: LshDynamoIndex, user: str, record: Any) -> None:
    """Let optimize write a code."""
    one = record(X)
    index.upsert(user, [one])
    key = cast("EmbeddingTable", index._table).chunks.key(user, one.id)  # noqa: SLF001 - where the row lies
    params = {"TableName": index.table, "Key": key, "UpdateExpression": "REMOVE similarity_hash"}
    with index._operation("optimize", renewable=True) as op:  # noqa: SLF001 - as above
        index._table.client.call(op, "UpdateItem", params)  # noqa: SLF001 - as above
    index.optimize(user)


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE])
def test_a_policy_allows_what_is_asked_for_and_no_more(
    proxy: FaultProxy, behind: LshDynamoIndex, prefix: str, record: Any, access: Access
) -> None:
    """The least privilege: the actions of the policy are those that were needed."""
    if access is Access.WRITE:
        write(behind, "u", record)
        mend(behind, "u", record)
    else:
        some = [record(X) for _ in range(9)]
        behind.upsert("u", some)
        proxy.requests.clear()
        read(behind, "u", [one.id for one in some])
    behind.users()
    statements = policy(prefix, access)
    assert all(allows(statements, one, behind.table, "user_chunk") for one in proxy.requests)
    allowed = {action for one in statements for action in one["Action"]}
    assert allowed == {f"dynamodb:{one.operation}" for one in proxy.requests}


@pytest.mark.parametrize("user", HOSTILE)
def test_a_tenants_policy_opens_that_tenant_only(
    proxy: FaultProxy, behind: LshDynamoIndex, prefix: str, record: Any, user: str
) -> None:
    """C6: hostile and prefix ids; the index included. What the table was made for is for all."""
    behind.count("nobody")
    proxy.requests.clear()
    write(behind, user, record)
    for other in HOSTILE:
        statements = policy(prefix, Access.WRITE, user_id=other)
        let_through = {
            allows(statements, one, behind.table, "user_chunk") for one in proxy.requests
        }
        assert let_through == {other == user}


def test_a_tenant_may_read_what_the_table_was_made_for_and_list_nobody(
    proxy: FaultProxy, behind: LshDynamoIndex, prefix: str
) -> None:
    """V1: the first call of a process does."""
    behind.count("u")
    statements = policy(prefix, Access.READ, user_id="u")
    assert all(allows(statements, one, behind.table, "user_chunk") for one in proxy.requests)
    assert "dynamodb:Scan" not in {action for one in statements for action in one["Action"]}


def test_a_policy_for_setup_and_check_is_enough(proxy: FaultProxy, prefix: str) -> None:
    def no_backups(request: ProxiedRequest) -> Decision:
        """Answer in place of an emulator that knows no point-in-time recovery."""
        if not request.operation.endswith("ContinuousBackups"):
            return None
        return Instead(200, b'{"ContinuousBackupsDescription": {}}')

    proxy.decide = no_backups
    options = LshOptions(endpoint=proxy.endpoint, point_in_time_recovery=True)
    with LshDynamoIndex(prefix, spec_of("cosine"), options) as index:
        index.setup()
        assert index.check() == [f"{index.table}: point-in-time recovery is off"]
    (statement,) = policy(prefix, Access.MANAGE)
    assert {f"dynamodb:{one.operation}" for one in proxy.requests} == set(statement["Action"])


def test_nobody_manages_tables_for_one_user() -> None:
    with pytest.raises(InvalidInputError, match="belong to all users"):
        policy("p-", Access.MANAGE, user_id="u")
    with pytest.raises(InvalidInputError):
        policy("p-", Access.READ, user_id="")
