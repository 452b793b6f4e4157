"""What the URL of a DynamoDB store may say: ``dynamodb://PREFIX?region=eu-west-1&spread=4``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from ialstore.errors import ConfigurationError, InvalidInputError
from ialstore.estimate import Choice

if TYPE_CHECKING:
    from ialstore.url import StoreURL

__all__ = ["CHOICES", "DynamoOptions", "TableOptions", "table_prefix"]

_SPREADS: Final = tuple(2**power for power in range(9))
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Where a table is, and what ``setup`` asks for.

    Attributes:
        region: of AWS; otherwise that of the environment or profile.
        endpoint: in place of AWS's own, such as that of an emulator.
        profile: of the AWS configuration files.
        role: ARN of a role to assume; its credentials are renewed before they expire.
        billing: ``on-demand``, or ``provisioned`` with ``read_units`` and ``write_units``.
        read_units: a second, of the table and each index.
        write_units: a second, of the table and each index.
        point_in_time_recovery: whether ``setup`` switches it on.
        deletion_protection: whether ``setup`` protects the table from being deleted.
        kms_key: ARN or alias of the key that encrypts the table; otherwise DynamoDB's own.
        tags: of the table, ``key:value`` separated by commas.
    """

    region: str | None = None
    endpoint: str | None = field(default=None, repr=False)
    profile: str | None = None
    role: str | None = None
    billing: Literal["on-demand", "provisioned"] = "on-demand"
    read_units: int = 5
    write_units: int = 5
    point_in_time_recovery: bool = False
    deletion_protection: bool = False
    kms_key: str | None = None
    tags: str = ""

    def __post_init__(self) -> None:
        if self.endpoint is not None:
            _check_endpoint(self.endpoint)
        for name in ("read_units", "write_units"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name} must be at least 1")
        self.tag_pairs()

    def tag_pairs(self) -> dict[str, str]:
        """Return the tags by key.

        Raises:
            InvalidInputError: one is not ``key:value``, or a key comes twice.
        """
        pairs: dict[str, str] = {}
        for one in filter(None, self.tags.split(",")):
            key, colon, value = one.partition(":")
            if not key or not colon or key in pairs:
                raise InvalidInputError("tags are key:value, separated by commas, each key once")
            pairs[key] = value
        return pairs


@dataclass(frozen=True, slots=True)
class DynamoOptions(TableOptions):
    """Where the table of conversations is, how it is laid out, and what ``setup`` asks for.

    Attributes:
        user_time_index: whether messages enter the index by user and time.
        session_index: whether messages enter the index by session.
        spread: partitions that the messages of one user and day are spread over: 1 to 256, a power
            of 2. More of them make strong reads of one session among many cheaper, and reads of
            all of a user's sessions dearer. Part of the layout: it can't change later.
    """

    user_time_index: bool = True
    session_index: bool = True
    spread: int = 1

    def __post_init__(self) -> None:
        TableOptions.__post_init__(self)  # a class with slots is made twice: super() is not it
        if self.spread not in _SPREADS:
            raise InvalidInputError("spread must be a power of 2, from 1 to 256")


CHOICES: Final = (
    Choice("user_time_index", ("true", "false")),
    Choice("session_index", ("true", "false")),
    Choice("spread", ("1", "4", "16")),
)
"""Options that change what the table costs."""


def table_prefix(url: StoreURL) -> str:
    """Return the prefix of the tables, which is the authority of the URL.

    Raises:
        ConfigurationError: it is none, or there is more than a prefix.
    """
    url.require_no_userinfo()
    if url.path or _PREFIX.fullmatch(url.authority) is None:
        raise ConfigurationError(
            f"{url.scheme}: write {url.scheme}://PREFIX?region=..., where the names of the tables "
            "begin with PREFIX: 1 to 200 of A-Z, a-z, 0-9, _ . -"
        )
    return url.authority


def _check_endpoint(endpoint: str) -> None:
    """Refuse what is no web address, and the address that hands out a machine's credentials."""
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise InvalidInputError("endpoint must be a URL: http://host:port") from None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise InvalidInputError("endpoint must be http://host:port or https://host, no user info")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidInputError("endpoint must be no more than http://host:port")
    try:
        is_link_local = ipaddress.ip_address(host).is_link_local
    except ValueError:
        is_link_local = False  # a name
    if is_link_local:
        raise InvalidInputError("endpoint must not be a link-local address")
