"""The tree of errors."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

import pytest

import ialstore
from ialstore import (
    ConflictError,
    IalStoreError,
    InvalidInputError,
    LimitExceededError,
    Message,
    Outcome,
    PartialWriteError,
    ThrottledError,
    errors,
)

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, IalStoreError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_one_base_and_is_public(kind: type[IalStoreError]) -> None:
    """E1: one tree."""
    assert kind.__name__ in errors.__all__
    assert getattr(ialstore, kind.__name__) is kind


def test_the_tree_of_the_docstring_is_the_tree() -> None:
    """E1: the tree is drawn where the errors are."""
    drawn = re.findall(r"^    [│├└─ ]*(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    assert sorted(drawn) == sorted(kind.__name__ for kind in CLASSES)


def test_invalid_input_is_a_value_error() -> None:
    """E1: `InvalidInputError` is also a `ValueError`; `LimitExceededError` is below it."""
    assert issubclass(InvalidInputError, ValueError)
    assert issubclass(LimitExceededError, InvalidInputError)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_names_nothing_unless_told(kind: type[IalStoreError]) -> None:
    error = kind("words")
    assert str(error) == "words"
    assert (error.backend, error.operation, error.retryable, error.messages) == ("", "", False, ())
    partial = kind is PartialWriteError
    assert error.outcome is (Outcome.PARTIAL if partial else Outcome.NOT_APPLIED)


def full(kind: type[IalStoreError]) -> IalStoreError:
    arguments: dict[str, Any] = {"backend": "sqlite", "operation": "append"}
    if kind is ConflictError:
        arguments["ids"] = iter(["a", "b"])
    elif kind is PartialWriteError:
        groups = ("stored", "duplicates", "conflicting", "not_stored", "unknown")
        arguments |= {name: [name] for name in groups} | {"retryable": True}
    else:
        arguments |= {"retryable": True, "outcome": Outcome.UNKNOWN}
    error = kind("words", **arguments)
    error.messages = (
        Message.new(user_id="u", session_id="s", role="user", content="", payload={"a": 1}),
    )
    return error


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_pickling_and_copying(kind: type[IalStoreError]) -> None:
    error = full(kind)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - made right here
        assert type(other) is kind
        assert str(other) == str(error)
        assert vars(other) == vars(error)


def test_groups_of_ids_are_tuples() -> None:
    conflict, partial = full(ConflictError), full(PartialWriteError)
    assert isinstance(conflict, ConflictError)
    assert conflict.ids == ("a", "b")
    assert isinstance(partial, PartialWriteError)
    assert (partial.stored, partial.unknown) == (("stored",), ("unknown",))


def test_no_repr_of_an_error_shows_its_messages() -> None:
    """E3: no content in any `repr`."""
    error = ThrottledError("slow down")
    error.messages = (Message.new(user_id="u", session_id="s", role="user", content="zanzibar"),)
    assert "zanzibar" not in f"{error!r} {error} {error.messages!r}"
