"""Which class answers to which URL scheme or name: ours, those of other packages, and of tests.

Other packages name theirs by entry points in the groups of ``GROUPS``; they can't replace ours. A
class is imported when it is asked for, and its driver when a store is opened. ``make`` makes what
takes keyword arguments instead of a URL.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from ialstore.conversation import ConversationStore
from ialstore.errors import ConfigurationError, InvalidInputError, MissingDriverError
from ialstore.url import closest
from ialstore.vector import VectorIndex

__all__ = ["GROUPS", "Registration", "find", "known", "make", "register"]

GROUPS: Final = {
    "cache": "ialstore.caches",
    "conversation": "ialstore.conversation_stores",
    "embedder": "ialstore.embedders",
    "token_counter": "ialstore.token_counters",
    "vector": "ialstore.vector_indexes",
}
"""Entry point group of each kind; the name of an entry point is the scheme or name."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A class by its place.

    Attributes:
        kind: ``conversation``, ``vector``, ``embedder``, ``token_counter``, ``cache``, or one of
            the two kinds of wrapper.
        name: URL scheme, or the name that a config uses.
        target: ``module:Class``, or the class itself.
        extra: what to install for it, such as ``ialstore[redis]``; empty for the core.
        packages: the distributions whose entry points name it: one, or several that are in each
            other's way; none for ours and for what ``register`` added.
    """

    kind: str
    name: str
    target: str | type[Any] = field(compare=False)
    extra: str = ""
    packages: tuple[str, ...] = ()

    def load(self) -> type[Any]:
        """Return the class.

        Raises:
            MissingDriverError: a module that it needs is not installed.
            ConfigurationError: there is no such class, it can't be imported, or is not what its
                kind asks for; the text names the package it comes from.
        """
        if len(self.packages) > 1:
            raise ConfigurationError(
                f"{self.name} is named by several packages: {', '.join(self.packages)}; "
                "uninstall all but one"
            )
        loaded = self._imported(self.target) if isinstance(self.target, str) else self.target
        fault = _fault(self.kind, loaded)
        if fault:
            raise ConfigurationError(f"{self._shown()}: {loaded.__qualname__} {fault}")
        return loaded

    def _imported(self, target: str) -> type[Any]:
        module, _, attribute = target.partition(":")
        try:
            loaded = getattr(importlib.import_module(module), attribute, None)
        except ModuleNotFoundError as error:
            raise MissingDriverError(self._missing(module, error.name or "")) from error
        except Exception as error:
            cure = f"; upgrade {self.packages[0]} or ialstore" if self.packages else ""
            # Texts of other errors may hold anything.
            why = str(error) if isinstance(error, ImportError) else type(error).__name__
            raise ConfigurationError(
                f"{self._shown()}: {module} can't be imported: {why}{cure}"
            ) from error
        if not isinstance(loaded, type):
            lack = f"has no {attribute}" if loaded is None else f"has no class {attribute}"
            raise ConfigurationError(f"{self._shown()}: {module} {lack}")
        return loaded

    def _missing(self, module: str, missing: str) -> str:
        if not self.packages:
            cure = f": pip install '{self.extra}'" if self.extra else ", which is not installed"
            return f"{self.name} needs the module {missing}{cure}"
        package = self.packages[0]
        if f"{module}.".startswith(f"{missing}."):
            return (
                f"{self._shown()}: its entry point names the module {missing}, which is not there; "
                f"reinstall the package: pip install --force-reinstall '{package}'"
            )
        return (
            f"{self._shown()} needs the module {missing}, which is not installed; "
            f"the extras of {package} say what brings it"
        )

    def _shown(self) -> str:
        return f"{self.name} of the package {self.packages[0]}" if self.packages else self.name


def _fault(kind: str, loaded: type[Any]) -> str | None:
    """Return what makes a class useless as one of this kind, after its name in a sentence."""
    lacking = [one for one in _METHODS.get(kind, ()) if not hasattr(loaded, one)]
    if lacking:
        return f"does not define {', '.join(lacking)}"
    base = _BASES.get(kind)
    if base is None:
        return None
    if not issubclass(loaded, base):
        return f"is no subclass of ialstore.{base.__name__}"
    if inspect.isabstract(loaded):
        return f"does not define {', '.join(sorted(loaded.__abstractmethods__))}"
    lacking = [one for one in ("CAPABILITIES", "SCHEME") if not getattr(loaded, one, None)]
    if lacking and kind in GROUPS:
        return f"does not set {', '.join(lacking)}"
    return None


def _wrappers(kind: str, base: str) -> tuple[Registration, ...]:
    names = ("dual", "faults", "metrics", "namespace", "readonly", "retry", "shadow")
    return tuple(
        Registration(f"{kind}_wrapper", name, f"ialstore.wrappers.{name}:{name.capitalize()}{base}")
        for name in names
    )


# Sorted; a test says so.
BUILT_IN: Final = (
    Registration("cache", "memory", "ialstore_backends.memory_cache:MemoryCache"),
    Registration("cache", "redis", "ialstore_backends.redis:RedisCache", "ialstore[redis]"),
    Registration("cache", "rediss", "ialstore_backends.redis:RedisCache", "ialstore[redis]"),
    Registration(
        "conversation",
        "dynamodb",
        "ialstore_backends.dynamodb:DynamoConversationStore",
        "ialstore[dynamodb]",
    ),
    Registration("conversation", "memory", "ialstore_backends.memory:MemoryConversationStore"),
    Registration("conversation", "sqlite", "ialstore_backends.sqlite:SqliteConversationStore"),
    Registration("conversation_wrapper", "cache", "ialstore.wrappers.cache:CacheConversationStore"),
    *_wrappers("conversation", "ConversationStore"),
    Registration(
        "embedder",
        "bedrock-titan",
        "ialstore_backends.embedders.bedrock:BedrockTitanEmbedder",
        "ialstore[bedrock]",
    ),
    Registration("embedder", "callable", "ialstore.callables:CallableEmbedder"),
    Registration("embedder", "hashing", "ialstore.embedding:HashingEmbedder"),
    Registration(
        "embedder",
        "sentence-transformers",
        "ialstore_backends.embedders.sentence:SentenceTransformersEmbedder",
        "ialstore[sentence-transformers]",
    ),
    Registration("token_counter", "estimate", "ialstore.context.tokens:EstimateCounter"),
    Registration(
        "token_counter",
        "tiktoken",
        "ialstore_backends.token_counters:TiktokenCounter",
        "ialstore[tiktoken]",
    ),
    Registration(
        "vector",
        "dynamodb-vector",
        "ialstore_backends.dynamodb_vector:DynamoVectorIndex",
        "ialstore[dynamodb]",
    ),
    Registration("vector", "faiss", "ialstore_backends.faiss:FaissVectorIndex", "ialstore[faiss]"),
    Registration(
        "vector", "lsh+dynamodb", "ialstore_backends.lsh:LshDynamoIndex", "ialstore[dynamodb]"
    ),
    Registration("vector", "memory", "ialstore_backends.memory:MemoryVectorIndex"),
    Registration(
        "vector",
        "opensearch",
        "ialstore_backends.opensearch:OpenSearchVectorIndex",
        "ialstore[opensearch]",
    ),
    Registration(
        "vector",
        "opensearch+http",
        "ialstore_backends.opensearch:OpenSearchVectorIndex",
        "ialstore[opensearch]",
    ),
    Registration("vector", "sqlite", "ialstore_backends.sqlite:SqliteVectorIndex"),
    *_wrappers("vector", "VectorIndex"),
)

_BASES: Final[Mapping[str, type[Any]]] = {
    "conversation": ConversationStore,
    "conversation_wrapper": ConversationStore,
    "vector": VectorIndex,
    "vector_wrapper": VectorIndex,
}

_METHODS: Final = {"embedder": ("embed", "embed_query")}

_NOUNS: Final = {
    "cache": "cache",
    "conversation": "conversation store",
    "conversation_wrapper": "wrapper of conversation stores",
    "embedder": "embedder",
    "token_counter": "token counter",
    "vector": "vector index",
    "vector_wrapper": "wrapper of vector indexes",
}

_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_added: dict[tuple[str, str], Registration] = {}


def register(kind: str, name: str, target: str | type[Any]) -> None:
    """Let ``name`` mean this class from now on, in this process; also in place of ours.

    Args:
        kind: see ``Registration``.
        name: URL scheme or name.
        target: ``module:Class`` or the class.
    """
    _added[kind, name] = Registration(kind, name, target)


def known(kind: str) -> dict[str, Registration]:
    """Return all of a kind by name, sorted: ours, entry points, and what ``register`` added."""
    found = {one.name: one for one in BUILT_IN if one.kind == kind}
    found |= {one.name: one for one in _installed(kind) if one.name not in found}
    found |= {one.name: one for one in _added.values() if one.kind == kind}
    return dict(sorted(found.items()))


def find(kind: str, name: str) -> type[Any]:
    """Return the class of a scheme or name.

    Raises:
        ConfigurationError: there is none; the closest is named.
        MissingDriverError: a module that it needs is not installed.
    """
    registrations = known(kind)
    if name not in registrations:
        raise ConfigurationError(f"there is no {_NOUNS[kind]} {name}{closest(name, registrations)}")
    return registrations[name].load()


def make(kind: str, name: str, options: Mapping[str, Any], where: str) -> Any:
    """Return what a configuration names, made with the options that stand beside the name.

    Args:
        kind: see ``Registration``; one whose classes take named arguments.
        name: what ``use`` says.
        options: by argument.
        where: stands before the name of a wrong one, such as ``ialstore.toml: embedder``.

    Raises:
        ConfigurationError: there is none of this name, or an option is unknown (the closest is
            named), missing or wrong.
        MissingDriverError: an extra is not installed; the text names it.
    """
    found = find(kind, name)
    parameters = inspect.signature(found).parameters.values()
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    named = {one.name: one for one in parameters if one.kind not in _VARIABLE}
    for key in options:
        if key not in named and not takes_any:
            raise ConfigurationError(
                f"{where}.{key} is unknown{closest(str(key), ['use', *named])}"
            )
    for key, one in named.items():
        if one.default is inspect.Parameter.empty and key not in options:
            raise ConfigurationError(f"{where}.{key} is missing; {name} needs it")
    try:
        return found(**options)
    except (TypeError, InvalidInputError) as error:
        raise ConfigurationError(f"{where}: {error}") from error


@cache
def _installed(kind: str) -> tuple[Registration, ...]:
    """Return what other packages name; asked once, because it reads every installed package."""
    from importlib.metadata import entry_points  # slow to import; opening needs it, import not

    group = GROUPS.get(kind)
    if group is None:
        return ()
    found: dict[str, Registration] = {}
    for one in entry_points(group=group):
        packages = (one.dist.name,) if one.dist else ()
        if one.name in found:
            packages = (*found[one.name].packages, *packages)
        found[one.name] = Registration(kind, one.name, one.value, packages=packages)
    return tuple(found.values())
