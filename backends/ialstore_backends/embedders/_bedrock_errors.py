"""What becomes of botocore's errors. Texts name what happened, never what the service wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ialstore.errors import (
    AccessDeniedError,
    ConfigurationError,
    IalStoreError,
    ThrottledError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["is_refusal", "translated"]

_REFUSED: Final = "ValidationException"
_THROTTLED: Final = frozenset(
    {"ServiceQuotaExceededException", "ThrottlingException", "TooManyRequestsException"}
)
_DENIED: Final = frozenset(
    {"ExpiredTokenException", "IncompleteSignature", "NotAuthorized", "RequestExpired"}
)
"""Those that do not come with status 401 or 403."""
_MAY_PASS: Final = frozenset({408, 424})
"""The model took too long, or failed."""

# By name, because botocore is imported late.
_NO_ANSWER: Final = frozenset(
    {"ConnectionError", "HTTPClientError", "IncompleteReadError", "ResponseParserError"}
)
_NO_LOGIN: Final = frozenset(
    {
        "CredentialRetrievalError",
        "LoginError",
        "MetadataRetrievalError",
        "SSOError",
        "TokenRetrievalError",
    }
)


def translated(error: Exception) -> IalStoreError:
    """Return the error of ialstore for one that botocore raised."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    name = type(error).__name__
    if "ClientError" in kinds:
        return _of_response(getattr(error, "response", {}))
    if kinds & _NO_ANSWER:
        return UnavailableError(
            f"Bedrock did not answer ({name})", operation="embed", retryable=True
        )
    if kinds & _NO_LOGIN:
        return AccessDeniedError(
            f"the AWS credentials for Bedrock could not be fetched ({name})", operation="embed"
        )
    if {"BotoCoreError", "ValueError"} & kinds:
        return ConfigurationError(
            f"Bedrock can't be asked ({name}): it needs a region, credentials and, where one is "
            "named, an existing profile; give region and profile to the embedder, or set "
            "AWS_REGION and AWS_PROFILE",
            operation="embed",
        )
    return UnavailableError(f"asking Bedrock raised {name}", operation="embed")


def is_refusal(error: BaseException | None) -> bool:
    """Return whether Bedrock refused the request itself, as it does when a text is too long."""
    response: Mapping[str, Any] = getattr(error, "response", {})
    return bool(response.get("Error", {}).get("Code") == _REFUSED)


def _of_response(response: Mapping[str, Any]) -> IalStoreError:
    code = str(response.get("Error", {}).get("Code", ""))
    metadata = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    what = f"{code or 'an error'}, status {status}, request {metadata.get('RequestId', 'unknown')}"
    if code in _THROTTLED or status == 429:  # noqa: PLR2004 - Too Many Requests
        return ThrottledError(
            f"Bedrock asks for a pause ({what})", operation="embed", retryable=True
        )
    if code in _DENIED or status in (401, 403):
        return AccessDeniedError(
            f"Bedrock refused the credentials ({what}): they must be valid and allow "
            "bedrock:InvokeModel on this model, to which the account has access",
            operation="embed",
        )
    if code == _REFUSED or status == 404:  # noqa: PLR2004 - Not Found
        return ConfigurationError(
            f"Bedrock refused the request ({what}): check model_id, and that the model is there "
            "in this region",
            operation="embed",
        )
    return UnavailableError(
        f"Bedrock failed ({what})",
        operation="embed",
        retryable=status >= 500 or status in _MAY_PASS,  # noqa: PLR2004 - server errors
    )
