"""Class names: the user's, the task's, and the map between them."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seedzoo.errors import DataError, RequestError
from seedzoo_client.pairs_file import PairsFile
from seedzoo_client.quoting import brief, quoted

__all__ = ["ClassMatcher", "LabelMap", "read_label_map", "shorten"]

LabelMap = Mapping[str, str] | str | os.PathLike[str]
"""The user's class name to the task's, or a CSV, JSON or TOML file that holds them."""

_FILE = PairsFile("label map", ("theirs", "ours"), '{"theirs": "ours"}', "LABEL_MAP_INVALID")
_COMPARED = 200
_SEPARATORS = re.compile(r"[\s_/\\-]+")


class ClassMatcher:
    """Finds the task's class that a user's class name means.

    A name goes through the label map first. Then it is matched exactly, then without regard to case, Unicode form and
    separators (a folder cannot be called ``T-shirt/top``).

    Args:
        classes: The task's class names, in order.
        label_map: The user's names to the task's.

    Raises:
        DataError: The map leads to a class that the task does not have.
    """

    def __init__(self, classes: Sequence[str], label_map: LabelMap | None = None) -> None:
        self.classes = tuple(classes)
        self._exact = {name: index for index, name in enumerate(self.classes)}
        self._loose = _unambiguous((_loosely(name), index) for name, index in self._exact.items())
        self._mapped: dict[str, int] = {}
        for theirs, ours in ({} if label_map is None else read_label_map(label_map)).items():
            found = self._own(ours)
            if found is None:
                raise DataError(
                    f"the label map leads {quoted(theirs)} to {quoted(ours)}, which is no class of the task",
                    hint=f"The task has: {shorten(self.classes)}.",
                    reason="LABEL_MAP_INVALID",
                )
            self._mapped[theirs] = found
        self._mapped_loose = _unambiguous((_loosely(name), index) for name, index in self._mapped.items())

    def index(self, name: str) -> int | None:
        """Position of the class that ``name`` means, or None."""
        if name in self._mapped:
            return self._mapped[name]
        if name in self._exact:
            return self._exact[name]
        return self._mapped_loose.get(_loosely(name), self._own(name))

    def is_guess(self, name: str) -> bool:
        """Whether ``name`` matches only when case and separators are disregarded."""
        return name not in self._mapped and name not in self._exact

    def unknown(self, names: Iterable[str], *, source: str) -> DataError | None:
        """The error for those of ``names`` that mean no class; None where all do."""
        strangers = [name for name in names if self.index(name) is None]
        if not strangers:
            return None
        noun = "the class" if len(strangers) == 1 else "the classes"
        # Of a text of any length, the comparison would take as long.
        close = difflib.get_close_matches(_loosely(strangers[0][:_COMPARED]), list(self._loose), n=1)
        near = self.classes[self._loose[close[0]]] if close else ""
        closest = f"Closest to {quoted(strangers[0])} is {quoted(near)}. " if close else ""
        line = f"{brief(strangers[0])},{brief(near or self.classes[0])}"
        return DataError(
            f"{source} has {noun} {shorten(strangers, 5, quote=True)}, which the task does not have; "
            f"it has: {shorten(self.classes)}",
            hint=f"{closest}Rename, or give --label-map FILE with lines such as `{line}`.",
            reason="LABEL_UNKNOWN",
        )

    def _own(self, name: str) -> int | None:
        return self._exact.get(name, self._loose.get(_loosely(name)))


def shorten(names: Sequence[str], limit: int = 20, *, quote: bool = False) -> str:
    """``a, b, c and 7 more``; names of any length are cut."""
    shown = ", ".join(quoted(name) if quote else brief(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def _loosely(name: str) -> str:
    return _SEPARATORS.sub("_", unicodedata.normalize("NFC", name.strip()).casefold())


def _unambiguous(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, set[int]] = {}
    for key, index in pairs:
        found.setdefault(key, set()).add(index)
    return {key: next(iter(indices)) for key, indices in found.items() if len(indices) == 1}


def read_label_map(source: LabelMap) -> dict[str, str]:
    """Read ``theirs -> ours`` from a mapping, or from a CSV (two columns), JSON or TOML file.

    Raises:
        DataError: The file cannot be read, or is no such map; says where.
        RequestError: ``source`` is neither mapping nor path.
    """
    if isinstance(source, Mapping):
        return _checked(source.items(), "the label map")
    if not isinstance(source, str | os.PathLike):
        raise RequestError(
            f"label_map must be a mapping or a file, not {quoted(source)}",
            hint='Give for example {"my bag": "bag"}.',
            field="label_map",
        )
    return _checked(_FILE.read(source), str(source))


def _checked(pairs: Iterable[tuple[Any, Any]], source: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for theirs, ours in pairs:
        if not (isinstance(theirs, str) and isinstance(ours, str) and theirs and ours):
            raise _FILE.bad(f"{source} maps {quoted(theirs)} to {quoted(ours)}; both must be names")
        if found.setdefault(theirs, ours) != ours:
            raise _FILE.bad(f"{source} maps {quoted(theirs)} to both {quoted(found[theirs])} and {quoted(ours)}")
    return found
