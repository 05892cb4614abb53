"""What the benchmark scripts share: where things are kept, the test images, how one says that it cannot run here.

A script that lacks something which is no part of this repository (a data set, a program, a package) ends with the exit
status 77 and one line on stderr that says what; any other status but 0 is a failure or a target that was missed.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BUILT",
    "CANNOT_RUN",
    "FASHION",
    "ROOT",
    "SHARED",
    "cannot_run",
    "require",
    "require_s3",
    "small_starter",
    "test_images",
    "test_labels",
    "write_results",
]

ROOT = Path(__file__).resolve().parents[1]
BUILT = Path(os.environ.get("SEEDZOO_BENCH_BUILT", ROOT / "build" / "bench"))
"""Where results, models with random weights and kept predictions lie; SEEDZOO_BENCH_BUILT names another folder."""
SHARED = ROOT.parent / "shared" / "data"
"""Published results of other families, beside the repository where there are any."""
FASHION = Path("/usr/share/datasets/fashion-mnist")
CANNOT_RUN = 77


def cannot_run(lacking: str) -> NoReturn:
    """End the process, as something is not here.

    Args:
        lacking: What, and how to get it.
    """
    print(f"cannot run here: {' '.join(lacking.split())}", file=sys.stderr)
    raise SystemExit(CANNOT_RUN)


def require(*modules: str, install: str) -> None:
    """End the process unless these modules can be imported.

    Args:
        modules: Names of top-level modules.
        install: What pip installs them with.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        cannot_run(f"no {', '.join(missing)}: pip install {install}")


def require_s3() -> None:
    """End the process unless there is a SeaweedFS to start."""
    from seedzoo.errors import MissingExtra  # noqa: PLC0415 - most scripts need no server
    from seedzoo_server.weed_process import find_weed  # noqa: PLC0415

    try:
        find_weed()
    except MissingExtra as error:
        cannot_run(f"{error.message}. {error.hint}")


def small_starter(folder: Path) -> Path:
    """A bundle of the starter family's first 2 variants, under its name; for quick runs."""
    sys.path.append(str(ROOT))
    from tests.support import small_bundle  # noqa: PLC0415 - a helper of the tests, which no full run needs

    return small_bundle(folder, variants=2, name="fashion-cnn")


def _idx(name: str, header: int) -> NDArray[np.uint8]:
    path = FASHION / name
    if not path.exists():
        cannot_run(f"no {path}: the test images of Fashion-MNIST are read from there")
    return np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8, offset=header)


def test_images() -> NDArray[np.uint8]:
    """Fashion-MNIST's test images, uint8 [10000, 28, 28, 1]; without them the process ends."""
    return _idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)


def test_labels() -> NDArray[np.int64]:
    """Their classes [10000]; without them the process ends."""
    return _idx("t10k-labels-idx1-ubyte.gz", 8).astype(np.int64)


def write_results(found: Any, script: str, out: Path | None, *, quick: bool) -> None:
    """Write results as JSON.

    Args:
        found: The results.
        script: The script's ``__file__``; the results are called after it.
        out: Where to; in :data:`BUILT` when None, those of a quick run apart from those that count.
        quick: Whether this was a quick run.
    """
    path = out or (BUILT / "quick" if quick else BUILT) / f"{Path(script).stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
