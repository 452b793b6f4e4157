"""tiktoken as a token counter: the real library, with ranks of its own and no network."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import tiktoken.registry

from ialstore import (
    ConfigurationError,
    InvalidInputError,
    MissingDriverError,
    UnavailableError,
    open_engine,
)
from ialstore.context import ContextBudget, ContextEngine, estimate_tokens
from ialstore.embedding import HashingEmbedder
from ialstore.vector_model import IndexSpec
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.token_counters import TiktokenCounter

WORDS = (b"he", b"ll", b"hell", b"hello", b" h", b" hello")


def encoding(name: str = "small") -> tiktoken.Encoding:
    """Return an encoding of single bytes and a few words, which cuts texts as cl100k_base does."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {word: 256 + rank for rank, word in enumerate(WORDS)}
    return tiktoken.Encoding(
        name,
        pat_str=r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}|"""
        r""" ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+""",
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": 1000},
    )


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let nothing be looked up in the network; return the folder of the ranks, which is empty."""

    def unknown(*_: Any) -> Any:
        raise socket.gaierror(-3, "no network here")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "ranks"))
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    return tmp_path / "ranks"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello", 1),
        ("hello hello", 2),
        ("hell", 1),
        ("é", 2),
        ("<|endoftext|>", 13),  # the text, not the token
        ("a\ud800b", 5),  # a lone surrogate, as the replacement character
    ],
)
def test_tokens_are_counted_as_the_encoding_cuts_them(text: str, tokens: int) -> None:
    assert TiktokenCounter(encoding())(text) == tokens


def test_a_million_spaces_are_counted() -> None:
    assert TiktokenCounter(encoding())(" " * 1_000_000) == 1_000_000


def test_tiktoken_by_itself_does_not_count_a_million_spaces() -> None:
    code = "import tiktoken\n" + "e = tiktoken.Encoding('x', pat_str=r'\\s+(?!\\S)|\\s+|.', "
    code += "mergeable_ranks={bytes([b]): b for b in range(256)}, special_tokens={})\n"
    code += "e.encode_ordinary(' ' * 1_000_000)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"StackOverflow" in done.stderr, "then texts need not be counted in pieces any more"


@pytest.mark.parametrize("length", [99_999, 100_000, 100_001, 350_000])
def test_a_long_text_takes_at_most_a_few_tokens_more_for_each_piece(length: int) -> None:
    text = ("hello " * length)[:length]
    whole = len(encoding().encode_ordinary(text))
    assert whole <= TiktokenCounter(encoding())(text) <= whole + 3 * (length // 100_000)


def test_many_threads_share_a_counter() -> None:
    counter = TiktokenCounter(encoding())
    texts = ["hello " * i for i in range(200)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(counter, texts)) == list(map(counter, texts))


def test_an_engine_counts_with_it() -> None:
    counter = TiktokenCounter(encoding())
    with ContextEngine(
        MemoryConversationStore(),
        MemoryVectorIndex(IndexSpec(16)),
        HashingEmbedder(dimension=16),
        budget=ContextBudget(memories=0),
        token_counter=counter,
    ) as engine:
        engine.save("u", "s", "user", "hello hello <|endoftext|>")
        context = engine.build_context("", "u", "s")
    assert context.tokens == 4 + counter("hello hello <|endoftext|>")


# -- encodings by name --------------------------------------------------------------------------


def test_an_unknown_encoding_is_refused_with_the_closest() -> None:
    with pytest.raises(InvalidInputError, match=r"no encoding o200k; did you mean o200k_base\?"):
        TiktokenCounter("o200k")


def test_an_encoding_of_no_kind_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="a name or an Encoding, not int"):
        TiktokenCounter(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_without_a_network_the_error_says_what_to_do(offline: Path) -> None:
    counter = TiktokenCounter()
    for _ in range(2):
        with pytest.raises(UnavailableError, match=r"o200k_base.*TIKTOKEN_CACHE_DIR") as caught:
            counter("hello")
        assert caught.value.retryable
    assert not offline.exists()


@pytest.mark.usefixtures("offline")
def test_an_engine_says_so_too() -> None:
    config = {"conversation": {"url": "memory:"}, "context": {"token_counter": "tiktoken"}}
    with open_engine(config) as engine:
        engine.save("u", "s", "user", "hello")
        with pytest.raises(UnavailableError, match=r"TIKTOKEN_CACHE_DIR"):
            engine.build_context("", "u", "s")


def test_ranks_in_the_folder_need_no_network(
    offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    ranks = b"".join(b"%s %d\n" % (b64encode(bytes([byte])), byte) for byte in range(256))
    offline.mkdir()
    offline.joinpath(hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()).write_bytes(
        ranks
    )
    monkeypatch.setattr("tiktoken.load.check_hash", lambda *_: True)  # they are not OpenAI's

    counter = TiktokenCounter()

    assert counter("hello") == 5
    assert repr(counter) == "TiktokenCounter('o200k_base')"


def test_wrong_ranks_are_not_counted_with(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiktoken.load.read_file", lambda _: b"other bytes")
    with pytest.raises(UnavailableError, match="ValueError"):
        TiktokenCounter()("hello")
    assert not offline.exists()


def test_without_tiktoken_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ialstore_backends._late.find_spec", lambda _: None)
    with pytest.raises(MissingDriverError, match=r"pip install 'ialstore\[tiktoken\]'"):
        TiktokenCounter()


def test_an_own_encoding_shows_its_name() -> None:
    assert repr(TiktokenCounter(encoding("mine"))) == "TiktokenCounter('mine')"


# -- by configuration ---------------------------------------------------------------------------


def counter_of(entry: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what an engine with this entry counts with."""
    given: list[Any] = []
    initialize = ContextEngine.__init__

    def init(self: ContextEngine, *args: Any, **options: Any) -> None:
        given.append(options["token_counter"])
        initialize(self, *args, **options)

    monkeypatch.setattr(ContextEngine, "__init__", init)
    context = {} if entry is None else {"token_counter": entry}
    with open_engine({"conversation": {"url": "memory:"}, "context": context}) as engine:
        assert engine.budget == ContextBudget()
        assert type(engine.budget) is ContextBudget
    return given[0]


@pytest.mark.parametrize("entry", [None, "estimate", {"use": "estimate"}])
def test_by_default_tokens_are_estimated(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = counter_of(entry, monkeypatch)
    assert counter("What is the plan?") == estimate_tokens("What is the plan?")


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("tiktoken", "o200k_base"),
        ({"use": "tiktoken"}, "o200k_base"),
        ({"use": "tiktoken", "encoding": "cl100k_base"}, "cl100k_base"),
    ],
)
def test_a_configuration_names_the_counter(
    entry: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert repr(counter_of(entry, monkeypatch)) == f"TiktokenCounter({name!r})"


def test_a_variable_names_the_counter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IALSTORE_CONVERSATION__URL", "memory:")
    monkeypatch.setenv("IALSTORE_CONTEXT__TOKEN_COUNTER", "tiktokn")
    with pytest.raises(ConfigurationError, match=r"did you mean tiktoken\?"):
        open_engine()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("words", r"there is no token counter words; known: estimate, tiktoken"),
        ({"encoding": "o200k_base"}, r"context\.token_counter: a table names the counter with use"),
        ({"use": 5}, r"a table names the counter with use = \.\.\."),
        (5, r"the dict: context\.token_counter"),
        (True, r"the dict: context\.token_counter"),
        (
            {"use": "tiktoken", "encodin": "x"},
            r"context\.token_counter\.encodin is unknown; did you mean encoding\?",
        ),
        ({"use": "tiktoken", "encoding": "x"}, r"context\.token_counter: there is no encoding x"),
        ({"use": "estimate", "x": 1}, r"context\.token_counter\.x is unknown"),
    ],
)
def test_a_wrong_counter_is_named(entry: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_engine({"conversation": {"url": "memory:"}, "context": {"token_counter": entry}})
