"""What requirements on the stress profile rest on: counts of right answers, of every variant on the same examples."""

from __future__ import annotations

from seedzoo.records import Family
from seedzoo.selection import ProfileCounts
from seedzoo.stress.table import ProfileTable

__all__ = ["profile_counts"]


def profile_counts(family: Family, profile: ProfileTable) -> dict[str, ProfileCounts]:
    """Counts by condition, in the order of the family's variants.

    Conditions that a variant was not measured on, or of which only a share is known, or not of equally many examples
    for all, are left out: nothing can be tested on them.
    """
    by_condition: dict[str, dict[str, tuple[int, int]]] = {}
    for row in profile.rows:
        measured = by_condition.setdefault(row.condition, {})
        if row.correct is not None and row.n is not None:
            measured[row.variant] = (row.correct, row.n)
    tags = [variant.tag for variant in family.variants]
    return {
        name: ProfileCounts(correct=[measured[tag][0] for tag in tags], n=measured[tags[0]][1])
        for name, measured in by_condition.items()
        if all(tag in measured for tag in tags) and len({measured[tag][1] for tag in tags}) == 1
    }
