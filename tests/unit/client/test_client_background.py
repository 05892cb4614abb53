"""Long calls in a thread of their own: results, errors and callbacks arrive where the caller is."""

from __future__ import annotations

import threading

import pytest

from seedzoo.errors import DataError
from seedzoo_client.background import in_background
from seedzoo_client.progress import Progress, ProgressCallback, Stage, ignore


def test_the_result_comes_back_and_callbacks_run_here() -> None:
    threads: list[threading.Thread] = []

    def work(show: ProgressCallback) -> threading.Thread:
        show(Progress(Stage.READING, 1, 1))
        return threading.current_thread()

    worker = in_background(work, progress=lambda _: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]
    assert worker is not threading.current_thread()


def test_errors_come_back() -> None:
    def work(_: ProgressCallback) -> None:
        raise DataError("bad")

    with pytest.raises(DataError, match="bad"):
        in_background(work, progress=ignore)


def test_a_callback_that_raises_ends_the_work() -> None:
    ended, told = threading.Event(), threading.Event()

    def work(show: ProgressCallback) -> None:
        try:
            while True:
                show(Progress(Stage.READING))
        finally:
            ended.set()

    def fail(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_background(work, progress=fail, abandoned=told.set)
    assert ended.wait(5)
    assert told.is_set()
