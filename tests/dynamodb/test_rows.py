"""Rows and what damage does to them, and how many bytes an item has."""

from __future__ import annotations

import base64
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from ialstore import Consistency, CorruptError, Message
from ialstore.limits import MAX_MESSAGE_BYTES
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.dynamodb.table import Item

LONG = "x" * 5000


def body(text: str, *, length: int | None = None, rest: bytes = b"") -> dict[str, str]:
    """Return a compressed content, as the wire has it."""
    data = text.encode()
    head = (len(data) if length is None else length).to_bytes(4, "big")
    return {"B": base64.b64encode(zlib.compress(head + data) + rest).decode()}


def put(name: str, value: Any) -> Callable[[Item], object]:
    return lambda row: row.__setitem__(name, value)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(put("content_summary", {"N": "1"}), id="another type"),
        pytest.param(lambda row: row.pop("content_summary"), id="no summary"),
        pytest.param(put("session_id", {"S": "v#s"}), id="another user's session"),
        pytest.param(put("session_id", {"S": "s"}), id="no user"),
        pytest.param(put("session_id", {"S": "u#other"}), id="a session that is not the id's"),
        pytest.param(put("metadata", {"S": "{"}), id="no JSON"),
        pytest.param(put("tokens", {"N": "1.5"}), id="no integer"),
        pytest.param(put("body", {"B": "!"}), id="no base64"),
        pytest.param(put("body", {"B": base64.b64encode(b"x").decode()}), id="not compressed"),
        pytest.param(put("body", body(LONG, rest=b"x")), id="more than was compressed"),
        pytest.param(put("body", body(LONG, length=9999)), id="a longer text"),
        pytest.param(put("body", body(LONG, length=4000)), id="a rest that is no payload"),
        pytest.param(put("body", body("x" * (MAX_MESSAGE_BYTES + 1))), id="too long"),
    ],
)
def test_a_damaged_row_is_told(
    dynoxide: RunningServer, table: str, damage: Callable[[Item], object]
) -> None:
    """C5: never another content, never an error of a driver; the id is named."""
    message = Message.new(user_id="u", session_id="s", role="user", content=LONG)
    with DynamoConversationStore(table, DynamoOptions(endpoint=dynoxide.endpoint)) as store:
        store.append(message)
        change(store, message, damage)
        for call in (
            lambda: store.get("u", [message.id]),
            lambda: store.history("u"),
        ):
            with pytest.raises(CorruptError) as caught:
                call()
            assert message.id in str(caught.value)


def change(
    store: DynamoConversationStore, message: Message, damage: Callable[[Item], object]
) -> None:
    """Harm the row of a message."""
    with store._operation("check") as op:  # noqa: SLF001 - planted damage
        key = store._reader.key("u", message.id)  # noqa: SLF001 - as above
        (row,) = store._reader.items(op, [key], strong=True)  # noqa: SLF001 - as above
        damage(row)
        for value in row.values():
            if "B" in value:
                try:
                    value["B"] = base64.b64decode(value["B"], validate=True)
                except ValueError:
                    value["B"] = b"!"
        store._client.call(op, "PutItem", {"TableName": store.table, "Item": row})  # noqa: SLF001 - as above


@pytest.mark.parametrize("session", ["s", None])
def test_a_damaged_entry_of_an_index_is_told(
    dynoxide: RunningServer, table: str, session: str | None
) -> None:
    """C5, S7: of summaries too."""
    message = Message.new(user_id="u", session_id="s", role="user", content="x")
    with DynamoConversationStore(table, DynamoOptions(endpoint=dynoxide.endpoint)) as store:
        store.append(message)
        change(store, message, put("content_summary", {"N": "1"}))
        with pytest.raises(CorruptError, match=message.id):
            store.summaries("u", session_id=session, consistency=Consistency.EVENTUAL)


def test_a_decompression_bomb_stays_small(dynoxide: RunningServer, table: str) -> None:
    """C5: a row of 250 KB that would become 250 MB."""
    message = Message.new(user_id="u", session_id="s", role="user", content=LONG)
    packer = zlib.compressobj()
    piece = b"\0" * (1 << 20)
    bomb = b"".join(packer.compress(piece) for _ in range(250)) + packer.flush()
    with DynamoConversationStore(table, DynamoOptions(endpoint=dynoxide.endpoint)) as store:
        store.append(message)
        change(store, message, put("body", {"B": base64.b64encode(bomb).decode()}))
        tracemalloc.start()
        try:
            with pytest.raises(CorruptError):
                store.get("u", [message.id])
            assert tracemalloc.get_traced_memory()[1] < 20 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "é"}, 2),
        ({"B": b"abc"}, 3),
        ({"BS": [b"ab", b"c"]}, 3),
        ({"BOOL": True}, 1),
        ({"N": "0"}, 1),
        ({"N": "5"}, 2),
        ({"N": "-5"}, 3),
        ({"N": "1700"}, 2),
        ({"N": "1732752000"}, 5),
        ({"N": "0.001"}, 3),
        ({"N": "12.5"}, 3),
    ],
)
def test_an_item_has_the_bytes_that_the_service_counts(value: Any, size: int) -> None:
    assert item_bytes({"name": value}) == 4 + size


def test_a_binary_value_of_the_wire_is_counted_as_what_it_holds() -> None:
    for length in range(7):
        text = base64.b64encode(b"x" * length).decode()
        assert item_bytes({"b": {"B": text}}, is_wire=True) == 1 + length
        assert item_bytes({"b": {"BS": [text]}}, is_wire=True) == 1 + length
