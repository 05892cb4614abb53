"""A server whose decoders crash and hang: it goes on, and who sent the images learns which they are."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from real_server import Caller, examples, serving, small_store

from seedzoo_protos.v1 import selection_pb2
from seedzoo_server.metrics import Metrics, serve_metrics

FAILED = selection_pb2.SELECTION_STATE_FAILED
SUCCEEDED = selection_pb2.SELECTION_STATE_SUCCEEDED


@pytest.fixture
def metrics_port() -> int:
    port, stop = serve_metrics(Metrics(), "127.0.0.1", 0)
    stop()
    return port


@pytest.fixture
def caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics_port: int) -> Iterator[Caller]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "unit" / "inference"))
    monkeypatch.setattr("seedzoo.inference.decoding_processes._FUNCTION", "decoder_parts:troubled")
    with (
        serving(small_store(tmp_path), decoder_processes=2, decoder_image_s=1, metrics_port=metrics_port) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Caller(channel)


def deaths(metrics_port: int) -> dict[str, float]:
    """By reason, as Prometheus gets them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    return {
        sample.labels["reason"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "seedzoo_decoder_deaths_total"
    }


def test_crashes_and_hangs_fail_one_selection_and_nothing_else(
    caller: Caller, metrics_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert deaths(metrics_port) == {"crashed": 0, "time": 0, "memory": 0}
    classes = list(caller("GetFamily", name="mini").task.classes)
    contents, labels = examples(classes)
    bad = [b"crash", b"loop", b"eat", b"no image"]
    broken = caller.upload([*contents, *bad], [*labels, *[0] * len(bad)], classes)
    whole = caller.upload(contents, labels, classes)
    for asked in ({}, {"labelling": selection_pb2.Labelling(audit=2)}):
        hostile, honest = caller.start(broken, **asked), caller.start(whole)
        while caller("GetSelection", selection_id=hostile.id).state != FAILED:
            assert caller("GetFamily", name="mini").name == "mini"  # meanwhile others are answered
        ended = caller.settled(hostile.id)
        assert (ended.state, ended.error.reason) == (FAILED, "ITEMS_INVALID")
        said = {item.index - len(contents): item.message for item in ended.error.items}
        assert sorted(said) == [0, 1, 2, 3]
        assert "crashes the decoder (killed by SIGSEGV)" in said[0]
        assert "more than 1 seconds" in said[1]
        assert "more memory than one image gets" in said[2]
        assert caller.settled(honest.id).state == SUCCEEDED
    # What eats memory is refused by its process, which lives on; a crash is tried twice.
    counted = deaths(metrics_port)
    assert counted == {"crashed": 4, "time": 2, "memory": 0}
    lines = [record.message for record in caplog.records if record.message.startswith("a decoding process ended")]
    assert len(lines) == 6
    assert any("(crashed)" in line and "SIGSEGV" in line for line in lines)


def test_a_decoder_that_is_killed_from_outside_counts_as_lack_of_memory(caller: Caller, metrics_port: int) -> None:
    classes = list(caller("GetFamily", name="mini").task.classes)
    contents, labels = examples(classes)
    hostile = caller.start(caller.upload([*contents, b"killed"], [*labels, 0], classes))
    assert caller.settled(hostile.id).state == FAILED
    assert deaths(metrics_port) == {"crashed": 0, "time": 0, "memory": 2}


def test_threads_where_the_settings_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedzoo.inference.decoding_processes._FUNCTION", "no_such_module:f")
    with (
        serving(small_store(tmp_path), decoder_processes=0) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        caller = Caller(channel)
        classes = list(caller("GetFamily", name="mini").task.classes)
        selection = caller.start(caller.upload(*examples(classes), classes))
        assert caller.settled(selection.id).state == SUCCEEDED
