"""The profile as a table: Arrow in memory, Parquet on disk. pandas, polars and DuckDB open the file directly.

The file holds a digest of its own contents, so that an edited file is not taken for a measured one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from seedzoo.errors import DataError, IntegrityError
from seedzoo.files import write_atomically
from seedzoo.selection.intervals import wilson

__all__ = [
    "PROFILE_SCHEMA",
    "Measurable",
    "ProfileRow",
    "ProfileTable",
    "profile_bytes",
    "profile_row",
    "published_row",
    "read_profile",
    "write_profile",
]

PROFILE_SCHEMA = pa.schema(
    [
        pa.field("variant", pa.string(), nullable=False),
        pa.field("condition", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("severity", pa.int8(), nullable=True),
        pa.field("n", pa.int32(), nullable=True),
        pa.field("correct", pa.int32(), nullable=True),
        pa.field("accuracy", pa.float64(), nullable=False),
        pa.field("accuracy_low", pa.float64(), nullable=True),
        pa.field("accuracy_high", pa.float64(), nullable=True),
        pa.field("log_loss", pa.float64(), nullable=True),
        pa.field("top5", pa.float64(), nullable=True),
        pa.field("brier", pa.float64(), nullable=True),
        pa.field("ece", pa.float64(), nullable=True),
        pa.field("class_n", pa.list_(pa.int32()), nullable=True),
        pa.field("class_correct", pa.list_(pa.int32()), nullable=True),
    ]
)

_FIELDS = tuple(field.name for field in PROFILE_SCHEMA)
_LATER = frozenset({"top5", "brier", "ece", "class_n", "class_correct"})
"""Columns that profiles of the first version lack."""
_PREFIX = "seedzoo."
_LABELS = ("suite", "dataset", "version")
_SQUARES = "sum_squares"
_DIGEST = "sha256"


@dataclass(frozen=True, kw_only=True)
class ProfileRow:
    """One variant under one condition; the fields are the table's columns.

    Attributes:
        variant: The variant's tag or id.
        condition: The condition's name.
        kind: The condition's kind.
        severity: 1 upwards; None where the kind has no degrees.
        n: Examples evaluated; None where published results do not say.
        correct: Examples predicted right; None where it was published only as a rounded share.
        accuracy: correct / n, or as published.
        accuracy_low: Lower end of the 95 % Wilson interval; None where n is.
        accuracy_high: Upper end of the 95 % Wilson interval; None where n is.
        log_loss: Mean of -ln(probability of the true class), nats.
        top5: Share of the examples whose class is among the five most probable.
        brier: Mean over examples of the sum over classes of (probability - one-hot label)^2, in 0..2.
        ece: Expected calibration error: 15 equal-width bins of the top probability, weighted mean of |accuracy -
            confidence|.
        class_n: Examples of each class, in the task's order.
        class_correct: Of them predicted right.

    What was not measured is None.
    """

    variant: str
    condition: str
    kind: str
    severity: int | None
    n: int | None
    correct: int | None
    accuracy: float
    accuracy_low: float | None
    accuracy_high: float | None
    log_loss: float | None
    top5: float | None = None
    brier: float | None = None
    ece: float | None = None
    class_n: tuple[int, ...] | None = None
    class_correct: tuple[int, ...] | None = None

    @property
    def worst_class(self) -> float | None:
        """Accuracy of the class that is predicted worst, among those with examples; None where not measured."""
        if self.class_n is None or self.class_correct is None:
            return None
        shares = [right / n for right, n in zip(self.class_correct, self.class_n, strict=True) if n]
        return min(shares, default=None)


class Measurable(Protocol):
    """What rows of the profile are about: a synthetic condition or a test set."""

    @property
    def name(self) -> str:
        """Unique name, such as ``pixelate-3`` or ``natural/objectnet``."""
        ...

    @property
    def kind(self) -> str:
        """Its kind, such as ``pixelate`` or ``natural``."""
        ...

    @property
    def severity(self) -> int | None:
        """1 upwards; None where there are no degrees."""
        ...


@dataclass(frozen=True, kw_only=True)
class ProfileTable:
    """A profile read from a file.

    Attributes:
        rows: In the file's order.
        suite: Name of the suite.
        dataset: What it was measured on.
        version: The seedzoo version that measured it.
        sum_squares: Condition -> sum over its examples of the squared number of variants that are right on it (not
            counting quantised twins): with the counts, what the paired test of excess variance needs. Empty in older
            profiles.
    """

    rows: tuple[ProfileRow, ...]
    suite: str
    dataset: str
    version: str
    sum_squares: Mapping[str, int] = field(default_factory=dict)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions, in the order of the rows."""
        return tuple(dict.fromkeys(row.condition for row in self.rows))


def profile_row(
    *,
    variant: str,
    condition: Measurable,
    n: int,
    correct: int,
    log_loss: float | None,
    top5: float | None = None,
    brier: float | None = None,
    ece: float | None = None,
    class_n: Sequence[int] | None = None,
    class_correct: Sequence[int] | None = None,
) -> ProfileRow:
    """A row from what was counted; accuracy and its 95 % Wilson interval follow. Arguments as in :class:`ProfileRow`.

    Raises:
        DataError: n is not positive, or correct is not in 0..n.
    """
    if not 0 <= correct <= n or n < 1:
        raise DataError(f"{variant} under {condition.name}: {correct} of {n} examples right is impossible")
    low, high = wilson(correct / n, n)
    return ProfileRow(
        variant=variant,
        condition=condition.name,
        kind=condition.kind,
        severity=condition.severity,
        n=int(n),
        correct=int(correct),
        accuracy=float(correct / n),
        accuracy_low=float(low),
        accuracy_high=float(high),
        log_loss=None if log_loss is None else float(log_loss),
        top5=top5,
        brier=brier,
        ece=ece,
        class_n=None if class_n is None else tuple(map(int, class_n)),
        class_correct=None if class_correct is None else tuple(map(int, class_correct)),
    )


def published_row(
    *, variant: str, condition: str, kind: str, accuracy: float, severity: int | None = None, n: int | None = None
) -> ProfileRow:
    """A row from a published accuracy, a share in 0..1; with n the count and its Wilson interval follow.

    Raises:
        DataError: The accuracy is no share, or n is not positive.
    """
    if not 0 <= accuracy <= 1 or (n is not None and n < 1):
        raise DataError(f"{variant} under {condition}: accuracy {accuracy} of {n} examples is impossible")
    low, high = (None, None) if n is None else map(float, wilson(accuracy, n))
    return ProfileRow(
        variant=variant,
        condition=condition,
        kind=kind,
        severity=severity,
        n=n,
        correct=None,
        accuracy=float(accuracy),
        accuracy_low=low,
        accuracy_high=high,
        log_loss=None,
    )


def profile_bytes(
    rows: Sequence[ProfileRow],
    *,
    suite: str,
    dataset: str,
    version: str,
    sum_squares: Mapping[str, int] | None = None,
) -> bytes:
    """The profile as a Parquet file; the same input gives the same bytes under the same pyarrow.

    Args:
        rows: The file keeps their order.
        suite: Name of the suite.
        dataset: What it was measured on.
        version: The seedzoo version that measured it.
        sum_squares: See :class:`ProfileTable`.

    Raises:
        DataError: There are no rows, two rows are of one variant and condition, or a value is impossible.
    """
    if not rows:
        raise DataError("a profile needs at least one row")
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(ProfileRow)}
    try:
        table = pa.table(columns, schema=PROFILE_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise DataError(f"a value does not fit its column of the profile: {error}") from error
    for column in PROFILE_SCHEMA:
        if not column.nullable and table[column.name].null_count:
            raise DataError(f"a value does not fit its column of the profile: {column.name} is missing")
    # The table's own columns, where numbers have the types that a reader will see.
    written = _columns(table)
    _check_rows(_rows(written))
    labels = {"suite": suite, "dataset": dataset, "version": version}
    if sum_squares:
        labels[_SQUARES] = json.dumps(dict(sum_squares), separators=(",", ":"))
    texts = {**labels, _DIGEST: _digest(written, labels, _FIELDS)}
    metadata = {_PREFIX + name: text for name, text in texts.items()}
    sink = io.BytesIO()
    # Page checksums let a reader refuse damaged data before it is decoded.
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def write_profile(
    rows: Sequence[ProfileRow],
    path: str | os.PathLike[str],
    *,
    suite: str,
    dataset: str,
    version: str,
    sum_squares: Mapping[str, int] | None = None,
) -> None:
    """Write `profile_bytes` to a file, complete or not at all.

    Raises:
        DataError: As `profile_bytes`.
        LocalFailure: The file cannot be written.
    """
    content = profile_bytes(rows, suite=suite, dataset=dataset, version=version, sum_squares=sum_squares)
    write_atomically(Path(path), content)


def read_profile(source: bytes | str | os.PathLike[str]) -> ProfileTable:
    """Read and verify a profile.

    Args:
        source: The file's content, or its path.

    Raises:
        IntegrityError: It is damaged or not a Parquet file, or its contents differ from what was written.
        DataError: It is a sound Parquet file but not a profile.
        OSError: The file cannot be read.
    """
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            written = _check_schema(file.schema_arrow)
            table = file.read()
        found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        columns = _columns(table)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"the profile is damaged or not a Parquet file: {error}", hint="Fetch or measure it again."
        ) from error
    missing = [name for name in (*_LABELS, _DIGEST) if _PREFIX + name not in found]
    if missing:
        raise DataError(f"the Parquet file is not a profile: its metadata lacks {_PREFIX}{missing[0]}")
    labels = {name: found[_PREFIX + name] for name in _LABELS}
    squares = found.get(_PREFIX + _SQUARES)
    signed = labels if squares is None else {**labels, _SQUARES: squares}
    if _digest(columns, signed, written) != found[_PREFIX + _DIGEST]:
        raise IntegrityError("the profile's contents differ from what was written", hint="Fetch or measure it again.")
    rows = _rows(columns)
    _check_rows(rows)
    return ProfileTable(rows=rows, **labels, sum_squares=_parsed_squares(squares))


def _parsed_squares(text: str | None) -> dict[str, int]:
    # The digest vouches for the text; only another program that signs profiles could have written something else.
    if text is None:
        return {}
    try:
        return {str(name): int(value) for name, value in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"the profile's sums of squares are no table of whole numbers: {error}") from error


def _columns(table: Any) -> dict[str, list[Any]]:
    """Each column's values as Python objects; lists as tuples."""
    columns = {str(name): table[name].to_pylist() for name in table.column_names}
    for name in ("class_n", "class_correct"):
        if name in columns:
            columns[name] = [None if value is None else tuple(value) for value in columns[name]]
    return columns


def _rows(columns: Mapping[str, list[Any]]) -> tuple[ProfileRow, ...]:
    # A frozen dataclass sets its fields one by one, for which a large profile would wait longer than for its reading.
    rows = []
    for values in zip(*columns.values(), strict=True):
        row = object.__new__(ProfileRow)
        row.__dict__.update(zip(columns, values, strict=True))
        rows.append(row)
    return tuple(rows)


def _check_rows(rows: Sequence[ProfileRow]) -> None:
    seen = set()
    for row in rows:
        where = f"{row.variant} under {row.condition}"
        if (row.variant, row.condition) in seen:
            raise DataError(f"the profile has {where} twice")
        seen.add((row.variant, row.condition))
        low = row.accuracy if row.accuracy_low is None else row.accuracy_low
        high = row.accuracy if row.accuracy_high is None else row.accuracy_high
        if not _counted(row) or not 0 <= low <= row.accuracy <= high <= 1:
            raise DataError(
                f"{where}: {row.correct} of {row.n} right, accuracy {row.accuracy}"
                f" in {row.accuracy_low} to {row.accuracy_high} is impossible"
            )


def _counted(row: ProfileRow) -> bool:
    if (row.class_n is None) != (row.class_correct is None):
        return False
    if row.class_n is not None and row.class_correct is not None:
        pairs = list(zip(row.class_correct, row.class_n, strict=False))
        if len(pairs) != len(row.class_n) or any(not 0 <= right <= n for right, n in pairs):
            return False
    if row.n is None:
        return row.correct is None
    if row.correct is None:
        return row.n >= 1
    return row.n >= 1 and 0 <= row.correct <= row.n and abs(row.accuracy - row.correct / row.n) < 1e-9


def _check_schema(schema: Any) -> tuple[str, ...]:
    """The columns that the file has: all of today's, or those of the first version."""
    known = [field for field in PROFILE_SCHEMA if field.name not in _LATER or field.name in schema.names]
    for wanted in known:
        index = schema.get_field_index(wanted.name)
        if index < 0:
            raise DataError(f"the Parquet file is not a profile: it has no column {wanted.name!r}")
        if not schema.field(index).type.equals(wanted.type):
            raise DataError(
                f"the Parquet file is not a profile: its column {wanted.name!r} is"
                f" {schema.field(index).type}, not {wanted.type}"
            )
    extra = sorted(set(schema.names) - {field.name for field in known})
    if extra:
        raise DataError(f"the Parquet file is not a profile: it has more columns: {', '.join(extra)}")
    return tuple(field.name for field in known)


def _digest(columns: Mapping[str, list[Any]], labels: dict[str, str], written: Sequence[str]) -> str:
    # repr is a float's shortest exact form, and has words for nan and infinity, which JSON has not.
    texts = (
        [repr(value) if isinstance(value, float) else value for value in columns[name]]
        if pa.types.is_floating(PROFILE_SCHEMA.field(name).type)
        else columns[name]
        for name in written
    )
    text = json.dumps([sorted(labels.items()), list(zip(*texts, strict=True))], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
