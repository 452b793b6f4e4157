"""Configuration from TOML, the environment, a dict or a URL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ialstore import (
    ConfigurationError,
    HashingEmbedder,
    IndexSpec,
    Message,
    open_engine,
    open_index,
    open_store,
)
from ialstore.config import load_config, make_embedder
from ialstore.registry import register

EXAMPLE = """
[conversation]
url = "memory:"
wrap = [{ use = "retry", attempts = 3 }]
timeout_seconds = 2.5
retention_days = 30

[vector]
url = "memory:"
metric = "dot"

[embedder]
use = "hashing"
dimension = 64

[context]
max_tokens = 500
"""


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "ialstore.toml"
    path.write_text(EXAMPLE)
    return path


def test_without_any_configuration_everything_is_in_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(environ={})
    assert config.conversation.url == config.vector.url == "sqlite:///ialstore.db"
    assert config.embedder.use == "hashing"
    assert config.origin == "built-in defaults"


def test_the_file_in_the_working_directory_is_found(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(example.parent)
    config = load_config(environ={})
    assert config.conversation.url == "memory:"
    assert config.origin == "ialstore.toml"


@pytest.mark.parametrize("give", [str, Path], ids=["text", "path"])
def test_a_file_can_be_named(example: Path, give: type[Any]) -> None:
    config = load_config(give(example), environ={})
    assert config.conversation.timeout_seconds == 2.5
    assert config.conversation.retention_days == 30
    assert config.vector.metric == "dot"
    assert config.embedder.options == {"dimension": 64}
    assert config.context == {"max_tokens": 500}


def test_a_url_that_ends_like_a_file_is_a_url() -> None:
    url = "sqlite:///odd.toml"
    assert load_config(url, environ={}).conversation.url == url


def test_the_environment_can_name_the_file(example: Path) -> None:
    assert load_config(environ={"IALSTORE_CONFIG": str(example)}).vector.metric == "dot"


def test_variables_override_the_file(example: Path) -> None:
    config = load_config(
        example,
        environ={
            "IALSTORE_CONVERSATION__TIMEOUT_SECONDS": "9",
            "IALSTORE_CONVERSATION__WRAP": "[]",
            "IALSTORE_CONTEXT__MAX_TOKENS": "7",
            "IALSTORE_CONFIG": "not used",
            "IALSTORE_DATA": "not a setting",
            "HOME": "/",
        },
    )
    assert config.conversation.timeout_seconds == 9
    assert config.conversation.wrap == ()
    assert config.context == {"max_tokens": "7"}
    assert config.origin.endswith("ialstore.toml and the environment")


def test_variables_do_not_override_what_the_program_gives() -> None:
    environ = {"IALSTORE_CONVERSATION__URL": "sqlite:///x"}
    assert load_config("memory:", environ=environ).conversation.url == "memory:"
    assert load_config({}, environ=environ).conversation.url == "sqlite:///ialstore.db"


def test_a_loaded_configuration_passes_through() -> None:
    config = load_config({})
    assert load_config(config) is config


def test_vectors_live_beside_the_conversations_unless_configured() -> None:
    assert load_config("memory:").vector.url == "memory:"
    assert load_config({"vector": {"metric": "dot"}}).vector.url == "sqlite:///ialstore.db"


def test_vectors_stay_as_long_as_the_conversations_unless_configured() -> None:
    kept = load_config({"conversation": {"retention_days": 7}})
    assert kept.vector.retention_days == 7
    other = load_config({"conversation": {"retention_days": 7}, "vector": {"retention_days": 9}})
    assert other.vector.retention_days == 9


def test_a_misspelt_setting_is_named() -> None:
    with pytest.raises(TypeError, match=r"timeout; did you mean timeout_seconds\?"):
        open_store("memory:", timeout=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_a_store_that_keeps_no_vectors_asks_for_an_index() -> None:
    config = load_config({"conversation": {"url": "other://x"}})
    with pytest.raises(ConfigurationError, match=r"set url in the section \[vector\]"):
        open_index(config, IndexSpec(3))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"conversaton": {}}, r"no section conversaton; did you mean conversation\?"),
        ({"conversation": 5}, "conversation must be a table"),
        ({5: {}}, "no section 5"),
        (Path("a\0.toml"), "is not TOML"),
        (5, "is a URL, a .toml file or a dict, not int"),
        (b"memory:", "not bytes"),
        ("", r"conversation\.url is empty; set url in the section \[conversation\]"),
        (
            {"conversation": {"timout": 1}},
            r"conversation\.timout is unknown; did you mean timeout_seconds\?",
        ),
        ({"conversation": {"retention_days": True}}, "retention_days: must be no truth value"),
        ({"vector": {"metric": "cos"}}, r"vector\.metric"),
        ("sqlite:////tmp/${HOME", r"a variable is written \$\{NAME\}"),
        ({"conversation": {"url": 5}}, r"conversation\.url"),
        ({"conversation": {"timeout_seconds": "soon"}}, r"conversation\.timeout_seconds"),
        (
            {"conversation": {"url": "memory:", "timeout_second": 1}},
            r"the dict: conversation\.timeout_second is unknown; did you mean timeout_seconds\?",
        ),
        ({"conversation": {"url": "memory:", "wrap": ["rety"]}}, r"did you mean retry\?"),
        (
            {"conversation": {"url": "memory:", "wrap": [{"use": "retry", "attempt": 1}]}},
            r"retry\.attempt is unknown; did you mean attempts\?",
        ),
        (
            {"conversation": {"url": "memory:", "wrap": [{"attempts": 1}]}},
            "names its wrapper with use",
        ),
        ("nowhere:", "no conversation store nowhere"),
        ("memory.db", r"memory\.db is not a URL; for a SQLite file write sqlite:///memory\.db"),
        (Path("memory.db"), r"memory\.db: a path names a \.toml file; .* sqlite:///memory\.db"),
        ("absent.toml", r"absent\.toml can't be read"),
    ],
)
def test_a_wrong_configuration_is_named(source: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_store(source)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("a = ")
    with pytest.raises(ConfigurationError, match=r"x\.toml is not TOML"):
        load_config(path)


def test_a_file_nested_too_deep_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("a = " + "[" * 20_000)
    with pytest.raises(ConfigurationError, match=r"x\.toml is nested too deep"):
        load_config(path)


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=r"x\.toml is not UTF-8"):
        load_config(path)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"IALSTORE_CONTEX__MAX_TOKENS": "1"}, r"did you mean context\?"),
        ({"IALSTORE_CONVERSATION__WRAP": "retry"}, "must be a JSON list"),
        ({"IALSTORE_CONVERSATION_URL": "memory:"}, "write IALSTORE_CONVERSATION__URL"),
        ({"IALSTORE_CONVERSATION__WRAP": "[" * 100_000}, "must be a JSON list"),
        ({"IALSTORE_CONTEXT": "5"}, "write IALSTORE_CONTEXT__KEY"),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_config(environ=environ)


def test_a_section_that_is_no_table_stays_wrong_with_variables(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("context = 1")
    with pytest.raises(ConfigurationError, match="context must be a table"):
        load_config(path, environ={"IALSTORE_CONTEXT__MAX_TOKENS": "1"})


def test_keys_of_a_section_are_options_of_the_url() -> None:
    with pytest.raises(ConfigurationError, match="given in the URL and beside it"):
        open_store({"conversation": {"url": "sqlite:///x.db?cache_mb=1", "cache_mb": 2}})


def test_a_wrong_option_of_the_embedder_is_named() -> None:
    config = load_config({"embedder": {"dimensio": 3}})
    with pytest.raises(
        ConfigurationError, match=r"embedder\.dimensio is unknown; did you mean dimension\?"
    ):
        make_embedder(config)


def test_a_wrong_value_for_the_embedder_is_named() -> None:
    with pytest.raises(ConfigurationError, match="the dict: embedder: dimension"):
        make_embedder(load_config({"embedder": {"dimension": 5}}))


@pytest.mark.parametrize("text", ["64", "sixty-four", '"64"', "[" * 100_000])
def test_variables_give_an_embedder_numbers(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(environ={"IALSTORE_EMBEDDER__DIMENSION": text})
    assert config.embedder.options == {"dimension": 64 if text == "64" else text}


def test_an_engine_makes_its_embedder_once() -> None:
    made: list[HashingEmbedder] = []

    class Counted(HashingEmbedder):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    register("embedder", "counted", Counted)
    with open_engine(
        {"conversation": {"url": "memory:"}, "embedder": {"use": "counted"}}
    ) as engine:
        assert made == [engine.embedder]
        assert engine.index.spec.model == engine.embedder.model


def test_a_wrong_key_of_the_context_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"the dict: context\.1 is unknown"):
        open_engine({"conversation": {"url": "memory:"}, "context": {1: 2}})


def test_an_index_takes_its_spec_from_the_embedder() -> None:
    with open_index({"vector": {"url": "memory:"}, "embedder": {"dimension": 32}}) as index:
        assert index.spec.dimension == 32
        assert index.spec.model


def test_an_index_opens_by_url() -> None:
    with open_index("memory:", IndexSpec(3, "dot")) as index:
        assert index.spec == IndexSpec(3, "dot")


def test_settings_reach_the_store() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    config = {"conversation": {"url": "memory:", "retention_days": 1}}
    with open_store(config, clock=lambda: now) as store:
        message = Message.new(user_id="u", session_id="s", role="user", content="x", created_at=now)
        store.append(message)
        assert store.get("u", [message.id])[0].expires_at == now + timedelta(days=1)


@pytest.mark.parametrize("name", ["timeout_seconds", "retention_days"])
def test_a_setting_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"the dict: conversation: {name} must be a number above 0"
    ):
        open_store({"conversation": {"url": "memory:", name: 0}})


def test_by_default_a_store_retries() -> None:
    with open_store("memory:") as store:
        assert type(store).__name__ == "RetryConversationStore"
    with open_store({"conversation": {"url": "memory:", "wrap": []}}) as store:
        assert type(store).__name__ == "MemoryConversationStore"
