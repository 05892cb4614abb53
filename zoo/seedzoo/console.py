"""One sink for all commands: what goes to stdout and stderr, in which form, and how an error looks.

Data go to stdout; progress, notes, hints and warnings go to stderr. With ``--json``, stdout holds exactly one JSON
document: the result, or ``{"error": {"reason", "message", "hint"}}`` with what the command adds (``dataset_id``); the
error's human line is on stderr as well, so that it is seen when stdout is piped into a parser. Text from elsewhere
(class names, file names, a server's messages) passes through :func:`plain`: it can neither move the cursor nor be read
as markup. What only terminals need (:mod:`seedzoo.terminal`) is loaded when something is shown to people.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seedzoo.errors import Cancelled, ZooError

if TYPE_CHECKING:
    import rich.console
    from rich.console import RenderableType
    from rich.progress import Progress

__all__ = [
    "BROKEN_PIPE",
    "EXIT_CODES",
    "EXIT_CODES_HELP",
    "Console",
    "Rows",
    "add_output_options",
    "plain",
    "run_guarded",
    "to_plain_data",
]

BROKEN_PIPE = 141
"""What a shell reports for a program that died of SIGPIPE; ours ends on its own with the same number."""

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "an unexpected failure; --debug shows where",
    2: "the command line cannot be understood",
    3: "the data, recipe or an argument cannot be used",
    4: "no such family, variant, dataset or file in the store",
    5: "the name is taken, or somebody else changed the same thing",
    6: "stored or received bytes are not what was published",
    7: "the object store failed or cannot be used",
    8: "a quota or size limit",
    9: "no server answers, or it cannot answer now",
    10: "an optional part of seedzoo is not installed",
    11: "this machine refused: disk full, port taken, no permission",
    12: "access denied: no valid token, or its role does not allow this",
    130: "stopped by Ctrl-C; what was done is kept",
    BROKEN_PIPE: "whoever read the output closed it (| head)",
}

EXIT_CODES_HELP = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {text}" for code, text in EXIT_CODES.items())

# Bidirectional controls reorder what is read; everything else invisible that scripts need (joiners) stays.
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_META_KEY = "seedzoo.console"


def plain(text: object) -> str:
    """``text`` on one line without anything that a terminal acts on; unprintable characters become escapes."""
    return "".join(_printable(char) for char in str(text))


def _printable(char: str) -> str:
    if char in "\n\r\t":
        return " "
    if char in _REORDERING or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):
        return char.encode("unicode_escape").decode("ascii")
    return char


def to_plain_data(value: Any) -> Any:
    """Records, paths, enums and arrays as what JSON knows; NaN and infinity become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain_data(item) for item in value]
    if (tolist := getattr(value, "tolist", None)) is not None:  # numpy, which this module does not import
        return to_plain_data(tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int | None) else str(value)


class Rows:
    """Rows for other programs as much as for people: cells between tabs, never wrapped, cut or styled."""

    def __init__(self, rows: Iterable[Iterable[object]]) -> None:
        self.text = "".join("\t".join(plain(cell) for cell in row) + "\n" for row in rows)


class Console:
    """Where a command puts what it has to say.

    Args:
        json_mode: Print one JSON document instead of text for people.
        quiet: No progress, notes and hints; results, warnings and errors stay.
        debug: Show the traceback of an error.
    """

    def __init__(self, *, json_mode: bool = False, quiet: bool = False, debug: bool = False) -> None:
        self.json_mode = json_mode
        self.quiet = quiet
        self.debug = debug
        self.error_details: dict[str, Any] = {}
        """What the JSON document of an error says as well: what a script needs to clean up."""
        self._answered = False

    @cached_property
    def out(self) -> rich.console.Console:
        """What people read as the answer."""
        from seedzoo.terminal import Stream  # noqa: PLC0415

        return Stream(stderr=False)

    @cached_property
    def err(self) -> rich.console.Console:
        """What people read beside it."""
        from seedzoo.terminal import Stream  # noqa: PLC0415

        return Stream(stderr=True)

    @classmethod
    def current(cls) -> Console:
        """The sink of the running command; outside of one, a new sink for people."""
        context = click.get_current_context(silent=True)
        if context is None:
            return cls()
        found = context.find_object(cls)
        if found is None:
            found = context.meta.setdefault(_META_KEY, cls())
        return found

    def result(self, data: Any, *human: RenderableType | Rows) -> None:
        """Print a command's answer: ``data`` as the one JSON document, or else the ``human`` parts.

        Raises:
            RuntimeError: A second answer in JSON mode: two documents cannot be parsed as one.
        """
        if not self.json_mode:
            for part in human:
                if isinstance(part, Rows):
                    sys.stdout.write(part.text)
                else:
                    self._show(part)
            return
        if self._answered:
            raise RuntimeError("a command answers once in JSON mode")
        self._answered = True
        self._print_json(data)

    def note(self, text: str) -> None:
        """What is going on, for people, on stderr."""
        if not self.quiet:
            self._say("", text, style="dim")

    def hint(self, text: str) -> None:
        """What to do next, on stderr; nobody reads it in JSON mode."""
        if not (self.quiet or self.json_mode):
            self._say("hint: ", text, style="cyan")

    def warn(self, text: str) -> None:
        """Something that the user should know although the command goes on, on stderr."""
        self._say("warning: ", text, style="yellow")

    def error(self, error: ZooError) -> None:
        """One line that says what is wrong, and one that says what to do."""
        self._say("error: ", error.message, style="bold red")
        if error.hint:
            self._say("hint: ", error.hint, style="cyan")
        if self.json_mode and not self._answered:
            self._answered = True
            told = {"reason": error.reason, "message": error.message, "hint": error.hint}
            self._print_json({"error": {**told, **self.error_details}})
        if self.debug:
            sys.stderr.write("".join(traceback.format_exception(error)))

    def progress(self) -> Progress:
        """A progress bar on stderr that is gone when done; silent where nobody watches."""
        from seedzoo.terminal import progress_bar  # noqa: PLC0415

        return progress_bar(self.err, disable=self.quiet or not self.err.is_terminal)

    @contextmanager
    def resumable(self, kept: str, *, hint: str = "Run the same command again to go on.") -> Iterator[None]:
        """Turn Ctrl-C inside into :class:`Cancelled` that says what is ``kept`` and how to resume."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            raise Cancelled(f"stopped; {kept}", hint=hint) from interrupt

    def _show(self, part: RenderableType) -> None:
        from seedzoo.terminal import Unpadded  # noqa: PLC0415

        self.out.print(Unpadded(part))

    def _say(self, label: str, text: str, *, style: str) -> None:
        from rich.text import Text  # noqa: PLC0415

        line = Text(label, style=style)
        line.append(plain(text), style="dim" if style == "dim" else "default")
        # Wrapping would break paths and commands that people copy; the terminal wraps without changing them.
        self.err.print(line, soft_wrap=True)

    def _print_json(self, data: Any) -> None:
        # ASCII escapes also keep control characters of foreign text away from the terminal.
        text = json.dumps(to_plain_data(data), indent=2, ensure_ascii=True, allow_nan=False)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _flag_setter(attribute: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def set_flag(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            setattr(Console.current(), attribute, True)

    return set_flag


_OUTPUT_FLAGS = (
    ("--json", "json_mode", "Print one JSON document on stdout."),
    ("--quiet", "quiet", "No progress, notes and hints."),
    ("--debug", "debug", "Show the traceback of an error."),
)


def add_output_options(command: click.Command) -> click.Command:
    """Give ``command`` (and its subcommands) ``--json``, ``--quiet`` and ``--debug``, unless it has them."""
    taken = {name for parameter in command.params for name in parameter.opts}
    for flag, attribute, text in _OUTPUT_FLAGS:
        if flag not in taken:
            option = click.Option(
                [flag, f"output_{attribute}"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_flag_setter(attribute),
                help=text,
            )
            command.params.append(option)
    if isinstance(command, click.Group):
        for child in command.commands.values():
            add_output_options(child)
    return command


def run_guarded(console: Console, action: Callable[[], Any]) -> int:
    """Run a command and turn whatever ends it into an exit code and, where it failed, one clear error.

    Args:
        console: Where errors go.
        action: Runs the click command with ``standalone_mode=False``.
    """
    try:
        code = action()
        sys.stdout.flush()
    except ZooError as error:
        console.error(error)
        return error.exit_code
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except click.ClickException as error:
        console.error(_usage_error(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        stopped = Cancelled("stopped by Ctrl-C", hint="Run the same command again.")
        console.error(stopped)
        return stopped.exit_code
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug is told in one line too
        failure = ZooError(
            f"unexpected {type(error).__name__}: {error}",
            hint="This is a bug in seedzoo: run again with --debug and report what it prints.",
            reason="UNEXPECTED",
        )
        failure.__cause__ = error
        console.error(failure)
        return failure.exit_code
    return code if isinstance(code, int) and not isinstance(code, bool) else 0


def _usage_error(error: click.ClickException) -> ZooError:
    context = getattr(error, "ctx", None)
    hint = f"See `{context.command_path} --help`." if context is not None else ""
    message = error.format_message().strip() or "a command is missing"
    return ZooError(message[0].lower() + message[1:].rstrip("."), hint=hint, reason="USAGE")


def _silence_stdout() -> None:
    # Python flushes stdout once more at exit and would complain about the closed pipe.
    with suppress(OSError, ValueError, AttributeError):
        descriptor = os.open(Path(os.devnull), os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
