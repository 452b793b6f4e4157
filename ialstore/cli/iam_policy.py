"""``ialstore iam-policy``: what AWS has to allow, and nothing more."""

from __future__ import annotations

from typing import Annotated

import typer

from ialstore.cli.common import Common
from ialstore.component import Access

__all__ = ["iam_policy"]


def iam_policy(
    common: Common,
    *,
    access: Annotated[
        Access, typer.Option("--access", help="What the caller may do.")
    ] = Access.WRITE,
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", metavar="USER", help="Only with what belongs to this user."),
    ] = None,
    account: Annotated[
        str, typer.Option("--account", metavar="ID", help="Only in this AWS account.")
    ] = "*",
) -> None:
    """Print the least AWS policy for reading, for reading and writing, or for setup and check.

    Nothing is connected to. The policy is one JSON document, for aws iam put-role-policy.
    """
    from ialstore import registry
    from ialstore.url import StoreURL

    url = StoreURL.parse(common.load().conversation.url)
    kind = registry.find("conversation", url.scheme)
    common.out.document(kind.iam_policy(url, access, user_id=user, account=account))
