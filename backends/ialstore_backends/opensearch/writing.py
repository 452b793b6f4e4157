"""Bulk requests with an outcome for each item: puts, and deletes that know what they removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore.errors import IalStoreError, Outcome, PartialWriteError
from ialstore_backends.opensearch.documents import (
    document,
    document_id,
    routing,
    searched,
)
from ialstore_backends.opensearch.failures import code_of, failure, sensibly

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord, IndexSpec
    from ialstore_backends.opensearch.client import OpenSearchClient
    from ialstore_backends.opensearch.failures import JSON

__all__ = ["Action", "Bulk", "delete", "puts"]

_MOST_BYTES: Final = 8 * 2**20
"""Of a request: Amazon's smaller instances take no more than 10 MiB."""
_HEAD_BYTES: Final = 2_000
_NUMBER_BYTES: Final = 22
"""Of a vector: a number of up to 16 characters, and a third more than four bytes in base64."""
_OK: Final = range(200, 300)
_CONFLICT: Final = 409
_ABSENT: Final = 404


@dataclass(frozen=True, slots=True)
class Action:
    """One line of a bulk request, with its document if it has one.

    Attributes:
        id: of the message.
        head: what to do with which document.
        document: what is stored.
    """

    id: str
    head: JSON
    document: JSON | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """How many bytes it is, or somewhat fewer."""
        if self.document is None:
            return _HEAD_BYTES
        text = self.document.get("text", "")
        return _HEAD_BYTES + _NUMBER_BYTES * len(self.document["vector"]) + 4 * len(text)

    def lines(self) -> Iterator[JSON]:
        """Yield what it is in the request."""
        yield self.head
        if self.document is not None:
            yield self.document


def puts(records: Sequence[tuple[str, EncodedRecord]], spec: IndexSpec) -> list[Action]:
    """Return what stores pairs of user and record in place of those that are there."""
    vectors = searched(np.array([record.vector for _, record in records]), spec)
    return [
        Action(
            record.id,
            {"index": {"_id": document_id(user_id, record.id), "routing": routing(user_id)}},
            document(user_id, record, vector),
        )
        for (user_id, record), vector in zip(records, vectors, strict=True)
    ]


def delete(user_id: str, message_id: str, **conditions: Any) -> Action:
    """Return what deletes a document, under conditions on its version if any are given."""
    head = {"_id": document_id(user_id, message_id), "routing": routing(user_id), **conditions}
    return Action(message_id, {"delete": head})


class Bulk:
    """Sends bulk requests to one index.

    Args:
        client: that sends them.
        name: of the index.
        refreshes: whether they make visible what they write.
        is_alias: whether the name must be an alias.
    """

    def __init__(
        self, client: OpenSearchClient, name: str, *, refreshes: bool, is_alias: bool = True
    ) -> None:
        self._client = client
        self._name = name
        # An index that is not there must not be made by a write.
        self._how = f"require_alias={str(is_alias).lower()}{'&refresh=true' if refreshes else ''}"

    def put(self, op: Operation, actions: Sequence[Action]) -> None:
        """Carry out puts.

        Raises:
            PartialWriteError: some of several may not be stored.
        """
        outcomes = self.send(op, actions)
        lost = {
            action.id: outcome
            for action, outcome in zip(actions, outcomes, strict=True)
            if isinstance(outcome, IalStoreError)
        }
        if not lost:
            return
        cause = max(lost.values(), key=lambda one: one.outcome is Outcome.UNKNOWN)
        ids = dict.fromkeys(action.id for action in actions)
        # Two users may share an id: rather sent again than believed to be stored.
        stored = [one for one in ids if one not in lost]
        is_open = cause.outcome is Outcome.UNKNOWN
        if len(actions) == 1 or not (stored or is_open):
            raise cause
        unknown = {one for one, error in lost.items() if error.outcome is Outcome.UNKNOWN}
        raise PartialWriteError(
            f"{len(stored)} of {len(ids)} vectors were stored; repeating the call is safe: {cause}",
            stored=stored,
            not_stored=[one for one in lost if one not in unknown],
            unknown=[one for one in lost if one in unknown],
            retryable=all(error.retryable for error in lost.values()),
        ) from cause

    def remove(self, op: Operation, actions: Sequence[Action]) -> set[str]:
        """Carry out deletes; return the ids of what went by this call.

        One whose condition does not hold is left; so is one that is not there.
        """
        outcomes = self.send(op, actions)
        removed = {
            action.id
            for action, outcome in zip(actions, outcomes, strict=True)
            if outcome == "deleted"
        }
        errors = [one for one in outcomes if isinstance(one, IalStoreError)]
        if errors:
            op.is_partly_applied = op.is_partly_applied or bool(removed)
            raise max(errors, key=lambda one: one.outcome is Outcome.UNKNOWN)
        return removed

    def send(self, op: Operation, actions: Sequence[Action]) -> list[str | IalStoreError]:
        """Return what became of each action: ``deleted``, another result, or an error."""
        outcomes: list[str | IalStoreError] = []
        for part in _parts(actions):
            try:
                outcomes += self._send(op, part)
            except IalStoreError as error:
                outcomes += [error] * len(part)
                behind = type(error)(str(error), retryable=error.retryable)
                outcomes += [behind] * (len(actions) - len(outcomes))
                break
        return outcomes

    def _send(self, op: Operation, part: Sequence[Action]) -> list[str | IalStoreError]:
        # A shard that is not there is waited for no longer than the caller waits, so that what was
        # not begun is known.
        wait = max(1, int(op.remaining() * 800))
        answer = self._client.call(
            op,
            "POST",
            f"/{self._name}/_bulk?{self._how}&timeout={wait}ms",
            [line for one in part for line in one.lines()],
            writes=True,
        )
        with sensibly(writes=True):
            return [self._outcome(item) for item in _items(answer, len(part))]

    def _outcome(self, item: JSON) -> str | IalStoreError:
        (told,) = item.values()
        status = int(told["status"])
        if status in _OK or (status == _ABSENT and "error" not in told):
            return str(told["result"])
        if status == _CONFLICT:
            return "conflict"
        return failure(status, code_of(told["error"]), self._name, writes=True)


def _items(answer: Mapping[str, Any], count: int) -> list[JSON]:
    items: list[JSON] = answer["items"]
    if len(items) != count:
        raise ValueError("another number of items")
    return items


def _parts(actions: Iterable[Action]) -> Iterator[list[Action]]:
    """Yield the actions in parts of a size that a service takes."""
    part: list[Action] = []
    size = 0
    for action in actions:
        if part and size + action.size > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(action)
        size += action.size
    if part:
        yield part
