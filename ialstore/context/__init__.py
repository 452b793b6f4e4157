"""The context engine: what was said and what it recalls, inside a budget of tokens.

``ContextEngine`` is the face of it; the other modules are its parts, one to a file.
"""

from ialstore.context.budget import ContextBudget
from ialstore.context.engine import ContextEngine
from ialstore.context.model import (
    Context,
    DeleteReport,
    FoundMessage,
    LeftOut,
    LeftOutReason,
    Memory,
    RepairReport,
    Timings,
)
from ialstore.context.opening import open_engine
from ialstore.context.tokens import TokenCounter, estimate_tokens

__all__ = [
    "Context",
    "ContextBudget",
    "ContextEngine",
    "DeleteReport",
    "FoundMessage",
    "LeftOut",
    "LeftOutReason",
    "Memory",
    "RepairReport",
    "Timings",
    "TokenCounter",
    "estimate_tokens",
    "open_engine",
]
