"""Checks of single values: texts, JSON and times. Everything raises ``InvalidInputError``.

The rules of whole messages and records are in ``model``.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ialstore.errors import InvalidInputError, LimitExceededError
from ialstore.limits import MAX_INTEGER_DIGITS

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MICROSECONDS: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
"""The last microsecond of year 9999."""

_MIN_SECONDS: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(seconds=1)
_INTEGER_BOUND: Final = 10**MAX_INTEGER_DIGITS
compact_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""Returns the JSON text of a value that was checked before."""
_encode_sorted = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
).encode


def check_text(value: object, what: str, *, at_most: int | None = None) -> int:
    """Return the length in UTF-8 bytes of a text that can be stored.

    Raises:
        InvalidInputError: not a ``str``, or it holds a lone surrogate.
        LimitExceededError: longer than ``at_most`` bytes.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{what} must be a str, not {type(value).__name__}")
    if value.isascii():
        size = len(value)
    else:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise InvalidInputError(
                f"{what} holds a lone surrogate, which no UTF-8 text can hold"
            ) from None
    if at_most is not None and size > at_most:
        raise LimitExceededError(f"{what} has {size:,} bytes, more than {at_most:,}")
    return size


def check_int(value: object, what: str, *, at_least: int, at_most: int) -> None:
    """Refuse what is not an ``int`` from ``at_least`` to ``at_most``."""
    if type(value) is not int:
        raise InvalidInputError(f"{what} must be an int, not {type(value).__name__}")
    if value > at_most:
        raise LimitExceededError(f"{what} must be at most {at_most:,}")
    if value < at_least:
        raise InvalidInputError(f"{what} must be at least {at_least:,}")


def json_text(value: Any, what: str, *, max_depth: int, max_bytes: int) -> tuple[str, int]:
    """Return compact JSON text, keys in their order, and its length in UTF-8 bytes.

    Only plain ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool`` and ``None`` are JSON here:
    what a subclass adds would be lost on the way through a store.

    Raises:
        InvalidInputError: another type, a key that is no ``str``, a float that is not finite, a
            lone surrogate.
        LimitExceededError: too deep, too long, or an integer of more than 100 digits.
    """
    level: list[Any] = []
    size = _check_children((value,), what, level) - 2
    depth = 0
    # Sizes are no more than those of the text, counted before it is made: what holds the same
    # value often, or itself, is refused before it unfolds.
    while level:
        depth += 1
        if depth > max_depth:
            raise LimitExceededError(f"{what} is nested more than {max_depth} deep")
        deeper: list[Any] = []
        for node in level:
            size += _check_children(node, what, deeper)
            if size > max_bytes:
                raise LimitExceededError(f"{what} is longer than {max_bytes:,} bytes")
        level = deeper
    text = compact_json(value)
    return text, check_text(text, what, at_most=max_bytes)


def _check_children(node: Any, what: str, deeper: list[Any]) -> int:
    """Check the keys and children of a container; add those that have children to ``deeper``.

    Returns:
        The characters of keys and texts, and two for each child: a digit and a separator.
    """
    size = 2 * len(node)
    children = node
    container: type[Any] = type(node)  # pyright: ignore[reportUnknownVariableType]  # of any value
    if container is dict:
        children = node.values()
        for key in node:
            if type(key) is not str:
                raise InvalidInputError(
                    f"{what} has a key of type {type(key).__name__}; JSON keys are str"
                )
            size += len(key)
    for child in children:
        kind: type[Any] = type(child)  # pyright: ignore[reportUnknownVariableType]  # of any value
        if kind is str:
            size += len(child)
        elif kind is dict or kind is list:
            deeper.append(child)
        elif child is not None and kind is not bool:
            _check_number(child, kind, what)
    return size


def _check_number(value: Any, kind: type[Any], what: str) -> None:
    if kind is int:
        if not -_INTEGER_BOUND < value < _INTEGER_BOUND:
            raise LimitExceededError(
                f"{what} holds an integer of more than {MAX_INTEGER_DIGITS} digits"
            )
    elif kind is not float:
        raise InvalidInputError(
            f"{what} holds a {kind.__name__}, which is not JSON; "
            "use dict, list, str, int, float, bool or None"
        )
    elif not math.isfinite(value):
        raise InvalidInputError(f"{what} holds a float that is not finite")


def sorted_json(value: dict[str, Any]) -> str:
    """Return compact JSON text with keys sorted at every level, of a value already checked."""
    return _encode_sorted(value)


def to_microseconds(value: object, what: str) -> int:
    """Return microseconds since 1970 of a timezone-aware time; negative before it.

    Raises:
        InvalidInputError: no ``datetime``, or a naive one.
    """
    if not isinstance(value, datetime):
        raise InvalidInputError(f"{what} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidInputError(f"{what} must be timezone-aware; use for example datetime.now(UTC)")
    passed = value - EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def from_microseconds(microseconds: int) -> datetime:
    """Return the UTC time so many microseconds after 1970 began."""
    return EPOCH + timedelta(microseconds=microseconds)


def from_seconds(seconds: int) -> datetime:
    """Return the UTC time so many seconds after 1970 began."""
    return EPOCH + timedelta(seconds=seconds)


def ceil_seconds(value: object, what: str) -> int:
    """Return seconds since 1970, rounded up, of a timezone-aware time; negative before it."""
    seconds = -(-to_microseconds(value, what) // 1_000_000)
    if not _MIN_SECONDS <= seconds <= MAX_MICROSECONDS // 1_000_000:
        raise InvalidInputError(f"{what} must lie between the years 1 and 9999, in UTC")
    return seconds
