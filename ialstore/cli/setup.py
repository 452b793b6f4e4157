"""``ialstore setup``: create what the store and the index need."""

from __future__ import annotations

from ialstore.cli.common import Common

__all__ = ["setup"]


def setup(common: Common) -> None:
    """Create the tables, indexes and files that are missing; change nothing that is there."""
    with common.open_parts(create=True) as parts:
        for part in parts:
            part.setup()
    if common.json:
        ready = [{"part": part.KIND, "backend": part.backend} for part in parts]
        common.out.document({"items": ready})
        return
    for part in parts:
        common.out.line(f"{part.KIND}: {part.backend} is ready")
