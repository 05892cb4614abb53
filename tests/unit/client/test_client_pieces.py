"""Statuses, the cache, and the small formulas of the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from seedzoo.errors import (
    DataError,
    IntegrityError,
    ItemsError,
    LocalFailure,
    NotFound,
    RequestError,
    StoreError,
    StoreUnsafe,
    Unauthenticated,
    Unavailable,
    ZooError,
)
from seedzoo_client.cache import CachedModel, ModelCache, VariantName, copy_model
from seedzoo_client.cli.compare import differences
from seedzoo_client.cli.predict import wilson
from seedzoo_client.convert import profile_view, selection_error, selection_report
from seedzoo_client.status import from_rpc_error, is_transient
from seedzoo_client.views import VariantView
from seedzoo_protos.v1 import catalog_pb2, selection_pb2


class Failed(grpc.RpcError, grpc.Call):
    """A call as grpc reports it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: tuple[tuple[str, Any], ...] = ()) -> None:
        self._code, self._details, self._trailers = code, details, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailers

    def initial_metadata(self) -> Any:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float:
        return 0

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: Any) -> bool:
        return False


def detailed(
    code: grpc.StatusCode,
    message: str,
    *,
    kind: str,
    reason: str,
    domain: str = "seedzoo",
    retry_s: float | None = None,
) -> Failed:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata={"kind": kind, "hint": "do this"})
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(info)
    if retry_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(1000 * retry_s))
        status.details.add().Pack(retry)
    return Failed(code, message, (("grpc-status-details-bin", status.SerializeToString()),))


CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("failed", "kind", "message", "transient"),
    [
        (Failed(CODE.UNAVAILABLE, "failed to connect to all addresses"), Unavailable, "no server answers at h:1", True),
        (Failed(CODE.UNAVAILABLE, "Socket closed"), Unavailable, "the connection to h:1 broke", True),
        (Failed(CODE.UNAVAILABLE, "Ssl handshake failed"), Unavailable, "no secure connection to h:1", True),
        (Failed(CODE.UNAVAILABLE, "DNS resolution failed"), Unavailable, "the name of the server h:1", True),
        (Failed(CODE.DEADLINE_EXCEEDED, "x"), Unavailable, "h:1 did not answer in time", True),
        (Failed(CODE.CANCELLED, "CANCELLED"), Unavailable, "h:1 broke the call off", True),
        (Failed(CODE.UNIMPLEMENTED, "x"), Unavailable, "does not offer this call", False),
        (Failed(CODE.UNAUTHENTICATED, "who?"), Unauthenticated, "h:1 refuses access: who", False),
        (Failed(CODE.NOT_FOUND, "no such thing"), NotFound, "no such thing", False),
        (Failed(CODE.INTERNAL, "boom"), ZooError, "the server h:1 failed: boom", False),
        (Failed(CODE.INTERNAL, "Received RST_STREAM"), ZooError, "RST_STREAM", True),
        (detailed(CODE.UNAVAILABLE, "store", kind="StoreUnsafe", reason="R"), StoreUnsafe, "store", False),
        (detailed(CODE.UNAVAILABLE, "disk", kind="StoreError", reason="R"), StoreError, "disk", True),
        (detailed(CODE.INTERNAL, "disk", kind="StoreError", reason="R"), StoreError, "disk", False),
        (detailed(CODE.UNAVAILABLE, "busy", kind="Unavailable", reason="R"), Unavailable, "busy", True),
        (detailed(CODE.INTERNAL, "disk", kind="LocalFailure", reason="R"), Unavailable, "server cannot do this", False),
        (detailed(CODE.INVALID_ARGUMENT, "bad", kind="ItemsError", reason="R"), DataError, "bad", False),
        (detailed(CODE.NOT_FOUND, "gone", kind="FromTheFuture", reason="R"), NotFound, "gone", False),
        (detailed(CODE.NOT_FOUND, "x", kind="DataError", reason="R", domain="other.com"), NotFound, "x", False),
        (Failed(CODE.NOT_FOUND, "x", (("grpc-status-details-bin", b"\xff\xff"),)), NotFound, "x", False),
    ],
)
def test_statuses(failed: Failed, kind: type[ZooError], message: str, transient: bool) -> None:
    error = from_rpc_error(failed, server="h:1")
    assert type(error) is kind
    assert message in error.message
    assert is_transient(failed) is transient


def test_details_carry_reason_and_hint() -> None:
    error = from_rpc_error(detailed(CODE.NOT_FOUND, "gone", kind="NotFound", reason="FAMILY_GONE"), server="h:1")
    assert (error.reason, error.hint) == ("FAMILY_GONE", "do this")


def test_selection_errors() -> None:
    message = selection_pb2.SelectionError
    assert type(selection_error(message(kind="IntegrityError", reason="INTEGRITY", message="m"))) is IntegrityError
    assert type(selection_error(message(kind="SomethingNew", reason="SOMETHING_NEW", message="m"))) is ZooError
    fault = selection_pb2.ItemFault(index=3, message="cut off")
    error = selection_error(message(reason="IMAGE", message="1 bad image", items=[fault]), where="a.png (cut off)")
    assert isinstance(error, ItemsError)
    assert (error.message, error.faults) == ("1 bad image: a.png (cut off)", {3: "cut off"})


def test_wire_data_that_do_not_add_up() -> None:
    with pytest.raises(IntegrityError):
        profile_view(catalog_pb2.Profile(family="f", tags=["a"], accuracy=[0.5, 0.5]))
    with pytest.raises(IntegrityError):
        selection_report(selection_pb2.SelectionReport())


@pytest.mark.parametrize(
    "text", ["", "f", "f/", "/t", "f@/t", "../x/t", "f/../../etc", "f/t/u", "f@a/b/c", "f@../t", "-f/t"]
)
def test_names_that_could_leave_the_cache(text: str) -> None:
    with pytest.raises(RequestError):
        VariantName.parse(text)


def test_names() -> None:
    assert str(VariantName.parse("f/t")) == "f/t"
    assert VariantName.parse("f@stable/t") == VariantName("f", "stable", "t")


def variant(**changed: Any) -> VariantView:
    fields = {
        "name": "f/t", "family": "f", "tag": "t", "release": "R1", "model_size": 3, "model_sha256": "a" * 64,
        "seeds": {}, "held_out_accuracy": 0.9,
    }  # fmt: skip
    return VariantView(**{**fields, **changed})


@pytest.mark.parametrize("changed", [{"tag": "../t"}, {"release": "a/b"}, {"model_sha256": "../../x"}, {"family": ""}])
def test_a_server_cannot_name_files_outside_the_cache(changed: dict[str, str]) -> None:
    with pytest.raises(IntegrityError):
        CachedModel.of(variant(**changed))


def test_cache_resolves_aliases_and_releases(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "home")
    content = b"one"
    sha256 = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    cache.make_folders()
    cache.model_path(sha256).write_bytes(content)
    cache.remember(CachedModel.of(variant(model_sha256=sha256)), asked=VariantName.parse("f@canary/t"))
    assert cache.resolve(VariantName.parse("f@canary/t")) == cache.model_path(sha256)
    assert cache.resolve(VariantName.parse("f@R1/t")) == cache.model_path(sha256)
    with pytest.raises(NotFound) as caught:
        cache.resolve(VariantName.parse("f/t"))
    assert "f@R1/t" in caught.value.hint
    cache.model_path(sha256).write_bytes(b"two")
    with pytest.raises(IntegrityError, match="damaged"):
        cache.resolve(VariantName.parse("f@R1/t"))
    assert not cache.model_path(sha256).exists()


def test_copies_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "m"
    source.write_bytes(b"model")
    name = VariantName.parse("f/t")
    assert copy_model(source, tmp_path, name=name) == tmp_path / "f-t.onnx"
    target = tmp_path / "sub"
    target.mkdir()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(LocalFailure, match="disk is full") as caught:
        copy_model(source, target / "x.onnx", name=name)
    assert caught.value.reason == "DISK_FULL"
    assert list(target.iterdir()) == []


def test_differences_are_sorted_and_cautious() -> None:
    rows = differences({"a": (0.9, 100), "b": (0.5, 10_000), "only": (1.0, 10)}, {"a": (0.8, 100), "b": (0.6, 10_000)})
    assert [row.condition for row in rows] == ["a", "b"]
    # z for two intervals jointly is 2.2414; p = .8922 and .7941 after smoothing, .5000 and .6000.
    assert rows[0].margin == pytest.approx(2.2414 * ((0.8922 * 0.1078 + 0.7941 * 0.2059) / 100) ** 0.5, rel=1e-3)
    assert [row.clear for row in rows] == [False, True]
    assert rows[1].difference == pytest.approx(-0.1)


def test_wilson_by_hand() -> None:
    # n = 10, 8 right, z = 1.96: (.8 + .19207) / 1.38415 = .71674, half = .22651
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert wilson(0, 10)[0] == pytest.approx(0.0)
