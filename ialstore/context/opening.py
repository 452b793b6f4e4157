"""``open_engine``: a context engine from a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from ialstore.config import ConfigSource, load_config, make_embedder, open_index, open_store
from ialstore.context.budget import ContextBudget
from ialstore.context.engine import ContextEngine
from ialstore.url import validated
from ialstore.vector_model import IndexSpec

if TYPE_CHECKING:
    from ialstore.component import StoreSettings

__all__ = ["open_engine"]


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
    budget = validated(ContextBudget, config.context, f"{config.origin}: context.")
    embedder = make_embedder(config)
    store = open_store(config, **settings)
    try:
        spec = IndexSpec(embedder.dimension, config.vector.metric, embedder.model)
        index = open_index(config, spec, **settings)
        return ContextEngine(store, index, embedder, budget=budget)
    except BaseException:
        store.close()
        raise
