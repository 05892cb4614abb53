"""The option ``--store`` of operators' commands that change what a server's store holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.open import open_store
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import RequestError

__all__ = ["lasting_store", "store_option"]

_F = TypeVar("_F", bound=Callable[..., Any])


def store_option(command: _F) -> _F:
    """Add ``--store``."""
    return click.option(
        "--store",
        required=True,
        envvar="SEEDZOO_SERVER_STORE",
        show_envvar=True,
        help="s3://bucket/prefix or a directory: the server's store.",
    )(command)


@contextmanager
def lasting_store(store: str, *, what: str) -> Iterator[ObjectStore]:
    """The opened store; ``what`` is to last in it, so it is not one in memory. Raises RequestError, StoreError."""
    opened = open_store(store)
    if isinstance(opened, MemoryStore):
        raise RequestError(
            f"{what} in memory:// would be gone at once",
            hint="Give the store that the server serves: s3://bucket/prefix or a directory.",
            field="store",
        )
    try:
        yield opened
    finally:
        opened.close()
