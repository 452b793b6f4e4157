"""The rotation keeps lengths and angles, can be undone, and is the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from ialstore_backends.lsh.packed.rotation import Rotation, rotation

DIMENSIONS = (1, 2, 3, 5, 24, 100, 384, 1000, 4096)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_rotation_keeps_products_and_can_be_undone(dimension: int) -> None:
    vectors = np.random.default_rng(1).standard_normal((7, dimension)).astype(np.float32)
    turned = rotation(dimension).apply(vectors)
    scale = float(np.square(vectors).sum(axis=1).max())
    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-5 * scale)
    np.testing.assert_allclose(rotation(dimension).undo(turned), vectors, atol=1e-5 * scale**0.5)


def test_one_vector_is_rotated_as_a_row_of_many() -> None:
    vectors = np.random.default_rng(2).standard_normal((3, 48)).astype(np.float32)
    before = vectors.copy()
    turned = rotation(48).apply(vectors)
    np.testing.assert_allclose(rotation(48).apply(vectors[1]), turned[1], atol=1e-6)
    np.testing.assert_array_equal(vectors, before)


def test_the_rotation_is_the_one_that_stored_codes_were_made_with() -> None:
    # The permanent values: with others, no code in any table would mean anything.
    first = np.eye(5, dtype=np.float32)[0]
    expected = [-0.125, -0.3125, -0.3125, 0.5625, -0.6875]
    np.testing.assert_allclose(rotation(5).apply(first), expected, atol=1e-6)


def test_no_coordinate_keeps_more_than_a_small_part_of_itself() -> None:
    turned = rotation(384).apply(np.eye(384, dtype=np.float32))
    assert np.abs(turned).max() < 0.35, "one coordinate dominates a rotated unit vector"


def test_a_rotation_holds_kilobytes_and_not_a_matrix() -> None:
    made = Rotation(384)
    held = sum(value.nbytes for value in vars(made).values() if isinstance(value, np.ndarray))
    assert held < 25_000
