"""The least AWS policy with which an index can work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ialstore.component import Access
from ialstore.errors import InvalidInputError
from ialstore_backends.dynamodb.policy import READ, WRITE, arn_of, document, manage, statement
from ialstore_backends.dynamodb_vector.table import VECTOR_INDEX, WRITTEN_INDEX

if TYPE_CHECKING:
    from ialstore_backends.dynamodb_vector.options import VectorOptions

__all__ = ["policy"]


def policy(
    table: str, options: VectorOptions, access: Access, *, user_id: str | None, account: str
) -> dict[str, Any]:
    """Return a policy as IAM takes it.

    Raises:
        InvalidInputError: it is to hold for one user: searches know no leading keys.
    """
    arn = arn_of(table, options, account)
    if access is Access.MANAGE:
        return manage(arn, options, user_id, "TableOfVectors")
    if user_id is not None:
        raise InvalidInputError(
            "AWS can't limit searches of a vector index to one user: leave --user out, and give "
            "those whom you don't trust with each other's vectors a table of their own"
        )
    writing = [one for one in WRITE if one != "UpdateItem"] if access is Access.WRITE else []
    statements = [
        statement("Vectors", (*READ, "Scan", *writing), [arn]),
        statement(VECTOR_INDEX, ("SearchVectors",), [arn, f"{arn}/index/{VECTOR_INDEX}"]),
    ]
    if options.strong_reads:
        statements.append(statement(WRITTEN_INDEX, ("Query",), [f"{arn}/index/{WRITTEN_INDEX}"]))
    return document(*statements)
