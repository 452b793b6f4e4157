"""The least AWS policy with which a store can work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ialstore.component import Access
from ialstore.errors import InvalidInputError
from ialstore.ids import check_id_part
from ialstore_backends.dynamodb import keys
from ialstore_backends.dynamodb.table import SESSION_INDEX, USER_TIME_INDEX

if TYPE_CHECKING:
    from ialstore_backends.dynamodb.options import DynamoOptions

__all__ = ["policy"]

_READ: Final = ("BatchGetItem", "GetItem", "Query")
_WRITE: Final = ("BatchWriteItem", "DeleteItem", "PutItem", "UpdateItem")
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
    arn = f"arn:aws:dynamodb:{options.region or '*'}:{account}:table/{table}"
    if access is Access.MANAGE:
        if user_id is not None:
            raise InvalidInputError("tables belong to all users: leave --user out for manage")
        actions = (*_MANAGE, *(_WITH_TAGS if options.tags else ()))
        return _document(_statement("Tables", actions, [arn]))
    actions = (*_READ, *(_WRITE if access is Access.WRITE else ()))
    by_session = [f"{arn}/index/{SESSION_INDEX}"] if options.session_index else []
    by_user = [f"{arn}/index/{USER_TIME_INDEX}"] if options.user_time_index else []
    if user_id is None:
        statements = [_statement("Messages", actions, [arn])]
        if by_user or by_session:
            statements.append(_statement("Indexes", ("Query",), [*by_session, *by_user]))
        return _document(*statements)
    check_id_part(user_id, "user_id")
    own = f"{keys.escaped(user_id).translate(_SPECIAL)}#*"
    statements = [_statement("Messages", actions, [arn], own)]
    if by_session:
        statements.append(_statement("SessionIndex", ("Query",), by_session, own))
    if by_user:
        key = user_id.translate(_SPECIAL)
        statements.append(_statement("UserTimeIndex", ("Query",), by_user, key))
    return _document(*statements)


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _statement(
    name: str, actions: tuple[str, ...], resources: list[str], leading_key: str | None = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Sid": name,
        "Effect": "Allow",
        "Action": [f"dynamodb:{one}" for one in sorted(actions)],
        "Resource": resources,
    }
    if leading_key is not None:
        # The Null condition refuses requests without a key, for which ForAllValues holds.
        statement["Condition"] = {
            "ForAllValues:StringLike": {"dynamodb:LeadingKeys": [leading_key]},
            "Null": {"dynamodb:LeadingKeys": "false"},
        }
    return statement
