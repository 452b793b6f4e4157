"""What OpenSearch says is wrong, as errors of ialstore; none quotes more than its type."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from ialstore.decoding import DAMAGE
from ialstore.errors import (
    AccessDeniedError,
    IalStoreError,
    Outcome,
    StorageFullError,
    StoreNotReadyError,
    ThrottledError,
    UnavailableError,
)

__all__ = ["JSON", "code_of", "failure", "outcome_of", "senseless", "sensibly"]

JSON = dict[str, Any]

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_LARGE, _TOO_MANY = 401, 403, 404, 413, 429
_SERVER_ERROR: Final = 500
_BLOCKED: Final = "cluster_block_exception"
_DISK_FULL: Final = f"{_BLOCKED}/12"
_BLOCK: Final = re.compile(r"(?:FORBIDDEN|SERVICE_UNAVAILABLE|TOO_MANY_REQUESTS)/(\d+)/")
_CODE: Final = re.compile(r"[a-z_]{1,80}")
_NOT_BEGUN: Final = frozenset(
    {
        "no_shard_available_action_exception",
        "process_cluster_event_timeout_exception",
        "unavailable_shards_exception",
    }
)
"""Errors of status 5xx of a request that the shard has not carried out."""


def code_of(error: Mapping[str, Any]) -> str:
    """Return the type of an error of a request or an item, with the number of a block."""
    kind = str(error.get("type"))
    if _CODE.fullmatch(kind) is None:
        return ""
    block = _BLOCK.search(str(error.get("reason"))) if kind == _BLOCKED else None
    return kind if block is None else f"{kind}/{block[1]}"


def failure(status: int, code: str, index: str, *, writes: bool) -> IalStoreError:
    """Return the error of ialstore for what OpenSearch says of a request, or of an item."""
    shown = f"{status} {code}".strip()
    if code == _DISK_FULL:
        return StorageFullError(f"OpenSearch takes no writes: its disks are full ({shown})")
    if code.startswith(_BLOCKED) or code in _NOT_BEGUN:
        return UnavailableError(f"{index} can't be used just now ({shown})", retryable=True)
    if status >= _SERVER_ERROR:
        return UnavailableError(
            f"OpenSearch failed ({shown})", retryable=True, outcome=outcome_of(writes=writes)
        )
    return _refusal(status, shown, index)


def _refusal(status: int, shown: str, index: str) -> IalStoreError:
    if status == _TOO_MANY:
        return ThrottledError(f"OpenSearch asks for a pause ({shown})", retryable=True)
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return AccessDeniedError(f"OpenSearch refused the caller ({shown})")
    if status == _NOT_FOUND:
        return StoreNotReadyError(f"{index} is not set up ({shown}); run ialstore setup")
    if status == _TOO_LARGE:
        return UnavailableError(f"the request is larger than OpenSearch allows ({shown})")
    return StoreNotReadyError(
        f"OpenSearch does not accept the call ({shown}): {index} may be of another layout; "
        "run ialstore check"
    )


def senseless(*, writes: bool) -> UnavailableError:
    """Return the error of an answer that is none."""
    return UnavailableError(
        "OpenSearch did not answer sensibly", retryable=True, outcome=outcome_of(writes=writes)
    )


@contextmanager
def sensibly(*, writes: bool = False) -> Generator[None]:
    """Take an answer of another form for none."""
    try:
        yield
    except DAMAGE as error:
        raise senseless(writes=writes) from error


def outcome_of(*, writes: bool) -> Outcome:
    """Return what became of a request that may have been carried out."""
    return Outcome.UNKNOWN if writes else Outcome.NOT_APPLIED
