"""The spec that the suite of vector indexes opens an index for."""

from __future__ import annotations

from typing import Final

from ialstore.vector_model import IndexSpec

__all__ = ["DIMENSION", "MODEL", "spec_of"]

DIMENSION: Final = 24
MODEL: Final = "kit"


def spec_of(metric: str) -> IndexSpec:
    """Return the spec that the suite opens an index for."""
    return IndexSpec(DIMENSION, metric, MODEL)
