"""Requests to OpenSearch: within a deadline, metered, with errors of ialstore and no secret.

The client is opensearch-py's; the connection under it is ours, because its own holds a call for as
long as a peer drips bytes, logs bodies, and quotes what is stored in its errors. Nothing is sent
twice.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import botocore.session
import opensearchpy
import orjson
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound
from opensearchpy import OpenSearch, Urllib3AWSV4SignerAuth
from opensearchpy.connection import Connection
from opensearchpy.exceptions import SerializationError
from opensearchpy.serializer import JSONSerializer

from ialstore.cost import Units
from ialstore.errors import (
    AccessDeniedError,
    ConfigurationError,
    DeadlineExceededError,
    IalStoreError,
    UnavailableError,
)
from ialstore_backends._http import Transport, TransportError
from ialstore_backends._late import Late
from ialstore_backends.opensearch.failures import code_of, failure, outcome_of, senseless

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.opensearch.failures import JSON
    from ialstore_backends.opensearch.options import OpenSearchOptions, Place

__all__ = ["OpenSearchClient"]

_Sign = Callable[[str, str, Any], Mapping[str, str]]
"""Returns the headers that say who asks, for a method, a URL and a body."""

_OK: Final = range(200, 300)


class OpenSearchClient:
    """Sends requests to one cluster; safe from many threads, made anew in a forked child."""

    def __init__(self, place: Place, options: OpenSearchOptions) -> None:
        self._place = place
        self._options = options
        self._tls = {"ssl_context": options.tls()} if place.is_tls else {}
        self._wire: Transport | None = None
        self._driver = Late(self._make, inherited=False)

    def call(
        self,
        op: Operation,
        method: str,
        path: str,
        body: JSON | Sequence[JSON] | None = None,
        *,
        writes: bool = False,
    ) -> JSON:
        """Return the reply to one request.

        Args:
            op: the running call: its deadline holds.
            method: of HTTP.
            path: with its query.
            body: JSON, or lines of it.
            writes: whether the request changes vectors.

        Raises:
            IalStoreError: it failed, with its outcome.
        """
        op.renew()
        left = op.remaining()
        driver = self._driver.get()
        try:
            reply = driver.transport.perform_request(method, path, body=body, timeout=left)
        except (TransportError, SerializationError, opensearchpy.TransportError) as error:
            raise _translated(error, op, writes=writes) from error
        except (BotoCoreError, ClientError) as error:
            raise _nobody() from error
        finally:
            op.add(Units(requests=1))
        if not isinstance(reply, dict):
            raise senseless(writes=writes)
        return cast("JSON", reply)

    def close(self) -> None:
        """Close the connections."""
        with self._driver.lock:
            if self._wire is not None:
                self._wire.close()
            self._driver.forget()

    def _make(self) -> OpenSearch:
        wire = self._wire = Transport(**self._tls)
        return OpenSearch(
            hosts=[{"host": self._place.host.strip("[]"), "port": self._place.port}],
            connection_class=_Connection,
            serializer=_Json(),
            max_retries=0,
            # In a closure: opensearch-py shows what it is given.
            send=_sender(wire, self._place.origin, self._signer()),
        )

    def _signer(self) -> _Sign:
        if self._options.aws_service:
            return _amazon(self._options)
        headers: dict[str, str] = {}
        if self._place.login is not None:
            told = base64.b64encode(":".join(self._place.login).encode()).decode()
            headers["Authorization"] = f"Basic {told}"

        def sign(*_: Any) -> Mapping[str, str]:
            return headers

        return sign


_Send = Callable[[str, str, Any, float], tuple[int, Mapping[str, str], str]]


def _sender(wire: Transport, origin: str, sign: _Sign) -> _Send:
    def send(
        method: str, path: str, body: Any, seconds: float
    ) -> tuple[int, Mapping[str, str], str]:
        ends_at = time.monotonic() + seconds
        url = origin + path
        is_lines = path.partition("?")[0].endswith("/_bulk")
        headers = {
            "Content-Type": "application/x-ndjson" if is_lines else "application/json",
            **sign(method, url, body),
        }
        reply = wire.send(method, url, body, headers, ends_at)
        if reply.status not in _OK:
            raise opensearchpy.TransportError(reply.status, _code(reply.body), {})
        try:
            return reply.status, reply.headers, reply.body.decode()
        except UnicodeDecodeError:
            raise SerializationError("no UTF-8") from None

    return send


class _Connection(Connection):
    """What opensearch-py sends requests on."""

    def __init__(self, *, send: _Send, **options: Any) -> None:
        super().__init__(**options)
        self._send = send

    def perform_request(  # noqa: PLR0917 - opensearch-py's own
        self,
        method: str,
        url: str,
        params: Any = None,
        body: Any = None,
        timeout: float | None = None,
        ignore: Any = (),
        headers: Any = None,
    ) -> Any:
        """Return status, headers and text of a reply."""
        return self._send(method, url, body, timeout or 0.0)

    def close(self) -> None:
        """Do nothing: the connections are closed by who made them."""


class _Json(JSONSerializer):
    """JSON by orjson, whose errors quote nothing."""

    def loads(self, s: str) -> Any:
        """Return the value of a text."""
        try:
            return orjson.loads(s)
        except ValueError:
            raise SerializationError("no JSON") from None

    def dumps(self, data: Any) -> Any:
        """Return the text of a value, or of a line for each of several."""
        if isinstance(data, list):
            lines = cast("list[Any]", data)  # type: ignore[redundant-cast]  # pyright needs it
            return b"".join(_dumped(one) + b"\n" for one in lines)
        return _dumped(data)


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _amazon(options: OpenSearchOptions) -> _Sign:
    """Return what signs for Amazon, with credentials that botocore finds and renews.

    Raises:
        ConfigurationError: there is no such profile, or no region.
    """
    session = botocore.session.Session(profile=options.profile)
    try:
        region = options.region or session.get_config_variable("region")
        credentials = session.get_credentials()
    except ProfileNotFound as error:
        raise ConfigurationError(f"opensearch: {error}") from error
    except BotoCoreError as error:
        raise _nobody() from error
    if not region:
        raise ConfigurationError(
            "opensearch: no region; write ?region=... in the URL or set AWS_REGION"
        )
    if credentials is None:
        raise _nobody()
    signer = Urllib3AWSV4SignerAuth(credentials, region, options.aws_service or "")

    def sign(method: str, url: str, body: Any) -> Mapping[str, str]:
        found: Mapping[str, str] = signer(method, url, body)
        return found

    return sign


def _nobody() -> AccessDeniedError:
    return AccessDeniedError(
        "opensearch: there are no usable AWS credentials; set AWS_PROFILE, or see the AWS "
        "documentation on credentials"
    )


def _code(body: bytes) -> str:
    """Return the type of an error, and nothing that could be stored."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        error = orjson.loads(body)["error"]
        causes = error.get("root_cause") or [error]
        kind = error["type"]
        if kind == "search_phase_execution_exception":
            kind = causes[0]["type"]
        return code_of({"type": kind, "reason": error.get("reason")})
    return ""


def _translated(error: Exception, op: Operation, *, writes: bool) -> IalStoreError:
    if isinstance(error, opensearchpy.TransportError):
        status, code = int(error.status_code), str(error.error)
        return failure(status, code, "the index", writes=writes)
    if isinstance(error, TransportError):
        outcome = outcome_of(writes=writes and error.was_sent)
        if error.is_late:
            return DeadlineExceededError(
                f"{op.name}: OpenSearch did not answer in time", retryable=True, outcome=outcome
            )
        return UnavailableError(
            f"OpenSearch did not answer ({error})", retryable=True, outcome=outcome
        )
    return senseless(writes=writes)
