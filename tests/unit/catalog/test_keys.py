"""Key validation: nothing that could leave its folder or that some store cannot hold gets through."""

from __future__ import annotations

import os.path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.store import MAX_KEY_BYTES, MAX_SEGMENT_BYTES, check_key, check_prefix
from seedzoo.errors import RequestError

good_segments = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="/\\"), min_size=1, max_size=20
).filter(lambda segment: segment not in {".", "..", ".seedzoo"})
good_keys = st.lists(good_segments, min_size=1, max_size=5).map("/".join)
bad_segments = st.sampled_from(
    ["", ".", "..", "a\\b", "\0", "a\nb", "\x7f", "\x85", "\ud800", "\uffff", "s" * (MAX_SEGMENT_BYTES + 1)]
)


def is_accepted(key: str) -> bool:
    try:
        return check_key(key) == key
    except RequestError as error:
        return (error.reason, error.field, bool(error.hint)) != ("KEY_INVALID", "key", True)


@given(good_keys)
def test_good_keys_pass_and_come_back_from_a_store(key: str) -> None:
    assert is_accepted(key)
    store = MemoryStore()
    store.put(key, b"x")
    assert [info.key for info in store.list("")] == [key]
    assert store.get(key) == b"x"


@given(st.lists(good_segments, max_size=3), bad_segments, st.lists(good_segments, max_size=3))
def test_one_bad_segment_anywhere_refuses_the_key(before: list[str], bad: str, after: list[str]) -> None:
    assert not is_accepted("/".join([*before, bad, *after]))


@given(st.text(max_size=40))
@example("a/../../b")
@example("/etc/passwd")
def test_an_accepted_key_never_leaves_its_folder(key: str) -> None:
    if is_accepted(key):
        path = os.path.normpath(os.path.join("/root", key))  # noqa: PTH118
        assert path == "/root/" + key


@given(st.integers(MAX_KEY_BYTES - 3, MAX_KEY_BYTES + 3), st.sampled_from(["k", "é", "☃", "😀"]))
def test_length_counts_utf8_bytes(size: int, char: str) -> None:
    width = len(char.encode())
    segment = char * (200 // width) + "/"
    key = (segment * 5)[: size // width]
    key = key.rstrip("/") + "k" * (size - len(key.rstrip("/").encode()))
    assert len(key.encode()) == size
    assert is_accepted(key) == (size <= MAX_KEY_BYTES)


@given(good_keys)
def test_a_prefix_is_a_folder_with_or_without_slash(key: str) -> None:
    assert check_prefix(key) == check_prefix(key + "/") == key + "/"


@pytest.mark.parametrize("prefix", ["/", "a//", "../", "a\\", ".seedzoo"])
def test_bad_prefixes(prefix: str) -> None:
    with pytest.raises(RequestError):
        check_prefix(prefix)


def test_the_empty_prefix_is_everything() -> None:
    assert check_prefix("") == ""
