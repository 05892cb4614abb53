"""Registering conditions, finding them, and the suites."""

from __future__ import annotations

import pytest

import seedzoo.stress
from seedzoo.errors import AlreadyExists, NotFound, RequestError
from seedzoo.stress import Kind, Registry, conditions, get_condition, suite, suite_names
from seedzoo.stress.corruptions import IMAGE_KINDS


def _same(examples, draws, **levels):
    return examples.copy()


def test_the_starter_suite():
    names = [one.name for one in suite("small-images")]
    assert suite_names()[0] == "small-images"
    assert names[0] == "id"
    assert 40 <= len(names) - 1 <= 50
    assert len(set(names)) == len(names)
    assert {one.kind for one in suite("small-images")} == {"id"} | {kind.name for kind in IMAGE_KINDS}
    assert {"pixelate-3", "contrast-4", "brightness-3", "flip", "inversion"} <= set(names)


def test_names_and_descriptions():
    assert len({one.name for one in conditions()}) == len(conditions())
    for one in conditions():
        assert one.name == (one.kind if one.severity is None else f"{one.kind}-{one.severity}")
        assert one.description.endswith(".")
    assert get_condition("id").severity is None
    assert get_condition("contrast-4").description == (
        "Contrast lowered around the image's mean; severity 4 of 4 (factor 0.1)."
    )


def test_register():
    registry = Registry({"mine": {"plain": (), "graded": (2,)}})
    registry.register(Kind(name="plain", function=_same, description="Nothing"))
    added = registry.register(Kind(name="graded", function=_same, description="Nothing", levels=({"a": 1}, {"a": 2})))
    assert [one.name for one in added] == ["graded-1", "graded-2"]
    assert [one.name for one in registry.suite("mine")] == ["plain", "graded-2"]
    assert [one.name for one in registry.conditions()] == ["plain", "graded-1", "graded-2"]


def test_a_duplicate_name_adds_nothing():
    registry = Registry()
    registry.register(Kind(name="a-2", function=_same, description="Nothing"))
    with pytest.raises(AlreadyExists, match="a-2"):
        registry.register(Kind(name="a", function=_same, description="Nothing", levels=({}, {})))
    assert [one.name for one in registry.conditions()] == ["a-2"]


@pytest.mark.parametrize("name", ["", "Upper", "under_score", "a--b", "-a", "a b", "a/b"])
def test_bad_kind_names(name):
    with pytest.raises(RequestError, match="cannot name"):
        Kind(name=name, function=_same, description="Nothing")


def test_unknown_names_get_near_matches():
    with pytest.raises(NotFound, match="near matches: pixelate-") as caught:
        get_condition("pixellate-3")
    assert "pixelate-3" in caught.value.hint
    with pytest.raises(NotFound, match="small-images"):
        suite("small-image")
    with pytest.raises(NotFound, match="near matches: imagenet-c-gaussian-noise-"):
        get_condition("imagenet-c-gausian-noise-3")
    with pytest.raises(NotFound, match="'qqq'") as caught:
        suite("qqq")
    assert caught.value.hint.startswith("There are: cifar-c, cifar-c-extra, imagenet-c,")
    with pytest.raises(NotFound, match="'qqq'") as caught:
        get_condition("qqq")
    assert caught.value.hint == "`zoo stress --list` has them all."


def test_a_suite_of_unknown_conditions():
    with pytest.raises(NotFound, match="ghost"):
        Registry({"s": {"ghost": ()}}).suite("s")


def test_public_names_exist_and_are_sorted_out():
    assert all(hasattr(seedzoo.stress, name) for name in seedzoo.stress.__all__)
    assert len(set(seedzoo.stress.__all__)) == len(seedzoo.stress.__all__)
