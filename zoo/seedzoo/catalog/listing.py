"""Filter and order of variants: terms over the accuracy on a condition of the profile."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import RequestError
from seedzoo.stress.table import ProfileTable

__all__ = ["Accuracies", "arrange"]

_NAME_BYTES = 80

# A condition's name may hold anything, such as slice/site=a]b or slice/kind=R AND D: it ends before what must follow.
_TERM = re.compile(
    r"\s*accuracy\[(.+?)\]\s*(>=|<=|>|<|=)\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)", re.DOTALL
)
_AND = re.compile(r"\s+AND(?=\s)|\s*$")
_ORDER = re.compile(r"\s*(?:accuracy\[(.+)\]|(tag))\s*(asc|desc)?\s*", re.DOTALL)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq,
}  # fmt: skip


class Tagged(Protocol):
    """Whatever belongs to a variant."""

    @property
    def tag(self) -> str:
        """The variant's tag."""
        ...


Item = TypeVar("Item", bound=Tagged)


class Accuracies(Mapping[str, Mapping[str, float]]):
    """Accuracy by condition, then by tag, for filters and orders; kept as one matrix.

    Args:
        profile: The variants' profile.
    """

    def __init__(self, profile: ProfileTable) -> None:
        columns = profile.columns
        self._tags = columns.variants
        self._columns = {name: index for index, name in enumerate(columns.conditions)}
        self._matrix: NDArray[np.float64] = np.full((len(columns.conditions), len(columns.variants)), math.nan)
        self._matrix[columns.condition, columns.variant] = columns.numbers("accuracy")
        self.size = self._matrix.nbytes + _NAME_BYTES * (len(self._tags) + len(self._columns))
        """About the bytes of memory that it takes."""

    def __getitem__(self, condition: str) -> Mapping[str, float]:
        column = self._matrix[self._columns[condition]].tolist()
        return {tag: value for tag, value in zip(self._tags, column, strict=True) if not math.isnan(value)}

    def __contains__(self, condition: object) -> bool:
        return condition in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def arrange(
    variants: Sequence[Item], accuracies: Mapping[str, Mapping[str, float]], *, where: str, order_by: str
) -> list[Item]:
    """The variants that pass the filter, in the asked order; by tag where none is asked for.

    A variant that was not measured on a condition passes no filter on it and comes last in an order by it.

    Raises:
        RequestError: Filter or order cannot be parsed or name a condition that the profile does not have.
    """
    kept = sorted(variants, key=lambda variant: variant.tag)
    for term in _terms(where):
        values, compare, bound = _column(accuracies, term[1], "filter"), _COMPARE[term[2]], float(term[3])
        kept = [variant for variant in kept if variant.tag in values and compare(values[variant.tag], bound)]
    if order_by.strip():
        parsed = _ORDER.fullmatch(order_by)
        if parsed is None:
            raise _unparsable("order_by", order_by)
        descending = parsed[3] == "desc"
        if parsed[1] is not None:
            column = _column(accuracies, parsed[1], "order_by")
            sign = -1 if descending else 1
            kept.sort(key=lambda variant: sign * column.get(variant.tag, sign * math.inf))
        elif descending:
            kept.reverse()
    return kept


def _terms(where: str) -> Iterator[re.Match[str]]:
    at, more = 0, bool(where.strip())
    while more:
        parsed = _TERM.match(where, at)
        if parsed is None:
            raise _unparsable("filter", where[at:])
        following = _AND.match(where, parsed.end())
        if following is None:
            raise _unparsable("filter", where[parsed.end() :])
        yield parsed
        at, more = following.end(), following.group().endswith("AND")


def _column(accuracies: Mapping[str, Mapping[str, float]], condition: str, field: str) -> Mapping[str, float]:
    if condition not in accuracies:
        near = difflib.get_close_matches(condition, accuracies, n=3)
        raise RequestError(
            f"{field} names condition {condition[:80]!r}, which the profile does not have",
            hint=f"Near names: {', '.join(near)}." if near else "zoo show FAMILY lists the conditions.",
            reason="CONDITION_UNKNOWN",
            field=field,
        )
    return accuracies[condition]


def _unparsable(field: str, text: str) -> RequestError:
    example = "accuracy[pixelate-3] >= 0.6 AND accuracy[id] >= 0.9" if field == "filter" else "accuracy[id] desc"
    return RequestError(f"{field} cannot be read at {text.strip()[:80]!r}", hint=f"Example: {example}", field=field)
