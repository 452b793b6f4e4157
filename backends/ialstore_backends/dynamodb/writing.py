"""Writing messages: conditional puts, parts before their head, deletes, and batches."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from ialstore.cost import Units, write_units
from ialstore.errors import ConflictError, IalStoreError, Outcome, PartialWriteError
from ialstore.model import AppendResult, EncodedMessage
from ialstore_backends.dynamodb.access import RowAccess, UnwrittenError, put_request
from ialstore_backends.dynamodb.rows import Draft, draft_row, is_live
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.dynamodb.table import ConditionFailedError, from_base64, key_of

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.directory import Directory
    from ialstore_backends.dynamodb.reading import Reader
    from ialstore_backends.dynamodb.table import Item, Table

__all__ = ["Writer"]

_ATTEMPT_BYTES: Final = 8

_STORED, _DUPLICATE, _CONFLICT = "stored", "duplicate", "conflict"


class Writer:
    """Writes the messages of a table; safe from many threads."""

    def __init__(self, table: Table, directory: Directory, reader: Reader) -> None:
        self._client = table.client
        self._model = table.model
        self._table = table.name
        self._layout = table.layout
        self._side_by_side = table.side_by_side
        self._access = RowAccess(table.client, table.name, table.side_by_side)
        self._directory = directory
        self._reader = reader

    # -- append and replace ---------------------------------------------------------------------

    def append(self, op: Operation, entries: Sequence[EncodedMessage]) -> AppendResult:
        """Store what is not there; see ``ConversationStore._append``."""
        self._directory.announce(op, entries)
        outcomes = self._side_by_side.outcomes(
            [partial(self._append_one, op, self._draft(entry)) for entry in entries]
        )
        ids = [entry.message.id for entry in entries]
        by_outcome: dict[str, list[str]] = {_STORED: [], _DUPLICATE: [], _CONFLICT: []}
        not_stored: list[str] = []
        unknown: list[str] = []
        errors: list[IalStoreError] = []
        for one, outcome in zip(ids, outcomes, strict=True):
            if isinstance(outcome, str):
                by_outcome[outcome].append(one)
            elif isinstance(outcome, IalStoreError):
                errors.append(outcome)
                (unknown if outcome.outcome is Outcome.UNKNOWN else not_stored).append(one)
            else:
                raise outcome
        stored, duplicates = by_outcome[_STORED], by_outcome[_DUPLICATE]
        conflicts = by_outcome[_CONFLICT]
        if not errors and not conflicts:
            return AppendResult(tuple(stored), tuple(duplicates))
        if not stored and not unknown and not errors:
            raise ConflictError(f"{conflicts[0]} is stored with other content", ids=conflicts)
        if len(ids) == 1:
            raise errors[0]
        raise PartialWriteError(
            f"{len(stored)} of {len(ids)} messages were stored; repeating the call is safe",
            stored=stored,
            duplicates=duplicates,
            conflicting=conflicts,
            not_stored=not_stored,
            unknown=unknown,
            retryable=any(error.retryable for error in errors),
        ) from (errors[0] if errors else None)

    def _draft(self, entry: EncodedMessage) -> Draft:
        attempt = os.urandom(_ATTEMPT_BYTES)
        return draft_row(entry, self._model, self._layout, attempt, int(time.time()))

    def _append_one(self, op: Operation, draft: Draft) -> str:
        """Return what became of one message."""
        if draft.parts:
            there = self._reader.items(op, [draft.key], strong=True)
            if there and is_live(there[0], op.now):
                return _compared(draft, there[0])
            self._put_parts(op, draft)
        try:
            old = self._put(
                op,
                draft,
                "attribute_not_exists(user_date) OR expires_at <= :now",
                {":now": {"N": str(op.now)}},
            )
        except ConditionFailedError as error:
            self._drop_parts(op, [key_of(part) for part in draft.parts])
            found = self._found(op, draft, error)
            if found is None:  # gone in this moment: as if this came a moment later
                return self._append_one(op, draft)
            return _compared(draft, found)
        except IalStoreError as error:
            if error.outcome is not Outcome.UNKNOWN:
                raise
            return self._looked_up(op, draft, error)
        if old is not None:  # an expired one
            self._drop_parts(op, self._reader.part_keys(old))
        return _STORED

    def _found(self, op: Operation, draft: Draft, error: ConditionFailedError) -> Item | None:
        """Return the row that made a condition false: the service tells, or is asked."""
        if error.item is not None:
            return error.item
        return next(iter(self._reader.items(op, [draft.key], strong=True)), None)

    def _looked_up(self, op: Operation, draft: Draft, error: IalStoreError) -> str:
        """Return what became of a message whose reply was lost, or raise that error."""
        found: list[Item] = []
        with contextlib.suppress(IalStoreError):  # the first error says more
            found = self._reader.items(op, [draft.key], strong=True)
        if found and is_live(found[0], op.now):
            return _compared(draft, found[0])
        raise error  # it may still be on its way

    def replace(self, op: Operation, entry: EncodedMessage) -> bool:
        """Replace what is there; see ``ConversationStore._replace``."""
        draft = self._draft(entry)
        if draft.parts:
            there = self._reader.items(op, [draft.key], strong=True)
            if not there or not is_live(there[0], op.now):
                return False
            self._put_parts(op, draft)
        try:
            old = self._put(
                op,
                draft,
                "session_id = :s AND (attribute_not_exists(expires_at) OR expires_at > :now)",
                {":now": {"N": str(op.now)}, ":s": draft.item["session_id"]},
            )
        except ConditionFailedError as error:
            self._drop_parts(op, [key_of(part) for part in draft.parts])
            found = self._found(op, draft, error)
            if (
                found is not None
                and is_live(found, op.now)
                and found["session_id"] != draft.item["session_id"]
            ):
                raise ConflictError(
                    f"{entry.message.id} belongs to another session", ids=[entry.message.id]
                ) from None
            return False
        if old is not None:  # pragma: no branch - the condition asks for one
            self._drop_parts(op, self._reader.part_keys(old))
        return True

    def _put(self, op: Operation, draft: Draft, condition: str, values: Item) -> Item | None:
        """Put a head under a condition and return the row it replaced."""
        params = {
            "TableName": self._table,
            "Item": draft.item,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            old: Item | None = self._client.call(op, "PutItem", params).get("Attributes")
        except ConditionFailedError as error:
            # The service bills it, but reports nothing.
            size = item_bytes(draft.item)
            if error.item is not None:
                size = max(size, item_bytes(error.item, is_wire=True))
            op.add(Units(write=write_units(size)))
            raise
        return old

    def _put_parts(self, op: Operation, draft: Draft) -> None:
        """Write the parts of a content; none of it is a message before its head is."""
        try:
            self._side_by_side.run(
                [
                    partial(
                        self._client.call, op, "PutItem", {"TableName": self._table, "Item": one}
                    )
                    for one in draft.parts
                ]
            )
        except IalStoreError as error:
            error.outcome = Outcome.NOT_APPLIED  # of the message
            raise

    # -- removing -------------------------------------------------------------------------------

    def delete(self, op: Operation, wanted: Sequence[Item]) -> int:
        """Delete messages by the keys of their rows; return how many live ones went by it."""
        return self._access.delete_each(op, [partial(self._delete_one, op, key) for key in wanted])

    def _delete_one(self, op: Operation, key: Item) -> bool:
        """Return whether a live message went by it."""
        old = self._access.delete(op, key)
        if old is None:
            return False
        self._drop_parts(op, self._reader.part_keys(old))
        return is_live(old, op.now)

    def delete_rows(self, op: Operation, wanted: Sequence[Item]) -> None:
        """Delete rows by key, whatever they are."""
        self._access.delete_rows(op, wanted)

    def _drop_parts(self, op: Operation, wanted: Sequence[Item]) -> None:
        """Delete parts that no head names any more; what fails is left to ``optimize``."""
        with contextlib.suppress(IalStoreError):
            self.delete_rows(op, wanted)

    # -- batches --------------------------------------------------------------------------------

    def load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        """Store messages of any users, replacing those that are there."""
        last = {(entry.message.user_id, entry.message.id): entry for entry in entries}
        self._directory.announce(op, last.values())
        drafts = [self._draft(entry) for entry in last.values()]
        try:
            self._access.batch(op, [put_request(part) for draft in drafts for part in draft.parts])
        except UnwrittenError as error:
            error.cause.outcome = Outcome.NOT_APPLIED  # of the messages
            raise error.cause from error
        by_key = {_sort_of(draft.item): draft.entry.message.id for draft in drafts}
        try:
            self._access.batch(op, [put_request(draft.item) for draft in drafts])
        except UnwrittenError as error:
            missing = [by_key[_sort_of(one["PutRequest"]["Item"])] for one in error.requests]
            wanted = set(missing)
            raise PartialWriteError(
                f"{len(missing)} of {len(by_key)} messages may not be stored; "
                "repeating the load is safe",
                stored=[one for one in by_key.values() if one not in wanted],
                unknown=missing,
                retryable=True,
            ) from error.cause


def _compared(draft: Draft, item: Item) -> str:
    """Return what a row that is there makes of a message that was to be stored."""
    if item.get("content_hash") != draft.item["content_hash"]:
        return _CONFLICT
    mine = draft.item["attempt"]["B"]
    attempt = item.get("attempt", {}).get("B", "")
    # Ours: it was stored, and only the reply was lost.
    return _STORED if from_base64(attempt) == mine else _DUPLICATE


def _sort_of(item: Item) -> str:
    return f"{item['user_date']['S']}\0{item['timestamp_type']['S']}"
