"""The asynchronous client is the twin of the synchronous one; what needs no server of its parts."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import grpc
import pytest
from test_client_pieces import Failed, detailed

from seedzoo.errors import NotFound, RequestError, Unavailable, ZooError
from seedzoo_client import AsyncClient, AsyncLabellingSession, Client, LabellingSession, Progress, RetryConfig, Stage
from seedzoo_client.aio.threads import finished, in_thread
from seedzoo_client.deletion import Deletion
from seedzoo_client.progress import ProgressCallback

CODE = grpc.StatusCode
GONE = detailed(CODE.NOT_FOUND, "there is no dataset", kind="NotFound", reason="DATASET_UNKNOWN")


def public(cls: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")}


def parameters(cls: type, name: str) -> list[tuple[str, Any, Any, Any]]:
    found = inspect.signature(getattr(cls, name)).parameters.values()
    return [(one.name, one.kind, one.default if name != "upload" else one.default is not one.empty, one.annotation)
            for one in found]  # fmt: skip


@pytest.mark.parametrize(("twin", "original"), [(AsyncClient, Client), (AsyncLabellingSession, LabellingSession)])
def test_the_twin_offers_what_the_original_does(twin: type, original: type) -> None:
    assert public(twin) == public(original)
    methods = [name for name in public(original) if callable(getattr(original, name))]
    assert methods
    for name in methods:
        assert parameters(twin, name) == parameters(original, name), name
        assert inspect.iscoroutinefunction(getattr(twin, name)), name
    if original is Client:
        assert parameters(twin, "__init__") == parameters(original, "__init__")


@pytest.mark.parametrize("arguments", [{"timeout": 0}, {"timeout": "soon"}, {"token": 7}, {"target": "a b"}])
def test_unusable_arguments_are_refused_alike(arguments: dict[str, Any]) -> None:
    told = []
    for cls in (AsyncClient, Client):
        with pytest.raises(RequestError) as caught:
            cls(**arguments)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_offline_connects_to_nothing() -> None:
    async def ask() -> None:
        async with AsyncClient("127.0.0.1:9", offline=True) as zoo:
            await zoo.families()

    with pytest.raises(Unavailable, match="offline mode"):
        asyncio.run(ask())


def test_one_client_serves_one_event_loop() -> None:
    zoo = AsyncClient("127.0.0.1:9", offline=False, retry=RetryConfig(total_seconds=0))

    async def ask() -> None:
        await zoo.families()

    with pytest.raises(Unavailable, match="no server answers"):
        asyncio.run(ask())
    with pytest.raises(RequestError, match="another event loop"):
        asyncio.run(ask())


# -- threads ----------------------------------------------------------------------------------------------------------


def test_progress_of_a_thread_is_told_in_the_loop_in_order() -> None:
    here = threading.get_ident()
    seen: list[int] = []

    def hear(report: Progress) -> None:
        assert threading.get_ident() == here
        seen.append(report.done)

    def work(show: ProgressCallback) -> int:
        for done in range(100):
            show(Progress(Stage.READING, done))
        return threading.get_ident()

    assert asyncio.run(in_thread(work, progress=hear)) != here
    assert seen == list(range(100))


def test_an_abandoned_thread_ends_at_its_next_report() -> None:
    begun, left, ended = threading.Event(), threading.Event(), threading.Event()

    def work(show: ProgressCallback) -> None:
        begun.set()
        assert left.wait(30)
        try:
            show(Progress(Stage.READING))
        finally:
            ended.set()
        pytest.fail("nobody waits for this")

    async def run() -> None:
        task = asyncio.create_task(in_thread(work))
        assert await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left.set()
        assert await asyncio.to_thread(ended.wait, 30)

    asyncio.run(run())


def test_what_work_or_progress_raises_is_passed_on() -> None:
    def fails(_show: ProgressCallback) -> None:
        raise NotFound("gone")

    def shows(show: ProgressCallback) -> None:
        show(Progress(Stage.READING))

    def refuse(_report: Progress) -> None:
        raise ValueError("enough")

    with pytest.raises(NotFound, match="gone"):
        asyncio.run(in_thread(fails))
    with pytest.raises(ValueError, match="enough"):
        asyncio.run(in_thread(shows, progress=refuse))


def test_file_work_is_finished_before_a_cancelled_task_goes_on() -> None:
    begun, go_on = threading.Event(), threading.Event()
    written: list[str] = []

    def write() -> None:
        begun.set()
        assert go_on.wait(30)
        written.append("all")

    async def run() -> None:
        async def task_body() -> None:
            try:
                await finished(write)
            finally:
                assert written == ["all"], "the file would be closed here"

        task = asyncio.create_task(task_body())
        assert await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


# -- deletion ---------------------------------------------------------------------------------------------------------


def deletion(**config: float) -> Deletion:
    return Deletion("ds-1", server="h:1", retry=RetryConfig(**config))


def test_what_is_gone_after_a_broken_attempt_was_deleted_by_it() -> None:
    attempts = deletion()
    pause = attempts.failed(Failed(CODE.UNAVAILABLE, "Socket closed"))
    assert pause is not None
    assert 0 < pause <= 0.25
    assert attempts.failed(GONE) is None


@pytest.mark.parametrize(
    ("failure", "error"),
    [(GONE, NotFound), (Failed(CODE.PERMISSION_DENIED, "no"), ZooError), (Failed(CODE.INTERNAL, "bug"), ZooError)],
)
def test_what_is_no_broken_connection_is_told_at_once(failure: grpc.RpcError, error: type[ZooError]) -> None:
    with pytest.raises(error):
        deletion().failed(failure)


def test_a_server_that_stays_away_is_told_soon() -> None:
    attempts = deletion(total_seconds=0)
    assert attempts.failed(Failed(CODE.UNAVAILABLE, "refused")) is not None
    with pytest.raises(Unavailable):
        attempts.failed(Failed(CODE.UNAVAILABLE, "refused"))


@pytest.mark.parametrize("dataset_id", ["", None, 7])
def test_what_is_no_dataset_id_is_refused(dataset_id: Any) -> None:
    with pytest.raises(RequestError):
        Deletion(dataset_id, server="h:1", retry=RetryConfig())
