"""``ialstore backends`` and ``ialstore config check``."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ialstore import registry
from ialstore.registry import Registration, known

Run = Callable[..., Any]

DRIVERS = {
    "boto3",
    "botocore",
    "faiss",
    "opensearchpy",
    "redis",
    "sentence_transformers",
    "tiktoken",
    "torch",
}


def test_every_known_backend_is_a_row(run: Run) -> None:
    pattern = re.compile(r"^([A-Z].*)\n.*installed.*\n((?:.+\n)*)", re.MULTILINE)
    tables = dict(pattern.findall(run("backends").out))
    assert list(tables) == ["Conversations", "Vectors", "Embedders", "Token counters"]
    kinds = ("conversation", "vector", "embedder", "token_counter")
    for kind, table in zip(kinds, tables.values(), strict=True):
        assert [line.split()[0] for line in table.splitlines()] == list(known(kind))


def test_the_rows_say_what_the_classes_say(run: Run) -> None:
    items = run("backends", "--json").json["items"]
    by_place = {(one["keeps"], one["scheme"]): one for one in items}
    sqlite = by_place["conversations", "sqlite"]
    assert sqlite["capabilities"]["durable"] is True
    assert sqlite["capabilities"]["activity_precision"] == 0
    assert sqlite["installed"] is True
    vectors = by_place["vectors", "memory"]
    assert vectors["capabilities"]["metrics"] == ["cosine", "dot", "euclidean"]
    assert vectors["options"] == []


def test_embedders_and_token_counters_are_shown_with_their_options(run: Run) -> None:
    document = run("backends", "--json").json
    by_name = {one["name"]: one for one in document["embedders"] + document["token_counters"]}
    assert by_name["hashing"] == {
        "name": "hashing",
        "install": "ialstore",
        "installed": True,
        "fault": "",
        "options": ["dimension"],
    }
    assert by_name["bedrock-titan"]["install"] == "ialstore[bedrock]"
    assert "max_concurrency" in by_name["bedrock-titan"]["options"]
    assert by_name["tiktoken"]["options"] == ["encoding"]


def test_an_embedder_of_a_package_that_is_broken_is_shown_without_options(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Registration("embedder", "x", "ialstore_none:Embedder", "ialstore[none]")
    monkeypatch.setattr(registry, "BUILT_IN", (broken,))
    (one,) = run("backends", "--json").json["embedders"]
    assert (one["installed"], one["options"]) == (False, [])
    (line,) = [line for line in run("backends").out.splitlines() if line.startswith("x ")]
    assert line.split(maxsplit=1)[1].rstrip() == "pip install 'ialstore[none]'"


def test_as_markdown_it_is_a_table(run: Run) -> None:
    header, rule, *rows = run("backends", "--markdown").out.splitlines()
    assert header.startswith("| Keeps | URL | Install | Durable |")
    assert set(rule) == set("|- ")
    assert any(row.startswith("| conversations | `sqlite:` | `ialstore` | yes |") for row in rows)


def test_looking_at_backends_imports_no_driver() -> None:
    code = (
        "import sys; from ialstore.cli import main; main(['backends', '--json']); "
        "print(*{n.partition('.')[0] for n in sys.modules}, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not DRIVERS.intersection(result.stderr.split())


@pytest.mark.parametrize(
    ("extra", "installed"),
    [
        pytest.param("ialstore[testing]", "yes", id="installed"),
        pytest.param("hypothesis[crosshair]", "'hypothesis[crosshair]'", id="not installed"),
        pytest.param("ialstore_none[x]", "'ialstore_none[x]'", id="nothing of it"),
        pytest.param("another-package", "yes", id="without extras"),
    ],
)
def test_an_extra_is_looked_up(
    run: Run, monkeypatch: pytest.MonkeyPatch, extra: str, installed: str
) -> None:
    one = Registration(
        "conversation", "x", "ialstore_backends.memory:MemoryConversationStore", extra
    )
    monkeypatch.setattr(registry, "BUILT_IN", (one,))
    (row,) = [line for line in run("backends").out.splitlines() if line.startswith("x ")]
    assert row.split()[-1] == installed


def test_an_extra_that_is_not_installed_says_how(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        registry,
        "BUILT_IN",
        (Registration("vector", "x", "ialstore_none:Index", "ialstore[none]"),),
    )
    (line,) = [line for line in run("backends").out.splitlines() if line.startswith("x ")]
    assert line.rstrip().endswith("pip install 'ialstore[none]'")
    assert " - " in line
    (one,) = run("backends", "--json").json["items"]
    assert (one["installed"], one["capabilities"], one["options"]) == (False, {}, [])


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (
            "a_module_that_is_not_there:Store",
            "x of the package their-store: its entry point names the module",
        ),
        ("ialstore_backends.memory:MemoryVectorIndex", "is no subclass of ialstore.Conversation"),
    ],
)
def test_a_broken_package_is_named_and_hides_no_other(
    run: Run, monkeypatch: pytest.MonkeyPatch, target: str, fault: str
) -> None:
    theirs = Registration("conversation", "x", target, packages=("their-store",))
    monkeypatch.setattr(registry, "_added", {("conversation", "x"): theirs})
    result = run("backends")
    (row,) = [line for line in result.out.splitlines() if line.startswith("x ")]
    assert row.split()[-1] == "broken"
    assert fault in result.out.splitlines()[-1]
    items = {
        one["scheme"]: one
        for one in run("backends", "--json").json["items"]
        if one["keeps"][0] == "c"
    }
    assert items["memory"]["fault"] == ""
    assert (items["x"]["install"], items["x"]["installed"]) == ("their-store", False)
    assert fault in items["x"]["fault"]


def test_a_broken_embedder_of_a_package_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Registration("embedder", "x", "ialstore.ids:Role", packages=("their-embedder",))
    monkeypatch.setattr(registry, "_added", {("embedder", "x"): theirs})
    assert run("backends").out.splitlines()[-1] == (
        "broken: x of the package their-embedder: Role does not define embed, embed_query"
    )


def test_the_defaults_are_a_valid_configuration(run: Run, folder: Path) -> None:
    result = run("config", "check")
    assert result.code == 0, result.err
    assert result.out.startswith("from built-in defaults:\n")
    assert "sqlite:///ialstore.db" in result.out
    assert list(folder.iterdir()) == []  # nothing was created


CONFIG = """
[conversation]
url = "memory:"
wrap = [{ use = "retry", attempts = 3 }]
retention_days = 30

[embedder]
use = "hashing"
dimension = 64

[context]
max_tokens = 500
token_counter = { use = "tiktoken", encoding = "cl100k_base" }
"""


def test_what_is_in_effect_is_shown(run: Run, folder: Path) -> None:
    (folder / "ialstore.toml").write_text(CONFIG)
    document = run("config", "check", "--json").json
    assert document["origin"] == "ialstore.toml"
    assert document["conversation"] == {
        "url": "memory:",
        "wrap": [{"use": "retry", "attempts": 3}],
        "timeout_seconds": 5.0,
        "retention_days": 30,
    }
    assert document["vector"]["dimension"] == 64
    assert document["vector"]["metric"] == "cosine"
    assert document["embedder"] == {"use": "hashing", "dimension": 64, "model": "hashing-64-v1"}
    assert document["context"]["max_tokens"] == 500
    assert document["context"]["token_counter"] == {"use": "tiktoken", "encoding": "cl100k_base"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[context]", "[contxt]"), "did you mean context?"),
        (("max_tokens", "max_token"), "did you mean max_tokens?"),
        (("cl100k_base", "cl100k"), "did you mean cl100k_base?"),
        (('"tiktoken"', '"tiktokn"'), "did you mean tiktoken?"),
        (("max_tokens = 500", "max_tokens = 0"), "max_tokens must be at least 1"),
        (("attempts", "atempts"), "did you mean attempts?"),
        (("memory:", "mmory:"), "did you mean memory?"),
        (("hashing", "hash"), "hash"),
        (("dimension", "dimensions"), "dimensions"),
        (('wrap = [{ use = "retry", attempts = 3 }]', "wrap = [{}]"), "use = ..."),
    ],
)
def test_a_fault_is_named_with_what_was_meant(
    run: Run, folder: Path, change: tuple[str, str], said: str
) -> None:
    (folder / "ialstore.toml").write_text(CONFIG.replace(*change))
    result = run("config", "check")
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert result.err.count("\n") == 1


def test_secrets_are_not_shown(run: Run, folder: Path) -> None:
    from dataclasses import dataclass
    from typing import ClassVar, Literal, Self

    from ialstore.registry import register
    from ialstore_backends.memory import MemoryConversationStore

    @dataclass(frozen=True)
    class Options:
        token: str = ""
        endpoint: str = ""
        shards: int = 1
        mode: Literal["fast", "safe"] = "safe"

    class Secretive(MemoryConversationStore):
        OPTIONS: ClassVar[type[Any] | None] = Options

        @classmethod
        def from_url(cls, url: Any, **settings: Any) -> Self:
            return cls(**settings)

    register("conversation", "secretive", Secretive)
    (folder / "ialstore.toml").write_text(
        '[conversation]\nurl = "secretive://user:hunter2@host/x"\ntoken = "hunter2"\n'
        'endpoint = "http://user:hunter2@host"\nshards = 3\n[vector]\nurl = "memory:"\n'
    )
    for options in ([], ["--json"]):
        result = run("config", "check", *options)
        assert result.code == 0, result.err
        assert "hunter2" not in result.out + result.err
    shown = result.json["conversation"]
    assert shown["url"] == "secretive://***@host/x"
    assert (shown["token"], shown["endpoint"], shown["shards"]) == ("***", "http://***@host", "3")
    (folder / "ialstore.toml").unlink()
    query = "token=hunter2&mode=fast&region=eu-west-1&shards=3&x=${HOME}"
    escaped = "endpoint=http%3A%2F%2Fuser%3Ahunter2%40host%3A8000"
    with_options = run(
        "config", "check", "--url", f"secretive://host/x?{query}&{escaped}", "--json"
    )
    assert with_options.json["conversation"]["url"] == (
        "secretive://host/x?token=***&mode=fast&region=eu-west-1&shards=3&x=***"
        "&endpoint=http://***@host:8000"
    )
