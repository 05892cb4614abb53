"""Names that users type: families, releases, aliases and variants."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seedzoo.errors import RequestError

__all__ = ["DEFAULT_ALIAS", "FamilyRef", "VariantRef", "check_name", "is_name", "parse_family", "parse_variant"]

DEFAULT_ALIAS = "stable"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class FamilyRef:
    """``<family>`` or ``<family>@<alias or release>``."""

    family: str
    at: str = DEFAULT_ALIAS

    def __str__(self) -> str:
        return self.family if self.at == DEFAULT_ALIAS else f"{self.family}@{self.at}"


@dataclass(frozen=True, slots=True)
class VariantRef:
    """``<family>/<tag>`` or ``<family>@<alias or release>/<tag>``."""

    family: FamilyRef
    tag: str

    def __str__(self) -> str:
        return f"{self.family}/{self.tag}"


def is_name(text: str) -> bool:
    """Whether something can be called so: letters, digits, ``-`` and ``_``, at most 64."""
    return _NAME.fullmatch(text) is not None


def check_name(name: str, what: str) -> str:
    """Return a name of letters, digits, ``-`` and ``_`` (at most 64), or raise RequestError saying ``what`` it is."""
    if not is_name(name):
        shown = name if len(name) <= 80 else name[:80] + "…"
        raise RequestError(
            f"{shown!r} is no {what}",
            hint="Names have 1 to 64 letters, digits, - or _.",
            reason="NAME_INVALID",
            field=what,
        )
    return name


def parse_family(text: str) -> FamilyRef:
    """Parse a family reference. Raises RequestError."""
    family, separator, at = text.partition("@")
    return FamilyRef(check_name(family, "family"), check_name(at, "alias or release") if separator else DEFAULT_ALIAS)


def parse_variant(text: str) -> VariantRef:
    """Parse a variant reference. Raises RequestError."""
    family, separator, tag = text.partition("/")
    if not separator:
        raise RequestError(
            f"{text[:80]!r} names no variant", hint="Write it as FAMILY/TAG, for example fashion-cnn/s007.",
            reason="NAME_INVALID", field="variant",
        )  # fmt: skip
    return VariantRef(parse_family(family), check_name(tag, "variant"))
