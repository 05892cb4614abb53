"""Changes to a recipe from the command line: ``training.epochs=1`` and the like, checked as the file's keys are."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from seedzoo.errors import RecipeError

__all__ = ["override"]


def override(text: str, changes: Sequence[str], *, where: str = "recipe") -> str:
    """A recipe's text with some values replaced.

    Args:
        text: The recipe.
        changes: ``section.key=value``, the value as TOML (``2``, ``0.5``, ``["init"]``, ``{ a = 1 }``); what is no TOML
            value counts as text. A number in a key counts entries of a list: ``seeds.factors.0.levels=2``.
        where: Names the recipe in errors.

    Returns:
        TOML of the changed recipe, without its comments. Whether keys and values can be used is for ``parse_recipe``.

    Raises:
        RecipeError: The text is no TOML, or a change has no ``=`` or leads through something that has no keys.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not valid TOML: {error}") from error
    for change in changes:
        key, separator, value = change.partition("=")
        parts = key.strip().split(".")
        if not separator or not all(parts):
            raise RecipeError(
                f"{where}: cannot read the change {change!r}", hint="Write section.key=value, as in training.epochs=1."
            )
        _set(data, parts, _value(value.strip()), where=where)
    return _document(data)


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if list(parsed) == ["value"] else text


def _set(data: dict[str, Any], parts: list[str], value: Any, *, where: str) -> None:
    holder: Any = data
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(holder, list) and part.isascii() and part.isdigit() and int(part) < len(holder):
            if last:
                holder[int(part)] = value
            else:
                holder = holder[int(part)]
        elif isinstance(holder, dict):
            if last:
                holder[part] = value
            else:
                holder = holder.setdefault(part, {})
        else:
            raise RecipeError(
                f"{where}: unknown key {'.'.join(parts)}",
                hint=f"{'.'.join(parts[:depth])} has no entry {part!r}.",
                field=".".join(parts),
            )


def _document(data: dict[str, Any]) -> str:
    lines = []
    for section, content in data.items():
        if isinstance(content, dict):
            lines += ["", f"[{_key(section)}]", *(f"{_key(key)} = {_toml(value)}" for key, value in content.items())]
        else:
            lines.insert(0, f"{_key(section)} = {_toml(content)}")  # before the first table, or it would belong to one
    return "\n".join(lines).lstrip("\n") + "\n"


def _key(name: str) -> str:
    return name if name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name) else _quoted(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(key)} = {_toml(item)}' for key, item in value.items())} }}"
    return str(value.isoformat())  # TOML's dates and times


def _quoted(text: str) -> str:
    escaped = "".join(
        f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else f"\\{c}" if c in '"\\' else c for c in text
    )
    return f'"{escaped}"'
