"""Making a table and comparing it with what is expected, whatever it holds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from ialstore.errors import StoreNotReadyError, UnavailableError
from ialstore_backends.dynamodb.table import LAYOUT_PARTITION, ConditionFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pynamodb.models import Model

    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.client import DynamoClient
    from ialstore_backends.dynamodb.options import TableOptions

__all__ = ["FORMAT", "Schema", "table_definition"]

FORMAT: Final = 1
"""Of rows and keys; a table with a higher one was written by a newer library."""

TTL_ATTRIBUTE: Final = "expires_at"
_LAYOUT_KEY: Final = (LAYOUT_PARTITION, "layout")
_BILLING: Final = {"on-demand": "PAY_PER_REQUEST", "provisioned": "PROVISIONED"}
_ACTIVE: Final = "ACTIVE"
_NOTHING: Final[Mapping[str, int | str]] = {}
_GLOBAL: Final = "GlobalSecondaryIndexes"
_LOCAL: Final = "LocalSecondaryIndexes"
_VECTOR: Final = "VectorIndexes"
_POLL_SECONDS: Final = 0.5


def table_definition(model: type[Model]) -> dict[str, Any]:
    """Return keys and indexes of a model, as ``CreateTable`` takes them."""
    schema: Any = model._get_schema()  # noqa: SLF001 - the one definition; a test guards it
    definition: dict[str, Any] = {
        "TableName": model.Meta.table_name,
        "KeySchema": _keys(schema["key_schema"]),
        "AttributeDefinitions": _attributes(schema["attribute_definitions"]),
    }
    for kind, indexes in (
        (_GLOBAL, schema["global_secondary_indexes"]),
        (_LOCAL, schema["local_secondary_indexes"]),
    ):
        if indexes:
            definition[kind] = [
                {
                    "IndexName": one["index_name"],
                    "KeySchema": _keys(one["key_schema"]),
                    "Projection": one["projection"],
                }
                for one in indexes
            ]
    return definition


class Schema:
    """Makes a table and compares it with what is expected.

    A row beside those of users says how the table is laid out.

    Args:
        client: sends the requests.
        model: of the table; its attributes hold those of the row, too.
        options: what ``setup`` asks for.
        layout: what the row says besides ``format``; checked are numbers and texts that stand
            here.
        vector_index: as ``CreateTable`` takes it; what it filters by are texts.
    """

    def __init__(
        self,
        client: DynamoClient,
        model: type[Model],
        options: TableOptions,
        layout: Mapping[str, int | str],
        vector_index: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = client
        self._definition = table_definition(model)
        if vector_index is not None:
            self._definition[_VECTOR] = [dict(vector_index)]
            self._definition["AttributeDefinitions"] = _attributes(
                [
                    *self._definition["AttributeDefinitions"],
                    *(
                        {"AttributeName": one["AttributeName"], "AttributeType": "S"}
                        for one in vector_index["SearchSchema"]
                    ),
                ]
            )
        self._table: str = self._definition["TableName"]
        self._options = options
        self._layout = layout
        names = [one["AttributeName"] for one in self._definition["KeySchema"]]
        self._key = {name: {"S": value} for name, value in zip(names, _LAYOUT_KEY, strict=True)}

    # -- setup ----------------------------------------------------------------------------------

    def create(self, op: Operation, beside: Mapping[str, int | str] = _NOTHING) -> None:
        """Create what is missing and wait until it can be used; changes nothing that is there.

        Args:
            op: the running call.
            beside: what the row of the layout is to say besides what is checked.
        """
        if self._described(op) is None:
            try:
                self._call(op, "CreateTable", {**self._definition, **self._wanted()})
            except UnavailableError:
                if self._described(op) is None:  # nobody else was quicker
                    raise
            except StoreNotReadyError as error:
                why = (
                    "; not every service has vector indexes" if _VECTOR in self._definition else ""
                )
                raise StoreNotReadyError(
                    f"DynamoDB does not accept the definition of {self._table}{why}"
                ) from error
        self._await_active(op)
        if self._ttl(op) is None:
            self._call(
                op,
                "UpdateTimeToLive",
                {"TimeToLiveSpecification": {"Enabled": True, "AttributeName": TTL_ATTRIBUTE}},
            )
        if self._options.point_in_time_recovery and not self._recovers(op):
            self._call(
                op,
                "UpdateContinuousBackups",
                {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}},
            )
        with contextlib.suppress(ConditionFailedError):  # it is there
            self._call(
                op,
                "PutItem",
                {
                    "Item": {
                        **self._key,
                        "format": {"N": str(FORMAT)},
                        **{
                            name: _stored(value)
                            for name, value in {**self._layout, **beside}.items()
                        },
                    },
                    "ConditionExpression": f"attribute_not_exists({next(iter(self._key))})",
                },
            )

    def _wanted(self) -> dict[str, Any]:
        options = self._options
        wanted: dict[str, Any] = {"BillingMode": _BILLING[options.billing]}
        if options.billing == "provisioned":
            wanted["ProvisionedThroughput"] = throughput = {
                "ReadCapacityUnits": options.read_units,
                "WriteCapacityUnits": options.write_units,
            }
            if _GLOBAL in self._definition:
                wanted[_GLOBAL] = [
                    {**one, "ProvisionedThroughput": throughput}
                    for one in self._definition[_GLOBAL]
                ]
        if options.deletion_protection:
            wanted["DeletionProtectionEnabled"] = True
        if options.kms_key:
            wanted["SSESpecification"] = {
                "Enabled": True,
                "SSEType": "KMS",
                "KMSMasterKeyId": options.kms_key,
            }
        if tags := options.tag_pairs():
            wanted["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
        return wanted

    def _await_active(self, op: Operation) -> None:
        while True:
            op.renew()
            found = self._described(op) or {}
            states = [found.get("TableStatus")]
            states += [
                one["IndexStatus"] for kind in (_GLOBAL, _VECTOR) for one in found.get(kind, ())
            ]
            if all(state == _ACTIVE for state in states):
                return
            time.sleep(min(_POLL_SECONDS, op.remaining()))

    # -- check ----------------------------------------------------------------------------------

    def differences(self, op: Operation) -> list[str]:
        """Return one sentence for each difference between the table and what is expected.

        Raises:
            StoreNotReadyError: its format is newer than this library.
        """
        found = self._described(op)
        if found is None:
            return [f"{self._table} is not there; run ialstore setup"]
        of_keys = list(self._of_keys(found))
        # With other keys it can't be read.
        layout = () if of_keys else self.of_layout(self.layout(op))
        differences = [
            *layout,
            *of_keys,
            *self._of_kinds(found),
            *self._of_indexes(found),
            *self._of_settings(op, found),
        ]
        return [f"{self._table}: {difference}" for difference in differences]

    def layout(self, op: Operation) -> dict[str, int | str] | None:
        """Return what the row of the layout says, or None where there is none.

        Raises:
            StoreNotReadyError: its format is newer than this library, or there is no table.
        """
        row = self._call(op, "GetItem", {"Key": self._key, "ConsistentRead": True}).get("Item")
        if row is None:
            return None
        if int(row["format"]["N"]) > FORMAT:
            raise StoreNotReadyError(
                f"{self._table} has format {row['format']['N']}, newer than this library's "
                f"{FORMAT}; upgrade ialstore"
            )
        return {
            name: int(value["N"]) if "N" in value else str(value["S"])
            for name, value in row.items()
            if name not in self._key
        }

    def of_layout(self, found: Mapping[str, int | str] | None) -> Iterator[str]:
        """Yield how a row of the layout differs from what is expected."""
        if found is None:
            yield "it was not set up by ialstore; run ialstore setup"
            return
        for name, value in self._layout.items():
            if found.get(name) != value:
                yield f"{name} is {found.get(name)}, not {value}"

    def _of_keys(self, found: dict[str, Any]) -> Iterator[str]:
        wanted = _shown_keys(self._definition["KeySchema"])
        if _shown_keys(found["KeySchema"]) != wanted:
            yield f"its keys are {_shown_keys(found['KeySchema'])}, not {wanted}"

    def _of_kinds(self, found: dict[str, Any]) -> Iterator[str]:
        kinds = {
            one["AttributeName"]: one["AttributeType"] for one in found["AttributeDefinitions"]
        }
        for one in self._definition["AttributeDefinitions"]:
            name, kind = one["AttributeName"], one["AttributeType"]
            if kinds.get(name, kind) != kind:
                yield f"{name} has type {kinds[name]}, not {kind}"

    def _of_indexes(self, found: dict[str, Any]) -> Iterator[str]:
        there, wanted = _indexes(found), _indexes(self._definition)
        for name in sorted(there.keys() - wanted.keys()):
            yield f"index {name} is there, though the options switch it off"
        for name in sorted(wanted.keys() - there.keys()):
            yield f"index {name} is missing"
        for name in sorted(wanted.keys() & there.keys()):
            one, other = wanted[name], there[name]
            if _shown_index(other) != _shown_index(one):
                what = "the keys " if "KeySchema" in other else ""
                yield f"index {name} has {what}{_shown_index(other)}, not {_shown_index(one)}"
            if _projection(other) != _projection(one):
                yield f"index {name} projects {_projection(other)}, not {_projection(one)}"
            if other.get("IndexStatus", _ACTIVE) != _ACTIVE:
                yield f"index {name} is {other['IndexStatus']}"

    def _of_settings(self, op: Operation, found: dict[str, Any]) -> Iterator[str]:
        options = self._options
        billing = found.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
        if billing != _BILLING[options.billing]:
            yield f"billing is {billing}, not {_BILLING[options.billing]}"
        if found["TableStatus"] != _ACTIVE:
            yield f"it is {found['TableStatus']}"
        ttl = self._ttl(op)
        if ttl != TTL_ATTRIBUTE:
            yield f"expiry follows {ttl or 'no attribute'}, not {TTL_ATTRIBUTE}"
        if options.deletion_protection and not found.get("DeletionProtectionEnabled"):
            yield "it is not protected from being deleted"
        if options.kms_key and found.get("SSEDescription", {}).get("SSEType") != "KMS":
            yield "it is not encrypted with a key of your own"
        if options.point_in_time_recovery and not self._recovers(op):
            yield "point-in-time recovery is off"

    # -- asking ---------------------------------------------------------------------------------

    def _described(self, op: Operation) -> dict[str, Any] | None:
        try:
            return cast("dict[str, Any]", self._call(op, "DescribeTable", {})["Table"])
        except StoreNotReadyError:
            return None

    def _ttl(self, op: Operation) -> str | None:
        told = self._call(op, "DescribeTimeToLive", {}).get("TimeToLiveDescription", {})
        is_on = told.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        return told.get("AttributeName") if is_on else None

    def _recovers(self, op: Operation) -> bool:
        told = self._call(op, "DescribeContinuousBackups", {})["ContinuousBackupsDescription"]
        recovery = told.get("PointInTimeRecoveryDescription", {})
        return bool(recovery.get("PointInTimeRecoveryStatus") == "ENABLED")

    def _call(self, op: Operation, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        op.renew()
        return self._client.call(op, operation, {"TableName": self._table, **params})


def _stored(value: int | str) -> dict[str, str]:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def _shown_keys(schema: Iterable[Mapping[str, str]]) -> str:
    return ", ".join(f"{one['AttributeName']} {one['KeyType']}" for one in _keys(schema))


def _indexes(table: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the indexes of a table, of whatever kind, by name."""
    return {
        one["IndexName"]: one for kind in (_GLOBAL, _LOCAL, _VECTOR) for one in table.get(kind, ())
    }


def _shown_index(index: Mapping[str, Any]) -> str:
    """Return what an index is made of, besides what it projects."""
    if "KeySchema" in index:
        return _shown_keys(index["KeySchema"])
    filters = ", ".join(
        f"{one['AttributeName']} {one['SearchSchemaElementType']}"
        for one in index.get("SearchSchema", ())
    )
    return (
        f"{index['Dimensions']} numbers of {index['VectorAttribute']['AttributeName']} by "
        f"{index['DistanceFunction']}, with {filters or 'no filters'}"
    )


def _projection(index: Mapping[str, Any]) -> str:
    projection = index["Projection"]
    names = ", ".join(sorted(projection.get("NonKeyAttributes", ())))
    return f"{projection['ProjectionType']} {names}".strip()


def _keys(schema: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return a key schema, the partition key first, as DynamoDB asks."""
    return [
        {"AttributeName": one["AttributeName"], "KeyType": one["KeyType"]}
        for one in sorted(schema, key=lambda one: one["KeyType"])
    ]


def _attributes(definitions: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    by_name = {one["AttributeName"]: one["AttributeType"] for one in definitions}
    return [
        {"AttributeName": name, "AttributeType": kind} for name, kind in sorted(by_name.items())
    ]
