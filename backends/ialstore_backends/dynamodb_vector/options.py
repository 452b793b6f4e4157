"""What the URL of an index may say: ``dynamodb-vector://PREFIX?region=eu-west-1``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ialstore.errors import InvalidInputError
from ialstore.estimate import Choice
from ialstore_backends.dynamodb.options import TableOptions

__all__ = ["CHOICES", "VectorOptions"]

_MOST_CHUNKS: Final = 100
_LONGEST_LAG_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class VectorOptions(TableOptions):
    """Where the table of vectors is, how it is laid out, and what ``setup`` asks for.

    Attributes:
        chunks: partitions that the vectors of one user are spread over, 1 to 100. Each bears a
            thousand write units and 10 MB of vectors a second; a search asks all of them. Part of
            the table: it can't change later.
        strong_reads: whether strong reads are offered. They need an index of what was written last,
            which costs a write unit for each new vector. Part of the table.
        lag_seconds: how far the vector index may be behind, with the clocks of writers and the
            timeout of a call added: what was written since is read from the table by a strong
            search. 1 to 86,400.
    """

    chunks: int = 1
    strong_reads: bool = True
    lag_seconds: int = 60

    def __post_init__(self) -> None:
        TableOptions.__post_init__(self)  # a class with slots is made twice: super() is not it
        if self.billing != "on-demand":
            raise InvalidInputError("DynamoDB has vector indexes only in tables billed on-demand")
        if not 1 <= self.chunks <= _MOST_CHUNKS:
            raise InvalidInputError(f"chunks must be 1 to {_MOST_CHUNKS}")
        if not 1 <= self.lag_seconds <= _LONGEST_LAG_SECONDS:
            raise InvalidInputError(f"lag_seconds must be 1 to {_LONGEST_LAG_SECONDS}")


CHOICES: Final = (
    Choice("strong_reads", ("true", "false"), "searches that see what was just written"),
)
"""Options that change what the table costs."""
