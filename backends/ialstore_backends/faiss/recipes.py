"""Which FAISS index a kind and a storage stand for, how it is asked, and what is believed of it.

FAISS proposes candidates and nothing else: every score is computed again from the vector itself.
Indexes rank by the Euclidean distance, under cosine that of directions, or by the dot product. A
graph needs distances: for the dot product its vectors are given one more dimension, so that all are
equally long.
"""

from __future__ import annotations

import importlib
import math
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore.vector_model import METRICS
from ialstore_backends._late import Late

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from numpy.typing import NDArray

__all__ = ["KINDS", "LEAST", "STORAGES", "Asking", "Recipe", "faiss"]

KINDS: Final = ("flat", "hnsw", "ivf")
STORAGES: Final = ("float32", "float16", "int8", "rabitq")
LEAST: Final = 4000
"""With fewer vectors a user is searched exactly, which takes no longer than a millisecond."""

DEFAULT_EFFORT: Final = 0.5
_LINKS: Final = 32  # of a node of the graph; twice as many in its lowest layer
_CARE: Final = 200  # nodes looked at when one is put in; FAISS's 40 leaves tight clusters apart
_LEAST_BREADTH: Final = 24
_MOST_BREADTH: Final = 1536
_LISTS_PER_ROOT: Final = 4  # lists of an IVF index, by the square root of its vectors
_VECTORS_PER_LIST: Final = 64  # that k-means learns a list from, at most
_TRAINING: Final = 20_000  # vectors that a quantizer learns from, at most
_DOUBTFUL: Final = 52  # candidates more, of which rounded distances may not tell which is nearer
_ROUNDING: Final = 2.0**-11 / math.sqrt(3)  # of a number in float16, relatively
_DEVIATIONS: Final = 4.0
_SPARE: Final = 2  # candidates beyond k: float32 may exchange neighbours

_CODES: Final = {"float32": "Flat", "float16": "SQfp16", "int8": "SQ8", "rabitq": "RaBitQ"}
_BYTES: Final = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "rabitq": 0.125}
_RERANKED: Final = {"float32": 1, "float16": 1, "int8": 12, "rabitq": 20}
"""Candidates for each hit at full effort."""
_FEW_DIMENSIONS: Final = 384
"""With fewer, estimates from bits err more: by the inverse of the square root of their number."""
_CLASSES: Final[Mapping[tuple[str, str], str]] = {
    ("flat", "float16"): "IndexScalarQuantizer",
    ("flat", "int8"): "IndexScalarQuantizer",
    ("flat", "rabitq"): "IndexRaBitQ",
    ("hnsw", "float32"): "IndexHNSWFlat",
    ("hnsw", "float16"): "IndexHNSWSQ",
    ("hnsw", "int8"): "IndexHNSWSQ",
    ("hnsw", "rabitq"): "IndexHNSWRaBitQ",
    ("ivf", "float32"): "IndexIVFFlat",
    ("ivf", "float16"): "IndexIVFScalarQuantizer",
    ("ivf", "int8"): "IndexIVFScalarQuantizer",
    ("ivf", "rabitq"): "IndexIVFRaBitQ",
}
"""What FAISS may make of a file, by kind and storage."""

_driver: Final[Late[Any]] = Late(lambda: importlib.import_module("faiss"), inherited=True)
_is_child = False
_limits: Final = Late(threading.Lock, inherited=False)
"""FAISS keeps the limits of what it reads for the whole process: one reader at a time."""


def faiss() -> Any:
    """Return the driver, imported at first use; in a forked child it works on one thread.

    libgomp's threads do not survive a fork, and the child would wait for them. Their number is kept
    for each thread, and so it is set again and again.
    """
    module = _driver.get()
    if _is_child:  # pragma: no cover - in forked children only
        module.omp_set_num_threads(1)
    return module


class Asking:
    """Searches of one index for so many: with memory of their own, for one thread at a time.

    FAISS's own method makes its arrays anew and checks them by asserts, which ``python -O`` leaves
    out.

    Attributes:
        point: the query, to be written into.
        distances: what FAISS computed for the labels it found; the next search writes over them.
    """

    def __init__(self, index: Any, wanted: int) -> None:
        self.point = np.zeros(index.d, np.float32)
        self._labels = np.empty(wanted, np.int64)
        self.distances = np.empty(wanted, np.float32)
        point, distances, labels = map(faiss().swig_ptr, (self.point, self.distances, self._labels))
        self._search = partial(index.search_c, 1, point, wanted, distances, labels)

    def labels(self, parameters: Any) -> NDArray[np.int64]:
        """Return the labels of what is nearest to the point, -1 for those not found.

        The next search writes over them.
        """
        faiss()
        self._search(parameters)
        return self._labels


@dataclass(frozen=True, slots=True)
class Recipe:
    """One kind of index and one storage.

    Attributes:
        kind: of ``KINDS``.
        storage: of ``STORAGES``.
        metric: of the vectors.
    """

    kind: str
    storage: str
    metric: str

    @property
    def metrics(self) -> frozenset[str]:
        """What FAISS offers."""
        every = frozenset(METRICS)
        return every - {"dot"} if (self.kind, self.storage) == ("hnsw", "rabitq") else every

    @property
    def is_widened(self) -> bool:
        """Whether vectors are given one more dimension."""
        return self.metric == "dot" and self.kind == "hnsw"

    @property
    def is_exact(self) -> bool:
        """Whether there is nothing to build: one matrix product is faster than ``IndexFlat``."""
        return self.kind == "flat" and self.storage == "float32"

    @property
    def starts_by_itself(self) -> bool:
        """Whether searches may begin the index; clustering takes longer than a search may."""
        return self.kind != "ivf"

    @property
    def keeps_rows(self) -> bool:
        """Whether the vectors themselves are held in memory, too."""
        return self.storage in ("float32", "float16")

    def bytes_per_vector(self, dimension: int) -> int:
        """Return what the index holds in memory for each vector, about."""
        if self.is_exact:
            return 0
        beside = {"flat": 0, "hnsw": 8 * _LINKS + 16, "ivf": 8}[self.kind]
        return int(_BYTES[self.storage] * (dimension + 1)) + beside + 8

    def file_bytes_per_vector(self, dimension: int) -> int:
        """Return what the file of an index takes for each vector, about."""
        vector = int(_BYTES[self.storage] * (dimension + 1)) if self._is_bare else 0
        return self.bytes_per_vector(dimension) - vector + 8  # there a row has two numbers

    def make(self, dimension: int, rows: NDArray[np.float32]) -> Any:
        """Return an empty index, trained with rows of this dimension."""
        lists = max(1, int(_LISTS_PER_ROOT * math.sqrt(len(rows))))
        code = _CODES[self.storage]
        prefix = {"flat": "", "hnsw": f"HNSW{_LINKS},", "ivf": f"IVF{lists},"}[self.kind]
        driver = faiss()
        index = driver.index_factory(dimension, prefix + code, self._metric_of(driver))
        most = _VECTORS_PER_LIST * lists if self.kind == "ivf" else _TRAINING
        if self.kind == "hnsw":
            index.hnsw.efConstruction = _CARE
        if self.kind == "ivf":
            index.cp.min_points_per_centroid = 1  # or it warns on standard error
        index.train(rows[_sample(len(rows), most)])
        return index

    def wanted(self, k: int, effort: float | None, dimension: int) -> int:
        """Return how many candidates to ask for."""
        effort = DEFAULT_EFFORT if effort is None else effort
        each = _RERANKED[self.storage] * effort
        if self.storage == "rabitq" and dimension < _FEW_DIMENSIONS:
            each *= math.sqrt(_FEW_DIMENSIONS / dimension)
        return math.ceil(k * max(1.0, each)) + _SPARE

    def doubtful(self, k: int) -> int:
        """Return how many candidates to ask for beyond those, for ``doubt`` to choose from."""
        return max(k // 2, _DOUBTFUL) if self._is_rounded else 0

    def doubt(self, worst: float, point: float, longest: float, dimension: int) -> float:
        """Return how far a distance that FAISS computed may be from the truth, by chance.

        A vector that is rounded by ``e`` in a random direction moves a product with ``q`` by
        ``|q| |e| / sqrt(dimension)``, and a squared distance likewise.

        Args:
            worst: that of the last hit, as FAISS gave it.
            point: length of the query, as FAISS got it.
            longest: no vector is longer, as FAISS got it.
            dimension: of the vectors.
        """
        error = _ROUNDING * longest
        if self.ranks_products:
            return _DEVIATIONS * point * error / math.sqrt(dimension)
        near = math.sqrt(max(worst, 0.0))
        moved = 2 * near * error / math.sqrt(dimension) + error**2 * math.sqrt(2 / dimension)
        return _DEVIATIONS * moved

    def parameters(
        self, index: Any, wanted: int, effort: float | None, share: float, selector: Any
    ) -> Any:
        """Return how to search an index.

        Args:
            index: to search.
            wanted: candidates.
            effort: of the search.
            share: of the vectors in it that may be found.
            selector: of these, or None for all.
        """
        effort = DEFAULT_EFFORT if effort is None else effort
        driver = faiss()
        if self.kind == "hnsw":
            breadth = _LEAST_BREADTH * (_MOST_BREADTH / _LEAST_BREADTH) ** effort
            breadth = max(breadth, 3 * wanted) / share
            return driver.SearchParametersHNSW(sel=selector, efSearch=math.ceil(breadth))
        if self.kind == "ivf":
            probes = index.nlist ** (0.3 + 0.7 * effort) / share
            # Enough of them to hold the candidates several times over.
            probes = max(probes, 8 * wanted * index.nlist / (share * index.ntotal))
            many = min(index.nlist, math.ceil(probes))
            if self.storage == "rabitq":
                return driver.IVFRaBitQSearchParameters(sel=selector, nprobe=many)
            return driver.SearchParametersIVF(sel=selector, nprobe=many)
        if self.storage == "rabitq":
            return driver.RaBitQSearchParameters(sel=selector)
        return driver.SearchParameters(sel=selector)

    def write(self, index: Any) -> bytes:
        """Return an index as bytes; a graph without the vectors that it keeps."""
        driver = faiss()
        flags = driver.IO_FLAG_SKIP_STORAGE if self._is_bare else 0
        return bytes(driver.serialize_index(index, flags).data)

    def read(self, data: bytes, dimension: int, count: int) -> Any:
        """Return the index that bytes stand for; without its vectors if it was written so.

        Raises:
            ValueError: they stand for another one.
        """
        driver = faiss()
        flags = driver.IO_FLAG_SKIP_STORAGE if self._is_bare else 0
        with _limited(driver, len(data)):
            try:
                index = driver.deserialize_index(np.frombuffer(data, np.uint8), flags)
            except RuntimeError as error:
                raise ValueError("FAISS can't read it") from error
        found = (type(index).__name__, index.d, index.ntotal, index.is_trained, index.metric_type)
        if found != (
            _CLASSES[self.kind, self.storage],
            dimension,
            count,
            True,
            self._metric_of(driver),
        ):
            raise ValueError("it is another index")
        return index

    def complete(self, index: Any, rows: NDArray[np.float32]) -> None:
        """Give an index that was read the vectors that it was written without."""
        if self._is_bare:
            flat = faiss().IndexFlatL2(index.d)
            flat.add(rows)
            index.storage = flat  # the index keeps the object alive
            index.own_fields = False
            index.referenced_objects = [flat]

    @property
    def ranks_products(self) -> bool:
        """Whether FAISS gives products, the largest first, in place of squared distances."""
        return self.metric == "dot" and not self.is_widened

    def _metric_of(self, driver: Any) -> Any:
        return driver.METRIC_INNER_PRODUCT if self.ranks_products else driver.METRIC_L2

    @property
    def _is_rounded(self) -> bool:
        """Whether vectors are rounded as they are; clusters keep what differs from their centre.

        For products, FAISS makes centres of length 1: what differs is as long as a vector.
        """
        return self.storage == "float16" and (self.kind != "ivf" or self.ranks_products)

    @property
    def _is_bare(self) -> bool:
        return self.kind == "hnsw" and self.storage == "float32"


def _sample(count: int, most: int) -> slice | NDArray[np.intp]:
    if count <= most:
        return slice(None)
    return np.sort(np.random.default_rng(count).choice(count, most, replace=False))


@contextmanager
def _limited(driver: Any, size: int) -> Generator[None]:
    """Let FAISS allocate no more than a file of this size can need."""
    with _limits.get():
        before = driver.get_deserialization_vector_byte_limit()
        loops = driver.get_deserialization_loop_limit()
        driver.set_deserialization_vector_byte_limit(size + 1)
        driver.set_deserialization_loop_limit(size + 1)
        try:
            yield
        finally:
            driver.set_deserialization_vector_byte_limit(before)
            driver.set_deserialization_loop_limit(loops)


def _after_fork() -> None:  # pragma: no cover - runs in forked children only
    global _is_child  # noqa: PLW0603 - the whole process is one
    _is_child = True


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
