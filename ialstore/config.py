"""Configuration: TOML, environment or dict, and ``open_store`` and ``open_index`` that use it.

``open_engine`` is in ``context``. The file is the one given, else ``IALSTORE_CONFIG``, else
``./ialstore.toml``; variables such as ``IALSTORE_CONVERSATION__URL`` override it; with none of
them everything is kept in SQLite, in ``./ialstore.db``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeGuard, TypeVar, Unpack, cast

from ialstore._toml import read_toml
from ialstore.errors import ConfigurationError
from ialstore.limits import DEFAULT_TIMEOUT_SECONDS
from ialstore.operation import check_span
from ialstore.registry import find, known, make
from ialstore.url import StoreURL, closest, redact_url, validated
from ialstore.vector_model import IndexSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ialstore.component import StoreSettings
    from ialstore.conversation import ConversationStore
    from ialstore.embedding import Embedder
    from ialstore.vector import VectorIndex

__all__ = [
    "Config",
    "ConfigSource",
    "ConversationSection",
    "EmbedderSection",
    "VectorSection",
    "load_config",
    "make_embedder",
    "open_index",
    "open_store",
]

DEFAULT_URL: Final = "sqlite:///ialstore.db"
DEFAULT_FILE: Final = "ialstore.toml"
_ENVIRONMENT_PREFIX: Final = "IALSTORE_"
_SECTIONS: Final = ("context", "conversation", "embedder", "vector")

T = TypeVar("T")

ConfigSource: TypeAlias = "str | Path | Mapping[str, Any] | Config | None"
"""A store URL, a TOML file, a dict of sections, a ``Config``, or None to look for a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSection:
    """The section ``[conversation]``.

    Attributes:
        url: of the store.
        wrap: wrappers, outermost first, each a name or a table with ``use``.
        timeout_seconds: time given to a call.
        retention_days: default expiry, from a message's creation.
        options: every other key: options of the backend, as in its URL.
    """

    url: str = field(default=DEFAULT_URL, repr=False)
    wrap: tuple[str | dict[str, Any], ...] = ("retry",)
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    retention_days: float | None = None
    options: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    def __post_init__(self) -> None:
        check_span(self.timeout_seconds, "timeout_seconds")
        if self.retention_days is not None:
            check_span(self.retention_days, "retention_days")


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSection(ConversationSection):
    """The section ``[vector]``: as ``[conversation]``, and the metric.

    Without a URL the vectors live beside the conversations, where their store can keep both;
    without ``retention_days`` they stay as long as these.
    """

    metric: Literal["cosine", "dot", "euclidean"] = "cosine"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSection:
    """The section ``[embedder]``.

    Attributes:
        use: name of the embedder.
        options: every other key, for the embedder.
    """

    use: str = "hashing"
    options: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration.

    Attributes:
        conversation: the store.
        vector: the index.
        embedder: what turns texts into vectors.
        context: settings of the context engine, as ``ContextSection`` in ``context`` names them.
        origin: where it came from, for people.
    """

    conversation: ConversationSection = field(default_factory=ConversationSection)
    vector: VectorSection = field(default_factory=VectorSection)
    embedder: EmbedderSection = field(default_factory=EmbedderSection)
    context: dict[str, Any] = field(default_factory=dict[str, Any])
    origin: str = "built-in defaults"


def load_config(source: ConfigSource = None, *, environ: Mapping[str, str] | None = None) -> Config:
    """Return the configuration of a source; with None the file and the environment are looked up.

    Args:
        source: see ``ConfigSource``; a text that ends in ``.toml`` is the path of a file.
        environ: the environment; the process's own by default. Variables override a file, but
            not a dict or URL that the program itself gives.

    Raises:
        ConfigurationError: a file is missing or not TOML, a key is unknown (the closest is
            named), or a value has the wrong type.
    """
    environ = os.environ if environ is None else environ
    if isinstance(source, Config):
        return source
    if isinstance(source, Mapping):
        return _parse(source, "the dict")
    if _is_url(source):
        return _parse({"conversation": {"url": source}}, redact_url(source))
    if source is not None and not isinstance(source, (str, Path)):
        raise ConfigurationError(
            f"a configuration is a URL, a .toml file or a dict, not {type(source).__name__}"
        )
    path = _file(source, environ)
    tables = {} if path is None else read_toml(path)
    overrides = _from_environment(environ)
    for section, keys in overrides.items():
        table = tables.setdefault(section, {})
        if isinstance(table, dict):
            cast("dict[str, Any]", table).update(keys)
    origins = [str(path)] if path is not None else []
    if overrides:
        origins.append("the environment")
    return _parse(tables, " and ".join(origins) or "built-in defaults")


def open_store(source: ConfigSource = None, **settings: Unpack[StoreSettings]) -> ConversationStore:
    """Return the conversation store of a URL or configuration.

    Args:
        source: see ``ConfigSource``. A store opened by URL is wrapped in ``retry``.
        **settings: override those of the configuration; ``clock`` is for tests.

    Raises:
        ConfigurationError: the URL or configuration is wrong.
        MissingDriverError: a driver is not installed; the text names the extra.
    """
    config = load_config(source)
    section = config.conversation
    url, kind = _target("conversation", section, config.origin)
    store: ConversationStore = kind.from_url(url, **_settings(section, settings))
    for wrapper, options in _wrappers("conversation", section, config.origin):
        store = wrapper(store, options)
    return store


def open_index(
    source: ConfigSource = None,
    spec: IndexSpec | None = None,
    **settings: Unpack[StoreSettings],
) -> VectorIndex:
    """Return the vector index of a URL or configuration.

    Args:
        source: see ``ConfigSource``; a URL is that of the index.
        spec: dimension, metric and model; those of the configured embedder by default.
        **settings: override those of the configuration; ``clock`` is for tests.

    Raises:
        ConfigurationError: the URL or configuration is wrong.
        MissingDriverError: a driver is not installed; the text names the extra.
    """
    if _is_url(source):
        source = {"vector": {"url": source}}
    config = load_config(source)
    section = config.vector
    if spec is None:
        embedder = make_embedder(config)
        spec = IndexSpec(embedder.dimension, section.metric, embedder.model)
    url, kind = _target("vector", section, config.origin)
    index: VectorIndex = kind.from_url(url, spec, **_settings(section, settings))
    for wrapper, options in _wrappers("vector", section, config.origin):
        index = wrapper(index, options)
    return index


def make_embedder(config: Config) -> Embedder:
    """Return the embedder that a configuration names.

    Raises:
        ConfigurationError: there is none of this name, or an option is wrong.
        MissingDriverError: an extra is not installed; the text names it.
    """
    section = config.embedder
    made = make("embedder", section.use, section.options, f"{config.origin}: embedder")
    return cast("Embedder", made)


def _is_url(source: ConfigSource) -> TypeGuard[str]:
    """Return whether a text is a URL rather than the path of a TOML file."""
    return isinstance(source, str) and ("://" in source or not source.endswith(".toml"))


def _file(source: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    if source is not None:
        path = Path(source)
        if path.suffix != ".toml":
            raise ConfigurationError(
                f"{path}: a path names a .toml file; for a SQLite file write sqlite:///{path}"
            )
        return path
    if named := environ.get("IALSTORE_CONFIG"):
        return Path(named)
    default = Path(DEFAULT_FILE)
    return default if default.exists() else None


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return sections from variables such as ``IALSTORE_CONTEXT__MAX_TOKENS``."""
    sections: dict[str, dict[str, Any]] = {}
    for name, text in environ.items():
        if not name.startswith(_ENVIRONMENT_PREFIX):
            continue
        section, separator, key = name.removeprefix(_ENVIRONMENT_PREFIX).lower().partition("__")
        if not separator:
            section, _, key = section.partition("_")
            if section in _SECTIONS:
                raise ConfigurationError(
                    f"environment variable {name}: write {_ENVIRONMENT_PREFIX}{section.upper()}__"
                    f"{key.upper() or 'KEY'}, with two underscores"
                )
            continue
        if section not in _SECTIONS:
            raise ConfigurationError(
                f"environment variable {name}: there is no section {section}"
                f"{closest(section, _SECTIONS)}"
            )
        value: Any = text
        if key == "wrap":
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                raise ConfigurationError(
                    f'environment variable {name} must be a JSON list, such as ["retry"]'
                ) from None
        elif section == "embedder":  # no declared options say what is a number
            value = _number(text)
        sections.setdefault(section, {})[key] = value
    return sections


def _number(text: str) -> Any:
    """Return the number, truth value or text that a variable holds."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (int, float)) else text


def _parse(tables: Mapping[str, Any], origin: str) -> Config:
    for section, table in tables.items():
        if section not in _SECTIONS:
            raise ConfigurationError(
                f"{origin}: there is no section {section}{closest(str(section), _SECTIONS)}"
            )
        if not isinstance(table, Mapping):
            raise ConfigurationError(f"{origin}: {section} must be a table")
    conversation = _section(ConversationSection, tables, "conversation", origin)
    vector = _section(
        VectorSection,
        {
            "vector": {
                "url": "",
                "retention_days": conversation.retention_days,
                **tables.get("vector", {}),
            }
        },
        "vector",
        origin,
    )
    if not vector.url:
        scheme = conversation.url.partition(":")[0].lower()
        vector = replace(vector, url=conversation.url if scheme in known("vector") else "")
    return Config(
        conversation=conversation,
        vector=vector,
        embedder=_section(EmbedderSection, tables, "embedder", origin),
        context=dict(tables.get("context", {})),
        origin=origin,
    )


def _section(kind: type[T], tables: Mapping[str, Any], name: str, origin: str) -> T:
    """Return a section; keys that it does not have are options of what it opens."""
    own = {one.name for one in fields(cast("Any", kind))} - {"options"}
    values: dict[str, Any] = {"options": {}}
    for key, value in tables.get(name, {}).items():
        if key in own:
            values[key] = value
        else:
            values["options"][key] = value if name == "embedder" else _option_text(value)
    return validated(kind, values, f"{origin}: {name}.")


def _option_text(value: Any) -> str:
    """Return a value as the URL would carry it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _target(kind: str, section: ConversationSection, origin: str) -> tuple[StoreURL, type[Any]]:
    """Return the URL with all its options, and the class that answers to its scheme."""
    if not section.url:
        lack = "conversation.url is empty"
        if kind == "vector":
            lack = "no vector index is configured, and the conversation store keeps no vectors"
        raise ConfigurationError(f"{origin}: {lack}; set url in the section [{kind}]")
    url = StoreURL.parse(section.url)
    backend = find(kind, url.scheme)
    names = [one.name for one in fields(backend.OPTIONS)] if backend.OPTIONS else []
    for key in section.options:
        if key not in names:
            keys = [*names, *(one.name for one in fields(section) if one.name != "options")]
            raise ConfigurationError(f"{origin}: {kind}.{key} is unknown{closest(key, keys)}")
    return url.with_options(section.options), backend


def _settings(section: ConversationSection, given: StoreSettings) -> StoreSettings:
    configured: StoreSettings = {
        "timeout_seconds": section.timeout_seconds,
        "retention_days": section.retention_days,
    }
    return {**configured, **given}


def _wrappers(
    kind: str, section: ConversationSection, origin: str
) -> Iterator[tuple[type[Any], Any]]:
    """Yield wrapper classes with their options, innermost first."""
    for entry in reversed(section.wrap):
        table = {"use": entry} if isinstance(entry, str) else dict(entry)
        name = table.pop("use", None)
        if not isinstance(name, str):
            raise ConfigurationError(
                f"{origin}: {kind}.wrap: each table names its wrapper with use = ..."
            )
        wrapper = find(f"{kind}_wrapper", name)
        yield wrapper, validated(wrapper.OPTIONS, table, f"{origin}: {kind}.wrap: {name}.")
