"""Class names and label maps."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedzoo.errors import DataError, RequestError
from seedzoo_client.labels import ClassMatcher, read_label_map
from seedzoo_client.quoting import brief, quoted

CLASSES = ("T-shirt/top", "Trouser", "Bag", "Ankle boot")
NAMES = st.text(min_size=1).map(str.strip).filter(lambda text: text and "\x00" not in text)
MAPS = st.dictionaries(NAMES, NAMES, max_size=5)


def test_exact_then_case_and_separators() -> None:
    matcher = ClassMatcher(CLASSES)
    assert [matcher.index(name) for name in ("Bag", "bag", "t-shirt_top", "ankle-boot", "boot")] == [2, 2, 0, 3, None]
    assert not matcher.is_guess("Bag")
    assert matcher.is_guess("bag")


def test_exact_wins_over_case() -> None:
    assert [ClassMatcher(("a", "A", "b")).index(name) for name in ("A", "a", "B")] == [1, 0, 2]


def test_names_that_differ_in_case_only_are_not_guessed() -> None:
    matcher = ClassMatcher(("ab c", "AB C"))
    assert matcher.index("Ab C") is None


def test_unicode_forms_are_one_name() -> None:
    assert ClassMatcher(("Caf\u00e9",)).index("Cafe\u0301") == 0


def test_the_map_goes_first() -> None:
    matcher = ClassMatcher(CLASSES, {"Bag": "trouser", "sac": "Bag"})
    assert [matcher.index(name) for name in ("Bag", "sac", "SAC", "bag")] == [1, 2, 2, 1]


def test_unknown_classes_are_told_with_what_is_close() -> None:
    matcher = ClassMatcher(CLASSES)
    assert matcher.unknown(["Bag"], source="mydata") is None
    error = matcher.unknown(["bags", "Bag", "shoe"], source="mydata")
    assert error is not None
    assert error.message == (
        "mydata has the classes 'bags', 'shoe', which the task does not have; "
        "it has: T-shirt/top, Trouser, Bag, Ankle boot"
    )
    assert error.hint.startswith("Closest to 'bags' is 'Bag'.")
    assert "`bags,Bag`" in error.hint


def test_a_map_must_lead_to_classes() -> None:
    with pytest.raises(DataError, match="leads 'x' to 'Hat', which is no class") as caught:
        ClassMatcher(CLASSES, {"x": "Hat"})
    assert "T-shirt/top" in caught.value.hint


@given(MAPS)
def test_csv_maps_survive(tmp_path_factory: pytest.TempPathFactory, mapping: dict[str, str]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([("Theirs", "Ours"), *mapping.items()])
    path = tmp_path_factory.mktemp("map") / "map.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode("utf-8", "surrogatepass"))
    try:
        found = read_label_map(path)
    except DataError:
        # A bare carriage return inside a cell is no CSV that anybody writes.
        assert any("\r" in cell or not _is_text(cell) for pair in mapping.items() for cell in pair)
    else:
        assert found == mapping


def _is_text(cell: str) -> bool:
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


@given(MAPS)
def test_json_maps_survive(tmp_path_factory: pytest.TempPathFactory, mapping: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("map") / "map.json"
    path.write_text(json.dumps(mapping))
    assert read_label_map(path) == mapping


@given(st.binary(max_size=60), st.sampled_from([".csv", ".json", ".toml"]))
def test_any_bytes_give_a_map_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("map") / f"map{suffix}"
    path.write_bytes(content)
    with suppress(DataError):
        found = read_label_map(path)
        assert all(theirs and ours for theirs, ours in found.items())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "a,b,c\n", "line 1: 3 columns instead of two"),
        ("m.csv", "a,Bag\na,Trouser\n", "maps 'a' to both 'Bag' and 'Trouser'"),
        ("m.csv", "a,\n", "both must be names"),
        ("m.json", '{"a": "Bag", "a": "Trouser"}', "to both"),
        ("m.json", '["a"]', "not one JSON object"),
        ("m.json", '{"a": 1}', "both must be names"),
        ("m.json", "{", "not valid JSON"),
        ("m.toml", "a = ", "not valid TOML"),
        ("m.json", f'{{"a": {"9" * 5000}}}', "not valid JSON: it holds a number that is too long"),
        ("m.toml", f"a = {'9' * 5000}", "not valid TOML: it holds a number that is too long"),
        ("m.toml", f"a = 0x{'f' * 5000}", "maps 'a' to a very long int"),
        ("m.json", "[" * 100_000, "nested too deeply"),
        ("m.txt", "a b", "is no label map"),
    ],
)
def test_bad_maps(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_label_map(path)
    assert caught.value.reason == "LABEL_MAP_INVALID"


def test_a_missing_map(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the label map"):
        read_label_map(tmp_path / "no.csv")


def test_toml_map(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('"my bag" = "Bag"\n')
    assert read_label_map(path) == {"my bag": "Bag"}


@pytest.mark.parametrize(
    "content",
    ["theirs;ours\nmy bag;Bag\nhose;Trouser\n", "my bag;Bag\r\nhose;Trouser\r\n", '\n"my bag";"Bag"\nhose;Trouser\n'],
)
def test_semicolons_separate_as_well(tmp_path: Path, content: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(content)
    assert read_label_map(path) == {"my bag": "Bag", "hose": "Trouser"}


def test_a_semicolon_in_a_name_separates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("a;b,Bag\n")
    assert read_label_map(path) == {"a;b": "Bag"}


def test_names_of_any_length_are_cut() -> None:
    long = "x" * 100_000
    matcher = ClassMatcher((*CLASSES, "y" * 300))
    error = matcher.unknown([long, "bags"], source="mydata")
    assert error is not None
    assert len(error.message) < 300
    assert len(error.hint) < 300
    assert f"{'x' * 59}…'" in error.message
    with pytest.raises(DataError) as caught:
        ClassMatcher(CLASSES, {long: long})
    assert len(caught.value.message) < 300
    with pytest.raises(DataError) as caught:
        read_label_map({long: 5})  # type: ignore[dict-item]
    assert len(caught.value.message) < 300
    assert (brief("a" * 60), brief("a" * 61)) == ("a" * 60, "a" * 59 + "…")
    assert quoted([1] * 1000).endswith("…")


def test_what_is_no_map() -> None:
    for source in (5, ["a"], None):
        with pytest.raises(RequestError, match="label_map must be") as caught:
            read_label_map(source)  # type: ignore[arg-type]
        assert caught.value.field == "label_map"


def test_tabs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("theirs\tours\nmy bag\tBag\n")
    with pytest.raises(DataError) as caught:
        read_label_map(path)
    assert "separated by tabs" in caught.value.hint
