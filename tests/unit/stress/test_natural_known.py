"""Every known natural shift, from a folder in its published layout to what counts as right."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.stress.natural_folders import TINY, counted, names_of, picture, predicting, put, wnids

from seedzoo.errors import DataError, NotFound, RequestError
from seedzoo.stress.natural import known_sets, load_natural
from seedzoo.stress.natural.frames import vid_scenes
from seedzoo.stress.natural.set_file import known_set

HUMAN = tuple(f"class number {index}" for index in range(1000))


def objectnet_folders() -> dict[str, list[str]]:
    folders: dict[str, list[str]] = json.loads((known_set("objectnet").base / "objectnet.json").read_text())
    return folders


def test_objectnet_right_is_any_class_of_the_folder_among_125(tmp_path: Path) -> None:
    put(tmp_path / "objectnet-1.0" / "images", [f"{name}/1.png" for name in objectnet_folders()])
    put(tmp_path / "objectnet-1.0" / "images", ["air_freshener/1.png", "air_freshener/2.png", "airpods/1.png"])
    (found,) = load_natural(f"objectnet={tmp_path}", classes=wnids(), preprocessing=TINY)
    assert found.name == "natural/objectnet"
    assert len(found.images.labels) == 113
    assert found.accepted is not None
    assert found.candidates is not None
    assert found.restricted_to is not None
    assert found.candidates.tolist() == found.restricted_to.tolist()
    assert len(found.candidates) == 125
    names = names_of(found)
    clock, chair, banana = (names.index(f"{name}/1.png") for name in ("alarm_clock", "chair", "banana"))
    assert np.flatnonzero(found.accepted[clock]).tolist() == [409, 530]
    assert np.flatnonzero(found.accepted[chair]).tolist() == [423, 559, 765]
    assert found.images.labels[banana] == 954
    assert any("left out: 2 folders (3 images)" in note and "air_freshener" in note for note in found.notes)
    assert any("113 images instead of the 18,514" in note for note in found.notes)

    # A tench (0) is none of the 125, so the second choice decides; the clock may be either of two classes.
    second = [int(np.flatnonzero(row)[-1]) for row in found.accepted]
    assert counted(found, predicting([0] * 113, second=second)) == (113, 113)
    second[banana] = 409
    assert counted(found, predicting([0] * 113, second=second)) == (112, 113)


def test_objectnet_may_be_scored_among_all_classes(tmp_path: Path) -> None:
    put(tmp_path, ["banana/1.png", "tie/1.png"])
    (found,) = load_natural(f"objectnet={tmp_path}?candidates=all", classes=wnids(), preprocessing=TINY)
    assert found.candidates is None
    assert counted(found, predicting([0, 457], second=[954, 906])) == (1, 2)
    assert found.restricted_to is not None
    assert found.restricted_to.tolist() == [457, 906, 954]


def test_objectnets_border_is_cut_off(tmp_path: Path) -> None:
    pixels = np.full((12, 12, 3), 60, dtype=np.uint8)
    for edge in (slice(0, 2), slice(10, 12)):
        pixels[edge] = pixels[:, edge] = (255, 0, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    put(tmp_path, ["banana/1.png"])
    (tmp_path / "banana" / "1.png").write_bytes(buffer.getvalue())
    (found,) = load_natural(f"objectnet={tmp_path}", classes=wnids(), preprocessing=TINY)
    assert (found.images.read([0]) == 60).all()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("imagenet-v2-matched-frequency", "imagenetv2-matched-frequency-format-val"),
        ("imagenet-v2-threshold-0.7", "imagenetv2-threshold0.7-format-val"),
        ("imagenet-v2-top-images", "imagenetv2-top-images-format-val"),
    ],
)
def test_imagenet_v2_folders_are_class_indices(tmp_path: Path, name: str, folder: str) -> None:
    put(tmp_path / folder, [f"{index}/{index:040x}.jpeg" for index in range(1000)])
    # A task whose classes stand in another order: names decide, not numbers.
    classes = tuple(reversed(wnids()))
    (found,) = load_natural(f"{name}={tmp_path}", classes=classes, preprocessing=TINY)
    assert found.name == f"natural/{name}"
    assert found.accepted is None
    assert found.candidates is None
    assert found.restricted_to is None
    folders = [int(path.split("/")[0]) for path in names_of(found)]
    assert folders[:4] == [0, 1, 10, 100]
    assert found.images.labels.tolist() == [999 - index for index in folders]
    assert counted(found, predicting(found.images.labels)) == (1000, 1000)


@pytest.mark.parametrize(("name", "inside"), [("imagenet-a", "imagenet-a"), ("imagenet-r", "imagenet-r")])
def test_imagenet_a_and_r_are_scored_among_their_200(tmp_path: Path, name: str, inside: str) -> None:
    subset = (known_set(name).base / f"{name}.txt").read_text().split()
    root = put(tmp_path / inside, [f"{wnid}/0.001_hammer_1.jpg" for wnid in subset])
    (root / "README.txt").write_text("as in the archive")
    (found,) = load_natural(f"{name}={tmp_path}", classes=wnids(), preprocessing=TINY)
    assert found.candidates is not None
    assert found.restricted_to is not None
    assert len(found.candidates) == len(found.restricted_to) == 200
    assert [wnids()[label] for label in found.images.labels] == sorted(subset)
    outside = next(index for index in range(1000) if index not in found.candidates)
    assert counted(found, predicting([outside] * 200, second=found.images.labels)) == (200, 200)


def test_imagenet_sketch_holds_folders_of_wordnet_ids(tmp_path: Path) -> None:
    put(tmp_path / "sketch", [f"{wnid}/sketch_0.JPEG" for wnid in wnids()])
    (found,) = load_natural(f"imagenet-sketch={tmp_path}", classes=wnids(), preprocessing=TINY)
    assert found.images.labels.tolist() == list(range(1000))
    assert found.candidates is None
    assert found.restricted_to is None


@pytest.mark.parametrize("layout", ["val/{}", "{}", "val/n01751748/{}"])
def test_real_labels_go_by_file_name(tmp_path: Path, layout: str) -> None:
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 3, 4)]
    put(tmp_path, [layout.format(name) for name in names])
    (found,) = load_natural(f"imagenet-real={tmp_path}", classes=wnids(), preprocessing=TINY)
    # The first image has no label; the others' are those of the published file.
    assert [Path(name).name for name in names_of(found)] == names[1:]
    assert found.accepted is not None
    assert [np.flatnonzero(row).tolist() for row in found.accepted] == [[795, 970], [230, 231], [809]]
    assert any(note.startswith("left out: 1 image without a label") for note in found.notes)
    assert counted(found, predicting([970, 230, 516])) == (2, 3)
    assert counted(found, predicting([0, 231, 809])) == (2, 3)


def test_multi_labels_are_the_published_annotations(tmp_path: Path) -> None:
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 3, 4)]
    put(tmp_path / "val", names)
    one, two, three = wnids()[5], wnids()[7], wnids()[9]
    annotations = {
        "initial_annots": {
            names[0]: {"correct": [two, one], "wrong": [three]},
            names[1]: {"wrong": [one], "unclear": [two]},
            names[2]: {"correct": [three]},
            "imagenetv2-0001.jpeg": {"correct": [one]},
        },
        "problematic_images": {names[2]: "drawing"},
        "imagenet_m": [],
    }
    (tmp_path / "human_accuracy_v3.0.0.json").write_text(json.dumps(annotations))
    spec = f"imagenet-multilabel={tmp_path / 'val'}?labels={tmp_path / 'human_accuracy_v3.0.0.json'}"
    (found,) = load_natural(spec, classes=wnids(), preprocessing=TINY)
    assert names_of(found) == [names[0]]
    assert found.accepted is not None
    assert np.flatnonzero(found.accepted[0]).tolist() == [5, 7]
    with pytest.raises(RequestError, match=r"needs \?labels="):
        load_natural(f"imagenet-multilabel={tmp_path}", classes=wnids(), preprocessing=TINY)


def frames_of(videos: list[str]) -> list[str]:
    scenes, _, _ = vid_scenes(known_set("imagenet-vid-robust"))
    return [frame[1] for scene in scenes for frame in scene.frames if frame[1].split("/")[1] in videos]


def test_vid_robust_needs_every_frame_right(tmp_path: Path) -> None:
    # The anchor of the second scene shows groups 5, 6 and 18, and its frames 4 to 7 later only 5 and 6.
    videos = ["ILSVRC2015_val_00000000", "ILSVRC2015_val_00023004"]
    frames = frames_of(videos)
    put(tmp_path / "imagenet-vid-robust", frames)
    anchors, scenes = load_natural(f"imagenet-vid-robust={tmp_path}", classes=wnids(), preprocessing=TINY)
    assert (anchors.name, scenes.name) == ("natural/imagenet-vid-robust-pm0", "natural/imagenet-vid-robust-pm10")
    assert names_of(anchors) == [f"val/{videos[0]}/000442.JPEG", f"val/{videos[1]}/000031.JPEG"]
    assert anchors.anchors is None
    assert len(scenes.images.labels) == 21 + 18
    assert scenes.anchors is not None
    assert scenes.anchors.tolist() == [0] * 21 + [1] * 18
    assert scenes.candidates is not None
    assert len(scenes.candidates) == 288
    assert scenes.accepted is not None
    # Group 26 is the sea turtles; 5 buses, 6 cars and 18 the motor scooter.
    assert np.flatnonzero(scenes.accepted[0]).tolist() == [33, 34, 35, 36, 37]
    assert 665 in np.flatnonzero(scenes.accepted[21])
    names = names_of(scenes)
    late = names.index(f"val/{videos[1]}/000035.JPEG")
    assert 665 not in np.flatnonzero(scenes.accepted[late])
    assert any("left out: 1,107 of 1,109 scenes that lack a frame" in note for note in scenes.notes)

    # 999 is in no group, so it cannot be predicted; turtles of any kind count.
    right = [35] * 21 + [779] * 18
    assert counted(scenes, predicting([999] * 39, second=right)) == (2, 2)
    assert counted(scenes, predicting([33 + row % 5 for row in range(21)] + [779] * 18)) == (2, 2)
    right[late] = 665
    assert counted(scenes, predicting(right)) == (1, 2)
    assert counted(anchors, predicting([35, 665])) == (2, 2)


def test_vid_robust_with_fewer_frames_and_from_its_inner_folder(tmp_path: Path) -> None:
    put(tmp_path, frames_of(["ILSVRC2015_val_00000000"]))
    anchors, scenes = load_natural(f"imagenet-vid-robust={tmp_path / 'val'}?k=3", classes=wnids(), preprocessing=TINY)
    assert scenes.name == "natural/imagenet-vid-robust-pm3"
    assert sorted(names_of(scenes)) == [f"val/ILSVRC2015_val_00000000/{442 + step:06d}.JPEG" for step in range(-3, 4)]
    (alone,) = load_natural(f"imagenet-vid-robust={tmp_path}?k=0", classes=wnids(), preprocessing=TINY)
    assert names_of(alone) == names_of(anchors)


def test_a_scene_that_lacks_a_frame_is_left_out_or_refused(tmp_path: Path) -> None:
    frames = frames_of(["ILSVRC2015_val_00000000", "ILSVRC2015_val_00001000"])
    put(tmp_path, frames)
    (tmp_path / frames[3]).unlink()
    anchors, scenes = load_natural(f"imagenet-vid-robust={tmp_path}", classes=wnids(), preprocessing=TINY)
    assert len(anchors.images.labels) == 1
    assert {Path(name).parent.name for name in names_of(scenes)} == {Path(frames[-1]).parent.name}
    with pytest.raises(DataError, match="scenes that lack a frame"):
        load_natural(f"imagenet-vid-robust={tmp_path}?complete=true", classes=wnids(), preprocessing=TINY)


def ytbb_metadata(folder: Path) -> None:
    names = ["good", "unsure", "bad", "person", "dog", "giraffe"]
    anchors = {
        "aa_100/frame-50.jpg": ["good"],
        "bb_200/frame-9.jpg": ["good", "dog"],
        "cc_300/frame-7.jpg": ["good", "unsure"],
        "dd_400/frame-5.jpg": ["good"],
        "ee_500/frame-3.jpg": ["good"],
    }
    pair_names = ["similar", "dissimilar", "correct", "bad-anchor", "blur-increase"]
    pairs = {
        "aa_100/frame-50.jpg,aa_100/frame-49.jpg": ["similar", "correct"],
        "aa_100/frame-50.jpg,aa_100/frame-52.jpg": ["similar"],
        "aa_100/frame-50.jpg,aa_100/frame-53.jpg": ["similar", "blur-increase"],
        "aa_100/frame-50.jpg,aa_100/frame-54.jpg": ["dissimilar"],
        "dd_400/frame-5.jpg,dd_400/frame-6.jpg": ["bad-anchor"],
    }

    def written(labels: list[str], content: dict[str, list[str]]) -> str:
        listed = [
            {"key": key, "notes": "", "labels": [labels.index(one) for one in has]} for key, has in content.items()
        ]
        return json.dumps({"annotations": listed, "labels": labels})

    folder.mkdir(parents=True)
    (folder / "anchor_labels.json").write_text(written(names, anchors))
    (folder / "pmk_labels.json").write_text(written(pair_names, pairs))
    # 22 is the car here and 23 in the class index; 8 is the giraffe, which no ImageNet class stands for.
    rows = ["ytid,time_ms,label", "aa,100,22", "bb,200,0", "cc,300,1", "dd,400,1", "ee,500,8"]
    (folder / "ytbb_robustness_test_anchors_full.csv").write_text("\n".join(rows))


def test_ytbb_scenes_follow_the_reviewers(tmp_path: Path) -> None:
    ytbb_metadata(tmp_path / "metadata")
    frames = [f"aa_100/frame-{number}.jpg" for number in range(45, 56)] + ["bb_200/frame-9.jpg", "ee_500/frame-3.jpg"]
    put(tmp_path / "ytbb-robust" / "ytbb_videos", frames)
    spec = f"ytbb-robust={tmp_path}?metadata={tmp_path / 'metadata'}"
    anchors, scenes = load_natural(spec, classes=wnids(), preprocessing=TINY)
    assert names_of(anchors) == ["aa_100/frame-50.jpg", "bb_200/frame-9.jpg"]
    assert names_of(scenes) == [
        "aa_100/frame-50.jpg", "aa_100/frame-49.jpg", "aa_100/frame-52.jpg", "bb_200/frame-9.jpg",
    ]  # fmt: skip
    assert scenes.anchors is not None
    assert scenes.anchors.tolist() == [0, 0, 0, 1]
    assert scenes.candidates is not None
    assert len(scenes.candidates) == 231
    assert scenes.accepted is not None
    assert np.flatnonzero(scenes.accepted[0]).tolist() == [407, 436, 468, 511, 609, 627, 656, 661, 751, 817]
    assert np.flatnonzero(scenes.accepted[3]).tolist() == [*range(151, 269), 981, 982, 983]
    assert any(note == "left out: 1 anchor of what no ImageNet class stands for" for note in scenes.notes)
    assert counted(scenes, predicting([817, 407, 817, 151])) == (2, 2)
    assert counted(scenes, predicting([817, 0, 817, 151], second=[1, 404, 1, 1])) == (1, 2)
    with pytest.raises(RequestError, match="metadata"):
        load_natural(f"ytbb-robust={tmp_path}", classes=wnids(), preprocessing=TINY)
    (tmp_path / "metadata" / "pmk_labels.json").unlink()
    with pytest.raises(DataError, match=r"pmk_labels\.json are missing"):
        load_natural(spec, classes=wnids(), preprocessing=TINY)


def test_classes_of_other_names_need_an_order(tmp_path: Path) -> None:
    put(tmp_path, ["banana/1.png", "tie/1.png"])
    with pytest.raises(DataError, match="none of its classes") as caught:
        load_natural(f"objectnet={tmp_path}", classes=HUMAN, preprocessing=TINY)
    assert "order=imagenet" in caught.value.hint
    (found,) = load_natural(f"objectnet={tmp_path}?order=imagenet", classes=HUMAN, preprocessing=TINY)
    assert found.images.labels.tolist() == [954, 457]
    with pytest.raises(DataError, match="needs a task of 1,000 classes"):
        load_natural(f"objectnet={tmp_path}?order=imagenet", classes=HUMAN[:999], preprocessing=TINY)
    with pytest.raises(DataError, match="contradicts the task"):
        load_natural(f"objectnet={tmp_path}?order=imagenet", classes=tuple(reversed(wnids())), preprocessing=TINY)


def test_a_task_of_some_imagenet_classes_is_measured_on_them(tmp_path: Path) -> None:
    put(tmp_path, ["banana/1.png", "tie/1.png", "alarm_clock/1.png"])
    classes = (wnids()[906], wnids()[954], "n99999999")
    (found,) = load_natural(f"objectnet={tmp_path}", classes=classes, preprocessing=TINY)
    assert names_of(found) == ["banana/1.png", "tie/1.png"]
    assert found.images.labels.tolist() == [1, 0]
    assert found.accepted is None
    assert found.candidates is not None
    assert found.candidates.tolist() == [0, 1]
    assert any(note.startswith("the task lacks 123 classes of the label map: ") for note in found.notes)


def test_the_known_sets_say_what_they_are() -> None:
    sets = known_sets()
    assert sorted(sets) == [
        "imagenet-a", "imagenet-multilabel", "imagenet-r", "imagenet-real", "imagenet-sketch",
        "imagenet-v2-matched-frequency", "imagenet-v2-threshold-0.7", "imagenet-v2-top-images",
        "imagenet-vid-robust", "objectnet", "ytbb-robust",
    ]  # fmt: skip
    for name, one in sets.items():
        assert one.name == name
        assert one.title
        assert one.scoring
        assert one.layout
    with pytest.raises(NotFound, match="no known natural shift is named 'objecnet'") as caught:
        load_natural("objecnet=/anywhere", classes=wnids(), preprocessing=TINY)
    assert "objectnet" in caught.value.hint


@pytest.mark.parametrize("name", sorted(known_sets()))
def test_a_known_set_that_is_not_there_says_so(tmp_path: Path, name: str) -> None:
    extra = {"imagenet-multilabel": "?labels=/no.json", "ytbb-robust": "?metadata=/none"}.get(name, "")
    with pytest.raises(DataError, match=r"does not exist|missing|cannot read"):
        load_natural(f"{name}={tmp_path / 'nowhere'}{extra}", classes=wnids(), preprocessing=TINY)
    archive = tmp_path / "set.tar.gz"
    archive.write_bytes(b"packed")
    if not extra:
        with pytest.raises(DataError, match="is not a folder") as caught:
            load_natural(f"{name}={archive}", classes=wnids(), preprocessing=TINY)
        assert caught.value.hint == "Unpack it first."
        with pytest.raises(DataError) as empty:
            load_natural(f"{name}={tmp_path}", classes=wnids(), preprocessing=TINY)
        assert empty.value.reason in {"DATA_EMPTY", "LABEL_UNKNOWN"}


def test_an_unreadable_image_in_the_middle_is_named(tmp_path: Path) -> None:
    put(tmp_path, [f"banana/{number}.png" for number in range(3)])
    (tmp_path / "banana" / "1.png").write_bytes(picture()[:40])
    (found,) = load_natural(f"objectnet={tmp_path}", classes=wnids(), preprocessing=TINY)
    with pytest.raises(DataError, match=r"1\.png"):
        found.images.read([0, 1, 2])
    images, rows, skipped = found.images.read_usable([0, 1, 2])
    assert (len(images), rows.tolist(), [one.name for one in skipped]) == (2, [0, 2], ["banana/1.png"])
