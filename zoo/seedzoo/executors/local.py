"""Jobs on processes of this machine.

Own processes and pipes, because the pools of the standard library give up all workers and their jobs when one dies,
and do not tell how it died.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from seedzoo.cpu import usable_cores
from seedzoo.errors import RequestError
from seedzoo.executors.protocol import (
    RETRIES,
    Finished,
    Job,
    Setup,
    attempt,
    checked,
    read_outcome,
    stopped,
    worker_died,
)
from seedzoo.executors.shared_files import SharedFile, SharedFiles

__all__ = ["LocalExecutor", "visible_gpus"]

R = TypeVar("R")

_GRACE_S = 5.0
_LOOK_S = 0.2
_SHARE = 1e-9  # shares of a GPU are fractions such as 1/3, whose sum is 1 only nearly


class LocalExecutor:
    """Spawned processes: as many jobs at once as the declared cores and GPUs allow.

    Args:
        cpus: Cores to use; the usable ones (affinity and the container's quota) when omitted.
        gpus: GPUs to use, the first so many of CUDA_VISIBLE_DEVICES or of the machine; all when omitted.
    """

    shares_arguments = False
    shares_files = True

    def __init__(self, *, cpus: int | None = None, gpus: int | None = None) -> None:
        self._cpus = cpus or usable_cores()
        devices = visible_gpus()
        if gpus is not None and len(devices) < gpus:
            raise RequestError(
                f"{gpus} GPUs are asked for, but this machine offers {len(devices)}",
                hint="CUDA_VISIBLE_DEVICES may hide some.",
                field="gpus",
            )
        self._devices = devices[:gpus]

    @property
    def gpus(self) -> int:
        """See :class:`seedzoo.executors.Executor`."""
        return len(self._devices)

    @property
    def cores(self) -> int:
        """See :class:`seedzoo.executors.Executor`."""
        return self._cpus

    @contextmanager
    def open(
        self, *, setup: Setup[Any], retries: int = RETRIES, on_notice: Callable[[str], None] = lambda _: None
    ) -> Iterator[_Pool]:
        """See :class:`seedzoo.executors.Executor`."""
        pool = _Pool(setup, cpus=self._cpus, devices=self._devices, retries=retries, on_notice=on_notice)
        try:
            yield pool
        finally:
            pool.stop()

    @contextmanager
    def run(
        self,
        jobs: Sequence[Job[R]],
        *,
        setup: Setup[Any],
        retries: int = RETRIES,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Iterator[Finished[R]]]:
        """See :class:`seedzoo.executors.Executor`."""
        with self.open(setup=setup, retries=retries, on_notice=on_notice) as pool:
            pool.last_batch = True
            yield pool.results(jobs)


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    threads: int
    devices: tuple[str, ...]
    job: Job[Any] | None = None


@dataclass
class _Pool:
    """The workers of one run and what each is doing."""

    setup: Setup[Any]
    cpus: int
    devices: tuple[str, ...]
    retries: int
    on_notice: Callable[[str], None]
    last_batch: bool = False
    """Whether workers may end for which no job is left."""
    coming: Iterator[Job[Any]] = field(default_factory=lambda: iter(()))
    waiting: deque[Job[Any]] = field(default_factory=deque)
    started: dict[str, int] = field(default_factory=dict)
    finished: int = 0
    of: int | None = None
    shared: SharedFiles = field(default_factory=SharedFiles)
    busy: list[_Worker] = field(default_factory=list)
    idle: list[_Worker] = field(default_factory=list)
    retired: list[_Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.packed_setup = pickle.dumps((self.setup.function, self.setup.arguments))

    def share(self, value: Any) -> SharedFile:
        """See :class:`seedzoo.executors.Workers`."""
        return self.shared.put(value)

    def results(
        self, jobs: Iterable[Job[R]], *, should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Finished[R]]:
        """See :class:`seedzoo.executors.Workers`."""
        if self.busy:
            raise ValueError("jobs of another batch are at work")
        self.started, self.finished, self.of = {}, 0, None
        self.coming, self.waiting = checked(jobs, self.started), deque()
        if isinstance(jobs, Sequence):
            self.of = len(jobs)
            self._check_gpus(jobs)
        return self._results(should_stop)

    def _check_gpus(self, jobs: Iterable[Job[Any]]) -> None:
        for job in jobs:
            if job.gpus > len(self.devices):
                raise RequestError(
                    f"{job.name!r} wants {job.gpus:g} GPU(s), but this machine offers {len(self.devices)}",
                    hint="Train on the CPU, or where there are enough GPUs.",
                    field="gpus",
                )

    def _more(self) -> bool:
        """Whether a job waits; the next one is asked for when there is room for it."""
        if not self.waiting:
            self.waiting.extend(itertools.islice(self.coming, 1))
            self._check_gpus(self.waiting)
        return bool(self.waiting)

    def _results(self, should_stop: Callable[[], bool]) -> Iterator[Finished[Any]]:
        while self._more() or self.busy:
            if should_stop():
                raise stopped()
            self._start_what_fits()
            sources: dict[Any, _Worker] = {}
            for worker in self.busy:
                # The pipe alone would not do: children of a killed worker may hold it open.
                sources[worker.connection] = sources[worker.process.sentinel] = worker
            ready = wait(list(sources), timeout=_LOOK_S)
            for worker in dict.fromkeys(sources[source] for source in ready):
                packed = _received(worker)
                self.busy.remove(worker)
                if packed is None:
                    self._lost(worker)
                    continue
                job = worker.job
                assert job is not None
                worker.job = None
                self.idle.append(worker)
                result = read_outcome(packed, name=job.name)
                self.finished += 1
                yield Finished(job.name, result, self.started.pop(job.name))

    def _start_what_fits(self) -> None:
        while self._more():
            job = self.waiting[0]
            cores = min(job.cpus, self.cpus)  # a job that wants more than there are has the machine to itself
            devices = self._free_devices(job.gpus)
            if sum(min(worker.job.cpus, self.cpus) for worker in self.busy if worker.job) + cores > self.cpus + _SHARE:
                return
            if devices is None:
                return
            self.waiting.popleft()
            worker = self._worker(max(1, int(cores)), devices)
            worker.job = job
            self.busy.append(worker)
            self.started[job.name] = self.started.get(job.name, 0) + 1
            # One that died while it was idle or starting cannot be told; its sentinel says so in a moment.
            with suppress(BrokenPipeError, ConnectionResetError):
                worker.connection.send_bytes(pickle.dumps((job.function, job.shared, job.arguments)))
        while self.idle and self.last_batch:
            self._retire(self.idle.pop())  # nothing is left for them, and each holds the data in memory

    def _free_devices(self, gpus: float) -> tuple[str, ...] | None:
        """Devices for a job, () for none wanted, None for none free."""
        used = dict.fromkeys(self.devices, 0.0)
        for worker in self.busy:
            for device in worker.devices:
                used[device] += min(1.0, worker.job.gpus if worker.job else 0.0)
        if 0 < gpus < 1:
            return next(((device,) for device in self.devices if used[device] + gpus <= 1 + _SHARE), None)
        free = [device for device in self.devices if used[device] == 0]
        return tuple(free[: int(gpus)]) if len(free) >= gpus else None

    def _worker(self, threads: int, devices: tuple[str, ...]) -> _Worker:
        for worker in self.idle:
            if (worker.threads, worker.devices) == (threads, devices):
                self.idle.remove(worker)
                return worker
        if self.idle:
            self._retire(self.idle.pop(0))  # its place is taken by one with other resources
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, os.getpid(), threads, devices, self.packed_setup))
        process.start()
        theirs.close()
        return _Worker(process, ours, threads, devices)

    def _retire(self, worker: _Worker) -> None:
        worker.connection.close()
        self.retired.append(worker)

    def _lost(self, worker: _Worker) -> None:
        worker.process.join(_GRACE_S)
        worker.connection.close()
        self.retired.append(worker)
        job = worker.job
        assert job is not None
        code = worker.process.exitcode
        how = f"was killed by {_signal_name(-code)}" if code is not None and code < 0 else f"ended with code {code}"
        attempts = self.started[job.name]
        if attempts > self.retries:
            raise worker_died(
                job.name, how=how, attempts=attempts, finished=self.finished, of=self.of,
                memory=code == -signal.SIGKILL,
            )  # fmt: skip
        self.on_notice(f"the worker of {job.name!r} {how}; it starts again ({attempts} of {self.retries} retries)")
        self.waiting.appendleft(job)

    def stop(self) -> None:
        """End all processes, without waiting for minutes of work that nobody wants any more."""
        for worker in self.busy:
            worker.process.terminate()
            worker.connection.close()
        while self.idle:
            # One that is terminated leaves its semaphores behind, of which Python's resource tracker tells the user.
            self._retire(self.idle.pop())
        everyone = [*self.busy, *self.retired]
        deadline = time.monotonic() + _GRACE_S
        for worker in everyone:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        self.busy, self.retired = [], []
        self.shared.close()


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that CUDA would see, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(str(index) for index, _ in enumerate(Path("/dev").glob("nvidia[0-9]*")))
    return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))


def _received(worker: _Worker) -> bytes | None:
    """The outcome of the worker's job, or None if it died before it could send it."""
    try:
        if worker.connection.poll():
            return worker.connection.recv_bytes()
    except (EOFError, OSError):
        return None
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _work(
    connection: Connection, parent: int, threads: int, devices: tuple[str, ...], packed_setup: bytes
) -> None:  # pragma: no cover  (runs in the worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C for all
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    # Before anything heavy is imported: these are read once.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    state: list[Any] = []

    def work(packed: bytes) -> object:
        if not state:
            prepare, arguments = pickle.loads(packed_setup)
            state.append(prepare(*arguments))
        function, shared, arguments = pickle.loads(packed)
        return function(state[0], *(one.value() for one in shared), *arguments)

    while True:
        try:
            packed = connection.recv_bytes()
        except (EOFError, OSError):
            return  # nothing more to do
        outcome = attempt(lambda packed=packed: work(packed))  # type: ignore[misc]
        with suppress(BrokenPipeError, ConnectionResetError):  # the parent was killed; nobody wants the traceback
            connection.send_bytes(outcome)


def _exit_with(parent: int) -> None:  # pragma: no cover  (runs in the worker)
    """A killed parent closes nothing; without this its workers would train on for nobody."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
