"""The profile's Parquet file: what goes in comes out, and nothing else does."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedzoo.errors import DataError, IntegrityError, LocalFailure, ZooError
from seedzoo.stress import (
    PROFILE_SCHEMA,
    get_condition,
    profile_bytes,
    profile_row,
    published_row,
    read_profile,
    write_profile,
)

FIRST_VERSION = Path(__file__).resolve().parents[2] / "data" / "frozen" / "profile.v1.parquet"
LABELS = {"suite": "small-images", "dataset": "fashion-mnist test", "version": "0.1.0"}


def _rows():
    return [
        profile_row(variant=f"s{v:03}", condition=get_condition(name), n=200, correct=150 + v, log_loss=0.5 + v / 3)
        for v in range(3)
        for name in ("id", "pixelate-3", "flip")
    ]


def _stored(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _table() -> pa.Table:
    return pq.read_table(io.BytesIO(profile_bytes(_rows(), **LABELS)))


def test_row():
    row = profile_row(variant="s000", condition=get_condition("pixelate-3"), n=100, correct=81, log_loss=1)
    assert (row.condition, row.kind, row.severity, row.accuracy) == ("pixelate-3", "pixelate", 3, 0.81)
    # Wilson at z = 1.96: (.81 + .019208 -+ 1.96 sqrt(.001539 + .00009604)) / 1.038416
    assert row.accuracy_low == pytest.approx(0.7222, abs=1e-4)
    assert row.accuracy_high == pytest.approx(0.8749, abs=1e-4)


def test_round_trip(tmp_path):
    write_profile(_rows(), tmp_path / "profile.parquet", **LABELS)
    assert [file.name for file in tmp_path.iterdir()] == ["profile.parquet"]
    for source in (
        tmp_path / "profile.parquet",
        str(tmp_path / "profile.parquet"),
        profile_bytes(_rows(), **LABELS),
    ):
        table = read_profile(source)
        assert list(table.rows) == _rows()
        assert {"suite": table.suite, "dataset": table.dataset, "version": table.version} == LABELS


def test_the_same_input_gives_the_same_bytes():
    assert profile_bytes(_rows(), **LABELS) == profile_bytes(_rows(), **LABELS)
    assert profile_bytes(_rows()[::-1], **LABELS) != profile_bytes(_rows(), **LABELS)


def test_pyarrow_opens_it():
    table = _table()
    assert table.schema.equals(PROFILE_SCHEMA)
    assert table.schema.metadata[b"seedzoo.suite"] == b"small-images"
    assert table["severity"].to_pylist()[:3] == [None, 3, None]


def test_all_metrics_and_published_rows_come_back():
    rows = [
        dataclasses.replace(_rows()[0], top5=0.9, brier=0.3, ece=0.02, class_n=(120, 80, 0), class_correct=(90, 60, 0)),
        published_row(variant="resnet50", condition="natural/imagenet-v2", kind="natural", accuracy=0.63),
        published_row(variant="resnet50", condition="id", kind="id", accuracy=0.76, n=50_000),
    ]
    back = read_profile(profile_bytes(rows, **LABELS)).rows
    assert back == tuple(rows)
    assert back[0].worst_class == 0.75
    assert (back[1].n, back[1].accuracy_low, back[1].worst_class) == (None, None, None)
    assert back[2].accuracy_low < 0.76 < back[2].accuracy_high
    with pytest.raises(DataError, match="impossible"):
        published_row(variant="resnet50", condition="id", kind="id", accuracy=76.1)


def test_sums_of_squares_travel_with_it_and_are_signed():
    squares = {"id": 12345, "pixelate-3": 2**40}
    content = profile_bytes(_rows(), **LABELS, sum_squares=squares)
    assert read_profile(content).sum_squares == squares
    assert read_profile(profile_bytes(_rows(), **LABELS)).sum_squares == {}
    table = pq.read_table(io.BytesIO(content))
    for text in (b'{"id":1}', None):
        metadata = {**table.schema.metadata, b"seedzoo.sum_squares": text}
        edited = table.replace_schema_metadata({key: value for key, value in metadata.items() if value is not None})
        with pytest.raises(IntegrityError, match="differ from what was written"):
            read_profile(_stored(edited))


def test_the_first_version_is_still_read():
    assert "top5" not in pq.read_table(FIRST_VERSION).column_names
    rows = read_profile(FIRST_VERSION).rows
    assert [(row.variant, row.condition, row.correct) for row in rows][:2] == [
        ("s000", "id", 150),
        ("s000", "pixelate-3", 151),
    ]
    assert {row.top5 for row in rows} == {None}


def test_log_loss_that_is_no_number():
    rows = [dataclasses.replace(_rows()[0], log_loss=loss, variant=str(loss)) for loss in (math.nan, math.inf)]
    back = read_profile(profile_bytes(rows, **LABELS)).rows
    assert math.isnan(back[0].log_loss)
    assert back[1].log_loss == math.inf


def test_damage_anywhere_is_noticed():
    content = profile_bytes(_rows(), **LABELS)
    whole = read_profile(content)
    refused = 0
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 0x81
        try:
            assert read_profile(bytes(damaged)) == whole
        except ZooError:
            refused += 1
    assert refused > len(content) / 3 / 2


@pytest.mark.parametrize("content", [b"", b"PAR1", b"<html>not found</html>", profile_bytes(_rows(), **LABELS)[:-9]])
def test_not_parquet(content):
    with pytest.raises(IntegrityError, match="damaged or not a Parquet file"):
        read_profile(content)


@pytest.mark.parametrize(
    ("column", "value"), [("correct", 151), ("accuracy", 0.99), ("log_loss", 0.1), ("variant", "s9")]
)
def test_an_edited_value(column, value):
    table = _table()
    number = table.schema.get_field_index(column)
    values = [value, *table[column].to_pylist()[1:]]
    edited = table.set_column(number, PROFILE_SCHEMA.field(number), pa.array(values, PROFILE_SCHEMA.field(number).type))
    with pytest.raises(IntegrityError, match="differ from what was written"):
        read_profile(_stored(edited))


def test_an_edited_label_or_a_lost_row():
    table = _table()
    other = table.replace_schema_metadata({**table.schema.metadata, b"seedzoo.dataset": b"another"})
    for edited in (other, table.slice(1)):
        with pytest.raises(IntegrityError, match="differ from what was written"):
            read_profile(_stored(edited))


def test_other_tables():
    table = _table()
    for other, text in [
        (table.drop_columns(["kind"]), "no column 'kind'"),
        (table.append_column("more", [["x"] * len(table)]), "more columns: more"),
        (table.set_column(4, "n", table["n"].cast("int64")), "column 'n' is int64"),
        (table.replace_schema_metadata({}), "lacks seedzoo.suite"),
    ]:
        with pytest.raises(DataError, match=text):
            read_profile(_stored(other))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n": 2**31}, "does not fit"),
        ({"variant": None}, "variant is missing"),
        ({"n": None}, "impossible"),
        ({"class_n": (3, 4)}, "impossible"),
        ({"class_n": (3, 4), "class_correct": (3, 5)}, "impossible"),
        ({"class_n": (3, 4), "class_correct": (3,)}, "impossible"),
        ({"severity": 300}, "does not fit"),
        ({"accuracy": 0.2}, "impossible"),
        ({"accuracy_low": 0.9}, "impossible"),
        ({"correct": 201}, "impossible"),
    ],
)
def test_impossible_rows(change, text):
    with pytest.raises(DataError, match=text):
        profile_bytes([dataclasses.replace(_rows()[0], **change)], **LABELS)


def test_no_rows_and_twice_the_same():
    with pytest.raises(DataError, match="at least one row"):
        profile_bytes([], **LABELS)
    with pytest.raises(DataError, match="s000 under id twice"):
        profile_bytes([*_rows(), _rows()[0]], **LABELS)


@pytest.mark.parametrize(("n", "correct"), [(0, 0), (5, 6), (5, -1)])
def test_impossible_counts(n, correct):
    with pytest.raises(DataError, match="impossible"):
        profile_row(variant="a", condition=get_condition("id"), n=n, correct=correct, log_loss=0)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(LocalFailure, match="cannot write"):
        write_profile(_rows(), tmp_path / "no" / "profile.parquet", **LABELS)
    with pytest.raises(FileNotFoundError):
        read_profile(tmp_path / "no.parquet")
