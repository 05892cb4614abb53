"""Model cards: metadata that huggingface_hub reads, numbers by hand, code that runs, and text that stays text."""

from __future__ import annotations

import dataclasses
import re
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("huggingface_hub", reason="needs the [train] extra")

import huggingface_hub as hub

from seedzoo.catalog.codec import decode_json
from seedzoo.inference import predict_files
from seedzoo.records import Family, FileEntry, Variant
from seedzoo.stress.table import ProfileRow, read_profile
from seedzoo.training.cards import card, family_card
from seedzoo.training.quantise import Agreement

STARTER = files("seedzoo.starter") / "fashion-cnn"
FAMILY = decode_json((STARTER / "family.json").read_bytes(), Family, where="family.json")
ROWS = read_profile((STARTER / "profile.parquet").read_bytes()).rows


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a card needs no network")

    monkeypatch.setattr(socket.socket, "connect", refused)


def made_row(variant: str, condition: str, correct: int, n: int = 100) -> ProfileRow:
    kind, _, severity = condition.rpartition("-")
    like = next(row for row in ROWS if row.condition == "id")
    return dataclasses.replace(
        like,
        variant=variant,
        condition=condition,
        kind=kind or condition,
        severity=int(severity) if kind else None,
        n=n,
        correct=correct,
        accuracy=correct / n,
        accuracy_low=None,
        accuracy_high=None,
    )


def of_two(**changes: object) -> tuple[Family, list[ProfileRow]]:
    """Two variants whose accuracies are easy to do by hand."""
    first, second = FAMILY.variants[:2]
    family = dataclasses.replace(FAMILY, variants=(first, second), **changes)
    counts = {"id": (90, 91), "fog-1": (80, 60), "fog-2": (40, 70), "snow-1": (50, 50)}
    rows = [
        made_row(variant.tag, condition, right)
        for condition, pair in counts.items()
        for variant, right in zip((first, second), pair, strict=True)
    ]
    return family, rows


def test_metadata_round_trip() -> None:
    variant = FAMILY.variants[3]
    content = card(FAMILY, variant, ROWS)
    data = hub.ModelCard(content).data
    assert data.model_name == f"fashion-cnn/{variant.tag}"
    assert data.license == "mit"
    assert data.pipeline_tag == "image-classification"
    assert data.datasets == ["fashion-mnist"]
    assert len(data.eval_results) == 1 + 5 + 5
    by_condition = {row.condition: row for row in ROWS if row.variant == variant.tag}
    for result in data.eval_results:
        row = by_condition[result.dataset_config]
        assert result.metric_value == pytest.approx(row.accuracy, abs=1e-6)
        assert result.metric_args["n"] == row.n == 8000
    assert data.eval_results[0].dataset_config == "id"
    assert f"---\n{data.to_yaml()}\n---" == content[: content.index("\n---\n", 4) + 4]
    assert variant.model is not None
    assert variant.model.sha256 in content
    assert all(str(seed) in content for seed in variant.seeds.values())


def test_ahead_and_behind_by_hand() -> None:
    family, rows = of_two()
    content = card(family, family.variants[0], rows)
    behind, ahead = content.split("Lowest beside the mean:")[1].split("Highest beside the mean:")
    assert "| fog-2 | 40.00 % of 100 examples | 55.00 % | -15.00 |" in behind
    assert "fog-1" not in behind
    lines = [line for line in ahead.split("## Seeds")[0].splitlines() if line.startswith("| ")][2:]
    assert lines == [
        "| fog-1 | 80.00 % of 100 examples | 70.00 % | +10.00 |",
        "| snow-1 | 50.00 % of 100 examples | 50.00 % | +0.00 |",
    ]
    assert [result.dataset_config for result in hub.ModelCard(content).data.eval_results] == [
        "id", "fog-2", "fog-1", "snow-1",
    ]  # fmt: skip


def test_certificate_sentence_by_hand() -> None:
    certificate = FAMILY.certificate
    assert certificate is not None
    entry = dataclasses.replace(
        certificate.entries[0], tag="s000", difference=-0.00123, low=-0.0062, high=0.0038, passed=True
    )
    family = dataclasses.replace(FAMILY, certificate=dataclasses.replace(certificate, entries=(entry,)))
    content = card(family, family.variants[0], ROWS)
    assert "margin ±1 percentage point, level 0.05 for the family as a whole, 8,000 examples" in content
    assert "-0.12 points from the family's mean of" in content
    assert "limits -0.62 and +0.38: shown to lie within the margin." in content
    without = card(dataclasses.replace(FAMILY, certificate=None), FAMILY.variants[0], ROWS)
    assert "There is none: nothing shows that these variants are equally accurate." in without


def test_no_more_is_said_than_is_shown() -> None:
    content = card(FAMILY, FAMILY.variants[0], ROWS)
    assert "Each is shown to lie within 1 percentage point of the mean accuracy" in content
    assert "Two of them may differ by up to twice the margin." in content
    assert "equally accurate" not in content
    assert "differ in nothing but their random seeds." in content
    bare = card(dataclasses.replace(FAMILY, certificate=None), FAMILY.variants[0], ROWS)
    assert "Each is shown" not in bare
    assert "passed the test" not in bare
    crossed = dataclasses.replace(
        FAMILY, variants=tuple(dataclasses.replace(variant, factors={"pre": "p0"}) for variant in FAMILY.variants)
    )
    for text in (card(crossed, crossed.variants[0], ROWS), family_card(crossed, ROWS)):
        assert "differ in nothing but the levels of a crossed design (pre) and their random seeds." in text


def test_twins_are_compared_with_twins() -> None:
    family, rows = of_two()
    first = dataclasses.replace(family.variants[0], int8=FileEntry("models/s000.int8.onnx", 9, "ab" * 32))
    twins = [dataclasses.replace(row, variant=f"{row.variant}.int8", accuracy=0.5) for row in rows]
    content = card(family, first, [*rows, *twins], twin_agreement=Agreement(n=1000, same=993, distance=0.01))
    assert "| fog-1 | 80.00 % of 100 examples | 70.00 % | +10.00 |" in content
    assert "| s000.int8.onnx | its int8 twin: another model, never used in its place | 9 |" in content
    assert "The int8 twin's held-out accuracy is 50.00 % of 100 examples." in content
    assert "On 1,000 held-out images the twin and the model give the same class to 99.30 %." in content
    assert family_card(family, [*rows, *twins]) == family_card(family, rows)


def test_the_family_s_card() -> None:
    family, rows = of_two()
    content = family_card(family, rows)
    table = content.split("## Under stress")[1]
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert lines == [
        "| fog-2 | 40.00 % | 55.00 % | 70.00 % | 30 |",
        "| fog-1 | 60.00 % | 70.00 % | 80.00 % | 20 |",
        "| snow-1 | 50.00 % | 50.00 % | 50.00 % | 0 |",
    ]
    assert hub.ModelCard(content).data.pipeline_tag == "image-classification"
    assert all(variant.model is not None and variant.model.sha256 in content for variant in family.variants)


def test_nothing_measured() -> None:
    bare = dataclasses.replace(FAMILY, licence="Our own licence, see us", software={}, recipe_sha256="")
    data = hub.ModelCard(card(bare, Variant("s9", None, {}, 0.9), [])).data
    assert (data.license, data.license_name) == ("other", "Our own licence, see us")
    assert data.eval_results[0].metric_value == 0.9
    assert "Not measured." in family_card(bare, [])


@pytest.mark.parametrize("resize", ["stretch", "shorter_side_center_crop"])
def test_the_code_runs_and_does_what_predict_does(resize: str, tmp_path: Path) -> None:
    raw = (STARTER / "models" / "s000.onnx").read_bytes()
    (tmp_path / "s000.onnx").write_bytes(raw)
    gradient = np.add.outer(np.arange(60), np.arange(47)).astype(np.uint8)
    Image.fromarray(gradient * 2).save(tmp_path / "picture.png")
    shape = dataclasses.replace(FAMILY.task.preprocessing, resize=resize)
    family = dataclasses.replace(FAMILY, task=dataclasses.replace(FAMILY.task, preprocessing=shape))
    (code,) = re.findall(r"```python\n(.*?)```", card(family, FAMILY.variants[0], ROWS), flags=re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    if resize == "stretch":
        found = predict_files(raw, [tmp_path / "picture.png"])
        assert ran.stdout == f"{found.classes[found.predicted[0]]}\n"
    else:
        assert ran.stdout.strip() in FAMILY.task.classes
    assert "ImageOps.fit" in code or resize == "stretch"


def test_hostile_strings_stay_text() -> None:
    bad = "---\nlicense: evil\n---\n<script>alert(1)</script> | [x](javascript:1) `$(rm -rf)` \"'\x00{{7*7}}"
    family, rows = of_two(title=bad, licence=bad, name="fam;rm -rf")
    family = dataclasses.replace(
        family,
        data=dataclasses.replace(family.data, name=bad, licence=bad),
        task=dataclasses.replace(family.task, classes=(bad, "b")),
    )
    variant = dataclasses.replace(family.variants[0], factors={bad: bad})
    content = card(family, variant, rows)
    data = hub.ModelCard(content).data
    assert data.license == "other"
    assert data.model_name == f"fam;rm -rf/{variant.tag}"
    assert data.datasets[0].startswith("--- license: evil --- <script>")
    body = content.split("\n---\n", 1)[1]
    assert "<script>" not in body
    assert not re.search(r"(?<!\\)\]\(javascript", body)
    assert "; rm" not in body
    assert "fam;rm" not in body
    assert "\x00" not in content
    assert "\n---\n" not in body
    for line in body.splitlines():
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 5)
    assert family_card(family, rows).count("<script>") == family_card(family, rows).split("\n---\n")[0].count(
        "<script>"
    )


def test_the_same_family_gives_the_same_bytes() -> None:
    again = decode_json((STARTER / "family.json").read_bytes(), Family, where="family.json")
    assert card(again, again.variants[0], list(ROWS)) == card(FAMILY, FAMILY.variants[0], ROWS)
    assert family_card(again, list(ROWS)) == family_card(FAMILY, ROWS)


def test_intervals_are_shown() -> None:
    like = next(row for row in ROWS if row.condition == "id" and row.variant == "s000")
    assert f"{100 * like.accuracy:.2f} % (95 % interval" in card(FAMILY, FAMILY.variants[0], ROWS)
