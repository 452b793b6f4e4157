"""``RedisCache``: the cache protocol on Redis; what a URL says of it, its keys and its replies."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

import redis

from ialstore.caching.protocol import MAX_NAMES, MAX_VALUE_BYTES, Bucket, Found, Look
from ialstore.errors import ConfigurationError, InvalidInputError
from ialstore_backends.redis.cluster import Cluster
from ialstore_backends.redis.connection import Access, Budget, Node, Request, Server
from ialstore_backends.redis.scripts import FILL, LOOK, MARK, RELEASE, SETTLE, Script

if TYPE_CHECKING:
    from ialstore.url import StoreURL

__all__ = ["RedisCache", "RedisOptions"]

T = TypeVar("T")

_PORT: Final = 6379
_MAX_PORT: Final = 65_535
_MAX_REPLY_BYTES: Final = MAX_VALUE_BYTES + 64 * 1024
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/@\s]*))(?::([0-9]{1,5}))?")
_DATABASE: Final = re.compile(r"/?|/([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """What stands behind the ``?`` of a ``redis://`` or ``rediss://`` URL.

    Attributes:
        cluster: whether it is a Redis Cluster; several nodes may be named then, by commas.
        ca_file: certificates of who may vouch for the server; the system's by default.
        cert_file: certificate that this client shows, with its key unless ``key_file`` has it.
        key_file: key of ``cert_file``, not encrypted.
        verify: whether the server's certificate and name are checked.
    """

    cluster: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        if self.key_file and not self.cert_file:
            raise InvalidInputError("key_file needs cert_file")

    def tls(self) -> ssl.SSLContext:
        """Return what a connection needs.

        Raises:
            ConfigurationError: a file can't be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise ConfigurationError(f"rediss: ca_file can't be used: {error}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file:
            try:
                # With a password, though of no use, OpenSSL does not ask the terminal for one.
                context.load_cert_chain(self.cert_file, self.key_file, password="")
            except OSError as error:
                raise ConfigurationError(
                    f"rediss: cert_file or key_file can't be used: {error}"
                ) from error
        return context


class RedisCache:
    """A cache in a Redis server, 5 or newer, or a cluster; see ``Cache``.

    Its keys are ``ialstore:{OWNER}:PART:`` and ``v``, ``l`` or ``m``.
    """

    SHARED: ClassVar[bool] = True

    def __init__(
        self, nodes: Sequence[Node], access: Access, *, is_cluster: bool, timeout_seconds: float
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._route = Cluster(nodes, access) if is_cluster else _Alone(nodes[0], access)

    @classmethod
    def from_url(cls, url: StoreURL, *, timeout_seconds: float) -> Self:
        """Return the cache at ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]``."""
        options = url.options(RedisOptions)
        is_tls = url.scheme == "rediss"
        tls_options = (options.ca_file, options.cert_file, not options.verify)
        if not is_tls and any(tls_options):
            raise ConfigurationError(
                f"{url.scheme}: ca_file, cert_file, key_file and verify are for rediss://"
            )
        nodes = [_node(one, url) for one in url.authority.split(",")]
        if len(nodes) > 1 and not options.cluster:
            raise ConfigurationError(f"{url.scheme}: several nodes are for cluster=true")
        path = _DATABASE.fullmatch(url.path)
        if path is None:
            raise ConfigurationError(f"{url.scheme}: the path must be the number of a database")
        database = int(path[1] or 0)
        if options.cluster and database:
            raise ConfigurationError(f"{url.scheme}: a cluster has database 0 alone")
        if url.username and not url.password:
            raise ConfigurationError(f"{url.scheme}: a user name needs a password")
        access = Access(
            url.username or None,
            url.password or None,
            database,
            options.tls() if is_tls else None,
        )
        return cls(nodes, access, is_cluster=options.cluster, timeout_seconds=timeout_seconds)

    @property
    def held_bytes(self) -> int:
        """None of it is in this process."""
        return 0

    def look(self, bucket: Bucket, name: str, token: str | None, lease_ms: int) -> Look:
        """Return the value of a name, or else take its lease."""
        args = (name, token or "", lease_ms, MAX_VALUE_BYTES, MAX_NAMES)
        return self._run(LOOK, [bucket], args, _read_look)

    def fill(self, bucket: Bucket, name: str, token: str, value: bytes, ttl_ms: int) -> bool:
        """Put a value if this token still holds the lease and no mark stands."""
        if len(value) > MAX_VALUE_BYTES:
            self.release(bucket, name, token)
            return False
        args = (name, token, value, ttl_ms, MAX_NAMES)
        return self._run(FILL, [bucket], args, _read_number) == 1

    def release(self, bucket: Bucket, name: str, token: str) -> None:
        """Give up a lease without a value, if this token still holds it."""
        self._run(RELEASE, [bucket], (name, token), _read_number)

    def mark(
        self, buckets: Sequence[Bucket], token: str, mark_ms: int, *, wait: bool = True
    ) -> int:
        """Remove values and leases of an owner's buckets, and keep any from being put."""
        return self._remove(MARK, buckets, (token, mark_ms), wait=wait)

    def settle(
        self, buckets: Sequence[Bucket], token: str, keep_ms: int = 0, *, wait: bool = True
    ) -> int:
        """Remove values and leases of an owner's buckets, and the mark of this token."""
        return self._remove(SETTLE, buckets, (token, keep_ms), wait=wait)

    def close(self) -> None:
        """Close the connections."""
        self._route.close()

    def after_fork(self) -> None:
        """Forget the parent's connections, without closing them."""
        self._route.after_fork()

    def _remove(
        self,
        script: Script,
        buckets: Sequence[Bucket],
        args: Sequence[str | bytes | int],
        *,
        wait: bool,
    ) -> int:
        if wait:
            return self._run(script, buckets, args, _read_number)
        self._route.post(*_request(script, buckets, args, _read_number))
        return 0

    def _run(
        self,
        script: Script,
        buckets: Sequence[Bucket],
        args: Sequence[str | bytes | int],
        check: Callable[[Any], T],
    ) -> T:
        budget = Budget(time.monotonic() + self._timeout_seconds, _MAX_REPLY_BYTES)
        key, request = _request(script, buckets, args, check)
        return self._route.ask(key, budget, request)


def _request(
    script: Script,
    buckets: Sequence[Bucket],
    args: Sequence[str | bytes | int],
    check: Callable[[Any], T],
) -> tuple[str, Request[T]]:
    """Return the first key, which says where it goes, and the request."""
    prefixes = [f"ialstore:{{{one.owner}}}:{one.part}:" for one in buckets]
    if not prefixes:
        raise InvalidInputError("no bucket is given")
    keys = [prefix + kind for prefix in prefixes for kind in "vlm"]
    words = (len(keys), *keys, *args)
    request = Request(
        ("EVALSHA", script.sha, *words),
        check,
        in_full=("EVAL", script.body, *words),
        is_posted=script in (MARK, SETTLE),
    )
    return keys[0], request


class _Alone:
    """The one server there is."""

    def __init__(self, node: Node, access: Access) -> None:
        self._server = Server(node, access)
        self.close = self._server.close
        self.after_fork = self._server.after_fork

    def ask(self, key: str, budget: Budget, request: Request[T]) -> T:
        return self._server.ask(budget, request)

    def post(self, key: str, request: Request[Any]) -> None:
        self._server.post(request)


def _node(text: str, url: StoreURL) -> Node:
    found = _HOST.fullmatch(text)
    port = int(found[3] or _PORT) if found else 0
    if found is None or not 0 < port <= _MAX_PORT:
        raise ConfigurationError(f"{url.scheme}: write HOST or HOST:PORT")
    return found[1] or found[2] or "localhost", port


def _read_look(reply: Any) -> Look:
    match reply:
        case [b"value", bytes(value)] if len(value) <= MAX_VALUE_BYTES:
            return Look(Found.VALUE, value)
        case [b"leased" | b"busy" | b"marked" | b"nothing" as found]:
            return Look(Found(found.decode()))
        case _:
            raise redis.InvalidResponse("the reply to a look is none")


def _read_number(reply: Any) -> int:
    if not isinstance(reply, int) or reply < 0:
        raise redis.InvalidResponse("the reply is no number")
    return reply
