"""What an executor is: it runs independent, named jobs on prepared workers and gives results as they finish.

All executors behave alike; ``tests/unit/executors/test_executor_contract.py`` holds them to it:

- Every worker process is prepared once by a :class:`Setup`; what that returns is the first argument of each job there.
- Results come in the order in which they finish.
- An error that a job (or the preparation) raises reaches the caller at once, as what it was; other work is stopped.
- A worker that dies (killed, out of memory, its machine lost) costs nothing but its job's time: the job starts again
  on another worker, at most ``retries`` times; then one ZooError names the job (``WORKER_DIED``).
- Leaving the ``with`` block, by its end, an exception or Ctrl-C, stops everything.

Where the next jobs depend on the results of the last ones, :meth:`Executor.open` keeps the prepared workers between
batches of jobs; :meth:`Executor.run` is one batch.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from seedzoo.errors import Cancelled, RequestError, ZooError

__all__ = [
    "RETRIES",
    "Executor",
    "Finished",
    "Job",
    "Setup",
    "Workers",
    "attempt",
    "check_jobs",
    "checked",
    "read_outcome",
    "stopped",
    "worker_died",
]

RETRIES = 3
"""How often a job starts again whose worker died."""

S = TypeVar("S")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Setup(Generic[S]):
    """Prepares a worker process, once: ``function(*arguments)`` gives the state that its jobs share.

    Function and arguments must be picklable: a function of an installed module, and records, paths or arrays.
    """

    function: Callable[..., S]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Job(Generic[R]):
    """One independent piece of work: ``function(state, *shared, *arguments)`` gives its result; all of it picklable.

    A job may run more than once, so it must not matter if a first attempt broke off in the middle.
    """

    name: str
    """For people, and to tell results apart; unique in its run, or, of jobs that are made as they are needed, among
    those that are not finished."""
    function: Callable[..., R]
    arguments: tuple[Any, ...] = ()
    cpus: float = 1
    """Cores it is given; OMP_NUM_THREADS follows."""
    gpus: float = 0
    """GPUs it is given: a whole number, or less than 1 to share one. It sees only these (CUDA_VISIBLE_DEVICES)."""
    shared: tuple[Any, ...] = ()
    """What :meth:`Workers.share` gave: the function gets the values, whose arrays it must not change."""


@dataclass(frozen=True, slots=True)
class Finished(Generic[R]):
    """The result of one job."""

    name: str
    result: R
    attempts: int
    """1, and one more for each worker that died with it."""


def _ignore(_: str) -> None:
    pass


def _never() -> bool:
    return False


class Workers(Protocol):
    """Prepared workers that take one batch of jobs after another. Not for several threads at once."""

    def share(self, value: Any) -> Any:
        """Make a value known to workers once, for any number of jobs that name it in ``Job.shared``.

        Arrays in it reach each machine of a cluster once and are not copied for its workers. It is forgotten when what
        is returned here is.
        """
        ...

    def results(self, jobs: Iterable[Job[R]], *, should_stop: Callable[[], bool] = _never) -> Iterator[Finished[R]]:
        """Run a batch; the iterator gives the results as they finish.

        Args:
            jobs: What to run, started in this order. Of what is no sequence, only a few more are taken than there
                are cores, so that jobs and what they share can be made as they are needed.
            should_stop: Asked again and again, also while nothing finishes.

        Raises:
            RequestError: Two jobs have one name, or one wants more GPUs than there are.
            Cancelled: ``should_stop`` said so. After this, and any other error, the workers take no more jobs.
            ValueError: The batch before is not at its end.
            ZooError: A worker died once too often (``WORKER_DIED``), or the job itself raised this.
        """
        ...


class Executor(Protocol):
    """Runs jobs on workers: processes of this machine, or of a cluster."""

    @property
    def gpus(self) -> int:
        """GPUs that jobs may ask for, at present."""
        ...

    @property
    def cores(self) -> int:
        """Cores for jobs, at present; a cluster that grows may have more later."""
        ...

    @property
    def shares_arguments(self) -> bool:
        """Whether large arrays among the arguments of a Setup are sent once to each machine, not to each worker."""
        ...

    @property
    def shares_files(self) -> bool:
        """Whether all workers surely see this machine's files."""
        ...

    def open(
        self, *, setup: Setup[Any], retries: int = RETRIES, on_notice: Callable[[str], None] = _ignore
    ) -> AbstractContextManager[Workers]:
        """Workers for batches of jobs, until the end of the ``with`` block; the arguments are those of :meth:`run`."""
        ...

    def run(
        self,
        jobs: Sequence[Job[R]],
        *,
        setup: Setup[Any],
        retries: int = RETRIES,
        on_notice: Callable[[str], None] = _ignore,
    ) -> AbstractContextManager[Iterator[Finished[R]]]:
        """Run all jobs; the iterator gives their results as they finish.

        Args:
            jobs: What to run, started in this order.
            setup: Prepares each worker.
            retries: How often a job starts again whose worker died.
            on_notice: Told, in one sentence, what a person should know though the run goes on (a worker died).

        Raises:
            RequestError: Two jobs have one name, or one wants more GPUs than there are.
            ZooError: A worker died once too often (``WORKER_DIED``), or the job itself raised this.
        """
        ...


def stopped() -> Cancelled:
    """The error for work that ends because somebody asked for that."""
    return Cancelled("stopped on request; finished work is kept")


def check_jobs(jobs: Sequence[Job[Any]]) -> None:
    """Refuse jobs that share a name or want a negative or meaningless number of cores or GPUs."""
    names = [job.name for job in jobs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(f"two jobs are named {twice!r}", field="jobs")
    for job in jobs:
        if not (job.cpus >= 0 and job.gpus >= 0) or (job.gpus > 1 and job.gpus != int(job.gpus)):
            raise RequestError(
                f"job {job.name!r} wants {job.cpus:g} cores and {job.gpus:g} GPUs",
                hint="GPUs are a whole number, or less than 1 to share one.",
                field="gpus",
            )


def checked(jobs: Iterable[Job[R]], unfinished: Container[str]) -> Iterator[Job[R]]:
    """The jobs one by one, checked: a sequence at once as a whole, others as they come. Raises RequestError.

    Args:
        jobs: What to run.
        unfinished: Names of jobs at work. Those of finished ones are forgotten: a long run has millions.
    """
    if isinstance(jobs, Sequence):
        check_jobs(jobs)
        return iter(jobs)
    return _checked(jobs, unfinished)


def _checked(jobs: Iterable[Job[R]], unfinished: Container[str]) -> Iterator[Job[R]]:
    for job in jobs:
        check_jobs([job, job] if job.name in unfinished else [job])
        yield job


def attempt(function: Callable[[], object]) -> bytes:
    """Call ``function`` and pack what it returned or raised, for :func:`read_outcome` in another process."""
    try:
        return pickle.dumps((True, function()), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001  (raised again where the caller is)
        if not isinstance(error, ZooError):
            error.add_note("In the worker:\n" + traceback.format_exc())
        return _packed(error)


def _packed(error: Exception) -> bytes:
    try:
        packed = pickle.dumps((False, error), protocol=pickle.HIGHEST_PROTOCOL)
        pickle.loads(packed)  # some exceptions can be packed but not unpacked, which would look like a broken worker
    except Exception:  # noqa: BLE001  (whatever it is, the text of the error must arrive)
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", []):
            plain.add_note(note)
        return pickle.dumps((False, plain))
    return packed


def read_outcome(packed: bytes, *, name: str) -> Any:
    """What the job ``name`` returned.

    Raises:
        Exception: What it raised, as it was.
    """
    fine, value = pickle.loads(packed)
    if fine:
        return value
    value.add_note(f"while running {name!r}")
    raise value


def worker_died(name: str, *, how: str, attempts: int, finished: int, of: int | None, memory: bool) -> ZooError:
    """The error for a job whose worker died once too often.

    Args:
        name: The job.
        how: What is known of the death, for example "was killed by SIGKILL".
        attempts: How often the job was started.
        finished: Jobs that are finished.
        of: All jobs of the batch; None where nobody counted them.
        memory: Whether lack of memory is a likely cause.
    """
    hint = "Run the same command again to resume; finished work is kept."
    if memory:
        hint += " If memory ran out (dmesg tells), use fewer --workers or a smaller batch."
    return ZooError(
        f"the worker of {name!r} {how} ({attempts} attempt{'s' if attempts > 1 else ''}); "
        f"{finished} {'' if of is None else f'of {of} '}are finished",
        hint=hint,
        reason="WORKER_DIED",
    )
