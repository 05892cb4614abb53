"""pm-k sets: an anchor frame of a video and frames near it, right only if all of them are.

Predictions of 1,000 classes count through groups of classes: among the classes that are in any group, the one with the
highest score decides, as it does when each group scores with its best class (Shankar et al. 2019, "Do image
classifiers generalize across time?").
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seedzoo.errors import DataError
from seedzoo.stress.natural.assemble import Found
from seedzoo.stress.natural.disk import many, set_folder, some
from seedzoo.stress.natural.set_file import SetFile
from seedzoo.stress.natural.vocabulary import LabelMap, TaskClasses, imagenet_wnids, label_map, read_json

__all__ = ["Scene", "WholeScenes", "frames_found", "vid_scenes", "whole_scenes", "within", "ytbb_scenes"]

_PROBLEMS = frozenset(
    {
        "dissimilar",
        "problematic",
        "incorrect",
        "dont know",
        "deformation",
        "background-change",
        "occlusion-increased",
        "blur-increase",
        "bad-anchor",
    }
)
_ANCHORS, _PAIRS, _INITIAL = "anchor_labels.json", "pmk_labels.json", "ytbb_robustness_test_anchors_full.csv"
_KEY = re.compile(r"(?P<video>[^/]+)_(?P<ms>\d+)/frame-(?P<frame>\d+)\.jpg")


Groups = Mapping[str, tuple[str, ...]]
"""Group of classes -> their WordNet ids."""


@dataclass(frozen=True)
class Scene:
    """An anchor frame and the frames near it.

    Attributes:
        frames: (offset from the anchor, path below the set's folder, groups that are right), the anchor first with
            offset 0.
    """

    frames: tuple[tuple[int, str, tuple[str, ...]], ...]


def within(scenes: Sequence[Scene], k: int) -> tuple[Scene, ...]:
    """The scenes with the frames at most ``k`` from the anchor."""
    return tuple(replace(scene, frames=tuple(one for one in scene.frames if abs(one[0]) <= k)) for scene in scenes)


def vid_scenes(given: SetFile) -> tuple[tuple[Scene, ...], Groups, list[str]]:
    """The 1,109 scenes of ImageNet-Vid-Robust, its groups, and no notes.

    Raises:
        DataError: The file of scenes is not of the form that ships with seedzoo.
    """
    path = given.base / str(given.labels)
    content: Any = read_json(path)
    wnids = imagenet_wnids()
    try:
        groups = {str(number): tuple(wnids[index] for index in group) for number, group in enumerate(content["groups"])}
        scenes = tuple(_vid_scene(*scene) for scene in content["scenes"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{path} is not a file of scenes", reason="LABEL_MAP_INVALID", field="labels") from error
    return scenes, groups, []


def _vid_scene(
    video: str, anchor: int, offsets: list[int], right: list[int], others: Mapping[str, list[int]] | None = None
) -> Scene:
    return Scene(
        tuple(
            (
                offset,
                f"val/{video}/{anchor + offset:06d}.JPEG",
                tuple(str(group) for group in (others or {}).get(str(offset), right)),
            )
            for offset in (0, *offsets)
        )
    )


def ytbb_scenes(given: SetFile) -> tuple[tuple[Scene, ...], Groups, list[str]]:
    """The scenes of YTBB-Robust after its reviewers' annotations, its groups, and notes.

    The annotations are not shipped; they are three files of the metadata folder, named and formatted as in
    modestyachts/imagenet-testbed. An anchor counts if it was marked good and neither bad nor unsure, and no pair with
    it has a bad anchor; a frame near it counts if the pair was marked similar and with no problem. The right groups
    are the anchor's first label and those that reviewers added.

    Raises:
        DataError: A file is missing or is not what it should be.
    """
    folder = given.base / given.metadata
    for name in (_ANCHORS, _PAIRS, _INITIAL):
        if not (folder / name).is_file():
            raise DataError(
                f"{given.name}: the annotations {folder / name} are missing",
                hint="They are in the repository modestyachts/imagenet-testbed, "
                "src/eval_settings/ytbb-robust_metadata; give that folder: ?metadata=FOLDER.",
                reason="DATA_MISSING",
                field="metadata",
            )
    content: Any = read_json(given.base / str(given.labels))
    wnids = imagenet_wnids()
    names: list[str] = content["classes"]
    groups = {name: tuple(wnids[index] for index in content["groups"].get(name, ())) for name in names}
    anchors = _annotations(folder / _ANCHORS)
    pairs = _annotations(folder / _PAIRS)
    initial = _initial_labels(folder / _INITIAL, names)
    bad = {_short(key.split(",")[0]) for key, labels in pairs.items() if "bad-anchor" in labels}
    near: dict[str, list[str]] = {}
    for key, labels in pairs.items():
        if "similar" in labels and not labels & _PROBLEMS:
            anchor, _, frame = key.partition(",")
            near.setdefault(_short(anchor), []).append(_short(frame))
    scenes = []
    unlabelled = 0
    for key, labels in ((_short(key), labels) for key, labels in anchors.items()):
        if "good" not in labels or labels & {"bad", "unsure"} or key in bad:
            continue
        match = _KEY.fullmatch(key)
        first = initial.get(key.split("/")[0])
        if match is None or first is None:
            raise DataError(
                f"{folder / _ANCHORS}: the anchor {key} "
                + (f"has no row in {_INITIAL}" if match else "is not called <video>_<ms>/frame-<number>.jpg"),
                reason="LABEL_MAP_INVALID",
            )
        right = tuple(sorted({first, *(label for label in labels if label in groups)}))
        if not any(groups[name] for name in right):
            unlabelled += 1
            continue
        scenes.append(_ytbb_scene(key, int(match["frame"]), near.get(key, ()), right))
    notes = [f"left out: {many(unlabelled, 'anchor')} of what no ImageNet class stands for"] if unlabelled else []
    return tuple(scenes), groups, notes


def _ytbb_scene(anchor: str, number: int, near: Iterable[str], right: tuple[str, ...]) -> Scene:
    frames = [(0, anchor, right)]
    for key in sorted(near):
        match = _KEY.fullmatch(key)
        if match is not None and key.split("/")[0] == anchor.split("/", maxsplit=1)[0] and key != anchor:
            frames.append((int(match["frame"]) - number, key, right))
    return Scene(tuple(sorted(frames, key=lambda one: (one[0] != 0, one[0]))))


def _annotations(path: Path) -> dict[str, frozenset[str]]:
    """Key -> names of its labels; the last annotation of a key counts."""
    content: Any = read_json(path)
    try:
        names = content["labels"]
        return {one["key"]: frozenset(names[label] for label in one["labels"]) for one in content["annotations"]}
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path} is not a file of annotations as published", reason="LABEL_MAP_INVALID") from error


def _initial_labels(path: Path, names: Sequence[str]) -> dict[str, str]:
    """``<video>_<ms>`` -> name of the label that YouTube-BoundingBoxes gave."""
    # The published class index counts "none" before "car", and this file the other way round.
    swapped = {22: 23, 23: 22}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {
                f"{row['ytid']}_{row['time_ms']}": names[swapped.get(int(row["label"]), int(row["label"]))]
                for row in csv.DictReader(file)
            }
    except (OSError, KeyError, ValueError, IndexError, csv.Error) as error:
        raise DataError(
            f"{path} is not the file of anchors as published (ytid, time_ms, label)", reason="LABEL_MAP_INVALID"
        ) from error


def _short(key: str) -> str:
    return "/".join(key.split("/")[-2:])


@dataclass
class WholeScenes:
    """The scenes that are whole on disk.

    Attributes:
        scenes: They.
        labels: Group -> class indices.
        root: The folder that frames' paths start from.
        notes: What was left out.
    """

    scenes: list[Scene]
    labels: LabelMap
    root: Path
    notes: list[str]


def whole_scenes(
    given: SetFile,
    path: Path,
    classes: TaskClasses,
    scenes: Sequence[Scene],
    groups: Groups,
) -> WholeScenes:
    """Look for the frames of scenes on disk.

    Raises:
        DataError: No such folder, or a scene that is not whole in a complete set.
    """
    labels = label_map(groups, classes, where=f"the groups of {given.name}", missing_classes=given.missing_classes)
    root = _frames_root(given, path, {scene.frames[0][1].split("/")[0] for scene in scenes})
    kept: list[Scene] = []
    broken: list[str] = []
    unknown = 0
    for scene in scenes:
        if not all(_right(one[2], labels) for one in scene.frames):
            unknown += 1
        elif not all(_there(root / one[1]) for one in scene.frames):
            broken.append(scene.frames[0][1])
        else:
            kept.append(scene)
    notes = []
    if broken:
        said = f"{len(broken):,} of {len(scenes):,} scenes that lack a frame: {some(broken)}"
        if given.complete:
            raise DataError(f"{root} holds {said}", reason="DATA_MISSING")
        notes.append(f"left out: {said}")
    if unknown:
        notes.append(f"left out: {many(unknown, 'scene')} with none of the task's classes")
    if labels.absent:
        notes.append(f"the task lacks {many(len(labels.absent), 'class', 'classes')} of the groups")
    return WholeScenes(kept, labels, root, notes)


def frames_found(whole: WholeScenes, k: int) -> Found:
    """The frames at most ``k`` from their anchors; with ``k`` = 0 every anchor counts for itself."""
    found = Found(
        mapped={index for indices in whole.labels.accepted.values() for index in indices}, notes=list(whole.notes)
    )
    numbers: list[int] = []
    for number, scene in enumerate(within(whole.scenes, k)):
        found.paths += [whole.root / one[1] for one in scene.frames]
        found.accepted += [_right(one[2], whole.labels) for one in scene.frames]
        numbers += [number] * len(scene.frames)
    found.scenes = numbers if k else None
    return found


def _there(path: Path) -> bool:
    # A link that leads nowhere is named when it is read.
    return path.is_file() or path.is_symlink()


def _frames_root(given: SetFile, path: Path, first: set[str]) -> Path:
    root = set_folder(path, given.subfolders, labels=first)
    # Frames' paths begin with "val"; the folder of that name may have been given itself.
    return root.parent if first == {root.absolute().name} and not (root / root.name).exists() else root


def _right(names: Iterable[str], labels: LabelMap) -> tuple[int, ...]:
    return tuple(sorted({index for name in names for index in labels.accepted[name]}))
