"""``ConversationStoreSuite``: the contract of conversation stores, as tests of any store."""

from ialstore.testing.conversation.base import ConversationSuiteBase

__all__ = ["ConversationStoreSuite"]


class ConversationStoreSuite(ConversationSuiteBase):
    """Inherit from it and define the fixture ``make_store``; see ``ialstore.testing``."""
