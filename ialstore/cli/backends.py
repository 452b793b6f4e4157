"""``ialstore backends``: what can be kept where, and what each place promises; what embeds texts.

Classes are looked at; no driver is imported.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from ialstore.cli.common import Common
from ialstore.errors import ConfigurationError, MissingDriverError
from ialstore.registry import known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ialstore.capabilities import Capabilities
    from ialstore.registry import Registration

__all__ = ["backends", "plain_capabilities"]

_KINDS: Final = {"conversation": "conversations", "vector": "vectors"}
_PARTS: Final = {"embedder": "embedders", "token_counter": "token counters"}
_FLAGS: Final = {
    "durable": "durable",
    "multi_process": "multi-process",
    "strong_reads": "strong reads",
    "exact": "exact",
    "needs_setup": "needs setup",
}
"""Capabilities shown in the table, and their headings."""
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+).*\bextra\s*==\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backend:
    """A row. ``capabilities`` is empty when the class can't be imported.

    ``fault`` says what is wrong with one that is installed; empty if nothing is.
    """

    keeps: str
    scheme: str
    install: str
    installed: bool
    fault: str
    capabilities: dict[str, Any]
    options: tuple[str, ...]

    @property
    def flags(self) -> list[str]:
        """Yes, no or a dash for each of the table's capabilities."""
        # Of conversations, what may be inexact is the listing of sessions.
        known_here = {**self.capabilities}
        known_here.setdefault("exact", known_here.get("exact_sessions"))
        return [{True: "yes", False: "no", None: "-"}[known_here.get(flag)] for flag in _FLAGS]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A row of what a section of the configuration names with ``use``."""

    name: str
    install: str
    installed: bool
    fault: str
    options: tuple[str, ...]


def backends(
    common: Common,
    *,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As a table in Markdown, for a document.")
    ] = False,
) -> None:
    """Show which backends there are, what they promise, and what to install for them.

    Exact: every search finds the true nearest; of conversations, sessions are listed exactly.
    Embedders and token counters are shown with their options; a configuration names them with use.
    """
    found = {
        kept: [_look_at(one, kept) for one in known(kind).values()] for kind, kept in _KINDS.items()
    }
    everything = [one for group in found.values() for one in group]
    parts = {
        name: [_look_at_part(one) for one in known(kind).values()] for kind, name in _PARTS.items()
    }
    if common.json:
        common.out.document(
            {
                "items": [asdict(one) for one in everything],
                **{
                    name.replace(" ", "_"): [asdict(one) for one in group]
                    for name, group in parts.items()
                },
            }
        )
    elif markdown:
        for cells in _markdown(everything):
            common.out.line(f"| {' | '.join(cells)} |")
    else:
        for kept, group in found.items():
            common.out.heading(kept.capitalize())
            rows = [[one.scheme, *one.flags, _how_to_get(one)] for one in group]
            common.out.table(["scheme", *_FLAGS.values(), "installed"], rows)
        for name, some in parts.items():
            common.out.heading(name.capitalize())
            rows = [[one.name, _how_to_get(one), " ".join(one.options)] for one in some]
            common.out.table(["use", "installed", "options"], rows)
        shown: list[_Backend | _Part] = [*everything]
        for some in parts.values():
            shown += some
        for fault in filter(None, (one.fault for one in shown)):
            common.out.line(f"broken: {fault}")


def _markdown(found: list[_Backend]) -> Iterator[list[str]]:
    headings = [text.capitalize() for text in _FLAGS.values()]
    yield ["Keeps", "URL", "Install", *headings]
    yield ["---"] * (3 + len(headings))
    for one in found:
        yield [one.keeps, f"`{one.scheme}:`", f"`{one.install}`", *one.flags]


def _look_at(registration: Registration, kept: str) -> _Backend:
    backend, installed, fault = _loaded(registration)
    capabilities: dict[str, Any] = {}
    options: tuple[str, ...] = ()
    if backend is not None:
        capabilities = plain_capabilities(backend.CAPABILITIES)
        options = tuple(one.name for one in fields(backend.OPTIONS)) if backend.OPTIONS else ()
    return _Backend(
        keeps=kept,
        scheme=registration.name,
        install=_what_to_install(registration),
        installed=installed,
        fault=fault,
        capabilities=capabilities,
        options=options,
    )


def _look_at_part(registration: Registration) -> _Part:
    part, installed, fault = _loaded(registration)
    return _Part(
        name=registration.name,
        install=_what_to_install(registration),
        installed=installed,
        fault=fault,
        options=() if part is None else tuple(inspect.signature(part).parameters),
    )


def _loaded(registration: Registration) -> tuple[type[Any] | None, bool, str]:
    """Return the class, whether it can be used, and what is wrong although it is installed."""
    try:
        return registration.load(), _has_requirements(registration.extra), ""
    except ConfigurationError as error:
        is_broken = registration.packages or not isinstance(error, MissingDriverError)
        return None, False, str(error) if is_broken else ""


def _what_to_install(registration: Registration) -> str:
    return registration.extra or " ".join(registration.packages) or "ialstore"


def _how_to_get(one: _Backend | _Part) -> str:
    """Return yes, or the command that installs it, or that it does not work."""
    if one.fault:
        return "broken"
    return "yes" if one.installed else f"pip install '{one.install}'"


def _has_requirements(extra: str) -> bool:
    """Whether all packages of an extra, such as ``ialstore[redis]``, are installed."""
    from importlib.metadata import distribution

    package, _, name = extra.removesuffix("]").partition("[")
    if not (name and _is_installed(package)):
        return not name
    needed = [
        match.group(1)
        for line in distribution(package).requires or ()
        if (match := _REQUIREMENT.match(line)) and match.group(2) == name
    ]
    return all(map(_is_installed, needed))


def _is_installed(package: str) -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def plain_capabilities(capabilities: Capabilities) -> dict[str, Any]:
    """Return capabilities as JSON has them."""
    return {name: _plain(value) for name, value in asdict(capabilities).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return sorted(cast("frozenset[str]", value)) if isinstance(value, frozenset) else value
