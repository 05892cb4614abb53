"""Model cards: what a person should know of one variant and of its family, in the format of huggingface_hub.

A card is Markdown under a block of YAML with the measured results. It is made from the records alone: no network, no
clock, so the same family gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from seedzoo.records import Certificate, Family, FileEntry, Preprocessing, Variant
from seedzoo.stress.table import ProfileRow
from seedzoo.training.quantise import Agreement

__all__ = ["card", "family_card"]

_ID, _TWIN = "id", ".int8"
_SHOWN = 5
"""Conditions in each of a card's two tables."""
_TAGS = ["onnx", "seedzoo", "seed-variants"]
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~&$])")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class _Compared:
    """A variant's row beside the family's mean under the same condition."""

    row: ProfileRow
    mean: float

    @property
    def apart(self) -> float:
        return self.row.accuracy - self.mean


def card(
    family: Family, variant: Variant, rows: Iterable[ProfileRow], *, twin_agreement: Agreement | None = None
) -> str:
    """The model card of one variant.

    Args:
        family: The family, with its certificate.
        variant: One of its variants, with a model.
        rows: The family's whole profile, rows of int8 twins (variant ``<tag>.int8``) among them or not.
        twin_agreement: How its int8 twin stands to it on held-out images, where there is one.

    Returns:
        Markdown with metadata; ``huggingface_hub.ModelCard`` reads it.
    """
    measured = list(rows)
    own = _compared(measured, variant.tag)
    held_out = next((one.row for one in own if one.row.condition == _ID), None)
    stressed = sorted((one for one in own if one.row.condition != _ID), key=lambda one: (one.apart, one.row.condition))
    data = ModelCardData(
        **_about(family),
        model_name=f"{family.name}/{variant.tag}",
        eval_results=[
            _held_out_result(family, variant, held_out),
            *(_result(family, one.row) for one in _ends(stressed)),
        ],
    )
    sections = [
        f"# {_text(family.title or family.name)}: variant {_text(variant.tag)}",
        (
            f"One of {len(family.variants)} models that were trained by the same recipe and differ in nothing but "
            f"{_apart(family)}.{_alike(family.certificate)} On other images they may differ by much more."
        ),
        _files(variant, twin_agreement, _compared(measured, f"{variant.tag}{_TWIN}")),
        _use(family, variant),
        _held_out(family, variant, held_out),
        _certificate(family.certificate, variant.tag),
        _stress(stressed, len(family.variants)),
        _seeds(variant),
        _data(family),
        _LIMITATIONS,
    ]
    return _written(data, sections)


def family_card(family: Family, rows: Iterable[ProfileRow]) -> str:
    """The family's card: what its variants share, and how far they are apart under each condition.

    Args:
        family: The family.
        rows: Its whole profile.
    """
    tags = [variant.tag for variant in family.variants]
    by_condition = _by_condition(rows, tags)
    accuracies = [variant.held_out_accuracy for variant in family.variants]
    data = ModelCardData(**_about(family), model_name=family.name)
    spread = sorted(
        ((name, [row.accuracy for row in found]) for name, found in by_condition.items() if name != _ID),
        key=lambda entry: (min(entry[1]) - max(entry[1]), entry[0]),
    )
    table = _table(
        ("condition", "worst variant", "mean", "best variant", "range in points"),
        [
            (name, _share(min(values)), _share(_mean(values)), _share(max(values)), _points(max(values) - min(values)))
            for name, values in spread[: 2 * _SHOWN]
        ],
    )
    sections = [
        f"# {_text(family.title or family.name)}",
        (
            f"{len(family.variants)} models trained by one recipe that differ in nothing but {_apart(family)}. "
            f"Held-out accuracy is {_share(_mean(accuracies))} on average, from {_share(min(accuracies))} to "
            f"{_share(max(accuracies))}. Choose among them on your own data:\n\n"
            f"    zoo select --family {_code(family.name)} --data mydata/"
        ),
        "## Variants\n\n"
        + _table(
            ("variant", "held-out accuracy", "SHA-256"),
            [
                (variant.tag, _share(variant.held_out_accuracy), variant.model.sha256 if variant.model else "no model")
                for variant in family.variants
            ],
        ),
        _certificate(family.certificate, None),
        "## Under stress\n\n"
        + (
            f"The conditions under which the variants are furthest apart, of {len(spread)} measured:\n\n{table}"
            if spread
            else "Not measured."
        ),
        _data(family),
        _LIMITATIONS,
    ]
    return _written(data, sections)


_LIMITATIONS = """## Limitations

- Equal accuracy on the held-out test set says little about other images: variants may be far apart there, and one
  that leads under one condition may trail under another. Choose on your own data, not by this card.
- The conditions are simulated or collected changes of the test set; what your images go through may be none of them.
- The conditions shown are those with the largest differences: these are partly chance, more than the intervals, each
  of which is for itself, allow for.
- It answers with one of its classes for any image, also for one that shows none of them."""


def _apart(family: Family) -> str:
    """What the variants differ in; a level of a factor may be another checkpoint to start from."""
    if not any(variant.factors for variant in family.variants):
        return "their random seeds"
    names = sorted({name for variant in family.variants for name in variant.factors})
    return f"the levels of a crossed design ({', '.join(map(_text, names))}) and their random seeds"


def _alike(certificate: Certificate | None) -> str:
    if certificate is None:
        return ""
    return f" Each is shown to lie within {_margin(certificate.margin)} of the mean accuracy of all that were trained."


def _about(family: Family) -> dict[str, Any]:
    """Metadata that all cards of a family share; what is not known is left out."""
    name = _plain(family.data.name or family.task.name)
    about: dict[str, Any] = {
        "pipeline_tag": "image-classification",
        "library_name": "onnx",
        "tags": list(_TAGS),
        "metrics": ["accuracy"],
    }
    if name:
        about["datasets"] = [name]
    if family.licence:
        # The hub's identifiers are SPDX's in lower case; anything else goes by a name of its own.
        identifier = _plain(family.licence).lower()
        known = re.fullmatch(r"[a-z0-9.+-]+", identifier) is not None
        about |= {"license": identifier} if known else {"license": "other", "license_name": _plain(family.licence)}
    return about


def _held_out_result(family: Family, variant: Variant, row: ProfileRow | None) -> EvalResult:
    if row is not None:
        return _result(family, row)
    n = family.certificate.n_examples if family.certificate else None
    return _evaluated(family, _ID, variant.held_out_accuracy, {"n": n} if n else {})


def _result(family: Family, row: ProfileRow) -> EvalResult:
    known = {"n": row.n, "low": _rounded(row.accuracy_low), "high": _rounded(row.accuracy_high)}
    return _evaluated(
        family, row.condition, row.accuracy, {key: value for key, value in known.items() if value is not None}
    )


def _evaluated(family: Family, condition: str, accuracy: float, about: Mapping[str, object]) -> EvalResult:
    name = _plain(family.data.name or family.task.name)
    return EvalResult(
        task_type="image-classification",
        dataset_type=name,
        dataset_name=f"{name}, held out" if condition == _ID else f"{name}, {_plain(condition)}",
        dataset_config=_plain(condition),
        dataset_split="test",
        metric_type="accuracy",
        metric_name="accuracy",
        metric_value=_rounded(accuracy),
        metric_args=dict(about) or None,
    )


def _files(variant: Variant, agreed: Agreement | None, twin: Sequence[_Compared]) -> str:
    lines = [] if variant.model is None else [_file(variant.model, "the model")]
    if variant.int8 is not None:
        lines.append(_file(variant.int8, "its int8 twin: another model, never used in its place"))
    text = "## Files\n\n" + _table(("file", "what", "bytes", "SHA-256"), lines)
    held_out = next((one.row for one in twin if one.row.condition == _ID), None)
    if held_out is not None:
        text += f"\n\nThe int8 twin's held-out accuracy is {_with_interval(held_out)}."
    if agreed is not None:
        text += (
            f"\n\nOn {agreed.n:,} held-out images the twin and the model give the same class to {_share(agreed.share)}."
        )
    return text


def _file(entry: FileEntry, what: str) -> tuple[str, ...]:
    return PurePosixPath(entry.path).name, what, f"{entry.size:,}", entry.sha256


def _use(family: Family, variant: Variant) -> str:
    file = PurePosixPath(variant.model.path).name if variant.model else f"{variant.tag}.onnx"
    return f"""## Use

    zoo download {_code(family.name)}/{_code(variant.tag)} --to {_code(file)}
    zoo predict {_code(file)} --data pictures/

Without seedzoo; the file's metadata say how to prepare an image:

```python
{_snippet(file, family.task.preprocessing)}
```"""


def _snippet(file: str, preprocessing: Preprocessing) -> str:
    resize = (
        "picture = picture.resize(size, method)"
        if preprocessing.resize == "stretch"
        else "picture = ImageOps.fit(picture, size, method)"
    )
    return f"""import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession({json.dumps(_code(file))}, providers=["CPUExecutionProvider"])
notes = session.get_modelmeta().custom_metadata_map
classes, wanted = json.loads(notes["seedzoo.classes"]), json.loads(notes["seedzoo.preprocessing"])
size, method = (wanted["width"], wanted["height"]), Image.Resampling[wanted["interpolation"].upper()]

picture = ImageOps.exif_transpose(Image.open("picture.png")).convert("RGB" if wanted["channels"] == 3 else "L")
if picture.size != size:
    {resize}
pixels = np.asarray(picture, dtype=np.uint8).reshape(1, size[1], size[0], wanted["channels"])
(logits,) = session.run(["logits"], {{"images": pixels}})
print(classes[int(logits[0].argmax())])"""


def _held_out(family: Family, variant: Variant, row: ProfileRow | None) -> str:
    if row is not None:
        value = _with_interval(row)
    else:
        n = family.certificate.n_examples if family.certificate else family.data.held_out_examples
        value = f"{_share(variant.held_out_accuracy)} of {n:,} examples" if n else _share(variant.held_out_accuracy)
    text = f"## Held-out accuracy\n\n{value}."
    if family.certificate is None:
        return text
    return (
        f"{text} It decided only whether a variant passed the test below. Among those that passed, differences may be"
        " chance: they say nothing of which to choose."
    )


def _with_interval(row: ProfileRow) -> str:
    value = _share(row.accuracy)
    if row.accuracy_low is not None and row.accuracy_high is not None:
        value += f" (95 % interval {_share(row.accuracy_low)} to {_share(row.accuracy_high)})"
    return value if row.n is None else f"{value} of {row.n:,} examples"


def _certificate(found: Certificate | None, tag: str | None) -> str:
    head = "## Certificate of equal accuracy\n\n"
    if found is None:
        return head + "There is none: nothing shows that these variants are equally accurate."
    text = (
        f"{head}{_text(found.method[:1].upper() + found.method[1:])}: margin ±{_margin(found.margin)}, "
        f"level {found.alpha:g} for the family as a whole, {found.n_examples:,} examples. Of {found.trained} "
        f"trained variants {found.trained - len(found.discarded)} passed and {found.published} are published. Two of "
        f"them may differ by up to twice the margin."
    )
    entry = next((entry for entry in found.entries if entry.tag == tag), None)
    if entry is not None:
        text += (
            f"\n\nThis variant's accuracy is {_signed(entry.difference)} points from the family's mean of "
            f"{_share(found.family_mean)}, with limits {_signed(entry.low)} and {_signed(entry.high)}: "
            + ("shown to lie within the margin." if entry.passed else "NOT shown to lie within the margin.")
        )
    return text


def _stress(stressed: Sequence[_Compared], variants: int) -> str:
    head = "## Under stress\n\n"
    if not stressed:
        return head + "Not measured."
    few = stressed[: min(_SHOWN, len(stressed) // 2 or 1)]
    many = list(reversed(stressed[len(few) :][-_SHOWN:]))
    text = f"{head}Beside the mean of the family's {variants} variants, of {len(stressed)} conditions measured.\n\n"
    text += f"Lowest beside the mean:\n\n{_conditions(few)}"
    return text + (f"\n\nHighest beside the mean:\n\n{_conditions(many)}" if many else "")


def _ends(stressed: Sequence[_Compared]) -> list[_Compared]:
    few = list(stressed[: min(_SHOWN, len(stressed) // 2 or 1)])
    return few + list(reversed(stressed[len(few) :][-_SHOWN:]))


def _conditions(compared: Sequence[_Compared]) -> str:
    return _table(
        ("condition", "accuracy", "family mean", "difference in points"),
        [(one.row.condition, _with_interval(one.row), _share(one.mean), _signed(one.apart)) for one in compared],
    )


def _seeds(variant: Variant) -> str:
    entries = [(name, str(seed)) for name, seed in sorted(variant.seeds.items())]
    factors = [(name, level) for name, level in sorted(variant.factors.items())]
    text = "## Seeds\n\n" + (_table(("random source", "seed"), entries) if entries else "Not known.")
    return text + (f"\n\nLevels of the crossed design:\n\n{_table(('factor', 'level'), factors)}" if factors else "")


def _data(family: Family) -> str:
    data, shape = family.data, family.task.preprocessing
    classes = ", ".join(_text(name) for name in family.task.classes[:20])
    more = f" and {len(family.task.classes) - 20} more" if len(family.task.classes) > 20 else ""
    kind = "colour" if shape.channels == 3 else "grey"
    lines = [
        f"- Data: {_text(data.name or family.task.name)}, {data.train_examples:,} training and "
        f"{data.held_out_examples:,} held-out examples" + (f", {_text(data.licence)}" if data.licence else ""),
        f"- Classes ({len(family.task.classes)}): {classes}{more}",
        f"- Input: {kind} images, {shape.width} x {shape.height} px",
        f"- Licence of the weights: {_text(family.licence) if family.licence else 'not stated'}",
    ]
    if family.recipe_sha256:
        lines.append(f"- Recipe: SHA-256 {_text(family.recipe_sha256)}")
    if family.software:
        versions = ", ".join(f"{_text(name)} {_text(number)}" for name, number in sorted(family.software.items()))
        lines.append(f"- Made with {versions}")
    return "## Training\n\n" + "\n".join(lines)


def _by_condition(rows: Iterable[ProfileRow], tags: Sequence[str]) -> dict[str, list[ProfileRow]]:
    """The rows of these variants; condition -> rows, in the profile's order."""
    wanted, found = set(tags), dict[str, list[ProfileRow]]()
    for row in rows:
        if row.variant in wanted:
            found.setdefault(row.condition, []).append(row)
    return found


def _compared(rows: Sequence[ProfileRow], name: str) -> list[_Compared]:
    """The rows of one variant beside the mean of all of its kind: twins are compared with twins."""
    is_twin = name.endswith(_TWIN)
    peers = {row.variant for row in rows if row.variant.endswith(_TWIN) == is_twin}
    found = _by_condition(rows, sorted(peers))
    return [
        _Compared(row=row, mean=_mean([peer.accuracy for peer in group]))
        for group in found.values()
        for row in group
        if row.variant == name
    ]


def _written(data: ModelCardData, sections: Sequence[str]) -> str:
    # ModelCard.from_template would do the same through Jinja2, whose templates would read braces in users' texts.
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(value: str) -> str:
    """One line without control characters, as metadata take it."""
    return _BLANK.sub(" ", value).strip()


def _text(value: str) -> str:
    """What somebody else wrote, so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\1", _plain(value))


def _code(value: str) -> str:
    """A name inside a command: letters, digits and what stands in file names; nothing that a shell would run."""
    return re.sub(r"[^\w.+-]", "_", value, flags=re.ASCII)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _margin(value: float) -> str:
    """A margin in words."""
    return f"{_points(value)} percentage point{'' if _points(value) == '1' else 's'}"


def _points(value: float) -> str:
    return f"{round(100 * value, 2):g}"


def _signed(value: float) -> str:
    return f"{100 * value:+.2f}"
