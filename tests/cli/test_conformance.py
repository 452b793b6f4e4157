"""``ialstore conformance``: a live store held to the contract, and left as it was."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, Unpack

import pytest

from ialstore import EraseReport, Message, StoreNotReadyError, open_store
from ialstore.capabilities import ConversationCapabilities, VectorCapabilities
from ialstore.component import StoreSettings, no_progress
from ialstore.config import load_config
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import AppendResult, EncodedMessage
from ialstore.operation import Operation
from ialstore.registry import register
from ialstore.testing import ConversationStoreSuite, VectorIndexSuite
from ialstore.testing.live import Live, Selection, run_suite
from ialstore.testing.report import CLAUSES
from ialstore.url import StoreURL
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

Run = Callable[..., Any]

ROOT = Path(__file__).parents[2]


class Shared(MemoryConversationStore):
    """Keeps its messages where every handle finds them, as a file or a server would."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(
        MemoryConversationStore.CAPABILITIES, durable=True
    )
    place: ClassVar[dict[str, Any]] = {}

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self._by_user = self.place

    @classmethod
    def from_url(cls, url: StoreURL, **settings: Unpack[StoreSettings]) -> Self:
        return cls(**settings)

    @property
    def capabilities(self) -> ConversationCapabilities:
        return self.CAPABILITIES


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the store ``shared:`` holds."""
    monkeypatch.setattr(Shared, "place", {})
    register("conversation", "shared", Shared)
    return Shared.place


# -- sound stores ---------------------------------------------------------------------------------


def test_a_sound_store_passes_and_holds_nothing_after_it(
    run: Run, place: dict[str, Any], folder: Path
) -> None:
    result = run("conformance", "shared:", "--json", "-k", "not answers_like_a_list")  # is slow
    assert (result.code, result.err) == (0, "")
    said = result.json
    assert said["passed"] is True
    assert (said["backend"], said["part"], said["url"]) == ("memory", "conversation", "shared:")
    assert said["wrappers"] == ["retry"]
    assert said["capabilities"]["durable"] is True
    assert said["totals"]["failed"] == 0
    assert said["totals"]["passed"] > 300
    assert said["totals"]["skipped"] == sum(len(one["tests"]) for one in said["skipped"])
    assert {one["clause"] for one in said["clauses"]} > {"M1", "S1", "S15", "C1", "C6", "E1"}
    assert all(one["passed"] or one["skipped"] for one in said["clauses"])
    assert all(
        re.search(r"capabilities\.|fixture faults", one["reason"]) for one in said["skipped"]
    )
    assert (said["failed"], said["left"], said["out_of_reach"]) == ([], [], [])
    assert place == {}
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("url", ["memory:", "sqlite:///new.db"])
def test_ours_pass(run: Run, url: str) -> None:
    result = run("conformance", url, "--clause", "S14", "--clause", "m4")
    assert result.code == 0, result.out
    assert re.search(r"^result +[1-9]\d* passed, 0 failed, 0 skipped", result.out, re.MULTILINE)
    listed = re.findall(r"^([MS]\d+) .* [1-9]\d* +0 +0$", result.out, re.MULTILINE)
    assert {"M4", "S14"} <= set(listed)
    with open_store(url) as store:
        assert list(store.users()) == []


def test_the_report_may_be_a_part_of_a_readme(run: Run) -> None:
    result = run("conformance", "memory:", "--markdown", "-k", "outage or listed_behind")
    assert result.code == 0
    assert "#### Conformance of memory: conversation\n\n| Fact | Value |\n| --- | --- |\n" in (
        result.out
    )
    assert "| result | 1 passed, 0 failed, 3 skipped |" in result.out
    assert "| S14 | users | 1 | 0 | 0 |" in result.out
    assert re.search(r"\| 3 \| define a fixture faults .*\|\n", result.out)


def test_an_index_is_tested_for_one_metric(run: Run) -> None:
    args = ("conformance", "sqlite:///new.db", "--part", "vector", "--metric", "dot")
    result = run(*args, "--clause", "V1", "-k", "not machine")
    assert result.code == 0, result.out
    assert "dimension 24, metric dot, model kit" in result.out
    assert "made for one spec" in result.out
    again = run(*args, "-k", "scores_are_those_of_the_metric", "--json").json
    assert again["totals"] == {"passed": 1, "failed": 0, "skipped": 2}
    assert again["spec"] == {"dimension": 24, "metric": "dot", "model": "kit"}

    other = run("conformance", "sqlite:///new.db", "--part", "vector")
    assert other.code == 2
    assert "metric" in other.err


def test_an_index_of_which_each_handle_is_alone_is_tested_for_all(run: Run) -> None:
    register("vector", "alone", Dots)
    result = run("conformance", "alone:", "--metric", "dot", "-k", "dimension_is or of_the_metric")
    assert re.search(r"^result +6 passed, 0 failed, 1 skipped", result.out, re.MULTILINE)
    assert "capabilities.metrics: euclidean is not offered" in result.out
    assert "vector" in result.out.splitlines()[0], "the URL has nothing else"
    refused = run("conformance", "alone:", "--metric", "euclidean")
    assert refused.code == 2
    assert "offers cosine, dot" in refused.err


class Dots(MemoryVectorIndex):
    """Knows two metrics."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        MemoryVectorIndex.CAPABILITIES, metrics=frozenset({"cosine", "dot"})
    )

    @property
    def capabilities(self) -> VectorCapabilities:
        return self.CAPABILITIES


def test_a_configuration_says_how_it_is_opened(run: Run, folder: Path) -> None:
    (folder / "own.toml").write_text(
        '[conversation]\nurl = "shared:"\nretention_days = 1\nwrap = [{ use = "metrics" }, "retry"]'
    )
    said = run("conformance", "--config", "own.toml", "-k", "expire", "--json").json
    assert said["wrappers"] == ["metrics", "retry"]
    assert said["totals"]["failed"] == 0
    assert run("conformance", "--url", "shared:", "--clause", "S14").code == 0


class NeedsSetup(Shared):
    """Has to be set up, and can't list its users."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(
        Shared.CAPABILITIES, needs_setup=True, users=False
    )
    is_ready: ClassVar[bool] = False

    def _setup(self, op: Operation) -> None:
        type(self).is_ready = True

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        self._require_setup()
        return super()._append(op, user_id, entries)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        self._require_setup()
        return super()._erase(op, user_id)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        self._require_setup()
        return super()._users(op, limit, after)

    def _require_setup(self) -> None:
        if not self.is_ready:
            raise StoreNotReadyError("call setup()")


def test_a_store_is_set_up_by_its_tests(
    run: Run, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NeedsSetup, "is_ready", False)
    monkeypatch.setattr(NeedsSetup, "CAPABILITIES", replace(NeedsSetup.CAPABILITIES, users=True))
    register("conversation", "fresh", NeedsSetup)
    said = run("conformance", "fresh:", "-k", "needs_setup_says", "--json").json
    (skipped,) = said["skipped"]
    assert "setup was called before" in skipped["reason"]
    assert not vars(NeedsSetup)["is_ready"], "no test ran"
    assert run("conformance", "fresh:", "-k", "users_are_listed").code == 0
    assert vars(NeedsSetup)["is_ready"]
    assert place == {}


class Late(Shared):
    """Offers no strong reads."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(
        Shared.CAPABILITIES, strong_reads=False
    )


def test_a_store_without_strong_reads_needs_to_know_how_long_to_wait(run: Run) -> None:
    register("conversation", "late", Late)
    refused = run("conformance", "late:")
    assert refused.code == 2
    assert "--settle SECONDS" in refused.err
    result = run("conformance", "late:", "--settle", "0.001", "--clause", "C1")
    assert result.code == 0, result.out
    register("vector", "late", LateIndex)
    result = run(
        "conformance", "late:", "--settle", "0", "--part", "vector", "-k", "first_use or strong"
    )
    assert result.code == 0, result.out


class LateIndex(MemoryVectorIndex):
    """Offers no strong reads."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        MemoryVectorIndex.CAPABILITIES, strong_reads=False
    )

    @property
    def capabilities(self) -> VectorCapabilities:
        return self.CAPABILITIES


def test_thorough_tries_more_and_the_environment_stays(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--nonsense")
    monkeypatch.setenv("IALSTORE_PROFILE", "thorough")
    monkeypatch.delenv("PYTEST_PLUGINS", raising=False)

    def environment() -> dict[str, str]:
        return {name: one for name, one in os.environ.items() if name != "PYTEST_CURRENT_TEST"}

    before = environment()
    seen: list[str] = []

    class Seeing(Shared):
        def __init__(self, **settings: Unpack[StoreSettings]) -> None:
            super().__init__(**settings)
            seen.append(os.environ["IALSTORE_PROFILE"])

    register("conversation", "seeing", Seeing)
    for flags, profile in ([], "default"), (["--thorough"], "thorough"):
        said = run("conformance", "seeing:", "--clause", "S14", "--json", *flags).json
        assert said["profile"] == profile
        assert profile in seen[1:-2]
        seen.clear()
    assert environment() == before


# -- faulty stores --------------------------------------------------------------------------------


class Mixing(Shared):
    """Forgets which session was asked for."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        return super()._history(op, replace(query, session_id=None))


def test_a_faulty_store_is_told_by_the_clause(run: Run, place: dict[str, Any]) -> None:
    register("conversation", "mixing", Mixing)
    args = ("conformance", "mixing:", "-k", "hold_only or no_session_meets or users_are_listed")
    result = run(*args, "--json")
    assert result.code == 1
    said = result.json
    assert said["passed"] is False
    assert {one["clause"] for one in said["clauses"] if one["failed"]} >= {"S6", "C6"}
    assert [one["failed"] for one in said["clauses"] if one["clause"] == "S14"] == [0]
    one = said["failed"][0]
    assert one["reason"].startswith(("AssertionError", "assert"))
    assert "session_id=" in one["detail"], "the values are shown, as by pytest"
    assert place == {}

    shown = run(*args)
    assert shown.code == 1
    assert re.search(r"^Failed\n.*\ntest_no_session_meets_another +C6 ", shown.out, re.MULTILINE)


class Stuck(Shared):
    """Can be opened but not closed."""

    def _close(self) -> None:
        if self.settings.get("clock"):
            raise OSError(5, "the disk is gone")


def test_a_test_that_fails_behind_its_end_has_failed(run: Run, place: dict[str, Any]) -> None:
    register("conversation", "stuck", Stuck)
    said = run("conformance", "stuck:", "-k", "listed_behind or outage_ends", "--json").json
    assert [one["test"] for one in said["failed"]] == [
        "test_an_outage_ends_every_call_with_an_error_that_says_so",
        "test_users_are_listed_behind_a_capability",
    ]
    assert place == {}


class Greedy(Shared):
    """Keeps what it should erase, of one kind of user or of all."""

    refuses: ClassVar[bool] = False

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        if self.refuses:
            raise ValueError("no")
        return EraseReport(messages=1)


class Leaky(Shared):
    """Says what it leaves."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return replace(super()._erase(op, user_id), out_of_reach=("backups",))


def test_what_the_store_calls_out_of_reach_is_told(run: Run) -> None:
    register("conversation", "leaky", Leaky)
    args = ("conformance", "leaky:", "-k", "meters_sum")
    assert run(*args, "--json").json["out_of_reach"] == ["backups"]
    result = run(*args)
    assert result.code == 0
    assert re.search(r"^Out of reach of erase\nwhat *\nbackups *$", result.out, re.MULTILINE)


class Honest(Greedy):
    """Says that it could not."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return replace(super()._erase(op, user_id), remaining=1)


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("kind", [Greedy, Honest])
def test_what_can_not_be_erased_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: type[Greedy], *, refuses: bool
) -> None:
    monkeypatch.setattr(Greedy, "refuses", refuses)
    register("conversation", "greedy", kind)
    result = run("conformance", "greedy:", "-k", "meters_sum")
    assert result.code == 1
    assert "1 passed, 0 failed" in result.out
    assert re.search(
        r"^Not erased\nuser *\nconformance-[0-9a-f]{16}-1/u1 *$", result.out, re.MULTILINE
    )


def test_a_store_that_refuses_every_test_is_not_sound(run: Run) -> None:
    register("conversation", "readonly", ReadOnly)
    result = run("conformance", "readonly:", "--clause", "S1")
    assert result.code == 1
    assert "0 passed, 0 failed" in result.out


class ReadOnly(Shared):
    """Takes no writes."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(Shared.CAPABILITIES, writable=False)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_store_that_holds_data_is_refused_and_stays_as_it_is(
    run: Run, chat: str, force: list[str]
) -> None:
    before = run("export", "--url", chat).out
    result = run("conformance", chat, *force)
    assert (result.code, result.out) == (2, "")
    assert "it holds data of alice, bob; name another place" in result.err
    assert run("export", "--url", chat).out == before


def test_of_many_users_some_are_named(run: Run, place: dict[str, Any]) -> None:
    with Shared() as store:
        for user in "abcdefg":
            store.append(Message.new(user_id=user, session_id="s", role="user", content=""))
    assert "of a, b, c, d, e, ...; name" in run("conformance", "shared:").err
    assert set(place) == set("abcdefg")


def test_a_store_that_can_not_tell_is_tested_if_you_insist(
    run: Run, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NeedsSetup, "is_ready", True)
    register("conversation", "silent", NeedsSetup)
    kept = Message.new(user_id="u1", session_id="s", role="user", content="")
    with NeedsSetup() as store:
        store.append(kept)
        refused = run("conformance", "silent:")
        assert refused.code == 2
        assert "can't list its users" in refused.err
        assert run("conformance", "silent:", "--force", "-k", "erase").code == 0
        assert set(place) == {"u1"}
        assert store.get("u1", [kept.id]) == [kept]


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ([], "name an empty store: ialstore conformance sqlite:///new.db"),
        (["shared:", "--url", "memory:"], "give the URL once"),
        (["shared:", "--config", "x.toml"], "give either --config or --url"),
        (["shared:", "--clause", "S66"], "no test cites a clause S66; did you mean S6?"),
        (["shared:", "--clause", "V1"], "no test is selected"),
        (["shared:", "-k", "no_such"], "no test is selected"),
        (["shared:", "-k", "a and"], "Wrong expression passed to '-k': a and"),
        (["shared:", "--part", "vector"], "keeps no vectors"),
        (["none:"], "there is no conversation store none"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_what_can_not_be_run_is_one_line(run: Run, args: list[str], error: str) -> None:
    result = run("conformance", *args)
    assert (result.code, result.out) == (2, "")
    assert error in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("module", ["pytest", "hypothesis"])
def test_without_its_extra_it_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = run("conformance", "shared:")
    assert result.code == 2
    assert f"the module {module}: pip install 'ialstore[testing]'" in result.err


# -- what is cut short ----------------------------------------------------------------------------


class Interrupted(Shared):
    """Hears Ctrl-C in the middle of a call."""

    at: ClassVar[str] = ""
    times: ClassVar[int] = 0

    @classmethod
    def hear(cls, call: str) -> None:
        if call == cls.at:
            cls.times += 1
            if cls.times == 3:
                raise KeyboardInterrupt

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        self.hear("append")
        return result

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        self.hear("erase")
        return super()._erase(op, user_id)


@pytest.mark.parametrize("at", ["append", "erase"])
def test_nothing_is_left_behind_when_it_is_interrupted(
    run: Run, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(Interrupted, "at", at)
    monkeypatch.setattr(Interrupted, "times", 0)
    register("conversation", "interrupted", Interrupted)
    result = run("conformance", "interrupted:", "-k", "hostile")
    assert (result.code, result.out) == (130, "")
    assert result.err == "interrupted; erasing what was written\n"
    assert Interrupted.times >= 3
    assert place == {}


def test_what_an_interrupted_run_left_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Both(Interrupted, Greedy):
        """Erases nothing, either."""

    monkeypatch.setattr(Interrupted, "at", "append")
    monkeypatch.setattr(Both, "times", 0, raising=False)
    register("conversation", "both", Both)
    result = run("conformance", "both:", "-k", "hostile")
    assert result.code == 130
    assert "warning: not erased: conformance-" in result.err


def test_only_what_the_tests_wrote_is_erased(place: dict[str, Any]) -> None:
    live = Live("conversation", load_config("shared:"))
    written: dict[str, Any] = {
        "user_id": "conformance-of-another/u1",
        "session_id": "s",
        "role": "user",
    }
    with Shared() as store:
        store.append(Message.new(**written, content=""))
    assert live.erase() == []
    assert set(place) == {"conformance-of-another/u1"}


def test_a_fault_of_the_run_is_no_result() -> None:
    def fail(done: int, total: int | None) -> None:
        raise OSError(f"no terminal for {done} of {total}")

    live = Live("conversation", load_config("shared:"))
    with pytest.raises(RuntimeError, match="no terminal for 1 of 1"):
        run_suite(live, Selection(clauses=("W4",)), fail)
    assert run_suite(live, Selection(clauses=("W4",)), no_progress)[0].outcome == "passed"


# -- the clauses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [ConversationStoreSuite, VectorIndexSuite])
def test_every_test_of_the_kit_begins_with_clauses_that_have_a_name(suite: type[object]) -> None:
    for name in dir(suite):
        if name.startswith("test_"):
            cited = re.match(r"((?:[A-Z]\d+, )*[A-Z]\d+):", getattr(suite, name).__doc__ or "")
            assert cited, f"{name} cites no clause"
            assert set(cited[1].split(", ")) <= set(CLAUSES), name


def test_the_clauses_are_those_of_the_contract_in_its_order() -> None:
    text = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    there = re.findall(r"^- \*\*([A-Z]\d+)\b", text, re.MULTILINE)
    assert list(CLAUSES) == [one for one in there if one in CLAUSES]
