"""Store URLs: parsing, the options they carry, and ``redact_url`` that hides their secrets.

``scheme://AUTHORITY/path?key=value``: path and query are percent-decoded, ``+`` is a plus, and
``${VAR}`` takes the value of an environment variable, which is not decoded, so that a secret may
hold any character; ``%24{VAR}`` is the text itself.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar
from urllib.parse import unquote

from ialstore.errors import ConfigurationError

__all__ = ["StoreURL", "closest", "redact_url", "validated"]

T = TypeVar("T")

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class StoreURL:
    """A parsed URL. The ``repr`` shows no user info and no values of options.

    Attributes:
        scheme: in lower case, such as ``sqlite``.
        authority: between ``//`` and the next ``/``, without user info, case kept.
        path: as after the authority, with its leading ``/``; may be empty.
        query: the options.
        username: of the user info, or None.
        password: of the user info, or None.
    """

    scheme: str
    authority: str = ""
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, *, environ: Mapping[str, str] | None = None) -> StoreURL:
        """Return the parts of a URL.

        Args:
            text: the URL.
            environ: where ``${VAR}`` is looked up; the process's environment by default.

        Raises:
            ConfigurationError: it can't be read, has a fragment, or repeats an option.
        """
        environ = os.environ if environ is None else environ
        shown = redact_url(text)
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if not colon or _SCHEME.fullmatch(scheme) is None:
            raise ConfigurationError(
                f"{shown} is not a URL; for a SQLite file write sqlite:///{shown}"
            )
        if "#" in rest:
            raise ConfigurationError(f"{shown} has a fragment; write %23 for a # in a name")
        rest, _, query = rest.partition("?")
        authority, path = "", rest
        if rest.startswith("//"):
            authority, slash, path = rest[2:].partition("/")
            path = slash + path
        elif rest.startswith("/"):
            raise ConfigurationError(
                f"{shown}: write {scheme}:///relative/path or {scheme}:////absolute/path"
            )
        if "@" in path + query and not rest.startswith("///"):
            # It may be the end of a password, and what is before it no name to be shown.
            raise ConfigurationError(
                f"{shown}: in user info write %2F for / and %3F for ?; elsewhere %40 for @"
            )
        userinfo, at, authority = authority.rpartition("@")
        username, has_password, password = userinfo.partition(":")

        def read(part: str) -> str:
            return _expand(part, environ, shown)

        options: dict[str, str] = {}
        for pair in query.split("&") if query else ():
            key, equals, value = pair.partition("=")
            key = _decode(key, shown)
            if not equals or not key:
                raise ConfigurationError(f"{shown}: an option is written key=value")
            if key in options:
                raise ConfigurationError(f"{shown}: the option {_printable(key)} is given twice")
            options[key] = read(value)
        return cls(
            scheme,
            read(authority),
            read(path),
            options,
            read(username) if at else None,
            read(password) if has_password else None,
        )

    def with_options(self, extra: Mapping[str, str]) -> StoreURL:
        """Return this URL with further options, as config keys give them.

        Raises:
            ConfigurationError: one is also in the URL.
        """
        for key in extra:
            if key in self.query:
                raise ConfigurationError(f"the option {key} is given in the URL and beside it")
        return StoreURL(
            self.scheme,
            self.authority,
            self.path,
            {**self.query, **extra},
            self.username,
            self.password,
        )

    def options(self, kind: type[T]) -> T:
        """Return the options as a frozen dataclass whose fields name, type and default them.

        Raises:
            ConfigurationError: an option is unknown (the closest is named) or of a wrong type.
        """
        return validated(kind, self.query, f"{self.scheme}: option ")

    def require_no_userinfo(self) -> None:
        """Refuse a user name or password, for backends that take none.

        Raises:
            ConfigurationError: there is one.
        """
        if self.username is not None:
            raise ConfigurationError(f"{self.scheme}: takes no user name or password in its URL")

    def file_path(self) -> str:
        """Return the path of ``scheme:///relative`` or ``scheme:////absolute``.

        Raises:
            ConfigurationError: there is an authority or no path.
        """
        self.require_no_userinfo()
        if self.authority or not self.path.startswith("/") or self.path == "/":
            raise ConfigurationError(
                f"{self.scheme}: write {self.scheme}:///relative/path or "
                f"{self.scheme}:////absolute/path"
            )
        if "\0" in self.path:
            raise ConfigurationError(f"{self.scheme}: the path holds NUL")
        return self.path[1:]


def redact_url(text: str, *, shown: Callable[[str, str], str] = lambda _key, _value: "***") -> str:
    """Return a URL as it may be shown, on one line: no user info, no values of options.

    A text that is no URL is treated like one, because a secret may be in it all the same.

    Args:
        text: the URL.
        shown: returns what to show of the value of an option, both as they stand in the URL.
    """
    scheme, colon, rest = text.partition(":")
    if _SCHEME.fullmatch(scheme.lower()) is None:
        scheme, colon, rest = "", "", text
    slashes = "//" if rest.startswith("//") else ""
    userinfo, at, rest = rest[len(slashes) :].rpartition("@")  # a password may hold any character
    if at and "?" in userinfo:
        return f"{scheme}{colon}{slashes}***"
    rest, fragment, _ = rest.partition("#")
    rest, question, query = rest.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&")]
    options = "&".join(
        f"{key}={shown(key, value)}" if equals else "***" for key, equals, value in pairs
    )
    return _printable(
        f"{scheme}{colon}{slashes}{'***@' if at else ''}{rest}"
        f"{question}{options if question else ''}{'#***' if fragment else ''}"
    )


def closest(name: str, names: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the closest name, or the list of names."""
    import difflib  # only an error needs it

    known = sorted(names)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known: {', '.join(known)}" if known else "; none is known here"


def validated(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Return a dataclass made from values that may still be texts.

    Args:
        kind: a dataclass; its annotations say what is accepted.
        values: by field.
        where: stands before the name of a wrong one.

    Raises:
        ConfigurationError: one is unknown (the closest is named), missing or of a wrong type.
    """
    names = {one.name: str(one.type) for one in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    for name, value in values.items():
        if name not in names:
            raise ConfigurationError(
                f"{where}{_printable(str(name))} is unknown{closest(str(name), names)}"
            )
        if isinstance(value, bool) and not {"bool", "Any"} & set(re.findall(r"\w+", names[name])):
            raise ConfigurationError(f"{where}{name}: must be no truth value")  # 1 is not true
    from pydantic import TypeAdapter, ValidationError

    try:
        made = TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = where + ".".join(str(part) for part in first["loc"])
        # From None: the text of the cause holds the value, which may be a secret.
        raise ConfigurationError(
            f"{place.rstrip(' .:')}: {first['msg'].removeprefix('Value error, ')}"
        ) from None
    for name in names:
        value = getattr(made, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"{where}{name}: must be a finite number")
    return made


def _printable(text: str) -> str:
    """Return a text without what could break or forge a line of a log."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _decode(part: str, shown: str) -> str:
    if _BAD_ESCAPE.search(part):
        raise ConfigurationError(f"{shown}: a % is written %25")
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{shown}: percent-escapes must be UTF-8") from None


def _expand(part: str, environ: Mapping[str, str], shown: str) -> str:
    """Return a part decoded, with the values of its variables, which are taken as they are."""
    pieces = _VARIABLE.split(part)  # texts and names by turns
    for place, piece in enumerate(pieces):
        if place % 2 == 0:
            if "${" in piece:
                raise ConfigurationError(
                    f"{shown}: a variable is written ${{NAME}}, or %24{{ for a text"
                )
            pieces[place] = _decode(piece, shown)
        elif piece in environ:
            pieces[place] = environ[piece]
        else:
            raise ConfigurationError(
                f"{shown}: the environment variable {_printable(piece)} is not set"
            )
    return "".join(pieces)
