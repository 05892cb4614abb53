"""A published table as a bundle: a family without models or certificate, to be browsed and compared."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from seedzoo.catalog.bundle import FAMILY_FILE, PROFILE_FILE, check_family
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.names import check_name
from seedzoo.errors import AlreadyExists, RequestError
from seedzoo.files import local_failure, write_atomically
from seedzoo.published.table import MODEL, PublishedTable
from seedzoo.records import Family, Preprocessing, Task, TrainingData, Variant
from seedzoo.stress.table import ProfileRow, published_row, write_profile

__all__ = ["Imported", "variant_tags", "write_published"]

_LONGEST = 64
_SHORTENED = 55
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")
_NOT_KNOWN = Preprocessing(height=0, width=0, channels=0)
_SUITE = "published"


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was written.

    Attributes:
        folder: The bundle.
        family: Its manifest.
        conditions: How many conditions the profile has.
        rows: How many results.
    """

    folder: Path
    family: Family
    conditions: int
    rows: int


def variant_tags(models: Sequence[str]) -> tuple[str, ...]:
    """A valid, unique tag for each distinct published name.

    What no tag may hold becomes a hyphen. Where two are then alike (but for case), or a name is longer than a tag may
    be, a piece of its SHA-256 is added, so that no tag depends on the order of the names.
    """
    plain = [_UNFIT.sub("-", name).strip("-_")[:_LONGEST] or "model" for name in models]
    # "README" is the family's card; file systems that ignore case would mix up tags that differ in it alone.
    taken = {"readme": 2}
    for tag in plain:
        taken[tag.lower()] = taken.get(tag.lower(), 0) + 1
    return tuple(
        tag if taken[tag.lower()] == 1 and len(name) <= _LONGEST else f"{tag[:_SHORTENED]}-{_digest(name)}"
        for name, tag in zip(models, plain, strict=True)
    )


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def write_published(
    table: PublishedTable,
    folder: Path,
    *,
    name: str,
    provenance: str,
    title: str = "",
    input_kind: str = "image",
    task: str = "",
    n: Mapping[str, int] | None = None,
    licence: str = "",
) -> Imported:
    """Write the bundle of a published table.

    Args:
        table: The results.
        folder: Where to; it must not exist, or be empty.
        name: The family's name.
        provenance: Where the results come from; not empty.
        title: One line about the family; its name when empty.
        input_kind: image, text or tabular.
        task: Name of the task; the family's when empty.
        n: Condition (or the column or file that it was read from) -> number of examples; conditions without it get
            no intervals.
        licence: Of the results.

    Raises:
        RequestError: The name, the provenance or a condition in ``n`` cannot be used.
        AlreadyExists: The folder holds something.
        LocalFailure: The folder cannot be written.
    """
    check_name(name, "family")
    if not provenance.strip():
        raise RequestError("published results need a source", hint="Say where they come from.", field="source")
    counts = _counts(table, n or {})
    tags = variant_tags(table.models)
    rows = _rows(table, tags, counts)
    family = Family(
        name=name,
        title=title or name,
        task=Task(name=task or name, classes=(), preprocessing=_NOT_KNOWN, input_kind=input_kind),
        variants=tuple(
            Variant(
                tag=tag,
                model=None,
                seeds={},
                held_out_accuracy=float(accuracy),
                factors={**factors, MODEL: model},
            )
            for tag, accuracy, factors, model in zip(
                tags, table.accuracies[:, 0], table.factors, table.models, strict=True
            )
        ),
        certificate=None,
        data=TrainingData(name=table.columns[0].source, train_examples=0, held_out_examples=counts.get("id", 0)),
        licence=licence,
        suite=_SUITE,
        provenance=provenance.strip(),
    )
    check_family(family)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise AlreadyExists(f"{folder} is not empty", hint="Name another folder with --out.", field="out")
    except OSError as error:
        raise local_failure(error, folder) from error
    write_profile(
        rows, folder / PROFILE_FILE, suite=_SUITE, dataset=table.columns[0].source, version=version("seedzoo")
    )
    # The manifest makes a folder a bundle, so it comes last.
    write_atomically(folder / FAMILY_FILE, encode_json(family))
    return Imported(folder=folder, family=family, conditions=len(table.columns), rows=len(rows))


def _counts(table: PublishedTable, given: Mapping[str, int]) -> dict[str, int]:
    names = {**{column.source: column.name for column in table.columns}, **{c.name: c.name for c in table.columns}}
    for name, count in given.items():
        if name not in names:
            raise RequestError(
                f"there is no condition {name!r} to have {count} examples",
                hint=f"There are: {', '.join(column.name for column in table.columns[:12])}.",
                field="n",
            )
    return {names[name]: count for name, count in given.items()}


def _rows(table: PublishedTable, tags: Sequence[str], counts: Mapping[str, int]) -> list[ProfileRow]:
    rows = []
    for k, column in enumerate(table.columns):
        for i, tag in enumerate(tags):
            if np.isnan(table.accuracies[i, k]):
                continue
            row = published_row(
                variant=tag,
                condition=column.name,
                kind=column.kind,
                severity=column.severity,
                accuracy=float(table.accuracies[i, k]),
                n=counts.get(column.name),
            )
            top5 = np.nan if table.top5 is None else table.top5[i, k]
            rows.append(row if np.isnan(top5) else replace(row, top5=float(top5)))
    return rows
