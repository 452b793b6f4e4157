"""The policy that is printed is just enough: nothing is refused, and nothing is left over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from ialstore import Consistency, ConversationStore, InvalidInputError, Message
from ialstore.component import Access
from ialstore.testing.proxy import Decision, FaultProxy, Instead, ProxiedRequest
from ialstore.testing.servers import RunningServer
from ialstore.url import StoreURL
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions
from tests.dynamodb.iam import allows

HOSTILE = ["u", "u1", "*", "?", "$", "${*}", "u#", "u%23", "u*", "é\n"]


def policy(prefix: str, access: Access, options: str = "", **given: Any) -> list[dict[str, Any]]:
    url = StoreURL.parse(f"dynamodb://{prefix}?{options}")
    document = DynamoConversationStore.iam_policy(url, access, **given)
    assert document["Version"] == "2012-10-17"
    statements: list[dict[str, Any]] = document["Statement"]
    return statements


@pytest.fixture
def proxy(dynoxide: RunningServer) -> Iterator[FaultProxy]:
    with FaultProxy(dynoxide.port) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: FaultProxy, table: str) -> Iterator[DynamoConversationStore]:
    with DynamoConversationStore(table, DynamoOptions(endpoint=proxy.endpoint)) as store:
        yield store


def write(store: ConversationStore, user: str) -> None:
    """Make every call that writes, and every kind of request that they make."""
    at = datetime(2096, 2, 29, tzinfo=UTC)
    batch = [
        Message.new(
            user_id=user,
            session_id=f"s{number % 9}",
            role="user",
            content=str(number),
            created_at=at + timedelta(seconds=number),
        )
        for number in range(60)
    ]
    store.bulk_load(batch)
    store.append(batch[0], Message.new(user_id=user, session_id="s", role="user", content="x"))
    store.append(batch[1])
    store.replace(batch[2])
    store.delete(user, [batch[3].id])
    store.delete_session(user, "s4")
    store.optimize(user)
    read(store, user)
    store.erase(user)


def read(store: ConversationStore, user: str) -> None:
    """Make every call that reads."""
    for consistency in Consistency:
        for session in ("s1", None):
            store.history(user, session_id=session, limit=10, consistency=consistency)
            page = store.summaries(user, session_id=session, consistency=consistency)
            store.get(user, [one.id for one in page][:3], consistency=consistency)
            store.get(user, [one.id for one in page][:1], consistency=consistency)
        store.sessions(user, consistency=consistency)


@pytest.mark.parametrize(
    ("access", "calls"), [(Access.READ, read), (Access.WRITE, write)], ids=["read", "write"]
)
def test_a_policy_allows_what_is_asked_for_and_no_more(
    proxy: FaultProxy,
    store: DynamoConversationStore,
    table: str,
    access: Access,
    calls: Callable[[ConversationStore, str], None],
) -> None:
    """The least privilege: the actions of the policy are those that were needed."""
    if calls is read:
        with DynamoConversationStore(table, DynamoOptions(endpoint=proxy.endpoint)) as other:
            write_some = [
                Message.new(user_id="u", session_id=f"s{n % 9}", role="user", content="x")
                for n in range(60)
            ]
            other.bulk_load(write_some)
        proxy.requests.clear()
    calls(store, "u")
    statements = policy(table, access)
    assert all(allows(statements, one, store.table, "user_date") for one in proxy.requests)
    allowed = {action for one in statements for action in one["Action"]}
    assert allowed == {f"dynamodb:{one.operation}" for one in proxy.requests}


def test_a_policy_for_setup_and_check_is_enough(proxy: FaultProxy, prefix: str) -> None:
    """Tags need one more: nobody asks for it by its name."""

    def no_backups(request: ProxiedRequest) -> Decision:
        """Answer in place of an emulator that knows no point-in-time recovery."""
        if not request.operation.endswith("ContinuousBackups"):
            return None
        return Instead(200, b'{"ContinuousBackupsDescription": {}}')

    proxy.decide = no_backups
    options = DynamoOptions(endpoint=proxy.endpoint, point_in_time_recovery=True)
    with DynamoConversationStore(prefix, options) as store:
        store.setup()
        assert store.check() == [f"{store.table}: point-in-time recovery is off"]
    (statement,) = policy(prefix, Access.MANAGE)
    assert {f"dynamodb:{one.operation}" for one in proxy.requests} == set(statement["Action"])
    (tagged,) = policy(prefix, Access.MANAGE, "tags=team:memory")
    assert set(tagged["Action"]) - set(statement["Action"]) == {"dynamodb:TagResource"}


@pytest.mark.parametrize("user", HOSTILE)
def test_a_tenants_policy_opens_that_tenant_only(
    proxy: FaultProxy, store: DynamoConversationStore, table: str, user: str
) -> None:
    """C6: hostile and prefix ids; indexes included."""
    write(store, user)
    for other in HOSTILE:
        statements = policy(table, Access.WRITE, user_id=other)
        let_through = {allows(statements, one, store.table, "user_date") for one in proxy.requests}
        assert let_through == {other == user}


def test_a_policy_names_region_account_and_indexes() -> None:
    statements = policy(
        "p-", Access.READ, "region=eu-west-1&session_index=false", user_id="u", account="123"
    )
    arn = "arn:aws:dynamodb:eu-west-1:123:table/p-conversation-history-v2"
    assert [one["Resource"] for one in statements] == [[arn], [f"{arn}/index/UserTimeIndex"]]
    assert [one["Sid"] for one in statements] == ["Messages", "UserTimeIndex"]
    none = f"endpoint={quote('http://h')}&session_index=false&user_time_index=false"
    for user in ("u", None):
        (statement,) = policy("p-", Access.WRITE, none, user_id=user)
        assert statement["Resource"] == ["arn:aws:dynamodb:*:*:table/p-conversation-history-v2"]


def test_nobody_manages_tables_for_one_user() -> None:
    with pytest.raises(InvalidInputError, match="belong to all users"):
        policy("p-", Access.MANAGE, user_id="u")
    with pytest.raises(InvalidInputError):
        policy("p-", Access.READ, user_id="")
