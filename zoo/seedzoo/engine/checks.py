"""Whether a selection can be made at all: what was asked, against the user's examples and the family."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seedzoo.catalog.selectable import require_selectable
from seedzoo.engine.examples import Examples
from seedzoo.engine.settings import PROFILE, SelectionSettings, metric_of, parsed_requirements
from seedzoo.errors import DataError, RequestError
from seedzoo.records import Evaluation, Family

__all__ = ["check_selection"]

_LISTED = 12
_WORST_SLICE = "worst_slice"


def check_selection(
    settings: SelectionSettings, family: Family, examples: Examples, conditions: Callable[[], Sequence[str]]
) -> None:
    """Refuse what cannot be done with these examples, before anything is evaluated.

    Args:
        settings: As the user asked.
        family: Whose variants.
        examples: The user's data.
        conditions: Names of the conditions in the family's stress profile; asked for only where a requirement needs it.

    Raises:
        RequestError: The settings cannot be used, or not with these examples; or the family is for browsing only.
        DataError: There are no examples, or labels outside the task.
    """
    require_selectable(family)
    n_classes = len(family.task.classes)
    settings.check(n_classes)
    labels = examples.labels
    if len(labels) == 0:
        raise DataError("the dataset has no examples", reason="DATA_EMPTY")
    if int(labels.max()) >= n_classes:
        raise DataError(
            f"label {int(labels.max())} is outside the {n_classes} classes of {family.name}", reason="LABEL_UNKNOWN"
        )
    if not (labels >= 0).any():
        _check_without_labels(settings)
        return
    metric = metric_of(settings, n_classes)
    if metric.name == _WORST_SLICE:
        _check_one_column(examples, f"the objective {_WORST_SLICE}", "objective")
    for text, requirement in zip(settings.requirements, parsed_requirements(settings), strict=True):
        if requirement.metric == _WORST_SLICE:
            _check_one_column(examples, f"requirement '{text}'", "requirements")
        if requirement.argument is None:
            continue
        if requirement.metric == PROFILE:
            _check_known(text, "the stress profile has no condition", requirement.argument, conditions(), hint="")
            continue
        slices = examples.slices
        hint = " Slices come from columns of the CSV file: --slices COLUMN."
        _check_known(text, "the data have no slice", requirement.argument, list(slices), hint=hint)
        if not (slices[requirement.argument] & (labels >= 0)).any():
            raise RequestError(
                f"requirement '{text}': the slice {requirement.argument!r} has no labelled example",
                field="requirements",
            )


def _check_one_column(examples: Examples, what: str, field: str) -> None:
    if len(examples.slice_columns) != 1:
        raise RequestError(
            f"{what} needs one slice column, the data have {len(examples.slice_columns)}",
            hint="Name one column of the CSV file: --slices COLUMN.",
            field=field,
        )


def _check_known(text: str, lacks: str, name: str, known: Sequence[str], *, hint: str) -> None:
    if name not in known:
        listed = f"{', '.join(known[:_LISTED])}{' ...' if len(known) > _LISTED else ''}"
        raise RequestError(
            f"requirement '{text}': {lacks} {name!r}",
            hint=f"There are: {listed or 'none'}.{hint}",
            field="requirements",
        )


def _check_without_labels(settings: SelectionSettings) -> None:
    hint = "Label some images, or have them asked for one by one: zoo label."
    if settings.objective != "accuracy":
        raise RequestError(
            f"the objective {settings.objective} needs labels, and no example has one", hint=hint, field="objective"
        )
    if settings.requirements:
        raise RequestError(
            "requirements need labels, and no example has one",
            hint=f"{hint} Variants by stress condition: zoo variants FAMILY --filter.",
            field="requirements",
        )
    if settings.evaluation in (Evaluation.RACE, Evaluation.FAST):
        raise RequestError("a race needs labels, and no example has one", hint=hint, field="evaluation")
