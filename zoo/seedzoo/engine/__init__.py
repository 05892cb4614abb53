"""The engine: a user's examples and a family's variants in, a report out.

It knows nothing of where examples come from or who asks; the server runs it for uploaded datasets.
"""

from seedzoo.engine.checks import check_selection
from seedzoo.engine.evaluation import FamilyEvaluator
from seedzoo.engine.examples import Examples
from seedzoo.engine.profile_counts import profile_counts
from seedzoo.engine.run import run_selection
from seedzoo.engine.settings import SelectionSettings

__all__ = ["Examples", "FamilyEvaluator", "SelectionSettings", "check_selection", "profile_counts", "run_selection"]
