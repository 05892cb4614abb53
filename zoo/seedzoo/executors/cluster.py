"""Jobs on Ray: on a cluster that runs already, or on one of this machine's own that is started for the run.

Ray places the jobs where their cores and GPUs are free. Repeating a job whose worker died is done here rather than by
Ray's ``max_retries``: Ray would not say that it happens, and repeats what ran out of memory without end.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any, TypeVar

from seedzoo.cpu import usable_cores
from seedzoo.errors import LocalFailure, MissingExtra, RequestError, Unavailable, ZooError
from seedzoo.executors.local import visible_gpus
from seedzoo.executors.protocol import (
    RETRIES,
    Finished,
    Job,
    Setup,
    checked,
    read_outcome,
    stopped,
    worker_died,
)
from seedzoo.executors.ray_worker import attempt_in_worker

__all__ = ["RayExecutor", "import_ray"]

R = TypeVar("R")

# Read by Ray when it is imported or started; what the operator has set wins.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its messages go to stdout, where a command's results are
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a job without GPUs sees none
}
_LOST = ("WorkerCrashedError", "OutOfMemoryError", "NodeDiedError", "ObjectLostError")
"""These errors and all kinds of them mean that a job or its result went with a worker or a machine."""

_REACH_S = 10.0
_LOOK_S = 0.5
_GRACE_S = 1.0
_WAITING = 2000
"""Tasks of a known number that are handed to Ray at a time: it sees what a growing cluster has to do."""
_LEAST_WAITING, _WAITING_PER_CORE = 64, 4
"""The same of tasks that are made as they are needed: each may hold memory. Still enough to make a cluster grow."""
_COUNT_S = 10.0

_connecting = threading.Lock()
_users: list[object] = []
"""Who uses the connection; the last one ends it, where an executor of this process made it."""
_ending = ExitStack()


class RayExecutor:
    """Ray tasks: as many jobs at once as the cluster has cores and GPUs for.

    A program that is connected to Ray already keeps its connection, and the executor uses that.

    Args:
        address: The cluster (``host:port``, ``auto``, ``ray://host:port``); when omitted, one of this machine's own
            is started and ended with each run.
        cpus: Cores of this machine's own cluster; the usable ones when omitted.
        gpus: GPUs of this machine's own cluster; all that there are when omitted.
    """

    shares_arguments = True

    def __init__(self, *, address: str | None = None, cpus: int | None = None, gpus: int | None = None) -> None:
        if address is not None and (cpus is not None or gpus is not None):
            raise RequestError(
                "a Ray cluster that runs already has its own number of cores and GPUs",
                hint="Leave them out, or leave out the address.",
                field="address",
            )
        self._address = address
        self._cpus = cpus
        self._gpus = gpus

    @property
    def shares_files(self) -> bool:
        """Whether all workers surely see this machine's files: only where the cluster is this machine's own."""
        return self._address is None

    @property
    def gpus(self) -> int:
        """See :class:`seedzoo.executors.Executor`; connects to a cluster that runs already to find out."""
        ray = import_ray()
        if self._address is None and not ray.is_initialized():
            return len(visible_gpus()) if self._gpus is None else self._gpus
        with self.connected(ray):
            return int(ray.cluster_resources().get("GPU", 0))

    @property
    def cores(self) -> int:
        """See :class:`seedzoo.executors.Executor`; connects to a cluster that runs already to find out."""
        ray = import_ray()
        if self._address is None and not ray.is_initialized():
            return self._cpus or usable_cores()
        with self.connected(ray):
            return max(1, int(ray.cluster_resources().get("CPU", 0)))

    @contextmanager
    def open(
        self, *, setup: Setup[Any], retries: int = RETRIES, on_notice: Callable[[str], None] = lambda _: None
    ) -> Iterator[_Tasks]:
        """See :class:`seedzoo.executors.Executor`.

        Raises:
            MissingExtra: Ray is not installed.
            Unavailable: The cluster cannot be reached or was lost.
        """
        ray = import_ray()
        with self.connected(ray):
            tasks = None
            try:
                tasks = _Tasks(ray, setup, own=self._address is None, retries=retries, on_notice=on_notice)
                yield tasks
            except ray.exceptions.RayError as error:
                raise Unavailable(
                    f"the Ray cluster failed: {_first_line(error)}",
                    hint="Look at the cluster (ray status), then run the same command again to resume.",
                ) from error
            finally:
                if tasks is not None:
                    tasks.stop()

    @contextmanager
    def run(
        self,
        jobs: Sequence[Job[R]],
        *,
        setup: Setup[Any],
        retries: int = RETRIES,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Iterator[Finished[R]]]:
        """See :class:`seedzoo.executors.Executor`; raises what :meth:`open` does."""
        with self.open(setup=setup, retries=retries, on_notice=on_notice) as tasks:
            yield tasks.results(jobs)

    @contextmanager
    def connected(self, ray: Any) -> Iterator[None]:
        """Connected to the cluster; runs inside it, of any thread, share the connection, and a cluster of one's own."""
        user = object()
        with _connecting:
            if not ray.is_initialized():  # the program's own connection would be used, and stay
                _ending.enter_context(self._connection(ray))
            _users.append(user)
        try:
            yield
        finally:
            with _connecting:
                _users.remove(user)
                if not _users:
                    _ending.close()

    @contextmanager
    def _connection(self, ray: Any) -> Iterator[None]:
        folder = None
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        term = signal.getsignal(signal.SIGTERM)
        try:
            if self._address is None:
                folder = tempfile.mkdtemp(prefix="seedzoo-ray-")
                quiet |= {
                    "num_cpus": self._cpus or usable_cores(),
                    "num_gpus": self.gpus,
                    "include_dashboard": False,
                    "_temp_dir": folder,
                }
            try:
                _check_reachable(self._address)
                ray.init(address=self._address or "local", **quiet)
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                raise self._not_connected(error) from error
            yield
        finally:
            ray.shutdown()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, term)  # Ray sets one of its own
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)  # the last of Ray's processes may still write a log

    def _not_connected(self, error: Exception) -> ZooError:
        if self._address is not None:
            return Unavailable(
                f"cannot connect to the Ray cluster {self._address}: {_first_line(error)}",
                hint="Check the address (ray status on the cluster), and that Ray and Python have the same versions.",
            )
        return LocalFailure(
            f"cannot start Ray on this machine: {_first_line(error)}",
            hint="Where the name of the folder for temporary files is long, set TMPDIR to a short one.",
        )


def most_waiting(cores: int) -> int:
    """How many jobs Ray is given at once, at work or waiting, of those that are made as they are needed."""
    return max(_LEAST_WAITING, _WAITING_PER_CORE * cores)


class _Tasks:
    """The Ray tasks of one run; see :class:`seedzoo.executors.Workers`."""

    def __init__(
        self,
        ray: Any,
        setup: Setup[Any],
        *,
        own: bool,
        retries: int,
        on_notice: Callable[[str], None],
    ) -> None:
        self._ray = ray
        self._own = own
        self._retries = retries
        self._on_notice = on_notice
        self._started: dict[str, int] = {}
        self._finished = 0
        self._of: int | None = None
        self._cores, self._counted = 0, -_COUNT_S
        self._room: set[tuple[float, float]] = set()
        # Into the object store once; workers of one machine share its arrays without a copy.
        self._setup = ray.put((setup.function, setup.arguments))
        self._remote = ray.remote(attempt_in_worker)
        self._pending: dict[Any, Job[Any]] = {}

    def share(self, value: Any) -> Any:
        """See :class:`seedzoo.executors.Workers`: into the object store, from which each machine takes one copy."""
        return self._ray.put(value)

    def results(
        self, jobs: Iterable[Job[R]], *, should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Finished[R]]:
        """See :class:`seedzoo.executors.Workers`."""
        if self._pending:
            raise ValueError("jobs of another batch are at work")
        self._started, self._finished, self._of = {}, 0, None
        coming = checked(jobs, self._started)
        if isinstance(jobs, Sequence):
            self._of = len(jobs)
            coming = iter([self._placeable(job) for job in jobs])
        return self._results(coming, should_stop)

    def _results(self, coming: Iterator[Job[Any]], should_stop: Callable[[], bool]) -> Iterator[Finished[Any]]:
        more = True
        while more or self._pending:
            since, full = time.monotonic(), len(self._pending) >= self._most_pending()
            # What makes the jobs may be slow: results do not wait for all of those that there is room for.
            while more and not full and time.monotonic() - since < _LOOK_S:
                job = next(coming, None)
                more = job is not None
                if job is not None:
                    self._start(self._placeable(job))
                full = len(self._pending) >= self._most_pending()
            if not self._pending:
                return
            if should_stop():
                self.stop()
                raise stopped()
            # Those that are ready are taken together: Ray looks at all that it is asked about at each call.
            pending = list(self._pending)
            ready, _ = self._ray.wait(pending, timeout=_LOOK_S if full or not more else 0, fetch_local=True)
            if ready:
                ready, _ = self._ray.wait(pending, num_returns=len(pending), timeout=0, fetch_local=True)
            for reference in ready:
                job = self._pending.pop(reference)
                found = self._outcome(job, reference)
                if found is not None:
                    yield found

    def _outcome(self, job: Job[Any], reference: Any) -> Finished[Any] | None:
        """What came of a job; None where its worker died and it started again."""
        try:
            packed = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise ZooError(
                f"a Ray worker cannot run seedzoo: {_last_line(error)}",
                hint=f"Install seedzoo {version('seedzoo')} with the same extras on every machine of the cluster.",
                reason="WORKER_UNFIT",
            ) from error
        except self._ray.exceptions.RayError as error:
            lost: tuple[type[Exception], ...] = tuple(getattr(self._ray.exceptions, name) for name in _LOST)
            if not isinstance(error, lost):
                raise
            self._lost(job, error)
            return None
        result = read_outcome(packed, name=job.name)
        self._finished += 1
        return Finished(job.name, result, self._started.pop(job.name))

    def _most_pending(self) -> int:
        if self._of is not None:
            return _WAITING
        if time.monotonic() - self._counted > _COUNT_S:  # a cluster that grows wants more
            self._counted = time.monotonic()
            self._cores = int(self._ray.cluster_resources().get("CPU", 1))
        return most_waiting(self._cores)

    def _placeable(self, job: Job[Any]) -> Job[Any]:
        """The job, if some machine has room for it; Ray would wait for one without a word."""
        if (job.cpus, job.gpus) in self._room:
            return job
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if self._own:  # one that wants more cores than there are has the machine to itself
            job = replace(job, cpus=min(job.cpus, max(node.get("CPU", 0) for node in nodes)))
        if not any(node.get("CPU", 0) >= job.cpus and node.get("GPU", 0) >= job.gpus for node in nodes):
            lack = f"{job.name!r} wants {job.cpus:g} core(s) and {job.gpus:g} GPU(s); no machine has them"
            if self._own:
                raise RequestError(lack, hint="Train on the CPU, or name a cluster with GPUs.", field="gpus")
            self._on_notice(f"{lack} now: waiting for one that does")
        self._room.add((job.cpus, job.gpus))
        return job

    def _start(self, job: Job[Any]) -> None:
        options = self._remote.options(name=job.name, num_cpus=job.cpus, num_gpus=job.gpus, max_retries=0)
        # In a list, so that Ray hands over the reference: only a worker's first job needs what is behind it.
        reference = options.remote([self._setup], pickle.dumps((job.function, job.arguments)), *job.shared)
        self._pending[reference] = job
        self._started[job.name] = self._started.get(job.name, 0) + 1

    def _lost(self, job: Job[Any], error: Exception) -> None:
        kind = type(error).__name__
        how = {
            "WorkerCrashedError": "died",
            "OutOfMemoryError": "was ended because its machine ran out of memory",
            "NodeDiedError": "was lost with its machine",
        }.get(kind, "was lost with the result")  # which had not been fetched yet
        attempts = self._started[job.name]
        if attempts > self._retries:
            raise worker_died(
                job.name, how=how, attempts=attempts, finished=self._finished, of=self._of,
                memory=kind in {"WorkerCrashedError", "OutOfMemoryError"},
            ) from error  # fmt: skip
        self._on_notice(f"the worker of {job.name!r} {how}; it starts again ({attempts} of {self._retries} retries)")
        self._start(job)

    def stop(self) -> None:
        """End all tasks.

        Ray aborts this process where a task ends just while it is cancelled (ray-project/ray, pull request 54738).
        So those that have not begun are cancelled first, from the last one on, which is the farthest from beginning,
        and those at work only where they do not end soon by themselves.
        """
        pending, self._pending = list(self._pending), {}
        if not pending:
            return
        _, left = self._ray.wait(pending, num_returns=len(pending), timeout=0, fetch_local=False)
        at_work = 2 * max(1, int(self._ray.cluster_resources().get("CPU", 1)))  # some take half a core
        for reference in reversed(left[at_work:]):
            self._ray.cancel(reference, force=True)
        if left[:at_work]:
            first = left[:at_work]
            _, left = self._ray.wait(first, num_returns=len(first), timeout=_GRACE_S, fetch_local=False)
            for reference in reversed(left):
                self._ray.cancel(reference, force=True)


def _check_reachable(address: str | None) -> None:
    """Ray itself tries for minutes and writes each attempt to the terminal. Raises OSError."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()


def import_ray() -> Any:
    """Ray, told to be quiet and to report nothing to its makers. Raises MissingExtra."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingExtra("Ray is not installed", hint="pip install 'seedzoo[cluster]'") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
