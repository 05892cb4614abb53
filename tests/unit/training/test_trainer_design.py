"""Crossed designs and checkpoints in recipes, and changes from the command line."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedzoo.errors import RecipeError
from seedzoo.training.recipe import Recipe, override, parse_recipe
from seedzoo.training.seeds import stream_seed

CROSSED = """
[family]
name = "crossed"
publish = 6
[data]
source = "idx"
[model]
architecture = "seedzoo_cnn_small"
checkpoints = ["a.safetensors", "b.safetensors"]
[training]
epochs = 1
batch_size = 4
lr = 0.1
[seeds]
root = 7
vary = ["dropout"]
[[seeds.factors]]
name = "pretraining"
streams = ["checkpoint"]
[[seeds.factors]]
name = "finetuning"
levels = 3
streams = ["head_init", "order"]
"""


def changed(*pairs: tuple[str, str], text: str = CROSSED) -> str:
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def test_every_combination_of_levels_is_a_variant() -> None:
    recipe = parse_recipe(CROSSED)
    assert recipe.tags == ("p0f0", "p0f1", "p0f2", "p1f0", "p1f1", "p1f2")
    assert recipe.family.train == 6
    assert recipe.variant_factors("p1f2") == {"pretraining": "p1", "finetuning": "f2"}
    assert [recipe.variant_checkpoint(tag) for tag in ("p0f2", "p1f0")] == ["a.safetensors", "b.safetensors"]


def test_cells_share_the_seeds_of_a_level_and_of_what_does_not_vary() -> None:
    recipe = parse_recipe(CROSSED)
    seeds = {tag: recipe.variant_seeds(tag) for tag in recipe.tags}
    assert set(seeds["p0f0"]) == {"init", "head_init", "order", "augment", "dropout"}
    for stream, different in {"init": 1, "augment": 1, "head_init": 3, "order": 3, "dropout": 6}.items():
        assert len({found[stream] for found in seeds.values()}) == different, stream
    assert seeds["p0f1"]["order"] == seeds["p1f1"]["order"] == stream_seed(7, "order", "finetuning=1")


def test_more_levels_change_no_seed_of_the_first_ones() -> None:
    few, many = parse_recipe(CROSSED), parse_recipe(changed(("levels = 3", "levels = 11")))
    assert many.tags[:2] == ("p0f00", "p0f01")
    assert len(many.tags) == 22
    first, again = few.variant_seeds("p1f2"), many.variant_seeds("p1f02")
    assert {k: v for k, v in first.items() if k != "dropout"} == {k: v for k, v in again.items() if k != "dropout"}


def test_a_plain_family_has_no_factors_and_no_stream_for_its_head() -> None:
    plain = changed(("publish = 6", "publish = 2\ntrain = 3"), ('checkpoints = ["a.safetensors", "b.safetensors"]', ""))
    recipe = parse_recipe(plain[: plain.index("[[seeds")])
    assert recipe.tags == ("s000", "s001", "s002")
    assert recipe.variant_factors("s001") == {}
    assert recipe.variant_checkpoint("s001") is None
    assert set(recipe.variant_seeds("s001")) == {"init", "order", "augment", "dropout"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("levels = 3", "level = 3", "Did you mean seeds.factors.levels"),
        ("levels = 3", "", "seeds.factors.levels of finetuning must lie"),
        ("publish = 6", "publish = 6\ntrain = 5", "give 6 variants"),
        ('"head_init", "order"', '"head_init", "odrer"', "names 'odrer'"),
        ('"head_init", "order"', '"dropout"', "'dropout', which is named twice"),
        ('"head_init", "order"', '"init"', "a checkpoint gives the initial weights"),
        ('"head_init", "order"', '"checkpoint"', "model.checkpoints names 2 files"),
        ('name = "finetuning"', 'name = "prompting"', "prefix must differ between factors: p, p"),
        ('name = "finetuning"', 'name = "fine tuning!"', "must be a word"),
        ('checkpoints = ["a.safetensors", "b.safetensors"]', 'checkpoint = "a.pth"', "seeds.factors.levels"),
        ('streams = ["checkpoint"]', 'streams = ["augment"]\nlevels = 2', "draws nothing"),
        ('architecture = "seedzoo_cnn_small"', 'architecture = "x"\nkwargs = { pretrained = true }', "no model hub"),
    ],
)
def test_designs_that_make_no_sense_are_refused(old: str, new: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(changed((old, new)), where="x.toml")
    assert says in f"{caught.value.message} {caught.value.hint}"


def test_a_variant_that_is_no_cell_is_refused() -> None:
    with pytest.raises(RecipeError, match="no variant 'p9f9'"):
        parse_recipe(CROSSED).variant_seeds("p9f9")


def test_checkpoints_count_by_contents_and_loader_processes_not_at_all() -> None:
    def key(*pairs: tuple[str, str]) -> str:
        return parse_recipe(changed(*pairs)).training_key

    known = ("[training]", 'checkpoint_sha256 = ["aa", "bb"]\n[training]')
    moved = ('"a.safetensors"', '"elsewhere/a.safetensors"')
    assert key(known) == key(known, moved) != key(("[training]", 'checkpoint_sha256 = ["aa", "cc"]\n[training]'))
    assert key() != key(moved)
    assert key() == key(("epochs = 1", "epochs = 1\nloader_workers = 4"))


def test_changes_from_the_command_line() -> None:
    text = override(
        CROSSED,
        ["training.epochs=5", "training.optimizer = sgd", "model.kwargs.drop_rate=0.5", "seeds.factors.1.levels=2",
         'training.augment={ flip = 0.5 }', "family.publish=4", 'seeds.vary=["order"]',
         'seeds.factors.1.streams=["head_init"]'],
    )  # fmt: skip
    recipe = parse_recipe(text)
    assert recipe.training.epochs == 5
    assert recipe.training.optimizer == "sgd"
    assert recipe.model.kwargs == {"drop_rate": 0.5}
    assert recipe.training.augment.flip == 0.5
    assert len(recipe.tags) == 4
    assert recipe.seeds.vary == ("order",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("training.epoch=1", "Did you mean training.epochs"),
        ("trainin.epochs=1", "Did you mean training"),
        ("training.epochs", "section.key=value"),
        ("=1", "section.key=value"),
        ("training.epochs.x=1", "training.epochs has no entry 'x'"),
        ("seeds.factors.5.levels=1", "seeds.factors has no entry '5'"),
        ("training.epochs=none", "Expected `int`"),
    ],
)
def test_changes_that_cannot_be_made_say_why(change: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(override(CROSSED, [change], where="x.toml"), where="x.toml")
    assert says in f"{caught.value.message} {caught.value.hint}"


SCALARS = (
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b.c", "", 'q"uote']), TREES, max_size=3), TREES)
def test_what_is_not_changed_stays_as_it_is(document: dict[str, Any], value: Any) -> None:
    from seedzoo.training.recipe_override import _document, _toml

    text = _document(document)
    assert tomllib.loads(text) == document
    if not isinstance(value, str):
        assert tomllib.loads(override(text, [f"new={_toml(value)}"])) == {**document, "new": value}


def test_recipe_is_the_same_after_a_change_that_changes_nothing() -> None:
    assert isinstance(parse_recipe(CROSSED), Recipe)
    assert parse_recipe(override(CROSSED, ["training.epochs=1"])) == parse_recipe(CROSSED)
