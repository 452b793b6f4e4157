"""What an index is made of: its alias, the template of its generations, mapping and settings.

An index goes by an alias; what it stands for is a generation, ``NAME--000001``. A change of layout
fills the next one, and the alias moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from ialstore.decoding import DAMAGE
from ialstore.errors import ConfigurationError, StoreNotReadyError
from ialstore.vector_model import IndexSpec
from ialstore_backends.opensearch.failures import sensibly

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.opensearch.client import OpenSearchClient
    from ialstore_backends.opensearch.failures import JSON
    from ialstore_backends.opensearch.options import OpenSearchOptions

__all__ = ["Generation", "Layout", "first_generation", "next_generation"]

_FORMAT: Final = 1
_META: Final = "ialstore"
_SPACES: Final = {"cosine": "innerproduct", "dot": "innerproduct", "euclidean": "l2"}
"""Of the metrics; under cosine the engine has unit vectors."""


def space_of(spec: IndexSpec) -> str:
    """Return what the k-NN plugin calls the metric."""
    return _SPACES[spec.metric]


def first_generation(name: str) -> str:
    """Return the name of the first generation."""
    return f"{name}--000001"


def next_generation(generation: str) -> str:
    """Return the name of the generation after one."""
    name, _, number = generation.rpartition("--")
    return f"{name}--{int(number) + 1:06d}"


@dataclass(frozen=True, slots=True)
class Generation:
    """What the alias stands for.

    Attributes:
        name: of the generation.
        mapping: as OpenSearch tells it.
    """

    name: str
    mapping: JSON


class Layout:
    """Makes and compares what an index is made of.

    Args:
        client: that sends the requests.
        name: the alias.
        spec: what the index is made for.
        options: how it is laid out.
    """

    def __init__(
        self, client: OpenSearchClient, name: str, spec: IndexSpec, options: OpenSearchOptions
    ) -> None:
        self._client = client
        self._name = name
        self._spec = spec
        self._options = options

    @property
    def definition(self) -> JSON:
        """Settings and mapping of a generation."""
        options = self._options
        return {
            "settings": {
                "index": {
                    "knn": True,
                    "number_of_shards": options.shards,
                    "number_of_replicas": options.replicas,
                }
            },
            "mappings": {
                "dynamic": "strict",
                "_routing": {"required": True},
                "_source": {"excludes": ["vector"]},
                "_meta": {_META: self._meta()},
                "properties": {
                    "user": {"type": "keyword"},
                    "id": {"type": "keyword"},
                    "session": {"type": "keyword"},
                    "role": {"type": "keyword"},
                    "expires": {"type": "long"},
                    "text": {"type": "text", "analyzer": options.analyzer},
                    "exact": {"type": "binary"},
                    "vector": self._vector(),
                },
            },
        }

    def _meta(self) -> JSON:
        spec = self._spec
        return {
            "format": _FORMAT,
            "refresh": self._options.refresh,
            "dimension": spec.dimension,
            "metric": spec.metric,
            "model": spec.model,
        }

    def _vector(self) -> JSON:
        options = self._options
        field: JSON = {
            "type": "knn_vector",
            "dimension": self._spec.dimension,
            "method": {
                "name": "hnsw",
                "engine": options.engine,
                "space_type": space_of(self._spec),
                "parameters": {"m": options.m, "ef_construction": options.ef_construction},
            },
        }
        if options.mode != "in_memory":
            field["mode"] = options.mode
        return field

    # -- what is there --------------------------------------------------------------------------

    def find(self, op: Operation) -> Generation | None:
        """Return what the alias stands for, or None where there is nothing of that name.

        Raises:
            ConfigurationError: it is no alias of one index.
        """
        try:
            found = self._client.call(op, "GET", f"/{self._name}/_mapping")
        except StoreNotReadyError:
            return None
        if len(found) > 1 or self._name in found:
            raise ConfigurationError(
                f"opensearch: {self._name} must be an alias of one index, as ialstore setup makes "
                "it; it is another index's name, or stands for several"
            )
        with sensibly():
            ((name, told),) = found.items()
            return Generation(name, told["mappings"])

    def spec_of(self, found: Generation) -> IndexSpec:
        """Return what a generation was made for, which is refreshed as this one is.

        Raises:
            ConfigurationError: it is refreshed otherwise, or not made by ialstore.
            StoreNotReadyError: its format is newer.
        """
        spec = self.made_for(found)
        refresh = found.mapping["_meta"][_META].get("refresh")
        if refresh != self._options.refresh:
            raise ConfigurationError(
                f"opensearch: {found.name} was made with refresh={refresh}; write that into the "
                "URL, or change it by reindex"
            )
        return spec

    def made_for(self, found: Generation) -> IndexSpec:
        """Return what a generation was made for.

        Raises:
            ConfigurationError: it was not made by ialstore.
            StoreNotReadyError: its format is newer.
        """
        meta = found.mapping.get("_meta", {}).get(_META)
        if meta is None:
            raise ConfigurationError(f"opensearch: {found.name} was not made by ialstore")
        try:
            if meta["format"] > _FORMAT:
                raise StoreNotReadyError(
                    f"{found.name} has format {meta['format']}; upgrade ialstore, which reads "
                    f"format {_FORMAT}"
                )
            return IndexSpec(meta["dimension"], meta["metric"], meta["model"])
        except DAMAGE as error:
            raise ConfigurationError(
                f"opensearch: what {found.name} was made for can't be read"
            ) from error

    def differences(self, op: Operation, found: Generation) -> Iterator[str]:
        """Yield a sentence for each difference of layout."""
        wanted = self.definition
        mapping = wanted["mappings"]
        del mapping["_meta"]  # is compared when the index is opened
        for place, is_, should in _unequal(mapping, found.mapping):
            yield f"{found.name}: {place} is {is_}, not {should}; reindex"
        more = set(found.mapping.get("properties", {})) - set(mapping["properties"])
        if more:
            yield f"{found.name} has fields that ialstore does not know: {len(more)}; reindex"
        told = self._client.call(op, "GET", f"/{found.name}/_settings")
        with sensibly():
            settings = told[found.name]["settings"]
        for place, is_, should in _unequal(_texts(wanted["settings"]), settings):
            yield f"{found.name}: {place} is {is_}, not {should}; reindex"
        if settings["index"].get("blocks"):
            yield f"{found.name} takes no writes; reindex, if one was interrupted"
        template = self._template(op)
        if template is None:
            yield f"the template {self._name} is not there; run ialstore setup"
        elif list(_unequal(_texts(wanted), _texts(template))):
            yield f"the template {self._name} is of another layout; reindex"

    def _template(self, op: Operation) -> JSON | None:
        try:
            told = self._client.call(op, "GET", f"/_index_template/{self._name}")
        except StoreNotReadyError:
            return None
        with sensibly():
            found: JSON = told["index_templates"][0]["index_template"]["template"]
            return found

    # -- making it ------------------------------------------------------------------------------

    def create(self, op: Operation) -> None:
        """Make the template, the first generation and the alias where they are missing."""
        if self._template(op) is None:
            self.put_template(op)
        if self.find(op) is None:
            alias: JSON = {self._name: {}}
            body = {**self.definition, "aliases": alias}
            try:
                self._client.call(op, "PUT", f"/{first_generation(self._name)}", body)
            except StoreNotReadyError:
                if self.find(op) is None:  # else another was quicker
                    raise

    def put_template(self, op: Operation) -> None:
        """Let every generation that comes have this layout."""
        body = {"index_patterns": [f"{self._name}--*"], "template": self.definition}
        self._client.call(op, "PUT", f"/_index_template/{self._name}", body)


def _texts(value: Any) -> Any:
    """Return a value in the form in which OpenSearch tells settings: scalars as texts."""
    if isinstance(value, Mapping):
        found = cast("Mapping[str, Any]", value)
        return {key: _texts(one) for key, one in found.items()}
    if isinstance(value, list):
        values = cast("list[Any]", value)  # type: ignore[redundant-cast]  # pyright needs it
        return [_texts(one) for one in values]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unequal(wanted: JSON, found: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the place, what is found and what is wanted, of each wanted value that differs."""
    for key, one in wanted.items():
        there = cast("JSON", found).get(key) if isinstance(found, dict) else None
        path = f"{place}.{key}".removeprefix(".")
        if isinstance(one, dict):
            yield from _unequal(cast("JSON", one), there, path)
        elif there != one:
            yield path, there, one
