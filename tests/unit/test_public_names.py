"""What ``ialstore`` offers."""

from __future__ import annotations

import pytest

import ialstore


def test_every_public_name_is_there() -> None:
    assert [name for name in ialstore.__all__ if getattr(ialstore, name, None) is None] == []
    assert dir(ialstore) == sorted(ialstore.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'open_stroe'"):
        _ = ialstore.open_stroe
