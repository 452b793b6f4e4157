"""One ``OperationEvent`` per public call of a store or an index, for those who subscribe.

Exporters (logging, metrics, traces) are subscribers. No event holds a secret, an id of a user or
any content.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ialstore.cost import Units

__all__ = ["Listener", "OperationEvent", "Subscribers", "subscribe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationEvent:
    """What one public call did."""

    kind: str
    """``conversation`` or ``vector``."""
    backend: str
    """URL scheme of the store."""
    operation: str
    """Name of the public method."""
    seconds: float
    """Wall time of the call."""
    units: Units
    consistency: str | None
    """``strong`` or ``eventual`` for reads."""
    items: int | None
    """Messages, ids or hits returned or written; None where it does not apply."""
    error: str | None
    """Class of the error that was raised."""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the backend adds: the plan, units per partition, cache hits and misses."""
    round_trips: int = 0
    """Requests that were made one after another; those made side by side count once."""


Listener = Callable[[OperationEvent], None]


class Subscribers:
    """A list of listeners that threads may change while events are emitted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.listeners: Mapping[object, Listener] = {}
        """Never changed, only replaced."""

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every event from now on; returns the function that ends it."""
        this = object()  # the same listener may subscribe twice

        def unsubscribe() -> None:
            with self._lock:
                self.listeners = {
                    one: other for one, other in self.listeners.items() if one is not this
                }

        with self._lock:
            self.listeners = {**self.listeners, this: listener}
        return unsubscribe

    def emit(self, event: OperationEvent) -> None:
        """Hand the event to every listener; one that raises is logged and harms nobody."""
        for listener in self.listeners.values():
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - a listener must never break a call
                import logging  # slow to import, and rarely needed

                logging.getLogger("ialstore").warning(
                    "a listener of ialstore events raised %s", type(error).__name__
                )


everyone = Subscribers()
"""Listeners of every store and index of the process."""

subscribe = everyone.subscribe
