"""What a terminal shows: rich streams without markup, bars, and text without blanks at the ends of its lines."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import rich.console
from rich.console import ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

__all__ = ["Stream", "Unpadded", "progress_bar"]

_PIPE_WIDTH = 200
# Narrower than this (COLUMNS=0 in some containers), even folding loses text; the terminal wraps what is too wide.
_NARROWEST = 20


class Stream(rich.console.Console):
    """A rich console that takes no text for markup and raises BrokenPipeError where the reader is gone."""

    def __init__(self, *, stderr: bool) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        # A pipe has no width; 80 columns would cut what `grep` and `less -S` could have used.
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = _PIPE_WIDTH
        elif self.width < _NARROWEST:
            self.width = _NARROWEST

    def on_broken_pipe(self) -> None:
        """Leave it to who runs the command."""
        raise BrokenPipeError(errno.EPIPE, "the reader closed the output")


class Unpadded:
    """What ``part`` looks like, without blanks at the ends of its lines."""

    def __init__(self, part: RenderableType) -> None:
        self._part = Text(part) if isinstance(part, str) else part

    def __rich_console__(self, console: rich.console.Console, options: ConsoleOptions) -> RenderResult:
        """The lines, each cut behind its last visible character."""
        for line in console.render_lines(self._part, options, pad=False):
            yield from _without_end(line)
            yield Segment.line()


def _without_end(line: Sequence[Segment]) -> list[Segment]:
    kept = list(line)
    while kept and not kept[-1].text.rstrip():
        kept.pop()
    if kept:
        last = kept[-1]
        kept[-1] = Segment(last.text.rstrip(), last.style, last.control)
    return kept


def progress_bar(console: rich.console.Console, *, disable: bool) -> Progress:
    """A bar that is gone when done, for tasks with the field ``detail``."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        console=console,
        transient=True,
        disable=disable,
    )
