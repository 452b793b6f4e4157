"""Who calls, where the service is, and what a store does in a fork: all of it botocore's ways."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.loaders import JSONFileLoader

from ialstore import (
    AccessDeniedError,
    ConfigurationError,
    Message,
    MissingDriverError,
    Outcome,
    UnavailableError,
    open_store,
)
from ialstore.testing.proxy import FaultProxy, Instead, ProxiedRequest
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions


@pytest.fixture
def proxy(dynoxide: RunningServer) -> Iterator[FaultProxy]:
    with FaultProxy(dynoxide.port) as proxy:
        yield proxy


def say(content: str = "x") -> Message:
    return Message.new(user_id="u", session_id="s", role="user", content=content)


def signed_as(proxy: FaultProxy) -> tuple[str, str]:
    """Return the key and the region with which the last request was signed."""
    scope = proxy.requests[-1].headers["authorization"].partition("Credential=")[2]
    key, _, region, *_ = scope.split("/")
    return key, region


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be files with a profile ``team``, and no credentials in the environment."""
    (tmp_path / "config").write_text("[profile team]\nregion = eu-north-1\n")
    (tmp_path / "credentials").write_text(
        "[team]\naws_access_key_id = TEAM\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def read(proxy: FaultProxy, table: str, **options: Any) -> None:
    with DynamoConversationStore(table, DynamoOptions(endpoint=proxy.endpoint, **options)) as store:
        assert store.history("u").items == ()


def test_the_region_is_that_of_the_url_or_environment(
    proxy: FaultProxy, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(f"dynamodb://{table}?region=eu-west-1&endpoint={proxy.endpoint}") as store:
        assert store.history("u").items == ()
    assert signed_as(proxy) == ("test", "eu-west-1")
    read(proxy, table)
    assert signed_as(proxy) == ("test", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    read(proxy, table)
    assert signed_as(proxy) == ("test", "ap-south-1")


def test_stores_of_a_process_read_once_what_describes_the_service(
    proxy: FaultProxy, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(proxy, table)
    opened: list[str] = []
    load = JSONFileLoader.load_file

    def listen(self: JSONFileLoader, path: str) -> Any:
        opened.append(path)
        return load(self, path)

    monkeypatch.setattr(JSONFileLoader, "load_file", listen)
    read(proxy, table)
    assert not opened


def test_without_a_region_the_error_says_where_to_write_it() -> None:
    with (
        DynamoConversationStore("x-") as store,
        pytest.raises(ConfigurationError, match=r"region=\.\.\. in the URL or set AWS_REGION"),
    ):
        store.history("u")


@pytest.mark.usefixtures("table", "profiles")
def test_a_profile_gives_credentials_and_region(table: str, proxy: FaultProxy) -> None:
    read(proxy, table, profile="team")
    assert signed_as(proxy) == ("TEAM", "eu-north-1")


@pytest.mark.usefixtures("table", "profiles")
def test_an_unknown_profile_and_no_credentials_are_told(proxy: FaultProxy, table: str) -> None:
    """A13: with what to do."""
    with pytest.raises(ConfigurationError, match="nobody"):
        read(proxy, table, profile="nobody")
    with pytest.raises(AccessDeniedError, match="no usable AWS credentials"):
        read(proxy, table)


def sts(key: str, lifetime: timedelta) -> Instead:
    """Return the answer of the service that hands out credentials."""
    expires = (datetime.now(UTC) + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
        f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
        f"<SessionToken>token</SessionToken><Expiration>{expires}</Expiration></Credentials>"
        "</AssumeRoleResult></AssumeRoleResponse>"
    )
    return Instead(200, text.encode(), "text/xml")


def test_a_role_is_assumed_and_its_credentials_are_renewed(
    proxy: FaultProxy, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A13: before they expire; the role is assumed with the caller's own credentials."""
    asked: list[ProxiedRequest] = []

    def hand_out(request: ProxiedRequest) -> Instead:
        asked.append(request)
        # The first ones are so near their end that the second call already renews them.
        return sts(f"ROLE{len(asked)}", timedelta(minutes=1 if len(asked) == 1 else 60))

    with FaultProxy(0, hand_out) as security:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", security.endpoint)
        options = DynamoOptions(endpoint=proxy.endpoint, role="arn:aws:iam::1:role/reader")
        with DynamoConversationStore(table, options) as store:
            signed: list[str] = []
            for _ in range(3):
                store.history("u")
                signed.append(signed_as(proxy)[0])
    assert b"role%2Freader" in asked[0].body
    assert b"RoleSessionName=ialstore" in asked[0].body
    assert "Credential=test/" in asked[0].headers["authorization"]
    assert len(asked) == 2
    assert signed[-1] == "ROLE2"
    assert proxy.requests[-1].headers["x-amz-security-token"] == "token"


def test_a_role_that_is_refused_is_told(
    proxy: FaultProxy, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
    with FaultProxy(0, lambda _: Instead(403, body, "text/xml")) as security:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", security.endpoint)
        with pytest.raises(AccessDeniedError, match="AccessDenied"):
            read(proxy, table, role="arn:aws:iam::1:role/reader")


def test_a_session_of_botocore_may_be_given(proxy: FaultProxy, table: str) -> None:
    session = botocore.session.Session()
    session.set_credentials("GIVEN", "secret")
    options = DynamoOptions(endpoint=proxy.endpoint)
    with DynamoConversationStore(table, options, session=session) as store:
        assert store.history("u").items == ()
    assert signed_as(proxy)[0] == "GIVEN"


def test_a_proxy_of_the_environment_is_used(
    dynoxide: RunningServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests by way of a proxy carry the whole address."""
    answer = Instead(503, b"busy", "text/plain")
    with FaultProxy(0, lambda _: answer) as forward:
        monkeypatch.setenv("http_proxy", forward.endpoint)
        options = DynamoOptions(endpoint=dynoxide.endpoint)
        with DynamoConversationStore(table, options) as store:
            with pytest.raises(UnavailableError):
                store.history("u")
            assert forward.requests[0].path.startswith(f"{dynoxide.endpoint}/")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port()}")
    with DynamoConversationStore(table, options) as store:
        with pytest.raises(UnavailableError, match="ProxyConnectionError") as caught:
            store.history("u")
        assert caught.value.retryable


@pytest.mark.parametrize("body", [b"[]", b"{}", b"7"])
def test_a_reply_that_is_no_answer_is_told(proxy: FaultProxy, table: str, body: bytes) -> None:
    proxy.decide = lambda _: Instead(200, body)
    with (
        DynamoConversationStore(table, DynamoOptions(endpoint=proxy.endpoint)) as store,
        pytest.raises(UnavailableError) as caught,
    ):
        store.history("u")
    assert caught.value.retryable


def test_a_reply_that_is_no_object_is_not_taken_for_no_message(
    proxy: FaultProxy, table: str
) -> None:
    proxy.decide = lambda _: Instead(200, b"[]")
    with (
        DynamoConversationStore(table, DynamoOptions(endpoint=proxy.endpoint)) as store,
        pytest.raises(UnavailableError, match="no JSON object"),
    ):
        store.get("u", [say().id])


def dead_port() -> int:
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_where_nobody_listens_nothing_was_applied() -> None:
    options = DynamoOptions(endpoint=f"http://127.0.0.1:{dead_port()}")
    with DynamoConversationStore("x-", options) as store, pytest.raises(UnavailableError) as caught:
        store.append(say())
    assert (caught.value.outcome, caught.value.retryable) == (Outcome.NOT_APPLIED, True)


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "ialstore_backends._late.find_spec",
        lambda name: None if name == "pynamodb" else find(name),
    )
    with pytest.raises(MissingDriverError, match=r"pynamodb: pip install 'ialstore\[dynamodb\]'"):
        DynamoConversationStore("x-")


def test_a_store_is_of_use_again_after_it_lost_its_connections(
    proxy: FaultProxy, table: str
) -> None:
    """A16: a forked child has connections and threads of its own."""
    with DynamoConversationStore(table, DynamoOptions(endpoint=proxy.endpoint)) as store:
        store.append(*[say(str(number)) for number in range(4)])
        reading, writing = os.pipe()
        child = os.fork()
        if not child:  # pragma: no cover - in the child
            status = 1
            try:
                store.append(*[say(f"child {number}") for number in range(4)])
                os.write(writing, str(len(store.history("u"))).encode())
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert os.read(reading, 10) == b"8"
        os.close(reading)
        os.close(writing)
        assert len(store.history("u")) == 8
