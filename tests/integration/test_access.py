"""Who may do what: tokens, roles, tenants and TLS on a real server."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from real_server import METHODS, Caller, examples, fault, serving, small_store

from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.publish import publish
from seedzoo.errors import LocalFailure, NotFound, RequestError, Unauthenticated, Unavailable, ZooError
from seedzoo.starter import starter_bundle
from seedzoo_client import Client, cli
from seedzoo_client.bearer import Bearer
from seedzoo_client.channel import open_channel, parse_address
from seedzoo_client.settings import TLSConfig
from seedzoo_protos.v1 import dataset_pb2, selection_pb2
from seedzoo_server import tokens as tokens_module
from seedzoo_server.tenants import Tenants
from seedzoo_server.tokens import Tokens

AWAITING = selection_pb2.SELECTION_STATE_AWAITING_LABELS
SUCCEEDED = selection_pb2.SELECTION_STATE_SUCCEEDED
ADMITTED = (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
"""What an empty request comes to, once it is past the border."""
NEVER = {"dataset_id": f"ds-{'0' * 32}", "selection_id": f"sel-{'0' * 32}"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    return small_store(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def tokens(store: MemoryStore) -> Tokens:
    return Tokens(store)


@pytest.fixture(scope="module")
def port(store: MemoryStore) -> Iterator[int]:
    with serving(store, auth="tokens") as found:
        yield found


@pytest.fixture(scope="module")
def channel(port: int) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened


@pytest.fixture
def caller_of(channel: grpc.Channel, tokens: Tokens) -> Callable[..., Caller]:
    def make(tenant: str = "acme", role: str = "selector", **more: Any) -> Caller:
        return with_token(channel, tokens.create(tenant, role, **more)[0])

    return make


def with_token(channel: grpc.Channel, token: str) -> Caller:
    return Caller(channel, (("authorization", f"Bearer {token}"),))


def refusal(caller: Caller, name: str, /, **fields: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        caller(name, **fields)
    return fault(caught.value)


def expired(store: MemoryStore, tokens: Tokens) -> str:
    """A token whose time is over."""
    text, _ = tokens.create("acme", "admin", expires_in=timedelta(days=1))
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="seconds")
    change(store, text, lambda raw: raw.replace(json.loads(raw)["expires"].encode(), past.encode()))
    return text


def key_of(text: str) -> str:
    return tokens_module._key(text.split(".")[1], tokens_module._digest(text))


def change(store: MemoryStore, text: str, edit: Callable[[bytes], bytes]) -> None:
    store.put(key_of(text), edit(store.get(key_of(text))))


@pytest.mark.parametrize("name", METHODS)
def test_no_call_without_a_valid_token(name: str, channel: grpc.Channel, store: MemoryStore, tokens: Tokens) -> None:
    valid, _ = tokens.create("acme", "admin")
    other, _ = tokens.create("other", "admin")
    secret = valid.split(".")[2]
    fixed = {
        "none": (),
        "empty": (("authorization", ""),),
        "no scheme": (("authorization", valid),),
        "basic": (("authorization", f"Basic {valid}"),),
        "no token": (("authorization", "Bearer  "),),
        "twice": (("authorization", f"Bearer {valid}"), ("authorization", f"Bearer {valid}")),
        "other header": (("x-authorization", f"Bearer {valid}"),),
    }
    wrong = {
        "rubbish": "rubbish",
        "cut off": valid[:-1],
        "longer": f"{valid}x",
        "in capitals": valid.upper(),
        "of another tenant": f"zoo.other.{secret}",
        "of no tenant": f"zoo..{secret}",
        "climbing": f"zoo.../acme.{secret}",
        "hash for text": f"zoo.acme.{tokens_module._digest(valid)}",
        "long": "zoo.acme." + "x" * 5000,
        "expired": expired(store, tokens),
    }
    revoked, record = tokens.create("acme", "admin")
    assert tokens.revoke("acme", record.id).id == record.id
    wrong["revoked"] = revoked
    cases = {**fixed, **{what: (("authorization", f"Bearer {text}"),) for what, text in wrong.items()}}
    told = set()
    for what, metadata in cases.items():
        code, reason, message = refusal(Caller(channel, metadata), name)
        assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"), what
        assert not any(text in message for text in [secret, other, *wrong.values()])
        if what in wrong:
            told.add(message)
    assert len(told) == 1  # nobody learns which of them was once valid
    # Rubbish as request is not looked at before it is known who sends it.
    with pytest.raises(grpc.RpcError) as caught:
        Caller(channel).raw(name, [b"\xff\xff\xff"])
    assert fault(caught.value)[0] is grpc.StatusCode.UNAUTHENTICATED
    # The scheme is the same in any case, and each role that may call gets past the border.
    assert Caller(channel, (("authorization", f"bearer {valid}"),)).code(name) in ADMITTED


@pytest.mark.parametrize("name", METHODS)
def test_readers_browse_and_no_more(name: str, caller_of: Callable[..., Caller]) -> None:
    reader = caller_of(role="reader")
    if METHODS[name].containing_service.name == "CatalogService":
        assert reader.code(name) in ADMITTED
        return
    code, reason, message = refusal(reader, name)
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert "selector" in message
    assert "reader" in message
    for role in ("selector", "publisher", "admin"):
        assert caller_of(role=role).code(name) in ADMITTED


def test_a_revoked_token_ends_within_the_time_that_is_promised(
    channel: grpc.Channel, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, record = tokens.create("acme", "reader")
    caller = with_token(channel, text)
    caller("ListFamilies")
    tokens.revoke("acme", record.id[:8])
    caller("ListFamilies")  # still remembered
    now = tokens_module.time.monotonic()
    monkeypatch.setattr(tokens_module.time, "monotonic", lambda: now + tokens_module.REMEMBERED_S)
    assert refusal(caller, "ListFamilies")[0] is grpc.StatusCode.UNAUTHENTICATED


def test_a_token_expires_also_while_it_is_remembered(channel: grpc.Channel, store: MemoryStore, tokens: Tokens) -> None:
    text, record = tokens.create("acme", "reader", expires_in=timedelta(days=1))
    caller = with_token(channel, text)
    soon = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
    change(store, text, lambda raw: raw.replace(record.expires.encode(), soon.encode()))
    caller("ListFamilies")
    while datetime.now(UTC) <= datetime.fromisoformat(soon):
        pass
    assert refusal(caller, "ListFamilies")[0] is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "edit",
    [
        lambda raw: b"{",
        lambda raw: raw.replace(b'"admin"', b'"root"'),
        lambda raw: raw.replace(b'"acme"', b'"other"'),
        lambda raw: raw.replace(b'"expires": ""', b'"expires": "tomorrow"'),
        lambda raw: raw.replace(b'"expires": ""', b'"expires": "2099-01-01"'),
    ],
)
def test_a_token_whose_record_was_tampered_with_opens_nothing(
    edit: Callable[[bytes], bytes], channel: grpc.Channel, store: MemoryStore, tokens: Tokens
) -> None:
    text, record = tokens.create("acme", "admin")
    before = store.get(key_of(text))
    change(store, text, edit)
    assert store.get(key_of(text)) != before
    code, _, message = refusal(with_token(channel, text), "ListFamilies")
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert "tokens/" not in message
    assert record.id in {each.id for each in tokens.all("acme")}  # it can be seen,
    assert tokens.revoke("acme", record.id).id == record.id  # and removed


def test_a_store_that_fails_lets_nobody_in(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(MemoryStore):
        def get(self, key: str) -> bytes:
            if "/tokens/" in key:
                raise LocalFailure(f"cannot read {key} on bucket-7")
            return super().get(key)

    failing = Failing()
    text, _ = Tokens(failing).create("acme", "admin")
    with serving(failing, auth="tokens") as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        code, reason, message = refusal(with_token(channel, text), "ListFamilies")
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_FAILED")
    assert "bucket-7" not in message


def test_what_a_store_says_of_its_objects_is_for_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Losing(LocalStore):
        """As if somebody deleted what has just been listed."""

        def get(self, key: str) -> bytes:
            return super().get(key + "-gone" if "/items/" in key else key)

    item = dataset_pb2.ItemDescriptor(index=0, sha256=bytes(32), size=1)
    with serving(LocalStore(tmp_path / "bucket-7")) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        caller = Caller(channel)
        dataset = caller("CreateDataset", request_id="x", classes=["a"], item_count=1).id
        caller("AppendItems", dataset_id=dataset, items=[item])
    # Another server: the first one remembers what it wrote.
    with serving(Losing(tmp_path / "bucket-7")) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        code, reason, message = refusal(Caller(channel), "ListMissing", dataset_id=dataset)
    assert (code, reason) == (grpc.StatusCode.ABORTED, "CONFLICT")
    assert "bucket-7" not in message
    assert "tenants/" not in message
    assert "bucket-7" in caplog.text


def test_health_and_reflection_are_open(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    answers = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    assert "seedzoo.v1.SelectionService" in str(next(answers))
    for unknown in ("/seedzoo.v1.CatalogService/Nothing", "/seedzoo.v1.Nothing/GetFamily", "/grpc.Nothing/X"):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(unknown)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_without_tokens_a_token_changes_nothing(store: MemoryStore, tokens: Tokens) -> None:
    text, _ = tokens.create("acme", "reader")
    with serving(store) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for caller in (Caller(channel), with_token(channel, text), with_token(channel, "rubbish")):
            dataset = caller("CreateDataset", request_id="same", classes=["a"], item_count=1)
            assert caller("GetDataset", dataset_id=dataset.id).item_count == 1


class Own:
    """What one tenant has: a dataset, a selection with a result, and one that awaits labels."""

    def __init__(self, caller: Caller, request_id: str) -> None:
        self.caller = caller
        self.classes = list(caller("GetFamily", name="mini").task.classes)
        self.contents, self.labels = examples(self.classes, per_class=3)
        self.dataset = caller.upload(self.contents, self.labels, self.classes, request_id=request_id)
        self.selection = caller.start(self.dataset, request_id=request_id).id
        self.labelling = caller.start(
            self.dataset, request_id=f"{request_id}-labels", labelling=selection_pb2.Labelling(audit=3)
        ).id
        assert caller.settled(self.selection).state == SUCCEEDED
        assert caller.settled(self.labelling).state == AWAITING


@pytest.fixture(scope="module")
def own(channel: grpc.Channel, tokens: Tokens) -> Own:
    return Own(with_token(channel, tokens.create("owner", "selector")[0]), "one")


BY_ID = [
    (name, field.name) for name, method in METHODS.items() for field in method.input_type.fields if field.name in NEVER
]


def with_id(own: Own, name: str, **ids: str) -> dict[str, Any]:
    """Fields of a request that is right but for whose id it names."""
    item = dataset_pb2.ItemDescriptor(index=0, sha256=bytes(32), size=1)
    more: dict[str, dict[str, Any]] = {
        "AppendItems": {"items": [item]},
        "UploadItems": {"index": 0, "data": own.contents[0]},
        "StartSelection": {"request_id": uuid.uuid4().hex, "family": "mini"},
        "SubmitLabels": {"labels": [selection_pb2.ItemLabel(index=0, label=0)], "finish": True},
    }
    return {**more.get(name, {}), **ids}


def test_every_call_that_takes_an_id_is_tried() -> None:
    assert {name for name, _ in BY_ID} == {
        "AppendItems", "ListMissing", "UploadItems", "GetDataset", "DeleteDataset", "StartSelection",
        "WatchSelection", "GetSelection", "CancelSelection", "NextItems", "SubmitLabels",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "field"), BY_ID)
def test_what_another_tenant_has_does_not_exist(
    name: str, field: str, own: Own, caller_of: Callable[..., Caller]
) -> None:
    stranger = caller_of("stranger", "admin")
    never = refusal(stranger, name, **with_id(own, name, **{field: NEVER[field]}))
    assert never[0] is grpc.StatusCode.NOT_FOUND
    assert never[1] in ("DATASET_UNKNOWN", "SELECTION_UNKNOWN")
    for foreign in {"dataset_id": [own.dataset], "selection_id": [own.selection, own.labelling]}[field]:
        code, reason, message = refusal(stranger, name, **with_id(own, name, **{field: foreign}))
        assert (code, reason) == never[:2]
        assert message.replace(foreign, NEVER[field]) == never[2]
    for spelled in (f"../owner/datasets/{own.dataset}", f"{own.dataset}/../{own.dataset}", own.dataset.upper(), "",
                    f"tenants/owner/datasets/{own.dataset}", f"{own.dataset}\0", f"{own.dataset}\n"):  # fmt: skip
        assert refusal(stranger, name, **with_id(own, name, **{field: spelled}))[:2] == never[:2]
    # Nothing has changed for the owner.
    assert own.caller("GetDataset", dataset_id=own.dataset).received_count == len(own.contents)
    assert own.caller("GetSelection", selection_id=own.selection).state == SUCCEEDED
    assert own.caller("GetSelection", selection_id=own.labelling).state == AWAITING


def test_listings_show_ones_own(own: Own, caller_of: Callable[..., Caller]) -> None:
    stranger = caller_of("stranger", "admin")
    assert list(stranger("ListSelections").selections) == []
    assert {each.id for each in own.caller("ListSelections").selections} == {own.selection, own.labelling}
    other = caller_of("owner", "selector")  # another token of the same tenant
    assert {each.id for each in other("ListSelections").selections} == {own.selection, own.labelling}


def test_one_request_id_in_two_tenants_and_deletion(
    channel: grpc.Channel, store: MemoryStore, tokens: Tokens, caller_of: Callable[..., Caller]
) -> None:
    left, right = (Own(caller_of(tenant), "the same") for tenant in ("left", "right"))
    # The same names, and yet each its own: names say nothing of tenants.
    assert (left.dataset, left.selection, left.labelling) == (right.dataset, right.selection, right.labelling)
    fewer = left.caller.upload(left.contents[:5], left.labels[:5], left.classes, request_id="fewer")
    more = right.caller.upload(right.contents, right.labels, right.classes, request_id="fewer")
    assert fewer == more
    assert left.caller("GetDataset", dataset_id=fewer).item_count == 5
    assert right.caller("GetDataset", dataset_id=fewer).item_count == len(right.contents)
    for item in left.caller("NextItems", selection_id=left.labelling).items:
        label = selection_pb2.ItemLabel(index=item.index, label=left.labels[item.index])
        left.caller("SubmitLabels", selection_id=left.labelling, labels=[label])
    assert left.caller("NextItems", selection_id=left.labelling).labelled_count == 3
    assert right.caller("NextItems", selection_id=right.labelling).labelled_count == 0
    right.caller("CancelSelection", selection_id=right.labelling)
    assert left.caller("GetSelection", selection_id=left.labelling).state == AWAITING
    left.caller("DeleteDataset", dataset_id=left.dataset)
    left.caller("DeleteDataset", dataset_id=fewer)
    for name, fields in (
        ("GetDataset", {"dataset_id": left.dataset}),
        ("GetSelection", {"selection_id": left.selection}),
    ):
        assert refusal(left.caller, name, **fields)[0] is grpc.StatusCode.NOT_FOUND
    assert {info.key.split("/")[2] for info in store.list("tenants/left")} == {"tokens"}  # nothing else is left
    assert right.caller("GetSelection", selection_id=right.selection).report.n_examples == len(right.contents)
    assert right.caller("GetDataset", dataset_id=right.dataset).received_count == len(right.contents)


def test_tokens_are_in_no_log_and_no_error(
    channel: grpc.Channel, store: MemoryStore, tokens: Tokens, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    valid, _ = tokens.create("acme", "admin")
    wrong, late = f"{valid[:-4]}XXXX", expired(store, tokens)
    damaged, _ = tokens.create("acme", "admin")
    change(store, damaged, lambda raw: b"{")

    def broken(self: Tenants, name: str) -> Any:
        raise RuntimeError("a bug")

    with caplog.at_level(logging.DEBUG):
        for text in (valid, wrong, late, damaged, f"zoo.Acme.{valid[9:]}"):
            for name in ("ListFamilies", "GetDataset", "UploadItems"):
                with suppress(grpc.RpcError):
                    with_token(channel, text)(name)
        monkeypatch.setattr(Tenants, "of", broken)
        with pytest.raises(grpc.RpcError) as caught:
            with_token(channel, valid)("GetDataset", dataset_id=NEVER["dataset_id"])
        assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "a bug" in caplog.text
    for text in (valid, wrong, late, damaged):
        assert text[-12:] not in caplog.text
        assert not any(text.encode() in store.get(info.key) for info in store.list("tenants"))
    assert valid[-12:] not in repr(tokens.all("acme"))


def test_folders_that_are_no_tenants_stop_nobody(store: MemoryStore) -> None:
    stray = MemoryStore()
    stray.put("tenants/lost+found/x", b"")
    stray.put("tenants/Acme/queue/sel-0", b"")
    stray.put("tenants/acme/tokens/x.json", b"{}")
    assert Tenants(stray, max_items=1, max_item_bytes=1).names() == ["acme"]
    with serving(stray) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert list(Caller(channel)("ListFamilies").families) == []


# --- the client -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "server",
    [
        "zoo.example.com",
        "10.0.0.7:7316",
        "http://[2001:db8::1]:7316",
        "0.0.0.0:7316",
        "127.0.0.1.example.com",
    ],
)
def test_the_client_sends_no_token_unencrypted_to_another_machine(server: str) -> None:
    with pytest.raises(RequestError, match="unencrypted") as caught:
        open_channel(parse_address(server), tls=None, token="zoo.acme.secret")
    assert "secret" not in str(caught.value)
    open_channel(parse_address(server), tls=TLSConfig(), token="zoo.acme.secret").close()


@pytest.mark.parametrize("token", ["", " ", "a b", "zoo.acme.secret\nx: y", "zoo.acme.sécret", "zoo.acme.\0secret"])
def test_texts_that_are_no_tokens_are_refused_before_grpc_shows_them(token: str) -> None:
    with pytest.raises(RequestError) as caught:
        Bearer(token)
    assert "cret" not in f"{caught.value}{caught.value.hint}"


def test_blanks_around_a_token_do_not_count(port: int, tokens: Tokens) -> None:
    with Client(f"127.0.0.1:{port}", token=f" {tokens.create('acme', 'reader')[0]}\r\n", offline=False) as client:
        assert [family.name for family in client.families()] == ["mini"]


def test_the_client_sends_its_token_on_every_kind_of_call(port: int, tokens: Tokens, tmp_path: Path) -> None:
    text, _ = tokens.create("client", "selector")
    with Client(f"127.0.0.1:{port}", token=text, home=tmp_path, offline=False) as client:
        folder = Path(__file__).resolve().parents[2] / "examples" / "mydata"
        report = client.select(folder, family="mini")  # unary calls, an upload stream and a watch stream
        client.download(report.recommended, to=tmp_path / "model.onnx")  # a download stream
        assert client.last_dataset_id is not None
        client.delete_dataset(client.last_dataset_id)
    with Client(f"127.0.0.1:{port}", home=tmp_path / "other", offline=False) as nobody:
        for attempt in (nobody.families, lambda: nobody.download("mini/s000", to=tmp_path / "b.onnx"),
                        lambda: nobody.select(folder, family="mini")):  # fmt: skip
            with pytest.raises(Unauthenticated, match="wants an access token"):
                attempt()


# --- TLS --------------------------------------------------------------------------------------------------------


class Files:
    """Certificates as files."""

    def __init__(self, folder: Path) -> None:
        self.authority, other = trustme.CA(), trustme.CA()
        self.ca, self.other_ca = folder / "ca.pem", folder / "other-ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        other.cert_pem.write_to_path(self.other_ca)
        self.certificate, self.key = self._issue(self.authority, folder / "server", "localhost", "127.0.0.1")
        self.client = self._issue(self.authority, folder / "client", "someone@example.com")
        self.foreign = self._issue(other, folder / "foreign", "someone@example.com")

    @staticmethod
    def _issue(authority: trustme.CA, stem: Path, *names: str) -> tuple[Path, Path]:
        issued = authority.issue_cert(*names)
        certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        for blob in issued.cert_chain_pems:
            blob.write_to_path(certificate, append=True)
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    @property
    def settings(self) -> dict[str, Path]:
        return {"tls_certificate": self.certificate, "tls_key": self.key}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certificates"))


def families(server: str, tls: TLSConfig | None, token: str | None = None) -> list[str]:
    with Client(server, tls=tls, token=token, timeout=10, offline=False) as client:
        return [family.name for family in client.families()]


def test_tls(store: MemoryStore, tokens: Tokens, files: Files) -> None:
    text, _ = tokens.create("acme", "reader")
    with serving(store, auth="tokens", **files.settings) as port:
        server = f"https://localhost:{port}"
        assert families(server, TLSConfig(ca=files.ca), text) == ["mini"]
        with pytest.raises(Unauthenticated):
            families(server, TLSConfig(ca=files.ca))
        for address, tls in (
            (server, TLSConfig(ca=files.other_ca)),
            (server, None),  # the system's authorities do not know ours
            (f"localhost:{port}", None),  # no TLS at all
        ):
            with pytest.raises(Unavailable) as caught:
                families(address, tls)
            assert "\n" not in caught.value.message
            assert caught.value.hint


def test_mutual_tls(store: MemoryStore, files: Files) -> None:
    with serving(store, tls_client_ca=files.ca, **files.settings) as port:
        server = f"https://localhost:{port}"

        def shown(pair: tuple[Path, Path]) -> TLSConfig:
            return TLSConfig(ca=files.ca, client_certificate=pair[0], client_key=pair[1])

        assert families(server, shown(files.client)) == ["mini"]
        for tls in (TLSConfig(ca=files.ca), shown(files.foreign)):
            with pytest.raises(Unavailable) as caught:
                families(server, tls)
            assert "\n" not in caught.value.message


def test_tls_settings_that_cannot_work_are_refused_at_once(files: Files, tmp_path: Path) -> None:
    rubbish, hollow = tmp_path / "rubbish.pem", tmp_path / "hollow.pem"
    rubbish.write_text("rubbish")
    hollow.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    locked = tmp_path / "locked.key"
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    locked.write_bytes(
        load_pem_private_key(files.key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    right = files.settings
    for settings, field in (
        ({"tls_certificate": files.certificate}, "tls_certificate"),
        ({"tls_key": files.key}, "tls_certificate"),
        ({"tls_client_ca": files.ca}, "tls_certificate"),
        ({**right, "tls_certificate": rubbish}, "tls_certificate"),
        ({**right, "tls_key": rubbish}, "tls_key"),
        ({**right, "tls_key": files.client[1]}, "tls_key"),
        ({**right, "tls_key": locked}, "tls_key"),
        ({**right, "tls_certificate": hollow}, "tls_key"),
        ({**right, "tls_client_ca": rubbish}, "tls_client_ca"),
        ({**right, "tls_client_ca": hollow}, "tls_client_ca"),
    ):
        with pytest.raises(RequestError) as caught, serving(MemoryStore(), **settings):
            pass
        assert caught.value.field == field
    with (
        pytest.raises(LocalFailure, match="cannot read"),
        serving(MemoryStore(), **{**right, "tls_key": tmp_path / "no"}),
    ):
        pass


# --- the command line -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


def zoo(*arguments: str | Path, code: int = 0, **environment: str) -> Done:
    """Run a command in this process: each of its own would take seconds to start."""
    stdout, stderr = io.StringIO(), io.StringIO()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEEDZOO_")}
    with (
        mock.patch.dict(os.environ, {**kept, "SEEDZOO_CONFIG": os.devnull, **environment}, clear=True),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        found = cli.main([str(each) for each in arguments], standalone_mode=False)
    done = Done(stdout.getvalue(), stderr.getvalue())
    assert found == code, f"{arguments}: {found}\n{done.stdout}\n{done.stderr}"
    return done


def test_zoo_with_tls_and_a_token(store: MemoryStore, tokens: Tokens, files: Files) -> None:
    text, _ = tokens.create("acme", "reader")
    with serving(store, auth="tokens", **files.settings) as port:
        server = ("--server", f"https://localhost:{port}")
        trust = {"SEEDZOO_CA": str(files.ca)}
        found = zoo("families", *server, "--json", SEEDZOO_TOKEN=text, **trust)
        assert json.loads(found.stdout)["families"][0]["name"] == "mini"
        wrong = f"{text[:-4]}XXXX"
        refused = zoo("families", *server, "--debug", code=12, SEEDZOO_TOKEN=wrong, **trust)
        assert "Traceback" in refused.stderr
        assert "not valid" in refused.stderr
        assert wrong[-12:] not in refused.stdout + refused.stderr
        assert "SEEDZOO_TOKEN" in zoo("families", *server, code=12, **trust).stderr
        for bad in ("two words", "new\nline", "ümlaut"):
            refused = zoo("families", *server, "--debug", code=3, SEEDZOO_TOKEN=f"{text}{bad}", **trust)
            assert text[-12:] not in refused.stdout + refused.stderr
    refused = zoo("families", "--server", "zoo.example.com", "--debug", code=3, SEEDZOO_TOKEN=text)
    assert "unencrypted" in refused.stderr
    assert text[-12:] not in refused.stderr


def test_zoo_token(tmp_path: Path) -> None:
    kept = ("--store", str(tmp_path / "store"))
    made = zoo("token", "create", *kept, "--note", "for CI", "--expires-days", "30", COLUMNS="40")
    text = made.stdout.strip()
    assert text.startswith("zoo.default.")
    assert "\n" not in text
    assert text not in made.stderr
    assert (tmp_path / "store").as_uri() in made.stderr
    told = json.loads(zoo("token", "create", *kept, "--role", "reader", "--tenant", "acme", "--json").stdout)
    assert told["role"] == "reader"
    assert told["token"].startswith("zoo.acme.")
    assert told["expires"] is None
    tokens = Tokens(LocalStore(tmp_path / "store"))
    assert tokens.identity(text).tenant == "default"
    listed = zoo("token", "list", *kept)
    assert "for CI" in listed.stdout
    assert "selector" in listed.stdout
    assert text[-12:] not in listed.stdout
    (record,) = json.loads(zoo("token", "list", *kept, "--tenant", "acme", "--json").stdout)
    assert record["id"] == told["id"]
    assert told["token"] not in json.dumps(record)
    assert json.loads(zoo("token", "list", *kept, "--tenant", "none", "--json").stdout) == []
    assert "no tokens" in zoo("token", "list", *kept, "--tenant", "none").stderr
    assert "zoo token list" in zoo("token", "revoke", "zzzz", *kept, code=4).stderr
    assert told["id"] in zoo("token", "revoke", told["token"], *kept).stdout  # by its text: it names its tenant
    missing = zoo("token", "revoke", told["token"], *kept, "--json", code=4)
    assert told["token"][-12:] not in missing.stdout + missing.stderr
    mine = tokens.all("default")[0].id
    assert json.loads(zoo("token", "revoke", mine, *kept, "--json", SEEDZOO_SERVER_STORE="x").stdout)["id"] == mine
    with pytest.raises(Unauthenticated):
        Tokens(LocalStore(tmp_path / "store")).identity(text)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["create", "--store", "memory://"], 3, "gone at once"),
        (["create", "--store", "{store}", "--tenant", "Acme"], 3, "lower case"),
        (["create", "--store", "{store}", "--tenant", "../acme"], 3, "no tenant"),
        (["create", "--store", "{store}", "--note", "a\x1b[2Jb"], 3, "printable"),
        (["create", "--store", "{store}", "--note", "x" * 201], 3, "200 characters"),
        (["create", "--store", "{store}", "--role", "root"], 2, "root"),
        (["create", "--store", "{store}", "--expires-days", "0"], 2, "expires-days"),
        (["create"], 2, "--store"),
        (["revoke", "", "--store", "{store}"], 4, "no token"),
        (["list", "--store", "s3://"], 3, "no bucket"),
    ],
)
def test_zoo_token_misused(arguments: list[str], code: int, words: str, tmp_path: Path) -> None:
    done = zoo("token", *(each.format(store=tmp_path / "store") for each in arguments), code=code)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()


def test_ambiguous_digits_revoke_nothing() -> None:
    store = MemoryStore()
    tokens = Tokens(store)
    while len({record.id[0] for record in tokens.all("acme")}) == len(tokens.all("acme")):
        tokens.create("acme", "reader")
    firsts = [record.id[0] for record in tokens.all("acme")]
    repeated = next(first for first in firsts if firsts.count(first) > 1)
    with pytest.raises(RequestError, match="fits 2"):
        tokens.revoke("acme", repeated)
    assert len(tokens.all("acme")) == len(firsts)
    with pytest.raises(NotFound):
        tokens.revoke("other", repeated)


def test_zoo_serve_refuses_to_be_open_to_all(tmp_path: Path) -> None:
    publish(LocalStore(tmp_path / "store"), starter_bundle())
    serve = ("serve", "--store", tmp_path / "store", "--host", "0.0.0.0", "--port", "0")
    refused = zoo(*serve, code=3)
    assert "refusing to listen on 0.0.0.0" in refused.stderr
    assert "--auth tokens" in refused.stderr
    process = subprocess.Popen(
        [sys.executable, "-m", "seedzoo_client", *map(str, serve), "--auth", "tokens", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            if line.startswith("}"):
                break
        port = json.loads(text)["address"].rpartition(":")[2]
        token = zoo("token", "create", "--store", tmp_path / "store", "--quiet").stdout.strip()
        assert "fashion-cnn" in zoo("families", "--server", f"127.0.0.1:{port}", SEEDZOO_TOKEN=token).stdout
        zoo("families", "--server", f"127.0.0.1:{port}", code=12)
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def test_errors_fit_into_an_answer() -> None:
    """Clients take 8 KiB of metadata: a longer text would arrive as another error."""
    from seedzoo_server.border import status_of

    long = ZooError("é" * 100_000, hint="日本" * 50_000, field="classes")
    status = status_of(long)[1]
    assert 3 * len(status.message.encode()) + 4 / 3 * len(status.SerializeToString()) < 8192
    assert status.message.endswith("…")
    assert status_of(ZooError("é" * 400))[1].message == "é" * 400
