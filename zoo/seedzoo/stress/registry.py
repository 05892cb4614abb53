"""The registry: every condition by its name, and suites of them.

`register` adds a kind of condition; a suite is an ordered choice among the registered conditions.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from seedzoo.errors import AlreadyExists, NotFound
from seedzoo.stress.condition import Condition, Examples, Kind
from seedzoo.stress.corruptions import IMAGE_KINDS
from seedzoo.stress.corruptions.imagenet_c import PUBLISHED_KINDS, PUBLISHED_SUITES
from seedzoo.stress.corruptions.mnist_c import MNIST_SHAPES_SUITE, SHAPE_KINDS
from seedzoo.stress.draws import Draws
from seedzoo.stress.suites import SUITES

__all__ = ["ID", "Registry", "conditions", "get_condition", "register", "suite", "suite_names"]

_LISTED = 20


class Registry:
    """Conditions by name, in the order of their registration.

    Args:
        suites: Suite name -> kind name -> severities; no severity for a kind without degrees.
    """

    def __init__(self, suites: Mapping[str, Mapping[str, tuple[int, ...]]] | None = None) -> None:
        self._conditions: dict[str, Condition] = {}
        self._suites = dict(suites or {})

    def register(self, kind: Kind) -> tuple[Condition, ...]:
        """Add a kind's conditions.

        Returns:
            The conditions, mild to strong.

        Raises:
            AlreadyExists: A condition has one of these names; then none is added.
        """
        added = kind.conditions()
        for one in added:
            if one.name in self._conditions:
                raise AlreadyExists(
                    f"there is already a condition {one.name!r}",
                    hint="Choose another name for the kind.",
                    field="name",
                )
        self._conditions.update({one.name: one for one in added})
        return added

    def get_condition(self, name: str) -> Condition:
        """The condition of that name.

        Raises:
            NotFound: There is none; the message names near matches.
        """
        if name not in self._conditions:
            raise _not_found("condition", name, self._conditions)
        return self._conditions[name]

    def conditions(self) -> tuple[Condition, ...]:
        """All conditions."""
        return tuple(self._conditions.values())

    def suite(self, name: str) -> tuple[Condition, ...]:
        """The conditions of a suite, in its order.

        Raises:
            NotFound: There is no such suite, or it names a condition that is not registered.
        """
        if name not in self._suites:
            raise _not_found("suite", name, self._suites)
        return tuple(
            self.get_condition(f"{kind}-{severity}" if severity else kind)
            for kind, severities in self._suites[name].items()
            for severity in severities or (0,)
        )

    def suite_names(self) -> tuple[str, ...]:
        """The names of the suites."""
        return tuple(self._suites)


def _not_found(what: str, name: str, known: Collection[str]) -> NotFound:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    there_are = (
        f"There are: {', '.join(sorted(known))}." if len(known) <= _LISTED else "`zoo stress --list` has them all."
    )
    hint = f"Did you mean {' or '.join(near)}?" if near else there_are
    found = f"; near matches: {', '.join(near)}" if near else ""
    return NotFound(f"no {what} is named {name!r}{found}", hint=hint, field=what)


def _identity(examples: Examples, draws: Draws) -> Examples:  # noqa: ARG001 - every transform takes draws
    return examples.copy()


ID = Kind(name="id", function=_identity, description="In distribution: the examples as they are")

_REGISTRY = Registry({**SUITES, **PUBLISHED_SUITES, **MNIST_SHAPES_SUITE})
for _kind in (ID, *IMAGE_KINDS, *PUBLISHED_KINDS, *SHAPE_KINDS):
    _REGISTRY.register(_kind)

register = _REGISTRY.register
get_condition = _REGISTRY.get_condition
conditions = _REGISTRY.conditions
suite = _REGISTRY.suite
suite_names = _REGISTRY.suite_names
