"""The command group `zoo`: commands are imported when they run, and one place turns failures into exit codes."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from seedzoo.console import BROKEN_PIPE, Console, add_output_options, run_guarded
from seedzoo.errors import MissingExtra, RequestError
from seedzoo_client.extras import lacking

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["ENTRY_POINT_GROUP", "ZooGroup", "missing_extra"]

ENTRY_POINT_GROUP = "seedzoo.commands"

# Entry points carry no description, and importing each command for its help line would need every extra.
_HELP_OF_EXTRAS = {
    "build": "Train, certify, stress and bundle a family from a recipe.",
    "demo": "Run the whole path on this machine: store, server, select, predict.",
    "gc": "Delete what unfinished publishes left in a store.",
    "profile": "Import published results as a family; report a stress profile.",
    "publish": "Publish a built family to a store.",
    "serve": "Start a server.",
    "stress": "Measure a bundle under more conditions.",
    "tenant": "Show and set what tenants may keep on a server.",
    "token": "Make, list and revoke access tokens of a server.",
}
_EXTRA_OF_COMMAND = {
    "build": "train",
    "demo": "demo",
    "gc": "local",
    "publish": "local",
    "serve": "server",
    "tenant": "server",
    "token": "server",
}


def missing_extra(error: ImportError, *, command: str) -> MissingExtra | None:
    """What to install when a command stumbles over a missing optional package; None for any other import error."""
    return lacking(error, what=f"`zoo {command}`", extra=_EXTRA_OF_COMMAND.get(command))


class _Text(click.types.StringParamType):
    """Text that can be sent; a command line in another encoding has characters that cannot."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does."""
        found = click.STRING.convert(value, param, ctx)
        try:
            found.encode()
        except UnicodeEncodeError as error:
            name = (
                "an argument" if param is None else param.opts[-1] if param.param_type_name == "option" else param.name
            )
            raise RequestError(f"{name}: {found[:60]!r} is not UTF-8 text", hint="Type it again.") from error
        return found


_TEXT = _Text()


class ZooGroup(click.Group):
    """A group whose commands live elsewhere.

    Args:
        lazy: Command name to ``("module:attribute", help line)``; imported when the command runs.
        attrs: As for :class:`click.Group`.
    """

    def __init__(self, *, lazy: Mapping[str, tuple[str, str]], **attrs: Any) -> None:
        super().__init__(**attrs)
        self._lazy = dict(lazy)
        add_output_options(self)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands; nothing is imported."""
        return sorted({*super().list_commands(ctx), *self._lazy, *_installed()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name and give it the output options."""
        command = super().get_command(ctx, cmd_name)
        if command is None:
            command = self._import(cmd_name)
        if command is None:
            return None
        for parameter in command.params:
            if parameter.type is click.STRING:
                parameter.type = _TEXT
        return add_output_options(command)

    def _import(self, name: str) -> click.Command | None:
        if name in self._lazy:
            module, _, attribute = self._lazy[name][0].partition(":")
            loaded = getattr(import_module(module), attribute)
        elif (entry := _installed().get(name)) is not None:
            try:
                loaded = entry.load()
            except ImportError as error:
                found = missing_extra(error, command=name)
                if found is None:
                    raise
                raise found from error
        else:
            return None
        if not isinstance(loaded, click.Command):
            raise TypeError(f"the command {name!r} is not a click command: {loaded!r}")
        return loaded

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess at what a mistyped command was meant to be."""
        name = args[0]
        # The installed packages are looked through only for a name that is not one of ours.
        if not (name.startswith("-") or name in self._lazy) and name not in (known := self.list_commands(ctx)):
            close = difflib.get_close_matches(name, known, n=1)
            guess = f"; did you mean '{close[0]}'?" if close else f"; there are: {', '.join(known)}"
            raise click.UsageError(f"there is no command '{name}'{guess}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with lines that are known without importing them."""
        rows = []
        for name in self.list_commands(ctx):
            if name in self._lazy:
                line = self._lazy[name][1]
            elif name in self.commands:
                line = self.commands[name].get_short_help_str()
            else:
                line = _HELP_OF_EXTRAS.get(name, "An installed extension.")
            rows.append((name, line))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; tell which extra is missing; leave quietly when the reader of stdout is gone."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # click would turn it into exit code 1, which means a failure here.
            raise _ReaderGone from None
        except ImportError as error:
            found = missing_extra(error, command=ctx.invoked_subcommand or "")
            if found is None:
                raise
            raise found from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run `zoo` and exit with one of the documented codes."""
        given = list(sys.argv[1:] if args is None else args)
        # An error in the command line is met before the options are; it should still look as asked for.
        flags = set(given[: given.index("--")] if "--" in given else given)
        console = Console(json_mode="--json" in flags, quiet="--quiet" in flags, debug="--debug" in flags)

        def action() -> Any:
            try:
                return super(ZooGroup, self).main(
                    given, prog_name or "zoo", complete_var, standalone_mode=False, obj=console, **extra
                )
            except _ReaderGone:
                raise BrokenPipeError(BROKEN_PIPE, "the reader closed the output") from None

        code = run_guarded(console, action)
        if standalone_mode:
            sys.exit(code)
        return code


class _ReaderGone(Exception):
    """Carries a closed pipe past click."""


def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and most commands do without

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
