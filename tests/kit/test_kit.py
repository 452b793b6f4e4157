"""What all parts of the kit start from: its public names, its clock, its cases, its strategies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from ialstore import Message, Page, testing
from ialstore.ids import check_id_part, session_hash
from ialstore.model import encode_message
from ialstore.testing import ManualClock
from ialstore.testing.cases import IDS, TEXTS, VALUES, named
from ialstore.testing.clock import START
from ialstore.testing.conversation.helpers import twin_of
from ialstore.testing.pages import all_items, pages
from ialstore.testing.profiles import profile
from ialstore.testing.strategies import SESSIONS, TWINS, addresses, contents, json_values, texts


@pytest.mark.parametrize("name", testing.__all__)
def test_public_names_are_found_where_they_are_promised(name: str) -> None:
    testing.__dict__.pop(name, None)  # as if nobody had asked for it yet
    for _ in range(2):
        assert getattr(testing, name).__name__ == name
    assert name in dir(testing)
    assert f"``{name}``" in str(testing.__doc__), "the docstring says what there is"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'ialstore\.testing' has no attribute 'Nothing'"):
        testing.Nothing  # noqa: B018 - looking for it is the point


def test_the_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock()
    assert clock() == clock() == START == datetime(2096, 2, 29, 12, tzinfo=UTC)
    clock.advance(1.5)
    assert clock() == START + timedelta(seconds=1.5)
    clock.advance(-2)
    assert clock() == START - timedelta(seconds=0.5)
    assert ManualClock(datetime(1970, 1, 1, tzinfo=UTC))().year == 1970


def test_sessions_that_are_called_twins_have_the_same_hash() -> None:
    """M3: no id tells them apart, which only the machine's conflicts find."""
    assert set(TWINS) <= set(SESSIONS)
    for session, twin in TWINS.items():
        assert session != twin
        assert session_hash(session) == session_hash(twin)
        assert TWINS[twin] == session


@pytest.mark.parametrize("session", ["s1", "a", "é"])
def test_a_twin_is_another_session_of_the_same_hash(session: str) -> None:
    """M3: also of a session that is a number itself."""
    for one in (session, twin_of(session)):
        twin = twin_of(one)
        assert twin != one
        assert session_hash(twin) == session_hash(session)


@named(IDS)
def test_ids_of_the_cases_are_ids(value: str) -> None:
    """M1, C6: the contract lets them through."""
    check_id_part(value, "user_id")


def test_cases_are_named_once_and_different() -> None:
    for cases in (TEXTS, IDS):
        assert len(set(cases.values())) == len(cases)
    for value in VALUES.values():
        made(payload=[value])


def test_all_pages_of_a_listing_are_read() -> None:
    """S6: to its end, which may be an empty page."""
    end: Page[int] = Page(())
    turns = {None: Page((1, 2), "a"), "a": Page((3,), "b"), "b": end}
    assert list(pages(turns.__getitem__)) == list(turns.values())
    assert all_items(turns.__getitem__) == [1, 2, 3]


def test_a_listing_without_an_end_fails() -> None:
    """S6: rather than keep a test for ever."""
    with pytest.raises(pytest.fail.Exception, match="still another one"):
        all_items(lambda _: Page(("again",), "x"))


def made(**fields: Any) -> Message:
    given: dict[str, Any] = {"user_id": "u", "session_id": "s", "role": "user", "content": ""}
    return Message.new(**(given | fields))


@profile().property()
@given(message=addresses(("u1", "u2")), fields=contents(), text=texts, value=json_values)
def test_strategies_make_what_the_contract_takes(
    message: Message, fields: dict[str, Any], text: str, value: Any
) -> None:
    """M1, M3, M5: valid messages, twins included."""
    encode_message(message, retention_seconds=None)
    made(content=text, payload=[value], metadata={"value": value})
    made(**fields)
