"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ialstore.ids import Role

__all__ = [
    "CursorOption",
    "LimitOption",
    "Metric",
    "OptionalUserOption",
    "RolesOption",
    "SessionOption",
    "SinceOption",
    "SpeakingRole",
    "UntilOption",
    "UserOption",
    "YesOption",
]


class Metric(StrEnum):
    """What an index is made for."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"


class SpeakingRole(StrEnum):
    """Who says what is searched."""

    USER = Role.USER
    ASSISTANT = Role.ASSISTANT


UserOption = Annotated[str, typer.Option("--user", "-u", metavar="USER", help="User id.")]
OptionalUserOption = Annotated[
    str | None, typer.Option("--user", "-u", metavar="USER", help="Only this user.")
]
SessionOption = Annotated[
    str | None, typer.Option("--session", "-s", metavar="SESSION", help="Only this session.")
]
LimitOption = Annotated[
    int, typer.Option("--limit", "-n", metavar="N", help="At most so many, up to 1,000.")
]
CursorOption = Annotated[
    str | None,
    typer.Option("--cursor", metavar="CURSOR", help="Go on where another page ended."),
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="From this day or time on; UTC without a zone."),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Before this day or time.")
]
RolesOption = Annotated[
    list[SpeakingRole] | None,
    typer.Option("--role", metavar="ROLE", help="Only user, or only assistant; may come again."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
