"""Cells, heads, thresholds and searches: nothing is lost, and recall holds for vectors of any kind.

A user is kept in memory here, by the same steps that a store takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ialstore import CorruptError, StoreNotReadyError
from ialstore_backends.lsh.codec import VectorCodec, decode
from ialstore_backends.lsh.packed import calibration, rebuilding
from ialstore_backends.lsh.packed import cells as clustering
from ialstore_backends.lsh.packed.calibration import margin
from ialstore_backends.lsh.packed.codes import Codes, prepare
from ialstore_backends.lsh.packed.entries import (
    Entries,
    EntryFormat,
    Floats,
    are_dead,
    newest,
    sign_bits,
    tombstone,
)
from ialstore_backends.lsh.packed.head import Head, cell_record_bytes, decode_head
from ialstore_backends.lsh.packed.probing import expected_hits
from ialstore_backends.lsh.packed.rotation import rotation
from ialstore_backends.lsh.packed.searching import (
    Filter,
    Search,
    View,
    cells_to_read,
    holds_enough,
    rank,
)

DIMENSION = 48
METRICS = ("cosine", "dot", "euclidean")


def unit(vectors: NDArray[np.floating]) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def text_like(count: int, seed: int = 0, dimension: int = DIMENSION) -> Floats:
    """Return vectors of topics and subtopics."""
    fixed, rng = np.random.default_rng(100), np.random.default_rng(seed)
    coarse = fixed.standard_normal((12, dimension))
    fine = coarse[fixed.integers(12, size=150)] + fixed.standard_normal((150, dimension))
    return unit(fine[rng.integers(150, size=count)] + rng.standard_normal((count, dimension)))


def anisotropic(count: int, seed: int = 0) -> Floats:
    """Return vectors that share most of what they are, as those of many models."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, DIMENSION + 1) ** -0.5
    return unit(rng.standard_normal((count, DIMENSION)) * scale + 2 * scale)


def narrow(count: int, seed: int = 0) -> Floats:
    """Return vectors near six dimensions."""
    basis = np.random.default_rng(100).standard_normal((6, DIMENSION))
    return unit(np.random.default_rng(seed).standard_normal((count, 6)) @ basis)


def uniform(count: int, seed: int = 0) -> Floats:
    """Return vectors without any structure."""
    return unit(np.random.default_rng(seed).standard_normal((count, DIMENSION)))


KINDS = {"text": text_like, "anisotropic": anisotropic, "narrow": narrow, "uniform": uniform}


@dataclass(frozen=True)
class User:
    """What is stored of a user whose vectors have their places as tags."""

    vectors: Floats
    head: Head
    cells: list[Entries]
    tail: Entries

    @property
    def layout(self) -> EntryFormat:
        return self.head.facts.layout

    def view(self, numbers: Iterable[int] | None = None) -> View:
        chosen = range(len(self.cells)) if numbers is None else numbers
        some = [self.cells[number] for number in chosen]
        empty = np.zeros(0, self.layout.dtype)
        return View(self.layout, Codes(self.layout, np.concatenate([empty, *some])), self.tail)

    def query(self, vector: Floats, k: int = 10, effort: float | None = None) -> Search:
        return Search(prepare(vector, self.head.facts.mean, self.layout.metric), k, effort)

    def rows(self, search: Search, view: View | None = None) -> list[int]:
        thresholds = self.head.facts.calibration
        if view is not None:
            return rank(view, search, thresholds, complete=True).next_rows(0)
        numbers = list(range(len(self.cells)))
        if not self.head.facts.flat:
            numbers = cells_to_read(self.head, search)
        complete = len(numbers) == len(self.cells)
        return rank(self.view(numbers), search, thresholds, complete=complete).next_rows(0)


def entries_of(layout: EntryFormat, rotated: Floats, mean: Floats, first: int) -> Entries:
    """Return plain entries, tagged from ``first`` on."""
    known = np.zeros(len(rotated), layout.dtype)
    known["tag"] = np.arange(first, first + len(rotated))
    return layout.encode(rotated - mean, sign_bits(rotated - mean), known)


def stored(vectors: Floats, metric: str = "cosine", tail: int = 40) -> User:
    layout = EntryFormat(vectors.shape[1], metric)
    rotated = rotation(vectors.shape[1]).apply(vectors)
    count = len(vectors) - tail
    known = np.zeros(count, layout.dtype)
    known["tag"] = np.arange(count)
    known["generation"] = 1
    made = rebuilding.encode_all(layout, rotated[:count], known, None, version=1, segment=3)
    head = decode_head(made.head, layout)
    late = entries_of(layout, rotated[count:], head.facts.mean, count)
    return User(vectors, head, [layout.from_bytes(cell).copy() for cell in made.cells], late)


def scores(vectors: Floats, query: Floats, metric: str) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(-np.sqrt(np.square(wide - query).sum(axis=1)))
    return np.asarray(wide @ query)


def recall(user: User, queries: Floats, *, k: int = 10, effort: float | None = None) -> float:
    found = []
    for query in queries:
        true = scores(user.vectors, query, user.layout.metric)
        least = np.sort(true)[-k] - 1e-9
        rows = user.rows(user.query(query, k, effort))
        assert len(set(rows)) == len(rows), "a row was named twice"
        found.append(min(k, int((true[rows] >= least).sum())) / k)
    return float(np.mean(found))


def of_metric(vectors: Floats, metric: str) -> Floats:
    """Return vectors of several lengths, and not around zero, where the metric sees that."""
    if metric == "cosine":
        return vectors
    lengths = np.random.default_rng(9).uniform(1, 1.5, (len(vectors), 1))
    return (vectors * lengths + 0.2).astype(np.float32)


@pytest.fixture(scope="module", params=METRICS)
def user(request: pytest.FixtureRequest) -> User:
    return stored(of_metric(text_like(1500), request.param), request.param)


# -- cells and head -------------------------------------------------------------------------------


def test_every_entry_is_in_exactly_one_cell_and_every_cell_fits_into_a_read_unit(
    user: User,
) -> None:
    tags = np.concatenate([cell["tag"] for cell in user.cells])
    assert sorted(tags.tolist()) == list(range(1460))
    assert len(user.cells) > rebuilding.FLAT_CELLS
    assert max(cell.nbytes for cell in user.cells) <= 4096 - 96
    assert user.head.cells.sizes.tolist() == [len(cell) for cell in user.cells]


def test_a_head_comes_back_from_its_bytes(user: User) -> None:
    facts = user.head.facts
    assert (facts.epoch, facts.version, facts.segment) == (1, 1, 3)
    assert (facts.count, facts.encoded, facts.flat) == (1460, 1460, False)
    rotated = rotation(DIMENSION).apply(user.vectors[:1460])
    np.testing.assert_allclose(facts.mean, rotated.mean(axis=0), atol=0.01)


def test_centroids_are_where_the_cells_are(user: User) -> None:
    search = user.query(user.vectors[5])
    near = int(np.argmax(user.head.cells.centroids.estimates(search.query)))
    everything = np.concatenate([user.layout.decode(cell) for cell in user.cells])
    own = user.layout.decode(user.cells[near])
    along = search.query.vector
    assert (own @ along).mean() > (everything @ along).mean() + 0.05


def test_damaged_heads_and_those_of_a_newer_version_are_refused() -> None:
    vectors = text_like(200)
    layout = EntryFormat(DIMENSION, "cosine")
    known = np.zeros(200, layout.dtype)
    data = rebuilding.encode_all(layout, vectors, known, None, version=1, segment=0).head
    for damaged in (b"", data[:-1], data[:20]):
        with pytest.raises(CorruptError):
            decode_head(damaged, layout)
    with pytest.raises(StoreNotReadyError):
        decode_head(b"\xff" + data[1:], layout)


def test_the_head_of_fifty_thousand_vectors_fits_into_an_item() -> None:
    for dimension in (384, 1024, 4096):
        layout = EntryFormat(dimension, "cosine")
        most = rebuilding.capacity(layout, 50_000)
        number = 50_000 / (most * rebuilding.FILL)
        assert number * cell_record_bytes(layout) + dimension < 390_000
    assert rebuilding.capacity(EntryFormat(1, "cosine"), 10) == 235


def test_cells_are_balanced_where_all_vectors_are_one() -> None:
    layout = EntryFormat(8, "cosine")
    same = np.tile(unit(np.ones((1, 8))), (300, 1))
    entries = layout.encode(same, sign_bits(same))
    found = clustering.cluster(layout, entries, 40, 9, seed=1)
    assert found.sizes.sum() == 300
    assert found.sizes.max() <= 40


def test_who_finds_all_near_cells_full_takes_one_with_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clustering, "_CHOICES", 2)
    layout = EntryFormat(DIMENSION, "cosine")
    vectors = narrow(300)
    vectors[:200] = vectors[0] + 0.01 * vectors[:200]
    entries = layout.encode(vectors, sign_bits(vectors))
    found = clustering.cluster(layout, entries, 31, 10, seed=1)
    assert found.sizes.sum() == 300
    assert found.sizes.max() <= 31


# -- recall ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_recall_holds_for_vectors_of_any_kind(kind: str) -> None:
    made = stored(KINDS[kind](1500), tail=60)
    assert recall(made, KINDS[kind](120, seed=1)) >= 0.94


def test_recall_holds_where_every_vector_is_there_twenty_times() -> None:
    """A query is no copy of what is stored, so that thresholds must not be those of copies."""
    made = stored(np.tile(text_like(75), (20, 1)), tail=0)
    assert recall(made, text_like(120, seed=1)) >= 0.94


def test_recall_holds_among_lengths_of_three_orders_and_few_rows_are_read() -> None:
    lengths = 10 ** np.random.default_rng(3).uniform(-1.5, 1.5, (1620, 1))
    vectors = (text_like(1620) * lengths).astype(np.float32)
    made = stored(vectors[:1500], "euclidean")
    assert recall(made, vectors[1500:]) >= 0.94
    rows = [len(made.rows(made.query(query))) for query in vectors[1500:]]
    assert np.mean(rows) < 0.1 * 1500


def test_vectors_that_are_all_one_have_thresholds() -> None:
    made = stored(np.tile(text_like(1), (300, 1)), tail=0)
    assert recall(made, text_like(5, seed=1)) == 1.0


def test_recall_holds_under_every_metric_and_does_not_fall_with_effort(user: User) -> None:
    queries = of_metric(text_like(60, seed=1), user.layout.metric)
    found = [recall(user, queries, effort=effort) for effort in (0.05, 0.25, 0.5, 0.75, 1)]
    assert found[2] >= 0.94
    assert found == sorted(found)
    assert found[-1] >= 0.998


@pytest.mark.parametrize("k", [1, 3, 50, 200])
def test_recall_holds_for_any_number_of_hits(user: User, k: int) -> None:
    queries = of_metric(text_like(60, seed=2), user.layout.metric)
    assert recall(user, queries, k=k) >= 0.92


def test_thresholds_choose_and_do_not_read_everything(user: User) -> None:
    searches = [user.query(query) for query in of_metric(text_like(40, seed=3), user.layout.metric)]
    read = [len(cells_to_read(user.head, search)) for search in searches]
    assert np.mean(read) < 0.8 * len(user.cells)
    assert np.mean([len(user.rows(search)) for search in searches]) < 0.15 * 1500


@pytest.mark.parametrize("metric", METRICS)
def test_a_search_with_the_whole_effort_is_exact_on_a_small_set(metric: str) -> None:
    made = stored(text_like(240), metric)
    assert recall(made, text_like(30, seed=4), effort=1) == 1.0
    assert sorted(made.rows(made.query(made.vectors[0], 10, 1))) == list(range(240))


@pytest.mark.parametrize("metric", METRICS)
def test_a_user_without_a_head_is_searched_by_the_tail_alone(metric: str) -> None:
    vectors = text_like(110)
    layout = EntryFormat(DIMENSION, metric)
    nothing = np.zeros(DIMENSION, np.float32)
    tail = entries_of(layout, rotation(DIMENSION).apply(vectors), nothing, 0)
    view = View(layout, Codes(layout, tail[:0]), tail)
    found = 0
    for query in text_like(30, seed=5):
        search = Search(prepare(query, nothing, metric), 10)
        rows = rank(view, search, None, complete=True).next_rows(0)
        found += len(set(rows) & set(np.argsort(-scores(vectors, query, metric))[:10].tolist()))
    assert found / 300 >= 0.94


def test_a_search_of_nothing_finds_nothing() -> None:
    layout = EntryFormat(8, "cosine")
    nothing = np.zeros(0, layout.dtype)
    view = View(layout, Codes(layout, nothing), nothing)
    mean = np.zeros(8, np.float32)
    ranking = rank(view, Search(prepare(mean + 1, mean, "cosine"), 5), None, complete=True)
    assert (ranking.next_rows(0), ranking.examined, len(view)) == ([], 0, 0)


def test_more_rows_are_named_only_while_hits_are_missing(user: User) -> None:
    thresholds = user.head.facts.calibration
    ranking = rank(user.view(), user.query(user.vectors[7]), thresholds, complete=True)
    first = ranking.next_rows(0)
    assert first[0] == 7
    assert ranking.next_rows(len(first)) == []
    missing = replace(ranking, k=len(first) + 2)
    more = missing.next_rows(len(first))
    assert len(more) == 4
    assert not set(more) & set(first)


def test_where_the_rows_keep_much_out_more_of_them_are_looked_at(user: User) -> None:
    """Codes know the hour of a vector, and a filter may ask for a minute of it."""
    search = user.query(user.vectors[7])
    ranking = rank(user.view(), search, user.head.facts.calibration, complete=True)
    first = ranking.next_rows(0)
    more = ranking.next_rows(len(first) // 4)
    assert len(more) > len(first)
    assert not set(more) & set(first)


def test_cells_held_are_not_read_again(user: User) -> None:
    search = user.query(user.vectors[3])
    numbers = cells_to_read(user.head, search)
    assert numbers
    assert cells_to_read(user.head, search, held=numbers[1:]) == numbers[:1]
    assert cells_to_read(user.head, search, held=set(numbers)) == []


def test_a_rare_filter_reads_more_cells(user: User) -> None:
    search = user.query(user.vectors[3])
    few = len(cells_to_read(user.head, search))
    assert few <= len(cells_to_read(user.head, search, selectivity=0.1))
    assert len(cells_to_read(user.head, search, selectivity=1e-4)) == len(user.cells)


def test_expected_hits_add_up_to_the_hits_wanted(user: User) -> None:
    query = user.query(user.vectors[3]).query
    assert expected_hits(user.head.cells, query, 0.2, 10).sum() == pytest.approx(10, rel=0.05)
    everything = expected_hits(user.head.cells, query, 0.2, 10**6)
    assert everything.tolist() == user.head.cells.sizes.tolist()


# -- filters --------------------------------------------------------------------------------------


def test_filters_apply_before_the_best_are_chosen() -> None:
    made = stored(text_like(600))
    columns = (np.arange(600) % 5).astype(np.uint32)
    for part in (*made.cells, made.tail):
        tags = part["tag"]
        part["session"] = tags % 7
        part["about"] = columns[tags] << 29 | (1000 + tags) << 8
    filters: dict[str, tuple[Filter, Callable[[NDArray[np.intp]], NDArray[np.bool_]]]] = {
        "session": (Filter(session=3), lambda tags: tags % 7 == 3),
        "exclude": (Filter(exclude=3), lambda tags: tags % 7 != 3),
        "roles": (Filter(roles=frozenset({1, 4})), lambda tags: np.isin(tags % 5, [1, 4])),
        "time": (
            Filter(first_hour=1100, last_hour=1450),
            lambda tags: (tags >= 100) & (tags <= 450),
        ),
    }
    everyone = np.arange(600)
    for name, (chosen, passes) in filters.items():
        search = replace(made.query(made.vectors[8], 10, 1), chosen=chosen)
        view = made.view()
        ranking = rank(view, search, made.head.facts.calibration, complete=True)
        expected = int(passes(everyone).sum())
        assert ranking.examined == expected, name
        assert passes(np.array(ranking.next_rows(0)) & 0xFFFF_FFFF).all(), name
        assert view.share(chosen) == pytest.approx((expected + 1) / 601), name


def test_a_session_that_shares_its_code_with_the_excluded_one_is_still_found() -> None:
    made = stored(text_like(140), tail=10)
    search = replace(made.query(made.vectors[8]), chosen=Filter(exclude=0))
    assert len(made.rows(search, made.view())) >= 10


def test_expired_entries_are_left_out() -> None:
    made = stored(text_like(140), tail=10)
    made.tail["about"] = 100 << 8 | 1  # made in hour 100, for one hour
    search = replace(made.query(made.vectors[139]), chosen=Filter(now=103 * 3600))
    assert rank(made.view(), search, None, complete=True).examined == 130


# -- newest entries and rebuilds ------------------------------------------------------------------


def changed(made: User) -> Entries:
    """Return a tail: 5 replaced, 6 deleted, 7 written long ago and late, 8 deleted and back."""
    layout = made.layout
    rotated = rotation(DIMENSION).apply(made.vectors)

    def entry(tag: int, generation: int) -> Entries:
        one = entries_of(layout, rotated[tag : tag + 1], made.head.facts.mean, tag)
        one["generation"] = generation
        return one

    return np.concatenate(
        [
            entry(5, 2),
            layout.from_set([tombstone(6, 1)]),
            entry(7, 0),
            layout.from_set([tombstone(8, 1)]),
            entry(8, 3),
            entry(9, 1),
        ]
    )


def test_a_view_shows_the_newest_of_cells_and_tail() -> None:
    made = stored(text_like(200), tail=0)
    view = View(made.layout, made.view().cells, changed(made))
    tags = np.concatenate([view.cells.keys[view.alive], view.tail.keys])
    assert sorted(tags.tolist()) == [tag for tag in range(200) if tag != 6]
    assert sorted(view.tail.keys.tolist()) == [5, 8, 9]
    assert len(view) == 199


def test_a_vector_replaced_two_hundred_times_is_shown_as_it_was_last() -> None:
    made = stored(text_like(200), tail=0)
    tail = np.zeros(200, made.layout.dtype)
    tail["tag"] = 5
    tail["generation"] = np.arange(2, 202)
    view = View(made.layout, made.view().cells, tail)
    assert view.tail.generations.tolist() == [201]
    assert 5 not in view.cells.keys[view.alive]


def test_a_merge_copies_what_counts_and_nothing_else() -> None:
    made = stored(text_like(900), tail=0)
    tail = changed(made)
    cells = np.concatenate(made.cells)
    cells["about"][cells["tag"] == 20] = 100 << 8 | 1
    merged = rebuilding.merge(made.head, cells, tail, segment=9, now=10**6)
    again = np.concatenate([made.layout.from_bytes(cell) for cell in merged.cells])
    assert sorted(again["tag"].tolist()) == [tag for tag in range(900) if tag not in {6, 20}]
    kept = newest(np.concatenate([cells, tail]))
    kept = kept[kept["tag"] != 20]
    assert sorted(map(bytes, again)) == sorted(map(bytes, kept))
    assert not are_dead(again["about"]).any()
    facts = decode_head(merged.head, made.layout).facts
    assert (facts.epoch, facts.version, facts.segment, facts.count) == (2, 1, 9, 898)
    assert facts.encoded == 900
    assert facts.calibration == made.head.facts.calibration
    np.testing.assert_array_equal(facts.mean, made.head.facts.mean)


def test_a_merge_may_leave_nothing() -> None:
    made = stored(text_like(130), tail=0)
    cells = np.concatenate(made.cells)
    cells["about"] = 100 << 8 | 1
    merged = rebuilding.merge(made.head, cells, cells[:0], segment=1, now=10**6)
    head = decode_head(merged.head, made.layout)
    assert (merged.count, merged.cells, head.facts.flat) == (0, (b"",), True)


def test_encoding_again_renews_version_and_keeps_generations() -> None:
    made = stored(text_like(300), tail=0)
    known = np.concatenate(made.cells)
    known["generation"] = 5
    rotated = rotation(DIMENSION).apply(made.vectors[known["tag"]])
    again = rebuilding.encode_all(made.layout, rotated, known, made.head, version=2, segment=4)
    facts = decode_head(again.head, made.layout).facts
    assert (facts.epoch, facts.version, facts.segment, facts.encoded) == (2, 2, 4, 300)
    entries = np.concatenate([made.layout.from_bytes(cell) for cell in again.cells])
    assert set(entries["generation"].tolist()) == {5}


def test_a_far_cell_is_not_missed_and_the_nearest_is() -> None:
    """Rows are read as when all codes are here where no hit is to be expected among the others."""
    user = stored(text_like(3000))
    search = user.query(text_like(1, seed=7)[0])
    hits = expected_hits(user.head.cells, search.query, user.head.facts.calibration.alpha, 10)
    all_cells = set(range(len(hits)))
    assert holds_enough(user.head, search, all_cells)
    assert holds_enough(user.head, search, all_cells - {int(hits.argmin())})
    assert not holds_enough(user.head, search, all_cells - {int(hits.argmax())})
    assert not holds_enough(user.head, search, ())


def test_one_vector_can_be_encoded() -> None:
    layout = EntryFormat(DIMENSION, "cosine")
    known = np.zeros(1, layout.dtype)
    made = rebuilding.encode_all(layout, text_like(1), known, None, version=1, segment=0)
    assert (made.count, len(made.cells)) == (1, 1)


def test_rebuilds_are_due_by_the_size_of_the_tail() -> None:
    layout = EntryFormat(384, "cosine")
    assert rebuilding.due(None, layout, 127) is None
    assert rebuilding.due(None, layout, 128) == "encode"
    made = stored(text_like(5000, dimension=8), tail=0)
    limit = rebuilding.tail_limit(layout, 5000)
    assert rebuilding.due(made.head, layout, limit - 1) is None
    assert rebuilding.due(made.head, layout, limit) == "merge"
    assert rebuilding.due(made.head, layout, 2500) == "encode"
    assert rebuilding.tail_limit(layout, 100) == rebuilding.MIN_TAIL


def test_sets_far_larger_than_any_measured_have_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_LARGE", 4)
    made = stored(text_like(600))
    assert made.head.facts.calibration.delta > 0
    assert recall(made, text_like(20, seed=1)) >= 0.94


def test_the_smaller_a_set_the_wider_the_margin() -> None:
    found = [margin(count) for count in (10, 300, 1000, 15_000)]
    assert found == sorted(found, reverse=True)
    assert found[0] <= 1.6
    assert margin(60_000) > margin(15_000)


def test_few_vectors_each_many_times_are_found_as_a_small_set_is() -> None:
    made = stored(np.tile(text_like(60), (20, 1)))
    assert recall(made, text_like(300, seed=1)) >= 0.935


def test_where_rounding_moves_the_nearest_codes_lose_less(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, centres = np.random.default_rng(6), uniform(4, seed=5)
    vectors = unit(centres[rng.integers(4, size=1000)] + 0.02 * uniform(1000))
    rounded = unit(decode(VectorCodec().encode(vectors), DIMENSION))
    known, plain = (stored(one).head.facts.calibration for one in (rounded, vectors))
    monkeypatch.setattr(calibration, "LEVELS", 126.5)  # then nothing seems to be rounded
    unknown, same = (stored(one).head.facts.calibration for one in (rounded, vectors))
    assert known.delta_of_all > 1.1 * unknown.delta_of_all
    assert plain == same


def test_vectors_of_zeros_have_thresholds() -> None:
    made = stored(np.zeros((200, DIMENSION), np.float32), "dot")
    assert len(made.rows(made.query(uniform(1)[0]))) >= 10


def test_codes_of_ten_thousand_vectors_take_less_than_a_megabyte() -> None:
    for metric, most in (("cosine", 80), ("dot", 80), ("euclidean", 80)):
        layout = EntryFormat(384, metric)
        assert Codes(layout, np.zeros(1000, layout.dtype)).nbytes <= 1000 * most
