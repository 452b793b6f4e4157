"""The kit for what stands before a store or an index that is tested in full elsewhere."""

from __future__ import annotations

from ialstore.testing import ConversationStoreSuite, VectorIndexSuite

__all__ = ["BriefIndexSuite", "BriefStoreSuite"]


class BriefStoreSuite(ConversationStoreSuite):
    """All tests, and a few runs of the state machine."""

    MACHINE_SHARE = 1 / 8


class BriefIndexSuite(VectorIndexSuite):
    """All tests, and a few runs of the state machine."""

    MACHINE_SHARE = 1 / 8
