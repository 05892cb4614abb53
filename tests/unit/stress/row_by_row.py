"""A profile's digest, checks, matrices and summaries row by row and number by number: slow, and easy to follow.

What the library does on whole columns must say the same, to the last digit and word.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

from seedzoo.stress import PROFILE_SCHEMA, ConditionSummary, Correlation, ProfileRow

EXACT = 7
FLOATS = [field.name for field in PROFILE_SCHEMA if pa.types.is_floating(field.type)]


def digest(rows: Sequence[ProfileRow], labels: Mapping[str, str], written: Sequence[str]) -> str:
    """The digest over one JSON text of all rows."""

    def cell(name: str, value: object) -> object:
        return repr(value) if name in FLOATS and value is not None else value

    texts = [[cell(name, getattr(row, name)) for name in written] for row in rows]
    text = json.dumps([sorted(labels.items()), texts], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def stored(rows: Sequence[ProfileRow], labels: Mapping[str, str], written: Sequence[str], *, group: int = 100) -> bytes:
    """A signed file with these columns, whatever they say, in row groups of so many rows."""
    schema = pa.schema([PROFILE_SCHEMA.field(name) for name in written])
    metadata = {f"seedzoo.{name}": text for name, text in {**labels, "sha256": digest(rows, labels, written)}.items()}
    table = pa.table({name: [getattr(row, name) for row in rows] for name in written}, schema=schema)
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink, row_group_size=group, write_page_checksum=True)
    return sink.getvalue()


def fault(rows: Sequence[ProfileRow]) -> str | None:
    """What is said of the first row that is wrong."""
    seen = set()
    for row in rows:
        where = f"{row.variant} under {row.condition}"
        if (row.variant, row.condition) in seen:
            return f"the profile has {where} twice"
        seen.add((row.variant, row.condition))
        low = row.accuracy if row.accuracy_low is None else row.accuracy_low
        high = row.accuracy if row.accuracy_high is None else row.accuracy_high
        if not _counted(row) or not 0 <= low <= row.accuracy <= high <= 1:
            return (
                f"{where}: {row.correct} of {row.n} right, accuracy {row.accuracy}"
                f" in {row.accuracy_low} to {row.accuracy_high} is impossible"
            )
    return None


def _counted(row: ProfileRow) -> bool:
    if (row.class_n is None) != (row.class_correct is None):
        return False
    if row.class_n is not None and row.class_correct is not None:
        if len(row.class_n) != len(row.class_correct):
            return False
        if any(not 0 <= right <= n for right, n in zip(row.class_correct, row.class_n, strict=True)):
            return False
    if row.n is None:
        return row.correct is None
    if row.correct is None:
        return row.n >= 1
    return row.n >= 1 and 0 <= row.correct <= row.n and abs(row.accuracy - row.correct / row.n) < 1e-9


def matrix(rows: Sequence[ProfileRow], tags: Sequence[str], conditions: Sequence[str], metric: str) -> np.ndarray:
    """A metric, [M tags, K conditions]; NaN where there is none."""
    found = np.full((len(tags), len(conditions)), math.nan)
    for row in rows:
        value = getattr(row, metric)
        if value is not None and row.variant in tags and row.condition in conditions:
            found[list(tags).index(row.variant), list(conditions).index(row.condition)] = value
    return found


def telling(rows: Sequence[ProfileRow]) -> dict[str, ProfileRow]:
    """Of each condition the first row that says how many examples there were; its first row where none does."""
    first: dict[str, ProfileRow] = {}
    for row in rows:
        if first.setdefault(row.condition, row).n is None and row.n is not None:
            first[row.condition] = row
    return first


def summarise(
    accuracy: np.ndarray, variants: Sequence[str], conditions: Sequence[str], n: Sequence[int | None]
) -> list[ConditionSummary]:
    """The summary of each condition by itself."""
    base = accuracy[:, list(conditions).index("id")]
    return [
        _summary(name, count, column, base, variants)
        for name, count, column in zip(conditions, n, accuracy.T, strict=True)
    ]


def _summary(
    name: str, n: int | None, column: np.ndarray, base: np.ndarray, variants: Sequence[str]
) -> ConditionSummary:
    measured = np.flatnonzero(~np.isnan(column))
    values = column[measured]
    both = measured[~np.isnan(base[measured])]
    base_sd = _sd(base[both])
    return ConditionSummary(
        condition=name,
        n=n,
        mean=float(values.mean()),
        sd=_sd(values),
        low=float(values.min()),
        low_variant=variants[int(measured[values.argmin()])],
        high=float(values.max()),
        high_variant=variants[int(measured[values.argmax()])],
        sd_ratio=_sd(column[both]) / base_sd if base_sd > 0 else math.nan,
        correlation=spearman(base[both], column[both]),
        measured=len(measured),
    )


def _sd(column: np.ndarray) -> float:
    if len(column) < 2:
        return math.nan
    return float(column.std(ddof=1)) if np.ptp(column) > 0 else 0.0


def spearman(x: np.ndarray, y: np.ndarray) -> Correlation:
    """Spearman's correlation of two rows by scipy's ranks and distribution."""
    rho, count = _rho(x, y), len(x)
    p_value = _p_value(x, y, rho)
    if count < 4 or math.isnan(rho) or abs(rho) == 1:
        return Correlation(rho=rho, low=math.nan, high=math.nan, p_value=p_value, count=count)
    half = float(stats.norm.ppf(0.975)) * math.sqrt((1 + rho**2 / 2) / (count - 3))
    low, high = math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
    return Correlation(rho=rho, low=low, high=high, p_value=p_value, count=count)


def _ranks(row: np.ndarray) -> np.ndarray:
    return np.rint(2 * stats.rankdata(row) - len(row) - 1).astype(np.int64)


def _rho(x: np.ndarray, y: np.ndarray) -> float:
    if not x.size or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    a, b = _ranks(x), _ranks(y)
    return int(a @ b) / math.sqrt(int(a @ a) * int(b @ b))


def _p_value(x: np.ndarray, y: np.ndarray, rho: float) -> float:
    count = len(x)
    if count < 3 or math.isnan(rho):
        return math.nan
    if count <= EXACT:
        orders = np.array(list(itertools.permutations(range(count))))
        a, b = _ranks(x), _ranks(y)
        return float(np.mean(np.abs(b[orders] @ a) >= abs(int(a @ b))))
    if abs(rho) == 1:
        ties = np.unique(x, return_counts=True)[1]
        same = math.prod(math.factorial(int(tie)) for tie in ties)
        return (2 if np.array_equal(ties, ties[::-1]) else 1) * same / math.factorial(count)
    return float(2 * stats.t.sf(abs(rho) * math.sqrt((count - 2) / (1 - rho**2)), count - 2))
