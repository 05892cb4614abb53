"""The statistical core: which variant is best on the user's examples, and what the data can vouch for.

numpy and scipy only, no input or output. Wrong arguments raise ``ValueError``; callers translate.
"""

from seedzoo.selection.choice import BEST_HELD_OUT, FAMILY_MEAN, Choice, choose
from seedzoo.selection.equivalence import EquivalenceResult, equivalence_to_mean
from seedzoo.selection.intervals import Interval, wilson, wilson_at
from seedzoo.selection.objectives import accuracy_scores

__all__ = [
    "BEST_HELD_OUT",
    "FAMILY_MEAN",
    "Choice",
    "EquivalenceResult",
    "Interval",
    "accuracy_scores",
    "choose",
    "equivalence_to_mean",
    "wilson",
    "wilson_at",
]
