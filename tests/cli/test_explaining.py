"""``explain`` and ``iam-policy``."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ialstore import Message
from ialstore.cli.exits import ExitCode
from ialstore.cost import Units
from ialstore.operation import Operation
from ialstore.registry import register
from ialstore_backends.memory import MemoryConversationStore

Run = Callable[..., Any]


@pytest.fixture
def costly() -> str:
    """Return the URL of a store that tells what its reads cost."""

    class Costly(MemoryConversationStore):
        SCHEME = "costly"
        reads = 0

        @classmethod
        def from_url(cls, url: Any, **settings: Any) -> Any:
            store = cls(**settings)
            at = datetime(2096, 2, 29, tzinfo=UTC)
            store.append(
                Message.new(
                    user_id="u", session_id="s", role="user", content="secret", created_at=at
                )
            )
            return store

        def _history(self, op: Operation, query: Any) -> Any:
            self.reads += 1
            op.note("plan", "days" if op.consistency == "strong" else "an index")
            op.tally("units_by_partition", "2096-02-29", 0.5)
            op.tally("units_by_partition", "directory", 1)
            op.add(Units(read=1.5 / self.reads, requests=2))
            return super()._history(op, query)

    register("conversation", "costly", Costly)
    return "costly:"


def test_explain_shows_plan_units_and_partitions(run: Run, costly: str) -> None:
    result = run("explain", "-u", "u", "--url", costly)
    assert result.code == 0
    assert result.out.splitlines()[0].split() == ["history"]
    told = dict(line.rsplit(maxsplit=1) for line in result.out.splitlines() if " " in line.strip())
    assert told["backend"] == "costly"
    assert told["plan"] == "days"
    assert (told["items"], told["read units"], told["requests"]) == ("1", "1.5", "2")
    assert (told["2096-02-29"], told["directory"]) == ("0.5", "1")
    assert "secret" not in result.out


def test_explain_shows_bytes_where_an_index_bills_them(run: Run) -> None:
    class Searched(MemoryConversationStore):
        SCHEME = "searched"

        def _history(self, op: Any, query: Any) -> Any:
            op.add(Units(requests=1, vector_search_bytes=12_345))
            return super()._history(op, query)

    register("conversation", "searched", Searched)
    result = run("explain", "-u", "u", "--url", "searched:")
    told = dict(line.rsplit(maxsplit=1) for line in result.out.splitlines() if " " in line.strip())
    assert told["vector bytes searched"] == "12,345"


def test_explain_gives_programs_the_same(run: Run, costly: str) -> None:
    options = ["--eventual", "--again", "--oldest-first", "--since", "2096-02-28"]
    options += ["--until", "2096-03-01", "-s", "s", "--json", "--url", costly]
    told = run("explain", "history", "-u", "u", *options).json
    assert told.pop("seconds") >= 0
    assert told == {
        "backend": "costly",
        "operation": "history",
        "consistency": "eventual",
        "items": 1,
        "plan": "an index",
        "read_units": 0.75,
        "requests": 2,
        "vector_search_bytes": 0,
        "units_by_partition": {"2096-02-29": 0.5, "directory": 1.0},
    }


@pytest.mark.parametrize("read", ["summaries", "sessions"])
def test_explain_makes_other_reads(run: Run, chat: str, read: str) -> None:
    result = run("explain", read, "-u", "alice", "--url", chat)
    assert result.code == 0
    assert result.out.split()[0] == read
    assert "By partition" not in result.out


def test_explain_of_sessions_takes_no_range(run: Run, chat: str) -> None:
    result = run("explain", "sessions", "-u", "alice", "-s", "monday", "--url", chat)
    assert result.code == ExitCode.USAGE
    assert "sessions takes no --session" in result.err


def test_explain_makes_a_search(run: Run, chat: str) -> None:
    """What was asked for is not shown."""
    result = run("explain", "search", "-u", "alice", "--query", "lunch", "--again", "--url", chat)
    assert result.code == 0
    assert result.out.split()[0] == "search"
    assert "lunch" not in result.out
    told = run(
        "explain",
        "search",
        "-u",
        "alice",
        "--query",
        "lunch",
        "--eventual",
        "--json",
        "--url",
        chat,
    ).json
    assert (told["backend"], told["consistency"]) == ("sqlite", "eventual")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["search"], "search takes --query"),
        (["search", "--query", "x", "--oldest-first"], "no --oldest-first"),
        (["history", "--query", "x"], "history takes no --query"),
    ],
    ids=["no query", "an order", "a query"],
)
def test_explain_takes_a_query_for_a_search_alone(
    run: Run, chat: str, options: list[str], fault: str
) -> None:
    result = run("explain", *options, "-u", "alice", "--url", chat)
    assert result.code == ExitCode.USAGE
    assert fault in result.err


def test_explain_of_a_search_needs_an_index(run: Run) -> None:
    result = run("explain", "search", "-u", "alice", "--query", "x", "--url", "costless:")
    assert result.code == ExitCode.USAGE


def test_iam_policy_is_that_of_store_and_index(run: Run, tmp_path: Path) -> None:
    """Of what is at AWS: either, or both in one document."""
    config = tmp_path / "c.toml"
    store, index = "dynamodb://prod-", "lsh+dynamodb://prod-?region=eu-west-1"
    config.write_text(f'[conversation]\nurl = "{store}"\n[vector]\nurl = "{index}"\n')
    for access in ("read", "write", "manage"):
        both = run("iam-policy", "--config", str(config), "--access", access).json["Statement"]
        ids = [one["Sid"] for one in both]
        assert len({*ids}) == len(ids) >= 2
        alone = run("iam-policy", "--url", index, "--access", access).json["Statement"]
        assert alone == both[-len(alone) :]
    config.write_text(f'[conversation]\nurl = "sqlite:///x.db"\n[vector]\nurl = "{index}"\n')
    assert (
        run("iam-policy", "--config", str(config), "--access", "manage").json["Statement"] == alone
    )


def test_iam_policy_prints_a_document(run: Run) -> None:
    url = "dynamodb://prod-?region=eu-west-1"
    told = json.loads(run("iam-policy", "--url", url, "--user", "alice", "--access", "read").out)
    assert told["Version"] == "2012-10-17"
    key = told["Statement"][0]["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
    assert key == ["alice#*"]
    wide = run("iam-policy", "--url", url, "--account", "123456789012").json
    assert ":123456789012:" in wide["Statement"][0]["Resource"][0]


def test_iam_policy_of_what_is_not_at_aws_is_refused(run: Run) -> None:
    result = run("iam-policy", "--url", "sqlite:///x.db")
    assert result.code == ExitCode.USAGE
    assert "sqlite is no service of AWS" in result.err
