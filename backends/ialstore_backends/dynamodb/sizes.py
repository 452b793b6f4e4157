"""How many bytes DynamoDB counts for an item, by its published rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from ialstore.cost import Units, read_units

if TYPE_CHECKING:
    from ialstore_backends.dynamodb.table import Item

__all__ = [
    "FLOAT_BYTES",
    "OVERHEAD_BYTES",
    "PAGE_BYTES",
    "item_bytes",
    "query_units",
    "rows_of_pages",
]

FLOAT_BYTES: Final = 4
"""Of a number of a vector that is in a vector index, however many digits were sent."""
OVERHEAD_BYTES: Final = 100
"""Billed for keeping an item, or an entry of an index, beside its own bytes."""
PAGE_BYTES: Final = 1 << 20
"""At which a query ends, to be continued by another."""


def query_units(sizes: Iterable[int], *, strong: bool) -> Units:
    """Return what a query costs that reads items of these bytes, each page rounded up."""
    pages = [0]
    for size in sizes:
        if pages[-1] + size > PAGE_BYTES:
            pages.append(0)
        pages[-1] += size
    read = sum(read_units(one, strong=strong) for one in pages)
    return Units(read=read, requests=len(pages))


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
    if kind == "L":
        return FLOAT_BYTES * len(held)
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
