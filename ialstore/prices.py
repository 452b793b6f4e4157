"""The dated table of prices, ``prices.toml``, which a file of the user's can replace.

A figure is named by section and key: ``dynamodb.read_request_million``, ``hosts.t4g.small``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, cast

from ialstore._toml import read_toml
from ialstore.errors import ConfigurationError
from ialstore.url import closest

__all__ = ["HOURS_PER_MONTH", "PRICES_FILE", "Price", "Prices", "load_prices", "prices_file"]

_GIB: Final = 1 << 30
HOURS_PER_MONTH: Final = 730
"""As AWS reckons a month."""
PRICES_FILE: Final = Path(__file__).with_name("prices.toml")
"""The table that comes with the package."""

_FIGURES: Final[Mapping[str, frozenset[str]]] = {
    "dynamodb": frozenset(
        {
            "point_in_time_recovery_gb_month",
            "read_capacity_hour",
            "read_request_million",
            "storage_gb_month",
            "ttl_delete_million",
            "vector_search_gb",
            "vector_write_gb",
            "write_capacity_hour",
            "write_request_million",
            *(
                f"reserved_{term}_{kind}_{part}"
                for term in ("1y", "3y")
                for kind in ("read", "write")
                for part in ("upfront", "hour")
            ),
        }
    ),
    "opensearch": frozenset({"ebs_gb_month", "ocu_hour", "serverless_gb_month"}),
    "disk": frozenset({"gb_month"}),
}
"""By section, what it can hold: amounts per unit of the name."""
_MACHINES: Final = frozenset({"elasticache", "hosts", "opensearch_nodes"})
"""Sections that hold types of machines, under names of the user's choice, by the hour."""
_HEAD: Final = frozenset({"currency", "date", "region"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One figure.

    Attributes:
        amount: in the currency of the table; None is for the user to fill in.
        source: where it is from.
        memory_gib: of a machine.
    """

    amount: float | None = None
    source: str
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        _check_number(self.amount, "amount")
        _check_number(self.memory_gib, "memory_gib")
        _check_text(self.source, "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A table of prices.

    Attributes:
        date: when the figures were gathered.
        region: where they hold.
        currency: of the amounts.
        origin: the file, for people.
        figures: by section and key.
    """

    date: date
    region: str
    currency: str
    origin: str
    figures: Mapping[str, Price] = field(repr=False)

    def of(self, name: str) -> float:
        """Return the amount of a figure.

        Raises:
            ConfigurationError: the table does not have it, or it is to be filled in.
        """
        amount = self._figure(name).amount
        if amount is None:
            raise ConfigurationError(
                f"{self.origin}: {name} has no amount; write yours into a file, for --prices"
            )
        return amount

    def memory_gib(self, name: str) -> float:
        """Return the memory of a machine.

        Raises:
            ConfigurationError: the table does not say.
        """
        memory = self._figure(name).memory_gib
        if memory is None:
            raise ConfigurationError(f"{self.origin}: {name} has no memory_gib")
        return memory

    def section(self, section: str) -> dict[str, Price]:
        """Return what has an amount in a section, by key, the cheapest first."""
        start = f"{section}."
        found = {
            name.removeprefix(start): price
            for name, price in self.figures.items()
            if name.startswith(start) and price.amount is not None
        }
        return dict(sorted(found.items(), key=lambda one: (one[1].amount, one[0])))

    def cheapest(
        self, section: str, need_bytes: float, *, usable: float, at_least: int = 1
    ) -> tuple[str, int]:
        """Return the machines of one type that hold so much for the least: its key, and how many.

        Args:
            section: of the machines.
            need_bytes: of memory.
            usable: share of a machine's memory that may be filled.
            at_least: how many there have to be.

        Raises:
            ConfigurationError: the section has none, or one whose memory it does not say.
        """
        offers: list[tuple[float, int, str]] = []
        for key in self.section(section):
            room = self.memory_gib(f"{section}.{key}") * _GIB * usable
            count = max(at_least, math.ceil(need_bytes / room))
            offers.append((count * self.of(f"{section}.{key}"), count, key))
        if not offers:
            self.of(f"{section}.any")  # says what the table lacks
        _, count, key = min(offers)
        return key, count

    def _figure(self, name: str) -> Price:
        try:
            return self.figures[name]
        except KeyError:
            raise ConfigurationError(
                f"{self.origin}: there is no price {name}{closest(name, self.figures)}"
            ) from None


def load_prices(path: Path | None = None, *, environ: Mapping[str, str] | None = None) -> Prices:
    """Return the prices of a file, else of that which ``IALSTORE_PRICES`` names, else our own.

    A file stands alone: what it leaves out has no price, and is not taken from our table.

    Args:
        path: of a TOML file.
        environ: the environment; the process's own by default.

    Raises:
        ConfigurationError: it can't be read, or a figure is wrong; the text names it.
    """
    path = prices_file(path, environ=environ)
    origin = "the built-in prices" if path == PRICES_FILE else str(path)
    return _parse(read_toml(path), origin)


def prices_file(path: Path | None = None, *, environ: Mapping[str, str] | None = None) -> Path:
    """Return the file that ``load_prices`` reads."""
    if path is not None:
        return path
    named = (os.environ if environ is None else environ).get("IALSTORE_PRICES")
    return Path(named) if named else PRICES_FILE


def _parse(tables: dict[str, Any], origin: str) -> Prices:
    sections = [*_FIGURES, *_MACHINES]
    figures: dict[str, Price] = {}
    for section, table in tables.items():
        if section in _HEAD:
            continue
        if section not in sections:
            raise ConfigurationError(
                f"{origin}: {section} is unknown{closest(section, [*sections, *_HEAD])}"
            )
        for key, values in _table(table, f"{origin}: {section}").items():
            known = _FIGURES.get(section)
            if known is not None and key not in known:
                raise ConfigurationError(
                    f"{origin}: {section}.{key} is unknown{closest(key, known)}"
                )
            figures[f"{section}.{key}"] = _price(values, f"{origin}: {section}.{key}")
    day = tables.get("date")
    if not isinstance(day, date) or isinstance(day, datetime):
        raise ConfigurationError(f"{origin}: date must be a day, such as 2026-11-28, unquoted")
    return Prices(
        date=day,
        region=_text(tables, "region", origin),
        currency=_text(tables, "currency", origin),
        origin=origin,
        figures=figures,
    )


def _price(values: Any, where: str) -> Price:
    table = _table(values, where)
    names = Price.__dataclass_fields__
    for key in table:
        if key not in names:
            raise ConfigurationError(f"{where}: {key} is unknown{closest(key, names)}")
    if "source" not in table:
        raise ConfigurationError(f"{where}: source is missing")
    try:
        return Price(**table)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where} must be a table")
    return cast("dict[str, Any]", value)


def _text(tables: dict[str, Any], name: str, origin: str) -> str:
    value: Any = tables.get(name)
    try:
        _check_text(value, name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{origin}: {error}") from None
    return str(value)


def _check_text(value: Any, name: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{name} must be a text, not empty")


def _check_number(value: Any, name: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"{name} must be a number")
    if not math.isfinite(value) or value < 0:
        raise ConfigurationError(f"{name} must be a finite number, not negative")
