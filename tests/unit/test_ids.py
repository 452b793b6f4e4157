"""Message ids: the published vectors, what is in an id, and the clock that makes new ones."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ialstore import InvalidInputError, LimitExceededError, Message, Role, ids, message_id
from ialstore._text import MAX_MICROSECONDS, from_microseconds
from ialstore.ids import (
    HIGHEST_ID,
    LOWEST_ID,
    check_id_part,
    check_message_id,
    check_role,
    compose,
    id_microseconds,
    id_role,
    id_session_hash,
    id_time,
    lowest_id_at,
    next_id,
    session_hash,
)

START = datetime(2024, 2, 29, 18, 55, 13, 123456, tzinfo=UTC)
SECOND = 1_000_000_000
"""In nanoseconds, as the clock counts."""


def new(*, after: str | None = None, created_at: datetime | None = None, seq: int = 0) -> Message:
    return Message.new(
        user_id="u",
        session_id="s",
        role="user",
        content="",
        after=after,
        created_at=created_at,
        seq=seq,
    )


class Name(str, Enum):  # noqa: UP042 - in an f-string it is another text, unlike a StrEnum
    ALICE = "alice"


class Clock:
    """The clock of the machine, in the hands of a test."""

    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    def __call__(self) -> int:
        return self.nanoseconds

    @property
    def microseconds(self) -> int:
        return self.nanoseconds // 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(time.time_ns())
    monkeypatch.setattr(time, "time_ns", clock)
    monkeypatch.setattr(ids, "_clock", ids._Clock())  # noqa: SLF001 - leaves the real one alone
    return clock


VECTOR_TIME = datetime(2026, 11, 22, 18, 55, 13, 123456, tzinfo=UTC)
FIRST_TIME = datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
LAST_TIME = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
LEAP_DAY = datetime(2000, 2, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("alice", "s1", VECTOR_TIME, "user", "k1"), "01a2049c-c6e3-774b-af40-dce0cd2bb0b6"),
        (("alice", "s1", VECTOR_TIME, "assistant", "k1"), "01a2049c-c6e3-774b-8740-dce0cd2bb0b6"),
        (("a#b", "ü/ñ", FIRST_TIME, "event", ""), "00000000-0000-7004-96d0-834cdfba6509"),
        (("u", "s", LAST_TIME, "tool", "evt_123"), "e677d21f-dbff-7ffb-a027-58756ad0fc2e"),
        (("u", "s", LEAP_DAY, "system", "x"), "00dd9d3a-0e00-7000-9826-4d1a8de1570a"),
    ],
)
def test_the_published_vectors_hold(
    parts: tuple[str, str, datetime, str, str], expected: str
) -> None:
    """M3: the table of the contract."""
    user, session, created_at, role, key = parts

    made = Message.new(
        user_id=user, session_id=session, role=role, content="", created_at=created_at, key=key
    )

    assert message_id(*parts) == expected
    assert (made.id, made.created_at, made.role) == (expected, created_at, role)


def test_an_id_is_a_uuid_of_version_7() -> None:
    """M3: a UUIDv7 in canonical lower-case text."""
    made = new().id

    parsed = uuid.UUID(made)
    assert str(parsed) == made
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_every_microsecond_of_a_millisecond_comes_back() -> None:
    """M3: only 1,000 of the 4,096 fractions are canonical, and each means one microsecond."""
    made = [compose(1_234_567_000 + us, "user", "s", 0) for us in range(1000)]

    assert [id_microseconds(one) for one in made] == list(range(1_234_567_000, 1_234_568_000))
    assert made == sorted(made)
    fractions = {int(one[15:18], 16) for one in made}
    for fraction in set(range(4096)) - fractions:
        with pytest.raises(InvalidInputError):
            check_message_id(f"{made[0][:15]}{fraction:03x}{made[0][18:]}")


@given(
    microseconds=st.integers(0, MAX_MICROSECONDS),
    role=st.sampled_from(Role),
    session=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    low_bits=st.integers(0),
)
@example(microseconds=0, role=Role.ASSISTANT, session="s", low_bits=0)
@example(microseconds=MAX_MICROSECONDS, role=Role.USER, session="s", low_bits=2**51 - 1)
def test_what_is_put_into_an_id_comes_back(
    microseconds: int, role: Role, session: str, low_bits: int
) -> None:
    """M3: time, role and session hash are in the id."""
    made = compose(microseconds, role, session, low_bits)

    assert check_message_id(made) == int(made.replace("-", ""), 16)
    assert id_microseconds(made) == microseconds
    assert id_time(made) == from_microseconds(microseconds)
    assert id_role(made) is role
    assert id_session_hash(made) == session_hash(session)
    assert int(made.replace("-", ""), 16) & (2**51 - 1) == low_bits & (2**51 - 1)


@given(
    first=st.integers(0, MAX_MICROSECONDS),
    second=st.integers(0, MAX_MICROSECONDS),
    bits=st.tuples(st.integers(0, 2**51), st.integers(0, 2**51)),
    roles=st.tuples(st.sampled_from(Role), st.sampled_from(Role)),
)
@example(first=999, second=1000, bits=(2**51 - 1, 0), roles=(Role.USER, Role.ASSISTANT))
def test_ids_sort_in_the_order_of_their_times(
    first: int, second: int, bits: tuple[int, int], roles: tuple[Role, Role]
) -> None:
    """M6: order is id order."""
    one = compose(first, roles[0], "s", bits[0])
    other = compose(second, roles[1], "t", bits[1])

    if first != second:
        assert (one < other) == (first < second)
    assert (lowest_id_at(second) <= one) == (second <= first)


GOOD = "01a2049c-c6e3-774b-af40-dce0cd2bb0b6"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("hello", id="no UUID"),
        pytest.param(GOOD.upper(), id="upper case"),
        pytest.param(GOOD.replace("-", ""), id="no hyphens"),
        pytest.param("{" + GOOD + "}", id="braces"),
        pytest.param("urn:uuid:" + GOOD, id="URN"),
        pytest.param(GOOD + "\n", id="newline behind"),
        pytest.param(" " + GOOD, id="space before"),
        pytest.param(GOOD + "0", id="a digit more"),
        pytest.param(GOOD[:-1], id="a digit less"),
        pytest.param(GOOD.replace("a", "\N{FULLWIDTH LATIN SMALL LETTER A}"), id="other letters"),
        pytest.param(GOOD.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}"), id="other digits"),
        pytest.param(GOOD[:-1] + "\ud800", id="surrogate"),
        pytest.param("01a2049c-c6e3-474b-af40-dce0cd2bb0b6", id="version 4"),
        pytest.param("01a2049c-c6e3-774b-ef40-dce0cd2bb0b6", id="other variant"),
        pytest.param("01a2049c-c6e3-774c-af40-dce0cd2bb0b6", id="no canonical fraction"),
        pytest.param("01a2049c-c6e3-7fff-af40-dce0cd2bb0b6", id="fraction above 999 us"),
        pytest.param("01a2049c-c6e3-774b-b740-dce0cd2bb0b6", id="role code 6"),
        pytest.param("01a2049c-c6e3-774b-bf40-dce0cd2bb0b6", id="role code 7"),
        pytest.param("e677d21f-dc00-7000-a027-58756ad0fc2e", id="year 10000"),
        pytest.param(LOWEST_ID, id="lowest"),
        pytest.param(HIGHEST_ID, id="highest"),
        pytest.param("x" * 10_000, id="very long"),
    ],
)
def test_any_other_text_is_no_message_id(text: str) -> None:
    """M3: any other text is refused, and only the beginning of a long one is shown."""
    with pytest.raises(InvalidInputError, match="is not a message id") as caught:
        check_message_id(text)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isascii()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 1, GOOD.encode(), uuid.UUID(GOOD)])
def test_what_is_no_text_is_no_message_id(value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"not {type(value).__name__}"):
        check_message_id(value)


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [(-1, LOWEST_ID), (0, LOWEST_ID), (MAX_MICROSECONDS + 1, HIGHEST_ID)],
)
def test_times_outside_the_range_count_as_its_ends(microseconds: int, expected: str) -> None:
    assert lowest_id_at(microseconds) == expected


def test_the_bounds_of_a_time_enclose_every_id_of_it() -> None:
    """S6: ranges are half-open."""
    for us in (1, 999, 1000, MAX_MICROSECONDS):
        lowest = compose(us, Role.ASSISTANT, "s", 0)
        highest = compose(us, Role.USER, "s", 2**51 - 1)
        assert lowest_id_at(us) <= lowest < highest < lowest_id_at(us + 1)
        assert compose(us - 1, Role.USER, "s", 2**51 - 1) < lowest_id_at(us)


@pytest.mark.parametrize(
    ("one", "following"),
    [
        (GOOD, GOOD[:-1] + "7"),
        ("01a2049c-c6e3-774b-af40-ffffffffffff", "01a2049c-c6e3-774b-af41-000000000000"),
        ("00000000-0000-7004-9fff-ffffffffffff", "00000000-0000-7004-a000-000000000000"),
    ],
)
def test_the_next_id_is_the_very_next_text(one: str, following: str) -> None:
    assert next_id(one) == following


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("x" * 384, id="384 bytes"),
        pytest.param("é" * 192, id="384 bytes of UTF-8"),
        pytest.param("#" * 128, id="384 bytes when escaped"),
        pytest.param("%" * 127 + "abc", id="384 bytes with percent signs"),
        pytest.param("a#b%\n'\"; DROP TABLE messages --", id="hostile"),
        pytest.param(" ", id="space"),
        pytest.param("😀", id="emoji"),
    ],
)
def test_an_id_of_a_user_or_session_may_be_any_text_within_its_limit(value: str) -> None:
    check_id_part(value, "user_id")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param("x" * 385, LimitExceededError, id="385 bytes"),
        pytest.param("é" * 192 + "x", LimitExceededError, id="385 bytes of UTF-8"),
        pytest.param("#" * 128 + "x", LimitExceededError, id="385 bytes when escaped"),
        pytest.param("%" * 129, LimitExceededError, id="387 bytes when escaped"),
        pytest.param("", InvalidInputError, id="empty"),
        pytest.param("a\0b", InvalidInputError, id="NUL"),
        pytest.param("\ud800", InvalidInputError, id="surrogate"),
        pytest.param(None, InvalidInputError, id="None"),
        pytest.param(1, InvalidInputError, id="int"),
        pytest.param(b"u", InvalidInputError, id="bytes"),
        pytest.param(Name.ALICE, InvalidInputError, id="enum"),
        pytest.param(["u"], InvalidInputError, id="list"),
    ],
)
def test_any_other_id_of_a_user_or_session_is_refused(
    value: object, error: type[InvalidInputError]
) -> None:
    for _ in range(2):  # what was refused is not remembered as good
        with pytest.raises(InvalidInputError, match=r"^user_id ") as caught:
            check_id_part(value, "user_id")
        assert type(caught.value) is error


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_be_given_by_name(role: Role) -> None:
    assert check_role(role) is role
    assert check_role(str(role)) is role


@pytest.mark.parametrize("role", ["User", "", "human", "\ud800", "x" * 1000, None, 5, []])
def test_any_other_role_is_refused(role: object) -> None:
    with pytest.raises(InvalidInputError, match="role must be one of assistant, ") as caught:
        check_role(role)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "time",
    [
        pytest.param(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), id="1969"),
        pytest.param(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), id="10000 in UTC"),
        pytest.param(datetime(2024, 1, 1), id="naive"),  # noqa: DTZ001 - a naive one is the point
    ],
)
def test_a_time_that_no_id_can_hold_is_refused(time: datetime) -> None:
    """M2, M3: timezone-aware, from 1970 to 9999."""
    with pytest.raises(InvalidInputError, match="created_at"):
        message_id("u", "s", time, "user", "k")
    with pytest.raises(InvalidInputError, match="created_at"):
        new(created_at=time)


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        ("user_id", ("", "s", START, "user", "k")),
        ("session_id", ("u", "", START, "user", "k")),
        ("created_at", ("u", "s", None, "user", "k")),
        ("role", ("u", "s", START, "human", "k")),
        ("key", ("u", "s", START, "user", "\ud800")),
        ("key", ("u", "s", START, "user", None)),
    ],
)
def test_an_id_is_made_of_valid_parts_only(argument: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(InvalidInputError, match=argument):
        message_id(*arguments)  # type: ignore[arg-type]  # the wrong type is the point


def test_parts_of_a_key_do_not_run_into_each_other() -> None:
    """M3: each part goes into the hash with its length."""
    ends = {
        message_id(user, "s", START, "user", key)[24:]
        for user, key in (("ab", "c"), ("a", "bc"), ("abc", ""), ("a", "b"), ("ab", ""))
    }
    assert len(ends) == 5


def test_seq_adds_microseconds() -> None:
    """M4: for imports with coarse times."""
    made = [new(created_at=START, seq=seq) for seq in (0, 1, 999_999)]
    assert [one.created_at - START for one in made] == [
        timedelta(0),
        timedelta(microseconds=1),
        timedelta(microseconds=999_999),
    ]


def test_without_a_time_each_id_is_later_than_the_one_before(clock: Clock) -> None:
    """M4: also when the clock stands or steps back."""
    made = [new() for _ in range(10)]
    clock.nanoseconds -= 3600 * SECOND
    made += [new() for _ in range(10)]
    clock.nanoseconds -= 10**9 * SECOND
    made += [new() for _ in range(10)]

    times = [id_microseconds(one.id) for one in made]
    assert times == list(range(times[0], times[0] + 30))
    clock.nanoseconds += (10**9 + 7200) * SECOND
    assert id_microseconds(new().id) == clock.microseconds


def test_created_at_leaves_the_clock_alone(clock: Clock) -> None:
    """M4: `created_at` sets the time and leaves the counter alone."""
    new(created_at=START + timedelta(days=365 * 100))
    assert id_microseconds(new().id) == clock.microseconds


def test_a_reply_never_sorts_before_its_question(clock: Clock) -> None:
    """M4: `after` moves the time past an id of a host whose clock is ahead."""
    question = new(created_at=from_microseconds(clock.microseconds + 60_000_000))
    reply = new(after=question.id)

    assert reply.id > question.id
    assert reply.created_at == question.created_at + timedelta(microseconds=1)
    assert new().created_at == reply.created_at + timedelta(microseconds=1)


def test_an_earlier_id_as_after_changes_nothing(clock: Clock) -> None:
    first = new(created_at=START)
    assert id_microseconds(new(after=first.id).id) == clock.microseconds
    later = START + timedelta(seconds=1)
    assert new(created_at=later, after=first.id).created_at == later


def test_after_moves_a_given_time_too() -> None:
    first = new(created_at=START)
    made = new(created_at=START - timedelta(days=1), after=first.id)
    assert made.created_at == START + timedelta(microseconds=1)


def test_an_id_too_far_ahead_of_the_clock_is_no_after(clock: Clock) -> None:
    """M4: 5 minutes ahead is the limit."""
    limit = from_microseconds(clock.microseconds) + timedelta(minutes=5)
    ahead = new(created_at=limit)

    assert new(after=ahead.id, created_at=START).created_at == limit + timedelta(microseconds=1)
    too_far = new(created_at=limit, seq=1)
    for created_at in (None, START):
        with pytest.raises(InvalidInputError, match="more than 5 minutes ahead"):
            new(after=too_far.id, created_at=created_at)


@pytest.mark.parametrize("after", ["", "x", HIGHEST_ID, 5, b""])
def test_what_is_no_id_is_no_after(after: object) -> None:
    with pytest.raises(InvalidInputError, match="message id"):
        new(after=after)  # type: ignore[arg-type]  # the wrong type is the point


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"key": "k"}, id="key without a time"),
        pytest.param({"seq": 1}, id="seq without a time"),
        pytest.param({"seq": -1, "created_at": START}, id="negative seq"),
        pytest.param({"seq": 1.0, "created_at": START}, id="float seq"),
        pytest.param({"seq": True, "created_at": START}, id="bool as seq"),
        pytest.param({"seq": MAX_MICROSECONDS, "created_at": START}, id="seq past 9999"),
        pytest.param({"seq": MAX_MICROSECONDS + 1, "created_at": START}, id="huge seq"),
        pytest.param({"key": 5, "created_at": START}, id="key that is no text"),
        pytest.param({"key": "\ud800", "created_at": START}, id="key with a surrogate"),
    ],
)
def test_arguments_that_make_no_id_are_refused(arguments: dict[str, object]) -> None:
    """M4: `key` needs `created_at`; `seq` counts microseconds."""
    with pytest.raises(InvalidInputError):
        Message.new(user_id="u", session_id="s", role="user", content="", **arguments)  # type: ignore[arg-type]  # the wrong types are the point


def test_a_clock_past_the_year_9999_is_refused_and_leaves_no_trace(clock: Clock) -> None:
    right = clock.nanoseconds
    clock.nanoseconds = (MAX_MICROSECONDS + 1) * 1000
    with pytest.raises(InvalidInputError, match="the clock lies after the year 9999"):
        new()
    clock.nanoseconds = right
    assert id_microseconds(new().id) == clock.microseconds


def test_a_clock_before_1970_still_makes_ids(clock: Clock) -> None:
    clock.nanoseconds = -SECOND
    assert [id_microseconds(new().id) for _ in range(2)] == [1, 2]


def test_many_threads_never_share_a_microsecond() -> None:
    """M4: every id of a process takes a later microsecond than the one before."""
    made: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def work(mine: list[str]) -> None:
        start.wait()
        mine.extend(new().id for _ in range(500))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(mine == sorted(mine) for mine in made)
    assert len({id_microseconds(one) for mine in made for one in mine}) == 8 * 500


FORK = """
import os, sys
from ialstore import Message
from ialstore.ids import _clock

def new():
    return Message.new(user_id="u", session_id="s", role="user", content="").id

new()
with _clock._lock:  # as another thread might hold it
    child = os.fork()
os.write(1, f"{new()}\\n".encode())  # in one piece
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_takes_new_random_bits() -> None:
    """S15: a forked child takes new random bits, and no lock of its parent stops it."""
    result = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=30
    )

    parent, child = result.stdout.split()
    assert parent[24:] != child[24:]


def test_an_id_of_this_process_stays_good_for_after_when_the_clock_steps_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """M4: after is at most 5 minutes ahead; what this process made itself is never too far."""
    newest = Message.new(user_id="u", session_id="s", role="user", content="")
    an_hour_ago = time.time_ns() - 3_600 * 10**9
    monkeypatch.setattr("ialstore.ids.time.time_ns", lambda: an_hour_ago)
    reply = Message.new(user_id="u", session_id="s", role="user", content="", after=newest.id)
    assert reply.id > newest.id
