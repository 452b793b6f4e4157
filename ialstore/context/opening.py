"""``open_engine``: a context engine from a configuration, and the section ``[context]`` of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Unpack, cast

from ialstore.config import ConfigSource, load_config, make_embedder, open_index, open_store
from ialstore.context.budget import ContextBudget
from ialstore.context.engine import ContextEngine
from ialstore.context.maintenance import OptimizeWhen
from ialstore.context.query_cache import QueryCache, QueryCacheOptions
from ialstore.errors import ConfigurationError
from ialstore.registry import make
from ialstore.url import validated
from ialstore.vector_model import IndexSpec

if TYPE_CHECKING:
    from ialstore.component import StoreSettings
    from ialstore.config import Config
    from ialstore.context.tokens import TokenCounter
    from ialstore.embedding import Embedder

__all__ = ["ContextSection", "context_section", "make_token_counter", "open_engine"]


@dataclass(frozen=True, slots=True)
class ContextSection(ContextBudget):
    """The section ``[context]``: the budget, and what counts its tokens.

    Attributes:
        token_counter: a name, or a table with ``use`` and the options of the counter.
        query_cache: URL of a cache for the vectors of queries, or a table with ``url`` and the
            other ``QueryCacheOptions``; without one, every query is embedded.
        optimize: maintenance of the index that pays after a write: in the ``background``, or
            ``manual``: left to ``ialstore optimize``, as for functions that live for one call.
    """

    token_counter: str | dict[str, Any] = "estimate"  # noqa: S105 - no password
    query_cache: str | dict[str, Any] = field(default="", repr=False)
    optimize: OptimizeWhen = "background"

    @property
    def budget(self) -> ContextBudget:
        """The budget alone."""
        return ContextBudget(**{one.name: getattr(self, one.name) for one in fields(ContextBudget)})


def context_section(config: Config) -> ContextSection:
    """Return the section ``[context]`` of a configuration.

    Raises:
        ConfigurationError: a key is unknown (the closest is named) or of a wrong type.
    """
    return validated(ContextSection, config.context, f"{config.origin}: context.")


def make_token_counter(config: Config) -> TokenCounter:
    """Return the token counter that a configuration names.

    Raises:
        ConfigurationError: there is none of this name, or an option is wrong.
        MissingDriverError: an extra is not installed; the text names it.
    """
    where = f"{config.origin}: context.token_counter"
    entry = context_section(config).token_counter
    options: dict[str, Any] = {"use": entry} if isinstance(entry, str) else dict(entry)
    name = options.pop("use", None)
    if not isinstance(name, str):
        raise ConfigurationError(f"{where}: a table names the counter with use = ...")
    return cast("TokenCounter", make("token_counter", name, options, where))


def make_query_cache(config: Config, embedder: Embedder) -> QueryCache | None:
    """Return the cache of query vectors that a configuration names, or None.

    Raises:
        ConfigurationError: the URL or an option is wrong, or the embedder has no model name.
        MissingDriverError: a driver is not installed; the text names the extra.
    """
    entry = context_section(config).query_cache
    if not entry:
        return None
    where = f"{config.origin}: context.query_cache"
    if not embedder.model:
        raise ConfigurationError(
            f"{where}: the embedder does not say which model it is; set model in [embedder]"
        )
    table = {"url": entry} if isinstance(entry, str) else entry
    options = validated(QueryCacheOptions, table, f"{where}.")
    return QueryCache(options, embedder.model, embedder.dimension)


def open_engine(source: ConfigSource = None, **settings: Unpack[StoreSettings]) -> ContextEngine:
    """Return the context engine of a configuration; close it after use.

    Args:
        source: a TOML file, a dict of sections, the URL of a store that also keeps vectors, or
            None to look for a file.
        **settings: override those of the configuration; ``clock`` is for tests.

    Raises:
        ConfigurationError: the configuration is wrong.
        MissingDriverError: a driver is not installed; the text names the extra.
    """
    config = load_config(source)
    section = context_section(config)
    counter = make_token_counter(config)
    embedder = make_embedder(config)
    query_cache = make_query_cache(config, embedder)
    store = open_store(config, **settings)
    try:
        spec = IndexSpec(embedder.dimension, config.vector.metric, embedder.model)
        index = open_index(config, spec, **settings)
        return ContextEngine(
            store,
            index,
            embedder,
            budget=section.budget,
            token_counter=counter,
            query_cache=query_cache,
            optimize=section.optimize,
        )
    except BaseException:
        store.close()
        raise
