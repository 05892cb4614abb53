"""What boto3 raises, in the words of seedzoo: what was wrong with the store and what to do about it.

The original messages are not passed on where credentials are concerned: some servers echo the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from seedzoo.errors import RequestError, StoreError, StoreUnsafe, ZooError

__all__ = ["BOTO_ERRORS", "error_code", "is_missing", "is_refused", "status", "translate"]

BOTO_ERRORS: Final = (ClientError, BotoCoreError)
"""Everything that a call of a boto3 client raises on purpose."""

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)


@dataclass(frozen=True, slots=True)
class _Meaning:
    text: str
    hint: str
    reason: str
    kind: type[StoreError] = StoreError


_DENIED = _Meaning(
    "the store refused the credentials",
    "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may read and write this bucket.",
    "STORE_DENIED",
)
_EXPIRED = _Meaning("the credentials have expired", "Get new ones and retry.", "STORE_DENIED")
_BUSY = _Meaning("the store is overloaded or failed inside", "Retry in a while.", "STORE_BUSY")
_WRONG_REGION = _Meaning(
    "the bucket lies in another region", "Give it with ?region= or AWS_DEFAULT_REGION.", "STORE_REGION"
)
_MEANINGS: dict[str, _Meaning] = {
    "NoSuchBucket": _Meaning(
        "the bucket does not exist", "Check its name and the endpoint, or create it.", "BUCKET_MISSING"
    ),
    "AccessDenied": _DENIED,
    "InvalidAccessKeyId": _DENIED,
    "SignatureDoesNotMatch": _DENIED,
    "403": _DENIED,
    "401": _DENIED,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": _Meaning(
        "this machine's clock differs too much from the store's", "Set the clock.", "STORE_CLOCK"
    ),
    "PermanentRedirect": _WRONG_REGION,
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "301": _WRONG_REGION,
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "InternalError": _BUSY,
    "500": _BUSY,
    "503": _BUSY,
    "NotImplemented": _Meaning(
        "the store does not know this operation",
        "Use a store with conditional writes and multipart uploads.",
        "STORE_UNSAFE",
        StoreUnsafe,
    ),
    "EntityTooLarge": _Meaning("the store takes no object of this size", "Raise its limit.", "STORE_OBJECT_TOO_LARGE"),
    "BadDigest": _Meaning("the bytes changed on their way to the store", "Retry.", "STORE_TRANSFER"),
    "507": _Meaning("the store is full", "Free some space.", "STORE_FULL"),
}


def error_code(error: ClientError) -> str:
    """The S3 error code; for an answer without a body (HEAD) the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status(error: ClientError) -> int:
    """The HTTP status of the answer, 0 if there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_missing(error: Exception) -> bool:
    """Whether the object, not the bucket, does not exist (HEAD cannot tell the two apart)."""
    return isinstance(error, ClientError) and error_code(error) in {"NoSuchKey", "404", "NotFound"}


def is_refused(error: Exception) -> bool:
    """Whether the condition of a write did not hold, or two conditional writes met."""
    if not isinstance(error, ClientError):
        return False
    return error_code(error) in {"PreconditionFailed", "ConditionalRequestConflict", "412"} or status(error) == 412


def translate(error: Exception, what: str, url: str) -> ZooError:
    """The error to raise for one of BOTO_ERRORS.

    Args:
        error: What boto3 raised.
        what: What was being done, e.g. ``"reading 'a/b'"``.
        url: Where the store is, without secrets.
    """
    if isinstance(error, ClientError):
        return _translate_answer(error, f"{what} in {url} failed")
    if isinstance(error, ParamValidationError):
        return RequestError(f"{what} in {url}: {error}", hint="Check the bucket's name.", field="store")
    if isinstance(error, _NO_CREDENTIALS):
        return StoreError(
            f"{what} in {url} failed: no usable credentials were found",
            hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or configure a profile.",
            reason="STORE_CREDENTIALS",
        )
    if isinstance(error, HTTPClientError | BotoConnectionError):
        return StoreError(
            f"{what} in {url} failed: the store cannot be reached ({type(error).__name__})",
            hint="Check the endpoint, the network and that the store runs.",
            reason="STORE_UNREACHABLE",
        )
    return StoreError(f"{what} in {url} failed: {type(error).__name__}", hint="Check the store's settings.")


def _translate_answer(error: ClientError, failed: str) -> StoreError:
    code = error_code(error)
    number = status(error)
    meaning = _MEANINGS.get(code) or _MEANINGS.get(str(number))
    if meaning is None:
        meaning = _Meaning("unexpected answer", "Look at the store's log.", "STORE_FAILED")
    shown = f"{code}, HTTP {number}" if code != str(number) else f"HTTP {number}"
    return meaning.kind(f"{failed}: {meaning.text} ({shown})", hint=meaning.hint, reason=meaning.reason)
