"""One botocore client for a store: calls within a deadline, metered, with errors of ialstore.

Signing, regions, endpoints and the renewal of credentials are botocore's. Replies are decoded here,
because botocore's own decoding takes four times as long: a reply comes as the JSON that was sent,
with binary values in base64. Nothing is retried here.
"""

from __future__ import annotations

import random
import time
import zlib
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, cast

import botocore.session
import orjson
from botocore import xform_name
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.loaders import create_loader
from botocore.utils import get_environ_proxies

from ialstore.cost import Units
from ialstore.errors import (
    AccessDeniedError,
    ConfigurationError,
    DeadlineExceededError,
    IalStoreError,
    Outcome,
    StoreNotReadyError,
    ThrottledError,
    UnavailableError,
)
from ialstore_backends._late import Late
from ialstore_backends._meanwhile import take_next
from ialstore_backends.dynamodb.table import ConditionFailedError, ConflictError
from ialstore_backends.dynamodb.transport import AwsTransport, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from botocore.awsrequest import AWSPreparedRequest
    from botocore.loaders import Loader
    from botocore.session import Session

    from ialstore.operation import Operation
    from ialstore_backends._meanwhile import Meanwhile
    from ialstore_backends.dynamodb.options import TableOptions
    from ialstore_backends.dynamodb.table import Item

__all__ = ["DynamoClient"]

_READS: Final = frozenset({"BatchGetItem", "GetItem", "Query", "Scan", "SearchVectors"})
_WRITES: Final = frozenset(
    {"BatchWriteItem", "DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem"}
)
_METERED: Final = _READS | _WRITES
_LISTING: Final = frozenset({"Query", "Scan"})
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0
_OK: Final = 200
_SERVER_ERROR: Final = 500

_THROTTLED: Final = frozenset(
    {
        "ProvisionedThroughputExceeded",  # within a transaction
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingError",  # within a transaction
        "ThrottlingException",
        "Throttling",
        "LimitExceededException",
    }
)
_DENIED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_ABSENT: Final = frozenset({"ResourceNotFoundException", "TableNotFoundException"})
_PASSING: Final = frozenset(
    {
        "InternalServerError",
        "ReplicatedWriteConflictException",
        "ServiceUnavailable",
        "TransactionInProgressException",
    }
)


_sending: ContextVar[tuple[float, Meanwhile[Any] | None]] = ContextVar("ialstore_dynamodb_sending")
"""When the request that begins must have ended, and what is made while it is on its way."""


class DynamoClient:
    """Sends calls to DynamoDB; safe from many threads, made anew in a forked child.

    Args:
        options: where the service is and who calls.
        session: of botocore, with its credentials, in place of one made from the options.
    """

    def __init__(self, options: TableOptions, session: Session | None = None) -> None:
        self._options = options
        self._session = session
        self._driver = Late(self._make, inherited=False)
        self._transport: AwsTransport | None = None
        self._overlaps = True

    @property
    def endpoint(self) -> str:
        """URL of the service, with the region in it where there is one."""
        endpoint: str = self._driver.get().meta.endpoint_url
        return endpoint

    @property
    def overlaps(self) -> bool:
        """Whether a call makes a ``Meanwhile``: not by a proxy, nor in the caller's session."""
        self._driver.get()
        return self._overlaps

    def call(
        self, op: Operation, operation: str, params: dict[str, Any], *, place: str = ""
    ) -> dict[str, Any]:
        """Return the decoded reply of one request, whose units ``op`` takes note of.

        Args:
            op: the running call: its deadline holds.
            operation: such as ``PutItem``.
            params: as botocore takes them; binary values as bytes.
            place: the partition or index, without the user, for the event.

        Raises:
            ConditionFailedError: of a conditional write.
            IalStoreError: any other failure, with its outcome.
        """
        is_write = operation not in _READS
        client = self._driver.get()
        op.note("table", _table(params))
        if operation in _METERED:
            params = {**params, "ReturnConsumedCapacity": "INDEXES"}
        token = _sending.set((time.monotonic() + op.remaining(), take_next()))
        try:
            reply = getattr(client, xform_name(operation))(**params)
        except (*_FAILURES, ClientError, TransportError) as error:
            op.add(Units(requests=1))
            raise _translated(error, op, is_write=is_write) from error
        finally:
            _sending.reset(token)
        answer = _decoded(reply["Raw"], is_write=is_write)
        if operation in _LISTING and "Items" not in answer:
            raise _unavailable("the reply has no Items", is_write=is_write)
        units = _units(operation, answer, params)
        op.add(units)
        if place and operation in _METERED:
            # A hot partition is seen there.
            op.tally("units_by_partition", place, units.read + units.write)
        return answer

    def rows(self, op: Operation, params: dict[str, Any], *, place: str = "") -> Iterator[Item]:
        """Yield the items of a query, page after page as they are needed.

        Args:
            op: the running call.
            params: of ``Query``.
            place: as in ``call``.
        """
        start: Item | None = None
        while True:
            page = params if start is None else {**params, "ExclusiveStartKey": start}
            answer = self.call(op, "Query", page, place=place)
            yield from answer["Items"]
            start = answer.get("LastEvaluatedKey")
            if start is None:
                return

    def pauses(self, op: Operation) -> Callable[[], None]:
        """Return a function that waits before the rest of a batch is sent again.

        Each wait is drawn from zero to a bound that doubles (full jitter), within the deadline.
        """
        bound = _FIRST_PAUSE_SECONDS

        def pause() -> None:
            nonlocal bound
            wait = random.uniform(0, bound)  # noqa: S311 - no secret
            if wait >= op.remaining():
                raise ThrottledError("DynamoDB did not take all of a batch in time", retryable=True)
            time.sleep(wait)
            bound = min(2 * bound, _LONGEST_PAUSE_SECONDS)

        return pause

    def close(self) -> None:
        """Close the connections."""
        with self._driver.lock:
            if self._transport is not None:
                self._transport.close()
            self._driver.forget()

    def _make(self) -> Any:
        transport = AwsTransport()
        try:
            session = self._session or _session(self._options)
            client = session.create_client(
                "dynamodb",
                region_name=_region(session, self._options),
                endpoint_url=self._options.endpoint,
                config=Config(
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    parameter_validation=False,
                    max_pool_connections=1,  # the transport has its own pool
                ),
            )
        except NoRegionError as error:
            raise ConfigurationError(
                "dynamodb: no region; write ?region=... in the URL or set AWS_REGION"
            ) from error
        except ProfileNotFound as error:
            raise ConfigurationError(f"dynamodb: {error}") from error

        def send(request: AWSPreparedRequest, **_: Any) -> Any:
            return transport.send_prepared(request, *_sending.get())

        # Botocore itself knows how to reach the service by a proxy, and looks once for one, too.
        is_direct = not get_environ_proxies(client.meta.endpoint_url)
        # Hooks of the caller's session may hold what a request within a request waits for.
        self._overlaps = is_direct and self._session is None
        if is_direct:
            client.meta.events.register("before-send.dynamodb", send)
        client.meta.events.register("before-parse.dynamodb", _keep_raw)
        self._transport = transport
        return client


def _region(session: Session, options: TableOptions) -> str | None:
    found = options.region or session.get_config_variable("region")
    # An emulator has none, but the signature needs a name.
    return found or ("us-east-1" if options.endpoint else None)


@cache
def _loader(folders: str | None) -> Loader:
    """Return what reads the descriptions of AWS's services; all sessions share what it has read."""
    return create_loader(folders)


def _new_session(profile: str | None) -> Session:
    session = botocore.session.Session(profile=profile)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


def _session(options: TableOptions) -> Session:
    session = _new_session(options.profile)
    if not options.role:
        return session
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=partial(session.create_client, region_name=_region(session, options)),
        source_credentials=session.get_credentials(),
        role_arn=options.role,
        extra_args={"RoleSessionName": "ialstore"},
    )
    session = _new_session(options.profile)
    session.get_component("credential_provider").insert_before("env", _Role(fetcher))
    return session


class _Role(CredentialProvider):
    """Credentials of an assumed role, renewed before they expire."""

    METHOD = "ialstore-role"

    def __init__(self, fetcher: AssumeRoleCredentialFetcher) -> None:
        super().__init__()
        self._fetcher = fetcher

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(
            refresh_using=self._fetcher.fetch_credentials, method="assume-role"
        )


def _table(params: dict[str, Any]) -> str:
    """Return the table that a request asks; every request asks one."""
    if "TransactItems" in params:
        ((_, first),) = params["TransactItems"][0].items()
        return _table(first)
    name: str = params["TableName"] if "TableName" in params else next(iter(params["RequestItems"]))
    return name


def _keep_raw(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Hand on the body as it came; what says success is not decoded by botocore."""
    body = response_dict["body"]
    checksum = response_dict["headers"].get("x-amz-crc32")
    if checksum is not None and zlib.crc32(body) != int(checksum):
        raise TransportError("checksum", is_late=False, was_sent=True)
    customized_response_dict["Raw"] = body
    if response_dict["status_code"] == _OK:
        response_dict["body"] = b"{}"


def _decoded(body: bytes, *, is_write: bool) -> dict[str, Any]:
    try:
        return {**orjson.loads(body)}  # unlike dict(), not of an empty list
    except (TypeError, ValueError) as error:
        raise _unavailable("the reply is no JSON object", is_write=is_write) from error


def _units(operation: str, answer: dict[str, Any], params: dict[str, Any]) -> Units:
    """Return what a call used, as the service reports it, corrected for emulators."""
    if operation not in _METERED:
        return Units(requests=1)
    reported: Any = answer.get("ConsumedCapacity") or []
    parts = cast("list[dict[str, Any]]", reported if isinstance(reported, list) else [reported])
    used = sum(float(part.get("CapacityUnits", 0)) for part in parts)
    if operation in _WRITES:
        of_vectors = sum(_vector_write_bytes(part) for part in parts)
        return Units(write=used, requests=1, vector_write_bytes=of_vectors)
    if operation == "SearchVectors":
        examined = sum(int(part.get("VectorSearchRequestBytes", 0)) for part in parts)
        return Units(requests=1, vector_search_bytes=examined)
    if operation == "Query" and not used:
        # DynamoDB bills the smallest read for a query that finds nothing; DynamoDB Local does not.
        used = 1.0 if params.get("ConsistentRead") else 0.5
    if operation == "BatchGetItem":
        # Nor does that report keys that are not there; each is billed as the smallest read.
        ((table, asked),) = params["RequestItems"].items()
        left = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", ())
        done = len(asked["Keys"]) - len(left)
        used = max(used, done * (1.0 if asked["ConsistentRead"] else 0.5))
    return Units(read=used, requests=1)


def _vector_write_bytes(part: dict[str, Any]) -> int:
    """Return what a write to one table wrote to its vector indexes."""
    indexes: dict[str, dict[str, float]] = part.get("VectorIndexes") or {}
    return sum(int(one.get("VectorWriteRequestBytes", 0)) for one in indexes.values())


_FAILURES: Final = (BotoCoreError, ValueError, KeyError)
"""A proxy's failure, or a reply that botocore can't read."""
_NO_CREDENTIALS: Final = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)


def _translated(error: Exception, op: Operation, *, is_write: bool) -> Exception:
    if isinstance(error, ClientError):
        return _refused(error, op, is_write=is_write)
    if isinstance(error, TransportError):
        return _unanswered(error, op, is_write=is_write)
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDeniedError(
            "dynamodb: there are no usable AWS credentials; set AWS_PROFILE, or see "
            "the AWS documentation on credentials"
        )
    return _unavailable(type(error).__name__, is_write=is_write)


def _unanswered(error: TransportError, op: Operation, *, is_write: bool) -> IalStoreError:
    outcome = Outcome.UNKNOWN if is_write and error.was_sent else Outcome.NOT_APPLIED
    if error.is_late:
        return DeadlineExceededError(
            f"{op.name}: DynamoDB did not answer in time", retryable=True, outcome=outcome
        )
    return UnavailableError(f"DynamoDB did not answer ({error})", retryable=True, outcome=outcome)


def _unavailable(what: str, *, is_write: bool) -> UnavailableError:
    return UnavailableError(
        f"DynamoDB did not answer sensibly ({what})",
        retryable=True,
        outcome=Outcome.UNKNOWN if is_write else Outcome.NOT_APPLIED,
    )


def _refused(error: ClientError, op: Operation, *, is_write: bool) -> Exception:
    response: dict[str, Any] = cast("dict[str, Any]", error.response)
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "ConditionalCheckFailedException":
        raw = response.get("Raw")
        return ConditionFailedError(None if raw is None else orjson.loads(raw).get("Item"))
    if code == "TransactionConflictException":
        return ConflictError(code)
    if code == "TransactionCanceledException":
        return _cancelled(error, op)
    if code in _PASSING or status >= _SERVER_ERROR:
        return _unavailable(code or str(status), is_write=is_write)
    return _refusal(code or str(status), op.details["table"])


def _cancelled(error: ClientError, op: Operation) -> Exception:
    """Return what a transaction failed of: the first reason that is one."""
    response = cast("dict[str, Any]", error.response)
    reasons = [str(one.get("Code", "")) for one in response.get("CancellationReasons", ())]
    if "ConditionalCheckFailed" in reasons:
        return ConditionFailedError(None)
    if "TransactionConflict" in reasons:
        return ConflictError("TransactionConflict")
    code = next((one for one in reasons if one not in ("", "None")), "TransactionCanceled")
    return _refusal(code, op.details["table"])


def _refusal(code: str, table: str) -> IalStoreError:
    if code in _THROTTLED:
        return ThrottledError(f"DynamoDB asks for a pause ({code})", retryable=True)
    if code in _DENIED:
        return AccessDeniedError(f"DynamoDB refused the caller ({code})")
    if code in _ABSENT:
        return StoreNotReadyError(
            f"{table} or an index of it is not there; run ialstore setup, or see ialstore check"
        )
    if code == "ValidationException":
        return StoreNotReadyError(
            f"DynamoDB does not accept the call: {table} may be of another layout; "
            "run ialstore check"
        )
    return UnavailableError(f"DynamoDB refused the call ({code})")
