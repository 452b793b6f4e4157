"""W3: ``namespace`` gives a program users of its own in a store that it shares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore import (
    ConfigurationError,
    ConflictError,
    ConversationStore,
    IalStoreError,
    IndexSpec,
    InvalidInputError,
    LimitExceededError,
    Message,
    Page,
    VectorIndex,
    VectorRecord,
    open_index,
    open_store,
)
from ialstore.listing import Rows
from ialstore.operation import Operation
from ialstore.wrappers import namespace
from ialstore.wrappers.base import Wrapper
from ialstore.wrappers.namespace import (
    NamespaceConversationStore,
    NamespaceOptions,
    NamespaceVectorIndex,
)
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex

SPEC = IndexSpec(2)


def say(user: str, content: str = "x", session: str = "s") -> Message:
    return Message.new(user_id=user, session_id=session, role="user", content=content)


def inside(store: ConversationStore, prefix: str) -> NamespaceConversationStore:
    return NamespaceConversationStore(store, NamespaceOptions(prefix))


def inside_index(index: VectorIndex, prefix: str) -> NamespaceVectorIndex:
    return NamespaceVectorIndex(index, NamespaceOptions(prefix))


def everyone(store: ConversationStore | VectorIndex, limit: int = 1000) -> list[str]:
    """Return the users of all pages."""
    page = store.users(limit=limit)
    found = list(page)
    while page.cursor is not None:
        assert len(page) <= limit
        page = store.users(limit=limit, cursor=page.cursor)
        found += page
    return found


# -- isolation ------------------------------------------------------------------------------------

# The same ids for everybody, and names of which many are equal once they are joined carelessly.
MESSAGES = [say("u", str(number), session=f"s{number % 2}") for number in range(4)]
PREFIXES = ("a", "a/", "a/b", "a%2F", "a%2Fb", "%", "%25", "/", "//", "ab", "#", "é")
USERS = ("b", "/b", "b/c", "%2Fb", "2Fb", "/", "#", "a/b")

Step = tuple[str, str, str, int]
Act = Callable[[Any, str, int], object]


def same(user: str, number: int) -> Message:
    return replace(MESSAGES[number], user_id=user)


ON_CONVERSATIONS: dict[str, Act] = {
    "append": lambda store, user, number: store.append(same(user, number)),
    "conflict": lambda store, user, number: store.append(replace(same(user, number), content="!")),
    "replace": lambda store, user, number: store.replace(replace(same(user, number), summary="!")),
    "bulk_load": lambda store, user, number: store.bulk_load([same(user, number), same("b", 0)]),
    "get": lambda store, user, _: store.get(user, [one.id for one in MESSAGES]),
    "history": lambda store, user, number: store.history(user, limit=number + 1),
    "summaries": lambda store, user, number: store.summaries(user, limit=number + 1),
    "sessions": lambda store, user, _: store.sessions(user),
    "delete": lambda store, user, number: store.delete(user, [MESSAGES[number].id]),
    "delete_session": lambda store, user, number: store.delete_session(user, f"s{number % 2}"),
    "erase": lambda store, user, _: store.erase(user),
    "optimize": lambda store, user, _: store.optimize(user),
    "users": lambda store, _, number: sorted(everyone(store, number + 1)),
}


def record(number: int) -> VectorRecord:
    one = MESSAGES[number]
    return VectorRecord(one.id, [1.0, float(number)], one.session_id, one.role, one.content)


ON_VECTORS: dict[str, Act] = {
    "upsert": lambda index, user, number: index.upsert(user, [record(number)]),
    "bulk_load": lambda index, user, number: index.bulk_load(
        [(user, record(number)), ("b", record(0))]
    ),
    "search": lambda index, user, number: index.search(user, [1.0, 1.0], number + 1),
    "get": lambda index, user, _: [one.id for one in index.get(user, [m.id for m in MESSAGES])],
    "count": lambda index, user, _: index.count(user),
    "ids": lambda index, user, number: index.ids(user, limit=number + 1).items,
    "delete": lambda index, user, number: index.delete(user, [MESSAGES[number].id]),
    "delete_session": lambda index, user, number: index.delete_session(user, f"s{number % 2}"),
    "erase": lambda index, user, _: index.erase(user),
    "optimize": lambda index, user, _: index.optimize(user),
    "users": lambda index, _, number: sorted(everyone(index, number + 1)),
}


def answer(act: Act, component: object, user: str, number: int) -> object:
    """Return what a call answers, without the cursor of a page, or what it raises."""
    try:
        answered = act(component, user, number)
    except ConflictError as error:
        return error.ids
    return answered.items if isinstance(answered, Page) else answered


def live_apart(
    acts: dict[str, Act], shared: dict[str, Any], alone: dict[str, Any], steps: Sequence[Step]
) -> None:
    """Act in namespaces of one store as in stores of their own; compare all answers."""
    for prefix, user, name, number in steps:
        got = answer(acts[name], shared[prefix], user, number)
        expected = answer(acts[name], alone[prefix], user, number)
        assert got == expected, f"{name} of {user!r} in {prefix!r} is not as in a store of its own"


def steps(acts: dict[str, Act]) -> st.SearchStrategy[list[Step]]:
    step = st.tuples(
        st.sampled_from(PREFIXES),
        st.sampled_from(USERS),
        st.sampled_from(list(acts)),
        st.integers(0, len(MESSAGES) - 1),
    )
    return st.lists(step, max_size=40)


@given(steps=steps(ON_CONVERSATIONS))
def test_a_namespace_of_conversations_is_like_a_store_of_its_own(steps: list[Step]) -> None:
    """W3, C6: in every call, whatever stands in its name and in those of its users."""
    store = MemoryConversationStore()
    shared = {prefix: inside(store, prefix) for prefix in PREFIXES}
    live_apart(
        ON_CONVERSATIONS, shared, {one: MemoryConversationStore() for one in PREFIXES}, steps
    )


@given(steps=steps(ON_VECTORS))
def test_a_namespace_of_vectors_is_like_an_index_of_its_own(steps: list[Step]) -> None:
    """W3, C6: in every call, whatever stands in its name and in those of its users."""
    index = MemoryVectorIndex(SPEC)
    shared = {prefix: inside_index(index, prefix) for prefix in PREFIXES}
    live_apart(ON_VECTORS, shared, {one: MemoryVectorIndex(SPEC) for one in PREFIXES}, steps)


def test_a_prefix_that_is_not_escaped_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that can't fail proves nothing."""
    monkeypatch.setattr(namespace, "_ESCAPES", {})
    fault = "is not as in a store of its own"

    store = MemoryConversationStore()
    shared = {prefix: inside(store, prefix) for prefix in PREFIXES}
    alone = {prefix: MemoryConversationStore() for prefix in PREFIXES}
    told: list[Step] = [("a", "b/c", "append", 0), ("a/b", "c", "history", 0)]
    with pytest.raises(AssertionError, match=fault):
        live_apart(ON_CONVERSATIONS, shared, alone, told)

    index = MemoryVectorIndex(SPEC)
    shared_index = {prefix: inside_index(index, prefix) for prefix in PREFIXES}
    alone_index = {prefix: MemoryVectorIndex(SPEC) for prefix in PREFIXES}
    told = [("a", "b/c", "upsert", 0), ("a/b", "c", "ids", 0)]
    with pytest.raises(AssertionError, match=fault):
        live_apart(ON_VECTORS, shared_index, alone_index, told)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(prefixes=st.tuples(names, names), users=st.tuples(names, names))
def test_different_pairs_are_different_users(
    prefixes: tuple[str, str], users: tuple[str, str]
) -> None:
    """W3, C6: for any prefix and user."""
    pairs = {*zip(prefixes, users, strict=True)}
    shared = MemoryConversationStore()
    for prefix, user in pairs:
        inside(shared, prefix).append(say(user))
    assert len(everyone(shared)) == len(pairs)


@pytest.mark.parametrize("kind", [NamespaceConversationStore, NamespaceVectorIndex])
def test_no_hook_hands_a_user_on_as_the_caller_knows_it(kind: type[Any]) -> None:
    """W3: a hook that is new in the contract is not forgotten here."""
    about_no_user = {"_check", "_close", "_setup", "_store_spec", "_stored_spec"}
    contract = next(one for one in kind.__mro__ if one in (ConversationStore, VectorIndex))
    forwarded = {*vars(kind.__mro__[1]), *vars(Wrapper)}
    hooks = {
        name
        for name, member in (*vars(contract).items(), *vars(contract.__mro__[1]).items())
        if name in forwarded
        and inspect.isfunction(member)
        and "op" in inspect.signature(member).parameters
    }
    assert len(hooks) > 10
    assert hooks - about_no_user - set(vars(kind)) == set()


# -- users ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_only_its_own_users_are_listed(limit: int) -> None:
    """W3, S14: stripped, over any number of pages, whoever else is there."""
    shared = MemoryConversationStore()
    mine = [f"u{number}" for number in range(7)]
    store = inside(shared, "mine")
    shared.append(say("mine/"))  # of somebody without a namespace: no user of this one
    for user in mine:
        store.append(say(user))
        shared.append(say(f"other/{user}"))
        inside(shared, "min").append(say(user))
    assert everyone(store, limit) == mine


class Shuffled(MemoryConversationStore):
    """Lists users in an order of its own, as a hash of the key would, and never says it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        self.asked.append(limit)
        order = sorted(self._by_user, key=lambda user: user[::-1])
        first = 0 if after is None else order.index(after) + 1
        return Rows(order[first : first + limit], more=True)


def test_users_are_found_in_any_order_of_the_store() -> None:
    """S14: every user at least once."""
    shared = Shuffled()
    mine = [f"{number}{number % 3}" for number in range(30)]
    for user in mine:
        inside(shared, "mine").append(say(user))
        inside(shared, "other").append(say(user))
    assert sorted(everyone(inside(shared, "mine"), 4)) == sorted(mine)


def test_users_are_found_behind_pages_of_others() -> None:
    """S14: and these are passed in pages as large as can be."""
    shared = Shuffled()
    for number in range(1100):
        shared.append(say(f"{number:04d}a"))
    inside(shared, "mine").append(say("z"))
    page = inside(shared, "mine").users(limit=1)
    assert list(page) == ["z"]
    assert shared.asked == [1, 1000, 1000]


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("longest", "one_more"),
    [("x" * 128, "x"), ("é" * 64, "x"), ("/" * 25 + "xxx", "x"), ("%" * 25, "%"), ("#" * 42, "#")],
)
def test_a_prefix_has_up_to_128_bytes_after_escaping(longest: str, one_more: str) -> None:
    """W3: also for a backend that escapes once more, as DynamoDB's keys ask."""
    assert NamespaceOptions(longest).prefix == longest
    with pytest.raises(LimitExceededError, match="more than 128"):
        NamespaceOptions(longest + one_more)


@pytest.mark.parametrize("prefix", ["", "a\0", "\ud800"])
def test_a_prefix_is_a_text_that_can_be_stored(prefix: str) -> None:
    with pytest.raises(InvalidInputError, match="prefix"):
        NamespaceOptions(prefix)


def test_the_longest_names_fit(tmp_path: Path) -> None:
    """W3: the longest users of the longest namespace, one within another."""
    prefix, users = "x" * 128, [letter * 384 for letter in "abc"]
    inner = SqliteConversationStore(tmp_path / "db")
    store = inside(inside(inner, prefix), prefix)
    index = inside_index(inside_index(SqliteVectorIndex(tmp_path / "db", SPEC), prefix), prefix)
    with store, index:
        for user in users:
            one = say(user)
            assert store.append(one).stored == (one.id,)
            assert store.append(one).duplicates == (one.id,)
            assert list(store.history(user)) == [one]
            index.upsert(user, [VectorRecord(one.id, [1.0, 0.0], "s", "user")])
            assert index.count(user) == 1
        assert everyone(store, 1) == everyone(index, 1) == users
        assert {len(user) for user in everyone(inner, 1)} == {384 + 2 * 129}
        assert store.check() == index.check() == []


# -- errors and configuration ---------------------------------------------------------------------


def test_no_error_shows_the_user_of_the_store() -> None:
    """E3: nor does a message that is returned."""
    store = inside(MemoryConversationStore(), "tenant")
    one = say("alice")
    store.append(one)
    calls: list[Callable[[], object]] = [
        lambda: store.append(replace(one, content="y")),
        lambda: store.append(say("x" * 385)),
        lambda: store.history("x" * 385),
    ]
    for call in calls:
        with pytest.raises(IalStoreError) as caught:
            call()
        assert "tenant" not in str(caught.value)
    assert "tenant" not in repr([store.history("alice"), store.summaries("alice")])


def test_a_configuration_names_the_namespace() -> None:
    """W3: chosen by config, with errors that name the key."""
    wrap: list[Any] = ["retry", {"use": "namespace", "prefix": "tenant"}]
    with open_store({"conversation": {"url": "memory:", "wrap": wrap}}) as store:
        one = say("u")
        store.append(one)
        assert list(store.history("u")) == [one]
        assert list(store.users()) == ["u"]
    with open_index({"vector": {"url": "memory:", "wrap": wrap}}, SPEC) as index:
        assert index.count("u") == 0
    for wrong, text in (
        ("namespace", r"wrap: namespace\.prefix: "),
        ({"use": "namespace", "prefx": "tenant"}, r"prefx is unknown; did you mean prefix\?"),
        ({"use": "namespace", "prefix": ""}, "wrap: namespace: prefix must not be empty"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            open_store({"conversation": {"url": "memory:", "wrap": [wrong]}})


def test_a_cache_that_asks_an_index_whose_it_is_learns_it_of_the_index() -> None:
    index = NamespaceVectorIndex(MemoryVectorIndex(IndexSpec(2)), NamespaceOptions(prefix="a"))
    with index._operation("get") as op:  # noqa: SLF001 - as the wrapper calls it
        assert index._address(op, "u") is None  # noqa: SLF001 - as above


class Prefetching(MemoryVectorIndex):
    """Keeps the users who were fetched."""

    fetched: list[str]

    def _is_prefetch_due(self, user_id: str) -> bool:
        return True

    def _prefetch(self, op: Operation, user_id: str) -> None:
        self.fetched = [*getattr(self, "fetched", []), user_id]


def test_what_is_prefetched_is_of_the_namespace() -> None:
    """W3, V8."""
    inner = Prefetching(SPEC)
    index = inside_index(inner, "app")
    assert index.is_prefetch_due("alice")
    index.prefetch("alice")
    assert inner.fetched == ["app/alice"]
