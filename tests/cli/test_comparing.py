"""``ialstore compare``: what is measured, kept, taken up again and erased."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ialstore import (
    IndexSpec,
    UnavailableError,
    UnsupportedOperationError,
    VectorRecord,
    open_index,
)
from ialstore.cli.exits import ExitCode
from ialstore.compare import data, drawing, footprint, measure
from ialstore.cost import Units
from ialstore.estimate import Estimate, Stored, Workload
from ialstore.operation import Operation
from ialstore.registry import register
from ialstore.url import StoreURL
from ialstore.vector_model import SearchQuery, SearchResult
from ialstore_backends.memory import MemoryVectorIndex

Run = Callable[..., Any]

SMALL = ["--sizes", "40,80", "--queries", "6", "--effort", "0.5,1", "--no-html"]
ALICE = VectorRecord("01a2049c-c6e3-774b-af40-dce0cd2bb0b6", [1.0] * 8, "s1", "user")


class Metered(MemoryVectorIndex):
    """Bills its calls, and finds a share of the hits that is the effort."""

    SCHEME = "metered"
    CAPABILITIES = replace(MemoryVectorIndex.CAPABILITIES, exact=False, durable=True)
    searches = 0
    stop_at = 0
    reads = 10.0
    learns = False
    kept: ClassVar[dict[str, Any]] = {}

    @classmethod
    def from_url(cls, url: Any, spec: IndexSpec, **settings: Any) -> Any:
        made = cls(spec, **settings)
        made._by_user = cls.kept
        made.upsert("alice", [ALICE])
        return made

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        Metered.searches += 1
        if Metered.searches == Metered.stop_at:
            raise KeyboardInterrupt
        effort = 0.8 if query.effort is None else query.effort
        op.add(Units(read=self.reads * effort, requests=1))
        if self.learns:  # what it has read it does not read again
            self.reads *= 0.9
        op.add(Units(read=0.5, requests=1))
        found = super()._search(op, query)
        return replace(found, hits=found.hits[: round(effort * len(found.hits))])

    def _upsert(self, op: Operation, user_id: str, records: Any) -> None:
        op.add(Units(write=2.0 * len(records), requests=1))
        super()._upsert(op, user_id, records)


@pytest.fixture
def metered(monkeypatch: pytest.MonkeyPatch) -> type[Metered]:
    monkeypatch.setattr(Metered, "searches", 0)
    monkeypatch.setattr(Metered, "stop_at", 0)
    monkeypatch.setattr(Metered, "kept", {})
    register("vector", "metered", Metered)
    return Metered


@pytest.fixture
def vectors(folder: Path) -> str:
    """The name of a file with 100 vectors of 8 numbers, 10 queries, texts and sessions."""
    rng = np.random.default_rng(1)
    np.savez(
        folder / "turns.npz",
        vectors=rng.standard_normal((100, 8)),
        queries=rng.standard_normal((10, 8)),
        texts=np.array([f"text {one}" for one in range(100)]),
        sessions=np.array([f"s{one // 7}" for one in range(100)]),
    )
    return "turns.npz"


def written(name: str = "comparison") -> Any:
    return json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))


TIMINGS = {
    *("seconds", "cpu_seconds", "first_search_seconds", "process_bytes", "cores"),
    *("p50_ms", "p95_ms", "p99_ms", "verdict", "tables", "load average"),
}


def without_timings(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_timings(one) for key, one in value.items() if key not in TIMINGS}
    return [without_timings(one) for one in value] if isinstance(value, list) else value


@pytest.mark.usefixtures("metered")
def test_it_measures_prices_and_judges(run: Run, vectors: str) -> None:
    result = run("compare", "metered:", "memory:", "--data", vectors, *SMALL, "--delay", 5)
    assert result.code == 0, result.err
    assert result.out.startswith("Verdict\nmetered reaches a recall@10 of 0.95 at 10.5 read units")
    assert "5 ms added for each round trip" in result.out
    assert result.err.strip() == "written: comparison.json"
    told = written()
    assert told["basis"]["queries"] == 6
    assert set(told["environment"]) == {
        *("ialstore", "Python", "numpy", "system", "cores", "on", "load average")
    }
    by_place = {(one["index"], one["vectors"], one["effort"]): one for one in told["searches"]}
    assert set(by_place) == {
        *(("metered", size, effort) for size in (40, 80) for effort in (0.5, 1.0, None)),
        *(("memory", size, None) for size in (40, 80)),
    }
    half = by_place["metered", 80, 0.5]
    assert [(one["k"], one["mean"]) for one in half["recalls"]] == [
        (1, 1.0),
        (5, 1.0),
        (10, 0.5),
        (50, 0.5),
    ]
    assert (half["read_units"], half["requests"], half["round_trips"]) == (5.5, 2.0, 2.0)
    assert half["p50_ms"] > 10
    chosen = [place for place, one in by_place.items() if one["chosen"]]
    assert chosen == [
        ("metered", 40, 1.0),
        ("metered", 80, 1.0),
        ("memory", 40, None),
        ("memory", 80, None),
    ]
    (first, second), (memory, _) = (one["sizes"] for one in told["indexes"])
    assert (first["load"]["write_units"], second["load"]["write_units"]) == (80, 160)
    assert first["upserts"]["write_units"] == 2
    assert (first["stored_bytes"], first["stored_by"]) == (80 * 1024, "units")
    assert (memory["stored_bytes"], memory["held_bytes"] > 0) == (None, True)


def test_what_a_service_stores_is_told_by_its_own_estimate(
    run: Run, vectors: str, metered: type[Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        assert url.scheme == "metered"
        each = 10 * workload.message_bytes + workload.dimension
        count = workload.messages_per_day * workload.kept_days(age_days)
        return Estimate(stored=(Stored("rows", count * each, "a"), Stored("index", count, "b")))

    monkeypatch.setattr(metered, "estimate", estimate)
    result = run("compare", "metered:", "memory:", "--data", vectors, *SMALL)
    assert "~ 6.17 KiB" in result.out
    service, memory = (one["sizes"][1] for one in written()["indexes"])
    assert (service["stored_bytes"], service["stored_by"]) == (80 * (10 * 7 + 8 + 1), "estimate")
    assert (memory["stored_bytes"], memory["stored_by"]) == (None, "")


def test_what_no_estimate_tells_is_told_by_units(
    run: Run, vectors: str, metered: type[Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(url: StoreURL, _: Workload, *, age_days: float) -> Estimate:
        raise UnsupportedOperationError(f"{url.scheme} does not say, at {age_days}")

    monkeypatch.setattr(metered, "estimate", estimate)
    assert "<= 80 KiB" in run("compare", "metered:", "memory:", "--data", vectors, *SMALL).out


def test_a_file_with_room_left_is_not_told_to_be_small(run: Run, vectors: str) -> None:
    """The second size goes into the place that the first one left."""
    assert run("compare", "memory:", "sqlite:///x.db", "--data", vectors, *SMALL).code == 0
    new, used = written()["indexes"][1]["sizes"]
    assert new["stored_by"] == "files"
    assert used["stored_bytes"] >= 80 * 8 * 4


def test_programs_get_the_same_document(run: Run, vectors: str) -> None:
    asked = ["compare", "memory:", "sqlite:///x.db", "--data", vectors, *SMALL, "--json"]
    result = run(*asked)
    assert result.code == 0, result.err
    assert result.json == written()


@pytest.mark.usefixtures("metered")
def test_a_seed_makes_it_the_same_again(run: Run, vectors: str) -> None:
    asked = ["compare", "metered:", "sqlite:///x.db", "--data", vectors, *SMALL]
    for out, seed in (("one", 1), ("two", 1), ("three", 2)):
        assert run(*asked, "--out", out, "--seed", seed).code == 0
    one, two, three = (without_timings(written(name)) for name in ("one", "two", "three"))
    for told in (one, two, three):
        for size in told["indexes"][1]["sizes"]:
            for name in ("stored_bytes", "stored_by"):  # the run before has left it longer
                size.pop(name)
        for part in ("costs", "notes", "break_even"):
            told.pop(part)
    assert one == two
    assert one["basis"]["digest"] != three["basis"]["digest"]


def test_what_was_interrupted_goes_on_where_it_was(
    run: Run, vectors: str, metered: type[Metered]
) -> None:
    asked = ["compare", "metered:", "memory:", "--data", vectors, *SMALL]
    assert run(*asked, "--out", "whole").code == 0
    whole, metered.searches = metered.searches, 0
    metered.stop_at = 1 + 7 * 3 + 4  # after the first search and those of three efforts and k
    assert run(*asked).code == ExitCode.INTERRUPTED
    (size,) = written()["indexes"][0]["sizes"]
    done = [(one["effort"], one["k"]) for one in size["searches"]]
    assert done == [(0.5, 10), (0.5, 50), (1.0, 10)]
    metered.searches = metered.stop_at = 0
    assert run(*asked).code == 0
    assert metered.searches == whole - 7 * 3
    resumed, at_once = (without_timings(written(name)) for name in ("comparison", "whole"))
    for one in (resumed, at_once):
        one["notes"] = [note for note in one["notes"] if " load " not in note]
    assert resumed == at_once
    metered.searches = 0
    assert run(*asked, "--users", 5, "--delay", 3).code == 0
    assert metered.searches == 0
    assert written()["asked"]["workload"]["users"] == 5


def test_a_run_that_ended_before_it_erased_is_completed(
    run: Run, vectors: str, metered: type[Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    erase = metered._erase  # noqa: SLF001 - to be put back

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    asked = ["compare", "metered:", "memory:", "--data", vectors, *SMALL[2:], "--sizes", "40"]
    monkeypatch.setattr(metered, "_erase", fail)
    assert run(*asked).code == ExitCode.INTERRUPTED
    assert written()["indexes"][0]["sizes"][0]["upserts"] is None
    monkeypatch.setattr(metered, "_erase", erase)
    metered.searches = 0
    assert run(*asked).code == 0
    assert metered.searches == 2
    assert written()["indexes"][0]["sizes"][0]["upserts"]["write_units"] == 2


def test_what_an_index_holds_from_one_effort_does_not_help_another(
    run: Run, vectors: str, metered: type[Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metered, "learns", True)
    asked = ["compare", "metered:", "memory:", "--data", vectors, "--queries", "6", "--no-html"]
    for out, efforts in (("one", "0.5"), ("more", "0.2,0.3,0.5,1")):
        assert run(*asked, "--sizes", "60", "--effort", efforts, "--out", out).code == 0
    assert run(*asked, "--sizes", "60", "--effort", "0.2,1", "--out", "one").code == 0
    one, more = (
        {
            (found["effort"], found["k"]): found["calls"]["read_units"]
            for found in written(out)["indexes"][0]["sizes"][0]["searches"]
        }
        for out in ("one", "more")
    )
    assert one.keys() < more.keys()
    assert one == {place: more[place] for place in one}


@pytest.mark.usefixtures("metered")
def test_more_sizes_and_efforts_are_added(run: Run, vectors: str) -> None:
    asked = ["compare", "metered:", "memory:", "--data", vectors, "--queries", "6", "--no-html"]
    assert run(*asked, "--sizes", "60", "--effort", "1").code == 0
    assert run(*asked, "--sizes", "30,60", "--effort", "0.5").code == 0
    sizes = written()["indexes"][0]["sizes"]
    assert [one["vectors"] for one in sizes] == [30, 60]
    assert {one["effort"] for one in sizes[1]["searches"]} == {0.5, 1.0, None}


def test_another_comparison_is_not_mixed_in(run: Run, vectors: str) -> None:
    asked = ["compare", "one=memory:", "two=sqlite:///x.db", "--data", vectors, *SMALL]
    assert run(*asked).code == 0
    other = run(*asked, "--seed", 5)
    assert other.code == ExitCode.USAGE
    assert "holds another comparison: its seed is 0, not 5" in other.err
    asked[2] = "two=sqlite:///y.db"
    moved = run(*asked)
    assert moved.code == ExitCode.USAGE
    assert "measured two at sqlite:///x.db, not at sqlite:///y.db" in moved.err


def test_an_index_that_failed_is_named_and_may_be_put_right(run: Run, vectors: str) -> None:
    with open_index("sqlite:///x.db", IndexSpec(3)) as index:
        index.upsert("alice", [replace(ALICE, vector=np.ones(3))])
    asked = ["compare", "one=memory:", "--data", vectors, *SMALL]
    failed = run(*asked, "two=sqlite:///x.db")
    assert failed.code == ExitCode.USAGE
    assert failed.err.startswith("error: two: the index was made for IndexSpec(dimension=3")
    assert run(*asked, "two=sqlite:///y.db").code == 0
    assert [one["url"] for one in written()["indexes"]] == ["memory:", "sqlite:///y.db"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "holds no comparison"),
        ("{", "holds no comparison"),
        ('{"format": 3}', "holds no comparison"),
        ('{"format": 2}', "has the format 2, not 3"),
    ],
)
def test_a_file_of_something_else_is_left_alone(
    run: Run, vectors: str, text: str, complaint: str
) -> None:
    Path("comparison.json").write_text(text)
    result = run("compare", "memory:", "sqlite:///x.db", "--data", vectors, *SMALL)
    assert result.code == ExitCode.USAGE
    assert complaint in result.err
    assert Path("comparison.json").read_text() == text


def test_others_in_an_index_are_left_alone_and_its_own_users_erased(run: Run, vectors: str) -> None:
    def users() -> list[str]:
        with open_index("sqlite:///x.db", IndexSpec(8)) as index:
            return sorted(index.users())

    with open_index("sqlite:///x.db", IndexSpec(8)) as index:
        index.upsert("alice", [ALICE])
    asked = ["compare", "sqlite:///x.db", "memory:", "--data", vectors, *SMALL]
    assert run(*asked, "--keep").code == 0
    assert written()["basis"]["optimized"]
    assert len(users()) == 3
    with open_index("sqlite:///x.db", IndexSpec(8)) as index:
        own = next(one for one in users() if one.startswith("compare-"))
        index.upsert(own, [ALICE])  # what a run that was killed may have left
    Path("comparison.json").unlink()
    assert run(*asked, "--no-optimize").code == 0
    assert not written()["basis"]["optimized"]
    assert users() == ["alice"]
    assert written()["searches"][0]["recalls"][0]["mean"] == 1


def test_an_index_that_shows_its_writes_later_is_waited_for(
    run: Run, vectors: str, metered: type[Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = iter([0, 10, 80, 0, 0])
    monkeypatch.setattr(metered, "CAPABILITIES", replace(metered.CAPABILITIES, strong_reads=False))
    monkeypatch.setattr(metered, "_count", lambda *_: next(shown))
    monkeypatch.setattr(measure, "_PAUSE_SECONDS", 0)
    asked = ["compare", "metered:", "memory:", "--data", vectors, *SMALL[2:]]
    assert run(*asked, "--sizes", "80").code == 0
    monkeypatch.setattr(measure, "_SETTLE_SECONDS", -1)
    late = run(*asked, "--sizes", "90")
    assert late.code == ExitCode.STORE
    assert "metered shows 0 of 90 vectors" in late.err


def test_searches_are_not_measured_while_a_write_makes_them_dear(
    run: Run, vectors: str, metered: type[Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[tuple[float, int]] = []
    settling = replace(metered.CAPABILITIES, settling_seconds=61)
    monkeypatch.setattr(metered, "CAPABILITIES", settling)
    monkeypatch.setattr("time.sleep", lambda rest: slept.append((rest, metered.searches)))
    asked = ["compare", "metered:", "memory:", "--data", vectors, *SMALL[2:], "--sizes", "80"]
    result = run(*asked)
    assert slept == [(61, 0)]
    assert "metered: waiting for 61 s, as searches cost more after a write" in result.err


@pytest.mark.parametrize(("cores", "is_busy"), [(4, False), (3, True), (None, False)])
def test_a_machine_that_is_busy_is_told(
    run: Run, vectors: str, monkeypatch: pytest.MonkeyPatch, *, cores: int | None, is_busy: bool
) -> None:
    loads = iter([(1.0, 9.0, 9.0), (3.5, 9.0, 9.0)])
    monkeypatch.setattr("os.getloadavg", lambda: next(loads))
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    asked = ["compare", "memory:", "sqlite:///x.db", "--data", vectors, *SMALL[2:]]
    result = run(*asked, "--sizes", "20")
    assert written()["environment"]["load average"] == "1.00 to 3.50"
    busy = "The machine was busy: a load of 1.00 to 3.50 with 3 cores;"
    assert (busy in result.out) == is_busy


def test_tables_are_made_when_asked(
    run: Run, vectors: str, metered: type[Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(metered, "_setup", lambda *_: made.append("tables"))
    asked = ["compare", "metered:", "memory:", "--data", vectors, *SMALL]
    assert run(*asked, "--out", "one").code == 0
    assert made == []
    assert run(*asked, "--out", "two", "--setup").code == 0
    assert made == ["tables", "tables"]


def test_an_index_that_fails_keeps_what_was_measured(
    run: Run, vectors: str, metered: type[Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise UnavailableError("gone")

    monkeypatch.setattr(metered, "_delete", fail)
    monkeypatch.setattr(metered, "_erase", fail)
    result = run("compare", "memory:", "metered:", "--data", vectors, *SMALL)
    assert result.code == ExitCode.STORE
    assert len(written()["indexes"][0]["sizes"]) == 2


# -- data -----------------------------------------------------------------------------------------


def test_messages_of_a_store_are_embedded(
    run: Run, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MAX_PAGE", 1)
    wordless = {"user_id": "alice", "session_id": "monday", "role": "user"}
    wordless |= {"content": "?!", "created_at": "2026-03-02T10:00:00Z"}
    assert run("import", "-", "--url", chat, stdin=json.dumps(wordless)).code == 0
    asked = ["compare", "memory:", "sqlite:///x.db", "--no-html", "--queries", "1", "-u", "alice"]
    for where in (["--data", chat], ["--url", chat]):
        result = run(*asked, *where)
        assert result.code == 0, result.err
    told = written()
    assert told["basis"]["data"] == "messages in sqlite:///chat.db"
    assert told["asked"]["sizes"] == [3]
    asked[-1] = "nobody"
    assert f"too few messages in {chat} of nobody to compare with: 0" in run(*asked, *where).err


def lines(*records: Any) -> str:
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in records)


def test_jsonl_may_have_texts_sessions_and_queries(run: Run) -> None:
    records = [{"vector": [one, 1], "text": "hi", "session": "s"} for one in range(6)]
    Path("v.jsonl").write_text(lines(*records, "", {"vector": [2, 1.1], "query": True}))
    plain = [{"vector": [one, 1]} for one in range(6)]
    Path("w.jsonl").write_text(lines(*plain))
    for name, sizes in (("v", [6]), ("w", [5])):
        asked = ["--data", f"{name}.jsonl", "--out", name, "--no-html", "--metric", "euclidean"]
        assert run("compare", "memory:", "sqlite:///x.db", *asked, "--quick").code == ExitCode.OK
        Path("x.db").unlink()
        told = written(name)
        assert (told["basis"]["queries"], told["asked"]["sizes"]) == (1, sizes)
        assert told["searches"][0]["recalls"][-1]["mean"] == 1


def test_each_metric_has_its_own_truth(run: Run, vectors: str) -> None:
    for metric in ("dot", "euclidean", "cosine"):
        asked = [f"sqlite:///{metric}.db", "--data", vectors, *SMALL, "--metric", metric]
        assert run("compare", "memory:", *asked, "--out", metric).code == 0
        assert {one["recalls"][2]["mean"] for one in written(metric)["searches"]} == {1.0}


BROKEN = {
    "no json": ("a.jsonl", "{", 'a.jsonl, line 1 is no JSON object with a "vector"'),
    "no vector": ("a.jsonl", '{"text": "x"}', 'line 1 is no JSON object with a "vector"'),
    "no object": ("a.jsonl", "[1]", 'line 1 is no JSON object with a "vector"'),
    "lengths": (
        "a.jsonl",
        '{"vector": [1]}\n\n{"vector": [1, 2]}',
        "a.jsonl, line 3 has 2 numbers, the lines before have 1",
    ),
    "no list": ("a.jsonl", '{"vector": 5}', "must be rows of numbers"),
    "depths": ("a.jsonl", '{"vector": [[1], [1, 2]]}', "rows of the same length"),
    "texts": ("a.jsonl", '{"vector": ["a"]}\n{"vector": ["b"]}', "must be rows of numbers"),
    "empty": ("a.jsonl", "\n", "a.jsonl is empty"),
    "huge": ("a.jsonl", '{"vector": [1e300]}\n{"vector": [1]}', "must be finite as float32"),
    "one": ("a.jsonl", '{"vector": [1]}', "too few vectors to compare with in a.jsonl: 1"),
    "queries": (
        "a.jsonl",
        '{"vector": [1]}\n{"vector": [2]}\n{"vector": [1, 2], "query": true}',
        "a.jsonl, line 3 has 2 numbers, the lines before have 1",
    ),
    "no npz": ("a.npz", "abc", "a.npz is no npz of plain arrays"),
    "no file": ("b.npz", None, "b.npz"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_data_that_can_not_be_used_is_refused(run: Run, name: str) -> None:
    file, text, complaint = BROKEN[name]
    if text is not None:
        Path(file).write_text(text)
    result = run("compare", "memory:", "sqlite:///x.db", "--data", file)
    assert result.code == (ExitCode.USAGE if text is not None else ExitCode.STORE)
    assert complaint in result.err


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"other": np.ones((3, 2))}, "has no array vectors or base or turn_vectors"),
        ({"vectors": np.ones((3, 2)), "texts": np.array(["a"])}, "1 texts for 3 vectors"),
        (
            {"vectors": np.ones((3, 2)), "queries": np.ones((3, 1))},
            "queries of 1 numbers, vectors of 2",
        ),
        ({"vectors": np.array([{}, {}])}, "a.npz is no npz of plain arrays"),
    ],
    ids=["names", "texts", "queries", "pickles"],
)
def test_an_npz_that_can_not_be_used_is_refused(
    run: Run, arrays: dict[str, Any], complaint: str
) -> None:
    np.savez("a.npz", **arrays)
    result = run("compare", "memory:", "sqlite:///x.db", "--data", "a.npz")
    assert result.code == ExitCode.USAGE
    assert complaint in result.err


# -- options --------------------------------------------------------------------------------------

WRONG = {
    "one index": (["memory:"], "name two indexes or more"),
    "the same twice": (["memory:", "m=memory:"], "memory: is named twice"),
    "one name twice": (
        ["m=memory:", "m=sqlite:///x.db"],
        "two indexes are called m; write NAME=URL",
    ),
    "too many vectors": (
        ["memory:", "sqlite:///x.db", "--sizes", "101"],
        "--sizes must be 1 to 100: so",
    ),
    "no numbers": (["memory:", "sqlite:///x.db", "--sizes", "a"], "--sizes must be numbers"),
    "effort": (["memory:", "sqlite:///x.db", "--effort", "2"], "--effort must be above 0"),
    "k": (["memory:", "sqlite:///x.db", "--k", "0"], "--k must be 1 to 1,000"),
    "no index": (["memory:", "a=conf.toml"], "conf.toml: no vector index is configured"),
    "prices": (["memory:", "sqlite:///x.db", "--prices", "p.toml"], "p.toml"),
    "no folder": (
        ["memory:", "sqlite:///x.db", "--out", "nowhere/c"],
        "there is no folder nowhere for --out; create it first",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_options_are_refused(run: Run, vectors: str, name: str) -> None:
    Path("conf.toml").write_text('[conversation]\nurl = "dynamodb://p-"\n')
    given, complaint = WRONG[name]
    result = run("compare", *given, "--data", vectors)
    assert result.code == ExitCode.USAGE
    assert complaint in result.err


def test_a_store_that_is_not_there_is_not_made(run: Run) -> None:
    asked = ["compare", "memory:", "sqlite:///x.db", "--user", "alice", "--no-html"]
    for where in (["--data", "sqlite:///typo.db"], ["--url", "sqlite:///typo.db"]):
        result = run(*asked, *where)
        assert result.code == ExitCode.USAGE
        assert "there is no store at sqlite:///typo.db" in result.err
    assert not Path("typo.db").exists()


def test_the_metric_is_that_of_the_configured_indexes(run: Run, vectors: str) -> None:
    for name in ("dot", "euclidean"):
        text = f'[vector]\nurl = "sqlite:///{name}.db"\nmetric = "{name}"\n'
        Path(f"{name}.toml").write_text(text)
    asked = ["compare", "memory:", "dot.toml", "--data", vectors, *SMALL]
    assert run(*asked).code == 0
    assert written()["basis"]["metric"] == "dot"
    other = run(*asked, "--metric", "cosine")
    assert other.code == ExitCode.USAGE
    assert "dot.toml says metric dot, and --metric is cosine" in other.err
    differ = run(*asked, "euclidean.toml")
    assert differ.code == ExitCode.USAGE
    assert "euclidean.toml says metric euclidean, and dot.toml dot" in differ.err


def test_data_has_to_be_named(run: Run) -> None:
    asked = ["compare", "memory:", "sqlite:///x.db"]
    assert "say what to load" in run(*asked).err
    for file in ("turns.csv", "chat.db"):
        told = run(*asked, "--data", file).err
        assert f"{file} is no file that ends in .npz or .jsonl, and no URL of a store" in told
    assert (
        "say whose messages in sqlite:///c.db to take: --user USER"
        in run(*asked, "--data", "sqlite:///c.db").err
    )


def test_indexes_may_be_configured_and_named(run: Run, vectors: str) -> None:
    Path("conf.toml").write_text('[vector]\nurl = "sqlite:///c.db"\n')
    asked = ["memory:", "conf.toml", "sqlite:///x.db", "mine=sqlite:///y.db", "--data", vectors]
    assert run("compare", *asked, *SMALL).code == 0
    names = [one["name"] for one in written()["indexes"]]
    assert names == ["memory", "sqlite:///c.db", "sqlite:///x.db", "mine"]


@pytest.mark.parametrize(("given", "sizes"), [([], [100]), (["--quick"], [100])])
def test_sizes_go_up_to_all_by_default(
    run: Run, vectors: str, given: list[str], sizes: list[int]
) -> None:
    asked = ["compare", "memory:", "sqlite:///x.db", "--data", vectors, "--no-html"]
    assert run(*asked, *given).code == 0
    assert written()["asked"]["sizes"] == sizes


def test_there_is_no_more_than_the_usual_sizes(run: Run) -> None:
    np.savez("big.npz", vectors=np.ones((2600, 2)), queries=np.ones((2, 2)))
    asked = ["compare", "memory:", "sqlite:///x.db", "--data", "big.npz", "--no-html", "--quick"]
    assert run(*asked).code == 0
    assert written()["asked"]["sizes"] == [500, 2000]


def test_the_page_is_written_where_it_can_be(
    run: Run, vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    asked = ["compare", "memory:", "sqlite:///x.db", "--data", vectors, *SMALL[:-1]]
    result = run(*asked)
    assert result.err.strip() == "written: comparison.json, comparison.html"
    assert Path("comparison.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    Path("comparison.html").unlink()
    monkeypatch.setattr(drawing, "find_spec", lambda _: None)
    without = run(*asked)
    assert without.code == 0
    assert "the page with plots needs the module matplotlib" in without.err
    assert not Path("comparison.html").exists()
    refused = run(*asked, "--html")
    assert refused.code == ExitCode.USAGE
    assert "pip install 'ialstore[report]'" in refused.err


def test_a_system_that_does_not_tell_its_memory_is_no_hindrance(
    run: Run, vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "_STATM", Path("nowhere"))
    assert run("compare", "memory:", "sqlite:///x.db", "--data", vectors, *SMALL).code == 0
    assert written()["indexes"][0]["sizes"][0]["process_bytes"] is None
