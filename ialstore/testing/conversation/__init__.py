"""``ConversationStoreSuite``: the contract of conversation stores, as tests of any store."""

from ialstore.testing.conversation.appending import Appending
from ialstore.testing.conversation.calls import Calls
from ialstore.testing.conversation.claims import Claims
from ialstore.testing.conversation.cursors import Cursors
from ialstore.testing.conversation.expiry import Expiry
from ialstore.testing.conversation.faults import Failures
from ialstore.testing.conversation.freshness import Freshness
from ialstore.testing.conversation.life import Life
from ialstore.testing.conversation.loading import Loading
from ialstore.testing.conversation.machine import Machine
from ialstore.testing.conversation.paging import Paging
from ialstore.testing.conversation.reading import Reading
from ialstore.testing.conversation.refusals import Refusals
from ialstore.testing.conversation.removing import Removing
from ialstore.testing.conversation.replacing import Replacing
from ialstore.testing.conversation.sessions import Sessions
from ialstore.testing.conversation.tenants import Tenants
from ialstore.testing.conversation.threads import Threads
from ialstore.testing.conversation.values import Values

__all__ = ["ConversationStoreSuite"]


class ConversationStoreSuite(  # pytest begins with the last
    Machine,
    Appending,
    Calls,
    Claims,
    Cursors,
    Expiry,
    Failures,
    Freshness,
    Life,
    Loading,
    Paging,
    Reading,
    Refusals,
    Removing,
    Replacing,
    Sessions,
    Tenants,
    Threads,
    Values,
):
    """Inherit from it and define the fixture ``make_store``; see ``ialstore.testing``."""
