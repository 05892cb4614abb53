"""`zoo predict`: run one model on images, on this machine."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import RenderableType
from rich.text import Text

from seedzoo.console import Console, Rows, plain
from seedzoo.errors import DataError, LocalFailure
from seedzoo.files import write_atomically
from seedzoo_client.cli.options import FilePath, open_zoo, progress_bar, refuse_both, server_option, store_option
from seedzoo_client.cli.text import count, percent
from seedzoo_client.datasets import bind
from seedzoo_client.labels import ClassMatcher, read_label_map
from seedzoo_client.scan import Scan, scan_data

if TYPE_CHECKING:
    from seedzoo.inference import Prediction

__all__ = ["predict", "wilson"]

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class _Row:
    path: Path
    predicted: str
    probability: float
    label: str | None


@click.command()
@click.argument("model", metavar="MODEL|VARIANT")
@click.option("--data", required=True, type=FilePath(), help="Folder, CSV file, or one image.")
@click.option("--label-map", type=FilePath(), help="CSV, JSON or TOML: your class names to the task's.")
@click.option("--out", type=FilePath(dir_okay=False), help="Write path,predicted,probability,label here.")
@store_option
@server_option
def predict(
    model: str, data: Path, label_map: Path | None, out: Path | None, store: str | None, server: str | None
) -> None:
    """Predict the class of each image with MODEL (an ONNX file) or VARIANT (FAMILY/TAG, downloaded first).

    Where the images are labelled (class folders, or a CSV with path,label), the accuracy is printed as well.
    """
    refuse_both(server, store)
    console = Console.current()
    scan = scan_data(data, unlabelled=True)
    if out is not None:
        _check_folder(out)
    with console.resumable("nothing was written"):
        content = _model_bytes(console, model, server, store)
        prediction = _run(console, content, [example.path for example in scan.examples])
    labels = _labels(console, scan, prediction.classes, label_map)
    probabilities = prediction.probabilities.max(axis=1).tolist()
    rows = [
        _Row(example.path, prediction.classes[int(index)], probability, label)
        for example, index, probability, label in zip(
            scan.examples, prediction.predicted, probabilities, labels, strict=True
        )
    ]
    if out is not None:
        write_atomically(out, _as_csv(rows).encode("utf-8", "surrogateescape"))
    accuracy = _accuracy(rows)
    document: dict[str, Any] = {"model": model, "n_images": len(rows), "accuracy": accuracy, "out": out}
    if out is None:
        document["predictions"] = rows
    console.result(document, *_page(rows, accuracy, out))


def _model_bytes(console: Console, model: str, server: str | None, store: str | None) -> bytes:
    path = Path(model)
    if not (path.is_file() or path.suffix.lower() == ".onnx"):
        with open_zoo(server, store, console) as zoo, progress_bar(console) as show:
            path = zoo.download(model, progress=show)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"the model {path} does not exist", hint="Get one with `zoo download`.") from None
    except OSError as error:
        raise LocalFailure(f"cannot read the model {path}: {error.strerror or error}") from error


def _run(console: Console, content: bytes, paths: Sequence[Path]) -> Prediction:
    # Here, not above: everything else works without the optional packages that this needs.
    from seedzoo.inference import predict_files  # noqa: PLC0415

    with console.progress() as bars:
        bars.add_task(f"Predicting {count(len(paths), 'image')}", total=None, detail="")
        return predict_files(content, paths)


def _labels(console: Console, scan: Scan, classes: tuple[str, ...], label_map: Path | None) -> list[str | None]:
    matcher = ClassMatcher(classes, None if label_map is None else read_label_map(label_map))
    if scan.labels and label_map is None and all(matcher.index(label) is None for label in scan.labels):
        console.note("no folder or label is a class of this model, so the images count as unlabelled")
        return [None] * len(scan.examples)
    items = bind(scan, matcher).items
    return [None if item.label is None else classes[item.label] for item in items]


def _accuracy(rows: Sequence[_Row]) -> dict[str, float] | None:
    labelled = [row for row in rows if row.label is not None]
    if not labelled:
        return None
    right = sum(row.predicted == row.label for row in labelled)
    low, high = wilson(right, len(labelled))
    return {"estimate": right / len(labelled), "low": low, "high": high, "n": len(labelled), "right": right}


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval for a proportion (E. B. Wilson 1927, JASA 22)."""
    share, z2 = right / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _page(rows: Sequence[_Row], accuracy: dict[str, float] | None, out: Path | None) -> list[RenderableType | Rows]:
    parts: list[RenderableType | Rows] = []
    if out is None:
        parts.append(Rows((row.path, row.predicted, f"{row.probability:.3f}") for row in rows))
    if accuracy is not None:
        parts.append(
            Text(
                f"Accuracy {percent(accuracy['estimate'])} on {count(int(accuracy['n']), 'labelled image')} "
                f"(95 % interval {100 * accuracy['low']:.1f} to {percent(accuracy['high'])})"
            )
        )
    if out is not None:
        parts.append(Text(f"{count(len(rows), 'prediction')} in {plain(out)}"))
    return parts


def _as_csv(rows: Sequence[_Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "predicted", "probability", "label"])
    writer.writerows([str(row.path), row.predicted, f"{row.probability:.6f}", row.label or ""] for row in rows)
    return text.getvalue()


def _check_folder(out: Path) -> None:
    if not out.parent.is_dir():
        raise LocalFailure(f"the folder {out.parent} does not exist", hint="Make it first.")
