"""Independent jobs on many workers: processes of this machine or a Ray cluster behind one small protocol."""

from __future__ import annotations

from seedzoo.errors import RequestError
from seedzoo.executors.local import LocalExecutor
from seedzoo.executors.protocol import Executor, Finished, Job, Setup, Workers
from seedzoo.executors.snapshots import FolderSnapshots, Snapshots, StoreSnapshots

__all__ = [
    "Executor",
    "Finished",
    "FolderSnapshots",
    "Job",
    "LocalExecutor",
    "Setup",
    "Snapshots",
    "StoreSnapshots",
    "Workers",
    "open_executor",
]


def open_executor(
    kind: str = "local", *, address: str | None = None, cpus: int | None = None, gpus: int | None = None
) -> Executor:
    """The executor that a command's options name.

    Args:
        kind: ``local`` or ``ray``.
        address: A Ray cluster that runs already; one of this machine's own when omitted.
        cpus: Cores to use; the usable ones when omitted. Not for a cluster that runs already.
        gpus: GPUs to use; those that there are when omitted. Not for a cluster that runs already.

    Raises:
        RequestError: Unknown kind, or options that do not go together.
    """
    if kind == "ray":
        from seedzoo.executors.cluster import RayExecutor  # noqa: PLC0415  (its own extra)

        return RayExecutor(address=address, cpus=cpus, gpus=gpus)
    if kind != "local":
        raise RequestError(f"executor {kind!r} is not known", hint="Known are local and ray.", field="executor")
    if address is not None:
        raise RequestError("an address goes with the executor ray", hint="Add --executor ray.", field="address")
    return LocalExecutor(cpus=cpus, gpus=gpus)
