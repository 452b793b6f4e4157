"""docs/dynamodb-vector.md: its options are those of the class, and its examples work."""

from __future__ import annotations

from ialstore_backends.dynamodb_vector import VectorOptions
from tests.dynamodb.documented import VectorPage


class TestPage(VectorPage):
    """The page."""

    PAGE = "dynamodb-vector.md"
    SCHEME = "dynamodb-vector"
    OPTIONS = VectorOptions
    POLICY = "dynamodb:SearchVectors"
