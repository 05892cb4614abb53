"""Per-example probabilities of the starter family under stress, computed once and kept in build/bench.

The profile's part is test images 0 to 1999 of Fashion-MNIST, the user's part 8000 to 9999: disjoint, and the latter
were never used to train, certify or stress a variant.

Run: OMP_NUM_THREADS=1 python bench/seed_tasks.py [--quick] [--out results.json]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import BUILT, ROOT, test_images, test_labels, write_results
from numpy.typing import NDArray

FAMILY = ROOT / "zoo" / "seedzoo" / "starter" / "fashion-cnn"
CACHE = BUILT
PARTS = {"profile": np.arange(0, 2000), "user": np.arange(8000, 10_000)}
QUICK = ("pixelate-1", "phone-photo-1", "gaussian-blur-2", "brightness-2", "impulse-noise-2")
QUICK_PARTS = {"profile": np.arange(0, 120), "user": np.arange(8000, 8200)}
QUICK_VARIANTS = 12

# Corruption family -> conditions: a prior is judged on families that it was not fitted on.
FAMILIES = {
    "resolution": ("pixelate-1", "pixelate-3", "downscale-1", "downscale-2"),
    "blur": ("gaussian-blur-1", "gaussian-blur-2", "motion-blur-2"),
    "noise": ("gaussian-noise-1", "gaussian-noise-2", "impulse-noise-2", "shot-noise-2"),
    "light": ("brightness-2", "darkness-3", "contrast-2", "contrast-3"),
    "pose": ("rotation-1", "rotation-2", "translation-2", "zoom-out-2", "flip"),
    "shape": ("elastic-2", "thick-2", "thin-2"),
    "scene": ("occlusion-2", "background-1"),
    "camera": ("jpeg-2", "phone-photo-1"),
}


@dataclass(frozen=True, kw_only=True)
class SeedTask:
    """The starter family on one part of the images under one condition.

    Attributes:
        name: The condition.
        family: Its corruption family.
        probabilities: float32 [n, M, C].
        predicted: [n, M] most probable class (of the unrounded probabilities).
        labels: [n] true class.
    """

    name: str
    family: str
    probabilities: NDArray[np.float32]
    predicted: NDArray[np.int64]
    labels: NDArray[np.int64]


def available() -> dict[str, str]:
    """Condition -> corruption family, of what lies in the cache for both parts."""
    return {
        name: family
        for family, names in FAMILIES.items()
        for name in names
        if all((CACHE / f"{part}-{name}.npz").exists() for part in PARTS)
    }


def load(name: str, part: str) -> SeedTask:
    family = next(key for key, names in FAMILIES.items() if name in names)
    with np.load(CACHE / f"{part}-{name}.npz") as data:
        return SeedTask(
            name=name,
            family=family,
            probabilities=data["probabilities"].astype(np.float32),
            predicted=data["predicted"].astype(np.int64),
            labels=data["labels"].astype(np.int64),
        )


def use_quick_cache() -> None:
    """From now on few conditions, images and variants, computed if missing: enough to see that a benchmark runs."""
    global CACHE  # noqa: PLW0603 - a script measures one or the other
    CACHE = BUILT / "quick" / f"{QUICK_VARIANTS}-by-{'-'.join(str(rows.size) for rows in QUICK_PARTS.values())}"
    compute(QUICK, QUICK_PARTS, variants=QUICK_VARIANTS)


def compute(
    names: Sequence[str] | None = None,
    parts: Mapping[str, NDArray[np.int64]] = PARTS,
    *,
    variants: int | None = None,
) -> None:
    """Fill the cache; what is there stays.

    Args:
        names: Conditions, in this order; all when omitted.
        parts: Which test images.
        variants: How many of them; all when omitted.
    """
    from seedzoo.inference.evaluate import softmax  # noqa: PLC0415 - reading the cache needs no ONNX Runtime
    from seedzoo.inference.session import Model  # noqa: PLC0415
    from seedzoo.stress import get_condition  # noqa: PLC0415

    files = sorted(FAMILY.glob("**/*.onnx"))[:variants]
    if not files:
        sys.exit(f"no ONNX models under {FAMILY}: build the starter family first")
    models = [Model(file.read_bytes(), name=file.stem) for file in files]
    images, labels = test_images(), test_labels()
    CACHE.mkdir(parents=True, exist_ok=True)
    # One of each family first, so that an unfinished cache is already of use.
    order = [names[at] for at in range(5) for names in FAMILIES.values() if at < len(names)]
    for name in order if names is None else names:
        for part, indices in parts.items():
            target = CACHE / f"{part}-{name}.npz"
            if target.exists():
                continue
            start = time.perf_counter()
            shown = get_condition(name).apply(images[indices], indices)
            logits = np.stack([model.logits(shown) for model in models], axis=1)
            partial = target.with_suffix(".part.npz")
            np.savez_compressed(
                partial,
                probabilities=softmax(logits).astype(np.float16),
                predicted=logits.argmax(axis=2).astype(np.uint8),
                labels=labels[indices].astype(np.uint8),
            )
            partial.replace(target)
            print(f"{target.name}: {len(models)} models, {time.perf_counter() - start:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Few conditions, images and variants, kept apart.")
    parser.add_argument("--out", type=Path, help="Write mean accuracies of the user's part as JSON here.")
    given = parser.parse_args()
    if given.quick:
        use_quick_cache()
    else:
        compute()
    tasks = [load(name, "user") for name in available()]
    found = {task.name: float((task.predicted == task.labels[:, None]).mean()) for task in tasks}
    write_results(found, __file__, given.out, quick=given.quick)


if __name__ == "__main__":
    main()
