"""What searches of the layout `packed` find and read among vectors of many kinds, reckoned offline.

Real text (turns of dialogue and of LoCoMo, embedded by all-MiniLM-L6-v2), what is made from it, and
vectors that are nothing like it. Texts of 500 bytes, eventual reads, the default effort. Recall@10
is that of the vectors as they were given, against exact search, so that ties cost nothing; `exact`
is that of an exact search of the vectors as they are kept, in int8. The tail is half full: it has
half as many vectors as make a rebuild due. Nothing is stored: searches are played on codes and rows
as they would lie in the table.

    IALSTORE_DATA=FOLDER python benchmarks/packed_kinds.py [--kinds "text 1,000" gaussian]
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from _report import Cell, Report, arguments
from lsh_units import Vectors, data, records

from ialstore import IndexSpec
from ialstore.vector_model import Where, encode_search
from ialstore_backends.lsh import LshOptions
from ialstore_backends.lsh.codec import VectorCodec, decode
from ialstore_backends.lsh.packed.entries import EntryFormat
from ialstore_backends.lsh.packed.plan import PackedSearch
from ialstore_backends.lsh.packed.prediction import PackedPrediction
from ialstore_backends.lsh.packed.rebuilding import tail_limit
from ialstore_backends.lsh.packed.reckoning import PreparedUser, ReckonedSource

LOCOMO: Final = "locomo6_minilm.npz"
K: Final = 10
TEXT: Final = "x" * 500
NOW: Final = 1_800_000_000
NEAR: Final = 12  # neighbours, by whose differences text is moved
BLOCK: Final = 500
COUNT: Final = 3000
SPREAD: Final = 0.7  # of the weights of these differences
_TIE: Final = 1e-6


@dataclass(frozen=True)
class Kind:
    """Vectors of a user, and queries."""

    base: Vectors
    queries: Vectors
    metric: Any = "cosine"

    def scores(self) -> Any:
        """Return the scores of all vectors for each query, shape (queries, vectors)."""
        base, queries = self.base.astype(np.float64), self.queries.astype(np.float64)
        products = queries @ base.T
        lengths, strengths = np.linalg.norm(base, axis=1), np.linalg.norm(queries, axis=1)[:, None]
        if self.metric == "cosine":
            return products / lengths / strengths
        if self.metric == "euclidean":
            return 2 * products - lengths**2 - strengths**2  # ranks as the distance does
        return products


class Real:
    """The vectors that others are made of."""

    @cached_property
    def text(self) -> tuple[Vectors, Vectors]:
        """Turns of dialogue in random order, and queries."""
        base, queries = data()
        return base[np.random.default_rng(0).permutation(len(base))], queries

    @cached_property
    def locomo(self) -> dict[str, Any]:
        """Turns and questions of LoCoMo."""
        return dict(np.load(Path(os.environ["IALSTORE_DATA"]) / LOCOMO))

    def some(self, count: int) -> Kind:
        """Return real text; of more than there is, the rest and the queries are moved text."""
        base, queries = self.text
        if count > len(base):
            parents = np.random.default_rng(4).integers(len(base), size=count - len(base))
            queries = moved(queries, base, 5)
            base = np.concatenate([base, moved(base[parents], base, 6)])
        return Kind(base[:count], queries)

    def conversation(self, number: int | None) -> Kind:
        """Return the turns of a conversation, or of all, with questions in random order."""
        held = self.locomo
        names = sorted(set(held["turn_conversation"].tolist()))
        chosen = names if number is None else [names[number]]
        turns, questions = (
            unit(held[f"{one}_vectors"][np.isin(held[f"{one}_conversation"], chosen)])
            for one in ("turn", "question")
        )
        return Kind(turns, questions[np.random.default_rng(0).permutation(len(questions))])

    def mapped(self, count: int, dimension: int) -> Kind:
        """Return real text under a random network of two layers."""
        kind, rng = self.some(count), np.random.default_rng(1)
        width = len(kind.base[0])
        first = rng.standard_normal((width, 2 * dimension))
        second = rng.standard_normal((2 * dimension, dimension))
        base, queries = (unit(np.tanh(one @ first) @ second) for one in (kind.base, kind.queries))
        return Kind(base, queries)

    def stretched(self, count: int, metric: str) -> Kind:
        """Return real text, of lengths over three orders."""
        kind, rng = self.some(count), np.random.default_rng(2)
        longer = 10 ** rng.uniform(-1.5, 1.5, (count, 1))
        return Kind((kind.base * longer).astype(np.float32), kind.queries, metric)

    def shared(self, count: int) -> Kind:
        """Return real text that shares one direction, of a cosine of 0.96 between any two."""
        kind = self.some(count)
        far = 5 * unit(np.random.default_rng(3).standard_normal((1, kind.base.shape[1])))
        return Kind(unit(kind.base + far), unit(kind.queries + far))

    def repeated(self, count: int, times: int) -> Kind:
        """Return real text, each vector many times."""
        kind = self.some(count // times)
        return Kind(np.tile(kind.base, (times, 1)), kind.queries)


def tail_of(spec: IndexSpec, count: int) -> int:
    """Return how many vectors a tail holds when it is full."""
    return tail_limit(EntryFormat(spec.dimension, spec.metric), count)


def unit(vectors: Any) -> Vectors:
    """Return vectors of length 1."""
    wide = np.asarray(vectors, np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), np.float32)


def moved(vectors: Vectors, base: Vectors, seed: int) -> Vectors:
    """Return vectors that differ from given ones as the neighbours of these do from each other."""
    rng = np.random.default_rng(seed)
    made = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), BLOCK):
        some = vectors[start : start + BLOCK]
        near = base[np.argpartition(-(some @ base.T), NEAR, axis=1)[:, :NEAR]]
        weights = rng.standard_normal(near.shape[:2]) * SPREAD / np.sqrt(NEAR)
        around = near - near.mean(axis=1, keepdims=True)
        made[start : start + BLOCK] = some + np.einsum("ck,ckd->cd", weights, around)
    return unit(made)


def gaussian(count: int, dimension: int, seed: int) -> Vectors:
    """Return directions without any structure."""
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def drawn(made: Callable[[int, int], Vectors], count: int) -> Kind:
    """Return a kind of which as many can be made as are wanted."""
    return Kind(made(count, 0), made(500, 1))


def clustered(count: int, seed: int) -> Vectors:
    """Return sixty tight clusters."""
    centres = gaussian(60, 384, 5)
    own = centres[np.random.default_rng(seed).integers(60, size=count)]
    return unit(own + 0.1 * gaussian(count, 384, seed + 10))


def sparse(count: int, seed: int) -> Vectors:
    """Return vectors of few numbers, none below zero, in topics: as counts of words are."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(6)
    topics = fixed.gamma(0.1, size=(200, 384))
    mixed = topics[rng.integers(200, size=count)] + fixed.gamma(0.3, size=384) * 0.3
    return unit(rng.poisson(3 * mixed) + 1e-3)


KINDS: Final[dict[str, Callable[[Real], Kind]]] = {
    "text 1,000": lambda real: real.some(1000),
    "text 6,000": lambda real: real.some(6000),
    "text 20,000": lambda real: real.some(20_000),
    "text 50,000, partly made": lambda real: real.some(50_000),
    "one conversation": lambda real: real.conversation(3),
    "all conversations": lambda real: real.conversation(None),
    "text, mapped to 1,024": lambda real: real.mapped(COUNT, 1024),
    "text, mapped to 1,536": lambda real: real.mapped(1500, 1536),
    "text, mapped to 64": lambda real: real.mapped(COUNT, 64),
    "text, mapped to 16": lambda real: real.mapped(COUNT, 16),
    "text, one direction shared": lambda real: real.shared(COUNT),
    "text, each twenty times": lambda real: real.repeated(COUNT, 20),
    "text of any length, dot": lambda real: real.stretched(COUNT, "dot"),
    "text of any length, euclidean": lambda real: real.stretched(COUNT, "euclidean"),
    "gaussian": lambda _: drawn(lambda n, seed: gaussian(n, 384, seed), COUNT),
    "gaussian, 16": lambda _: drawn(lambda n, seed: gaussian(n, 16, seed), COUNT),
    "tight clusters": lambda _: drawn(clustered, COUNT),
    "sparse": lambda _: drawn(sparse, COUNT),
}


def likeness(report: Report, real: Real) -> None:
    """Report how far real queries are from real and moved text, as many of each.

    The dimension is that of Levina and Bickel's estimate from the twenty nearest.
    """
    table = report.table(
        "likeness",
        "Distances from a query to its tenth nearest",
        "text",
        "quantile 0.1",
        "0.5",
        "0.9",
        "intrinsic dimension",
    )
    base, queries = real.text
    half = base[: len(base) // 2]
    mixed = np.concatenate([half, moved(half, half, 6)])
    for name, some in (("real", base), ("half of it moved", mixed)):
        products = np.sort(queries @ some.T, axis=1)[:, : -2 * K - 1 : -1]
        distances = np.sqrt(np.maximum(2 - 2 * products.astype(np.float64), 1e-9))
        ratios = np.log(distances[:, -1:] / distances[:, :-1])
        shares = np.quantile(distances[:, K - 1], (0.1, 0.5, 0.9)).tolist()
        table.add(name, *shares, float(ratios.size / ratios.sum()))


class Player:
    """Plays searches of one kind."""

    def __init__(self, kind: Kind) -> None:
        dimension = kind.base.shape[1]
        self._spec = IndexSpec(dimension, kind.metric)
        self._queries = kind.queries
        kept = replace(kind, base=decode(VectorCodec().encode(kind.base), dimension))
        self._scores, self._kept_scores = kind.scores(), kept.scores()
        least = np.sort(self._scores, axis=1)[:, -K]
        self._least = least - _TIE * np.abs(least)
        self._records = list(records(kept.base, text=TEXT))
        self._place = {one.id: place for place, one in enumerate(self._records)}

    def half_full(self) -> int:
        """Return how many vectors are in a tail that is half full."""
        return tail_of(self._spec, len(self._records)) // 2

    def exact(self) -> float:
        """Return the recall of an exact search of what is kept."""
        return statistics.fmean(
            self._recall(number, self._nearest(number)) for number in range(len(self._queries))
        )

    def played(self, tail: int) -> list[Cell]:
        """Return recall and units of searches, cold and held, means over the queries."""
        prediction = PackedPrediction(self._spec, LshOptions(layout="packed", chunks=1), NOW)
        return self.searched(prediction.prepared("user", self._records, tail=tail))

    def searched(self, user: PreparedUser) -> list[Cell]:
        """Return the same of a user whose vectors have come about in another way."""
        return [*self._searched(user, is_held=False), *self._searched(user, is_held=True)]

    def _searched(self, user: PreparedUser, *, is_held: bool) -> list[float]:
        recalls: list[float] = []
        reads: list[float] = []
        for number, query in enumerate(self._queries):
            asked = encode_search(
                self._spec, "user", query, k=K, max_k=K, where=Where(), effort=None
            )
            source = ReckonedSource(user, strong=False, is_held=is_held)
            found = PackedSearch(self._spec, 1).run(source, asked, NOW)
            places = [self._place[one.id] for _, one in found.ranking.places]
            if found.plan == "rows":  # which are counted, and not returned
                places = self._nearest(number)
            recalls.append(self._recall(number, places))
            reads.append(source.units.read)
        return [statistics.fmean(recalls), statistics.fmean(reads)]

    def _nearest(self, number: int) -> list[int]:
        found: list[int] = np.argsort(-self._kept_scores[number])[:K].tolist()
        return found

    def _recall(self, number: int, places: list[int]) -> float:
        return float((self._scores[number, places] >= self._least[number]).sum() / K)


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--most", type=int, default=50_000, help="leave out larger kinds")
    parser.add_argument("--encoded", action="store_true", help="just encoded, too: without a tail")
    given = parser.parse_args()
    report = Report("packed_kinds", __doc__, ["numpy"])
    columns = ("dimension", "vectors", "in the tail", "exact")
    taken = [f"{what}, {codes}" for codes in ("cold", "held") for what in (f"recall@{K}", "units")]
    real = Real()
    table = report.table("kinds", "Searches", "kind", *columns, *taken)
    likeness(report, real)
    for name in given.kinds:
        kind = KINDS[name](real)
        if len(kind.base) > given.most:
            continue
        player = Player(replace(kind, queries=kind.queries[: given.queries]))
        for tail in (*[0] * given.encoded, player.half_full()):
            count, dimension = kind.base.shape
            table.add(name, dimension, count, tail, player.exact(), *player.played(tail))
            report.keep(given)
    report.finish(given)


if __name__ == "__main__":
    main()
