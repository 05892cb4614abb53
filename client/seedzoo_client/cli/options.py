"""Options and the connection that several commands share."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seedzoo.console import Console, plain
from seedzoo.errors import IntegrityError, RequestError, ZooError
from seedzoo_client.progress import Progress, ProgressCallback, Stage, ignore

if TYPE_CHECKING:
    from seedzoo_client.client import Client
    from seedzoo_client.local import LocalZoo
    from seedzoo_client.views import ProfileView, VariantView

__all__ = [
    "FilePath",
    "in_store",
    "kept_images",
    "open_client",
    "open_local",
    "open_zoo",
    "profile_of",
    "progress_bar",
    "refuse_both",
    "say_what_is_kept",
    "server_option",
    "store_option",
]

_F = TypeVar("_F", bound=Callable[..., Any])

_PROPOSED = re.compile(r"\bzoo (?:show|variants|download) [\w@./-]*\w")
"""A command of this program with a name, as hints write it."""

_SHOWN = {
    Stage.READING: "Reading images",
    Stage.UPLOADING: "Uploading",
    Stage.QUEUED: "Waiting for the server",
    Stage.LOADING: "Loading variants",
    Stage.EVALUATING: "Evaluating variants",
    Stage.CHOOSING: "Choosing",
    Stage.DOWNLOADING: "Downloading",
    Stage.RECONNECTING: "Trying again",
}


class FilePath(click.Path):
    """A path; the empty text, from an unset variable of a script, is none and not the current folder."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does."""
        if value == "":
            name = "a path" if param is None else param.opts[-1]
            raise RequestError(f"{name} is empty", hint="Name a file or folder; the current one is `.`.")
        return super().convert(value, param, ctx)


def server_option(command: _F) -> _F:
    """Add ``--server``."""
    return click.option(
        "--server",
        metavar="HOST:PORT",
        help="The server; https://HOST:PORT for TLS. Otherwise SEEDZOO_SERVER, config.toml, localhost:7316.",
    )(command)


def store_option(command: _F) -> _F:
    """Add ``--store``."""
    return click.option(
        "--store",
        metavar="DIR|s3://BUCKET/PREFIX",
        help="Work without a server, on this machine: the store that families were published to.",
    )(command)


def refuse_both(server: str | None, store: str | None) -> None:
    """Raise click.UsageError where a server and a store are named."""
    if server is not None and store is not None:
        raise click.UsageError("--store works without a server, --server with one: give one of them")


def open_local(store: str, server: str | None, console: Console, **options: Any) -> LocalZoo:
    """What works without a server, for a command.

    Raises:
        click.UsageError: A server is named as well.
    """
    refuse_both(server, store)
    from seedzoo_client.local import LocalZoo  # noqa: PLC0415

    return LocalZoo(store, on_notice=console.warn, **options)


def open_client(server: str | None) -> Client:
    """A client for a command."""
    from seedzoo_client.client import Client  # noqa: PLC0415 - what needs no server is told before gRPC is loaded

    return Client(server)


def in_store(store: str | None) -> str:
    """The option that repeats the store, for a command that is proposed; empty where a server was asked."""
    return "" if store is None else f" --store {shlex.quote(plain(store))}"


@contextmanager
def open_zoo(server: str | None, store: str | None, console: Console) -> Iterator[Client | LocalZoo]:
    """Where a command that can do without a server looks; commands that its errors propose name the store too.

    Raises:
        click.UsageError: Server and store are named.
    """
    with open_client(server) if store is None else open_local(store, server, console) as zoo:
        try:
            yield zoo
        except ZooError as error:
            error.hint = _PROPOSED.sub(lambda proposed: proposed[0] + in_store(store), error.hint)
            raise


def profile_of(zoo: Client | LocalZoo, variant: VariantView) -> ProfileView:
    """The profile of a variant's own release: an alias could move between two calls.

    Raises:
        IntegrityError: It lacks the variant.
    """
    profile = zoo.profile(f"{variant.family}@{variant.release}" if variant.release else variant.family)
    if variant.tag not in profile.tags:
        raise IntegrityError(f"the profile of {variant.family} has no row for {variant.tag}")
    return profile


@contextmanager
def progress_bar(console: Console, *, begin: str = "Connecting") -> Iterator[ProgressCallback]:
    """A bar on stderr for what :class:`Client` reports; ``begin`` stands there until it does."""
    if console.quiet:
        yield ignore
        return
    with console.progress() as bars:
        task = bars.add_task(begin, total=None, detail="")
        shown: Stage | None = None

        def show(progress: Progress) -> None:
            nonlocal shown
            if progress.stage is Stage.RECONNECTING and shown is not Stage.RECONNECTING:
                # Seen also where no bar is: the command is not stuck.
                console.note(f"{progress.detail}, trying again")
            if progress.stage is not shown and progress.stage in _SHOWN:
                shown = progress.stage
                # A new stage counts something else: the speed of the old one says nothing about it.
                bars.reset(task, description=_SHOWN[shown], total=progress.total or None)
            detail = ""
            if progress.stage is Stage.EVALUATING and progress.leader:
                detail = f"leading: {progress.leader}"
            bars.update(task, completed=progress.done, total=progress.total or None, detail=detail)

        yield show


def kept_images(dataset_id: str) -> str:
    """Until when the server has the images."""
    return (
        f"your images stay on the server until: zoo forget {dataset_id} "
        "(or a week after their last use, unless its operator says otherwise)"
    )


def say_what_is_kept(console: Console, client: Client, error: BaseException) -> None:
    """Name what a command that failed leaves on the server: nobody else knows what to delete."""
    from seedzoo_client.labelling_state import DATA_GONE  # noqa: PLC0415

    if client.last_dataset_id is None or getattr(error, "reason", "") in DATA_GONE:
        return
    console.error_details["dataset_id"] = client.last_dataset_id
    console.note(kept_images(client.last_dataset_id))
