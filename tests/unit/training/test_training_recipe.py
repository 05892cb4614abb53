"""Recipes: what is valid, and one clear error for what is not."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedzoo.errors import RecipeError
from seedzoo.training.recipe import load_recipe, parse_recipe
from seedzoo.training.seeds import STREAMS, stream_seed, variant_seeds

ROOT = Path(__file__).resolve().parents[3]
VALID = (ROOT / "recipes" / "fashion-cnn.toml").read_text()


def test_shipped_recipe_is_valid() -> None:
    recipe, raw = load_recipe(ROOT / "recipes" / "fashion-cnn.toml")
    assert raw.decode() == VALID
    assert recipe.family.publish == 50
    assert len(recipe.tags) == recipe.family.train > recipe.family.publish
    assert recipe.tags[:2] == ("s000", "s001")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("epochs = 2", "epoch = 2", "Did you mean training.epochs"),
        ("[training]", "[trainin]", "Did you mean training"),
        ("epochs = 2", "epochs = 0", "training.epochs must be at least 1"),
        ("epochs = 2", 'epochs = "two"', "epochs"),
        ("publish = 50", "publish = 99", "family.publish"),
        ('"init", "order", "dropout"', '"init", "odrer"', "seeds.vary names 'odrer'"),
        ('"init", "order", "dropout"', '"augment"', "draws nothing"),
        ('"init", "order", "dropout"', "", "at least one"),
        ("margin = 0.01", "margin = 0", "certificate.margin"),
        ('precision = "bf16"', 'precision = "fp4"', "training.precision"),
        ('name = "fashion-cnn"', 'name = "fashion/cnn"', "family.name"),
        ("root = 20201106", "", "root"),
        ("lr = 0.004", "lr = inf", "training.lr must be positive and finite"),
        ("weight_decay = 0.02", "weight_decay = inf", "training.weight_decay must be finite"),
        ("lr = 0.004", "lr = 0.004\nclip_norm = inf", "training.clip_norm must be finite"),
        ("lr = 0.004", "lr = 0.004\noptimizer_kwargs = { lr = 0.1 }", "would be a second training.lr"),
        ("[seeds]", "[training.augment]\ncolor_jitter = inf\n[seeds]", "training.augment.color_jitter"),
        ("[seeds]", "[training.augment]\ncrop_ratio = [1, inf]\n[seeds]", "training.augment.crop_ratio"),
        ("[seeds]", "[training.mixup]\nmixup_alpha = inf\n[seeds]", "training.mixup.mixup_alpha must be finite"),
        ("[family]", "[family", "not valid TOML"),
    ],
)
def test_bad_recipes_get_one_clear_error(old: str, new: str, says: str) -> None:
    assert old in VALID
    with pytest.raises(RecipeError) as caught:
        parse_recipe(VALID.replace(old, new), where="x.toml")
    assert says in f"{caught.value.message} {caught.value.hint}"
    assert "x.toml" in caught.value.message


def test_missing_recipe_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read recipe"):
        load_recipe(tmp_path / "none.toml")


@given(st.text(max_size=200))
def test_any_text_parses_or_is_a_recipe_error(text: str) -> None:
    with contextlib.suppress(RecipeError):
        parse_recipe(text)


def test_training_key_ignores_what_does_not_change_the_variants() -> None:
    base = parse_recipe(VALID)
    assert parse_recipe(VALID.replace("publish = 50", "publish = 40")).training_key == base.training_key
    assert parse_recipe(VALID.replace("margin = 0.01", "margin = 0.02")).training_key == base.training_key
    assert parse_recipe(VALID.replace("lr = 0.004", "lr = 0.005")).training_key != base.training_key
    assert parse_recipe(VALID.replace("root = 20201106", "root = 1")).training_key != base.training_key


@given(st.integers(0, 2**40), st.sets(st.sampled_from(STREAMS)))
def test_only_varied_streams_differ_between_variants(root: int, vary: set[str]) -> None:
    first, second = variant_seeds(root, "s000", vary), variant_seeds(root, "s001", vary)
    assert {stream for stream in STREAMS if first[stream] != second[stream]} == vary
    assert len(set(first.values())) == len(STREAMS)


def test_seeds_are_the_same_forever() -> None:
    # First 63 bits of SHA-256("1/init/s000"), computed with sha256sum.
    assert stream_seed(1, "init", "s000") == int("af068c0b93285258", 16) >> 1
