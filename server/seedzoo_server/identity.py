"""Who calls: tenants and roles, which of them is behind a call, and which role each call needs."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum

from seedzoo.catalog.names import check_name
from seedzoo.errors import PermissionDenied, RequestError

__all__ = [
    "ANYBODY",
    "DEFAULT_TENANT",
    "TENANTS",
    "Identity",
    "Role",
    "caller",
    "check_role",
    "check_tenant",
    "known_role",
    "set_caller",
]

DEFAULT_TENANT = "default"
TENANTS = "tenants"
"""Folder of the store that holds a folder for each tenant."""


class Role(IntEnum):
    """What a token may do; each includes those before it."""

    READER = 1
    """Browse the catalog and download models."""
    SELECTOR = 2
    """Send datasets and select on them."""
    PUBLISHER = 3
    """For tools that publish through the store; the server itself treats it as a selector."""
    ADMIN = 4
    """All of it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls."""

    tenant: str
    role: Role


ANYBODY = Identity(DEFAULT_TENANT, Role.ADMIN)
"""Who calls a server that authenticates nobody."""

_NEEDED = {
    "seedzoo.v1.CatalogService": Role.READER,
    "seedzoo.v1.DatasetService": Role.SELECTOR,
    "seedzoo.v1.SelectionService": Role.SELECTOR,
}
_caller: ContextVar[Identity] = ContextVar("seedzoo_caller")


def check_tenant(name: str) -> str:
    """Return a tenant's name. Raises RequestError for what is no name or has capitals.

    A store on a file system that takes ``Acme`` and ``acme`` for the same would give one tenant the other's data.
    """
    if check_name(name, "tenant") != name.lower():
        raise RequestError(f"the tenant {name!r} must be in lower case", field="tenant")
    return name


def known_role(name: str) -> Role | None:
    """The role of that name, in lower case."""
    return {role.name.lower(): role for role in Role}.get(name)


def set_caller(identity: Identity) -> None:
    """Remember who calls for the rest of this call."""
    _caller.set(identity)


def caller() -> Identity:
    """Who calls; LookupError outside a call: nothing may be served to nobody."""
    return _caller.get()


def check_role(identity: Identity, method: str) -> None:
    """Refuse a call that the role does not allow.

    Args:
        identity: Who calls.
        method: ``/package.Service/Method``; a service that is not known needs the highest role.

    Raises:
        PermissionDenied: The role is not enough.
    """
    needed = _NEEDED.get(method.strip("/").partition("/")[0], Role.ADMIN)
    if identity.role < needed:
        raise PermissionDenied(
            f"this call needs the role {needed.name.lower()}; the access token has the role "
            f"{identity.role.name.lower()}",
            hint="Ask whoever runs the server for another token.",
        )
