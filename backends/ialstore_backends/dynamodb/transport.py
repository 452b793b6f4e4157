"""The last step of botocore's requests: within a deadline, whatever the peer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse
from botocore.httpsession import get_cert_path

from ialstore_backends._http import Transport, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.awsrequest import AWSPreparedRequest

    from ialstore_backends._meanwhile import Meanwhile

__all__ = ["AwsTransport", "TransportError"]


class AwsTransport(Transport):
    """A pool of connections that takes requests as botocore has prepared them."""

    def __init__(self) -> None:
        super().__init__(
            cert_reqs="CERT_REQUIRED",
            ca_certs=get_cert_path(True),  # noqa: FBT003 - botocore's own default
        )

    def send_prepared(
        self, request: AWSPreparedRequest, ends_at: float, meanwhile: Meanwhile[Any] | None
    ) -> AWSResponse:
        """Return the whole reply, or raise at a monotonic time; see ``Transport.send``."""
        headers = {key: _text(value) for key, value in request.headers.items()}
        reply = self.send(
            request.method, request.url, request.body, headers, ends_at, meanwhile=meanwhile
        )
        found: Any = dict(reply.headers)  # any mapping will do
        return AWSResponse(request.url, reply.status, found, _Body(reply.body))


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


class _Body:
    """A body that was read already, in the form in which botocore reads one."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body
