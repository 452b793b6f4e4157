"""``ialstore repair``: give every message the vector it should have."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ialstore.cli.common import Common
from ialstore.cli.lookup import all_users
from ialstore.cli.options import OptionalUserOption
from ialstore.cli.text import counted

if TYPE_CHECKING:
    from ialstore.context.model import RepairReport

__all__ = ["repair"]


def repair(common: Common, user: OptionalUserOption = None) -> None:
    """Add vectors that are missing and remove those without a message, of one user or of all.

    That is what an interrupted import, or one with --no-index, leaves to do.
    """
    reports: dict[str, RepairReport] = {}
    with common.open_store() as store:
        users = list(all_users(store)) if user is None else [user]
    with common.open_engine() as engine, common.out.progress("users", len(users)) as progress:
        for one in users:
            reports[one] = engine.repair(one)
            progress(len(reports), None)
    if common.json:
        items = [{"user_id": one, **asdict(report)} for one, report in reports.items()]
        common.out.document({"items": items})
        return
    for one, report in reports.items():
        common.out.line(
            f"{one}: {counted(report.messages, 'message')}, "
            f"{counted(report.added, 'vector')} added, {report.removed:,} removed"
        )
