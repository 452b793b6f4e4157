"""What IAM would say to a request, for the tests of every table's policy."""

from __future__ import annotations

import re
from typing import Any

from ialstore.testing.proxy import ProxiedRequest


def matches(pattern: str, text: str) -> bool:
    """Return what StringLike of IAM answers."""
    parts = re.findall(r"\$\{[*?$]\}|[*?]|[^*?]", pattern, re.DOTALL)
    read = {"*": ".*", "?": "."}
    regex = "".join(read.get(one) or re.escape(one[2] if len(one) > 1 else one) for one in parts)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def keys(request: ProxiedRequest, table: str, partition_key: str) -> set[str]:
    """Return the partition keys of a request."""
    body = request.json()
    if "RequestItems" in body:
        asked = body["RequestItems"][table]
        if isinstance(asked, dict):
            return {one[partition_key]["S"] for one in asked["Keys"]}
        rows = [next(iter(next(iter(one.values())).values())) for one in asked]
        return {row[partition_key]["S"] for row in rows}
    if "TransactItems" in body:
        parts = [part for one in body["TransactItems"] for part in one.values()]
        return {part.get("Key", part.get("Item"))[partition_key]["S"] for part in parts}
    if request.operation == "Query":
        return {body["ExpressionAttributeValues"][":p"]["S"]}
    return {body.get("Key", body.get("Item"))[partition_key]["S"]}


def operations(request: ProxiedRequest) -> set[str]:
    """Return what has to be allowed; of a transaction, its parts."""
    if request.operation != "TransactWriteItems":
        return {request.operation}
    return {f"{name}Item" for one in request.json()["TransactItems"] for name in one}


def allows(
    statements: list[dict[str, Any]], request: ProxiedRequest, table: str, partition_key: str
) -> bool:
    """Return whether a policy lets a request through."""
    index = request.json().get("IndexName") if request.body else None
    resource = f"table/{table}" + (f"/index/{index}" if index else "")
    for one in statements:
        if not {f"dynamodb:{name}" for name in operations(request)} <= set(one["Action"]):
            continue
        if not any(arn.endswith(f":{resource}") for arn in one["Resource"]):
            continue
        if "Condition" not in one:
            return True
        (pattern,) = one["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        if all(matches(pattern, key) for key in keys(request, table, partition_key)):
            return True
    return False
