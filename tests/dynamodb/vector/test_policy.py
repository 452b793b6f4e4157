"""The policy that is printed is just enough: nothing is refused, and nothing is left over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ialstore import Consistency, InvalidInputError, Where
from ialstore.component import Access
from ialstore.testing.proxy import Decision, FaultProxy, Instead, ProxiedRequest
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import X
from ialstore.url import StoreURL
from ialstore_backends.dynamodb_vector import DynamoVectorIndex, VectorOptions
from tests.dynamodb.iam import allows


def policy(prefix: str, access: Access, options: str = "", **given: Any) -> list[dict[str, Any]]:
    url = StoreURL.parse(f"dynamodb-vector://{prefix}?{options}")
    statements: list[dict[str, Any]] = DynamoVectorIndex.iam_policy(url, access, **given)[
        "Statement"
    ]
    return statements


@pytest.fixture
def proxy(dynoxide: RunningServer) -> Iterator[FaultProxy]:
    with FaultProxy(dynoxide.port) as proxy:
        yield proxy


@pytest.mark.parametrize("strong", [True, False])
@pytest.mark.parametrize("access", [Access.READ, Access.WRITE])
def test_a_policy_allows_what_is_asked_for_and_no_more(
    proxy: FaultProxy,
    dynoxide: RunningServer,
    prefix: str,
    record: Any,
    *,
    access: Access,
    strong: bool,
) -> None:
    """The least privilege: the actions of the policy are those that were needed."""
    plain = VectorOptions(endpoint=dynoxide.endpoint, strong_reads=strong)
    options = VectorOptions(endpoint=proxy.endpoint, strong_reads=strong)
    some = [record(X, text="x", session_id=f"s{number % 3}") for number in range(60)]
    with DynamoVectorIndex(prefix, spec_of("cosine"), plain) as index:
        index.setup()
        index.upsert("u", some)
    with DynamoVectorIndex(prefix, spec_of("cosine"), options) as index:
        for consistency in Consistency if strong else [Consistency.EVENTUAL]:
            index.get("u", [one.id for one in some], consistency=consistency)
            index.get("u", [some[0].id], consistency=consistency)
            index.search("u", X, consistency=consistency)
            index.search("u", X, where=Where(session_id="s1"), consistency=consistency)
            index.count("u", consistency=consistency)
        index.users()
        if access is Access.WRITE:
            index.upsert("u", some)
            index.upsert("u", some[:1])
            index.delete_session("u", "s1")
            index.optimize("u")
            index.erase("u")
    statements = policy(prefix, access, f"strong_reads={str(strong).lower()}")
    assert all(allows(statements, one, index.table, "user_chunk") for one in proxy.requests)
    allowed = {action for one in statements for action in one["Action"]}
    assert allowed == {f"dynamodb:{one.operation}" for one in proxy.requests}
    indexes = {one["Sid"] for one in statements} - {"Vectors"}
    assert indexes == ({"VectorIndex", "WrittenIndex"} if strong else {"VectorIndex"})


def test_a_policy_for_setup_and_check_is_enough(proxy: FaultProxy, prefix: str) -> None:
    def no_backups(request: ProxiedRequest) -> Decision:
        """Answer in place of an emulator that knows no point-in-time recovery."""
        if not request.operation.endswith("ContinuousBackups"):
            return None
        return Instead(200, b'{"ContinuousBackupsDescription": {}}')

    proxy.decide = no_backups
    options = VectorOptions(endpoint=proxy.endpoint, point_in_time_recovery=True)
    with DynamoVectorIndex(prefix, spec_of("cosine"), options) as index:
        index.setup()
        assert index.check() == [f"{index.table}: point-in-time recovery is off"]
    (statement,) = policy(prefix, Access.MANAGE)
    assert {f"dynamodb:{one.operation}" for one in proxy.requests} == set(statement["Action"])


@pytest.mark.parametrize("access", Access)
def test_no_policy_pretends_to_hold_for_one_user(access: Access) -> None:
    """C6: a search knows no leading keys, so IAM can't tell one user from another."""
    with pytest.raises(InvalidInputError, match="leave --user out"):
        policy("p-", access, user_id="u")
