"""What a comparison measures, as values and as the JSON file that keeps them.

Nothing here depends on prices, on an added delay or on a workload: a report computes these from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from ialstore.errors import ConfigurationError

__all__ = ["Basis", "Calls", "Index", "Journal", "Load", "Recall", "Run", "Search", "Size"]

FORMAT: Final = 3
_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Calls of one kind, made one after the other; numbers that are not lists are means.

    Attributes:
        seconds: wall time of each.
        round_trips: of each.
        cpu_seconds: of all threads of this process.
        requests: sent.
        read_units: as the service bills them.
        write_units: likewise.
        vector_write_bytes: where a vector index bills by the byte.
        vector_search_bytes: likewise.
    """

    seconds: tuple[float, ...]
    round_trips: tuple[int, ...]
    cpu_seconds: float
    requests: float
    read_units: float
    write_units: float
    vector_write_bytes: float
    vector_search_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Mean recall of the best k over the queries, and its 95 % interval."""

    k: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Searches with one effort for k hits.

    Attributes:
        effort: as given; None is the index's default.
        k: hits asked for.
        recalls: of the best k and of the best of them.
        examined: vectors or codes looked at, a mean.
        calls: what they took.
    """

    effort: float | None
    k: int
    recalls: tuple[Recall, ...]
    examined: float
    calls: Calls

    def recall(self, k: int) -> Recall | None:
        """Return the recall of the best k, if these searches tell it."""
        return next((one for one in self.recalls if one.k == k), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Loading all vectors at once; sums."""

    seconds: float
    cpu_seconds: float
    requests: int
    read_units: float
    write_units: float
    vector_write_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """An index with so many vectors of one user.

    Attributes:
        vectors: how many.
        load: of all of them.
        first_search_seconds: the first search after the load, which may have to read or build.
        held_bytes: what this process holds to answer faster, after the searches of the default
            effort.
        process_bytes: by how much the memory of this process had grown then; None where it can't
            tell.
        stored_bytes: of files, or of rows in a service.
        stored_by: how that is known: ``files``, ``estimate`` of the index, or ``units``, those of
            the load, which are at least as many; empty where it is not.
        searches: by effort and k.
        upserts: one vector each.
        deletes: one vector each.
    """

    vectors: int
    load: Load | None = None
    first_search_seconds: float = 0.0
    held_bytes: int = 0
    process_bytes: int | None = None
    stored_bytes: int | None = None
    stored_by: str = ""
    searches: tuple[Search, ...] = ()
    upserts: Calls | None = None
    deletes: Calls | None = None

    def search(self, effort: float | None, k: int) -> Search | None:
        """Return what was measured with an effort for k hits, if it was."""
        return next((one for one in self.searches if (one.effort, one.k) == (effort, k)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """One of what is compared.

    Attributes:
        name: what people call it.
        url: without secrets.
        backend: URL scheme.
        exact: whether it promises the true nearest.
        durable: whether what it keeps survives the end of the process.
        sizes: in the order of their vectors.
    """

    name: str
    url: str
    backend: str
    exact: bool
    durable: bool
    sizes: tuple[Size, ...] = ()

    def size(self, vectors: int) -> Size:
        """Return what was measured with so many vectors; an empty one if nothing was."""
        found = (one for one in self.sizes if one.vectors == vectors)
        return next(found, Size(vectors=vectors))

    def with_size(self, size: Size) -> Index:
        """Return this with a size put in, or in place of the one that is there."""
        others = [one for one in self.sizes if one.vectors != size.vectors]
        return replace(self, sizes=tuple(sorted([*others, size], key=lambda one: one.vectors)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What all measurements of one file have in common.

    Attributes:
        data: its name.
        digest: of the data, queries included.
        dimension: length of the vectors.
        queries: how many searches make a mean.
        metric: of all indexes.
        seed: of every draw.
        text_bytes: of each vector's text, where the data has none.
        optimized: whether ``optimize`` ran after each load.
    """

    data: str
    digest: str
    dimension: int
    queries: int
    metric: str
    seed: int
    text_bytes: int
    optimized: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that was measured so far."""

    basis: Basis
    environment: dict[str, str]
    indexes: tuple[Index, ...] = ()
    format: int = FORMAT

    def index(self, name: str) -> Index:
        """Return an index by its name."""
        return next(one for one in self.indexes if one.name == name)


@dataclass(slots=True)
class Journal:
    """Keeps a run in a file, which is whole after every step.

    Attributes:
        path: of the JSON file.
        run: what it holds.
    """

    path: Path
    run: Run

    @classmethod
    def at(cls, path: Path, basis: Basis, environment: dict[str, str]) -> Journal:
        """Return the journal that goes on in a file, or begins it.

        Raises:
            ConfigurationError: the file holds something else, or another comparison, or there is no
                folder for it.
        """
        if not path.parent.is_dir():
            raise ConfigurationError(f"there is no folder {path.parent} for --out; create it first")
        if not path.exists():
            return cls(path, Run(basis=basis, environment=environment))
        run = _read(path)
        asked = asdict(basis)
        asked["digest"] = asked.pop("digest")  # last: it differs with all else
        for name, value in asked.items():
            found = getattr(run.basis, name)
            if found != value:
                raise ConfigurationError(
                    f"{path} holds another comparison: its {name} is {found}, not {value}; name "
                    "another file with --out, or delete it"
                )
        return cls(path, replace(run, environment=environment))

    def enter(self, index: Index) -> None:
        """Begin an index, or go on with one.

        Raises:
            ConfigurationError: its name stands for another one, of which something was measured.
        """
        for one in self.run.indexes:
            if one.name == index.name:
                if one.url != index.url and one.sizes:
                    raise ConfigurationError(
                        f"{self.path} measured {one.name} at {one.url}, not at {index.url}; give "
                        "it another name: NAME=URL"
                    )
                index = replace(index, sizes=one.sizes)
        others = (one for one in self.run.indexes if one.name != index.name)
        self.run = replace(self.run, indexes=(*others, index))

    def put(self, name: str, size: Size) -> None:
        """Keep what was measured of a size, also if the program ends now."""
        indexes = tuple(
            one.with_size(size) if one.name == name else one for one in self.run.indexes
        )
        self.run = replace(self.run, indexes=indexes)
        self.write()

    def write(self, beside: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
        """Write the file in one step, with what else it is to show; return what it holds."""
        document = {**asdict(self.run), **beside}
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(new, self.path)  # noqa: PTH105 - Path.replace returns a path nobody needs
        return document


def _read(path: Path) -> Run:
    from pydantic import TypeAdapter, ValidationError

    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ConfigurationError(f"{path} has the format {document['format']}, not {FORMAT}")
        named = {name: document[name] for name in Run.__dataclass_fields__}
        return TypeAdapter(Run).validate_python(named)
    except (KeyError, RecursionError, TypeError, ValueError, ValidationError) as error:
        raise ConfigurationError(f"{path} holds no comparison; name another file") from error
