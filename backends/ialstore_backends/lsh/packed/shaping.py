"""Bits chosen to make the error of estimates small where queries fall. Only writers know.

Plain sign bits make every direction equally wrong. Queries fall where vectors are, so the error
``e = y - f b`` is weighted with ``H = C + 0.2 I``, C the covariance scaled to trace d, and along
the vector itself: ``J = e.H e + 10 (g.e)^2`` with g = y / |y|. Starting from the signs, the bit
whose flip lowers J most is flipped until none does. Readers see no difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore_backends.lsh.packed.entries import sign_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["MAX_SHAPED_DIMENSION", "shaped_bits", "weights"]

MAX_SHAPED_DIMENSION: Final = 1536  # the weights are a matrix: 9 MB of float32 at this dimension
_ISOTROPIC: Final = 0.2
_ALONG: Final = 10.0
_ROUNDS: Final = 3
_BLOCK: Final = 512
_ROUNDING: Final = 1e-6  # a smaller gain is none


def weights(residuals: Floats) -> Floats | None:
    """Return the weights of errors, shape (d, d), learned from rotated residuals.

    None when nothing can be learned (all vectors are equal) or d is too large.
    """
    count, dimension = residuals.shape
    if dimension > MAX_SHAPED_DIMENSION:
        return None
    covariance: Floats = residuals.T @ residuals / np.float32(max(count, 1))
    trace = float(np.trace(covariance))
    if not 0 < trace < np.inf:
        return None
    covariance *= np.float32(dimension / trace)
    covariance[np.diag_indices(dimension)] += np.float32(_ISOTROPIC)
    return covariance


def shaped_bits(residuals: Floats, weight: Floats | None) -> Floats:
    """Return bits as -1 and 1 for rotated residuals, shape (n, d); plain ones without weights."""
    signs = sign_bits(residuals)
    if weight is not None:
        for start in range(0, len(signs), _BLOCK):
            block = slice(start, start + _BLOCK)
            _shape(residuals[block], weight, signs[block])
    return signs


def _shape(residuals: Floats, weight: Floats, signs: Floats) -> None:
    """Flip bits of a block in place."""
    lengths = np.sqrt(np.square(residuals).sum(axis=1, keepdims=True))
    lengths = np.maximum(lengths, np.finfo(np.float32).tiny)
    along = residuals / lengths
    wanted = along @ weight + np.float32(_ALONG) * along  # for vectors of length 1
    for _ in range(_ROUNDS):
        weighted = signs @ weight
        share = (signs * along).sum(axis=1, keepdims=True)
        squares = (signs * weighted).sum(axis=1, keepdims=True) + _ALONG * share * share
        factors = (signs * wanted).sum(axis=1, keepdims=True) / squares
        gradient = wanted - factors * (weighted + _ALONG * share * along)
        curvature = factors * (np.diag(weight) + _ALONG * along * along)
        if not _flip(signs, _Slope(gradient, curvature, factors, along, weight)):
            return


@dataclass(frozen=True, slots=True, eq=False)
class _Slope:
    """How the error changes with bits: by ``sign * gradient + curvature`` when one is flipped."""

    gradient: Floats
    curvature: Floats
    factors: Floats
    along: Floats
    weight: Floats


def _flip(signs: Floats, slope: _Slope) -> bool:
    """Flip, bit by bit, what lowers the error at fixed factors; return whether anything did."""
    rows = np.arange(len(signs))
    along = slope.along
    before = signs.copy()
    for _ in range(signs.shape[1]):  # pragma: no branch - nobody has every bit flipped
        change = signs[rows] * slope.gradient[rows] + slope.curvature[rows]
        bits = change.argmin(axis=1)
        better = change[np.arange(len(rows)), bits] < -_ROUNDING
        if not better.any():
            break
        rows, bits = rows[better], bits[better]
        step = -2 * signs[rows, bits]
        signs[rows, bits] += step
        moved = step[:, None] * slope.weight[bits]
        moved += (_ALONG * step * along[rows, bits])[:, None] * along[rows]
        slope.gradient[rows] -= slope.factors[rows] * moved
    return bool((signs != before).any())
