"""The least AWS policy with which a store can work, and the parts it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ialstore.component import Access
from ialstore.errors import InvalidInputError
from ialstore.ids import check_id_part
from ialstore_backends.dynamodb import keys
from ialstore_backends.dynamodb.table import SESSION_INDEX, USER_TIME_INDEX

if TYPE_CHECKING:
    from ialstore_backends.dynamodb.options import DynamoOptions, TableOptions

__all__ = ["READ", "WRITE", "arn_of", "document", "manage", "own_keys", "policy", "statement"]

READ: Final = ("BatchGetItem", "GetItem", "Query")
WRITE: Final = ("BatchWriteItem", "DeleteItem", "PutItem", "UpdateItem")
_MANAGE: Final = (
    "CreateTable",
    "DescribeContinuousBackups",
    "DescribeTable",
    "DescribeTimeToLive",
    "GetItem",
    "PutItem",
    "UpdateContinuousBackups",
    "UpdateTimeToLive",
)
_WITH_TAGS: Final = ("TagResource",)
_SPECIAL: Final = str.maketrans({one: f"${{{one}}}" for one in "*?$"})
"""Characters that mean something in a pattern of IAM."""


def policy(
    table: str, options: DynamoOptions, access: Access, *, user_id: str | None, account: str
) -> dict[str, Any]:
    """Return a policy as IAM takes it.

    A tenant's one allows only keys of that user, by ``dynamodb:LeadingKeys``.

    Raises:
        InvalidInputError: it is to manage tables, which belong to all users, for one of them.
    """
    arn = arn_of(table, options, account)
    if access is Access.MANAGE:
        return manage(arn, options, user_id)
    actions = (*READ, *(WRITE if access is Access.WRITE else ()))
    by_session = [f"{arn}/index/{SESSION_INDEX}"] if options.session_index else []
    by_user = [f"{arn}/index/{USER_TIME_INDEX}"] if options.user_time_index else []
    if user_id is None:
        statements = [statement("Messages", actions, [arn])]
        if by_user or by_session:
            statements.append(statement("Indexes", ("Query",), [*by_session, *by_user]))
        return document(*statements)
    own = own_keys(user_id)
    statements = [statement("Messages", actions, [arn], own)]
    if by_session:
        statements.append(statement("SessionIndex", ("Query",), by_session, own))
    if by_user:
        key = user_id.translate(_SPECIAL)
        statements.append(statement("UserTimeIndex", ("Query",), by_user, key))
    return document(*statements)


def arn_of(table: str, options: TableOptions, account: str) -> str:
    """Return the name by which AWS knows a table."""
    return f"arn:aws:dynamodb:{options.region or '*'}:{account}:table/{table}"


def own_keys(user_id: str) -> str:
    """Return the pattern of the partition keys of a user.

    Raises:
        InvalidInputError: it is no user id.
    """
    check_id_part(user_id, "user_id")
    return f"{keys.escaped(user_id).translate(_SPECIAL)}#*"


def manage(
    arn: str, options: TableOptions, user_id: str | None, name: str = "Tables"
) -> dict[str, Any]:
    """Return the policy for setting a table up and checking it.

    Raises:
        InvalidInputError: it is to hold for one user.
    """
    if user_id is not None:
        raise InvalidInputError("tables belong to all users: leave --user out for manage")
    actions = (*_MANAGE, *(_WITH_TAGS if options.tags else ()))
    return document(statement(name, actions, [arn]))


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    """Return a policy of some statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(
    name: str, actions: tuple[str, ...], resources: list[str], leading_key: str | None = None
) -> dict[str, Any]:
    """Return a statement; with a pattern it allows only partition keys that match."""
    made: dict[str, Any] = {
        "Sid": name,
        "Effect": "Allow",
        "Action": [f"dynamodb:{one}" for one in sorted(actions)],
        "Resource": resources,
    }
    if leading_key is not None:
        # The Null condition refuses requests without a key, for which ForAllValues holds.
        made["Condition"] = {
            "ForAllValues:StringLike": {"dynamodb:LeadingKeys": [leading_key]},
            "Null": {"dynamodb:LeadingKeys": "false"},
        }
    return made
