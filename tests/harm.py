"""What goes wrong between a client and any service that is asked by HTTP."""

from __future__ import annotations

from collections.abc import Callable

from ialstore import UnavailableError
from ialstore.testing.proxy import (
    Corrupt,
    Decision,
    Instead,
    ProxiedRequest,
    ResetAfter,
    ResetBefore,
    Truncate,
)

__all__ = ["OF_THE_WIRE", "failing"]

OF_THE_WIRE: list[tuple[Decision, type[Exception]]] = [
    (Instead(503, b"busy", "text/plain"), UnavailableError),
    (Instead(200, b"<html>hello</html>", "text/html"), UnavailableError),
    (ResetBefore(), UnavailableError),
    (ResetAfter(), UnavailableError),
    (Truncate(), UnavailableError),
    (Truncate(0.0), UnavailableError),
    (Corrupt(), UnavailableError),
]
"""What comes in place of a reply, and the error that it is."""


def failing(
    decision: Decision, part: str = "", times: int = 1 << 30
) -> Callable[[ProxiedRequest], Decision]:
    """Return what lets the next requests fail of an operation, or whose path has a part."""
    left = times

    def decide(request: ProxiedRequest) -> Decision:
        nonlocal left
        is_meant = part in ("", request.operation) or (
            not request.operation and part in request.path
        )
        if left and is_meant:
            left -= 1
            return decision
        return None

    return decide
