"""The certificate, recomputed: whether its verdicts follow from its numbers, and its numbers agree with the rest.

What cannot be found out without the predictions of every trained variant, whether the numbers were measured, is not
claimed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

from seedzoo.errors import DataError
from seedzoo.records import Certificate, CertificateEntry, Family
from seedzoo.stress.table import ProfileTable

__all__ = ["IN_DISTRIBUTION", "check_certificate"]

IN_DISTRIBUTION = "id"
"""The condition that held-out accuracy is measured on."""

_SAME = 1e-9
"""Largest difference of accuracies that are the same number, computed in another order."""
_RELATIVE = 1e-6
_NORMAL = NormalDist()


def check_certificate(family: Family, profile: ProfileTable | None = None) -> None:
    """Refuse a certificate whose verdicts do not follow from its numbers; a family without one passes.

    The test is that of :func:`seedzoo.selection.equivalence_to_mean`: with level a = alpha / trained, the interval is
    difference -+ z(1 - a) se and p the larger of the two one-sided p-values, so se and p follow from the interval.

    Args:
        family: As read from a bundle or release, and found to keep the rules of publishing.
        profile: Its profile; accuracies on ``id`` are compared where it was measured on as many examples.

    Raises:
        DataError: Says what does not agree (CERTIFICATE_INVALID).
    """
    if family.certificate is None:
        return
    for fault in _faults(family, family.certificate, profile):
        raise DataError(
            f"the certificate of {family.name} does not hold: {fault}",
            hint="Build the family again: its variants are not shown to be equally accurate.",
            reason="CERTIFICATE_INVALID",
        )


def _faults(family: Family, certificate: Certificate, profile: ProfileTable | None) -> Iterator[str]:
    if not (0 < certificate.margin < 1 and 0 < certificate.alpha < 0.5 and 0 <= certificate.family_mean <= 1):
        yield "its margin, level or family mean is out of range"
        return
    if certificate.n_examples < 1 or certificate.trained < 1 or certificate.trained != len(certificate.entries):
        yield f"it counts {certificate.trained} trained variants and tests {len(certificate.entries)}"
        return
    entries = {entry.tag: entry for entry in certificate.entries}
    if len(entries) != certificate.trained:
        yield "it tests a variant twice"
    for entry in certificate.entries:
        yield from _wrong_verdict(entry, certificate)
    if not abs(math.fsum(entry.difference for entry in certificate.entries)) <= _SAME * certificate.trained:
        yield "the differences from the mean of all trained variants do not add up to nothing"
    yield from _wrong_counts(family, certificate, entries)
    for variant in family.variants:
        entry = entries[variant.tag]
        if not abs(variant.held_out_accuracy - certificate.family_mean - entry.difference) <= _SAME:
            yield f"the held-out accuracy of {variant.tag} is not the family mean plus its difference"
    if profile is not None:
        yield from _differing_profile(family, certificate, profile)


def _wrong_verdict(entry: CertificateEntry, certificate: Certificate) -> Iterator[str]:
    margin, level = certificate.margin, certificate.alpha / certificate.trained
    half = (entry.high - entry.low) / 2
    # Written so that NaN is a fault too.
    if not (math.isfinite(half) and half > 0 and abs((entry.low + entry.high) / 2 - entry.difference) <= _SAME):
        yield f"the interval of {entry.tag} is not around its difference"
        return
    error = half / -_NORMAL.inv_cdf(level)
    expected = max(_upper_tail((margin + entry.difference) / error), _upper_tail((margin - entry.difference) / error))
    if not abs(entry.p_value - expected) <= _RELATIVE * expected + 1e-12:
        yield f"the p-value of {entry.tag} is {entry.p_value:.3g}, its interval says {expected:.3g}"
        return
    if abs(entry.p_value - level) <= _RELATIVE * level:
        return  # on the edge, rounding decides
    inside = -margin < entry.low and entry.high < margin
    if not entry.passed == inside == (entry.p_value < level):
        said = "passed" if entry.passed else "failed"
        yield f"{entry.tag} is said to have {said}, its numbers say otherwise"


def _upper_tail(z: float) -> float:
    return math.erfc(z / math.sqrt(2)) / 2


def _wrong_counts(family: Family, certificate: Certificate, entries: dict[str, CertificateEntry]) -> Iterator[str]:
    published = {variant.tag for variant in family.variants}
    passed = {tag for tag, entry in entries.items() if entry.passed}
    if certificate.published != len(published) or not published <= passed:
        yield "it counts other published variants than the family has"
    if set(certificate.set_aside) != passed - published:
        yield "the variants that passed are not those published and those set aside"


def _differing_profile(family: Family, certificate: Certificate, profile: ProfileTable) -> Iterator[str]:
    accuracies = {variant.tag: variant.held_out_accuracy for variant in family.variants}
    for row in profile.rows:
        if row.condition != IN_DISTRIBUTION or row.n != certificate.n_examples or row.variant not in accuracies:
            continue
        if not abs(row.accuracy - accuracies[row.variant]) <= _SAME:
            yield f"the profile has another accuracy of {row.variant} on the same {row.n:,} held-out examples"
