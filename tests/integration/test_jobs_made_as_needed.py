"""Jobs that an executor asks for while others are at work: batches never mix, results do not wait, nothing is held."""

from __future__ import annotations

import gc
import importlib
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.executors import executor_jobs as jobs

from seedzoo.executors import Executor, Job, Setup, open_executor, shared_files
from seedzoo.executors.shared_files import SharedFiles


def test_batch_that_is_not_at_its_end_takes_no_other(executor: Executor, tmp_path: Path) -> None:
    with executor.open(setup=Setup(jobs.prepare, (tmp_path,))) as workers:
        waits = Job("waits", jobs.wait_until, ("go",))
        first = workers.results(iter([Job("quick", jobs.square, (2,)), waits]))
        assert next(first).name == "quick"
        with pytest.raises(ValueError, match="another batch"):
            workers.results(iter([Job("other", jobs.square, (3,))]))
        jobs.note(tmp_path, "go")
        assert [done.name for done in first] == ["waits"]
        assert [done.result[1] for done in workers.results(iter([Job("other", jobs.square, (3,))]))] == [9]


def test_names_of_finished_jobs_are_forgotten(executor: Executor, tmp_path: Path) -> None:
    """A run over millions of images has millions of jobs."""
    names: list[weakref.ref[Name]] = []

    def coming() -> Iterator[Job[Any]]:
        for number in range(200):
            name = Name(f"job {number}")
            names.append(weakref.ref(name))
            yield Job(name, jobs.square, (number,))

    with executor.open(setup=Setup(jobs.prepare, (tmp_path,))) as workers:
        for done in workers.results(coming()):
            assert done.attempts == 1
            del done
            gc.collect()
            if len(names) == 200:
                break
        assert sum(name() is not None for name in names) < 100


def test_results_do_not_wait_for_jobs_that_are_slowly_made(executor: Executor, tmp_path: Path) -> None:
    """As where a decoder is slower than the workers: Ray would take 64 before it looks at one."""
    taken: list[int] = []

    def coming() -> Iterator[Job[str]]:
        for number in range(12):
            taken.append(number)
            yield Job(f"j{number}", jobs.wait_until, (f"go-{number}",))
            jobs.note(tmp_path, f"go-{number}")  # the job ends while the next one is made
            time.sleep(0.2)

    with executor.open(setup=Setup(jobs.prepare, (tmp_path,))) as workers:
        behind = [len(taken) for _ in workers.results(coming())]
    assert len(behind) == 12
    assert behind[0] < 12


class Name(str):
    """One that can be watched."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("kind", ["ObjectLostError", "ObjectReconstructionFailedError", "ObjectFetchTimedOutError"])
def test_result_that_was_lost_with_its_machine_is_found_again(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Large results stay where they were made until they are fetched; Ray has an error for each way to lose them."""
    ray = importlib.import_module("ray")
    get = ray.get
    said: list[str] = []

    def lost_once(reference: Any) -> Any:
        if not said:
            raise getattr(ray.exceptions, kind)(reference.hex(), None, "")
        return get(reference)

    with open_executor("ray").open(setup=Setup(jobs.prepare, (tmp_path,)), on_notice=said.append) as workers:
        monkeypatch.setattr(ray, "get", lost_once)
        (done,) = workers.results(iter([Job("large", jobs.square, (3,))]))
    assert (done.result[1], done.attempts) == (9, 2)
    assert said == ["the worker of 'large' was lost with the result; it starts again (1 of 3 retries)"]


def test_values_that_are_forgotten_take_no_room_in_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is deleted but mapped still takes its room on the disk, or in memory where that is its place."""
    monkeypatch.setattr(shared_files, "_values", type(shared_files._values)())
    shared = SharedFiles()
    try:
        first, kept = shared.put(np.arange(5)), shared.put(np.arange(6))
        held = weakref.ref(first.value())
        assert len(kept.value()) == 6
        assert held() is not None
        del first
        assert len(shared.put(np.arange(7)).value()) == 7
        gc.collect()
        assert held() is None
        assert kept.path in shared_files._values
    finally:
        shared.close()


def test_what_is_about_to_end_is_not_cancelled(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray aborts the whole process, which may be a server, where it is told to cancel a task that is just ending."""
    ray = importlib.import_module("ray")
    cancel = ray.cancel
    cancelled: list[str] = []
    monkeypatch.setattr("seedzoo.executors.cluster._GRACE_S", 60.0)
    waiting = [Job(f"w{number}", jobs.wait_until, ("go",)) for number in range(10)]
    with open_executor("ray").open(setup=Setup(jobs.prepare, (tmp_path,))) as workers:
        for done in workers.results(iter([waiting[0], Job("quick", jobs.square, (2,)), *waiting[1:]])):
            assert done.name == "quick"
            break
        names = {reference: job.name for reference, job in workers._pending.items()}  # type: ignore[attr-defined]

        def noted(reference: Any, **more: Any) -> None:
            cancelled.append(names[reference])
            cancel(reference, **more)
            jobs.note(tmp_path, "go")

        monkeypatch.setattr(ray, "cancel", noted)
    assert cancelled == ["w9", "w8", "w7", "w6", "w5", "w4"]
