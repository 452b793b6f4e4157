"""Titan on Bedrock: real botocore against a stand-in that speaks the documented wire format."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ialstore import (
    AccessDeniedError,
    ConfigurationError,
    DeadlineExceededError,
    IalStoreError,
    InvalidInputError,
    MissingDriverError,
    ThrottledError,
    UnavailableError,
    deadline,
)
from ialstore_backends.embedders import bedrock
from ialstore_backends.embedders._bedrock_errors import translated
from ialstore_backends.embedders.bedrock import BedrockTitanEmbedder

LONG_SECONDS = 20.0
"""Less than the stand-in holds back an answer, and far more than a deadline here."""


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bedrock, "_FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(bedrock, "_LONGEST_WAIT_SECONDS", 0.002)


def embedder(titan: Any, **options: Any) -> BedrockTitanEmbedder:
    options = {"region": "us-east-1", "endpoint": titan.url, "timeout_seconds": 10.0, **options}
    return BedrockTitanEmbedder(**options)


def connected(titan: Any, **options: Any) -> BedrockTitanEmbedder:
    """Return an embedder that need not read botocore's files any more, which takes a while."""
    made = embedder(titan, **options)
    made.embed_query("first")
    titan.requests.clear()
    return made


# -- the wire format ----------------------------------------------------------------------------


def test_a_request_is_the_documented_one(titan: Any) -> None:
    embedder(titan, dimension=512).embed(['Grüße, "du"\n'])

    (request,) = titan.requests
    assert request.path == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept"] == "application/json"
    signed = request.headers["Authorization"]
    assert signed.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/us-east-1/bedrock/aws4_request" in signed
    assert (
        request.body
        == ('{"inputText": "Grüße, \\"du\\"\\n", "dimensions": 512, "normalize": true}').encode()
    )


def test_the_stand_in_refuses_other_requests(titan: Any) -> None:
    import botocore.session

    client: Any = botocore.session.Session().create_client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=titan.url
    )

    def refusal(**body: Any) -> str:
        with pytest.raises(client.exceptions.ValidationException) as caught:
            client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=json.dumps(body))
        return str(caught.value)

    assert "extraneous key" in refusal(inputText="x", dimension=256)
    assert "valid enum" in refusal(inputText="x", dimensions=384)
    assert "maxLength" in refusal(inputText="")
    assert "maxLength" in refusal(inputText="x" * 50_001)
    assert "Too many input tokens" in refusal(inputText="水" * 8_193)


@pytest.mark.parametrize("dimension", [256, 512, 1024])
def test_each_text_gets_its_vector(titan: Any, dimension: int) -> None:
    made = embedder(titan, dimension=dimension)
    texts = [f"text {i}" for i in range(20)]

    vectors = made.embed(texts)

    assert vectors.shape == (20, dimension)
    assert vectors.dtype == np.float32
    expected = np.array([titan.vector_of(text, dimension) for text in texts])
    assert np.allclose(vectors, expected, atol=1e-6)
    query = made.embed_query("text 3")
    assert query.shape == (dimension,)
    assert np.array_equal(query, vectors[3])


def test_a_text_that_is_there_twice_is_asked_for_once(titan: Any) -> None:
    vectors = embedder(titan).embed(["ok", "yes", "ok", "ok"])

    assert sorted(titan.texts) == ["ok", "yes"]
    assert np.array_equal(vectors[0], vectors[3])
    assert not np.array_equal(vectors[0], vectors[1])


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_text_without_characters_is_not_asked_for(titan: Any, text: str) -> None:
    vectors = embedder(titan, dimension=256).embed([text])

    assert np.array_equal(vectors, np.eye(1, 256, dtype=np.float32))
    assert titan.requests == []


def test_nothing_is_asked_for_no_texts(titan: Any) -> None:
    assert embedder(titan).embed([]).shape == (0, 1024)
    assert titan.requests == []


def test_vectors_of_other_lengths_are_taken_unless_the_model_normalizes(titan: Any) -> None:
    titan.faults.append(titan.answer(json.dumps({"embedding": [3.0] * 256}).encode()))
    made = embedder(titan, dimension=256, normalize=False)

    assert made.embed(["x"])[0, 0] == 3.0
    assert json.loads(titan.requests[0].body)["normalize"] is False
    assert made.model == "amazon.titan-embed-text-v2:0 256 raw"


# -- long texts ---------------------------------------------------------------------------------


def test_a_long_text_is_cut_before_it_is_sent(titan: Any) -> None:
    made = embedder(titan)
    assert made.max_characters == 32_768

    made.embed(["x" * 32_769, "y" * 32_768])

    assert sorted(map(len, titan.texts)) == [32_768, 32_768]


def test_a_text_of_too_many_tokens_is_halved_until_it_fits(titan: Any) -> None:
    text = "水" * 20_000

    vector = embedder(titan).embed_query(text)

    assert [len(one) for one in titan.texts] == [20_000, 10_000, 5_000]
    assert np.allclose(vector, titan.vector_of("水" * 5_000), atol=1e-6)


def test_a_text_is_halved_between_two_characters(titan: Any) -> None:
    text = "a" + "🎉" * 16_000

    embedder(titan).embed_query(text)

    assert [len(one) for one in titan.texts] == [16_001, 8_000]
    assert titan.texts[1] == text[:8_000]


def test_a_text_that_can_t_be_too_long_is_not_halved(titan: Any) -> None:
    titan.always = titan.error(400, "ValidationException")

    with pytest.raises(ConfigurationError, match="ValidationException, status 400"):
        embedder(titan).embed_query("x" * 5_000)

    assert [len(one) for one in titan.texts] == [5_000, 2_500, 2_000]


def test_a_text_is_not_halved_for_another_reason(titan: Any) -> None:
    titan.always = titan.error(404, "ResourceNotFoundException")

    with pytest.raises(ConfigurationError, match="ResourceNotFoundException"):
        embedder(titan).embed_query("x" * 5_000)

    assert len(titan.requests) == 1


# -- side by side -------------------------------------------------------------------------------


def at_once(titan: Any, count: int) -> None:
    """Let the stand-in answer only when so many requests are there at the same time."""
    barrier = threading.Barrier(count, timeout=LONG_SECONDS)

    def fault(handler: Any) -> None:
        barrier.wait()
        body = json.dumps({"embedding": [1.0] + [0.0] * 255}).encode()
        handler.reply(200, body)

    titan.always = fault


def test_as_many_requests_run_at_once_as_are_allowed(titan: Any) -> None:
    at_once(titan, 4)

    vectors = embedder(titan, dimension=256, max_concurrency=4, timeout_seconds=LONG_SECONDS).embed(
        [str(i) for i in range(8)]
    )

    assert len(vectors) == 8


def test_no_more_requests_run_at_once_than_are_allowed(titan: Any) -> None:
    guard = threading.Lock()
    running = most = 0

    def fault(handler: Any) -> None:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        titan.released.wait(0.01)  # so that others come meanwhile, if they may
        body = json.dumps({"embedding": [1.0] + [0.0] * 255}).encode()
        with guard:
            running -= 1
        handler.reply(200, body)

    titan.always = fault
    made = embedder(titan, dimension=256, max_concurrency=2)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(made.embed, [[f"{i} {j}" for j in range(10)] for i in range(4)]))

    assert len(titan.requests) == 40
    assert most <= 2


def test_many_threads_share_one_embedder(titan: Any) -> None:
    made = embedder(titan, dimension=256)
    texts = [[f"{i} {j}" for j in range(5)] for i in range(8)]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(made.embed, texts))

    for some, vectors in zip(texts, found, strict=True):
        assert np.allclose(vectors, [titan.vector_of(text, 256) for text in some], atol=1e-6)


# -- failures -----------------------------------------------------------------------------------

MAY_PASS = {
    "a server error": ("error", 500, "InternalServerException"),
    "out of service": ("error", 503, "ServiceUnavailableException"),
    "the model took too long": ("error", 408, "ModelTimeoutException"),
    "the model failed": ("error", 424, "ModelErrorException"),
    "a gateway's page": ("answer", b"<html>Bad gateway</html>", 502, "text/html"),
    "a page with status 200": ("answer", b"<html>hello</html>", 200, "text/html"),
    "broken JSON": ("answer", b'{"embedding": [0.1, 0.'),
    "JSON nested too deep": ("answer", b"[" * 100_000),
    "bytes that are no text": ("answer", b"\xff\xfe\x00"),
    "another object": ("answer", b'{"vector": [1]}'),
    "no object": ("answer", b"[1, 2]"),
    "nothing": ("answer", b""),
    "a truncated body": ("truncated",),
    "a reset": ("reset",),
}


def fault(titan: Any, name: str, *args: Any) -> Any:
    made = getattr(titan, name)
    return made(*args) if args else made


@pytest.mark.parametrize("planned", MAY_PASS.values(), ids=MAY_PASS)
def test_what_may_pass_is_asked_for_again(titan: Any, planned: tuple[Any, ...]) -> None:
    titan.faults += [fault(titan, *planned)] * 2

    vector = embedder(titan).embed_query("hello")

    assert np.allclose(vector, titan.vector_of("hello"), atol=1e-6)
    assert titan.texts == ["hello"] * 3


@pytest.mark.parametrize("planned", MAY_PASS.values(), ids=MAY_PASS)
def test_what_does_not_pass_is_asked_for_three_times(titan: Any, planned: tuple[Any, ...]) -> None:
    titan.always = fault(titan, *planned)

    with pytest.raises(UnavailableError) as caught:
        embedder(titan).embed_query("secret words")

    assert caught.value.retryable
    assert caught.value.operation == "embed"
    assert len(titan.requests) == 3, "only one layer repeats requests"


def test_a_throttled_request_is_sent_again_until_it_is_taken(titan: Any) -> None:
    titan.faults += [titan.error(429, "ThrottlingException")] * 12

    vector = embedder(titan).embed_query("hello")

    assert np.allclose(vector, titan.vector_of("hello"), atol=1e-6)
    assert len(titan.requests) == 13


def test_throttling_does_not_count_as_failing(titan: Any) -> None:
    throttled, failing = titan.error(429, "ThrottlingException"), titan.error(503, "Unavailable")
    titan.faults += [throttled, throttled, throttled, failing, throttled, failing]

    assert len(embedder(titan).embed_query("hello")) == 1024
    assert len(titan.requests) == 7


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "ThrottlingException"),
        (429, "ModelNotReadyException"),
        (400, "ServiceQuotaExceededException"),
        (429, "SomethingNew"),
    ],
)
def test_who_would_have_to_wait_too_long_is_told_at_once(
    titan: Any, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    monkeypatch.setattr(bedrock, "_FIRST_WAIT_SECONDS", 1e9)
    monkeypatch.setattr(bedrock, "_LONGEST_WAIT_SECONDS", 1e9)
    titan.always = titan.error(status, code)
    began = time.monotonic()

    with pytest.raises(ThrottledError, match=code) as caught:
        embedder(titan, timeout_seconds=LONG_SECONDS).embed_query("hello")

    assert time.monotonic() - began < LONG_SECONDS / 2
    assert caught.value.retryable
    assert len(titan.requests) == 1


def test_who_was_throttled_before_the_deadline_is_told_so(titan: Any) -> None:
    made = connected(titan, timeout_seconds=LONG_SECONDS)
    titan.faults += [titan.error(429, "ThrottlingException"), titan.held_back]

    with deadline(1.0), pytest.raises(ThrottledError):
        made.embed_query("hello")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDeniedException", AccessDeniedError),
        (403, "UnrecognizedClientException", AccessDeniedError),
        (403, "InvalidSignatureException", AccessDeniedError),
        (400, "ExpiredTokenException", AccessDeniedError),
        (401, "SomethingNew", AccessDeniedError),
        (404, "ResourceNotFoundException", ConfigurationError),
        (400, "ValidationException", ConfigurationError),
        (400, "SomethingNew", UnavailableError),
        (301, "MovedPermanently", UnavailableError),
    ],
)
def test_what_can_t_pass_is_not_asked_for_again(
    titan: Any, status: int, code: str, kind: type[IalStoreError]
) -> None:
    titan.always = titan.error(status, code, "arn:aws:secret text of the service")

    with pytest.raises(kind, match=f"{code}, status {status}, request 11111111") as caught:
        embedder(titan).embed_query("hello")

    assert not caught.value.retryable
    assert "secret" not in str(caught.value)
    assert len(titan.requests) == 1


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([1.0] * 255, r"returned shape \(255,\), not \(256,\)"),
        ([1.0] * 1024, r"shape \(1024,\)"),
        ([[1.0] * 256], r"shape \(1, 256\)"),
        (["x"] * 256, "no array of numbers"),
        ({"a": 1}, "no array of numbers"),
        ([[1.0], 2.0], "no array of numbers"),
        ([0.0] * 256, "zero or not finite"),
        ([float("nan")] * 256, "zero or not finite"),
        ([1e300] * 256, "zero or not finite"),
    ],
)
def test_another_vector_than_the_one_asked_for_is_refused(
    titan: Any, found: Any, said: str
) -> None:
    titan.always = titan.answer(json.dumps({"embedding": found}).encode())

    with pytest.raises(UnavailableError, match=said):
        embedder(titan, dimension=256).embed(["x"])


def test_the_first_failure_ends_the_call(titan: Any) -> None:
    titan.always = titan.error(403, "AccessDeniedException")

    made = embedder(titan, max_concurrency=1)

    with pytest.raises(AccessDeniedError):
        made.embed([str(i) for i in range(100)])
    with pytest.raises(AccessDeniedError):  # which waits for what is left of the first call
        made.embed(["last"])

    assert len(titan.requests) < 50


def test_nothing_listens(titan: Any) -> None:
    with pytest.raises(UnavailableError, match="EndpointConnectionError") as caught:
        embedder(titan, endpoint="http://127.0.0.1:1").embed_query("hello")
    assert caught.value.retryable


# -- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["held_back", "dripping"])
def test_a_call_ends_with_its_deadline(titan: Any, name: str) -> None:
    made = connected(titan, timeout_seconds=LONG_SECONDS)
    titan.always = getattr(titan, name)
    began = time.monotonic()

    with deadline(0.2), pytest.raises(DeadlineExceededError) as caught:
        made.embed(["hello", "world"])

    assert time.monotonic() - began < LONG_SECONDS / 2
    assert caught.value.retryable


def test_what_was_overcome_is_not_the_reason_for_being_late(titan: Any) -> None:
    made = connected(titan, max_concurrency=1, timeout_seconds=LONG_SECONDS)
    titan.faults += [titan.error(429, "ThrottlingException"), None, titan.held_back]

    with deadline(1.0), pytest.raises(DeadlineExceededError):
        made.embed(["throttled", "late"])

    assert titan.texts == ["throttled", "throttled", "late"]


def test_without_a_deadline_its_own_timeout_holds(titan: Any) -> None:
    titan.always = titan.dripping
    began = time.monotonic()

    with pytest.raises(DeadlineExceededError):
        embedder(titan, timeout_seconds=0.2).embed_query("hello")

    assert time.monotonic() - began < LONG_SECONDS / 2


def test_the_timeout_is_for_each_round_of_requests(
    titan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def end_of_call(seconds: float) -> float:
        given.append(seconds)
        return time.monotonic() + LONG_SECONDS

    monkeypatch.setattr(bedrock, "end_of_call", end_of_call)
    made = embedder(titan, dimension=256, max_concurrency=4, timeout_seconds=3.0)
    for count in (1, 4, 5, 9):
        made.embed([str(i) for i in range(count)])

    assert given == [3.0, 3.0, 6.0, 9.0]


def test_a_call_after_one_that_was_given_up_gets_workers_of_its_own(titan: Any) -> None:
    made = connected(titan, max_concurrency=1, timeout_seconds=LONG_SECONDS)
    titan.faults.append(titan.held_back)

    with deadline(0.2), pytest.raises(DeadlineExceededError):
        made.embed_query("hello")

    assert np.allclose(made.embed_query("hello"), titan.vector_of("hello"), atol=1e-6)


def test_workers_that_were_given_up_end_with_their_requests(titan: Any) -> None:
    before = threading.enumerate()
    made = connected(titan, max_concurrency=1, timeout_seconds=LONG_SECONDS)
    titan.faults.append(titan.held_back)
    (worker,) = [
        one for one in threading.enumerate() if "bedrock" in one.name and one not in before
    ]
    with deadline(0.2), pytest.raises(DeadlineExceededError):
        made.embed_query("hello")

    assert worker.is_alive()
    titan.released.set()
    worker.join(LONG_SECONDS)
    assert not worker.is_alive()


def test_two_calls_that_are_given_up_at_once_make_no_trouble(titan: Any) -> None:
    made = connected(titan, max_concurrency=2, timeout_seconds=LONG_SECONDS)
    titan.faults += [titan.held_back] * 2

    def call(text: str) -> type[BaseException]:
        with deadline(0.2), pytest.raises(DeadlineExceededError) as caught:
            made.embed_query(text)
        return caught.type

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(call, ["a", "b"])) == [DeadlineExceededError] * 2
    assert len(made.embed_query("hello")) == 1024


def test_after_its_deadline_nothing_is_asked_for(titan: Any) -> None:
    made = embedder(titan)
    with pytest.raises(DeadlineExceededError):
        made._embed_one("hello", time.monotonic() - 1, {})  # noqa: SLF001 - a worker that comes late
    assert titan.requests == []


# -- configuration ------------------------------------------------------------------------------


def test_a_missing_region_is_named(titan: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"NoRegionError.*AWS_REGION"):
        BedrockTitanEmbedder(endpoint=titan.url).embed_query("hello")


def test_the_region_of_the_environment_is_taken(
    titan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    BedrockTitanEmbedder(endpoint=titan.url).embed_query("hello")
    assert "/eu-central-1/bedrock/" in titan.requests[0].headers["Authorization"]


def test_missing_credentials_are_named(titan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match="NoCredentialsError"):
        embedder(titan).embed_query("hello")
    assert titan.requests == []


def test_a_profile_that_is_not_there_is_named(titan: Any) -> None:
    with pytest.raises(ConfigurationError, match="ProfileNotFound"):
        embedder(titan, profile="nobody").embed_query("hello")


def test_a_profile_is_used(titan: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(
        "[team]\naws_access_key_id = AKIDTEAM\naws_secret_access_key = very-secret-key\n"
    )
    embedder(titan, profile="team").embed_query("hello")
    assert "Credential=AKIDTEAM/" in titan.requests[0].headers["Authorization"]


def test_credentials_that_can_t_be_fetched_are_no_access(
    titan: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text("[profile team]\ncredential_process = false\n")
    with pytest.raises(AccessDeniedError, match="CredentialRetrievalError"):
        embedder(titan, profile="team").embed_query("hello")


def test_an_error_of_no_known_kind_is_named() -> None:
    raised = translated(KeyError("secret"))
    assert isinstance(raised, UnavailableError)
    assert str(raised) == "asking Bedrock raised KeyError"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dimension": 384}, "dimension must be 256, 512 or 1024"),
        ({"dimension": "256"}, "dimension must be"),
        ({"normalize": "yes"}, "normalize must be true or false"),
        ({"region": 5}, "region must be a str"),
        ({"region": ""}, "region must not be empty"),
        ({"model_id": ""}, "model_id must not be empty"),
        ({"endpoint": "file:///etc/passwd"}, "endpoint must be a URL"),
        ({"endpoint": "localhost:8000"}, "endpoint must be a URL"),
        ({"endpoint": "http://user:hunter2@host"}, "without user info"),
        ({"endpoint": "http://[::1"}, "endpoint must be a URL"),
        ({"max_concurrency": 0}, "max_concurrency must be at least 1"),
        ({"max_concurrency": 1000}, "max_concurrency must be at most 256"),
        ({"timeout_seconds": 0}, "timeout_seconds must be"),
    ],
)
def test_a_wrong_argument_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as caught:
        BedrockTitanEmbedder(**options)
    assert "hunter2" not in str(caught.value)


def test_a_single_text_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="embed_query takes one text"):
        BedrockTitanEmbedder().embed("hello")


def test_the_name_of_the_index_stays_when_the_model_moves() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"
    assert BedrockTitanEmbedder().model == "amazon.titan-embed-text-v2:0 1024"
    assert BedrockTitanEmbedder(model_id=arn).model == f"{arn} 1024"
    moved = BedrockTitanEmbedder(model_id=arn, name="amazon.titan-embed-text-v2:0")
    assert moved.model == BedrockTitanEmbedder().model


def test_without_botocore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ialstore_backends._late.find_spec", lambda _: None)
    with pytest.raises(MissingDriverError, match=r"pip install 'ialstore\[bedrock\]'"):
        BedrockTitanEmbedder()


def test_no_secret_and_no_text_is_shown(titan: Any) -> None:
    titan.always = titan.error(403, "AccessDeniedException", "very-secret-key")
    made = embedder(titan)

    with pytest.raises(AccessDeniedError) as caught:
        made.embed_query("private words")

    shown = f"{caught.value!s} {caught.value!r} {made!r}"
    assert "us-east-1" in shown
    for secret in ("very-secret", "AKIDEXAMPLE", "private", titan.url):
        assert secret not in shown
    trace = "".join(traceback.format_exception(caught.value))
    assert "very-secret-token" not in trace
    assert "private words" not in trace.replace('embed_query("private words")', "")


# -- processes ----------------------------------------------------------------------------------

FORK = """
import os, sys
from ialstore_backends.embedders.bedrock import BedrockTitanEmbedder
made = BedrockTitanEmbedder(region="us-east-1", endpoint=sys.argv[1], timeout_seconds=20)
first = made.embed(["a", "b", "c"])
made._client.lock.acquire()
made._workers.lock.acquire()
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
import threading
thread = threading.Thread(target=lambda: found.append(made.embed(["a", "b", "c"])), daemon=True)
found = []
thread.start()
thread.join(30)
os._exit(0 if found and (found[0] == first).all() else 3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_asks_with_connections_and_threads_of_its_own(titan: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, titan.url],
        timeout=90,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, later = titan.requests[:3], titan.requests[3:]
    assert len(later) == 3
    assert not {one.port for one in first} & {one.port for one in later}


def test_botocore_is_imported_when_the_first_text_is_embedded() -> None:
    code = (
        "import sys; from ialstore_backends.embedders.bedrock import BedrockTitanEmbedder as E; "
        "E(); print('botocore' in sys.modules, 'tenacity' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
