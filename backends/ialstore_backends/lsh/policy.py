"""The least AWS policy with which an index can work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ialstore.component import Access
from ialstore_backends.dynamodb.policy import (
    READ,
    WRITE,
    arn_of,
    document,
    manage,
    own_keys,
    statement,
)
from ialstore_backends.dynamodb.table import LAYOUT_PARTITION
from ialstore_backends.lsh.table import SIMILARITY_INDEX

if TYPE_CHECKING:
    from ialstore_backends.lsh.options import LshOptions

__all__ = ["policy"]


def policy(
    table: str, options: LshOptions, access: Access, *, user_id: str | None, account: str
) -> dict[str, Any]:
    """Return a policy as IAM takes it.

    A tenant's one allows only keys of that user, and to read for what the table was made.

    Raises:
        InvalidInputError: it is to manage tables, which belong to all users, for one of them.
    """
    arn = arn_of(table, options, account)
    if access is Access.MANAGE:
        return manage(arn, options, user_id, "TableOfVectors")
    actions = (*READ, *(WRITE if access is Access.WRITE else ()))
    index = [f"{arn}/index/{SIMILARITY_INDEX}"]
    own = None if user_id is None else own_keys(user_id)
    statements = [statement("Vectors", (*actions, "Scan") if own is None else actions, [arn], own)]
    if options.layout == "gsi":
        statements.append(statement(SIMILARITY_INDEX, ("Query",), index, own))
    if own is not None:
        statements.append(statement("Spec", ("GetItem",), [arn], LAYOUT_PARTITION))
    return document(*statements)
