"""The profile as a table: Arrow in memory, Parquet on disk. pandas, polars and DuckDB open the file directly.

The file holds a digest of its own contents, so that an edited file is not taken for a measured one.
"""

from __future__ import annotations

import functools
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from seedzoo.errors import DataError, IntegrityError
from seedzoo.files import write_atomically
from seedzoo.stress.columns import PROFILE_SCHEMA, ProfileColumns, check_columns, columns_of
from seedzoo.stress.digest import profile_digest
from seedzoo.stress.rows import Measurable, ProfileRow, profile_row, published_row

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

_FIELDS = tuple(field.name for field in PROFILE_SCHEMA)
_LATER = frozenset({"top5", "brier", "ece", "class_n", "class_correct"})
"""Columns that profiles of the first version lack."""
_PREFIX = "seedzoo."
_LABELS = ("suite", "dataset", "version")
_SQUARES = "sum_squares"
_DIGEST = "sha256"


@dataclass(frozen=True, kw_only=True)
class ProfileTable:
    """A profile read from a file.

    Attributes:
        rows: In the file's order. Of a profile that was read they are made when they are first asked for.
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

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Only asked for what the table lacks: rows, where it was made of columns.
            if name != "rows" or "columns" not in self.__dict__:
                raise AttributeError(f"a profile has no {name!r}")
            return self.__dict__.setdefault("rows", self.columns.rows())

    @classmethod
    def of_columns(
        cls, columns: ProfileColumns, *, suite: str, dataset: str, version: str, sum_squares: Mapping[str, int]
    ) -> ProfileTable:
        """A profile whose rows are made when they are first asked for; arguments as the attributes."""
        table = object.__new__(cls)
        table.__dict__.update(columns=columns, suite=suite, dataset=dataset, version=version, sum_squares=sum_squares)
        return table

    def with_columns(self, columns: ProfileColumns) -> ProfileTable:
        """The same profile of other results."""
        return ProfileTable.of_columns(
            columns, suite=self.suite, dataset=self.dataset, version=self.version, sum_squares=self.sum_squares
        )

    @functools.cached_property
    def columns(self) -> ProfileColumns:
        """The rows by column. Raises DataError where a value does not fit its column."""
        return columns_of(self.rows)

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants, in the order of the rows."""
        return self.columns.variants

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions, in the order of the rows."""
        return self.columns.conditions


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
    columns = columns_of(rows)
    check_columns(columns)
    labels = {"suite": suite, "dataset": dataset, "version": version}
    if sum_squares:
        labels[_SQUARES] = json.dumps(dict(sum_squares), separators=(",", ":"))
    texts = {**labels, _DIGEST: profile_digest(columns, labels, _FIELDS)}
    metadata = {_PREFIX + name: text for name, text in texts.items()}
    sink = io.BytesIO()
    # Page checksums let a reader refuse damaged data before it is decoded.
    table = pa.table(columns.arrays, schema=PROFILE_SCHEMA.with_metadata(metadata))
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
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
            table = file.read(use_threads=False)  # a server has other calls to serve
        found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        columns = ProfileColumns(table)
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
    if profile_digest(columns, signed, written) != found[_PREFIX + _DIGEST]:
        raise IntegrityError("the profile's contents differ from what was written", hint="Fetch or measure it again.")
    check_columns(columns)
    return ProfileTable.of_columns(columns, **labels, sum_squares=_parsed_squares(squares))


def _parsed_squares(text: str | None) -> dict[str, int]:
    # The digest vouches for the text; only another program that signs profiles could have written something else.
    if text is None:
        return {}
    try:
        return {str(name): int(value) for name, value in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"the profile's sums of squares are no table of whole numbers: {error}") from error


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
