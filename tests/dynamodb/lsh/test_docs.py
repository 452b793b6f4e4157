"""docs/lsh.md: its options are those of the class, and its examples work."""

from __future__ import annotations

import re

from ialstore_backends.lsh import LshOptions
from ialstore_backends.lsh.packed.entries import EntryFormat
from ialstore_backends.lsh.packed.rebuilding import most_vectors
from tests.dynamodb.documented import VectorPage


class TestPage(VectorPage):
    """The page."""

    PAGE = "lsh.md"
    SCHEME = "lsh+dynamodb"
    OPTIONS = LshOptions
    POLICY = "alice#*"
    OPTIMIZE = "manual"

    def test_the_most_vectors_of_a_user_are_as_it_says(self, text: str) -> None:
        told = re.findall(r"\b(?:of|at) ([\d,]+)", text[text.index("The head has to fit") :])[:6]
        counts = [int(one.replace(",", "")) for one in told]
        assert len(counts) == 6
        for count, dimension in zip(counts[::2], counts[1::2], strict=True):
            assert count == most_vectors(EntryFormat(dimension, "cosine"))
