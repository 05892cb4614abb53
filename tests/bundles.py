"""Bundles of the rarer kinds, for tests: without models, with quantised twins or cards, of a crossed design."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.support import small_bundle

from seedzoo.catalog.bundle import FAMILY_FILE, PROFILE_FILE, int8_path, model_path
from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.integrity import sha256_file
from seedzoo.records import Family, FileEntry, Preprocessing, Task, TrainingData, Variant
from seedzoo.stress.table import ProfileRow, published_row, read_profile, write_profile


def edit_family(folder: Path, change: Callable[[Family], Family]) -> Family:
    """Change a bundle's manifest."""
    path = folder / FAMILY_FILE
    family = change(decode_json(path.read_bytes(), Family, where=str(path)))
    path.write_bytes(encode_json(family))
    return family


def edit_profile(folder: Path, change: Callable[[tuple[ProfileRow, ...]], Sequence[ProfileRow]]) -> None:
    """Change a bundle's profile."""
    path = folder / PROFILE_FILE
    table = read_profile(path)
    write_profile(change(table.rows), path, suite=table.suite, dataset=table.dataset, version=table.version)


def published_bundle(folder: Path, *, name: str = "papers") -> Path:
    """Results without models, as an import makes them.

    Three variants; ``b`` was not measured on ``hard`` and nobody says on how many images ``hard`` was measured.
    """
    folder.mkdir(parents=True)
    accuracies = {"a": 0.91, "b": 0.9, "c": 0.89}
    family = Family(
        name=name,
        title="Published results",
        task=Task(name=name, classes=(), preprocessing=Preprocessing(height=0, width=0, channels=0)),
        variants=tuple(
            Variant(tag=tag, model=None, seeds={}, held_out_accuracy=accuracy, factors={"model": f"Net {tag}"})
            for tag, accuracy in accuracies.items()
        ),
        certificate=None,
        data=TrainingData(name="photos", train_examples=0, held_out_examples=1000),
        provenance="Table 3 of a paper",
    )
    (folder / FAMILY_FILE).write_bytes(encode_json(family))
    rows = [
        published_row(variant=tag, condition="id", kind="natural", accuracy=accuracy, n=1000)
        for tag, accuracy in accuracies.items()
    ]
    rows += [
        published_row(variant="a", condition="hard", kind="natural", accuracy=0.4),
        published_row(variant="c", condition="hard", kind="natural", accuracy=0.6),
    ]
    write_profile(rows, folder / PROFILE_FILE, suite="published", dataset="photos", version="test")
    return folder


def rich_bundle(folder: Path, *, name: str = "rich") -> Path:
    """A certified family of a crossed design, with model cards, other metrics on ``id``, and one twin.

    The twin of the first variant is another variant's model, so that whoever mixes them up is found out.
    """
    small_bundle(folder, name=name)
    tags = [variant.tag for variant in edit_family(folder, lambda family: family).variants]
    twin = folder / int8_path(tags[0])
    shutil.copy(folder / model_path(tags[3]), twin)
    entry = FileEntry(path=int8_path(tags[0]), size=twin.stat().st_size, sha256=sha256_file(twin))

    def change(family: Family) -> Family:
        variants = tuple(
            replace(
                variant,
                factors={"pretraining": f"p{index // 2}", "finetuning": f"f{index % 2}"},
                int8=entry if index == 0 else None,
            )
            for index, variant in enumerate(family.variants)
        )
        return replace(family, variants=variants)

    edit_family(folder, change)

    def measured(rows: tuple[ProfileRow, ...]) -> list[ProfileRow]:
        more = [
            replace(row, ece=0.05, brier=0.2, top5=0.99, class_n=(4000, 4000), class_correct=(2000, 3000))
            if row.condition == "id" and row.variant == tags[0]
            else replace(row, ece=None, brier=None, top5=None, class_n=None, class_correct=None)
            for row in rows
        ]  # fmt: skip
        twins = [replace(row, variant=f"{tags[0]}.int8") for row in rows if row.variant == tags[3]]
        return [*more, *twins]

    edit_profile(folder, measured)
    (folder / "cards").mkdir()
    (folder / "cards" / "README.md").write_text("---\nlicense: mit\n---\n# rich\n\nThe whole family.\n")
    (folder / "cards" / f"{tags[0]}.md").write_text("# s000\n\nOne variant \x1b[2J of it.\n")
    return folder
