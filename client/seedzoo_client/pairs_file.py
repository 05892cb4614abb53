"""Read a file of pairs: a CSV with two columns, one JSON object, or a TOML file."""

from __future__ import annotations

import csv
import io
import json
import os
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedzoo.errors import DataError

__all__ = ["PairsFile", "read_text", "separator_hint", "why"]


def separator_hint(line: str) -> str:
    """What to do about a first line that seems to be separated by something else than commas; empty where it is not."""
    if "\t" in line and line.count("\t") >= line.count(","):
        return "It seems to be separated by tabs: save it as CSV, separated by commas."
    if ";" in line and "," in line:
        return "It seems to be separated by semicolons, with a comma in its first line: save it separated by commas."
    return ""


def why(error: ValueError | RecursionError) -> str:
    """What is wrong with a JSON or TOML text, in words for those who wrote it."""
    if isinstance(error, json.JSONDecodeError | tomllib.TOMLDecodeError):
        return str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    # Python reads no integer of more than 4,300 digits.
    return "it holds a number that is too long" if "digits" in str(error) else str(error)


def read_text(path: Path, *, what: str, bad: Callable[[str, str], DataError]) -> str:
    """The text of a file in UTF-8.

    Args:
        path: The file.
        what: What it is, for messages.
        bad: Makes the error from a message and a hint.

    Raises:
        DataError: It cannot be read, or is no such text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise bad(f"cannot read the {what} {path}: {error.strerror or error}", "") from error
    except ValueError as error:
        # Also a path with a NUL in it.
        raise bad(f"the {what} {path} is not UTF-8 text", "") from error


@dataclass(frozen=True, slots=True)
class PairsFile:
    """What such a file is called, and what stands in it.

    Args:
        what: For messages: ``label map``.
        header: The header line that a CSV file may have, in lower case.
        json_example: What to write instead of JSON that is no object.
        reason: Stable code of the errors.
    """

    what: str
    header: tuple[str, str]
    json_example: str
    reason: str

    def read(self, source: str | os.PathLike[str]) -> list[tuple[Any, Any]]:
        """All pairs, in order; a name that occurs twice is there twice.

        Raises:
            DataError: The file cannot be read, or is of another form; says where.
        """
        path = Path(source)
        readers = {".csv": self._read_csv, ".json": self._read_json, ".toml": self._read_toml}
        reader = readers.get(path.suffix.lower())
        if reader is None:
            raise self.bad(f"{path} is no {self.what}", hint="Give a .csv, .json or .toml file.")
        return reader(read_text(path, what=self.what, bad=lambda message, hint: self.bad(message, hint=hint)), path)

    def bad(self, message: str, *, hint: str = "") -> DataError:
        """An error with this file's reason code."""
        return DataError(message, hint=hint, reason=self.reason)

    def _read_csv(self, text: str, path: Path) -> list[tuple[Any, Any]]:
        pairs: list[tuple[Any, Any]] = []
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        try:
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != 2:
                    raise self.bad(
                        f"{path}, line {rows.line_num}: {len(row)} columns instead of two",
                        hint=separator_hint(text.lstrip().partition("\n")[0]) or f"Write `{','.join(self.header)}`.",
                    )
                pairs.append((row[0].strip(), row[1].strip()))
        except csv.Error as error:
            raise self.bad(f"{path}, line {rows.line_num}: {error}") from error
        if pairs and tuple(cell.lower() for cell in pairs[0]) == self.header:
            del pairs[0]
        return pairs

    def _read_json(self, text: str, path: Path) -> list[tuple[Any, Any]]:
        try:
            # Pairs, because a dict would keep one of two contradicting lines silently.
            loaded = json.loads(text, object_pairs_hook=tuple)
        except (ValueError, RecursionError) as error:
            raise self.bad(f"{path} is not valid JSON: {why(error)}") from error
        if not isinstance(loaded, tuple):
            raise self.bad(f"{path} is not one JSON object", hint=f"Write {self.json_example}.")
        return list(loaded)

    def _read_toml(self, text: str, path: Path) -> list[tuple[Any, Any]]:
        try:
            return list(tomllib.loads(text).items())
        except (ValueError, RecursionError) as error:
            raise self.bad(f"{path} is not valid TOML: {why(error)}") from error


def _delimiter(text: str) -> str:
    """Semicolons, as spreadsheets in half of Europe write them, only where commas do not make two columns."""
    for delimiter in ",;":
        with suppress(csv.Error):
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            first = next((row for row in rows if any(cell.strip() for cell in row)), [])
            if len(first) == 2:
                return delimiter
    return ","
