"""`zoo token`: make, list and revoke access tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import click

from seedzoo.console import Console, Rows
from seedzoo_server.identity import DEFAULT_TENANT, Role
from seedzoo_server.store_option import lasting_store, store_option
from seedzoo_server.tokens import REMEMBERED_S, Tokens

__all__ = ["token"]

_F = TypeVar("_F", bound=Callable[..., Any])

_ROLES = [role.name.lower() for role in Role]


def _tenant_option(text: str) -> Callable[[_F], _F]:
    return click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help=text)


@contextmanager
def _tokens(store: str) -> Iterator[Tokens]:
    with lasting_store(store, what="tokens") as opened:
        yield Tokens(opened)


@click.group()
def token() -> None:
    """Make, list and revoke the access tokens of a server that runs with --auth tokens."""


@token.command()
@_tenant_option("Whose data the token opens.")
@click.option("--role", type=click.Choice(_ROLES), default="selector", show_default=True, help="What it may do.")
@click.option("--note", default="", help="What it is for, shown by `zoo token list`.")
@click.option("--expires-days", type=click.IntRange(1, 3650), help="Days until it expires; never when omitted.")
@store_option
def create(tenant: str, role: str, note: str, expires_days: int | None, store: str) -> None:
    """Make an access token. It is shown once; the store keeps a hash of it."""
    lasts = None if expires_days is None else timedelta(days=expires_days)
    with _tokens(store) as tokens:
        text, record = tokens.create(tenant, role, note=note, expires_in=lasts)
        where = tokens.url
    console = Console.current()
    console.result(
        {"token": text, "id": record.id, "tenant": tenant, "role": role, "expires": record.expires or None},
        Rows([[text]]),  # never wrapped
    )
    console.note(f"token {record.id} of tenant {tenant}, role {role}, for servers of {where}; it is not shown again")
    console.hint("users set SEEDZOO_TOKEN, or token in config.toml")


@token.command(name="list")
@_tenant_option("Whose tokens.")
@store_option
def list_tokens(tenant: str, store: str) -> None:
    """List a tenant's access tokens; their text is known to nobody but whoever got it."""
    with _tokens(store) as tokens:
        records = tokens.all(tenant)
    console = Console.current()
    console.result(
        records,
        Rows(
            [
                record.id,
                record.role or "no role",
                f"made {record.created}",
                f"expires {record.expires or 'never'}",
                record.note,
            ]
            for record in records
        ),
    )
    if not records:
        console.note(f"tenant {tenant} has no tokens")


@token.command()
@click.argument("token_id", metavar="ID")
@_tenant_option("Whose token.")
@store_option
def revoke(token_id: str, tenant: str, store: str) -> None:
    """Revoke the access token with this ID: its first digits, as `zoo token list` shows them, or the token itself."""
    with _tokens(store) as tokens:
        record = tokens.revoke(tenant, token_id)
    console = Console.current()
    console.result(record, f"revoked token {record.id} of tenant {record.tenant}")
    console.note(f"running servers refuse it within {REMEMBERED_S:.0f} seconds")
