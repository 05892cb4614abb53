"""Images per second of our ImageNet-C corruptions and of the package imagecorruptions-imaug, in one run.

Two real photographs of 224 x 224 x 3 (scikit-learn's sample images), one process, one thread. Each measurement times
one and the other in turn, in processor time, and keeps the fastest of either, so that what else the machine does
hits both alike.

Run: OMP_NUM_THREADS=1 python bench/corruptions.py [--rounds 5] [--severities 1 3 5] [--quick]
     [--out results.json]
The exit status is 1 if one of the 15 corruptions of mCE is clearly slower than the package's (ratio below 0.9: for
pixelate and JPEG both call the same code of Pillow, and their ratio is 1 within the noise of the measurement). Without
the package only our images per second are printed.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from common import write_results
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from seedzoo.stress import get_condition
from seedzoo.stress.corruptions.imagenet_c import kind_name
from seedzoo.stress.corruptions.imagenet_c.constants import COMMON, EXTRA

SIDE, IMAGES = 224, 6
CLEARLY = 0.9
# Jobs of some milliseconds are repeated until they have had this many seconds each, or so many rounds.
SHORTEST, MOST_ROUNDS = 0.3, 100


def photographs() -> NDArray[np.uint8]:
    """Two photographs, shrunk and cut to squares, three times each: uint8 [6, 224, 224, 3]."""
    squares = []
    for photograph in load_sample_images().images:
        picture = Image.fromarray(photograph)
        width = round(picture.width * SIDE / picture.height)
        left = (width - SIDE) // 2
        squares.append(np.asarray(picture.resize((width, SIDE)).crop((left, 0, left + SIDE, SIDE))))
    return np.stack(squares * (IMAGES // len(squares)))


def package() -> ModuleType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import cv2  # noqa: PLC0415
            import imagecorruptions  # noqa: PLC0415
    except ImportError:
        return None
    cv2.setNumThreads(1)
    module: ModuleType = imagecorruptions
    return module


def fastest(rounds: int, shortest: float, *jobs: Callable[[], object]) -> list[float]:
    """Processor seconds of each job's fastest run; the jobs take turns, and a first run of each does not count."""
    best, spent, turn = [float("inf")] * len(jobs), [0.0] * len(jobs), 0
    while turn <= rounds or (min(spent) < shortest and turn <= MOST_ROUNDS):
        for number, job in enumerate(jobs):
            start = time.process_time()
            job()
            taken = time.process_time() - start
            spent[number] += taken
            if turn:
                best[number] = min(best[number], taken)
        turn += 1
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--severities", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--quick", action="store_true", help="Two images, one round, severity 1; no targets.")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    shortest = SHORTEST
    if given.quick:
        given.rounds, given.severities, shortest = 1, [1], 0.0
    images, theirs = photographs()[: 2 if given.quick else None], package()
    if theirs is None:
        print("imagecorruptions-imaug is not installed: our images per second only")
    print(f"{'corruption':20}{'ours/s':>10}{'theirs/s':>10}{'ratio':>8}   (severities {given.severities})")
    results: dict[str, dict[str, float]] = {}
    for name in (*COMMON, *EXTRA):
        seconds = np.zeros(2)
        for severity in given.severities:
            condition = get_condition(f"{kind_name('imagenet-c', name)}-{severity}")
            jobs: list[Callable[[], object]] = [lambda one=condition: one.apply(images, np.arange(len(images)))]  # type: ignore[misc]
            if theirs is not None:
                jobs.append(
                    lambda name=name, severity=severity: [  # type: ignore[misc]
                        theirs.corrupt(image, corruption_name=name, severity=severity) for image in images
                    ]
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seconds[: len(jobs)] += fastest(given.rounds, shortest, *jobs)
        ours, other = len(images) * len(given.severities) / np.where(seconds > 0, seconds, np.nan)
        results[name] = {"ours": float(ours), "theirs": float(other), "ratio": float(ours / other)}
        print(f"{name:20}{ours:10.0f}{other:10.0f}{ours / other:8.2f}", flush=True)
    write_results(results, __file__, given.out, quick=given.quick)
    slow = [name for name in COMMON if results[name]["ratio"] < 1]
    if slow:
        print("slower than the package:", ", ".join(slow))
    return 1 if not given.quick and any(results[name]["ratio"] < CLEARLY for name in slow) else 0


if __name__ == "__main__":
    sys.exit(main())
