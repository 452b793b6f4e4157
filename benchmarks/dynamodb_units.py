"""What calls of the DynamoDB store cost: units and requests, as a real server reports them.

Rows are 1,024 bytes with both indexes on. Units don't depend on the machine.

    python benchmarks/dynamodb_units.py [dynoxide | dynamodb-local] [--messages 1000000]
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from _report import Report, Table, arguments
from rich.progress import Progress, TaskID

from ialstore import Message, meter
from ialstore.model import encode_message
from ialstore.testing.servers import start
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions
from ialstore_backends.dynamodb.keys import Layout
from ialstore_backends.dynamodb.rows import draft_row
from ialstore_backends.dynamodb.schema import conversation_model
from ialstore_backends.dynamodb.sizes import item_bytes

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
ROW_BYTES = 1024


def say(number: int, padding: int = 480, **fields: Any) -> Message:
    """Return a message with a summary of 60 bytes."""
    given: dict[str, Any] = {
        "user_id": "user-1",
        "session_id": "session-1",
        "role": "user",
        "content": f"{number:06d} {'x' * padding}",
        "summary": "s" * 60,
        "created_at": START + timedelta(seconds=number),
        "key": str(number),
    }
    given |= fields
    return Message.new(**given)


def padding_of(options: DynamoOptions) -> int:
    """Return how long a content has to be for a row of ``ROW_BYTES``."""
    model = conversation_model("x", options)
    draft = draft_row(encode_message(say(0)), model, Layout(), b"12345678", 0)
    return 480 + ROW_BYTES - item_bytes(draft.item)


class Calls:
    """Makes calls and notes what they use, in a table."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def add(self, name: str, call: Callable[[], Any]) -> None:
        """Make a call and note what it used."""
        with meter() as metered:
            call()
        units = metered.units
        self.table.add(name, units.read, units.write, units.requests)


def appends(calls: Calls, store: DynamoConversationStore, padding: int) -> None:
    """Append to a new user, a known day and session, and a new session."""
    calls.add("append, the first of a user's day", lambda: store.append(say(0, padding)))
    calls.add("append, day and session known", lambda: store.append(say(1, padding)))
    other = say(2, padding, session_id="session-2")
    calls.add("append, the first of a session", lambda: store.append(other))


def reads(calls: Calls, store: DynamoConversationStore, padding: int) -> None:
    """Read what one session and fifty of them hold."""
    one = say(0, padding)
    store.bulk_load(say(number, padding) for number in range(60))
    store.bulk_load(
        say(number, padding, user_id="many", session_id=f"s{number % 50}") for number in range(1000)
    )
    for consistency in ("strong", "eventual"):
        options: dict[str, Any] = {"consistency": consistency}
        for name, call in {
            "last 20 of a session": lambda given: store.history(
                "user-1", session_id="session-1", limit=20, **given
            ),
            "last 20 of a user": lambda given: store.history("user-1", limit=20, **given),
            "summaries of the last 20": lambda given: store.summaries(
                "user-1", session_id="session-1", limit=20, **given
            ),
            "get one": lambda given: store.get("user-1", [one.id], **given),
            "list 50 sessions": lambda given: store.sessions("many", **given),
            "last 20 of one of 50 sessions on a day": lambda given: store.history(
                "many", session_id="s7", limit=20, **given
            ),
        }.items():
            calls.add(f"{name}, {consistency}", partial(call, options))
    calls.add(
        "last 20 of one of 50 sessions, eventual, again",
        lambda: store.history("many", session_id="s7", limit=20, consistency="eventual"),  # type: ignore[arg-type]  # its name will do
    )


def volumes(calls: Calls, options: DynamoOptions, padding: int, many: int) -> None:
    """Read the last 20 of many messages over 400 days, and of 100 that are as frequent."""
    step = timedelta(days=400) / many
    with DynamoConversationStore("units-", options) as store:
        for user, count in (("few", 100), ("plenty", many)):
            messages = (
                say(number, padding, user_id=user, created_at=START - step * (count - number))
                for number in range(count)
            )
            with Progress(transient=True) as progress:
                task = progress.add_task(f"loading {count:,} messages", total=count)
                store.bulk_load(
                    messages,
                    progress=partial(_show, progress, task),
                )
    for temper in ("cold", "warm"):
        with DynamoConversationStore("units-", options) as store:
            for user, count in (("few", 100), ("plenty", many)):
                read = partial(store.history, user, limit=20)
                if temper == "warm":
                    read()
                calls.add(f"last 20 of {count:,} messages, {temper}", read)


def _show(progress: Progress, task: TaskID, done: int, _: int | None) -> None:
    progress.update(task, completed=done)


def main() -> None:
    """Report units, and what a message costs the client's processor."""
    parser = arguments(__doc__)
    parser.add_argument("server", nargs="?", default="dynoxide")
    parser.add_argument("--messages", type=int, default=10_000, help="of the largest user")
    given = parser.parse_args()
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    report = Report("dynamodb_units", __doc__, ["botocore", "orjson", "pynamodb"])
    title = f"{given.server}, rows of {ROW_BYTES:,} bytes, both indexes on"
    calls = Calls(report.table("calls", title, "call", "read units", "write units", "requests"))
    with start(given.server) as running:
        options = DynamoOptions(endpoint=running.endpoint)
        padding = padding_of(options)
        with DynamoConversationStore("units-", options) as store:
            store.setup()
            appends(calls, store, padding)
            reads(calls, store, padding)
            store.append(say(0, user_id="far"))
            store.append(say(0, user_id="far", created_at=START - timedelta(days=365)))
            store.bulk_load(say(number, padding, user_id="big") for number in range(1000))
        with DynamoConversationStore("units-", options) as store:
            calls.add("two messages a year apart, cold", lambda: store.history("far", limit=2))
            store.history("big", limit=1000)
            began = time.process_time()
            store.history("big", limit=1000)
            full = time.process_time() - began
            began = time.process_time()
            store.history("nobody", limit=1000)
            empty = time.process_time() - began
        volumes(calls, options, padding, given.messages)
    report.figures["client CPU of a message of a page of 1,000, us"] = (full - empty) * 1000
    report.figures["client CPU of an empty request, us"] = empty * 1e6
    report.finish(given)


if __name__ == "__main__":
    main()
