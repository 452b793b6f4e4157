"""``VectorIndexSuite``: the contract of vector indexes, as tests of any index."""

from ialstore.testing.vector.base import VectorSuiteBase

__all__ = ["VectorIndexSuite"]


class VectorIndexSuite(VectorSuiteBase):
    """Inherit from it and define the fixture ``make_index``; see ``VectorSuiteBase``."""
