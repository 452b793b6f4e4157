"""``ialstore optimize``: maintenance that no call does by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ialstore.cli.common import Common
from ialstore.cli.lookup import no_messages
from ialstore.cli.options import UserOption
from ialstore.cli.text import counted

if TYPE_CHECKING:
    from ialstore.conversation import ConversationStore
    from ialstore.model import OptimizeReport
    from ialstore.vector import VectorIndex

__all__ = ["optimize"]


def optimize(common: Common, user: UserOption) -> None:
    """Remove leftovers, give space back, and keep listings and searches fast.

    It changes no answer, and is safe while others read and write.
    """
    reports: list[tuple[ConversationStore | VectorIndex, OptimizeReport]] = []
    with common.open_parts() as parts:
        for part in parts:
            with common.out.progress(f"optimizing {part.KIND}s") as progress:
                reports.append((part, part.optimize(user, progress=progress)))
        removed = sum(report.removed for _, report in reports)
        if not removed and not parts.store.history(user, limit=1).items:
            raise no_messages(parts.store, user)
    if common.json:
        documents = [
            {
                "part": part.KIND,
                "backend": part.backend,
                "removed": report.removed,
                "reclaimed_bytes": report.reclaimed_bytes,
                "notes": report.notes,
            }
            for part, report in reports
        ]
        common.out.document({"items": documents})
        return
    for part, report in reports:
        common.out.line(
            f"{part.KIND}: {part.backend}: {counted(report.removed, 'leftover')} removed, "
            f"{counted(report.reclaimed_bytes, 'byte')} given back"
        )
        for note in report.notes:
            common.out.line(f"  {note}")
