"""Writes what a benchmark measured into the documentation, between two markers."""

from __future__ import annotations

from pathlib import Path

__all__ = ["replace_between"]


def replace_between(path: Path, name: str, text: str) -> None:
    """Replace what stands between the lines ``<!-- name -->`` and ``<!-- /name -->``.

    Raises:
        ValueError: The file lacks a marker.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    content = path.read_text()
    head, opened, rest = content.partition(begin)
    _, closed, tail = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"{path} has no markers {begin.strip()} and {end}")
    path.write_text(f"{head}{begin}\n{text.strip()}\n\n{end}{tail}")
