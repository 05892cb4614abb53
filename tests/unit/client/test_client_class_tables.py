"""Class proportions and costs: every form they come in, and one clear error for each that cannot be used."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedzoo.errors import DataError
from seedzoo_client.class_tables import cost_table, proportions, read_costs, read_proportions
from seedzoo_client.labels import ClassMatcher

CLASSES = ("Bag", "Coat", "T-shirt/top")
MATCHER = ClassMatcher(CLASSES)
NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1).filter(
    lambda name: not set(name) & set("=,")
)


def written(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, newline="")
    return path


# -- proportions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("uniform", (1 / 3, 1 / 3, 1 / 3)),
        ("bag=.3,coat=.7", (0.3, 0.7, 0)),
        (" T-shirt/top = 1e0 ", (0, 0, 1)),
        ({"Coat": 0.25, "bag": 0.75}, (0.75, 0.25, 0)),
        ({"Bag": 1}, (1, 0, 0)),
        ("bag=.333,coat=.333,t-shirt_top=.333", (1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_proportions_follow_the_classes(source: Any, expected: tuple[float, ...]) -> None:
    assert proportions(source, MATCHER) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "class,share\nbag,.3\nCoat,0.70\n"),
        ("p.csv", "bag;.3\r\ncoat;.7\r\n"),
        ("p.json", '{"bag": 0.3, "coat": 0.7}'),
        ("p.toml", "bag = 0.3\ncoat = 0.7\n"),
        ("a=b.json", '{"bag": 0.3, "coat": 0.7}'),
    ],
)
def test_proportions_from_files(tmp_path: Path, name: str, content: str) -> None:
    path = written(tmp_path, name, content)
    assert proportions(path, MATCHER) == proportions(str(path), MATCHER) == pytest.approx((0.3, 0.7, 0))


@pytest.mark.parametrize(
    ("source", "message", "reason"),
    [
        ("bag=.3,coat=.6", "sum to 0.9, not to 1", "PROPORTIONS_INVALID"),
        ("bag=.3,coat", "'coat' has no share", "PROPORTIONS_INVALID"),
        ("bag=a lot", "the share of 'bag' is 'a lot', no number from 0 to 1", "PROPORTIONS_INVALID"),
        ("bag=1.3,coat=-.3", "the share of 'bag' is '1.3'", "PROPORTIONS_INVALID"),
        ("bag=nan", "the share of 'bag' is 'nan'", "PROPORTIONS_INVALID"),
        ("bag=30%", "is '30%', no number", "PROPORTIONS_INVALID"),
        ("bag=.5,bag=.5", "'bag' is named twice", "PROPORTIONS_INVALID"),
        ("bag=.5,Bag=.5", "'bag' and 'Bag' in the table of class proportions both mean the class 'Bag'", "CLASS_TWICE"),
        ("hat=1", "has the class 'hat', which the task does not have", "LABEL_UNKNOWN"),
        ("=1", "'' is no class name", "PROPORTIONS_INVALID"),
        ({}, "names no class", "PROPORTIONS_INVALID"),
        ({"Bag": True}, "is True, no number", "PROPORTIONS_INVALID"),
        ({"Bag": 10**400}, "no number from 0 to 1", "PROPORTIONS_INVALID"),
        ({"Bag": 10**5000}, "is a very long int, no number", "PROPORTIONS_INVALID"),
        (f"{'b' * 1000}=x", "b…' is 'x', no number", "PROPORTIONS_INVALID"),
        ("shares.txt", "is no table of class proportions", "PROPORTIONS_INVALID"),
        ("no/such.csv", "cannot read the table of class proportions", "PROPORTIONS_INVALID"),
        ("no\0such=1.csv", "no number from 0 to 1", "PROPORTIONS_INVALID"),
    ],
)
def test_bad_proportions(source: Any, message: str, reason: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        proportions(source, MATCHER)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", '{"bag": 0.5, "bag": 0.5}', "'bag' is named twice"),
        ("p.json", '{"bag": "0.5 of it"}', "no number"),
        ("p.json", '{"bag": {"a": 1}}', "no number"),
        ("p.json", "[1]", "is not one JSON object"),
        ("p.json", f'{{"bag": {"1" * 5000}}}', "a number that is too long"),
        ("p.csv", "bag,.3,x\n", "line 1: 3 columns instead of two"),
        ("p.csv", "bag,0;3\n", "the share of 'bag' is '0;3'"),
        ("p.csv", "", "names no class"),
        ("p.toml", "bag = ", "not valid TOML"),
    ],
)
def test_bad_files_of_proportions(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_proportions(written(tmp_path, name, content))
    assert caught.value.reason == "PROPORTIONS_INVALID"


def test_the_label_map_applies_to_proportions() -> None:
    assert proportions("sac=.4,coat=.6", ClassMatcher(CLASSES, {"sac": "Bag"})) == pytest.approx((0.4, 0.6, 0))


@given(st.dictionaries(NAMES, st.floats(0, 1), min_size=1))
def test_text_of_proportions_survives(shares: dict[str, float]) -> None:
    text = ",".join(f"{name}={share!r}" for name, share in shares.items())
    assert read_proportions(text) == shares


@given(st.one_of(st.text(), st.text(st.sampled_from("ab=,.01e-; \"'"))))
def test_any_text_gives_shares_or_one_error(text: str) -> None:
    with suppress(DataError):
        found = proportions(text, MATCHER)
        assert sum(found) == pytest.approx(1)
        assert min(found) >= 0


@given(st.binary(max_size=60), st.sampled_from([".csv", ".json", ".toml"]))
def test_any_file_gives_shares_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("shares") / f"shares{suffix}"
    path.write_bytes(content)
    with suppress(DataError):
        found = read_proportions(path)
        assert found is not None
        assert all(0 <= share <= 1 for share in found.values())


# -- costs --------------------------------------------------------------------------------------------------------

COSTS = "true,Coat,bag,T-shirt/top\nT-shirt/top,1,2,0\nbag,3,0,4\n\ncoat,0,5.5,-6e1\n"
EXPECTED = (0, 3, 4, 5.5, 0, -60, 2, 1, 0)


def test_costs_follow_the_classes(tmp_path: Path) -> None:
    assert cost_table(written(tmp_path, "c.csv", COSTS), MATCHER) == EXPECTED
    assert cost_table(written(tmp_path, "d.csv", "\ufeff" + COSTS.replace(",", ";")), MATCHER) == EXPECTED
    nested = read_costs(tmp_path / "c.csv")
    assert nested["coat"] == {"Coat": 0, "bag": 5.5, "T-shirt/top": -60}
    assert cost_table(nested, MATCHER) == EXPECTED


@pytest.mark.parametrize(
    ("content", "message", "reason"),
    [
        ("", "holds no costs", "COSTS_INVALID"),
        (",Bag,Coat,T-shirt/top\n", "holds no costs", "COSTS_INVALID"),
        ("true\n", "line 1: no called classes", "COSTS_INVALID"),
        (",Bag,Bag\n", "line 1: the called class 'Bag' comes twice", "COSTS_INVALID"),
        (",Bag,\n", "line 1: a called class has no name", "COSTS_INVALID"),
        (",Bag,Coat\nBag,0\n", "line 2: 2 columns instead of 3", "COSTS_INVALID"),
        (",Bag,Coat\nBag,0,lots\n", "line 2: the cost of calling 'Bag' 'Coat' is 'lots', no number", "COSTS_INVALID"),
        (",Bag,Coat\nBag,0,inf\n", "is 'inf', no number", "COSTS_INVALID"),
        (",Bag,Coat\nBag,0,1\nBag,0,1\n", "line 3: the true class 'Bag' comes twice", "COSTS_INVALID"),
        (
            ",Bag,Coat,T-shirt/top\nBag,0,1,1\nCoat,1,0,1\n",
            "lack a row for the true class: 'T-shirt/top'",
            "COSTS_INVALID",
        ),
        (
            ",Bag,Coat\nBag,0,1\nCoat,1,0\nT-shirt/top,1,1\n",
            "lack a cost of calling 'Bag': 'T-shirt/top'",
            "COSTS_INVALID",
        ),
        (
            ",Bag,Hat\nBag,0,1\nCoat,1,0\nT-shirt/top,1,1\n",
            "the row of costs of Bag has the class 'Hat'",
            "LABEL_UNKNOWN",
        ),
        (",Bag\nHat,0\n", "the first column of the costs has the class 'Hat'", "LABEL_UNKNOWN"),
        (",Bag\nBag,0\nbag,0\n", "'Bag' and 'bag' in the first column of the costs both mean", "CLASS_TWICE"),
        ('"\n', "line 1: unexpected end of data", "COSTS_INVALID"),
    ],
)
def test_bad_costs(tmp_path: Path, content: str, message: str, reason: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        cost_table(written(tmp_path, "c.csv", content), MATCHER)
    assert caught.value.reason == reason


def test_costs_that_are_no_table(tmp_path: Path) -> None:
    for source, message in (
        (tmp_path / "no.csv", "cannot read the table of costs"),
        (tmp_path / "costs.json", "is no table of costs"),
        ({"Bag": 3}, "the costs of 'Bag' are 3"),
        ({"Bag": {"Bag": "x"}}, "is 'x', no number"),
    ):
        with pytest.raises(DataError, match=message):
            read_costs(source)  # type: ignore[arg-type]


def test_costs_between_tabs_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_costs(written(tmp_path, "c.csv", COSTS.replace(",", "\t")))
    assert "separated by tabs" in caught.value.hint


@given(st.data())
def test_tables_of_costs_survive(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    rows, columns = data.draw(st.permutations(range(3))), data.draw(st.permutations(range(3)))
    costs = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=9, max_size=9))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["", *(CLASSES[column] for column in columns)])
    writer.writerows([CLASSES[row], *(repr(costs[3 * row + column]) for column in columns)] for row in rows)
    path = written(tmp_path_factory.mktemp("costs"), "c.csv", text.getvalue())
    assert list(cost_table(path, MATCHER)) == costs


@given(st.one_of(st.binary(max_size=80), st.text(st.sampled_from('Bag,;\n"01.')).map(str.encode)))
def test_any_bytes_give_costs_or_one_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("costs") / "c.csv"
    path.write_bytes(content)
    with suppress(DataError):
        assert json.dumps(read_costs(path))
