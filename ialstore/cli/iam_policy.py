"""``ialstore iam-policy``: what AWS has to allow, and nothing more."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ialstore.cli.common import Common, is_for_vectors
from ialstore.component import Access
from ialstore.errors import UnsupportedOperationError

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

    It is that of the conversation store and of the vector index, where they are at AWS. Nothing is
    connected to. The policy is one JSON document, for aws iam put-role-policy.
    """
    from ialstore import registry
    from ialstore.url import StoreURL

    config = common.load()
    urls = {"conversation": config.conversation.url, "vector": config.vector.url}
    if is_for_vectors(config.conversation.url):
        del urls["conversation"]
    policies: list[dict[str, Any]] = []
    refusals: list[UnsupportedOperationError] = []
    for kind, url in [(kind, StoreURL.parse(text)) for kind, text in urls.items() if text]:
        try:
            found = registry.find(kind, url.scheme)
            policies.append(found.iam_policy(url, access, user_id=user, account=account))
        except UnsupportedOperationError as error:
            refusals.append(error)
    if not policies:
        raise refusals[0]
    statements = [one for policy in policies for one in policy["Statement"]]
    common.out.document({**policies[0], "Statement": statements})
