"""A server whose decoders crash and hang: it goes on, and who sent the images learns which they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from real_server import Caller, examples, serving, small_store

from seedzoo_protos.v1 import selection_pb2

FAILED = selection_pb2.SELECTION_STATE_FAILED
SUCCEEDED = selection_pb2.SELECTION_STATE_SUCCEEDED


@pytest.fixture
def caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Caller]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "unit" / "inference"))
    monkeypatch.setattr("seedzoo.inference.decoding_processes._FUNCTION", "decoder_parts:troubled")
    with (
        serving(small_store(tmp_path), decoder_processes=2, decoder_image_s=1) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Caller(channel)


def test_crashes_and_hangs_fail_one_selection_and_nothing_else(caller: Caller) -> None:
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
