"""What unlabelled examples and the stress profile say of the variants, with labels or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seedzoo.catalog.selectable import model_of
from seedzoo.engine.report import Circumstances, winner_profile
from seedzoo.errors import DataError
from seedzoo.records import Evidence, Family, SelectionReport, VariantScore
from seedzoo.selection import Prior, Signature, fit_prior, rank_unlabeled, signature
from seedzoo.stress.signature_table import SignatureTable
from seedzoo.stress.table import ProfileTable

__all__ = ["POOL", "family_prior", "mix_warning", "no_signatures", "pool_of", "signatures_of", "unlabelled_report"]

POOL = 2000
"""Examples that the label-free statistics look at; the stress profile's rest on as many."""
_MIX_DISTANCE = 0.2


def pool_of(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """At most :data:`POOL` of these examples, drawn at random, ascending."""
    if len(rows) <= POOL:
        return rows
    return np.sort(np.random.default_rng([seed, len(rows), POOL]).choice(rows, POOL, replace=False))


def family_prior(family: Family, profile: ProfileTable, table: SignatureTable) -> Prior:
    """What the family's stress profile teaches about outputs and accuracy, over the conditions measured of all."""
    accuracy = {(row.variant, row.condition): row.accuracy for row in profile.rows}
    tags = [variant.tag for variant in family.variants]
    rows = [table.variants.index(tag) for tag in tags]
    columns = [column for column, name in enumerate(table.conditions) if all((tag, name) in accuracy for tag in tags)]
    accuracies = [[accuracy[tag, table.conditions[column]] for column in columns] for tag in tags]
    return fit_prior(accuracies, table.signatures[rows][:, columns])


def signatures_of(probabilities: NDArray[np.float32], proportions: Sequence[float] | None) -> list[Signature]:
    """Signature of each of M variants; ``probabilities`` are ``[n, M, C]``, None assumes uniform proportions."""
    shares = None if proportions is None else np.asarray(proportions, dtype=np.float64)
    return [signature(probabilities[:, member], shares) for member in range(probabilities.shape[1])]


def no_signatures(family: Family) -> DataError:
    """The error for a family that cannot be ranked without labels."""
    return DataError(
        f"the release of {family.name} has no signatures, so its variants cannot be ranked without labels",
        hint="Label some images; or the operator builds and publishes the family again.",
        reason="SIGNATURES_MISSING",
    )


def mix_warning(predicted: NDArray[np.int32], proportions: Mapping[str, float], source: str) -> list[str]:
    """A warning where the classes that the variants call are not mixed as was given or assumed.

    It only warns: the mix that is called departs from the truth under many stress conditions without label shift.
    """
    shares = np.array(list(proportions.values()))
    called = np.bincount(predicted.ravel(), minlength=shares.size)[: shares.size] / predicted.size
    distance = float(np.abs(called - shares).sum() / 2)
    if distance <= _MIX_DISTANCE:
        return []
    whose = {"labels": "the labels show", "given": "was given", "assumed": "is assumed"}[source]
    return [
        (
            f"the variants call another mix of classes than {whose} ({100 * distance:.0f} % would have to move): "
            "if the shares of the classes are wrong, so may the ranking be"
        )
    ]


def unlabelled_report(
    around: Circumstances, prior: Prior, signatures: Sequence[Signature], predicted: NDArray[np.int32]
) -> SelectionReport:
    """A ranking without any label: unverified, no accuracy is known.

    Args:
        around: What surrounds it; proportions included.
        prior: From the family's profile.
        signatures: One per variant.
        predicted: int32 ``[n, M]`` what the variants said.
    """
    family = around.family
    expected = rank_unlabeled(signatures, prior)
    held_out = np.array([variant.held_out_accuracy for variant in family.variants])
    ranking = np.lexsort((np.arange(held_out.size), -held_out, -np.round(expected, 12)))
    best = int(ranking[0])
    winner = family.variants[best]
    model = model_of(family.name, winner)
    names = around.names
    shares = around.class_proportions
    return SelectionReport(
        family=family.name,
        release=around.release.id,
        recommended=names[best],
        model_sha256=model.sha256,
        model_size=model.size,
        objective=around.settings.objective,
        n_examples=0,
        alpha=around.settings.alpha,
        delta=around.settings.delta,
        accuracy=None,
        value=None,
        candidates=tuple(names[int(index)] for index in ranking),
        p_within=None,
        detectable=None,
        labels_to_separate=None,
        reason=f"Recommended for the highest expected accuracy, given how {prior.conditions} stress conditions changed "
        "the outputs and the accuracy of these variants. No label verifies it.",
        baselines=(),
        scores=tuple(
            VariantScore(
                variant=names[int(index)],
                accuracy=None,
                value=None,
                candidate=True,
                held_out_accuracy=float(held_out[index]),
                expected_deviation=float(expected[index]),
            )
            for index in ranking
        ),
        profile=winner_profile(winner.tag, family, around.profile),
        class_counts=dict.fromkeys(family.task.classes, 0),
        warnings=(*mix_warning(predicted, shares, around.proportions_source), *around.image_warnings()),
        evaluations=around.evaluations,
        seconds=around.seconds,
        selections_served=around.selections_served,
        evidence=Evidence.NO_LABELS,
        n_unlabelled=around.n_unlabelled,
        class_proportions=dict(shares),
        proportions_source=around.proportions_source,
        evaluation=around.evaluation,
        evaluations_exhaustive=around.evaluations_exhaustive,
        provider=around.provider,
    )
