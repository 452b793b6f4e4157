"""What a workload takes of the table of conversations, from what ``Prediction`` says of a call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ialstore.cost import Units
from ialstore.estimate import Call, Estimate, Partition, Stored, sample_message
from ialstore.limits import MAX_TEXT_BYTES
from ialstore.model import Consistency
from ialstore_backends.dynamodb.prediction import Prediction
from ialstore_backends.dynamodb.sizes import OVERHEAD_BYTES
from ialstore_backends.dynamodb.table import SESSION_INDEX, TABLE, USER_TIME_INDEX

if TYPE_CHECKING:
    from ialstore.estimate import Workload
    from ialstore_backends.dynamodb.options import DynamoOptions

__all__ = ["STORAGE_PRICE", "estimate"]

STORAGE_PRICE: Final = "dynamodb.storage_gb_month"
_LEASE_MINUTES: Final = 10
_PAGE: Final = 20
"""Summaries on a page."""
_EVENTUAL: Final = Consistency.EVENTUAL


def estimate(options: DynamoOptions, workload: Workload, age_days: float) -> Estimate:
    """Return what conversations of this age take; see ``Component.estimate``."""
    prediction = Prediction(options)
    question, answer = sample_message(workload), sample_message(workload, 1)
    days = workload.kept_days(age_days)
    sessions = math.ceil(workload.sessions_per_day * days)
    listed = prediction.session_bytes(answer) + OVERHEAD_BYTES
    return Estimate(
        calls=(
            *_writes(prediction, workload),
            *_reads(prediction, workload),
            Call(
                "list the sessions of a user",
                workload.listings_per_day,
                {TABLE: prediction.sessions(answer, sessions)},
            ),
            *_summaries(prediction, options, workload, days),
        ),
        stored=(
            *(
                Stored(place, workload.turns_per_day * days * size, STORAGE_PRICE)
                for place, size in _sum(
                    prediction.stored_bytes(question), prediction.stored_bytes(answer)
                ).items()
            ),
            Stored(TABLE, sessions * listed, STORAGE_PRICE),
        ),
        partitions=_partitions(options),
        expired_per_day=0.0 if workload.retention_days is None else workload.messages_per_day,
        recovers=options.point_in_time_recovery,
    )


def _writes(prediction: Prediction, workload: Workload) -> list[Call]:
    """Return the calls of a turn that is saved, and what announces sessions and days."""
    question, answer = sample_message(workload), sample_message(workload, 1)
    windows = min(math.ceil(workload.session_minutes / _LEASE_MINUTES), workload.turns_of_session)
    check = prediction.get(question, consistency=Consistency.STRONG) + prediction.get(
        answer, consistency=Consistency.STRONG
    )
    return [
        Call(
            "append the messages of a turn",
            workload.turns_per_day,
            _sum_units(prediction.by_place(question), prediction.by_place(answer)),
        ),
        Call("look at them again", workload.turns_per_day, {TABLE: check}),
        Call(
            "announce a session and its day",
            workload.sessions_per_day * windows,
            {TABLE: Units(write=2, requests=2)},
        ),
    ]


def _reads(prediction: Prediction, workload: Workload) -> list[Call]:
    """Return what contexts read."""
    message = sample_message(workload, 1)
    times = workload.turns_per_day * workload.contexts_per_turn
    calls: list[Call] = []
    if workload.window:
        turns, sessions = workload.turns_of_session, max(1, round(workload.sessions_per_day))
        read = [
            prediction.newest(
                message,
                workload.window,
                of_session=2 * turn,
                of_day=2 * (turn + before * turns),
            )
            for before in range(sessions)
            for turn in range(turns)
        ]
        mean = Units(
            read=sum(one.read for one in read) / len(read),
            requests=round(sum(one.requests for one in read) / len(read)),
        )
        calls.append(Call("read the newest messages", times, {TABLE: mean}, is_cached=True))
    if workload.memories and workload.message_bytes > MAX_TEXT_BYTES - 4:
        one = prediction.get(message, consistency=Consistency.STRONG)
        whole = sum([one] * workload.memories, Units())
        calls.append(Call("read long memories whole", times, {TABLE: whole}))
    return calls


def _summaries(
    prediction: Prediction, options: DynamoOptions, workload: Workload, days: float
) -> list[Call]:
    """Return pages of summaries that may be a moment old: from an index, or from the table."""
    message = sample_message(workload, 1)
    of_day = max(1, round(workload.messages_per_day))
    of_session = 2 * workload.turns_of_session
    if options.user_time_index:
        found = min(_PAGE, math.ceil(workload.messages_per_day * days))
        of_user = {USER_TIME_INDEX: prediction.summaries([message] * found, USER_TIME_INDEX)}
    else:
        of_user = {
            TABLE: prediction.newest_of_user(
                message, _PAGE, of_day=of_day, days=math.ceil(days), consistency=_EVENTUAL
            )
        }
    if options.session_index:
        some = [message] * min(_PAGE, of_session)
        mine = {SESSION_INDEX: prediction.summaries(some, SESSION_INDEX)}
    else:
        mine = {
            TABLE: prediction.newest(
                message,
                _PAGE,
                of_session=of_session,
                of_day=max(of_day, of_session),
                consistency=_EVENTUAL,
            )
        }
    times = workload.summaries_per_day
    return [
        Call("summaries of a user", times, of_user),
        Call("summaries of a session", times, mine),
    ]


def _partitions(options: DynamoOptions) -> tuple[Partition, ...]:
    found = [Partition("the day of a user", TABLE, 1 / options.spread, "spread")]
    if options.user_time_index:
        found.append(Partition("a user", USER_TIME_INDEX, 1.0, "user_time_index=false"))
    if options.session_index:
        found.append(Partition("a session", SESSION_INDEX, 1.0, "session_index=false"))
    return tuple(found)


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {place: size + other[place] for place, size in one.items()}


def _sum_units(one: Mapping[str, Units], other: Mapping[str, Units]) -> dict[str, Units]:
    return {place: units + other[place] for place, units in one.items()}
