"""What the URL of an index may say: ``lsh+dynamodb://PREFIX?region=eu-west-1&chunks=4``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args, get_type_hints

from ialstore.errors import InvalidInputError
from ialstore.estimate import Choice
from ialstore_backends.dynamodb.options import TableOptions
from ialstore_backends.lsh.codec import CODECS, CodecName, CompressionName

__all__ = ["CHOICES", "LshOptions"]

_MOST_CHUNKS: Final = 100


@dataclass(frozen=True, slots=True)
class LshOptions(TableOptions):
    """Where the table of vectors is, how it is laid out, and what ``setup`` asks for.

    Attributes:
        layout: ``gsi``: codes in an index of the table; ``packed``: codes in rows of their own,
            many together. Part of the table: it can't change later.
        chunks: partitions that the vectors of one user are spread over, 1 to 100. Each bears a
            thousand writes a second; a search of the layout ``gsi`` asks all of them. Part of the
            table.
        codec: how vectors are kept: ``int8`` with a scale, ``float16`` or ``float32``. Part of the
            table, since it decides what ``get`` returns.
        compression: of vectors: ``none``, ``zlib`` or ``zstd``; may change at any time.
        strong_reads: whether reads are strongly consistent unless they ask for less. A strong
            search of the layout ``gsi`` is exact and reads every row of the user; without them,
            searches use the index.
        cache_bytes: of codes that a process holds for searches of the layout ``packed``.
    """

    layout: Literal["gsi", "packed"] = "gsi"
    chunks: int = 10
    codec: CodecName = "int8"
    compression: CompressionName = "none"
    strong_reads: bool = True
    cache_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        TableOptions.__post_init__(self)  # a class with slots is made twice: super() is not it
        if not 1 <= self.chunks <= _MOST_CHUNKS:
            raise InvalidInputError(f"chunks must be 1 to {_MOST_CHUNKS}")
        if self.cache_bytes < 0:
            raise InvalidInputError("cache_bytes must be at least 0")


CHOICES: Final = (
    Choice(
        "layout",
        get_args(get_type_hints(LshOptions)["layout"]),
        "strong searches that are exact and freedom from maintenance",
    ),
    Choice(
        "strong_reads",
        ("true", "false"),
        "searches that are exact and see what was just written",
    ),
    Choice("codec", CODECS[::-1], "vectors that are as exact"),
    Choice("chunks", ("1", "2", "10")),
)
"""Options that change what the table costs."""
