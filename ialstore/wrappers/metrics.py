"""``metrics``: hands the event of every call to logging, Prometheus or OpenTelemetry.

It may stand anywhere among the wrappers: each call is told once, as its caller saw it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ialstore.errors import InvalidInputError
from ialstore.exporters import EXPORTERS, make_exporter
from ialstore.url import closest
from ialstore.wrappers.base import ConversationWrapper, VectorWrapper

if TYPE_CHECKING:
    from ialstore.component import Component
    from ialstore.conversation import ConversationStore
    from ialstore.vector import VectorIndex

__all__ = ["MetricsConversationStore", "MetricsOptions", "MetricsVectorIndex"]


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """Where events go.

    Attributes:
        to: ``logging``, ``prometheus`` or ``opentelemetry``, or several of them.
        slow_seconds: from which on ``logging`` logs a call at INFO rather than DEBUG.
    """

    to: str | tuple[str, ...] = "logging"
    slow_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not self.to:
            raise InvalidInputError(f"to names no exporter{closest('', EXPORTERS)}")
        for name in self.names():
            if name not in EXPORTERS:
                raise InvalidInputError(
                    f"to: there is no exporter {name}{closest(name, EXPORTERS)}"
                )
        if not self.slow_seconds >= 0:
            raise InvalidInputError("slow_seconds must not be negative")

    def names(self) -> tuple[str, ...]:
        """Return the exporters, each once."""
        names = (self.to,) if isinstance(self.to, str) else self.to
        return tuple(dict.fromkeys(names))


def _subscribe(component: Component, options: MetricsOptions | None) -> None:
    options = options or MetricsOptions()
    for name in options.names():
        component.subscribe(make_exporter(name, slow_seconds=options.slow_seconds))


class MetricsConversationStore(ConversationWrapper):
    """A conversation store whose calls are counted and timed."""

    NAME: ClassVar[str] = "metrics"
    OPTIONS: ClassVar[type[Any] | None] = MetricsOptions

    def __init__(self, inner: ConversationStore, options: MetricsOptions | None = None) -> None:
        super().__init__(inner)
        _subscribe(self, options)


class MetricsVectorIndex(VectorWrapper):
    """A vector index whose calls are counted and timed."""

    NAME: ClassVar[str] = "metrics"
    OPTIONS: ClassVar[type[Any] | None] = MetricsOptions

    def __init__(self, inner: VectorIndex, options: MetricsOptions | None = None) -> None:
        super().__init__(inner)
        _subscribe(self, options)
