"""``ialstore config check``: whether a configuration holds, and what it comes to."""

from __future__ import annotations

import re
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from ialstore.cli.common import Common
from ialstore.cli.text import dump_json
from ialstore.registry import find
from ialstore.url import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ialstore.config import Config, ConversationSection
    from ialstore.embedding import Embedder

__all__ = ["check_config"]

_HARMLESS: Final = re.compile(r"true|false|[0-9]{1,6}(\.[0-9]{1,6})?")
"""Values of options that can be shown, whatever the option."""
_NO_SECRETS: Final = frozenset({"analyzer", "encoding", "model", "profile", "region"})
"""Options whose values can be shown, beside those that take one of a few words."""


def check_config(common: Common) -> None:
    """Check every section of the configuration, and show what is in effect.

    Nothing is created or connected to; an embedder may load its model. Secrets are not shown.
    """
    from ialstore.config import make_embedder

    config = common.load()
    embedder = make_embedder(config)
    sections = {
        "conversation": _conversation(config),
        "vector": _vector(config, embedder),
        "embedder": _embedder(config, embedder),
        "context": _context(config),
    }
    if common.json:
        common.out.document({"origin": config.origin, **sections})
        return
    common.out.line(f"from {config.origin}:")
    common.out.table(
        ["section", "key", "value"],
        [
            [name, key, _shown(value)]
            for name, section in sections.items()
            for key, value in section.items()
        ],
    )
    common.out.line("The configuration is valid; ialstore check looks into the stores themselves.")


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else dump_json(value)


def _conversation(config: Config) -> dict[str, Any]:
    from ialstore.config import open_store

    with open_store(config):
        return _section("conversation", config.conversation)


def _vector(config: Config, embedder: Embedder) -> dict[str, Any]:
    from ialstore.config import open_index
    from ialstore.vector_model import IndexSpec

    if not config.vector.url:
        return {"url": None}
    spec = IndexSpec(embedder.dimension, config.vector.metric, embedder.model)
    with open_index(config, spec):
        return {**_section("vector", config.vector), **asdict(spec)}


def _embedder(config: Config, embedder: Embedder) -> dict[str, Any]:
    return {
        "use": config.embedder.use,
        **_harmless(config.embedder.options),
        "model": embedder.model,
        "dimension": embedder.dimension,
    }


def _context(config: Config) -> dict[str, Any]:
    from ialstore.context.opening import context_section, make_token_counter

    make_token_counter(config)
    section = context_section(config)
    return {**asdict(section), "token_counter": _wrapper(section.token_counter)}


def _section(kind: str, section: ConversationSection) -> dict[str, Any]:
    open_ones = _NO_SECRETS | _choices(kind, section.url)
    return {
        "url": redact_url(
            section.url, shown=lambda key, value: str(_value(key, unquote(value), open_ones))
        ),
        "wrap": [_wrapper(one) for one in section.wrap],
        "timeout_seconds": section.timeout_seconds,
        "retention_days": section.retention_days,
        **_harmless(section.options, open_ones),
    }


def _choices(kind: str, url: str) -> frozenset[str]:
    """Return the options of a store that take one of a few words."""
    options = find(kind, url.partition(":")[0].lower()).OPTIONS
    if options is None:
        return frozenset()
    return frozenset(one.name for one in fields(options) if "Literal" in str(one.type))


def _wrapper(entry: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(entry, str):
        return entry
    return {"use": entry["use"], **_harmless({k: v for k, v in entry.items() if k != "use"})}


def _harmless(
    options: Mapping[str, Any], open_ones: frozenset[str] = _NO_SECRETS
) -> dict[str, Any]:
    """Return options with the values hidden that may be secrets."""
    return {key: _value(key, value, open_ones) for key, value in options.items()}


def _value(key: str, value: Any, open_ones: frozenset[str]) -> Any:
    if isinstance(value, int | float) or _HARMLESS.fullmatch(str(value)):
        return value
    if isinstance(value, str) and "://" in value:
        return redact_url(value)
    return value if key in open_ones else "***"
