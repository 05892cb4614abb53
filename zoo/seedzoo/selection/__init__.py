"""The statistical core: which variant is best on the user's examples, and what the data can vouch for.

numpy and scipy only, no input or output. Wrong arguments raise ``ValueError``; callers translate.
"""

from seedzoo.selection.active import ActiveSelector
from seedzoo.selection.choice import BEST_HELD_OUT, FAMILY_MEAN, Choice, choose
from seedzoo.selection.equivalence import EquivalenceResult, equivalence_to_mean
from seedzoo.selection.intervals import Interval, wilson, wilson_at
from seedzoo.selection.metric_choice import choose_by_metric
from seedzoo.selection.objectives import OBJECTIVES, Inputs, Metric, accuracy_scores, objective
from seedzoo.selection.prior import Prior, fit_prior, rank_unlabeled
from seedzoo.selection.race import FAST_LEVEL, Race
from seedzoo.selection.required_choice import (
    RequiredChoice,
    choose_by_metric_with_requirements,
    choose_with_requirements,
)
from seedzoo.selection.requirements import (
    Evidence,
    ProfileCounts,
    Requirement,
    RequirementStatus,
    Status,
    evaluate_requirements,
    parse_requirement,
)
from seedzoo.selection.signatures import Signature, estimated_proportions, signature

__all__ = [
    "BEST_HELD_OUT",
    "FAMILY_MEAN",
    "FAST_LEVEL",
    "OBJECTIVES",
    "ActiveSelector",
    "Choice",
    "EquivalenceResult",
    "Evidence",
    "Inputs",
    "Interval",
    "Metric",
    "Prior",
    "ProfileCounts",
    "Race",
    "RequiredChoice",
    "Requirement",
    "RequirementStatus",
    "Signature",
    "Status",
    "accuracy_scores",
    "choose",
    "choose_by_metric",
    "choose_by_metric_with_requirements",
    "choose_with_requirements",
    "equivalence_to_mean",
    "estimated_proportions",
    "evaluate_requirements",
    "fit_prior",
    "objective",
    "parse_requirement",
    "rank_unlabeled",
    "signature",
    "wilson",
    "wilson_at",
]
