"""`zoo tenant`: show and set what a tenant may keep on a server."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from seedzoo.catalog.scoped import ScopedStore
from seedzoo.console import Console, Rows
from seedzoo.errors import NotFound
from seedzoo_server.quotas import REMEMBERED_S, Meter, Quota, Usage, change_quota, read_quota, show_bytes
from seedzoo_server.store_option import lasting_store, store_option
from seedzoo_server.tenants import TENANTS, check_tenant

__all__ = ["parse_count", "parse_size", "tenant"]

_F = TypeVar("_F", bound=Callable[..., Any])

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmgtp]?)(i?)b?", re.IGNORECASE | re.ASCII)
_COUNT = re.compile(r"\d{1,3}(?:,\d{3}){1,4}|\d{1,15}", re.ASCII)
_WORDS: Mapping[str, int | None] = {"none": 0, "default": None}


def parse_size(text: str) -> int | None:
    """Bytes, such as ``10GB`` or ``1.5 TiB``; ``none`` is 0 (no limit) and ``default`` None.

    Raises:
        ValueError: It is none of these.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise ValueError(f"{text!r} is no limit")
    size: float = float(found[1]) * (1024 if found[3] else 1000) ** " kmgtp".index(found[2].lower() or " ")
    if 0 < size < 1:
        raise ValueError(f"{text!r} is no limit")
    return round(size)


def parse_count(text: str) -> int | None:
    """A number such as ``1000`` or ``10,000``, ``none`` or ``default``, as :func:`parse_size`."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if not _COUNT.fullmatch(text):
        raise ValueError(f"{text!r} is no limit")
    return int(text.replace(",", ""))


def _limit_option(flag: str, parse: Callable[[str], int | None], *, example: str, text: str) -> Callable[[_F], _F]:
    """An option whose value is in a tuple: None alone would not tell `default` from what was not given."""

    def parsed(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int | None] | None:
        try:
            return None if value is None else (parse(value),)
        except ValueError:
            raise click.BadParameter(f"{value!r} is no limit: write {example}, none or default") from None

    return click.option(flag, callback=parsed, metavar="LIMIT", help=text)


@click.group()
def tenant() -> None:
    """Show and set what tenants may keep on a server."""


@tenant.command()
@click.argument("name")
@store_option
def show(name: str, store: str) -> None:
    """Show the quota of the tenant NAME and how much of it is used."""
    check_tenant(name)
    with lasting_store(store, what="a quota") as opened:
        known = list(opened.list_folders(TENANTS))
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise NotFound(
                f"{opened.url} holds nothing of a tenant {name}",
                hint=f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known) or 'none'}.",
                reason="TENANT_UNKNOWN",
                field="name",
            )
        folder = ScopedStore(opened, f"{TENANTS}/{name}")
        quota, _ = read_quota(folder)
        used = Meter(folder).total()
    _tell(name, quota, used)


@tenant.command(name="set")
@click.argument("name")
@_limit_option("--max-bytes", parse_size, example="10GB", text="Most bytes in all datasets: 10GB, 1.5TiB.")
@_limit_option("--max-datasets", parse_count, example="1000", text="Most datasets.")
@_limit_option("--max-items", parse_count, example="1,000,000", text="Most items in all datasets.")
@_limit_option("--max-image-pixels", parse_count, example="50,000,000", text="Pixels of the largest image.")
@store_option
def set_quota(name: str, store: str, **limits: tuple[int | None] | None) -> None:
    """Set quotas of the tenant NAME; those that are not named stay.

    `none` lifts a limit, `default` makes the server's default hold again. What a tenant has already is never deleted
    for a lower quota: nothing more is taken.
    """
    check_tenant(name)
    changes = {field: given[0] for field, given in limits.items() if given is not None}
    if not changes:
        raise click.UsageError("say at least one of --max-bytes, --max-datasets, --max-items and --max-image-pixels")
    with lasting_store(store, what="a quota") as opened:
        folder = ScopedStore(opened, f"{TENANTS}/{name}")
        quota = change_quota(folder, changes)
        used = Meter(folder).total()
    _tell(name, quota, used)
    Console.current().note(f"running servers keep to it within {REMEMBERED_S:.0f} seconds")


def _tell(name: str, quota: Quota, used: Usage) -> None:
    rows: list[tuple[str, int, int | None, Callable[[int], str]]] = [
        ("bytes", used.bytes, quota.max_bytes, show_bytes),
        ("datasets", used.datasets, quota.max_datasets, str),
        ("items", used.items, quota.max_items, str),
    ]
    console = Console.current()
    console.result(
        {"tenant": name, "quota": quota, "used": used},
        Rows(
            [
                *([what, shown(has), f"of {_limit(limit, shown)}"] for what, has, limit, shown in rows),
                ["pixels of an image", "", f"at most {_limit(quota.max_image_pixels, str)}"],
            ]
        ),
    )
    passed = [what for what, has, limit, _ in rows if limit and has > limit]
    if passed:
        console.warn(f"tenant {name} has more than its quota of {' and '.join(passed)}: no more is taken")


def _limit(limit: int | None, shown: Callable[[int], str]) -> str:
    if limit is None:
        return "the server's default"
    return shown(limit) if limit else "any number"
