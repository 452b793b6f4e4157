"""``setup`` and ``check``: the tables as they should be, and each difference from that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.session
import pytest

from ialstore import ConfigurationError, Message, StoreNotReadyError, UnavailableError
from ialstore.testing.proxy import FaultProxy, Instead, ProxiedRequest, Rewrite
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions

OptionsFor = Callable[..., DynamoOptions]


def client_of(server: RunningServer) -> Any:
    return botocore.session.Session().create_client(
        "dynamodb", region_name="us-east-1", endpoint_url=server.endpoint
    )


def say(content: str = "x") -> Message:
    return Message.new(user_id="u", session_id="s", role="user", content=content)


def test_nothing_is_created_unless_asked(server: RunningServer, prefix: str) -> None:
    """S15: `capabilities.needs_setup`."""
    with DynamoConversationStore(prefix, DynamoOptions(endpoint=server.endpoint)) as store:
        with pytest.raises(StoreNotReadyError, match="run ialstore setup"):
            store.append(say())
        assert store.check() == [f"{store.table} is not there; run ialstore setup"]
        store.setup()
        store.setup()
        assert store.check() == []
        assert store.append(say()).stored


@pytest.mark.parametrize("billing", ["on-demand", "provisioned"])
@pytest.mark.parametrize("indexes", [True, False])
def test_setup_asks_for_what_the_options_say(
    server: RunningServer,
    prefix: str,
    billing: Any,
    indexes: bool,  # noqa: FBT001 - a case
) -> None:
    options = DynamoOptions(
        endpoint=server.endpoint,
        billing=billing,
        read_units=7,
        write_units=3,
        user_time_index=indexes,
        session_index=indexes,
        deletion_protection=True,
        tags="team:memory",
    )
    with DynamoConversationStore(prefix, options) as store:
        store.setup()
        assert store.check() == []
        client = client_of(server)
        table = client.describe_table(TableName=store.table)["Table"]
        assert table["DeletionProtectionEnabled"] is True
        assert {one["IndexName"] for one in table.get("GlobalSecondaryIndexes", ())} == (
            {"UserTimeIndex", "SessionIndex"} if indexes else set()
        )
        if billing == "provisioned":
            assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 7
        ttl = client.describe_time_to_live(TableName=store.table)["TimeToLiveDescription"]
        assert ttl["AttributeName"] == "expires_at"
        if server.name == "dynamodb-local":
            return  # it keeps no tags
        tags = client.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
        assert tags == [{"Key": "team", "Value": "memory"}]


def test_check_names_each_difference(server: RunningServer, prefix: str) -> None:
    """S15: options such as spread included."""
    options = DynamoOptions(endpoint=server.endpoint, user_time_index=False)
    with DynamoConversationStore(prefix, options) as store:
        store.setup()
    other = DynamoOptions(
        endpoint=server.endpoint,
        session_index=False,
        spread=4,
        billing="provisioned",
        deletion_protection=True,
        kms_key="alias/mine",
    )
    with DynamoConversationStore(prefix, other) as store:
        assert [line.removeprefix(f"{store.table}: ") for line in store.check()] == [
            "spread is 1, not 4",
            "index SessionIndex is there, though the options switch it off",
            "index UserTimeIndex is missing",
            "billing is PAY_PER_REQUEST, not PROVISIONED",
            "it is not protected from being deleted",
            "it is not encrypted with a key of your own",
        ]


def test_a_table_of_others_is_not_ours(server: RunningServer, prefix: str) -> None:
    """S15, A12: another key schema, other projections, no expiry."""
    store = DynamoConversationStore(prefix, DynamoOptions(endpoint=server.endpoint))
    index = {
        "IndexName": "UserTimeIndex",
        "KeySchema": [{"AttributeName": "timestamp", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }
    client_of(server).create_table(
        TableName=store.table,
        KeySchema=[
            {"AttributeName": "user_date", "KeyType": "HASH"},
            {"AttributeName": "timestamp_type", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "user_date", "AttributeType": "S"},
            {"AttributeName": "timestamp_type", "AttributeType": "S"},
            {"AttributeName": "timestamp", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[index],
    )
    with store:
        found = [line.removeprefix(f"{store.table}: ") for line in store.check()]
    projected = "INCLUDE content_summary, expires_at, role, session_id, tokens"
    assert found == [
        "it was not set up by ialstore; run ialstore setup",
        "timestamp has type N, not S",
        "index SessionIndex is missing",
        "index UserTimeIndex has the keys timestamp HASH, not user_id HASH, timestamp RANGE",
        f"index UserTimeIndex projects KEYS_ONLY, not {projected}",
        "expiry follows no attribute, not expires_at",
    ]


def test_a_table_with_other_keys_is_named_and_refused(server: RunningServer, prefix: str) -> None:
    """A12: another key schema."""
    store = DynamoConversationStore(
        prefix,
        DynamoOptions(endpoint=server.endpoint, user_time_index=False, session_index=False),
    )
    client_of(server).create_table(
        TableName=store.table,
        KeySchema=[{"AttributeName": "user_date", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "user_date", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with store:
        with pytest.raises(StoreNotReadyError, match="run ialstore check"):
            store.append(say())
        assert store.check()[0] == (
            f"{store.table}: its keys are user_date HASH, not user_date HASH, timestamp_type RANGE"
        )


def test_a_newer_format_is_refused(server: RunningServer, prefix: str) -> None:
    """S15: a store whose format is newer than the library is refused."""
    with DynamoConversationStore(prefix, DynamoOptions(endpoint=server.endpoint)) as store:
        store.setup()
        client_of(server).update_item(
            TableName=store.table,
            Key={"user_date": {"S": "#"}, "timestamp_type": {"S": "layout"}},
            UpdateExpression="SET #f = :n",
            ExpressionAttributeNames={"#f": "format"},
            ExpressionAttributeValues={":n": {"N": "99"}},
        )
        with pytest.raises(StoreNotReadyError, match="newer than this library"):
            store.check()


def test_another_spread_is_noticed_before_anything_is_missed(
    server: RunningServer, prefix: str
) -> None:
    """C5: a table read with another spread would look empty."""
    plain = DynamoConversationStore(prefix, DynamoOptions(endpoint=server.endpoint))
    spread = DynamoConversationStore(prefix, DynamoOptions(endpoint=server.endpoint, spread=4))
    with plain, spread:
        plain.setup()
        plain.append(say())
        calls: list[Callable[[], object]] = [
            lambda: spread.append(say()),
            lambda: spread.history("u"),
            lambda: spread.history("u", session_id="s"),
            lambda: spread.sessions("u"),
        ]
        for call in calls:
            with pytest.raises(ConfigurationError, match="another spread than 4"):
                call()


# -- what the emulators don't do ------------------------------------------------------------------


def test_point_in_time_recovery_is_switched_on_and_compared(
    dynoxide: RunningServer, prefix: str
) -> None:
    is_on = False
    asked: list[Any] = []

    def decide(request: ProxiedRequest) -> Instead | None:
        nonlocal is_on
        if request.operation == "UpdateContinuousBackups":
            asked.append(request.json())
            is_on = True
        if request.operation in ("UpdateContinuousBackups", "DescribeContinuousBackups"):
            status = b"ENABLED" if is_on else b"DISABLED"
            return Instead(
                200,
                b'{"ContinuousBackupsDescription": {"ContinuousBackupsStatus": "ENABLED", '
                b'"PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "%s"}}}' % status,
            )
        return None

    with FaultProxy(dynoxide.port, decide) as proxy:
        options = DynamoOptions(endpoint=proxy.endpoint, point_in_time_recovery=True)
        with DynamoConversationStore(prefix, options) as store:
            store.setup()
            assert store.check() == []
            store.setup()
            is_on = False
            assert store.check() == [f"{store.table}: point-in-time recovery is off"]
    assert [one["PointInTimeRecoverySpecification"] for one in asked] == [
        {"PointInTimeRecoveryEnabled": True}
    ]


def test_setup_waits_until_the_indexes_are_active(dynoxide: RunningServer, prefix: str) -> None:
    """A12: an index that is still building."""
    described = 0

    def creating(body: bytes) -> bytes:
        nonlocal described
        described += 1
        if described > 2:
            return body
        return body.replace(b'"IndexStatus":"ACTIVE"', b'"IndexStatus":"CREATING"')

    def decide(request: ProxiedRequest) -> Rewrite | None:
        return Rewrite(reply=creating) if request.operation == "DescribeTable" else None

    with FaultProxy(dynoxide.port, decide) as proxy:
        options = DynamoOptions(endpoint=proxy.endpoint)
        with DynamoConversationStore(prefix, options) as store:
            store.setup()
            assert described > 2
            described = 1
            assert store.check() == [
                f"{store.table}: index {name} is CREATING"
                for name in ("SessionIndex", "UserTimeIndex")
            ]


def test_two_that_set_up_at_once_do_not_fail(dynoxide: RunningServer, prefix: str) -> None:
    """S15: idempotent, also when another was quicker by a moment."""
    with DynamoConversationStore(prefix, DynamoOptions(endpoint=dynoxide.endpoint)) as store:
        store.setup()
    missing = Instead.error("ResourceNotFoundException")
    asked = 0

    def decide(request: ProxiedRequest) -> Instead | None:
        nonlocal asked
        asked += request.operation == "DescribeTable"
        return missing if request.operation == "DescribeTable" and asked == 1 else None

    with FaultProxy(dynoxide.port, decide) as proxy:
        options = DynamoOptions(endpoint=proxy.endpoint)
        with DynamoConversationStore(prefix, options) as store:
            store.setup()
            assert store.check() == []


def test_a_table_being_made_is_told(dynoxide: RunningServer, prefix: str) -> None:
    def decide(request: ProxiedRequest) -> Rewrite | None:
        if request.operation != "DescribeTable":
            return None
        return Rewrite(
            reply=lambda body: body.replace(b'"TableStatus":"ACTIVE"', b'"TableStatus":"UPDATING"')
        )

    with DynamoConversationStore(prefix, DynamoOptions(endpoint=dynoxide.endpoint)) as store:
        store.setup()
    with FaultProxy(dynoxide.port, decide) as proxy:
        options = DynamoOptions(endpoint=proxy.endpoint)
        with DynamoConversationStore(prefix, options) as store:
            assert store.check() == [f"{store.table}: it is UPDATING"]


def test_a_failure_to_create_is_told(dynoxide: RunningServer, prefix: str) -> None:
    def decide(request: ProxiedRequest) -> Instead | None:
        if request.operation == "CreateTable":
            return Instead.error("SomethingElseException")
        return None

    with FaultProxy(dynoxide.port, decide) as proxy:
        options = DynamoOptions(endpoint=proxy.endpoint, kms_key="alias/mine")
        with (
            DynamoConversationStore(prefix, options) as store,
            pytest.raises(UnavailableError, match="SomethingElseException"),
        ):
            store.setup()
        created = next(one for one in proxy.requests if one.operation == "CreateTable").json()
        assert created["SSESpecification"] == {
            "Enabled": True,
            "SSEType": "KMS",
            "KMSMasterKeyId": "alias/mine",
        }
