"""What is estimated of a workload is what a day of it takes, as a service's meter shows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pytest

from ialstore import (
    Consistency,
    ContextBudget,
    ContextEngine,
    HashingEmbedder,
    IndexSpec,
    Message,
    Units,
    meter,
)
from ialstore.estimate import Call, Estimate, Workload, sample_message
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions, directory
from ialstore_backends.dynamodb.estimate import estimate as estimate_conversations
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.lsh.estimate import estimate as estimate_vectors

NOON = datetime(2096, 2, 29, 12, tzinfo=UTC)
SESSIONS, TURNS = 2, 4
WORKLOAD = Workload(
    users=1,
    turns_per_day=SESSIONS * TURNS,
    sessions_per_day=SESSIONS,
    session_minutes=5,
    message_bytes=600,
    dimension=48,
    recent_messages=4,
    memories=3,
)
"""Of a window of 8 messages, which the second session does not fill at first."""
USER = "0" * 36
ANEW = "read all vectors to encode them anew"


def measured(call: Callable[[], object]) -> Units:
    with meter() as metered:
        call()
    return metered.units


def taken(estimate: Estimate, *names: str) -> Units:
    """Return what calls take in a day."""
    calls = [call for call in estimate.calls if call.name in names]
    assert len(calls) == len(names)
    return sum(map(_of_a_day, calls), Units())


def _of_a_day(call: Call) -> Units:
    once = sum(call.units.values(), Units())
    return Units(read=call.times * once.read, write=call.times * once.write)


def said(session: int, turn: int) -> tuple[Message, Message]:
    """Return a question and its answer, as the engine makes them."""
    question, answer = (
        Message.new(
            user_id=USER,
            session_id=f"{session:036d}",
            role=role,
            content=sample_message(WORKLOAD, number).content,
            created_at=NOON + timedelta(hours=session, minutes=turn, seconds=number),
            key=f"{session}{turn}{number}",
            turn_id="0" * 36,
            expires_at=NOON + timedelta(days=365),
        )
        for number, role in enumerate(("user", "assistant"))
    )
    return question, answer


@pytest.mark.parametrize("indexes", [True, False], ids=["indexes", "no indexes"])
def test_a_day_takes_what_was_estimated(
    dynoxide: RunningServer, *, indexes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"estimate{indexes}-"
    of_store = DynamoOptions(
        endpoint=dynoxide.endpoint, user_time_index=indexes, session_index=indexes
    )
    of_index = LshOptions(endpoint=dynoxide.endpoint)
    store = DynamoConversationStore(prefix, of_store)
    embedder = HashingEmbedder(dimension=48)
    index = LshDynamoIndex(prefix, IndexSpec(48, "cosine", embedder.model), of_index)
    store.setup()
    index.setup()
    conversations = estimate_conversations(of_store, WORKLOAD, 1)
    vectors = estimate_vectors(of_index, WORKLOAD, 1)
    budget = ContextBudget(recent_messages=WORKLOAD.recent_messages, memories=0)
    with ContextEngine(store, index, embedder, budget=budget) as engine:
        reading = writing = Units()
        for session in range(SESSIONS):
            now = time.monotonic() + directory.LEASE_SECONDS + 1  # hours lie between sessions
            monkeypatch.setattr(time, "monotonic", partial(float, now))
            for turn in range(TURNS):
                reading += measured(partial(engine.build_context, "What?", USER, f"{session:036d}"))
                writing += measured(partial(engine.append, *said(session, turn)))
        monkeypatch.undo()
        assert reading.read == taken(conversations, "read the newest messages").read
        expected = taken(
            conversations,
            "append the messages of a turn",
            "look at them again",
            "announce a session and its day",
        ) + taken(vectors, "store the vectors of a turn")
        assert (writing.read, writing.write) == (expected.read, expected.write)

        listing = measured(lambda: store.sessions(USER))
        assert listing.read == taken(conversations, "list the sessions of a user").read
        last = f"{SESSIONS - 1:036d}"
        for name, given in (("user", None), ("session", last)):
            summaries = measured(
                partial(
                    store.summaries,
                    USER,
                    session_id=given,
                    limit=20,
                    consistency=Consistency.EVENTUAL,
                )
            )
            assert summaries.read == taken(conversations, f"summaries of a {name}").read, name

        query = np.random.default_rng(0).standard_normal(48)
        search = measured(lambda: index.search(USER, query, WORKLOAD.hits))
        searches = taken(vectors, "search").read
        assert search.read * WORKLOAD.turns_per_day == searches


def test_an_eventual_search_is_a_mean_that_grows_with_its_vectors() -> None:
    """Beyond the samples it goes on as it grew between them."""
    options = LshOptions(strong_reads=False)
    reads = [
        taken(estimate_vectors(options, WORKLOAD, age), "search").read
        for age in (10, 125, 126, 500)
    ]
    assert reads == sorted(reads)
    assert reads[2] < 1.05 * reads[1]
    assert reads[3] < 8 * reads[1]
    strong = taken(estimate_vectors(LshOptions(), WORKLOAD, 500), "search").read
    assert strong > reads[3]


def test_packed_searches_are_a_small_part_of_exact_ones_and_grow_slowly() -> None:
    """Maintenance is priced with them."""
    options = LshOptions(layout="packed")
    young, old = (estimate_vectors(options, WORKLOAD, age) for age in (125, 1250))
    exact = taken(estimate_vectors(LshOptions(), WORKLOAD, 1250), "search").read
    assert taken(young, "search").read < taken(old, "search").read < exact / 4
    assert taken(old, "merge codes into cells").write > 0
    assert [call.name for call in estimate_vectors(options, WORKLOAD, 1).calls] == [
        "store the vectors of a turn",
        "search",
    ]


def test_all_is_encoded_anew_while_vectors_become_more() -> None:
    """Once as many expire as come, nothing is."""
    options = LshOptions(layout="packed", chunks=1)
    kept = replace(WORKLOAD, retention_days=30)
    for workload, age, grows in ((WORKLOAD, 300, True), (kept, 29, True), (kept, 400, False)):
        estimate = estimate_vectors(options, workload, age)
        calls = {call.name: call for call in estimate.calls}
        assert (ANEW in calls) == grows
        if grows:  # by a quarter from one time to the next
            stored = age * workload.messages_per_day
            days = 1 / calls[ANEW].times
            assert math.exp(days * workload.messages_per_day / stored) == pytest.approx(1.25)
            assert taken(estimate, ANEW).read > 0
