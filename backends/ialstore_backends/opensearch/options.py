"""What the URL of an OpenSearch index may say: ``opensearch://HOST:PORT/INDEX?engine=lucene``."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from ialstore.errors import ConfigurationError, InvalidInputError

if TYPE_CHECKING:
    from ialstore.url import StoreURL

__all__ = ["OpenSearchOptions", "Place", "check_name"]

_PORT: Final = 9200
_AMAZON_PORT: Final = 443
_MAX_PORT: Final = 65_535
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_NAME: Final = re.compile(r"(?!.*--)[a-z0-9](?:[a-z0-9._-]{0,198}[a-z0-9._])?")
_PLAIN: Final = "opensearch+http"


@dataclass(frozen=True, slots=True)
class OpenSearchOptions:
    """How an index is laid out and searched, and how to get in.

    Attributes:
        engine: of the k-NN plugin; ``faiss`` needs its native libraries on the nodes.
        mode: ``on_disk`` keeps compressed vectors in memory, and exact ones on disk; with
            ``faiss``.
        m: links of a vector in the graph.
        ef_construction: candidates when a vector is linked.
        ef_search: candidates of a search of usual effort; twice as many at the greatest.
        exact_below: users with no more vectors than that pass the filters are searched exactly.
        refresh: what makes strong reads strong: ``read`` refreshes the index before each of them,
            ``write`` with each write, and ``never`` offers none.
        shards: of the index; a user is in one of them.
        replicas: of each shard.
        analyzer: of the texts, for search by words.
        aws_service: sign for Amazon: ``es`` for OpenSearch Service, ``aoss`` for Serverless.
        region: of AWS; otherwise that of the environment or profile.
        profile: of the AWS configuration files.
        ca_file: certificates of who may vouch for the server; the system's by default.
        cert_file: certificate that this client shows, with its key unless ``key_file`` has it.
        key_file: key of ``cert_file``, not encrypted.
        verify: whether the server's certificate and name are checked.
    """

    engine: Literal["lucene", "faiss"] = "lucene"
    mode: Literal["in_memory", "on_disk"] = "in_memory"
    m: int = 16
    ef_construction: int = 128
    ef_search: int = 200
    exact_below: int = 10_000
    refresh: Literal["read", "write", "never"] = "read"
    shards: int = 1
    replicas: int = 1
    analyzer: str = "standard"
    aws_service: Literal["es", "aoss"] | None = None
    region: str | None = None
    profile: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        if self.mode == "on_disk" and self.engine != "faiss":
            raise InvalidInputError("mode=on_disk needs engine=faiss")
        for name, least, most in _BOUNDS:
            if not least <= getattr(self, name) <= most:
                raise InvalidInputError(f"{name} must be {least} to {most:,}")
        if not self.aws_service and (self.region or self.profile):
            raise InvalidInputError("region and profile are for aws_service")
        if self.aws_service == "aoss" and self.refresh != "never":
            raise InvalidInputError("aws_service=aoss can't be refreshed: write refresh=never")
        if self.key_file and not self.cert_file:
            raise InvalidInputError("key_file needs cert_file")

    def tls(self) -> ssl.SSLContext:
        """Return what a connection needs.

        Raises:
            ConfigurationError: a file can't be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if not self.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.cert_file:
                # With a password, though of no use, OpenSSL does not ask the terminal for one.
                context.load_cert_chain(self.cert_file, self.key_file, password="")
        except OSError as error:
            raise ConfigurationError(
                f"opensearch: ca_file, cert_file or key_file can't be used: {error}"
            ) from error
        return context


_BOUNDS: Final = (
    ("m", 2, 100),
    ("ef_construction", 2, 10_000),
    ("ef_search", 1, 5_000),
    ("exact_below", 0, 1_000_000),
    ("shards", 1, 1_024),
    ("replicas", 0, 100),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an index is, and who asks. The ``repr`` shows no secret.

    Attributes:
        host: name or address; one of IPv6 in brackets.
        port: of it.
        is_tls: whether the connection is.
        index: the name by which the index goes, an alias.
        login: user name and password, or None.
    """

    host: str
    port: int
    is_tls: bool
    index: str
    login: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: StoreURL, options: OpenSearchOptions) -> Place:
        """Return the place that a URL names.

        Raises:
            ConfigurationError: it names none.
        """
        matched = _HOST.fullmatch(url.authority)
        if matched is None or int(matched[2] or 0) > _MAX_PORT:
            raise ConfigurationError(f"{url.scheme}: write {url.scheme}://HOST:PORT/INDEX")
        is_tls = url.scheme != _PLAIN
        given: tuple[Any, ...] = (options.ca_file, options.cert_file, not options.verify)
        if not is_tls and any(given):
            raise ConfigurationError(
                f"{url.scheme}: ca_file, cert_file, key_file and verify are for opensearch://"
            )
        login = None
        if url.username is not None:
            if not url.password:
                raise ConfigurationError(f"{url.scheme}: a user name needs a password")
            if options.aws_service:
                raise ConfigurationError(f"{url.scheme}: aws_service takes no user name")
            login = (url.username, url.password)
        port = int(matched[2] or (_AMAZON_PORT if options.aws_service else _PORT))
        return cls(matched[1], port, is_tls, check_name(url.path.removeprefix("/")), login)

    @property
    def origin(self) -> str:
        """``https://HOST:PORT``."""
        return f"{'https' if self.is_tls else 'http'}://{self.host}:{self.port}"


def check_name(name: str) -> str:
    """Return the name of an index.

    Raises:
        ConfigurationError: it can't be one.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigurationError(
            "opensearch: an index is named by 1 to 200 of a-z, 0-9, . _ -, beginning with a letter "
            "or digit, not ending with -, without --"
        )
    return name
