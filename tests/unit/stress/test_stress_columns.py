"""Profiles read by whole columns: every digit, check and word as row by row, of odd profiles too."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_by_row import digest, fault, matrix, spearman, stored, summarise, telling

from seedzoo.catalog.listing import Accuracies
from seedzoo.catalog.twins import own_profile, twin_profile
from seedzoo.errors import DataError, IntegrityError
from seedzoo.stress import PROFILE_SCHEMA, ProfileRow, ProfileTable, profile_bytes, read_profile
from seedzoo.stress import summarise as summarise_columns
from seedzoo.stress.analysis.correlations import spearman_rows
from seedzoo.stress.matrices import METRICS, profile_matrices

LABELS = {"suite": 'small "é" images', "dataset": "made\n", "version": "0.1.0"}
ALL = [field.name for field in PROFILE_SCHEMA]
LATER = ["top5", "brier", "ece", "class_n", "class_correct"]
VARIANTS = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "a.int8", "b.int8", "a.int8.int8"]
CONDITIONS = ["id", "pixelate-3", 'slice/"site"=\\é\n', "flip"]

measures = st.none() | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1e-5, 1e16, 5e-324]) | st.floats()


@st.composite
def result(draw: st.DrawFn, variant: str, condition: str) -> ProfileRow:
    """A possible result."""
    n = draw(st.none() | st.integers(1, 50))
    correct = None if n is None or draw(st.booleans()) else draw(st.integers(0, n))
    accuracy = draw(st.floats(0, 1)) if n is None or correct is None else correct / n
    classes = draw(st.none() | st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)).map(sorted), max_size=3))
    return ProfileRow(
        variant=variant,
        condition=condition,
        kind=draw(st.sampled_from(["id", "blur"])),
        severity=draw(st.none() | st.integers(-128, 127)),
        n=n,
        correct=correct,
        accuracy=accuracy,
        accuracy_low=draw(st.sampled_from([None, 0.0, accuracy])),
        accuracy_high=draw(st.sampled_from([None, 1.0, accuracy])),
        log_loss=draw(measures),
        top5=draw(measures),
        brier=draw(measures),
        ece=draw(measures),
        class_n=None if classes is None else tuple(pair[1] for pair in classes),
        class_correct=None if classes is None else tuple(pair[0] for pair in classes),
    )


@st.composite
def results(draw: st.DrawFn) -> list[ProfileRow]:
    """A sound profile, with gaps, in any order."""
    cells = [(variant, condition) for variant in VARIANTS for condition in CONDITIONS]
    chosen = draw(st.lists(st.sampled_from(cells), min_size=1, max_size=30, unique=True))
    return [draw(result(*cell)) for cell in chosen]


WRONG = [
    {"accuracy": math.nan},
    {"accuracy": -0.1},
    {"accuracy": 1.5},
    {"accuracy_low": math.nan},
    {"accuracy_high": math.nan},
    {"accuracy_low": 1.0, "accuracy_high": 0.0},
    {"accuracy_high": math.inf},
    {"n": 0},
    {"n": 0, "correct": 0},
    {"n": 3, "correct": 4},
    {"n": 3, "correct": -1},
    {"n": None, "correct": 1},
    {"n": 10, "correct": 1, "accuracy": 0.1 + 2e-9},
    {"n": 10, "correct": 1, "accuracy": 0.1 + 5e-10},  # near enough, if the interval lets it
    {"class_n": None, "class_correct": ()},
    {"class_n": (1,), "class_correct": None},
    {"class_n": (1, 2), "class_correct": (1,)},
    {"class_n": (1,), "class_correct": (1, 2)},
    {"class_n": (1, 2), "class_correct": (1, 3)},
    {"class_n": (1, 2), "class_correct": (-1, 2)},
    {"variant": "a", "condition": "id"},  # perhaps for the second time
]


@st.composite
def odd_results(draw: st.DrawFn) -> list[ProfileRow]:
    """A profile where some rows may be wrong."""
    rows = draw(results())
    for index in draw(st.lists(st.integers(0, len(rows) - 1), max_size=3)):
        rows[index] = dataclasses.replace(rows[index], **draw(st.sampled_from(WRONG)))
    return rows


def same(found: object, expected: object) -> bool:
    """Equal to the last bit, where NaN equals itself and -0.0 is not 0.0."""
    return repr(found) == repr(expected)


@settings(max_examples=150, deadline=None)
@given(rows=odd_results(), lacking=st.sets(st.sampled_from(LATER)), group=st.integers(1, 40))
def test_it_is_read_or_refused_as_row_by_row(rows: list[ProfileRow], lacking: set[str], group: int) -> None:
    rows = [dataclasses.replace(row, **dict.fromkeys(lacking)) for row in rows]
    content = stored(rows, LABELS, [name for name in ALL if name not in lacking], group=group)
    wrong = fault(rows)
    if wrong is None:
        assert same(read_profile(content).rows, tuple(rows))
        return
    with pytest.raises(DataError) as caught:
        read_profile(content)
    assert caught.value.message == wrong


@settings(max_examples=50, deadline=None)
@given(rows=odd_results())
def test_it_is_written_or_refused_as_row_by_row(rows: list[ProfileRow]) -> None:
    wrong = fault(rows)
    if wrong is None:
        table = pq.read_table(io.BytesIO(profile_bytes(rows, **LABELS)))
        assert table.schema.metadata[b"seedzoo.sha256"].decode() == digest(rows, LABELS, ALL)
        return
    with pytest.raises(DataError) as caught:
        profile_bytes(rows, **LABELS)
    assert caught.value.message == wrong


@settings(max_examples=80, deadline=None)
@given(rows=results(), data=st.data())
def test_a_changed_bit_of_any_value_is_noticed(rows: list[ProfileRow], data: st.DataObject) -> None:
    content = stored(rows, LABELS, ALL)
    index = data.draw(st.integers(0, len(rows) - 1))
    change = data.draw(
        st.sampled_from([{"log_loss": -0.0}, {"log_loss": 0.0}, {"log_loss": None}, {"ece": math.nan}, {"top5": None}])
        | st.sampled_from([{"severity": None}, {"kind": "other"}, {"class_n": ()}, {"class_n": None}])
    )
    changed = [*rows[:index], dataclasses.replace(rows[index], **change), *rows[index + 1 :]]
    table = pa.table({name: [getattr(row, name) for row in changed] for name in ALL}, schema=PROFILE_SCHEMA)
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(pq.read_schema(io.BytesIO(content)).metadata), sink)
    if same(changed, rows):
        assert same(read_profile(sink.getvalue()).rows, tuple(rows))
        return
    with pytest.raises(IntegrityError, match="differ from what was written"):
        read_profile(sink.getvalue())


@settings(max_examples=80, deadline=None)
@given(rows=results(), from_rows=st.booleans())
def test_twins_accuracies_and_matrices_are_those_of_the_rows(rows: list[ProfileRow], from_rows: bool) -> None:
    first = dataclasses.replace(rows[0], variant="a", condition="id")
    rows = [first, *(row for row in rows if (row.variant, row.condition) != ("a", "id"))]
    profile = read_profile(stored(rows, LABELS, ALL))
    if from_rows:
        profile = ProfileTable(rows=tuple(rows), **LABELS)
    own_rows = tuple(row for row in rows if not row.variant.endswith(".int8"))
    twin_rows = tuple(
        dataclasses.replace(row, variant=row.variant.removesuffix(".int8"))
        for row in rows
        if row.variant.endswith(".int8")
    )
    own, twins = own_profile(profile), twin_profile(profile)
    assert same(own.rows, own_rows)
    assert same(twins.rows, twin_rows)
    assert own.suite == twins.suite == LABELS["suite"]
    names = list(dict.fromkeys(row.condition for row in own_rows))
    assert own.conditions == tuple(names)
    accuracies = Accuracies(own)
    assert {name: dict(accuracies[name]) for name in accuracies} == {
        name: {row.variant: row.accuracy for row in own_rows if row.condition == name} for name in names
    }
    tags = list(dict.fromkeys(row.variant for row in own_rows))[::-1]
    found = profile_matrices(own, tags, twins=twins)
    told = telling(own_rows)
    accuracy = matrix(own_rows, tags, names, "accuracy")
    assert found.accuracy.tobytes() == accuracy.tobytes()
    expected = summarise(accuracy, tags, names, [told[name].n for name in names])
    assert same([condition.summary for condition in found.conditions], expected)
    kinds = [(told[name].kind, told[name].severity) for name in names]
    assert [(condition.kind, condition.severity) for condition in found.conditions] == kinds
    others = {metric: matrix(own_rows, tags, names, metric) for metric in METRICS}
    measured = {metric: values for metric, values in others.items() if not np.isnan(values).all()}
    assert list(found.metrics) == list(measured)
    assert all(same(found.metrics[metric].tolist(), values.tolist()) for metric, values in measured.items())
    twinned = tuple(tag for tag in tags if tag in {row.variant for row in twin_rows})
    assert found.int8_tags == twinned
    assert same(found.int8_accuracy.tolist(), matrix(twin_rows, twinned, names, "accuracy").tolist())


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 300),
    k=st.integers(1, 6),
    examples=st.sampled_from([1, 3, 1000, 10**6]),
    gaps=st.sampled_from([0.0, 0.0, 0.2]),
    ordered=st.booleans(),
)
def test_summaries_are_those_of_each_condition_by_itself(
    seed: int, m: int, k: int, examples: int, gaps: float, ordered: bool
) -> None:
    rng = np.random.default_rng(seed)
    accuracy = rng.binomial(examples, 0.7, (m, k)) / examples
    if ordered:
        accuracy = np.sort(accuracy, axis=0)
    accuracy[rng.random((m, k)) < gaps] = math.nan
    accuracy[int(rng.integers(m))] = 0.5  # nobody measured is another test's
    names = ["id", *(f"c{index}" for index in range(1, k))]
    tags = [f"s{index}" for index in range(m)]
    found = summarise_columns(accuracy, variants=tags, conditions=names, n=[examples] * k)
    assert same(list(found), summarise(accuracy, tags, names, [examples] * k))
    whole = np.nan_to_num(accuracy)
    assert same(spearman_rows(whole[:, 0], whole.T), [spearman(whole[:, 0], column) for column in whole.T])


def row(**change: object) -> ProfileRow:
    """A result."""
    plain = {"variant": "a", "condition": "id", "kind": "id", "accuracy": 0.5}
    fields = {field.name: None for field in dataclasses.fields(ProfileRow)}
    return ProfileRow(**{**fields, **plain, **change})


def signed_by_another(changes: dict[str, list[object]]) -> bytes:
    """A signed file of two rows with columns that may lack values anywhere, as another program could write it."""
    columns = {name: [getattr(row(), name), getattr(row(variant="b"), name)] for name in ALL} | changes
    schema = pa.schema([field.with_nullable(True) for field in PROFILE_SCHEMA])
    texts = [
        [repr(value) if isinstance(value, float) else value for value in cells]
        for cells in zip(*columns.values(), strict=True)
    ]
    text = json.dumps([sorted(LABELS.items()), texts], separators=(",", ":"))
    labels = {**LABELS, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    table = pa.table(columns, schema=schema.with_metadata({f"seedzoo.{name}": text for name, text in labels.items()}))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["variant", "condition", "kind", "accuracy"])
@pytest.mark.parametrize("values", [[None, None], [None, 0]], ids=["all", "one"])
def test_a_name_or_accuracy_that_is_missing_is_refused(name: str, values: list[object]) -> None:
    given = [getattr(row(), name) if value == 0 else value for value in values]
    with pytest.raises(DataError, match=f"{name} is missing"):
        read_profile(signed_by_another({name: given}))


def test_a_count_of_a_class_that_is_missing_is_refused() -> None:
    assert len(read_profile(signed_by_another({})).rows) == 2
    for missing in ("class_n", "class_correct"):
        both = {name: [None, [2, None if name == missing else 1]] for name in ("class_n", "class_correct")}
        with pytest.raises(DataError, match=r"b under id: .* is impossible"):
            read_profile(signed_by_another(both))


def test_a_file_without_rows_has_none() -> None:
    profile = read_profile(stored([], LABELS, ALL))
    assert profile.rows == profile.conditions == ()
    assert own_profile(profile).rows == twin_profile(profile).rows == ()


def test_reading_imports_no_pandas(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("open(__file__ + '.used', 'w').close()\nraise ImportError")
    rows = [row(variant=name, class_n=(3, 1), class_correct=(1, 1), log_loss=0.5) for name in ("a", "b.int8")]
    (tmp_path / "profile").write_bytes(stored([*rows, row(variant="c")], LABELS, ALL))
    script = """
import sys
from seedzoo.catalog.listing import Accuracies
from seedzoo.catalog.twins import own_profile, twin_profile
from seedzoo.stress.matrices import profile_matrices
from seedzoo.stress.table import read_profile
table = read_profile(sys.argv[1])
own = own_profile(table)
Accuracies(own)
assert not twin_profile(own).rows
assert profile_matrices(own, ["a", "c"], twins=twin_profile(table)).metrics["worst_class"][0, 0] == 1 / 3
"""
    command = [sys.executable, "-c", script, tmp_path / "profile"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "pandas.py.used").exists()


def test_text_that_is_no_utf8_is_damage() -> None:
    table = pq.read_table(io.BytesIO(stored([row(), row(variant="b")], LABELS, ALL)))
    bad = pa.array([b"a", b"\xff"], pa.binary()).view(pa.string())
    sink = io.BytesIO()
    pq.write_table(table.set_column(0, PROFILE_SCHEMA.field(0), bad), sink)
    with pytest.raises(IntegrityError, match="damaged or not a Parquet file: 'utf-8' codec can't decode"):
        read_profile(sink.getvalue())


def test_a_table_is_compared_copied_and_sent_like_any_other() -> None:
    rows = (row(), row(variant="b", log_loss=1.5))
    read = read_profile(stored(rows, LABELS, ALL))
    made = ProfileTable(rows=rows, **LABELS)
    sent = pickle.loads(pickle.dumps(read))
    assert sent == made
    assert read == made
    assert read.rows is read.rows
    assert dataclasses.replace(read, rows=rows[:1]).rows == rows[:1]
    assert dataclasses.replace(read, rows=rows[:1]).variants == ("a",)
    assert own_profile(made) == made
    with pytest.raises(AttributeError, match="has no 'row'"):
        read.row  # noqa: B018
    with pytest.raises(dataclasses.FrozenInstanceError):
        read.rows = ()


def test_threads_that_ask_at_once_get_the_same_rows() -> None:
    read = read_profile(stored([row(variant=f"v{index}") for index in range(500)], LABELS, ALL))
    start = threading.Barrier(8)
    found = []

    def ask() -> None:
        start.wait()
        found.append(read.rows)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(rows is found[0] for rows in found)
