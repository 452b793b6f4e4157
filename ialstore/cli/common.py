"""The options that every command has, and the frame in which each one runs.

``ialstore --url X history`` and ``ialstore history --url X`` mean the same; the one behind the
command wins.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec, get_type_hints

import typer

from ialstore.cli.exits import ExitCode, NothingFoundError, describe, exit_code, print_error
from ialstore.errors import ConfigurationError

if TYPE_CHECKING:
    from ialstore.cli.output import Output
    from ialstore.config import Config
    from ialstore.context.engine import ContextEngine
    from ialstore.conversation import ConversationStore
    from ialstore.embedding import Embedder
    from ialstore.vector import VectorIndex

__all__ = [
    "Common",
    "ConfigOption",
    "DebugOption",
    "JsonOption",
    "Parts",
    "UrlOption",
    "framed",
    "is_for_vectors",
    "is_there",
    "kinds_of",
    "require_database",
]

P = ParamSpec("P")

_PANEL = "Common options"

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration file. Otherwise IALSTORE_CONFIG, ./ialstore.toml, or the defaults.",
        rich_help_panel=_PANEL,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="A store, in place of a configuration: sqlite:///agent.db",
        rich_help_panel=_PANEL,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Write one JSON document, for programs.", rich_help_panel=_PANEL),
]
DebugOption = Annotated[
    bool,
    typer.Option("--debug", help="Show where an error came from.", rich_help_panel=_PANEL),
]


_IN_FILES: Final = ("sqlite", "faiss")
"""Schemes of what is kept in files and made by opening it."""

_REMEDY: Final = "import something, or name another with --url"

_SHARED: Final = {
    "config": (ConfigOption, None),
    "url": (UrlOption, None),
    "json": (JsonOption, False),
    "debug": (DebugOption, False),
}
"""Type and default of the common options, by argument."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a configuration opens; iterating goes over what there is."""

    store: ConversationStore
    index: VectorIndex | None
    embedder: Embedder | None
    """What the index was made with; None without an index."""

    def __iter__(self) -> Iterator[ConversationStore | VectorIndex]:
        yield self.store
        if self.index is not None:
            yield self.index

    @property
    def searched(self) -> tuple[VectorIndex, Embedder]:
        """The index and what it was made with.

        Raises:
            ConfigurationError: there is none.
        """
        if self.index is None or self.embedder is None:
            raise ConfigurationError("no vector index is configured; set url in section [vector]")
        return self.index, self.embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every command gets: what to open, and where to speak.

    Attributes:
        config: the configuration file given, if any.
        url: the store URL given, if any.
        out: standard output and error.
    """

    config: Path | None
    url: str | None = field(repr=False)
    out: Output

    @property
    def json(self) -> bool:
        """Whether a program reads the output."""
        return self.out.json

    def load(self) -> Config:
        """Return the configuration.

        Raises:
            ConfigurationError: it is wrong, or both a file and a URL are given.
        """
        from ialstore.config import load_config

        if self.config is not None and self.url is not None:
            raise ConfigurationError("give either --config or --url, not both")
        return load_config(self.config if self.url is None else self.url)

    def open_store(self, *, create: bool = False) -> ConversationStore:
        """Return the conversation store; close it after use.

        Args:
            create: a database that is not there is made; otherwise that is an error.
        """
        from ialstore.config import open_store

        config = self.load()
        if not create:
            require_database(config.conversation.url)
        return open_store(config)

    @contextmanager
    def open_parts(self, *, create: bool = False) -> Generator[Parts]:
        """Open the conversation store and, where one is configured, the vector index.

        Args:
            create: see ``open_store``.
        """
        from ialstore.config import make_embedder, open_index, open_store
        from ialstore.vector_model import IndexSpec

        config = self._load_all(create=create)
        with ExitStack() as opened:
            store = opened.enter_context(open_store(config))
            if not config.vector.url:
                yield Parts(store, None, None)
                return
            embedder = make_embedder(config)
            spec = IndexSpec(embedder.dimension, config.vector.metric, embedder.model)
            yield Parts(store, opened.enter_context(open_index(config, spec)), embedder)

    def open_engine(self, *, create: bool = False) -> ContextEngine:
        """Return the context engine; close it after use.

        Args:
            create: see ``open_store``.
        """
        from ialstore.context.opening import open_engine

        return open_engine(self._load_all(create=create))

    def _load_all(self, *, create: bool) -> Config:
        config = self.load()
        if not create:
            require_database(config.conversation.url)
            require_database(config.vector.url, "run ialstore setup, or name another with --url")
        return config


def is_for_vectors(url: str) -> bool:
    """Whether a URL can only be that of a vector index."""
    from ialstore.registry import known

    scheme = url.partition(":")[0].lower()
    return scheme in known("vector") and scheme not in known("conversation")


def kinds_of(scheme: str) -> list[str]:
    """Return what a scheme can keep: ``conversation``, ``vector``, or both.

    Raises:
        ConfigurationError: neither; the closest is named.
    """
    from ialstore.registry import known
    from ialstore.url import closest

    schemes = {kind: known(kind) for kind in ("conversation", "vector")}
    kinds = [kind for kind, names in schemes.items() if scheme in names]
    if not kinds:
        near = closest(scheme, {*schemes["conversation"], *schemes["vector"]})
        raise ConfigurationError(f"there is no store or index {scheme}{near}")
    return kinds


def is_there(url: str) -> bool:
    """Whether opening a URL makes no database that is not there."""
    from ialstore.url import StoreURL

    if url.partition(":")[0].lower() not in _IN_FILES:
        return True
    return Path(StoreURL.parse(url).file_path()).exists()


def require_database(url: str, remedy: str = _REMEDY) -> None:
    """Refuse to read from a database that is not there: opening it would make it."""
    from ialstore.url import redact_url

    if not is_there(url):
        raise NothingFoundError(f"there is no database at {redact_url(url)}; {remedy}")


Command = Callable[Concatenate[Common, P], "ExitCode | None"]


def framed(command: Command[P]) -> Callable[..., int]:
    """Return a command as typer takes it: with the common options, and with errors in one line.

    Args:
        command: takes a ``Common`` and then its own arguments; None means ``ExitCode.OK``.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = {
        name: inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[name]
        )
        for name, one in list(inspect.signature(command).parameters.items())[1:]
    }
    for name, (kind, default) in {
        "ctx": (typer.Context, inspect.Parameter.empty),
        **_SHARED,
    }.items():
        parameters[name] = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
        )

    def run(ctx: typer.Context, **given: Any) -> int:
        return _run(command, ctx.obj, given)

    run.__doc__ = _joined(command.__doc__ or "")
    run.__name__ = command.__name__
    # Typer reads the arguments of a command off its signature and annotations.
    run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    return run


def _joined(text: str) -> str:
    """Return a text with each of its paragraphs on one line, for help of any width."""
    return "\n\n".join(" ".join(one.split()) for one in inspect.cleandoc(text).split("\n\n"))


def _run(
    command: Callable[..., ExitCode | None], outer: dict[str, Any], given: dict[str, Any]
) -> int:
    own = {name: given.pop(name) for name in _SHARED}
    if own["config"] is None and own["url"] is None:
        own |= {"config": outer["config"], "url": outer["url"]}
    as_json, debug = own["json"] or outer["json"], own["debug"] or outer["debug"]
    try:
        from ialstore.cli.output import Output

        out = Output(json=as_json)
        code = command(Common(config=own["config"], url=own["url"], out=out), **given)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return ExitCode.PIPE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the border to the shell
        if debug:
            traceback.print_exception(error)
        print_error(describe(error), kind=type(error).__name__, as_json=as_json)
        _drop_output()
        return exit_code(error)
    return ExitCode.OK if code is None else code


def _drop_output() -> None:
    """Forget what standard output can't take: the interpreter would fail on it at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
