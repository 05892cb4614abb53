"""What a server process takes while many clients upload at once; the clients are threads of a few processes."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

from transfer_upload import write_images

from seedzoo_client import Client

__all__ = ["measure_memory"]

_PROCESSES = 4


def _mib(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def _upload(address: str, family: str, folders: list[Path], begin: Barrier) -> None:
    """Upload each folder with a client of its own, all at once."""
    begin.wait()

    def one(folder: Path) -> None:
        with Client(address) as zoo:
            zoo.upload(folder, family=family)

    with ThreadPoolExecutor(len(folders)) as pool:
        list(pool.map(one, folders))


def measure_memory(
    work: Path, *, address: str, pid: int, family: str, classes: tuple[str, ...], clients: int, count: int, size: int
) -> dict[str, float]:
    """The server's resident memory in MiB before, at its peak, and after ``clients`` uploaded their images.

    The peak is the kernel's own record (VmHWM), set back before.

    Args:
        work: Folder for the images.
        address: Of the server.
        pid: Of its process.
        family: Whose classes the images belong to.
        classes: Names of the classes.
        clients: Uploads at once.
        count: Images of each.
        size: Bytes of an image.
    """
    if sys.platform != "linux":
        raise SystemExit("memory is read from /proc, which only Linux has")
    folders = [work / f"client{number:02d}" for number in range(clients)]
    for folder in folders:
        write_images(folder, classes, count=count, size=size)
    before = _mib(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    seen: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            seen.append(_mib(pid, "VmRSS"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        spawn = get_context("spawn")
        processes = min(_PROCESSES, math.ceil(clients / 4))
        shares = [folders[first::processes] for first in range(processes)]
        begin = spawn.Barrier(len(shares) + 1)
        workers = [spawn.Process(target=_upload, args=(address, family, share, begin)) for share in shares]
        for worker in workers:
            worker.start()
        begin.wait(120)
        started = time.perf_counter()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - started
        if any(worker.exitcode for worker in workers):
            raise SystemExit("a client failed")
    finally:
        over.set()
        watcher.join()
    return {
        "clients": clients,
        "images": count,
        "image_bytes": size,
        "seconds": round(seconds, 1),
        "mb_per_s": round(clients * count * size / seconds / 1e6, 1),
        "before_mib": round(before),
        "peak_mib": round(_mib(pid, "VmHWM")),
        "median_mib": round(sorted(seen)[len(seen) // 2]) if seen else round(before),
        "after_mib": round(_mib(pid, "VmRSS")),
        "cores": os.cpu_count() or 0,
    }
