"""Code entries: what is stored comes back, estimates are without bias, the newest counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ialstore import CorruptError, Role, message_id
from ialstore.ids import HIGHEST_ID, LOWEST_ID
from ialstore_backends.lsh.packed import entries as lib
from ialstore_backends.lsh.packed.codes import Codes, _counts_by_table, bit_counts, prepare
from ialstore_backends.lsh.packed.rotation import rotation
from ialstore_backends.lsh.packed.shaping import shaped_bits, weights

Floats = NDArray[np.float32]
METRICS = ("cosine", "dot", "euclidean")
START = datetime(2026, 11, 22, 18, 55, tzinfo=UTC)


def unit(vectors: NDArray[np.floating]) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def vectors_of(dimension: int, count: int, metric: str, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((count, dimension)) + 0.3
    if metric == "cosine":
        return unit(made)
    return (made * rng.uniform(0.5, 2, (count, 1))).astype(np.float32)


def true_ranks(vectors: Floats, query: Floats, mean: Floats, metric: str) -> NDArray[np.float64]:
    """Return the exact values that estimates stand for."""
    wide, wanted = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "dot":
        return np.asarray(wide @ wanted / np.linalg.norm(wanted))
    own = np.linalg.norm(rotation(len(query)).apply(query) - mean)
    return np.asarray((own**2 - np.square(wide - wanted).sum(axis=1)) / own)


def known_tags(layout: lib.EntryFormat, count: int) -> lib.Entries:
    known = np.zeros(count, layout.dtype)
    known["tag"] = np.arange(count)
    return known


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 3, 8, 65, 384])
def test_entries_come_back_from_their_bytes(dimension: int, metric: str) -> None:
    layout = lib.EntryFormat(dimension, metric)
    residuals = vectors_of(dimension, 9, metric)
    entries = layout.encode(residuals, lib.sign_bits(residuals), known_tags(layout, 9))
    again = layout.from_bytes(entries.tobytes())
    np.testing.assert_array_equal(again, entries)
    np.testing.assert_array_equal(layout.signs(again), lib.sign_bits(residuals))
    assert len(entries.tobytes()) == 9 * layout.nbytes


def test_an_entry_of_384_dimensions_takes_64_bytes() -> None:
    assert lib.EntryFormat(384, "cosine").nbytes == 64


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("is_shaped", [False, True])
def test_estimates_are_near_and_without_bias(metric: str, is_shaped: bool) -> None:  # noqa: FBT001 - a parameter
    layout = lib.EntryFormat(128, metric)
    vectors = vectors_of(128, 2000, metric)
    turned = rotation(128).apply(vectors)
    mean = turned.mean(axis=0)
    residuals = turned - mean
    signs = shaped_bits(residuals, weights(residuals) if is_shaped else None)
    codes = Codes(layout, layout.encode(residuals, signs))
    errors = []
    for query in vectors_of(128, 20, metric, seed=1):
        made = prepare(query, mean, metric)
        errors.append(codes.estimates(made) - true_ranks(vectors, query, mean, metric))
    spread = float(np.std(np.linalg.norm(residuals, axis=1))) + float(
        np.linalg.norm(residuals, axis=1).mean()
    )
    found = np.concatenate(errors) / spread / (1 if metric == "dot" else 2)
    assert abs(float(found.mean())) < 0.005, "estimates lean to one side"
    assert float(found.std()) < 0.1, "estimates are far from the truth"


@pytest.mark.parametrize("wanted", [0, 1, 300])
def test_codes_are_found_by_their_keys(wanted: int) -> None:
    rng = np.random.default_rng(5)
    layout = lib.EntryFormat(8, "cosine")
    entries = np.zeros(2000, layout.dtype)
    # Few tags that differ in their last bits, and few hours: many keys are nearly others.
    entries["tag"] = rng.integers(0, 30, 2000) << 16 | rng.integers(0, 30, 2000)
    entries["about"] = rng.integers(0, 3, 2000) << 8
    keys = lib.keys_of(entries)
    some = np.concatenate([rng.choice(keys, wanted), rng.choice(keys, wanted) + np.uint64(1 << 16)])
    found = Codes(layout, entries).places_of(some)
    assert found.tolist() == np.flatnonzero(np.isin(keys, some)).tolist()


def test_shaped_bits_estimate_better_where_queries_fall() -> None:
    rng = np.random.default_rng(3)
    vectors = unit(rng.standard_normal((1500, 12)) @ rng.standard_normal((12, 96)))
    turned = rotation(96).apply(vectors)
    mean = turned.mean(axis=0)
    residuals = turned - mean
    errors = []
    for weight in (None, weights(residuals)):
        layout = lib.EntryFormat(96, "cosine")
        decoded = layout.decode(layout.encode(residuals, shaped_bits(residuals, weight)))
        errors.append(float(((decoded - residuals) @ turned[:50].T).std()))
    assert errors[1] < 0.8 * errors[0]


def test_there_are_no_weights_where_nothing_can_be_learned() -> None:
    assert weights(np.zeros((5, 8), np.float32)) is None
    assert weights(np.ones((2, 1537), np.float32)) is None


def test_equal_vectors_are_encoded_without_a_residual() -> None:
    layout = lib.EntryFormat(16, "cosine")
    nothing = np.zeros((3, 16), np.float32)
    entries = layout.encode(nothing, shaped_bits(nothing, np.eye(16, dtype=np.float32)))
    np.testing.assert_array_equal(layout.decode(entries), nothing)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=9))
def test_bits_are_counted_alike_with_and_without_a_function_of_numpy(words: list[int]) -> None:
    array = np.array(words, np.uint64)
    expected = [word.bit_count() for word in words]
    assert _counts_by_table(array).tolist() == expected == bit_counts(array).tolist()


@given(st.floats(1e-30, 1e30))
def test_magnitudes_keep_three_thousandths(value: float) -> None:
    array = np.array([value, 0], np.float32)
    again = lib.decode_magnitudes(lib.encode_magnitudes(array))
    assert again[0] == pytest.approx(value, rel=0.003)
    assert again[1] == 0


@pytest.mark.parametrize("length", [1, 63, 65])
def test_a_cell_of_another_length_is_corrupt(length: int) -> None:
    with pytest.raises(CorruptError):
        lib.EntryFormat(384, "cosine").from_bytes(bytes(length))


def test_a_segment_with_an_element_of_another_length_is_corrupt() -> None:
    with pytest.raises(CorruptError):
        lib.EntryFormat(384, "cosine").from_set([bytes(64), bytes(60)])


# -- generations ----------------------------------------------------------------------------------

LAYOUT = lib.EntryFormat(8, "cosine")


def segment(*events: tuple[int, int, bool]) -> lib.Entries:
    """Return a tail of (tag, generation, whether it is a tombstone)."""
    parts = []
    for tag, generation, is_dead in events:
        row = np.zeros(1, LAYOUT.dtype)
        row["tag"], row["generation"] = tag, generation
        element = lib.tombstone(tag, generation) if is_dead else row.tobytes()
        parts.append(LAYOUT.from_set([element]))
    return np.concatenate(parts) if parts else np.zeros(0, LAYOUT.dtype)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30), st.randoms())
def test_the_last_event_of_each_tag_counts_in_whatever_order_a_set_returns_them(
    calls: list[tuple[int, bool]], random: object
) -> None:
    model: dict[int, int] = {}
    counters: dict[int, int] = dict.fromkeys(range(4), 250)
    events: list[tuple[int, int, bool]] = []
    for tag, is_delete in calls:
        counters[tag] += 1
        if is_delete:
            model.pop(tag, None)
            events.append((tag, counters[tag] - 1, True))
        else:
            model[tag] = counters[tag]
            events.append((tag, counters[tag], False))
    random.shuffle(events)  # type: ignore[attr-defined]
    found = lib.newest(segment(*events))
    assert dict(zip(found["tag"].tolist(), found["generation"].tolist(), strict=True)) == model


def test_five_hundred_generations_of_one_tag_are_told_apart() -> None:
    found = lib.newest(segment(*((7, number, False) for number in range(500))))
    assert found["generation"].tolist() == [499]


def test_nothing_counts_of_no_entries() -> None:
    assert len(lib.newest(segment())) == 0


def test_keys_of_one_tag_differ_by_the_hour() -> None:
    """What has the same tag within one user lies in another hour, and is another vector."""
    first, second = LAYOUT.from_set([lib.tombstone(hour << 32 | 7, 1) for hour in (3, 4)])
    assert lib.keys_of(np.array([first, second])).tolist() == [3 << 32 | 7, 4 << 32 | 7]
    assert len(lib.winners(np.array([first, second]))) == 2


# -- what filters need ----------------------------------------------------------------------------


def test_hours_roles_and_lives_come_back() -> None:
    made = message_id("u", "s", START, "tool", "k")
    expires = int(START.timestamp()) + 30 * 86400
    column = np.array([lib.about(made, Role.TOOL, expires)], np.uint32)
    assert lib.role_codes(column).tolist() == [4]
    assert lib.hours(column).tolist() == [int(START.timestamp()) // 3600]
    assert not lib.are_expired(column, expires - 1).any(), "a live entry was left out"
    assert lib.are_expired(column, expires + 3 * 86400).all(), "a tenth of its life too late"


@given(st.integers(0, 10**10), st.integers(-(10**6), 4 * 10**9))
def test_no_entry_is_expired_before_its_time(created: int, life: int) -> None:
    at = datetime.fromtimestamp(created, UTC)
    made = message_id("u", "s", at, "user", "k")
    expires = created + life
    column = np.array([lib.about(made, Role.USER, expires)], np.uint32)
    assert not lib.are_expired(column, expires - 1).any()


def test_what_never_expires_is_never_expired() -> None:
    made = message_id("u", "s", START, "user", "k")
    column = np.array([lib.about(made, Role.USER, None)], np.uint32)
    assert not lib.are_expired(column, 2**40).any()


def test_bounds_of_ids_have_an_hour() -> None:
    assert lib.hour_of(LOWEST_ID) == 0
    assert lib.hour_of(HIGHEST_ID) == lib.LAST_HOUR
    later = message_id("u", "s", START + timedelta(hours=2), "user", "k")
    assert lib.hour_of(later) == int(START.timestamp()) // 3600 + 2


def test_tags_and_sessions_have_permanent_codes() -> None:
    assert lib.tag_of(LOWEST_ID) != lib.tag_of(LOWEST_ID, salt=1)
    assert (lib.tag_of(LOWEST_ID), lib.session_code("s1")) == (3197992937, 48360)
    assert lib.key_of(HIGHEST_ID) == lib.LAST_HOUR << 32 | lib.tag_of(HIGHEST_ID)
