"""``ialstore check``: compare what is there with what is expected."""

from __future__ import annotations

from ialstore.cli.common import Common
from ialstore.cli.exits import ExitCode

__all__ = ["check"]


def check(common: Common) -> ExitCode:
    """Name each difference between what is there and what is expected; exit code 1 if any.

    A message whose vector is missing is no such difference: ialstore repair mends those.
    """
    with common.open_parts() as parts:
        found = [(part, part.check()) for part in parts]
    if common.json:
        documents = [
            {"part": part.KIND, "backend": part.backend, "differences": differences}
            for part, differences in found
        ]
        common.out.document({"items": documents})
    else:
        for part, differences in found:
            where = f"{part.KIND}: {part.backend}"
            for difference in differences:
                common.out.line(f"{where}: {difference}")
            if not differences:
                common.out.line(f"{where} is as expected")
    return ExitCode.DIFFERENT if any(differences for _, differences in found) else ExitCode.OK
