"""What a store or an index can do: one frozen value per kind, booleans and limits.

Code asks these values and nothing else; nobody asks for a class or whether a method is overridden.
A wrapper returns its inner store's value, changed by ``dataclasses.replace``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["Capabilities", "ConversationCapabilities", "VectorCapabilities"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What both kinds of store say of themselves."""

    strong_reads: bool = True
    """``Consistency.STRONG`` is offered; it is then the default."""
    durable: bool = False
    """What was acknowledged survives the end of the process and a loss of power."""
    needs_setup: bool = False
    """Nothing is created unless ``setup()`` is called."""
    writable: bool = True
    """Writes are accepted."""
    users: bool = False
    """``users()`` is offered."""
    multi_process: bool = False
    """Several processes may use the same store at once."""
    stale_after_crash_seconds: float = 0.0
    """For how long a read may miss a write whose writer crashed half-way (caches)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationCapabilities(Capabilities):
    """What a ``ConversationStore`` says of itself."""

    atomic_append: bool = False
    """A failed batch stores nothing."""
    exact_sessions: bool = False
    """``sessions()`` lists exactly the sessions that have a live message."""
    activity_precision: timedelta = timedelta(0)
    """How far ``SessionInfo.last_active`` may lie behind the newest message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorCapabilities(Capabilities):
    """What a ``VectorIndex`` says of itself."""

    exact: bool = False
    """Every search returns the true nearest vectors."""
    min_recall: float = 1.0
    """Mean recall at the default effort that the index stands for, 0 to 1."""
    max_k: int = 1000
    """Largest ``k`` of a search; at least 100."""
    vector_error: float = 0.0
    """Largest relative Euclidean distance of a returned vector from the one given."""
    settling_seconds: float = 0.0
    """For so long after a write searches of the same user cost more."""
    metrics: frozenset[str] = frozenset({"cosine", "dot", "euclidean"})
    """Metrics offered."""
