"""How searches of the layout `packed` find a new kind of vectors while it comes, reckoned offline.

A user has vectors of one kind, encoded at once; then come others, with the maintenance that is due.
Each history is played as it is, and as it would be if everything were encoded only when the number
has grown by a quarter. Recall@10 and units are means over queries of the old and of the new kind,
by a process that holds nothing; units of maintenance are per vector that came. See packed_kinds.py
for the rest.

    IALSTORE_DATA=FOLDER python benchmarks/packed_history.py [--histories "text, then gaussian"]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
from _report import Cell, Report, arguments
from lsh_units import Vectors, records
from packed_kinds import NOW, TEXT, K, Kind, Player, Real, clustered, gaussian, unit

from ialstore import IndexSpec
from ialstore.cost import Units
from ialstore_backends.lsh import LshOptions
from ialstore_backends.lsh.codec import VectorCodec, decode
from ialstore_backends.lsh.packed.codes import directions
from ialstore_backends.lsh.packed.entries import Entries, EntryFormat, sign_bits
from ialstore_backends.lsh.packed.head import Head, decode_head
from ialstore_backends.lsh.packed.prediction import PackedPrediction
from ialstore_backends.lsh.packed.rebuilding import (
    Rebuilt,
    due,
    encode_all,
    is_of_new_kind,
    merge,
    tail_limit,
)
from ialstore_backends.lsh.packed.reckoning import PreparedUser
from ialstore_backends.lsh.packed.rotation import rotation
from ialstore_backends.lsh.packed.rows import known_entries

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNT: Final = 1500
SHARES: Final = (0.1, 0.5)
USER: Final = "user"

Pair = tuple[Kind, Kind]


def text(real: Real, first: int, move: Callable[[Vectors], Vectors] = lambda one: one) -> Kind:
    """Return some of the text, and every other query, from ``first`` on."""
    base, queries = real.text
    start = first * COUNT
    return Kind(move(base[start : start + COUNT]), move(queries[first::2]))


def turned(vectors: Vectors) -> Vectors:
    """Return vectors in another place of their space, as another model would have them."""
    drawn = np.random.default_rng(8).standard_normal((vectors.shape[1], vectors.shape[1]))
    return unit(vectors @ np.linalg.qr(drawn)[0])


def shared(vectors: Vectors) -> Vectors:
    """Return vectors that share one direction, of a cosine of 0.5 between most."""
    return unit(vectors + unit(np.random.default_rng(3).standard_normal((1, vectors.shape[1]))))


HISTORIES: Final[dict[str, Callable[[Real], Pair]]] = {
    "text, then more of it": lambda real: (text(real, 0), text(real, 1)),
    "all conversations, then other text": lambda real: (real.conversation(None), text(real, 1)),
    "text, then text turned": lambda real: (text(real, 0), text(real, 1, turned)),
    "text, then text that shares a direction": lambda real: (
        text(real, 0),
        text(real, 1, shared),
    ),
    "text, then tight clusters": lambda real: (
        text(real, 0),
        Kind(clustered(COUNT, 0), clustered(500, 1)),
    ),
    "text, then gaussian": lambda real: (
        text(real, 0),
        Kind(unit(gaussian(COUNT, 384, 0)), unit(gaussian(500, 384, 1))),
    ),
}


class History:
    """A user whose vectors come in order.

    Attributes:
        there: vectors that have come.
        units: of maintenance.
    """

    def __init__(self, vectors: Vectors, there: int, *, is_early: bool) -> None:
        dimension = vectors.shape[1]
        self._spec = IndexSpec(dimension)
        self._layout = EntryFormat(dimension, "cosine")
        self._is_early = is_early
        self._prediction = PackedPrediction(self._spec, LshOptions(layout="packed", chunks=1), NOW)
        kept = decode(VectorCodec().encode(vectors), dimension)
        self._records = list(records(kept, text=TEXT))
        everything = self._prediction.prepared(USER, self._records, tail=len(kept))
        self._rows = list(everything.rows.items())
        self._known = known_entries(self._layout, [(row.record, key, 1) for key, row in self._rows])
        self._rotated = rotation(dimension).apply(directions(kept, "cosine"))
        self._in_cells = self.there = there
        self._made = self._encoded(None)
        self.units = Units()

    def user(self) -> PreparedUser:
        """Return the user as it is now."""
        rows = dict(self._rows[: self.there])
        return PreparedUser(self._spec, USER, rows, self.there - self._in_cells, made=self._made)

    def grow(self, until: int) -> None:
        """Let vectors come, with the maintenance that is due."""
        while True:
            full = self._in_cells + tail_limit(self._layout, self._in_cells)
            if full > until:
                break
            self.there = full
            self._maintain()
        self.there = until

    def _maintain(self) -> None:
        head = decode_head(self._made.head, self._layout)
        cells = self._layout.from_bytes(b"".join(self._made.cells))
        tail = self._tail(head.facts.mean)
        self.units += self._prediction.merge(USER, self._in_cells)
        is_due = due(head, self._layout, len(tail)) == "encode"
        is_early = self._is_early and not is_due and is_of_new_kind(head, cells, tail, now=NOW)
        if is_due or is_early:
            late = np.arange(self._in_cells, self.there) if is_early else None
            self._made = self._encoded(head, late)
            kept = self._records[: self.there]
            self.units += self._prediction.count(USER, kept, consistency="strong")
        else:
            self._made = merge(head, cells, tail, segment=0, now=NOW)
        self._in_cells = self.there

    def _tail(self, mean: Vectors) -> Entries:
        some = slice(self._in_cells, self.there)
        residuals = self._rotated[some] - mean
        return self._layout.encode(residuals, sign_bits(residuals), self._known[some])

    def _encoded(self, head: Head | None, late: NDArray[np.intp] | None = None) -> Rebuilt:
        return encode_all(
            self._layout,
            self._rotated[: self.there],
            self._known[: self.there],
            head,
            version=1,
            segment=0,
            row_bytes=self._prediction.row_bytes(USER, self._records[0]),
            late=late,
        )


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--histories", nargs="+", default=list(HISTORIES), choices=list(HISTORIES))
    parser.add_argument("--queries", type=int, default=60)
    given = parser.parse_args()
    report = Report("packed_history", __doc__, ["numpy"])
    figures = (f"recall@{K}, new", "units, new", "units, old", "maintenance, read units")
    table = report.table(
        "histories",
        "Searches while a new kind comes",
        "history",
        "vectors",
        "more, %",
        *(f"{one}{early}" for one in figures for early in ("", ", early")),
    )
    real = Real()
    for name in given.histories:
        old, new = HISTORIES[name](real)
        first, vectors = len(old.base), np.concatenate([old.base, new.base])
        histories = [History(vectors, first, is_early=is_early) for is_early in (False, True)]
        for share in SHARES:
            came = min(int(first * share), len(new.base))
            columns: list[list[Cell]] = []
            for history in histories:
                history.grow(first + came)
                (_, of_old, *_), (recall, of_new, *_) = (
                    Player(Kind(vectors[: history.there], kind.queries[: given.queries])).searched(
                        history.user()
                    )
                    for kind in (old, new)
                )
                columns.append([recall, of_new, of_old, history.units.read / came])
            cells = [cell for both in zip(*columns, strict=True) for cell in both]
            table.add(name, first, 100 * came / first, *cells)
            report.keep(given)
    report.finish(given)


if __name__ == "__main__":
    main()
