"""How many bytes DynamoDB counts for an item, by its published rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ialstore_backends.dynamodb.table import Item

__all__ = ["OVERHEAD_BYTES", "PAGE_BYTES", "item_bytes", "rows_of_pages"]

OVERHEAD_BYTES: Final = 100
"""Billed for keeping an item, or an entry of an index, beside its own bytes."""
PAGE_BYTES: Final = 1 << 20
"""At which a query ends, to be continued by another."""


def item_bytes(item: Item, *, is_wire: bool = False) -> int:
    """Return the bytes of names and values of an item.

    Args:
        item: its attributes.
        is_wire: binary values are base64 texts, as a reply has them, and not bytes.
    """
    return sum(len(name.encode()) + _value_bytes(value, is_wire) for name, value in item.items())


def rows_of_pages(count: int, size: int) -> list[int]:
    """Return how many of so many rows of one size each page of a query holds; at least one page."""
    most = max(1, PAGE_BYTES // size)
    return [min(most, count - first) for first in range(0, count, most)] or [0]


def _value_bytes(value: dict[str, Any], is_wire: bool) -> int:  # noqa: FBT001 - handed down
    ((kind, held),) = value.items()
    if kind == "S":
        return len(held.encode())
    if kind == "B":
        return _binary_bytes(held, is_wire)
    if kind == "BS":
        return sum(_binary_bytes(one, is_wire) for one in held)
    if kind == "N":
        return _number_bytes(held)
    return 1  # BOOL; the tables hold no other kinds


def _binary_bytes(held: Any, is_wire: bool) -> int:  # noqa: FBT001 - handed down
    return len(held) // 4 * 3 - held[-2:].count("=") if is_wire else len(held)


def _number_bytes(text: str) -> int:
    """Return 1 and half the significant digits, rounded up for the whole and the fraction."""
    digits = text.lstrip("-")
    whole, _, fraction = digits.partition(".")
    whole = whole.lstrip("0")
    if not fraction:
        whole = whole.rstrip("0")
    fraction = fraction.rstrip("0")
    return 1 + -(-len(whole) // 2) + -(-len(fraction) // 2) + text.startswith("-")
