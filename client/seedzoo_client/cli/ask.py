"""Questions of `zoo label` to a person at a terminal, or to a program that writes answers to stdin line by line."""

from __future__ import annotations

import difflib
import re
import sys

import click
from rich.text import Text

from seedzoo.console import Console, plain
from seedzoo.errors import DataError
from seedzoo_client.labelling import Question
from seedzoo_client.labels import ClassMatcher, shorten
from seedzoo_client.quoting import quoted

__all__ = ["Asker", "StoppedError"]

_MOST_LISTED = 30
_COMPARED = 200
_NO_SKIPPING = (
    "a question cannot be skipped: leaving out images that are hard to tell would bias the choice; "
    "give the likeliest class, or q to stop and go on later"
)


class StoppedError(Exception):
    """No more answers come.

    Args:
        asked_to: Whether somebody said so, rather than the input just ending.
    """

    def __init__(self, *, asked_to: bool) -> None:
        super().__init__()
        self.asked_to = asked_to


class Asker:
    """Asks on stderr, reads from stdin.

    An answer is a class name (case and separators do not matter, the label map applies), a number of the list, ``?``
    for the list, or ``q``. Where names are numbers themselves, those of the list are written ``#3``; that is always
    possible, also for a class that is called ``q``.

    Args:
        console: Where questions go.
        matcher: Finds classes.
        numeric_names: Whether what looks like a number may be a name.
        open_images: Show each image with the program that opens it.
    """

    def __init__(self, console: Console, matcher: ClassMatcher, *, numeric_names: bool, open_images: bool) -> None:
        self._console = console
        self._matcher = matcher
        self._mark = "#" if numeric_names else ""
        self._open = open_images
        self._watched = sys.stdin.isatty()
        self._introduced = False

    def __call__(self, question: Question, lead: str) -> int:
        """The class of an image.

        Args:
            question: The image.
            lead: Begins the line that names it.

        Raises:
            StoppedError: The answer is q, or no more come.
            DataError: What a program wrote is no answer; a person is asked again.
        """
        if not self._introduced:
            self._introduced = True
            if len(self._matcher.classes) <= _MOST_LISTED:
                self._list()
            self._say("Class name or number; ? lists the classes, q stops (all answers are kept).", style="dim")
        self._say(f"{lead} {question.path}", style="bold")
        if self._open and click.launch(str(question.path)):
            self._open = False
            self._console.warn("no program here opens images")
        while True:
            label = self._answer(self._line())
            if label is not None:
                return label

    def _line(self) -> str:
        if self._watched:
            self._console.err.print("class> ", end="")
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError as error:
            raise DataError("the answers on stdin are not text", hint="Write one class name a line.") from error
        if not line:
            if self._watched:
                self._say("")
            # At a terminal it takes a Ctrl-D.
            raise StoppedError(asked_to=self._watched)
        return line.strip()

    def _answer(self, text: str) -> int | None:
        if text == "?":
            self._list()
            return None
        if text.lower() == "q":
            raise StoppedError(asked_to=True)
        number = re.fullmatch(r"#\s*(\d+)" if self._mark else r"#?\s*(\d+)", text)
        label = int(number[1]) - 1 if number else self._matcher.index(text)
        if label is not None and 0 <= label < len(self._matcher.classes):
            return label
        problem = self._problem(text)
        if not self._watched:
            raise DataError(
                f"answer on stdin: {problem}",
                hint="Write one class name a line; the answers before it are kept.",
                reason="ANSWER_UNKNOWN",
            )
        self._say(problem, style="yellow")
        return None

    def _problem(self, text: str) -> str:
        if text.lower() in ("s", "skip", ""):
            return _NO_SKIPPING
        names = self._matcher.classes
        close = difflib.get_close_matches(text[:_COMPARED].lower(), [name.lower() for name in names], n=1)
        guess = next((f"; did you mean {quoted(name)}?" for name in names if close and name.lower() == close[0]), "")
        return f"{quoted(text)} is no class{guess or f'; there are: {shorten(names)}'}"

    def _list(self) -> None:
        width = len(str(len(self._matcher.classes)))
        for number, name in enumerate(self._matcher.classes, start=1):
            self._say(f"  {self._mark}{number:<{width}}  {name}")

    def _say(self, text: str, *, style: str = "") -> None:
        self._console.err.print(Text(plain(text), style=style), soft_wrap=True)
