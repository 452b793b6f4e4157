"""What is to be priced: stores and indexes by URL, how they are paid, and a cache before them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from ialstore.costing.bill import Bill, Billing, make_bill
from ialstore.errors import ConfigurationError, InvalidInputError
from ialstore.estimate import Estimate
from ialstore.registry import find

if TYPE_CHECKING:
    from ialstore.estimate import Choice, Workload
    from ialstore.prices import Prices
    from ialstore.url import StoreURL

__all__ = ["Cache", "Configuration", "Part", "Pricer"]

_CACHED_MESSAGES: Final = 50
"""Of each user, as the ``cache`` wrapper keeps them."""
_CACHED_OVERHEAD: Final = 400
"""Bytes beside the text of a cached message, about."""
_USABLE: Final = 0.75
"""Of a machine's memory: the rest is kept for the service, or for the system and the program."""
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Part:
    """A store or an index.

    Attributes:
        kind: ``conversation`` or ``vector``.
        url: of it.
    """

    kind: str
    url: StoreURL

    @property
    def backend(self) -> type[Any]:
        """The class that answers to the URL."""
        return find(self.kind, self.url.scheme)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The options that change what it costs."""
        choices: tuple[Choice, ...] = self.backend.COST_CHOICES
        return choices

    def has_option(self, option: str) -> bool:
        """Return whether the backend takes an option."""
        options = self.backend.OPTIONS
        return options is not None and any(one.name == option for one in fields(options))

    def value(self, option: str) -> str:
        """Return the value of an option, as a URL has it."""
        value = getattr(self.url.options(self.backend.OPTIONS), option)
        return str(value).lower() if isinstance(value, bool) else str(value)

    def with_option(self, option: str, value: str) -> Part:
        """Return the same with another value of an option."""
        return Part(self.kind, replace(self.url, query={**self.url.query, option: value}))

    def shown(self) -> str:
        """Return the URL without what may be a secret."""
        options = [choice.option for choice in self.choices if choice.option in self.url.query]
        query = "&".join(f"{option}={self.value(option)}" for option in options)
        place = f"//{self.url.authority}{self.url.path}" if self.url.scheme != "memory" else ""
        return f"{self.url.scheme}:{place}{'?' if query else ''}{query}"


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache in front of the conversation store.

    Attributes:
        node: by its key in the section ``elasticache`` of the prices.
        hit_rate: share of the reads that it can answer which it does answer.
    """

    node: str
    hit_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What is to be priced.

    Attributes:
        parts: stores and indexes.
        billing: of reads and writes.
        cache: in front of the conversation store, if any.
        machines: further ones, by their name in the table of prices.
    """

    parts: tuple[Part, ...]
    billing: Billing = Billing.ON_DEMAND
    cache: Cache | None = None
    machines: Mapping[str, float]

    def with_option(self, place: int, option: str, value: str) -> Configuration:
        """Return the same with another value of an option of one part."""
        parts = list(self.parts)
        parts[place] = parts[place].with_option(option, value)
        return replace(self, parts=tuple(parts))


class Pricer:
    """Prices configurations for one workload.

    Args:
        workload: what the application does.
        prices: the table.
        age_days: days since it began; by default when no more is kept than before, or a year.
    """

    def __init__(self, workload: Workload, prices: Prices, age_days: float | None = None) -> None:
        self.workload = workload
        self.prices = prices
        self.age_days = (workload.retention_days or 365.0) if age_days is None else age_days
        self._estimates: dict[tuple[str, str, tuple[tuple[str, str], ...]], Estimate] = {}

    def at(self, age_days: float) -> Pricer:
        """Return a pricer of the same workload at another age."""
        return Pricer(self.workload, self.prices, age_days)

    def estimates(self, configuration: Configuration) -> list[Estimate]:
        """Return what the workload takes of each part, and of the machines.

        Raises:
            UnsupportedOperationError: a backend does not say.
        """
        found = [self._estimate(part) for part in configuration.parts]
        cache = configuration.cache
        if cache is not None:
            found = [_behind(cache, one) for one in found]
            found.append(Estimate(machines={f"elasticache.{cache.node}": 1}))
        held = self._held_bytes(found)
        if configuration.machines:
            found.append(self._hosts(configuration.machines, held))
        elif held:
            found.append(Estimate(notes=(f"{self._about(held)}: --host prices machines",)))
        return found

    def bill(self, configuration: Configuration) -> Bill:
        """Return what a month costs."""
        return make_bill(
            self.estimates(configuration), self.workload, self.prices, configuration.billing
        )

    def cache(self, hit_rate: float | None = None) -> Cache:
        """Return the cheapest cache that holds the newest messages of all users.

        Args:
            hit_rate: by default that of the workload: each turn removes what it changes, so only
                further contexts of a turn are answered.

        Raises:
            ConfigurationError: no node of the table is large enough.
            InvalidInputError: the hit rate is no share.
        """
        if hit_rate is not None and not 0 <= hit_rate <= 1:
            raise InvalidInputError("the hit rate of a cache is from 0 to 1")
        contexts = self.workload.contexts_per_turn
        if hit_rate is None:
            hit_rate = 1 - 1 / contexts if contexts > 1 else 0.0
        held = _CACHED_MESSAGES * (self.workload.message_bytes + _CACHED_OVERHEAD)
        needed = self.workload.users * held / _USABLE
        for node in self.prices.section("elasticache"):
            if self.prices.memory_gib(f"elasticache.{node}") * _GIB >= needed:
                return Cache(node, hit_rate)
        raise ConfigurationError(
            f"{self.prices.origin}: no node of elasticache holds {needed / _GIB:,.0f} GiB"
        )

    def _hosts(self, machines: Mapping[str, float], held: float) -> Estimate:
        """Return machines: so many that their memory holds what is searched at the same time."""
        counts: dict[str, float] = {}
        notes: list[str] = []
        for name, least in machines.items():
            self.prices.of(name)  # says what the table lacks
            counts[name] = least
            if held:
                memory = self.prices.memory_gib(name)
                counts[name] = max(least, math.ceil(held / (memory * _GIB * _USABLE)))
                notes.append(
                    f"{counts[name]:,.0f} of {name}, {memory:g} GiB each, filled to {_USABLE:.0%}: "
                    f"{self._about(held)}"
                    + ("; users are divided among them" if counts[name] > 1 else "")
                )
        return Estimate(machines=counts, notes=tuple(notes))

    def _held_bytes(self, estimates: Iterable[Estimate]) -> float:
        """Return the bytes that embedded indexes have in memory in the busiest hour."""
        each = math.fsum(one.held_bytes_per_user for one in estimates)
        return each * self.workload.users * self.workload.share_at_once

    def _about(self, held: float) -> str:
        share = self.workload.share_at_once
        return (
            f"embedded indexes have {held / _GIB:,.1f} GiB in memory for the {share:.1%} of the "
            "users who are in a session at once in the busiest hour"
        )

    def _estimate(self, part: Part) -> Estimate:
        key = (part.kind, part.shown(), tuple(sorted(part.url.query.items())))
        if key not in self._estimates:
            self._estimates[key] = part.backend.estimate(
                part.url, self.workload, age_days=self.age_days
            )
        return self._estimates[key]


def _behind(cache: Cache, estimate: Estimate) -> Estimate:
    """Return what is left for a store behind a cache."""
    calls = tuple(
        replace(call, times=call.times * (1 - cache.hit_rate)) if call.is_cached else call
        for call in estimate.calls
    )
    return replace(estimate, calls=calls)
