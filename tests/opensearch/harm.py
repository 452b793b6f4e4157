"""What goes wrong between an index and OpenSearch."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ialstore import (
    AccessDeniedError,
    StorageFullError,
    StoreNotReadyError,
    ThrottledError,
    UnavailableError,
)
from ialstore.testing.proxy import (
    Decision,
    Instead,
    ProxiedRequest,
    Rewrite,
)
from tests.harm import OF_THE_WIRE

SECRET = "what nobody may read"  # noqa: S105 - a text that is stored


def refusal(status: int, kind: str, reason: str = SECRET) -> Instead:
    """Return an error as OpenSearch tells it, which quotes what is stored."""
    error = {"root_cause": [{"type": kind, "reason": reason}], "type": kind, "reason": reason}
    told = json.dumps({"error": error, "status": status})
    return Instead(status, told.encode(), "application/json; charset=UTF-8")


def blocked(number: int) -> Instead:
    return refusal(403, "cluster_block_exception", f"index [x] blocked by: [FORBIDDEN/{number}/x];")


FAULTS: list[tuple[Decision, type[Exception]]] = [
    *OF_THE_WIRE,
    (refusal(429, "es_rejected_execution_exception"), ThrottledError),
    (refusal(429, "circuit_breaking_exception"), ThrottledError),
    (refusal(503, "unavailable_shards_exception"), UnavailableError),
    (refusal(503, "search_phase_execution_exception"), UnavailableError),
    (refusal(500, "Some Thing New"), UnavailableError),
    (Instead(301, b"", "text/plain"), StoreNotReadyError),
    (Instead(200, b"[1]", "application/json"), UnavailableError),
    (Instead(200, b"{}", "application/json"), UnavailableError),
    (Instead(200, b"\xff", "application/json"), UnavailableError),
    (Instead(200, b"", "application/json"), UnavailableError),
    (refusal(401, "security_exception"), AccessDeniedError),
    (Instead(403, b'{"message": "expired"}', "application/json"), AccessDeniedError),
    (Instead(403, b'{"error": "a text"}', "application/json"), AccessDeniedError),
    (refusal(404, "index_not_found_exception"), StoreNotReadyError),
    (refusal(400, "illegal_argument_exception"), StoreNotReadyError),
    (refusal(413, "too_large"), UnavailableError),
    (blocked(12), StorageFullError),
    (blocked(8), UnavailableError),
]
"""What comes in place of a reply, and the error that it is."""


def changed(path: str, change: Callable[[Any], None]) -> Callable[[ProxiedRequest], Decision]:
    """Return what changes the JSON of the replies to requests whose path has a part."""

    def rewrite(body: bytes) -> bytes:
        told = json.loads(body)
        change(told)
        return json.dumps(told).encode()

    return lambda request: Rewrite(reply=rewrite) if path in request.path else None


def mixed(statuses: dict[int, tuple[int, str]]) -> Callable[[ProxiedRequest], Decision]:
    """Return what lets items of bulk requests fail, by their place, with a status and a type."""

    def change(told: Any) -> None:
        for place, (status, kind) in statuses.items():
            if place < len(told["items"]):
                (item,) = told["items"][place].values()
                item["status"] = status
                item["error"] = {"type": kind, "reason": SECRET}
        told["errors"] = True

    return changed("_bulk", change)
