"""One suite that every executor passes: local processes, and Ray on a real cluster of this machine."""

from __future__ import annotations

import itertools
import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.unit.executors import executor_jobs as jobs

from seedzoo.errors import Cancelled, ItemsError, RequestError, ZooError
from seedzoo.executors import Executor, Job, LocalExecutor, Setup


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    pytest.importorskip("ray", reason="needs the [cluster] extra")
    from seedzoo.executors.cluster import RayExecutor, import_ray

    ray = import_ray()
    with RayExecutor(cpus=2, gpus=2).connected(ray):  # these GPUs are only counted, as no job touches one
        yield


@pytest.fixture(params=["local", "ray"])
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Executor:
    if request.param == "local":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        return LocalExecutor(cpus=2)
    request.getfixturevalue("ray_cluster")
    from seedzoo.executors.cluster import RayExecutor

    return RayExecutor()


def gone(pid: int) -> bool:
    """Whether the process ends within 30 seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 30)[0])
    finally:
        os.close(handle)


def when(path: Path, act: object) -> threading.Thread:
    def watch() -> None:
        jobs.wait_for(path)
        assert callable(act)
        act(path)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_every_job_gives_its_result_and_each_worker_is_prepared_once(executor: Executor, tmp_path: Path) -> None:
    work = [Job(f"j{value}", jobs.square, (value,)) for value in range(12)]
    with executor.run(work, setup=Setup(jobs.prepare, (tmp_path,))) as results:
        found = {done.name: done for done in results}
    assert {name: done.result[1] for name, done in found.items()} == {f"j{value}": value**2 for value in range(12)}
    assert {done.attempts for done in found.values()} == {1}
    workers = {done.result[0] for done in found.values()}
    assert os.getpid() not in workers
    prepared = [path.name.split("-")[1] for path in tmp_path.glob("prepared-*")]
    assert len(prepared) == len(set(prepared))
    assert workers <= set(map(int, prepared))
    assert len(prepared) <= 2


def test_no_jobs_give_no_results(executor: Executor, tmp_path: Path) -> None:
    with executor.run([], setup=Setup(jobs.prepare, (tmp_path,))) as results:
        assert list(results) == []


def test_results_come_as_they_finish(executor: Executor, tmp_path: Path) -> None:
    work = [Job("late", jobs.wait_until, ("go",)), Job("early", jobs.square, (3,))]
    with executor.run(work, setup=Setup(jobs.prepare, (tmp_path,))) as results:
        assert next(results).name == "early"
        jobs.note(tmp_path, "go")
        assert [done.name for done in results] == ["late"]


def test_jobs_have_the_machine_to_themselves_if_they_ask_for_it(executor: Executor, tmp_path: Path) -> None:
    work = [Job(f"j{index}", jobs.spend, cpus=cpus) for index, cpus in enumerate([2, 2, 2])]
    with executor.run(work, setup=Setup(jobs.prepare, (tmp_path,))) as results:
        spans = sorted(done.result for done in results)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))


def test_jobs_see_their_own_gpus_and_threads(executor: Executor, tmp_path: Path) -> None:
    setup = Setup(jobs.prepare, (tmp_path,))
    work = [
        Job("a", jobs.meet, ("a", "b"), gpus=1),
        Job("b", jobs.meet, ("b", "a"), gpus=1),
        Job("shares", jobs.meet, ("c", "d"), gpus=0.5, cpus=0.5),
        Job("shared", jobs.meet, ("d", "c"), gpus=0.5, cpus=0.5),
    ]
    with executor.run(work, setup=setup) as results:
        seen = {done.name: done.result for done in results}
    assert {seen["a"], seen["b"]} == {"0", "1"}
    assert seen["shares"] in {"0", "1"}
    assert seen["shared"] in {"0", "1"}
    none = Job("none", jobs.environment, ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"))
    with executor.run([none], setup=setup) as results:
        assert next(results).result == {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    assert executor.gpus == 2


def test_arrays_reach_the_workers(executor: Executor) -> None:
    array = np.arange(300_000)
    work = [Job(f"j{index}", jobs.total) for index in range(3)]
    with executor.run(work, setup=Setup(jobs.prepare_array, (array,))) as results:
        found = [done.result for done in results]
    assert [value for value, _ in found] == [299_999 * 150_000] * 3
    if executor.shares_arguments:  # the workers look at one copy
        assert not any(owned for _, owned in found)


@pytest.mark.parametrize(
    "error",
    [
        ItemsError("two items", faults={3: "x", 4: "y"}, hint="Mend them."),
        ValueError("a fault of ours"),
    ],
)
def test_error_of_a_job_reaches_the_caller_and_stops_the_rest(
    executor: Executor, tmp_path: Path, error: Exception
) -> None:
    work = [Job("waits", jobs.wait_until, ("never",)), Job("fails", jobs.fail, ("waiting-never", error))]
    with (
        pytest.raises(type(error)) as caught,
        executor.run(work, setup=Setup(jobs.prepare, (tmp_path,))) as results,
    ):
        list(results)
    assert caught.value.args == error.args
    assert {**vars(caught.value), "__notes__": None} == {**vars(error), "__notes__": None}
    assert "'fails'" in caught.value.__notes__[-1]
    if not isinstance(error, ZooError):
        assert "executor_jobs.py" in caught.value.__notes__[0]  # where in the worker it was
    assert gone(int((tmp_path / "waiting-never").read_text()))


def test_error_of_the_preparation_reaches_the_caller(executor: Executor) -> None:
    with (
        pytest.raises(ItemsError) as caught,
        executor.run([Job("any", jobs.square, (1,))], setup=Setup(jobs.prepare_badly)) as results,
    ):
        list(results)
    assert caught.value.faults == {3: "no image", 8: "empty"}
    assert caught.value.hint == "Mend them."


@pytest.mark.parametrize(
    ("function", "says"), [(jobs.fail_unpicklably, "Unpicklable: this and that"), (jobs.return_unpicklable, "lambda")]
)
def test_what_cannot_be_pickled_is_told(executor: Executor, tmp_path: Path, function: object, says: str) -> None:
    assert callable(function)
    with (
        pytest.raises(Exception, match=says),
        executor.run([Job("any", function)], setup=Setup(jobs.prepare, (tmp_path,))) as results,
    ):
        list(results)


def test_job_of_a_killed_worker_starts_again(executor: Executor, tmp_path: Path) -> None:
    work = [
        Job("killed", jobs.survive_second_time, ("killed",)),
        *(Job(f"j{value}", jobs.square, (value,)) for value in range(4)),
    ]
    killer = when(tmp_path / "pid-killed", lambda path: os.kill(int(path.read_text()), signal.SIGKILL))
    said: list[str] = []
    with executor.run(work, setup=Setup(jobs.prepare, (tmp_path,)), on_notice=said.append) as results:
        attempts = {done.name: done.attempts for done in results}
    killer.join()
    assert attempts == {"killed": 2, "j0": 1, "j1": 1, "j2": 1, "j3": 1}
    assert len(said) == 1
    assert "'killed'" in said[0]
    assert "1 of 3 retries" in said[0]


def test_job_whose_workers_always_die_is_given_up(executor: Executor, tmp_path: Path) -> None:
    with (
        pytest.raises(ZooError, match=r"'bad'.*2 attempts.*0 of 1") as caught,
        executor.run([Job("bad", jobs.die)], setup=Setup(jobs.prepare, (tmp_path,)), retries=1) as results,
    ):
        list(results)
    assert caught.value.reason == "WORKER_DIED"
    assert "memory" in caught.value.hint
    assert len(list(tmp_path.glob("died-*"))) == 2


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_leaving_stops_everything(executor: Executor, tmp_path: Path, kind: type[BaseException]) -> None:
    waiting = tmp_path / "waiting-never"
    work = [Job("quick", jobs.square, (1,)), Job("waits", jobs.wait_until, ("never",))]

    def run() -> None:
        with executor.run(work, setup=Setup(jobs.prepare, (tmp_path,))) as results:
            next(results)
            if kind is KeyboardInterrupt:
                when(waiting, lambda _: os.kill(os.getpid(), signal.SIGINT)).join()
                next(results)
            jobs.wait_for(waiting)
            raise kind

    with pytest.raises(kind):
        run()
    assert gone(int(waiting.read_text()))


def test_jobs_that_make_no_sense_are_refused(executor: Executor, tmp_path: Path) -> None:
    setup = Setup(jobs.prepare, (tmp_path,))
    twice = [Job("same", jobs.square, (1,)), Job("same", jobs.square, (2,))]
    for work in (twice, [Job("half", jobs.square, (1,), gpus=1.5)], [Job("less", jobs.square, (1,), cpus=-1)]):
        with pytest.raises(RequestError), executor.run(work, setup=setup):
            pass


def test_workers_stay_between_batches_and_share_values(executor: Executor, tmp_path: Path) -> None:
    taken: list[int] = []

    def coming(shared: object) -> Iterator[Job[int]]:
        for value in range(5):
            taken.append(value)
            yield Job(f"j{value}", jobs.shared_sum, (value,), shared=(shared,))

    asked: list[int] = []
    with executor.open(setup=Setup(jobs.prepare, (tmp_path,))) as workers:
        array = workers.share(np.arange(1000))
        for _ in range(2):
            found = {done.name: done.result for done in workers.results(coming(array))}
            assert found == {f"j{value}": 499_500 + value for value in range(5)}
        assert taken == [*range(5), *range(5)]
        with pytest.raises(RequestError, match="two jobs"):
            list(workers.results(iter([Job("same", jobs.square, (1,)), Job("same", jobs.square, (2,))])))
    prepared = [path.name.split("-")[1] for path in tmp_path.glob("prepared-*")]
    assert len(prepared) == len(set(prepared)) <= 2  # once in each worker, not once in each batch
    with executor.open(setup=Setup(jobs.prepare, (tmp_path,))) as workers, pytest.raises(Cancelled):
        list(workers.results([Job("waits", jobs.wait_until, ("never",))], should_stop=lambda: bool(asked.append(1))
                             or (tmp_path / "waiting-never").exists()))  # fmt: skip
    assert len(asked) > 1
    assert gone(int((tmp_path / "waiting-never").read_text()))
