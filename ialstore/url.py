"""Store URLs: parsing, the options they carry, and ``redact_url`` that hides their secrets.

``scheme://AUTHORITY/path?key=value``: path and query are percent-decoded, ``+`` is a plus, and
``${VAR}`` takes the value of an environment variable, put in after decoding so that a secret may
hold any character.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
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
            raise ConfigurationError(f"{shown} is not a URL; write scheme:..., such as memory:")
        if "#" in rest:
            raise ConfigurationError(f"{shown} has a fragment; write %23 for a # in a name")
        rest, _, query = rest.partition("?")
        authority, path = "", rest
        if rest.startswith("//"):
            authority, slash, path = rest[2:].partition("/")
            path = slash + path
        userinfo, at, authority = authority.rpartition("@")
        username, has_password, password = userinfo.partition(":")

        def read(part: str) -> str:
            return _expand(_decode(part, shown), environ, shown)

        options: dict[str, str] = {}
        for pair in query.split("&") if query else ():
            key, equals, value = pair.partition("=")
            key = _decode(key, shown)
            if not equals or not key:
                raise ConfigurationError(f"{shown}: an option is written key=value")
            if key in options:
                raise ConfigurationError(f"{shown}: the option {key} is given twice")
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


def redact_url(text: str) -> str:
    """Return a URL as it may be shown: no user info, no values of options."""
    head, question, query = text.partition("?")
    scheme, slashes, rest = head.partition("://")
    if slashes:
        authority, slash, path = rest.partition("/")
        if "@" in rest:  # a password may itself hold a slash
            authority, slash, path = "***@" + rest.rpartition("@")[2], "", ""
        head = f"{scheme}://{authority}{slash}{path}"
    if question:
        keys = [pair.partition("=")[0] for pair in query.split("&")]
        head += "?" + "&".join(f"{key}=***" for key in keys)
    return head


def closest(name: str, names: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the closest name, or the list of names."""
    known = sorted(names)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
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
    names = [one.name for one in fields(kind)]  # type: ignore[arg-type]  # kind is a dataclass
    for name in values:
        if name not in names:
            raise ConfigurationError(f"{where}{name} is unknown{closest(name, names)}")
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - 0.1 s that memory: and import need not pay

    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{where}{name}: {first['msg']}") from None


def _decode(part: str, shown: str) -> str:
    if _BAD_ESCAPE.search(part):
        raise ConfigurationError(f"{shown}: a % is written %25")
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{shown}: percent-escapes must be UTF-8") from None


def _expand(part: str, environ: Mapping[str, str], shown: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise ConfigurationError(f"{shown}: the environment variable {name} is not set")
        return environ[name]

    return _VARIABLE.sub(value, part)
