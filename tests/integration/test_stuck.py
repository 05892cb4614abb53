"""A selection whose evaluation hangs: it fails, and others get its place."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from real_server import Caller, examples, serving, small_store

from seedzoo_protos.v1 import selection_pb2
from seedzoo_server import runner
from seedzoo_server.job import Job

FAILED = selection_pb2.SELECTION_STATE_FAILED
SUCCEEDED = selection_pb2.SELECTION_STATE_SUCCEEDED


def test_a_stuck_selection_fails_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entered, let_go, ended = threading.Event(), threading.Event(), threading.Event()
    original = runner.run_selection

    def hangs_once(**arguments: Any) -> Any:
        if entered.is_set():
            return original(**arguments)
        entered.set()
        let_go.wait()  # as a library would that never returns
        try:
            return original(**{**arguments, "should_stop": lambda: False})
        finally:
            ended.set()

    monkeypatch.setattr(runner, "run_selection", hangs_once)
    with (
        serving(small_store(tmp_path), stuck_s=4, decoder_processes=0) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        caller = Caller(channel, timeout=60)
        classes = list(caller("GetFamily", name="mini").task.classes)
        dataset = caller.upload(*examples(classes), classes)
        stuck = caller.start(dataset)
        assert entered.wait(30)
        waiting = caller.start(dataset)
        assert caller.settled(waiting.id).state == SUCCEEDED, "it does not wait for ever behind the other"
        failed = caller.settled(stuck.id)
        assert (failed.state, failed.error.reason) == (FAILED, "SELECTION_STUCK")
        assert f"selection {stuck.id} has not moved for 4 s" in caplog.text
        # What comes of it after all does not count.
        let_go.set()
        assert ended.wait(60)
        assert caller.settled(stuck.id).state == FAILED
        assert caller.settled(caller.start(dataset).id).state == SUCCEEDED


def test_asking_whether_to_stop_is_a_sign_of_life() -> None:
    job = Job(moved=-math.inf)
    assert not job.should_stop()
    assert job.moved > -math.inf
    job.moved = -math.inf
    job.report(job.progress)
    assert job.moved > -math.inf


def test_a_server_stops_although_a_selection_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, let_go = threading.Event(), threading.Event()

    def hangs(**_: Any) -> Any:
        entered.set()
        let_go.wait()

    monkeypatch.setattr(runner, "run_selection", hangs)
    monkeypatch.setattr(runner, "_CLOSE_S", 0.5)
    with (
        serving(small_store(tmp_path)) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        caller = Caller(channel, timeout=60)
        classes = list(caller("GetFamily", name="mini").task.classes)
        caller.start(caller.upload(*examples(classes), classes))
        assert entered.wait(30)
    let_go.set()  # only now: the server has stopped without it
