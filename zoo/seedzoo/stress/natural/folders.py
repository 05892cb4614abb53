"""Sets whose labels are folders (ImageFolder) or lie in file names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seedzoo.errors import DataError
from seedzoo.stress.natural.assemble import Found
from seedzoo.stress.natural.disk import Scanned, elsewhere, many, scan, set_folder, some
from seedzoo.stress.natural.set_file import SetFile, nearest
from seedzoo.stress.natural.vocabulary import LabelMap, TaskClasses, file_labels, label_map, read_labels

__all__ = ["Labels", "find_files", "find_folders"]


class Labels:
    """What each label of a set stands for: an entry of its map, or a class name itself.

    Args:
        given: The set's description.
        classes: The task's classes.

    Attributes:
        map: The label map; None where labels are class names.

    Raises:
        DataError: The label map cannot be used.
    """

    def __init__(self, given: SetFile, classes: TaskClasses) -> None:
        names = read_labels(given)
        where = f"the label map {given.labels}" if isinstance(given.labels, str) else f"the labels of {given.name}"
        self.map: LabelMap | None = None
        if names is not None:
            self.map = label_map(names, classes, where=where, missing_classes=given.missing_classes)
        self._classes = classes

    def accepted(self, label: str) -> tuple[int, ...] | None:
        """Class indices that count as right, none where its images are left out; None for an unknown label."""
        if self.map is not None and label in self.map.accepted:
            return self.map.accepted[label]
        index = self._classes.index.get(label)
        return None if index is None else (index,)

    @property
    def expected(self) -> dict[str, tuple[int, ...]]:
        """Labels that should have images: those of the map, else all classes."""
        if self.map is None:
            return {name: (index,) for index, name in enumerate(self._classes.names)}
        return {label: indices for label, indices in self.map.accepted.items() if indices}

    @property
    def known(self) -> list[str]:
        """All labels."""
        return [*(self.map.accepted if self.map else ()), *self._classes.names]

    @property
    def mapped(self) -> set[int]:
        """All class indices that can be right."""
        return {index for indices in self.expected.values() for index in indices}


def find_folders(given: SetFile, path: Path, classes: TaskClasses) -> tuple[Found, Path]:
    """The images of a set whose folders are its labels.

    Args:
        given: The set's description.
        path: The folder, or one above as the published archive has it.
        classes: The task's classes.

    Returns:
        What was found, and the folder that held the labels.

    Raises:
        DataError: No such folder, a folder that is no label, an expected label without images in a complete set.
    """
    labels = Labels(given, classes)
    root = set_folder(path, given.subfolders, labels=labels.known)
    scanned = scan(root)
    found = Found(mapped=labels.mapped)
    known = {name: labels.accepted(name) for name in scanned.folders}
    if all(accepted is None for accepted in known.values()):
        raise _no_labels(given, root, scanned, labels)
    unmapped = [name for name, accepted in known.items() if accepted is None]
    if unmapped and not given.ignore_unmapped:
        those = "is" if len(unmapped) == 1 else "are"
        neither = "neither in the label map nor" if labels.map else "not"
        raise DataError(
            f"{root}: {some(unmapped)} {those} {neither} a class of the task",
            hint=f"{nearest(unmapped[0], labels.known)} Such folders can be left out: ignore_unmapped=true.",
            reason="LABEL_UNKNOWN",
            field="labels",
        )
    left_out = {name: len(scanned.folders[name]) for name, accepted in known.items() if not accepted}
    for name, accepted in known.items():
        if accepted:
            found.paths += scanned.folders[name]
            found.accepted += [accepted] * len(scanned.folders[name])
    if left_out:
        found.notes.append(
            f"left out: {many(len(left_out), 'folder')} ({many(sum(left_out.values()), 'image')}) of none of the "
            f"task's classes: {some(left_out)}"
        )
    _check_complete(found, given, root, [name for name in labels.expected if not scanned.folders.get(name)])
    _note_absent(found, labels.map)
    _note_scan(found, scanned)
    if scanned.loose:
        found.notes.append(f"left out: {many(len(scanned.loose), 'image')} in no folder: {some(scanned.loose)}")
    return found, root


def _no_labels(given: SetFile, root: Path, scanned: Scanned, labels: Labels) -> DataError:
    if not scanned.folders and not scanned.loose:
        return DataError(
            f"{root} is empty: it has neither folders nor images",
            hint=f"Expected there: {given.layout}." if given.layout else "Each class needs a folder.",
            reason="DATA_EMPTY",
        )
    if not scanned.folders:
        return DataError(
            f"{root} holds images but no folders, so nothing says what they show",
            hint=elsewhere(root, labels.known) or "Sort them into one folder for each class, or write a manifest.",
            reason="LABEL_UNKNOWN",
        )
    names = list(scanned.folders)
    expected = f" Expected there: {given.layout}." if given.layout else ""
    return DataError(
        f"none of the {len(names):,} folders in {root} ({some(names)}) is a label of {given.name}",
        hint=(elsewhere(root, labels.known) or nearest(names[0], labels.known)) + expected,
        reason="LABEL_UNKNOWN",
    )


def _check_complete(found: Found, given: SetFile, root: Path, missing: list[str]) -> None:
    if not missing:
        return
    said = f"no image of {many(len(missing), 'label')}: {some(missing)}"
    if given.complete:
        raise DataError(
            f"{root}: {said}",
            hint="Fetch the set again, or take complete = true out of the set file.",
            reason="CLASS_WITHOUT_IMAGES",
        )
    found.notes.append(said)


def _note_absent(found: Found, used: LabelMap | None) -> None:
    if used is not None and used.absent:
        found.notes.append(
            f"the task lacks {many(len(used.absent), 'class', 'classes')} of the label map: {some(sorted(used.absent))}"
        )


def _note_scan(found: Found, scanned: Scanned) -> None:
    if scanned.others:
        found.notes.append(f"left out: {many(len(scanned.others), 'file')} of no image format: {some(scanned.others)}")
    if scanned.doubles:
        found.notes.append(
            f"counted again: {many(len(scanned.doubles), 'link')} to images that are there too: {some(scanned.doubles)}"
        )


def find_files(given: SetFile, path: Path, classes: TaskClasses) -> tuple[Found, Path]:
    """The images of a set whose labels go by file name; they may lie in any folders.

    Returns:
        What was found, and the folder.

    Raises:
        DataError: No such folder, two files of one name, a file without an entry (unless unmapped ones are ignored or
            the images are ImageNet's validation images), an entry without a file in a complete set.
    """
    names, is_val = file_labels(given)
    where = f"the label file {given.labels}" if isinstance(given.labels, str) else f"the labels of {given.name}"
    labels = label_map(names, classes, where=where, missing_classes=given.missing_classes)
    root = set_folder(path, given.subfolders)
    scanned = scan(root)
    by_name = _by_name(scanned)
    found = Found(mapped={index for indices in labels.accepted.values() for index in indices})
    unlabelled, unknown = 0, []
    for name, image in by_name.items():
        accepted = labels.accepted.get(name)
        if accepted:
            found.paths.append(image)
            found.accepted.append(accepted)
        elif accepted is None and not is_val:
            unknown.append(name)
        else:
            unlabelled += 1
    if unknown and (len(unknown) == len(by_name) or not given.ignore_unmapped):
        raise DataError(
            f"{root}: {some(unknown)} {'has' if len(unknown) == 1 else 'have'} no entry in {where}",
            hint=f"{nearest(unknown[0], labels.accepted)} They can be left out: ignore_unmapped=true.",
            reason="LABEL_UNKNOWN",
            field="labels",
        )
    if is_val and not found.paths and by_name:
        raise DataError(
            f"{root}: no file has a name such as ILSVRC2012_val_00000001.JPEG",
            hint="The labels go by the names that the validation images were published with.",
            reason="LABEL_UNKNOWN",
        )
    if unlabelled or unknown:
        found.notes.append(f"left out: {many(unlabelled + len(unknown), 'image')} without a label that the task knows")
    _check_complete_files(found, given, root, labels.accepted, by_name)
    _note_absent(found, labels)
    _note_scan(found, scanned)
    return found, root


def _by_name(scanned: Scanned) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for path in sorted(scanned.images, key=lambda one: (one.name, one)):
        if path.name in by_name:
            raise DataError(
                f"{by_name[path.name]} and {path} have one name, and labels go by names",
                hint="Keep one of them.",
                reason="DATA_DUPLICATE",
            )
        by_name[path.name] = path
    return by_name


def _check_complete_files(
    found: Found, given: SetFile, root: Path, accepted: Mapping[str, tuple[int, ...]], by_name: Mapping[str, Path]
) -> None:
    missing = [name for name, indices in accepted.items() if indices and name not in by_name]
    if not missing:
        return
    said = f"not there: {many(len(missing), 'file')} with a label: {some(missing)}"
    if given.complete:
        raise DataError(f"{root}: {said}", reason="DATA_MISSING")
    found.notes.append(said)
