"""Which of the server's families a user's class names mean, where none was named."""

from __future__ import annotations

from collections.abc import Sequence

from seedzoo.errors import DataError, NotFound, RequestError
from seedzoo_client.datasets import LocalDataset, bind
from seedzoo_client.labels import ClassMatcher, LabelMap, shorten
from seedzoo_client.scan import Scan
from seedzoo_client.views import FamilyView

__all__ = ["browse_only", "fitting_family"]


def browse_only(family: FamilyView, families: Sequence[FamilyView], *, kind: str = "server") -> RequestError:
    """The error for what needs the models and the certificate of a family that lacks one of them.

    Args:
        family: The family at fault.
        families: All that the server offers, for the hint.
        kind: What offers them.
    """
    uncertified, hollow = "its variants are not certified equally accurate", "it holds results, and not the models"
    lacks = uncertified if family.model_bytes else hollow
    others = [offered.name for offered in families if not offered.browse_only]
    return RequestError(
        f"family {family.name} is for browsing only: {lacks}",
        hint=f"Families to select from: {shorten(others)}." if others else f"This {kind} has none to select from.",
        reason="FAMILY_BROWSE_ONLY",
        field="family",
    )


def fitting_family(
    scan: Scan, families: Sequence[FamilyView], *, label_map: LabelMap | None, server: str, kind: str = "server"
) -> tuple[str, LocalDataset]:
    """The one family whose classes the labels are, and the data with its labels.

    Args:
        scan: What was found.
        families: All that the server offers; those for browsing only are left out.
        label_map: The user's class names to the task's, or a file with them.
        server: The server's address as people are told.
        kind: What is at that address.

    Raises:
        NotFound: There are no families to select from.
        DataError: The labels fit none of them.
        RequestError: They fit several, or there are none.
    """
    if not families:
        raise NotFound(f"the {kind} {server} offers no families", hint="Publish one: `zoo publish`.")
    if all(offered.browse_only for offered in families):
        raise browse_only(families[0], families, kind=kind)
    families = [offered for offered in families if not offered.browse_only]
    if len(families) == 1:
        return families[0].name, bind(scan, ClassMatcher(families[0].task.classes, label_map))
    if not scan.labels:
        names = [offered.name for offered in families]
        raise RequestError(
            f"no image has a label, so nothing says which family is meant: {shorten(names)}",
            hint=f"Name one: --family {names[0]}.",
            field="family",
        )
    fitting: list[tuple[str, LocalDataset]] = []
    for offered in families:
        try:
            fitting.append((offered.name, bind(scan, ClassMatcher(offered.task.classes, label_map))))
        except DataError:
            # Its classes are others; the families that fit decide.
            continue
    if not fitting:
        offers = "; ".join(f"{found.name} ({shorten(found.task.classes, 10)})" for found in families[:5])
        raise DataError(
            f"no family of {server} has the classes {shorten(scan.labels, 10)}; it has: {offers}",
            hint="Name the family with --family to see what differs, or give --label-map FILE.",
            reason="LABEL_UNKNOWN",
        )
    if len(fitting) > 1:
        names = [name for name, _ in fitting]
        raise RequestError(
            f"the data fit several families: {shorten(names)}", hint=f"Name one: --family {names[0]}.", field="family"
        )
    return fitting[0]
