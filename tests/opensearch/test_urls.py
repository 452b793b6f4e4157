"""Where an index is, who asks, and that no secret is shown."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import logging
import ssl
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ialstore import (
    AccessDeniedError,
    ConfigurationError,
    IndexSpec,
    MissingDriverError,
    UnavailableError,
    VectorIndex,
    open_index,
)
from ialstore.testing.proxy import FaultProxy, Instead
from ialstore.testing.redis_servers import certificates
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, X
from ialstore.url import StoreURL
from ialstore_backends.opensearch import OpenSearchOptions, OpenSearchVectorIndex
from ialstore_backends.opensearch.options import Place
from tests.opensearch.test_faults import some

SPEC = spec_of("cosine")
PASSWORD = "s3cr:t p@ss"  # noqa: S105 - what is tested


def open_at(url: str) -> OpenSearchVectorIndex:
    return OpenSearchVectorIndex.from_url(StoreURL.parse(url), SPEC, timeout_seconds=5)


def place_of(url: str) -> Place:
    parsed = StoreURL.parse(url)
    return Place.of(parsed, parsed.options(OpenSearchOptions))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("opensearch://search.example/memories", "https://search.example:9200"),
        ("opensearch+http://localhost:9401/memories", "http://localhost:9401"),
        ("opensearch://[::1]:99/memories", "https://[::1]:99"),
        ("opensearch://x.example/memories?aws_service=es", "https://x.example:443"),
    ],
)
def test_a_url_names_a_place(url: str, origin: str) -> None:
    place = place_of(url)
    assert (place.origin, place.index, place.login) == (origin, "memories", None)


@pytest.mark.parametrize("name", ["a", "0", "agent-memory.v1_x", "a" * 200])
def test_an_index_has_such_a_name(name: str) -> None:
    assert place_of(f"opensearch://h/{name}").index == name


@pytest.mark.parametrize(
    "url",
    [
        "opensearch://h",
        "opensearch://h/",
        "opensearch:///memories",
        "opensearch://h/A",
        "opensearch://h/a--b",
        "opensearch://h/a-",
        "opensearch://h/_all",
        "opensearch://h/a/b",
        "opensearch://h/*",
        "opensearch://h/a,b",
        f"opensearch://h/{'a' * 201}",
        "opensearch://h:65536/a",
        "opensearch://h:x/a",
        "opensearch://h,i/a",
        "opensearch://ann@h/a",
        "opensearch://ann:@h/a",
        "opensearch://ann:pw@h/a?aws_service=es&region=eu-west-1",
        "opensearch+http://h/a?ca_file=ca.pem",
        "opensearch+http://h/a?verify=false",
        "opensearch://h/a?ca_file=no-such-file",
        "opensearch://h/a?key_file=key.pem",
        "opensearch://h/a?region=eu-west-1",
        "opensearch://h/a?aws_service=aoss",
        "opensearch://h/a?aws_service=s3",
        "opensearch://h/a?mode=on_disk",
        "opensearch://h/a?m=1",
        "opensearch://h/a?ef_search=0",
        "opensearch://h/a?shards=0",
        "opensearch://h/a?engin=lucene",
    ],
)
def test_what_names_no_index_is_refused(url: str) -> None:
    """U1: before any request."""
    with pytest.raises(ConfigurationError):
        open_at(url)


def test_a_driver_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """E1: with its extra."""
    monkeypatch.setattr("ialstore_backends._late.find_spec", lambda _: None)
    with pytest.raises(MissingDriverError, match=r"ialstore\[opensearch\]"):
        open_at("opensearch://h/a")


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """Return what answers every request with nonsense, and takes note of it."""
    with FaultProxy(1, lambda _: Instead(200, b"{}", "application/json")) as proxy:
        yield proxy


def test_a_password_is_sent_and_never_shown(
    proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """E3: neither by errors nor by any repr or log, opensearch-py's included."""
    caplog.set_level(logging.DEBUG)
    host = proxy.endpoint.removeprefix("http://")
    shown: list[str] = []
    with open_at(f"opensearch+http://ann:s3cr%3At%20p%40ss@{host}/a") as index:
        with pytest.raises((ConfigurationError, UnavailableError)) as caught:
            index.upsert(USER, some(1, text="what nobody may read"))
        client = index._client  # noqa: SLF001 - to look for secrets
        driver: Any = client._driver.get()  # noqa: SLF001 - as above
        transport = driver.transport
        shown += map(repr, (caught.value, index, client, vars(client), driver, transport))
        shown += map(repr, (transport.hosts, transport.kwargs, transport.get_connection()))
        shown += map(str, (caught.value, vars(transport.get_connection())))
    sent = proxy.requests[0].headers["authorization"]
    assert sent == "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
    encoded = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
    for one in [*shown, caplog.text]:
        assert PASSWORD not in one
        assert encoded not in one
        assert "nobody may read" not in one


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Credentials:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "no-such-file")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "no-such-file")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never shown")
    return Credentials("AKEXAMPLE", "never shown")


@pytest.mark.parametrize("service", ["es", "aoss"])
def test_requests_to_amazon_are_signed(
    proxy: FaultProxy, credentials: Credentials, service: str
) -> None:
    """Fault E9: AWS's signature of version 4, for the service and its region, over the body."""
    meta = {"format": 1, "refresh": "never", **asdict(SPEC)}
    mapping = json.dumps({"a--000001": {"mappings": {"_meta": {"ialstore": meta}}}}).encode()
    json_type = "application/json"
    proxy.decide = lambda request: Instead(
        200, mapping if "_mapping" in request.path else b"{}", json_type
    )
    host = proxy.endpoint.removeprefix("http://")
    signing = f"aws_service={service}&region=eu-west-1&refresh=never"
    with (
        open_at(f"opensearch+http://{host}/a?{signing}") as index,
        pytest.raises(UnavailableError),
    ):
        index.upsert(USER, some(1))
    assert [bool(request.body) for request in proxy.requests] == [False, True]
    for request in proxy.requests:
        headers = request.headers
        assert headers["x-amz-content-sha256"] == hashlib.sha256(request.body).hexdigest()
        stamp = headers["x-amz-date"]
        scope = f"AKEXAMPLE/{stamp[:8]}/eu-west-1/{service}/aws4_request"
        assert headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={scope}, ")
        assert headers["authorization"].rpartition("=")[2] == signature(
            request.method, proxy.endpoint + request.path, request.body, stamp, credentials, service
        )
        assert "never shown" not in repr(headers)


def signature(  # noqa: PLR0917 - all of it is signed
    method: str, url: str, body: bytes, stamp: str, credentials: Credentials, service: str
) -> str:
    """Return the signature that AWS would compute."""
    request = AWSRequest(method, url, data=body)
    request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    request.headers["X-Amz-Date"] = stamp
    request.context["timestamp"] = stamp
    signer = SigV4Auth(credentials, service, "eu-west-1")
    return signer.signature(
        signer.string_to_sign(request, signer.canonical_request(request)), request
    )


@pytest.mark.parametrize(
    ("more", "lacking", "error", "text"),
    [
        ("", "", ConfigurationError, "no region"),
        ("&profile=none-such", "", ConfigurationError, "none-such"),
        ("&region=eu-west-1", "AWS_ACCESS_KEY_ID", AccessDeniedError, "credentials"),
        ("&region=eu-west-1", "AWS_SECRET_ACCESS_KEY", AccessDeniedError, "credentials"),
    ],
)
@pytest.mark.usefixtures("credentials")
def test_who_can_t_sign_is_told(  # noqa: PLR0917 - as pytest hands them over
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    more: str,
    lacking: str,
    error: type[Exception],
    text: str,
) -> None:
    """E1, A13: before any request."""
    if lacking:
        monkeypatch.delenv(lacking)
    host = proxy.endpoint.removeprefix("http://")
    with (
        open_at(f"opensearch+http://{host}/a?aws_service=es{more}") as index,
        pytest.raises(error, match=text),
    ):
        index.search(USER, X)
    assert proxy.requests == []


@pytest.mark.usefixtures("credentials")
def test_a_role_that_can_t_be_assumed_is_told(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A13: by the first request that is to be signed."""
    config = tmp_path / "config"
    role = "role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = own\n"
    keys = "aws_access_key_id = AKEXAMPLE\naws_secret_access_key = never shown\n"
    config.write_text(f"[profile agent]\n{role}[profile own]\n{keys}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.endpoint)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    proxy.decide = lambda _: Instead(403, b"<ErrorResponse/>", "text/xml")
    host = proxy.endpoint.removeprefix("http://")
    signing = "aws_service=es&region=eu-west-1&profile=agent"
    with (
        open_at(f"opensearch+http://{host}/a?{signing}") as index,
        pytest.raises(AccessDeniedError, match="credentials"),
    ):
        index.search(USER, X)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Has no index."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        told = json.dumps({"error": {"type": "index_not_found_exception"}, "status": 404}).encode()
        self.send_response(404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the method's own
        """Say nothing."""


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Return the port of a server that speaks TLS and asks for a certificate, and the folder."""
    made = certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    context.load_verify_locations(made.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # of those it refuses
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port, tmp_path
    server.shutdown()
    server.server_close()
    thread.join()


def test_tls_is_checked_on_both_sides(tls: tuple[int, Path]) -> None:
    """Fault E9: the server's certificate and name, and this client's."""
    port, folder = tls
    shown = f"cert_file={folder}/cert.pem&key_file={folder}/key.pem"
    trusted = f"ca_file={folder}/ca.pem"
    with open_at(f"opensearch://localhost:{port}/a?{trusted}&{shown}") as index:
        assert index.check() == ["a is not set up; run ialstore setup"]
    with open_at(f"opensearch://127.0.0.1:{port}/a?verify=false&{shown}") as index:
        for _ in range(2):  # the second time on the same connection
            assert index.check() == ["a is not set up; run ialstore setup"]
    for url in (
        f"opensearch://127.0.0.1:{port}/a?{trusted}&{shown}",
        f"opensearch://localhost:{port}/a?{shown}",
        f"opensearch://localhost:{port}/a?{trusted}",
    ):
        with open_at(url) as index, pytest.raises(UnavailableError):
            index.count(USER)


def test_it_is_opened_by_url_like_any_other() -> None:
    """U1: with the wrappers that every index gets."""
    spec = IndexSpec(3)
    index: VectorIndex
    for scheme in ("opensearch", "opensearch+http"):
        with open_index(f"{scheme}://localhost:1/a", spec) as index:
            assert index.backend == "opensearch"
            with pytest.raises(UnavailableError):
                index.count(USER)
