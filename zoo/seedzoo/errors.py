"""Every error a user or operator can cause, each with a stable reason code.

The tree::

    ZooError
    ├── InvalidInput          what was given cannot be used; changing it helps
    │   ├── DataError             a dataset, image, label or label map
    │   │   └── ItemsError            some items of a dataset; says which
    │   ├── RecipeError           a training recipe
    │   └── RequestError          an argument of a call or command
    ├── NotFound              a family, release, variant, dataset, selection or object does not exist
    ├── AlreadyExists         the name or request id is taken by something else
    ├── Conflict              somebody else changed the same record in between
    ├── IntegrityError        stored bytes differ from what was committed
    ├── StoreError            the object store failed or cannot be used
    │   └── StoreUnsafe           it ignores conditional writes
    ├── LimitExceeded         a quota or size limit
    ├── AccessDenied          who calls may not do this
    │   ├── Unauthenticated       no token, or one that is not valid
    │   └── PermissionDenied      the token's role does not allow it
    ├── Unavailable           no server, or it cannot answer now
    ├── MissingExtra          an optional part is not installed
    ├── LocalFailure          this machine: disk full, port taken, no permission
    └── Cancelled             stopped on request

``reason`` codes are part of the API: they travel in ``google.rpc.ErrorInfo`` and in ``--json`` output.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "Cancelled",
    "Conflict",
    "DataError",
    "IntegrityError",
    "InvalidInput",
    "ItemsError",
    "LimitExceeded",
    "LocalFailure",
    "MissingExtra",
    "NotFound",
    "PermissionDenied",
    "RecipeError",
    "RequestError",
    "StoreError",
    "StoreUnsafe",
    "Unauthenticated",
    "Unavailable",
    "ZooError",
    "error_class",
]


class ZooError(Exception):
    """Base of all errors that seedzoo raises on purpose.

    Args:
        message: What was wrong and where, one sentence.
        hint: What to do about it, one sentence; empty where nothing helps.
        reason: Stable code in UPPER_SNAKE_CASE; the class's own code when omitted.
        field: The request field or argument at fault, where there is one.
    """

    default_reason = "ZOO_ERROR"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", reason: str | None = None, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason or self.default_reason
        self.field = field

    def __reduce__(self) -> tuple[object, ...]:
        # As it is, without calling __init__ again: worker processes send errors of all classes to their parent.
        return _uninitialised, (type(self), *self.args), self.__dict__


def _uninitialised(kind: type[ZooError], *arguments: object) -> ZooError:
    return kind.__new__(kind, *arguments)


class InvalidInput(ZooError):
    """What was given cannot be used; changing it helps."""

    default_reason = "INVALID_INPUT"
    exit_code = 3


class DataError(InvalidInput):
    """A dataset, image, label or label map cannot be used."""

    default_reason = "DATA_INVALID"


class ItemsError(DataError):
    """Some items of a dataset cannot be used.

    Args:
        faults: Index of each item at fault and what is wrong with it.
        message: As in ZooError.
        hint: As in ZooError.
    """

    default_reason = "ITEMS_INVALID"

    def __init__(self, message: str, *, faults: Mapping[int, str], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.faults = dict(faults)


class RecipeError(InvalidInput):
    """A training recipe cannot be used."""

    default_reason = "RECIPE_INVALID"


class RequestError(InvalidInput):
    """An argument of a call or command cannot be used."""

    default_reason = "REQUEST_INVALID"


class NotFound(ZooError):
    """A family, release, variant, dataset, selection or object does not exist."""

    default_reason = "NOT_FOUND"
    exit_code = 4


class AlreadyExists(ZooError):
    """The name or request id is taken by something else."""

    default_reason = "ALREADY_EXISTS"
    exit_code = 5


class Conflict(ZooError):
    """Somebody else changed the same record in between; reading again and retrying helps."""

    default_reason = "CONFLICT"
    exit_code = 5


class IntegrityError(ZooError):
    """Stored bytes differ from what was committed; nothing of them is used."""

    default_reason = "INTEGRITY"
    exit_code = 6


class StoreError(ZooError):
    """The object store failed or cannot be used."""

    default_reason = "STORE_FAILED"
    exit_code = 7


class StoreUnsafe(StoreError):
    """The object store ignores conditional writes, so releases could be overwritten unnoticed."""

    default_reason = "STORE_UNSAFE"


class LimitExceeded(ZooError):
    """A quota or size limit would be passed.

    Args:
        message: As in ZooError.
        hint: As in ZooError.
        reason: As in ZooError.
        field: As in ZooError.
        retry_s: Seconds after which the same may be allowed; 0 where waiting does not help.
    """

    default_reason = "LIMIT_EXCEEDED"
    exit_code = 8

    def __init__(
        self, message: str, *, hint: str = "", reason: str | None = None, field: str = "", retry_s: float = 0.0
    ) -> None:
        super().__init__(message, hint=hint, reason=reason, field=field)
        self.retry_s = retry_s


class AccessDenied(ZooError):
    """Who calls may not do this."""

    default_reason = "ACCESS_DENIED"
    exit_code = 12


class Unauthenticated(AccessDenied):
    """No access token was given, or one that is not valid (any more)."""

    default_reason = "UNAUTHENTICATED"


class PermissionDenied(AccessDenied):
    """The role of the access token does not allow this."""

    default_reason = "PERMISSION_DENIED"


class Unavailable(ZooError):
    """No server answers, or it cannot answer now."""

    default_reason = "UNAVAILABLE"
    exit_code = 9


class MissingExtra(ZooError):
    """An optional part of seedzoo is not installed."""

    default_reason = "EXTRA_MISSING"
    exit_code = 10


class LocalFailure(ZooError):
    """This machine refused: disk full, port taken, no permission."""

    default_reason = "LOCAL_FAILURE"
    exit_code = 11


class Cancelled(ZooError):
    """Stopped on request; what was done so far is kept."""

    default_reason = "CANCELLED"
    exit_code = 130


def _tree(root: type[ZooError]) -> list[type[ZooError]]:
    return [root, *(found for child in root.__subclasses__() for found in _tree(child))]


def error_class(name: str) -> type[ZooError]:
    """The class of that name, or ZooError for a name this version does not know."""
    return {found.__name__: found for found in _tree(ZooError)}.get(name, ZooError)
