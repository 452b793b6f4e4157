"""Numbers as people read them, the same in the terminal, in sentences and in the page."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["amount", "effort_text", "listed", "size_text", "thousands"]

_WHOLE = 100
_KIB = 1024.0


def amount(value: float) -> str:
    """Return a number with three digits that count: 0.0123, 1.23, 12.3, 1,234."""
    if abs(value) >= _WHOLE:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.6f}".rstrip("0").rstrip(".") if "e" in text else text


def thousands(value: float) -> str:
    """Return a whole number of three digits that count, for what is only about right."""
    return f"{float(f'{value:.3g}'):,.0f}"


def size_text(count: float) -> str:
    """Return a number of bytes in the unit that fits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < _KIB:
            return f"{amount(count)} {unit}"
        count /= _KIB
    return f"{amount(count)} TiB"


def effort_text(effort: float | None) -> str:
    """Return an effort as people give it."""
    return "default" if effort is None else f"{effort:g}"


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    if len(names) < 2:  # noqa: PLR2004 - one stands alone
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
