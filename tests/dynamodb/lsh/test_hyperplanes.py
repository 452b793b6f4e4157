"""Codes are the same for ever, cells are ranges of them, and the chances of cells are true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore.testing.profiles import profile
from ialstore_backends.lsh.hyperplanes import CELLS, Probing, codes, hash_range, home, runs

CODES = ["1655", "1ca2", "3531", "c42e"]
X = np.eye(1, 24, dtype=np.float32)[0]


def test_codes_are_the_same_for_ever() -> None:
    """They are stored: a change would lose what was written before."""
    rows = np.random.RandomState(1).standard_normal((4, 384)).astype(np.float32)
    assert codes(rows) == CODES
    assert codes(rows * np.float32(1e-30)) == CODES


@given(st.integers(0, CELLS - 1), st.integers(1, CELLS))
def test_a_run_of_cells_is_a_range_of_codes(first: int, width: int) -> None:
    """Every code lies in the range of its cell, and in no other."""
    end = min(first + width, CELLS)
    low, high = hash_range((first, end))
    assert len(low) == len(high) == 4
    inside = [f"{code:04x}" for code in range(1 << 16) if low <= f"{code:04x}" <= high]
    assert (inside[0], inside[-1], len(inside)) == (low, high, (end - first) * 1024)


def test_all_cells_are_all_codes() -> None:
    assert hash_range((0, CELLS)) == ("0000", "ffff")


def test_a_vector_lies_in_its_home() -> None:
    for row in np.random.default_rng(2).standard_normal((50, 24)).astype(np.float32):
        ((first, end),) = home(row)
        low, high = hash_range((first, end))
        assert low <= codes(row[None])[0] <= high
        assert end - first == CELLS // 8


@pytest.mark.parametrize(
    ("gap", "expected"),
    [(0, [(1, 2), (4, 5), (9, 10)]), (2, [(1, 5), (9, 10)]), (CELLS, [(1, 10)])],
)
def test_runs_pass_over_what_is_read_and_close_small_gaps(
    gap: float, expected: list[tuple[int, int]]
) -> None:
    wanted, read = np.zeros((2, CELLS), bool)
    wanted[[1, 4, 9, 20]] = True
    read[20] = True
    assert runs(wanted, read, gap) == expected


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("nearness", [0.2, 0.5, 0.9])
def test_the_share_of_neighbours_in_the_wanted_cells_is_what_was_asked(
    metric: str, nearness: float
) -> None:
    """V6: neighbours at one angle in random directions; the mean over many queries."""
    rng = np.random.default_rng(3)
    found: list[float] = []
    for _ in range(40):
        query = rng.standard_normal(256)
        query /= np.linalg.norm(query)
        aside = rng.standard_normal((200, 256))
        aside -= (aside @ query)[:, None] * query
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        near = nearness * query + np.sqrt(1 - nearness**2) * aside
        score = -np.sqrt(2 - 2 * nearness) if metric == "euclidean" else nearness
        cells, chance = Probing(query.astype(np.float32), metric).wanted([score], (1.0, 1.0), 0.8)
        assert chance.sum() == pytest.approx(1)
        assert chance[cells].sum() >= 0.8
        where = [int(code, 16) >> 10 for code in codes(near.astype(np.float32))]
        found.append(float(np.mean(cells[where])) / float(chance[cells].sum()))
    assert np.mean(found) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
@pytest.mark.parametrize("distance", [0.3, 1.0, 1.7])
def test_the_widest_angle_of_a_score_is_taken(metric: str, distance: float) -> None:
    """V6: so that vectors of no length lie in cells that were left out."""
    rng = np.random.default_rng(4)
    query = rng.standard_normal(24)
    query /= np.linalg.norm(query)
    score = 1 - distance if metric == "dot" else -distance
    slope = Probing(query.astype(np.float32), metric)._slope(score, 0.5, 2.0)  # noqa: SLF001 - the bound
    for length in np.linspace(0.5, 2, 50):
        cosine = (length**2 + 1 - distance**2) / 2 / length
        if metric == "dot":
            cosine = score / length
        if abs(cosine) < 1:
            assert cosine / np.sqrt(1 - cosine**2) >= slope - 1e-6


@profile().property()
@given(
    score=st.floats(-1e30, 0) | st.floats(-1, 1),
    lengths=st.tuples(st.floats(0, 1e38), st.floats(0, 1e38)),
    length=st.sampled_from([0, 1e-38, 1, 1e38]),
    metric=st.sampled_from(["cosine", "dot", "euclidean"]),
    share=st.floats(0, 1),
)
def test_any_score_has_its_cells(
    score: float, lengths: tuple[float, float], length: float, metric: str, share: float
) -> None:
    """D1: a query of length zero, and scores at and beyond the ends."""
    if metric == "euclidean":
        score = -abs(score)
    ends = min(lengths), max(lengths)
    probing = Probing(X * np.float32(length), metric)
    cells, chance = probing.wanted([score, score], ends, share)
    assert cells.any()
    assert np.isfinite(chance).all()
    fewer, _ = probing.wanted([score, score], ends, share / 2)
    assert not (fewer & ~cells).any()
