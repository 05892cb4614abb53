"""The profile as a table: Arrow in memory, Parquet on disk. pandas, polars and DuckDB open the file directly.

The file holds a digest of its own contents, so that an edited file is not taken for a measured one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seedzoo.errors import DataError, IntegrityError
from seedzoo.files import write_atomically
from seedzoo.selection.intervals import wilson
from seedzoo.stress.condition import Condition

__all__ = [
    "PROFILE_SCHEMA",
    "ProfileRow",
    "ProfileTable",
    "profile_bytes",
    "profile_row",
    "read_profile",
    "write_profile",
]

PROFILE_SCHEMA = pa.schema(
    [
        pa.field("variant", pa.string(), nullable=False),
        pa.field("condition", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("severity", pa.int8(), nullable=True),
        pa.field("n", pa.int32(), nullable=False),
        pa.field("correct", pa.int32(), nullable=False),
        pa.field("accuracy", pa.float64(), nullable=False),
        pa.field("accuracy_low", pa.float64(), nullable=False),
        pa.field("accuracy_high", pa.float64(), nullable=False),
        pa.field("log_loss", pa.float64(), nullable=False),
    ]
)

_PREFIX = "seedzoo."
_LABELS = ("suite", "dataset", "version")
_DIGEST = "sha256"


@dataclass(frozen=True, kw_only=True)
class ProfileRow:
    """One variant under one condition; the fields are the table's columns.

    Attributes:
        variant: The variant's tag or id.
        condition: The condition's name.
        kind: The condition's kind.
        severity: 1 upwards; None where the kind has no degrees.
        n: Examples evaluated.
        correct: Examples predicted right.
        accuracy: correct / n.
        accuracy_low: Lower end of the 95 % Wilson interval.
        accuracy_high: Upper end of the 95 % Wilson interval.
        log_loss: Mean of -ln(probability of the true class), nats; nan where it was not measured.
    """

    variant: str
    condition: str
    kind: str
    severity: int | None
    n: int
    correct: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float


@dataclass(frozen=True, kw_only=True)
class ProfileTable:
    """A profile read from a file.

    Attributes:
        rows: In the file's order.
        suite: Name of the suite.
        dataset: What it was measured on.
        version: The seedzoo version that measured it.
    """

    rows: tuple[ProfileRow, ...]
    suite: str
    dataset: str
    version: str

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions, in the order of the rows."""
        return tuple(dict.fromkeys(row.condition for row in self.rows))


def profile_row(*, variant: str, condition: Condition, n: int, correct: int, log_loss: float) -> ProfileRow:
    """A row from what was counted; accuracy and its 95 % Wilson interval follow.

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
        log_loss=float(log_loss),
    )


def profile_bytes(rows: Sequence[ProfileRow], *, suite: str, dataset: str, version: str) -> bytes:
    """The profile as a Parquet file; the same input gives the same bytes under the same pyarrow.

    Args:
        rows: The file keeps their order.
        suite: Name of the suite.
        dataset: What it was measured on.
        version: The seedzoo version that measured it.

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
    for field in PROFILE_SCHEMA:
        if not field.nullable and table[field.name].null_count:
            raise DataError(f"a value does not fit its column of the profile: {field.name} is missing")
    _check_rows(_rows(table))
    labels = {"suite": suite, "dataset": dataset, "version": version}
    # The digest is taken from the table, where numbers have the types that a reader will see.
    texts = {**labels, _DIGEST: _digest(_rows(table), labels)}
    metadata = {_PREFIX + name: text for name, text in texts.items()}
    sink = io.BytesIO()
    # Page checksums let a reader refuse damaged data before it is decoded.
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def write_profile(
    rows: Sequence[ProfileRow], path: str | os.PathLike[str], *, suite: str, dataset: str, version: str
) -> None:
    """Write `profile_bytes` to a file, complete or not at all.

    Raises:
        DataError: As `profile_bytes`.
        LocalFailure: The file cannot be written.
    """
    write_atomically(Path(path), profile_bytes(rows, suite=suite, dataset=dataset, version=version))


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
            _check_schema(file.schema_arrow)
            table = file.read()
        found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        rows = _rows(table)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"the profile is damaged or not a Parquet file: {error}", hint="Fetch or measure it again."
        ) from error
    missing = [name for name in (*_LABELS, _DIGEST) if _PREFIX + name not in found]
    if missing:
        raise DataError(f"the Parquet file is not a profile: its metadata lacks {_PREFIX}{missing[0]}")
    labels = {name: found[_PREFIX + name] for name in _LABELS}
    if _digest(rows, labels) != found[_PREFIX + _DIGEST]:
        raise IntegrityError("the profile's contents differ from what was written", hint="Fetch or measure it again.")
    _check_rows(rows)
    return ProfileTable(rows=rows, **labels)


def _rows(table: Any) -> tuple[ProfileRow, ...]:
    return tuple(ProfileRow(**row) for row in table.to_pylist())


def _check_rows(rows: Sequence[ProfileRow]) -> None:
    seen = set()
    for row in rows:
        where = f"{row.variant} under {row.condition}"
        if (row.variant, row.condition) in seen:
            raise DataError(f"the profile has {where} twice")
        seen.add((row.variant, row.condition))
        counted = row.n >= 1 and 0 <= row.correct <= row.n and abs(row.accuracy - row.correct / row.n) < 1e-9
        if not counted or not 0 <= row.accuracy_low <= row.accuracy <= row.accuracy_high <= 1:
            raise DataError(
                f"{where}: {row.correct} of {row.n} right, accuracy {row.accuracy}"
                f" in {row.accuracy_low} to {row.accuracy_high} is impossible"
            )


def _check_schema(schema: Any) -> None:
    for wanted in PROFILE_SCHEMA:
        index = schema.get_field_index(wanted.name)
        if index < 0:
            raise DataError(f"the Parquet file is not a profile: it has no column {wanted.name!r}")
        if not schema.field(index).equals(wanted):
            raise DataError(
                f"the Parquet file is not a profile: its column {wanted.name!r} is"
                f" {schema.field(index).type}, not {wanted.type}"
            )
    if len(schema) > len(PROFILE_SCHEMA):
        extra = sorted(set(schema.names) - set(PROFILE_SCHEMA.names))
        raise DataError(f"the Parquet file is not a profile: it has more columns: {', '.join(extra)}")


def _digest(rows: Sequence[ProfileRow], labels: dict[str, str]) -> str:
    # repr is a float's shortest exact form, and has words for nan and infinity, which JSON has not.
    plain = [[repr(value) if isinstance(value, float) else value for value in astuple(row)] for row in rows]
    text = json.dumps([sorted(labels.items()), plain], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
