"""``pages``: all pages of a listing, which has to come to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import pytest

from ialstore.model import Page

__all__ = ["all_items", "pages"]

T = TypeVar("T")

_ENOUGH: Final = 1000
"""Pages that no test of the kit needs."""


def pages(turn: Callable[[str | None], Page[T]]) -> Iterator[Page[T]]:
    """Yield every page of a listing; a test fails where it does not end.

    Args:
        turn: returns the page of a cursor, the first one for None.
    """
    cursor: str | None = None
    for _ in range(_ENOUGH):
        page = turn(cursor)
        yield page
        cursor = page.cursor
        if cursor is None:
            return
    pytest.fail(f"S6: after {_ENOUGH} pages there is still another one")


def all_items(turn: Callable[[str | None], Page[T]]) -> list[T]:
    """Return what all pages of a listing hold together."""
    return [one for page in pages(turn) for one in page]
