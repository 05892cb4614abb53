"""The shipped label maps against the files that they were made from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.stress.natural_folders import shared

from seedzoo.stress.natural.frames import vid_scenes
from seedzoo.stress.natural.set_file import known_set
from seedzoo.stress.natural.vocabulary import file_labels, imagenet_wnids, read_json, read_labels


def shared_json(name: str) -> Any:
    return json.loads(shared(name).read_text())


def timm_info(name: str) -> str:
    """A file of timm's package data; the test is skipped without timm."""
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        pytest.skip("needs timm's package data (pip install 'seedzoo[train]')")
    return (Path(spec.origin).parent / "data" / "_info" / name).read_text()


def test_imagenet_has_1000_classes_in_timms_order() -> None:
    wnids = imagenet_wnids()
    assert len(set(wnids)) == 1000
    assert (wnids[0], wnids[999]) == ("n01440764", "n15075141")
    assert list(wnids) == timm_info("imagenet_synsets.txt").split()


@pytest.mark.parametrize("name", ["imagenet-a", "imagenet-r"])
def test_a_and_r_have_timms_200_classes(name: str) -> None:
    names = read_labels(known_set(name))
    assert names is not None
    assert len(names) == 200
    assert all(value == (label,) for label, value in names.items())
    assert list(names) == timm_info(f"{name.replace('-', '_')}_synsets.txt").split()
    indices = [imagenet_wnids().index(wnid) for wnid in names]
    assert indices == [int(line) for line in timm_info(f"{name.replace('-', '_')}_indices.txt").split()]


def test_real_labels_are_timms() -> None:
    names, is_val = file_labels(known_set("imagenet-real"))
    assert is_val
    assert len(names) == 50_000
    assert sum(1 for labels in names.values() if labels) == 46_837 == known_set("imagenet-real").images
    published = json.loads(timm_info("imagenet_real_labels.json"))
    place = {wnid: index for index, wnid in enumerate(imagenet_wnids())}
    assert [[place[wnid] for wnid in labels] for labels in names.values()] == published
    assert list(names)[49_999] == "ILSVRC2012_val_00050000.JPEG"


def test_objectnet_maps_113_folders_to_125_classes() -> None:
    names = read_labels(known_set("objectnet"))
    assert names is not None
    assert len(names) == 113
    assert len({wnid for wanted in names.values() for wnid in wanted}) == 125
    folders = shared_json("objectnet/folder_to_objectnet_label.json")
    assert len(folders) == 313
    spoken = shared_json("objectnet/imagenet_to_labels.json")
    meant = shared_json("objectnet/objectnet_to_imagenet_1k.json")
    for folder, wanted in names.items():
        said = {spoken[str(imagenet_wnids().index(wnid))] for wnid in wanted}
        assert said == set(meant[folders[folder]].split("; "))


def test_vid_robust_has_the_published_scenes() -> None:
    scenes, groups, _ = vid_scenes(known_set("imagenet-vid-robust"))
    assert len(scenes) == 1109
    assert len(groups) == 30
    assert len({wnid for group in groups.values() for wnid in group}) == 288
    around = shared_json("imagenet-vid/pmsets.json")
    labels = shared_json("imagenet-vid/labels.json")
    assert {scene.frames[0][1] for scene in scenes} == set(around)
    for scene in scenes:
        (offset, anchor, _), *others = scene.frames
        assert offset == 0
        assert {frame for _, frame, _ in others} == set(around[anchor])
        for step, frame, right in scene.frames:
            assert 0 <= abs(step) <= 10
            assert int(Path(frame).stem) == int(Path(anchor).stem) + step
            assert {int(group) for group in right} == set(labels[frame])
    place = {wnid: index for index, wnid in enumerate(imagenet_wnids())}
    published = shared_json("imagenet-vid/rev_class_idx_map.json")
    assert {name: [place[wnid] for wnid in group] for name, group in groups.items()} == published


def test_ytbb_has_the_published_groups() -> None:
    given = known_set("ytbb-robust")
    content: Any = read_json(given.base / str(given.labels))
    names = shared_json("ytbb/ytbb_class_index.json")
    assert content["classes"] == [names[str(number)] for number in range(24)]
    published = shared_json("ytbb/rev_class_idx_map.json")
    assert content["groups"] == {names[number]: group for number, group in published.items()}
    assert len(content["groups"]) == 19
    assert len({index for group in content["groups"].values() for index in group}) == 231


def test_scores_of_groups_and_of_their_classes_agree() -> None:
    """The class with the highest score lies in the group with the highest score, taken as its best class's."""
    _, groups, _ = vid_scenes(known_set("imagenet-vid-robust"))
    place = {wnid: index for index, wnid in enumerate(imagenet_wnids())}
    members = [[place[wnid] for wnid in group] for group in groups.values()]
    candidates = np.array(sorted(index for group in members for index in group))
    logits = np.random.default_rng(3).normal(size=(500, 1000))
    best_group = np.stack([logits[:, group].max(axis=1) for group in members], axis=1).argmax(axis=1)
    best_class = candidates[logits[:, candidates].argmax(axis=1)]
    assert all(index in members[group] for index, group in zip(best_class, best_group, strict=True))
