"""What ``VectorIndex`` itself does for a backend: defaults of hooks, and errors of its frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ialstore import (
    ConfigurationError,
    IndexSpec,
    InvalidInputError,
    Message,
    PartialWriteError,
    UnsupportedOperationError,
    VectorIndex,
    VectorRecord,
)
from ialstore.capabilities import VectorCapabilities
from ialstore.operation import Operation
from ialstore.url import StoreURL
from ialstore.vector_model import EncodedRecord
from ialstore_backends.memory import MemoryVectorIndex


class Plain(MemoryVectorIndex):
    """An index that writes only the hooks it must."""

    CAPABILITIES = VectorCapabilities(users=True, metrics=frozenset({"dot"}))
    _count = VectorIndex._count  # noqa: SLF001 - the default
    _optimize = VectorIndex._optimize  # noqa: SLF001 - the default
    _users = VectorIndex._users  # noqa: SLF001 - the default


DOT = IndexSpec(2, "dot")


def records(count: int) -> list[VectorRecord]:
    return [
        VectorRecord(
            Message.new(user_id="u", session_id="s", role="user", content="").id,
            [1.0, number],
            "s",
            "user",
        )
        for number in range(count)
    ]


def test_a_metric_that_the_index_does_not_offer_is_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="offers dot, not cosine"):
        Plain(IndexSpec(2))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="cosine, dot, euclidean, not 'cos'"):
        IndexSpec(2, "cos")


def test_an_index_without_a_url_form_says_so() -> None:
    default: Any = vars(VectorIndex)["from_url"]
    with pytest.raises(ConfigurationError, match="Plain has no URL form"):
        default.__func__(Plain, StoreURL.parse("plain:"), DOT)


@pytest.mark.parametrize("count", [0, 3, 1000, 1001])
def test_counting_pages_through_the_ids(count: int) -> None:
    """V7."""
    index = Plain(DOT)
    index.bulk_load(("u", record) for record in records(count))
    assert index.count("u") == count


def test_an_index_needs_no_maintenance_of_its_own() -> None:
    """V7."""
    assert Plain(DOT).optimize("u").removed == 0


def test_a_capability_without_its_hook_is_a_fault_of_the_backend() -> None:
    with pytest.raises(NotImplementedError):
        Plain(DOT).users()


def test_loading_counts_what_could_not_be_stored() -> None:
    """V7."""

    class Half(Plain):
        def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
            del op
            ids = [record.id for _, record in records]
            raise PartialWriteError("", stored=ids[2:], not_stored=ids[:1], unknown=ids[1:2])

    seen: list[Any] = []
    report = Half(DOT).bulk_load(
        (("u", record) for record in records(5)), progress=lambda *done: seen.append(done)
    )
    assert (report.written, report.failed) == (3, 2)
    assert seen == [(5, None)]


def test_what_is_no_record_is_refused() -> None:
    """V2."""
    with pytest.raises(InvalidInputError, match="expected a VectorRecord, not str"):
        Plain(DOT).upsert("u", ["x"])  # type: ignore[list-item]  # what is tested
