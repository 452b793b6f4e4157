"""A stand-in for Bedrock on this machine, which speaks the documented form of InvokeModel."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MAX_CHARACTERS = 50_000
MAX_TOKENS = 8_192
PATIENCE_SECONDS = 30.0
"""How long a reply is held back at most; no test waits for it."""

Fault = Callable[["Handler"], None]
"""Answers a request."""


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    port: int
    """Of the caller: the same for requests on one connection."""

    @property
    def text(self) -> str:
        """What was to be embedded."""
        text: str = json.loads(self.body)["inputText"]
        return text


def tokens_of(text: str) -> int:
    """Return tokens, by the documented ratio for English, and one for any other character."""
    foreign = sum(not one.isascii() for one in text)
    return foreign + round((len(text) - foreign) / 4.7)


def vector_of(text: str, dimension: int = 1024) -> list[float]:
    """Return what the stand-in answers: any vector of unit length, the same for the same text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    vector = np.random.default_rng(seed).standard_normal(dimension)
    unit: list[float] = (vector / np.linalg.norm(vector)).tolist()
    return unit


class Titan(ThreadingHTTPServer):
    """Amazon Titan Text Embeddings V2 behind InvokeModel; does once each fault that is planned.

    A planned None is an answer without a fault.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[Request] = []
        self.faults: list[Fault | None] = []
        self.always: Fault | None = None
        self.released = threading.Event()

    vector_of = staticmethod(vector_of)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def texts(self) -> list[str]:
        """The texts that were asked for, in the order of arrival."""
        return [request.text for request in self.requests]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers that hang up."""

    # -- faults ---------------------------------------------------------------------------------

    @staticmethod
    def error(status: int, code: str, message: str = "no") -> Fault:
        """Answer with an error, as the service words it."""
        body = json.dumps({"message": message}).encode()
        kind = f"{code}:http://internal.amazon.com/coral/com.amazon.bedrock/"
        return lambda handler: handler.reply(status, body, x_amzn_ErrorType=kind)

    @staticmethod
    def answer(body: bytes, status: int = 200, content_type: str = "application/json") -> Fault:
        """Answer with these bytes."""
        return lambda handler: handler.reply(status, body, Content_Type=content_type)

    @staticmethod
    def truncated(handler: Handler) -> None:
        """Announce more than is sent, and hang up."""
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"embedding": [0.1, ')
        handler.close_connection = True

    @staticmethod
    def reset(handler: Handler) -> None:
        """Hang up without an answer."""
        handler.close_connection = True

    @staticmethod
    def held_back(handler: Handler) -> None:
        """Answer nothing until the test is over."""
        handler.server.released.wait(PATIENCE_SECONDS)
        handler.close_connection = True

    @staticmethod
    def dripping(handler: Handler) -> None:
        """Send a byte now and then, so that no read of the caller ever times out."""
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        until = time.monotonic() + PATIENCE_SECONDS
        while not handler.server.released.wait(0.02) and time.monotonic() < until:
            handler.wfile.write(b" ")
        handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: Titan  # pyright: ignore[reportIncompatibleVariableOverride]  # as http.server means it
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a request, or do the next fault."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = dict(self.headers.items())
        self.server.requests.append(Request(self.path, headers, body, self.client_address[1]))
        fault = self.server.faults.pop(0) if self.server.faults else self.server.always
        if fault is not None:
            fault(self)
        elif not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            self.server.error(403, "MissingAuthenticationTokenException")(self)
        else:
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        refuse = self.server.error
        asked = json.loads(body)
        text, dimensions = asked.pop("inputText"), asked.pop("dimensions", 1024)
        asked.pop("normalize", None)
        if asked:
            refuse(400, "ValidationException", "extraneous key is not permitted")(self)
        elif dimensions not in (256, 512, 1024):
            refuse(400, "ValidationException", "is not a valid enum value")(self)
        elif not 1 <= len(text) <= MAX_CHARACTERS:
            refuse(400, "ValidationException", f"expected maxLength: {MAX_CHARACTERS}")(self)
        elif tokens_of(text) > MAX_TOKENS:
            refuse(400, "ValidationException", f"Too many input tokens: {MAX_TOKENS}")(self)
        else:
            vector = vector_of(text, dimensions)
            answer = {
                "embedding": vector,
                "embeddingsByType": {"float": vector},
                "inputTextTokenCount": tokens_of(text),
            }
            self.reply(200, json.dumps(answer).encode())

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        fields["x-amzn-RequestId"] = "11111111-2222-3333-4444-555555555555"
        for name, value in (fields | {k.replace("_", "-"): v for k, v in headers.items()}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Log nothing."""


@pytest.fixture
def titan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Titan]:
    """Start the stand-in, and give the process credentials and no other AWS configuration."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "very-secret-key",
        "AWS_SESSION_TOKEN": "very-secret-token",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    server = Titan()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()
