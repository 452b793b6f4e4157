"""What goes wrong between a client and DynamoDB, for the tests of every table."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ialstore import AccessDeniedError, StoreNotReadyError, ThrottledError, UnavailableError
from ialstore.testing.proxy import (
    Decision,
    Instead,
    ProxiedRequest,
    Rewrite,
)
from tests.harm import OF_THE_WIRE

FAULTS: list[tuple[Decision, type[Exception]]] = [
    *OF_THE_WIRE,
    (Instead.error("ProvisionedThroughputExceededException"), ThrottledError),
    (Instead.error("ThrottlingException"), ThrottledError),
    (Instead.error("InternalServerError", 500), UnavailableError),
    (Instead(200, b"[1]"), UnavailableError),
    (Instead.error("AccessDeniedException"), AccessDeniedError),
    (Instead.error("ExpiredTokenException"), AccessDeniedError),
    (Instead.error("UnrecognizedClientException"), AccessDeniedError),
    (Instead.error("ResourceNotFoundException"), StoreNotReadyError),
    (Instead.error("ValidationException"), StoreNotReadyError),
    (Instead.error("SomethingNewException"), UnavailableError),
]
"""What comes in place of a reply, and the error that it is."""


def half(request: bytes, kind: str) -> tuple[bytes, list[Any]]:
    """Return a batch request of which half is kept back, and that half."""
    body = json.loads(request)
    ((table, asked),) = body["RequestItems"].items()
    wanted = asked["Keys"] if kind == "Keys" else asked
    kept, left = wanted[: len(wanted) // 2], wanted[len(wanted) // 2 :]
    body["RequestItems"][table] = {**asked, "Keys": kept} if kind == "Keys" else kept
    return json.dumps(body).encode(), left


def unprocessed(kind: str, times: int) -> Callable[[ProxiedRequest], Decision]:
    """Return what leaves half of a batch undone, so many times."""
    left = times

    def decide(request: ProxiedRequest) -> Decision:
        nonlocal left
        operation = "BatchGetItem" if kind == "Keys" else "BatchWriteItem"
        if request.operation != operation or not left or len(request.body) < 300:
            return None
        left -= 1
        changed, kept_back = half(request.body, kind)
        ((table, asked),) = request.json()["RequestItems"].items()

        def answer(reply: bytes) -> bytes:
            told = json.loads(reply)
            if kind == "Keys":
                told["UnprocessedKeys"] = {table: {**asked, "Keys": kept_back}}
            else:
                told["UnprocessedItems"] = {table: kept_back}
            return json.dumps(told).encode()

        return Rewrite(lambda _: changed, answer)

    return decide
