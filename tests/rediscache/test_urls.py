"""What a ``redis://`` URL may say, and how it is refused when it says something else."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from ialstore import ConfigurationError, InvalidInputError
from ialstore.caching.protocol import Bucket, Found
from ialstore.registry import find
from ialstore.testing.redis_servers import Certificates, certificates, tls_args
from ialstore.testing.servers import RunningServer, started
from ialstore_backends.redis import RedisCache

LONG = 60_000
BUCKET = Bucket("0", "p")


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_the_schemes_are_known(scheme: str) -> None:
    assert find("cache", scheme) is RedisCache


@pytest.mark.parametrize(
    "text",
    [
        "redis://",
        "redis:",
        "redis://cache.example",
        "redis://cache.example:6380/",
        "redis://cache.example:6380/15",
        "redis://:pw@[::1]:6380",
        "redis://user:pw@127.0.0.1",
        "redis://one,two:7001?cluster=true",
        "rediss://cache.example?verify=false",
    ],
)
def test_nothing_is_connected_to_by_opening(opened: Any, text: str) -> None:
    cache = opened(text)
    assert cache.SHARED
    assert cache.held_bytes == 0
    assert "pw" not in repr(cache)


def test_a_step_of_no_bucket_is_refused(opened: Any) -> None:
    with pytest.raises(InvalidInputError, match="no bucket"):
        opened("redis://").mark([], "w", LONG)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("redis://host:0", "write HOST or HOST:PORT"),
        ("redis://host:65536", "write HOST or HOST:PORT"),
        ("redis://host:port", "write HOST or HOST:PORT"),
        ("redis://ho st", "write HOST or HOST:PORT"),
        ("redis://::1", "write HOST or HOST:PORT"),
        ("redis://host/one", "the path must be the number of a database"),
        ("redis://host/-1", "the path must be the number of a database"),
        ("redis://host/1/2", "the path must be the number of a database"),
        ("redis://one,two", "several nodes are for cluster=true"),
        ("redis://host/1?cluster=true", "a cluster has database 0 alone"),
        ("redis://user@host", "a user name needs a password"),
        ("redis://user:@host", "a user name needs a password"),
        ("redis://host?clutser=true", "option clutser is unknown; did you mean cluster"),
        ("redis://host?cluster=perhaps", "option cluster"),
        ("redis://host?verify=false", "verify are for rediss://"),
        ("redis://host?ca_file=ca.pem", "ca_file, .* are for rediss://"),
        ("rediss://host?key_file=key.pem", "key_file needs cert_file"),
        ("rediss://host?ca_file=/no/such", "ca_file can't be used"),
        ("rediss://host?cert_file=/no/such", "cert_file or key_file can't be used"),
    ],
)
def test_a_wrong_url_is_refused(opened: Any, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        opened(text)


# -- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def strict(made: Certificates) -> Any:
    """Return a server that asks clients for certificates."""
    with started("redis", *tls_args(made, asks_clients=True)) as server:
        yield server


@pytest.fixture(scope="module")
def secure(made: Certificates) -> Any:
    with started("redis", *tls_args(made)) as server:
        yield server


def test_a_server_is_believed_that_the_authority_vouches_for(
    opened: Any, secure: RunningServer, made: Certificates
) -> None:
    cache = opened(f"rediss://localhost:{secure.port}?ca_file={made.authority}")
    value = b"x" * 200_000
    assert cache.look(BUCKET, "n", "a", LONG).found is Found.LEASED
    assert cache.fill(BUCKET, "n", "a", value, LONG)
    assert {cache.look(BUCKET, "n", None, LONG).value for _ in range(20)} == {value}
    assert cache.settle([BUCKET], "w") == 1


def test_a_server_that_nobody_vouches_for_is_refused(opened: Any, secure: RunningServer) -> None:
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        opened(f"rediss://localhost:{secure.port}").look(BUCKET, "n", None, LONG)


def test_a_server_of_another_name_is_refused(
    opened: Any, secure: RunningServer, made: Certificates
) -> None:
    cache = opened(f"rediss://127.0.0.1:{secure.port}?ca_file={made.authority}")
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        cache.look(BUCKET, "n", None, LONG)


def test_nothing_is_checked_where_that_is_asked_for(opened: Any, secure: RunningServer) -> None:
    cache = opened(f"rediss://127.0.0.1:{secure.port}?verify=false")
    assert cache.look(BUCKET, "n", None, LONG).found is Found.NOTHING


def test_a_plain_client_is_refused(opened: Any, secure: RunningServer) -> None:
    with pytest.raises(redis.RedisError):
        opened(f"redis://localhost:{secure.port}").look(BUCKET, "n", None, LONG)


def test_a_client_shows_its_certificate(
    opened: Any, strict: RunningServer, made: Certificates
) -> None:
    url = f"rediss://localhost:{strict.port}?ca_file={made.authority}"
    with pytest.raises(redis.RedisError):
        opened(url).look(BUCKET, "n", None, LONG)
    cache = opened(f"{url}&cert_file={made.certificate}&key_file={made.key}")
    assert cache.look(BUCKET, "n", None, LONG).found is Found.NOTHING


def test_a_key_with_a_password_is_refused_without_asking_for_it(
    opened: Any, made: Certificates, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.pem"
    args = ["openssl", "ec", "-in", str(made.key), "-aes128", "-passout", "pass:s3cret", "-out"]
    subprocess.run([*args, str(locked)], check=True, capture_output=True)
    with pytest.raises(ConfigurationError, match="cert_file or key_file can't be used"):
        opened(f"rediss://localhost?cert_file={made.certificate}&key_file={locked}")
