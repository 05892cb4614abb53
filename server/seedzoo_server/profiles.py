"""A stored profile to its wire message."""

from __future__ import annotations

from seedzoo.records import Family, Release
from seedzoo.stress.matrices import profile_matrices
from seedzoo.stress.table import ProfileTable
from seedzoo_protos.v1 import catalog_pb2

__all__ = ["profile_message"]


def profile_message(
    profile: ProfileTable, family: Family, release: Release, *, twins: ProfileTable
) -> catalog_pb2.Profile:
    """A profile as served: accuracies as a matrix and the summary of each condition.

    Args:
        profile: Of the variants; cells may be missing.
        family: Whose variants.
        release: Where it belongs.
        twins: Of the quantised twins, under the tags of their variants; without rows where there are none.
    """
    found = profile_matrices(profile, [variant.tag for variant in family.variants], twins=twins)
    return catalog_pb2.Profile(
        family=family.name,
        release=release.id,
        suite=found.suite,
        tags=found.tags,
        conditions=[catalog_pb2.ConditionSummary(**condition.shown()) for condition in found.conditions],
        accuracy=found.accuracy.ravel().tolist(),
        int8_tags=found.int8_tags,
        int8_accuracy=found.int8_accuracy.ravel().tolist(),
        **{name: matrix.ravel().tolist() for name, matrix in found.metrics.items()},
    )
