"""What the workers of the executor tests run; a module of its own, as workers import it by name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import ItemsError


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(str(path))
        time.sleep(0.01)


def note(folder: Path, name: str, text: str = "") -> None:
    temporary = folder / f".{name}.{os.getpid()}"
    temporary.write_text(text)
    temporary.rename(folder / name)


def prepare(folder: Path) -> Path:
    note(folder, f"prepared-{os.getpid()}-{time.monotonic_ns()}")
    return folder


def prepare_badly() -> None:
    raise ItemsError("two items are broken", faults={3: "no image", 8: "empty"}, hint="Mend them.")


def prepare_array(array: NDArray[np.int64]) -> NDArray[np.int64]:
    return array


def total(array: NDArray[np.int64]) -> tuple[int, bool]:
    return int(array.sum()), array.flags.owndata


def square(folder: Path, value: int) -> tuple[int, int]:
    return os.getpid(), value * value


def environment(folder: Path, *names: str) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in names}


def meet(folder: Path, own: str, other: str) -> str | None:
    """Ends only if the other one runs at the same time."""
    note(folder, own)
    wait_for(folder / other)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def spend(folder: Path) -> tuple[float, float]:
    started = time.monotonic()
    while time.monotonic() < started + 0.05:
        pass
    return started, time.monotonic()


def wait_until(folder: Path, name: str) -> str:
    note(folder, f"waiting-{name}", str(os.getpid()))
    wait_for(folder / name)
    return name


def fail(folder: Path, after: str, error: Exception) -> None:
    wait_for(folder / after)
    raise error


class Unpicklable(Exception):
    def __init__(self, first: str, *, second: str) -> None:
        super().__init__(f"{first} and {second}")


def fail_unpicklably(folder: Path) -> None:
    raise Unpicklable("this", second="that")


def return_unpicklable(folder: Path) -> Any:
    return lambda: None


def survive_second_time(folder: Path, name: str) -> str:
    """The first time, say who it is and wait to be killed."""
    marker = folder / f"pid-{name}"
    if not marker.exists():
        note(folder, marker.name, str(os.getpid()))
        wait_for(folder / "never")
    return name


def die(folder: Path) -> None:
    note(folder, f"died-{time.monotonic_ns()}")
    os.kill(os.getpid(), signal.SIGKILL)


def hold_a_lock(_: object) -> int:
    """Leave a semaphore of the system open, as progress bars and other libraries do."""
    globals()["_held"] = multiprocessing.get_context("spawn").RLock()
    return os.getpid()


def shared_sum(folder: Path, array: NDArray[np.int64], value: int) -> int:
    return int(array.sum()) + value
