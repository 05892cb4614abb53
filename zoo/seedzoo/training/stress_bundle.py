"""`zoo stress BUNDLE`: measure the variants of a bundle under more conditions, and put the result into its profile.

Needs no torch: data are loaded as a recipe says, models are run by ONNX Runtime.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from seedzoo.alone import alone_in
from seedzoo.catalog.bundle import (
    FAMILY_FILE,
    PROFILE_FILE,
    RECIPE_FILE,
    SIGNATURES_FILE,
    Bundle,
    open_bundle,
)
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.twins import twin_name
from seedzoo.catalog.write_bundle import recover_bundle, stands_aside, write_bundle
from seedzoo.errors import DataError
from seedzoo.executors import Executor
from seedzoo.inference.sources import ImageSource, Skipped
from seedzoo.records import Family, FileEntry
from seedzoo.stress.condition import Condition
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.measure import Measurement, StressProgress, VariantModel, measure
from seedzoo.stress.natural import load_natural
from seedzoo.stress.registry import get_condition
from seedzoo.stress.signature_table import (
    SignatureTable,
    of_variants,
    read_signature_table,
    signature_table_bytes,
)
from seedzoo.stress.subset import limited
from seedzoo.stress.table import ProfileRow, ProfileTable, profile_bytes, read_profile
from seedzoo.training.data import load_data
from seedzoo.training.recipe import load_recipe

__all__ = ["Restress", "id_set", "stress_bundle"]

_ID = "id"
_DRIFT = 1e-3
"""Share of the test set on which another processor's last bits may change a prediction."""


@dataclass(frozen=True, kw_only=True)
class Restress:
    """What was measured.

    Attributes:
        bundle: As it is now.
        measured: Names of the conditions that were measured, in order.
        kept: Names of those that the profile had before and still has as they were.
        rows: Of the measured conditions.
        skipped: Images that cannot be read, by set.
    """

    bundle: Bundle
    measured: tuple[str, ...]
    kept: tuple[str, ...]
    rows: tuple[ProfileRow, ...]
    skipped: Mapping[str, tuple[Skipped, ...]]


def stress_bundle(
    folder: Path,
    *,
    conditions: Sequence[Condition],
    suite: str,
    natural: Sequence[str] = (),
    slices: Sequence[str] = (),
    recipe: Path | None = None,
    data: Path | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
    replace_profile: bool = False,
    work: Path | None = None,
    threads: int | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[StressProgress], None] = lambda _: None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> Restress:
    """Measure a bundle's variants and merge the result into its profile, all of it or nothing.

    Args:
        folder: The bundle.
        conditions: For the in-distribution set; ``id`` is always measured as well.
        suite: What the profile calls these conditions.
        natural: Natural shifts, see :func:`seedzoo.stress.natural.load_natural`.
        slices: Columns of the sets whose values become conditions.
        recipe: Says which data the in-distribution set is; the bundle's own when omitted.
        data: A folder with one folder of images per class, or what stands in place of the recipe's ``data.path``.
        limit: At most so many images of each set, drawn at random.
        skip_unreadable: Leave out images that cannot be read.
        replace_profile: Drop what the profile had.
        work: Where finished blocks are kept; beside the bundle when omitted.
        threads: Worker threads; the usable cores when omitted.
        executor: Evaluates in place of threads, see :func:`seedzoo.stress.measure.measure`.
        on_progress: Called as blocks are finished.
        on_notice: Told what a person should know though the measurement goes on.

    Raises:
        DataError: The data cannot be used, or are others than those of the profile's rows that would be kept.
        LocalFailure: The disk is full or refuses, and running again resumes; or another run is at this bundle or work
            folder.
    """
    if not folder.exists() and not stands_aside(folder):
        open_bundle(folder)  # says what is missing, before anything is made beside it
    with contextlib.ExitStack() as held:
        # Two runs that add to what they read would lose one another's results, and one another's blocks.
        for place in {_beside(folder), (work or _beside(folder)).resolve()}:
            held.enter_context(alone_in(place))
        return _stress_alone(
            folder,
            conditions=conditions,
            suite=suite,
            natural=natural,
            slices=slices,
            recipe=recipe,
            data=data,
            limit=limit,
            skip_unreadable=skip_unreadable,
            replace_profile=replace_profile,
            work=work or _beside(folder),
            threads=threads,
            executor=executor,
            on_progress=on_progress,
            on_notice=on_notice,
        )


def _stress_alone(
    folder: Path,
    *,
    conditions: Sequence[Condition],
    suite: str,
    natural: Sequence[str],
    slices: Sequence[str],
    recipe: Path | None,
    data: Path | None,
    limit: int | None,
    skip_unreadable: bool,
    replace_profile: bool,
    work: Path,
    threads: int | None,
    executor: Executor | None,
    on_progress: Callable[[StressProgress], None],
    on_notice: Callable[[str], None],
) -> Restress:
    recover_bundle(folder)
    bundle = open_bundle(folder)
    family = bundle.family
    if not any(variant.model for variant in family.variants):
        raise DataError(
            f"{family.name} has no models to measure: it is for browsing only", reason="FAMILY_NOT_SELECTABLE"
        )
    whole, dataset = id_set(bundle, recipe=recipe, data=data)
    sets = [limited(whole, limit)]
    for spec in natural:
        for found in load_natural(spec, classes=family.task.classes, preprocessing=family.task.preprocessing):
            sets.append(limited(found, limit))
            for note in found.notes:
                on_notice(f"{found.name}: {note}")
    for column in slices:
        given = [one for one in sets if column in one.slices]
        if given and not any(any(one.slices[column]) for one in given):
            on_notice(f"no image has a value in the column {column}, so it makes no slices")
    count = len(sets[0].images.labels)
    if limit is not None:
        dataset += f", at most {limit} images of each set, drawn at random"
    before = read_profile(bundle.folder / PROFILE_FILE)
    if not replace_profile:
        _check_same_data(before, dataset=dataset, count=count)
    only_id = [get_condition(_ID)]
    settings: dict[str, Any] = {
        "classes": len(family.task.classes),
        "folder": work,
        "skip_unreadable": skip_unreadable,
        "threads": threads,
        "executor": executor,
        "on_notice": on_notice,
        "on_progress": on_progress,
    }
    if not replace_profile:
        # First, and kept: that the data are others should be known before hours of measuring.
        columns = [column for column in slices if column in sets[0].slices]
        first = measure(_models(bundle), sets=sets[:1], conditions=only_id, slices=columns, **settings)
        _check_same_results(before, first.rows)
    with_id = [*only_id, *(condition for condition in conditions if condition.name != _ID)]
    measured = measure(_models(bundle), sets=sets, conditions=with_id, slices=slices, **settings)
    skipped = sum(map(len, measured.skipped.values()))
    if skipped:
        dataset += f", {skipped} unreadable images left out"
    written = _write(
        bundle,
        None if replace_profile else before,
        measured,
        suite=suite,
        dataset=dataset,
        images=sets[0].images,
        on=on_notice,
    )
    names = tuple(dict.fromkeys(row.condition for row in measured.rows))
    kept = () if replace_profile else tuple(name for name in before.conditions if name not in names)
    return Restress(bundle=written, measured=names, kept=kept, rows=measured.rows, skipped=measured.skipped)


def id_set(bundle: Bundle, *, recipe: Path | None, data: Path | None) -> tuple[EvaluationSet, str]:
    """The in-distribution set, and what a profile calls it.

    Raises:
        DataError: The data are not of the family's classes and image size.
    """
    task = bundle.family.task
    if data is not None and any((data / name).is_dir() for name in task.classes):
        found = load_natural(str(data.resolve()), classes=task.classes, preprocessing=task.preprocessing)
        only = replace(found[0], name=_ID, kind=_ID)
        return only, f"{data.resolve().name}, {len(only.images.labels)} test examples"
    path = recipe or bundle.folder / RECIPE_FILE
    told, _ = load_recipe(path)
    if data is not None:
        told = replace(told, data=replace(told.data, path=str(data.resolve())))
    loaded = load_data(told.data, base=path.resolve().parent)
    for name, theirs, ours in (
        ("classes", loaded.classes, task.classes),
        ("image size", loaded.preprocessing, task.preprocessing),
    ):
        if theirs != ours:
            raise DataError(
                f"the data of {path} have other {name} than {bundle.family.name}",
                hint="Name the recipe that the family was built from, or a folder with one folder per class.",
                reason="DATA_MISMATCH",
            )
    images = EvaluationSet(name=_ID, kind=_ID, images=loaded.test, slices=loaded.test_slices)
    return images, f"{told.data.source}, {len(loaded.test.labels)} test examples"


def _models(bundle: Bundle) -> list[VariantModel]:
    def found(name: str, entry: FileEntry, *, twin: bool = False) -> VariantModel:
        path = bundle.folder / entry.path
        return VariantModel(tag=name, sha256=entry.sha256, read=path.read_bytes, twin=twin)

    variants = bundle.family.variants
    return [
        *(found(variant.tag, variant.model) for variant in variants if variant.model is not None),
        *(found(twin_name(variant.tag), variant.int8, twin=True) for variant in variants if variant.int8 is not None),
    ]


def _beside(folder: Path) -> Path:
    folder = folder.resolve()
    # `zoo build` keeps its own blocks there: what it measured on the same images is not measured again.
    return folder.parent / ("stress" if folder.name == "bundle" else f"{folder.name}.stress")


def _mismatch(what: str) -> DataError:
    return DataError(
        f"{what}, so its rows and new ones cannot stand in one table",
        hint="Measure on the same data, or drop the old rows with --replace.",
        reason="PROFILE_MISMATCH",
    )


def _check_same_data(before: ProfileTable, *, dataset: str, count: int) -> None:
    """What can be said before anything is measured."""
    known = {row.n for row in before.rows if row.condition == _ID and row.n is not None}
    if before.dataset.partition(", ")[0] != dataset.partition(", ")[0] or max(known, default=0) > count:
        raise _mismatch(f"the bundle's profile was measured on {before.dataset}, and this is {dataset}")


def _check_same_results(before: ProfileTable, rows: Sequence[ProfileRow]) -> None:
    """The same models on the same images get the same ones right; nothing else in an old profile says so."""
    found = {row.variant: row for row in rows if row.condition == _ID}
    for row in before.rows:
        if row.condition != _ID or row.correct is None or row.n is None:
            continue
        now = found.get(row.variant)
        if now is None or now.n != row.n or now.correct is None or abs(now.correct - row.correct) > 1 + _DRIFT * row.n:
            raise _mismatch(
                f"the bundle's profile says that {row.variant} gets {row.correct} of {row.n} test images right, and "
                + ("it was not measured now" if now is None else f"now it gets {now.correct} of {now.n}")
            )


def _write(
    bundle: Bundle,
    before: ProfileTable | None,
    measured: Measurement,
    *,
    suite: str,
    dataset: str,
    images: ImageSource,
    on: Callable[[str], None],
) -> Bundle:
    rows = _merged(before.rows if before is not None else (), measured.rows)
    # Also what somebody else laid there: the folder is replaced as a whole.
    told = {path.relative_to(bundle.folder).as_posix(): path for path in _files_below(bundle.folder)}
    names = suite
    if before is not None:
        # Measuring again what was there adds no suite to the profile's.
        fresh = {row.condition for row in measured.rows} - set(before.conditions)
        names = "+".join(dict.fromkeys([*before.suite.split("+"), *(suite.split("+") if fresh else ())]))
    family = replace(bundle.family, suite=names)
    contents: dict[str, bytes | Path] = {
        **told,
        FAMILY_FILE: encode_json(family),
        PROFILE_FILE: profile_bytes(
            rows,
            suite=names,
            dataset=dataset,
            version=version("seedzoo"),
            sum_squares={**(before.sum_squares if before is not None else {}), **measured.sum_squares},
        ),
    }
    contents.pop(SIGNATURES_FILE, None)
    signatures = _merged_signatures(bundle, before, measured.signatures, tuple(row.condition for row in rows))
    if signatures is not None:
        contents[SIGNATURES_FILE] = signature_table_bytes(signatures)
    contents.update(_cards(bundle, family, rows, images, on))
    return write_bundle(bundle.folder, contents)


def _files_below(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _merged(before: Sequence[ProfileRow], now: Sequence[ProfileRow]) -> list[ProfileRow]:
    """Old rows in their places, new ones instead of those of the same condition, and what is new at the end."""
    fresh: dict[str, list[ProfileRow]] = {}
    for row in now:
        fresh.setdefault(row.condition, []).append(row)
    old: dict[str, list[ProfileRow]] = {}
    for row in before:
        old.setdefault(row.condition, []).append(row)
    return [row for name in dict.fromkeys([*old, *fresh]) for row in fresh.get(name, old.get(name, []))]


def _merged_signatures(
    bundle: Bundle, before: ProfileTable | None, now: SignatureTable | None, conditions: Sequence[str]
) -> SignatureTable | None:
    """New columns beside old ones of the same method; the old ones alone where there are no new ones."""
    tags = tuple(variant.tag for variant in bundle.family.variants)
    table = None if now is None else of_variants(now, tags)
    path = bundle.folder / SIGNATURES_FILE
    if before is None or not path.exists():
        return table
    old = read_signature_table(path.read_bytes(), where=str(path))
    if table is None:
        return old
    if (old.n, old.method) != (table.n, table.method):
        return table
    columns = {name: (old, place) for place, name in enumerate(old.conditions)}
    columns |= {name: (table, place) for place, name in enumerate(table.conditions)}
    ordered = [name for name in dict.fromkeys(conditions) if name in columns]
    return replace(
        table,
        conditions=tuple(ordered),
        cot=np.stack([columns[name][0].cot[:, columns[name][1]] for name in ordered], axis=1),
        nuclear=np.stack([columns[name][0].nuclear[:, columns[name][1]] for name in ordered], axis=1),
    )


def _cards(
    bundle: Bundle, family: Family, rows: Sequence[ProfileRow], images: ImageSource, on: Callable[[str], None]
) -> dict[str, bytes]:
    """The cards that the bundle has, with the new results in them."""
    present = {entry.path for entry in bundle.files if entry.path.startswith("cards/")}
    if not present:
        return {}
    try:
        from seedzoo.training.card_files import card_files  # noqa: PLC0415  (its libraries are in an extra)
    except ModuleNotFoundError as error:
        on(f"the model cards still tell the old results: {error.name}, which they need, is not installed")
        return {}
    written = card_files(family, rows, images, lambda entry: (bundle.folder / entry.path).read_bytes())
    return {name: content for name, content in written.items() if name in present}
