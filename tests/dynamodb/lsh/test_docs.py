"""docs/lsh.md: its options are those of the class, and its examples work."""

from __future__ import annotations

from ialstore_backends.lsh import LshOptions
from tests.dynamodb.documented import VectorPage


class TestPage(VectorPage):
    """The page."""

    PAGE = "lsh.md"
    SCHEME = "lsh+dynamodb"
    OPTIONS = LshOptions
    POLICY = "alice#*"
    OPTIMIZE = "manual"
