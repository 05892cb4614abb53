"""Measuring a profile: the counts of a naive loop, resumed after any interruption, on all kinds of sets."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support import png

from seedzoo.catalog.bundle import Bundle, open_bundle
from seedzoo.errors import Cancelled, DataError, LocalFailure, RequestError
from seedzoo.inference.evaluate import softmax
from seedzoo.inference.sources import ArrayImages, FileImages
from seedzoo.starter import starter_bundle
from seedzoo.stress import get_condition
from seedzoo.stress.blocks import blocks
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.kept import Kept
from seedzoo.stress.measure import VariantModel, correctness, measure
from seedzoo.stress.subset import limited

SUBSET = Path(__file__).resolve().parents[2] / "data" / "fashion-subset"
CONDITIONS = [get_condition(name) for name in ("id", "gaussian-noise-2")]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(starter_bundle())


@pytest.fixture(scope="module")
def variants(bundle: Bundle) -> list[VariantModel]:
    found = []
    for variant in bundle.family.variants[:2]:
        assert variant.model is not None
        path = bundle.folder / variant.model.path
        found.append(
            VariantModel(
                tag=variant.tag,
                sha256=variant.model.sha256,
                read=path.read_bytes,
            )
        )
    return found


@pytest.fixture(scope="module")
def pixels() -> tuple[np.ndarray, np.ndarray]:
    raw = gzip.decompress((SUBSET / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    labels = np.frombuffer(gzip.decompress((SUBSET / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return images[:600], labels[:600].astype(np.int64)


def id_set(pixels, count=600, **more) -> EvaluationSet:
    return EvaluationSet(name="id", kind="id", images=ArrayImages(pixels[0][:count], pixels[1][:count]), **more)


def run(variants, folder, sets, conditions=CONDITIONS, **more):
    return measure(variants, classes=10, sets=sets, conditions=conditions, folder=folder, threads=2, **more)


def by_name(found):
    return {(row.variant, row.condition): row for row in found.rows}


def test_same_as_a_naive_loop(variants, pixels, tmp_path: Path) -> None:
    images, labels = pixels[0], pixels[1]
    camera = tuple("ab"[row % 2] if row % 3 else "" for row in range(600))
    found = run(
        variants, tmp_path, [id_set(pixels, slices={"camera": camera, "site": ("x",) * 600})], slices=["camera"]
    )
    assert list(dict.fromkeys(row.condition for row in found.rows)) == [
        "id", "gaussian-noise-2", "slice/camera=a", "slice/camera=b",
    ]  # fmt: skip
    rows = by_name(found)
    for condition in CONDITIONS:
        changed = condition.apply(images, np.arange(600))
        together = sum((variant.load().logits(changed).argmax(axis=1) == labels).astype(int) for variant in variants)
        assert found.sum_squares[condition.name] == int((together**2).sum())
        for variant in variants:
            probabilities = softmax(variant.load().logits(changed)).astype(np.float64)
            right = probabilities.argmax(axis=1) == labels
            row = rows[variant.tag, condition.name]
            assert (row.n, row.correct) == (600, int(right.sum()))
            assert row.log_loss == pytest.approx(-np.log(probabilities[np.arange(600), labels]).mean(), abs=1e-6)
            assert row.top5 == (np.argsort(-probabilities, axis=1)[:, :5] == labels[:, None]).any(axis=1).mean()
            assert row.brier == pytest.approx(((probabilities - np.eye(10)[labels]) ** 2).sum(axis=1).mean(), abs=1e-6)
            assert row.class_correct == tuple(np.bincount(labels[right], minlength=10).tolist())
            if condition.name == "id":
                chosen = np.array(camera) == "a"
                part = rows[variant.tag, "slice/camera=a"]
                assert (part.n, part.correct, part.kind) == (int(chosen.sum()), int(right[chosen].sum()), "slice")
    assert found.signatures is not None
    assert found.signatures.conditions == ("id", "gaussian-noise-2")
    # The certificate counts the same, bit by bit.
    whole = correctness(variants, ArrayImages(images, labels), folder=tmp_path, threads=1)
    assert whole.sum(axis=0).tolist() == [rows[variant.tag, "id"].correct for variant in variants]
    kept = [replace(variant, read=never) for variant in variants]
    assert np.array_equal(whole, correctness(kept, ArrayImages(images, labels), folder=tmp_path))


def never() -> bytes:
    raise AssertionError("nothing is left to evaluate")


def test_twins_do_not_count_among_the_members(variants, pixels, tmp_path: Path) -> None:
    alone = run(variants[:1], tmp_path / "alone", [id_set(pixels, 100)])
    twin = replace(variants[1], tag="s000.int8", twin=True)
    beside = run([variants[0], twin], tmp_path / "beside", [id_set(pixels, 100)])
    assert beside.sum_squares == alone.sum_squares == {row.condition: row.correct for row in alone.rows}
    assert len(beside.rows) == 2 * len(alone.rows)


def test_stopped_anywhere_it_goes_on_and_gives_the_same(variants, pixels, tmp_path: Path) -> None:
    few = [id_set(pixels, 560)]  # one block of 512 images and one of 48
    whole = run(variants, tmp_path / "whole", few)
    stops = 0
    answers: list[int] = []

    def stop_after_one() -> bool:
        return len(answers) >= 1

    while True:
        answers.clear()
        try:
            found = measure(
                variants, classes=10, sets=few, conditions=CONDITIONS, folder=tmp_path / "stopped", threads=1,
                on_progress=answers.append, should_stop=stop_after_one,
            )  # fmt: skip
        except Cancelled:
            stops += 1
            assert stops < 10, "nothing that was finished is kept"
            continue
        break
    assert stops >= 2
    assert found.rows == whole.rows
    assert np.array_equal(found.signatures.cot, whole.signatures.cot)
    # Finished: no model is opened any more.
    closed = [replace(variant, read=never) for variant in variants]
    assert run(closed, tmp_path / "stopped", few).rows == whole.rows
    assert not list((tmp_path / "stopped").rglob("*.outputs"))


def test_what_is_damaged_or_of_other_models_or_images_is_measured_again(variants, pixels, tmp_path: Path) -> None:
    few = [id_set(pixels, 40)]
    first = run(variants, tmp_path, few)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [path.name for path in files] == ["whole", "whole"]
    for content in (b"", b"junk", files[0].read_bytes()[:-1], files[0].read_bytes()[:-1] + b"\0"):
        files[0].write_bytes(content)
        assert run(variants, tmp_path, few).rows == first.rows
    other = [replace(variants[0], sha256="another"), variants[1]]
    with pytest.raises(AssertionError, match="nothing is left"):
        run([replace(variant, read=never) for variant in other], tmp_path, few)
    with pytest.raises(AssertionError, match="nothing is left"):
        run([replace(variant, read=never) for variant in variants], tmp_path, [id_set(pixels, 39)])


@pytest.mark.parametrize("lost", ["b00000", "b00001", "s00000.outputs"])
def test_a_block_that_somebody_deletes_is_missed_and_never_left_out_of_a_sum(
    variants, pixels, tmp_path: Path, monkeypatch, lost: str
) -> None:
    # More images than signatures look at, so that there are blocks of both kinds.
    images = ArrayImages(np.resize(pixels[0], (3000, 28, 28, 1)), np.resize(pixels[1], 3000))
    sets, only = [EvaluationSet(name="id", kind="id", images=images)], CONDITIONS[:1]
    expected = run(variants, tmp_path / "undisturbed", sets, only)
    put = Kept.put
    gone = []

    def putting(kept: Kept, name: str, arrays, **more) -> None:
        put(kept, name, arrays, **more)
        if name == lost and not gone:
            gone.append(name)
            kept.drop(name)

    monkeypatch.setattr(Kept, "put", putting)
    with pytest.raises(LocalFailure, match="finished block of id was deleted") as caught:
        run(variants, tmp_path / "kept", sets, only)
    assert caught.value.reason == "BLOCK_LOST"
    assert run(variants, tmp_path / "kept", sets, only).rows == expected.rows


def test_kept_arrays_are_bound_to_their_name_and_key(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "folder", "key")
    assert kept.get("a") is None
    kept.put("a", {"x": np.arange(3)})
    assert kept.get("a")["x"].tolist() == [0, 1, 2]
    assert Kept(tmp_path / "folder", "other").get("a") is None
    (tmp_path / "folder" / "b").write_bytes((tmp_path / "folder" / "a").read_bytes())
    assert kept.get("b") is None
    kept.drop("a", "b", "c")
    assert not list((tmp_path / "folder").iterdir())


def test_a_folder_that_cannot_be_written_is_one_clear_error(variants, pixels, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalFailure, match="cannot write"):
        run(variants, tmp_path / "file", [id_set(pixels, 20)])


@pytest.fixture
def files(pixels, tmp_path: Path) -> FileImages:
    paths = []
    for row in range(12):
        paths.append(tmp_path / "images" / f"{row:02d}.png")
        paths[-1].parent.mkdir(exist_ok=True)
        paths[-1].write_bytes(png(pixels[0][row, ..., 0]))
    preprocessing = open_bundle(starter_bundle()).family.task.preprocessing
    return FileImages(paths, pixels[1][:12], preprocessing, root=tmp_path / "images")


def test_an_unreadable_image_stops_with_its_name_or_is_skipped_and_counted(variants, files, pixels, tmp_path) -> None:
    files.paths[5].write_bytes(b"not an image")
    given = [EvaluationSet(name="natural/folder", images=files)]
    folder = tmp_path / "kept"
    with pytest.raises(DataError, match=r"05\.png"):
        run(variants, folder, given)
    found = run(variants, folder, given, skip_unreadable=True)
    assert {row.n for row in found.rows} == {11}
    assert [(one.row, one.name) for one in found.skipped["natural/folder"]] == [(5, "05.png")]
    # What lacks an image does not pass for whole later.
    with pytest.raises(DataError, match=r"05\.png"):
        run(variants, folder, given)
    files.paths[5].write_bytes(png(pixels[0][5, ..., 0]))
    mended = [EvaluationSet(name="natural/folder", images=replace(files))]
    plain = EvaluationSet(name="natural/folder", images=ArrayImages(pixels[0][:12], pixels[1][:12]))
    assert run(variants, folder, mended).rows == run(variants, tmp_path / "plain", [plain]).rows
    for path in files.paths:
        path.write_bytes(b"no")
    with pytest.raises(DataError, match="no image of natural/folder can be read"):
        run(variants, folder, [EvaluationSet(name="natural/folder", images=replace(files))], skip_unreadable=True)


def test_natural_sets_are_scored_by_their_own_rules(variants, pixels, tmp_path: Path) -> None:
    images, labels = pixels[0][:90], pixels[1][:90]
    predicted = [softmax(variant.load().logits(images)).argmax(axis=1) for variant in variants]
    accepted = np.eye(10, dtype=bool)[labels]
    accepted[:, 0] = True
    scenes = np.arange(90) // 3 % 15  # each scene in two places, so that frames have to be brought together
    some = np.flatnonzero(labels < 4)
    sets = [
        EvaluationSet(name="natural/several", images=ArrayImages(images, labels), accepted=accepted,
                      slices={"site": ("x", "y") * 45}),
        EvaluationSet(name="natural/frames", images=ArrayImages(images, labels), anchors=scenes),
        EvaluationSet(name="natural/few", images=ArrayImages(images[some], labels[some]), candidates=np.arange(4)),
    ]  # fmt: skip
    found = run(variants, tmp_path, sets, slices=["site"])
    rows = by_name(found)
    for variant, calls in zip(variants, predicted, strict=True):
        right = calls == labels
        several = rows[variant.tag, "natural/several"]
        assert several.correct == int((right | (calls == 0)).sum())
        assert rows[variant.tag, "natural/several/slice/site=y"].correct == int((right | (calls == 0))[1::2].sum())
        frames = rows[variant.tag, "natural/frames"]
        assert (frames.n, frames.correct) == (15, sum(bool(right[scenes == scene].all()) for scene in range(15)))
        few = rows[variant.tag, "natural/few"]
        among = softmax(variant.load().logits(images[some]))[:, :4].argmax(axis=1)
        assert (few.correct, few.top5) == (int((among == labels[some]).sum()), None)
    assert found.signatures.conditions == ("natural/several", "natural/few")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"accepted": np.ones((5, 9), dtype=bool)}, "accepted is not"),
        ({"anchors": np.zeros(4, dtype=np.int64)}, "anchors is not"),
        ({"slices": {"site": ("x",)}}, "another number of values"),
        ({"candidates": np.array([0, 1])}, "not among the candidates"),
        ({"images": ArrayImages(np.zeros((1, 28, 28, 1), np.uint8), np.array([10]))}, "not among the 10 classes"),
        ({"images": ArrayImages(np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, np.int64))}, "no images"),
    ],
)
def test_sets_that_do_not_fit_are_refused(variants, pixels, tmp_path: Path, change, says: str) -> None:
    images = ArrayImages(pixels[0][:5], np.array([0, 1, 2, 3, 4]))
    given = replace(EvaluationSet(name="natural/x", images=images), **change)
    with pytest.raises(DataError, match=says):
        run(variants, tmp_path, [given])


def test_unknown_columns_and_equal_names_are_refused(variants, pixels, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no set has a column 'camera'"):
        run(variants, tmp_path, [id_set(pixels, 5)], slices=["camera"])
    twice = EvaluationSet(name="natural/x", images=ArrayImages(pixels[0][:5], pixels[1][:5]))
    with pytest.raises(RequestError, match="two conditions are named 'natural/x'"):
        run(variants, tmp_path, [twice, replace(twice)])
    sites = tuple(f"u{row}" for row in range(1001))
    images = ArrayImages(np.resize(pixels[0], (1001, 28, 28, 1)), np.resize(pixels[1], 1001))
    with pytest.raises(RequestError, match="the column 'site' of natural/x has 1,001 values"):
        run(variants, tmp_path, [replace(twice, images=images, slices={"site": sites})], slices=["site"])


def test_blocks_hold_every_image_once() -> None:
    found = blocks(5000, example_bytes=784)
    assert np.array_equal(np.sort(np.concatenate([block.rows for block in found])), np.arange(5000))
    assert sum(len(block.rows) for block in found if block.signature) == 2000
    assert max(len(block.rows) for block in found) <= 512
    assert len({block.name for block in found}) == len(found)
    scenes = np.arange(2000) % 97
    found = blocks(2000, example_bytes=784, anchors=scenes)
    owners = [set(scenes[block.rows].tolist()) for block in found]
    assert sum(map(len, owners)) == 97  # no scene in two blocks
    assert np.array_equal(np.sort(np.concatenate([block.rows for block in found])), np.arange(2000))


def test_a_limit_draws_the_same_part_of_everything(pixels, files) -> None:
    whole = id_set(
        pixels, 100, slices={"row": tuple(map(str, range(100)))}, accepted=np.eye(10, dtype=bool)[pixels[1][:100]]
    )
    part = limited(whole, 30)
    rows = np.array([int(value) for value in part.slices["row"]])
    assert len(set(rows.tolist())) == 30
    assert np.array_equal(part.images.read(range(30)), pixels[0][rows])
    assert np.array_equal(part.accepted.argmax(axis=1), part.images.labels)
    assert limited(whole, 30).slices == part.slices
    assert limited(whole, 100) is whole
    scenes = replace(whole, anchors=np.arange(100) // 4)
    assert np.bincount(limited(scenes, 30).anchors).tolist().count(4) == 7  # whole scenes only: 28 images
    of_files = limited(EvaluationSet(name="natural/x", images=files), 3)
    assert len(of_files.images.labels) == 3
    assert of_files.images.digest == limited(EvaluationSet(name="natural/x", images=files), 3).images.digest
