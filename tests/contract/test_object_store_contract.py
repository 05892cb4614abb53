"""What every object store must do, checked on each of them, where possible by a second path."""

from __future__ import annotations

import hashlib
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session

from seedzoo.catalog.integrity import get_verified, sha256_file, sha256_hex, stream_verified
from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.open import open_store, require_conditional_writes
from seedzoo.catalog.s3 import S3Store
from seedzoo.catalog.scoped import ScopedStore
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import (
    Conflict,
    IntegrityError,
    LocalFailure,
    NotFound,
    RequestError,
    StoreError,
    StoreUnsafe,
)
from seedzoo_server.embedded_s3 import EmbeddedS3

CONTENT = bytes(range(256)) * 40
UNICODE_KEYS = [
    "a b",
    "ä/ö/ü",
    "snow/☃",
    "emoji/😀",
    "plus+and%20",
    "quote'\"&<>",
    "q?x=1#y",
    "tilde~!$()*,;:@=",
]


class ObjectStoreContract:
    """Subclasses give a fixture ``store`` (empty) and ``peek``, which reads an object by another way."""

    rounds = 10

    @pytest.fixture
    def peek(self, store: ObjectStore) -> Callable[[str], bytes]:
        raise NotImplementedError

    def test_is_an_object_store_without_secrets_in_sight(self, store: ObjectStore) -> None:
        assert isinstance(store, ObjectStore)
        assert "secret" not in repr(store) + store.url

    def test_put_then_get(self, store: ObjectStore, peek: Callable[[str], bytes]) -> None:
        etag = store.put("a/b/c", CONTENT)
        assert store.get("a/b/c") == CONTENT == peek("a/b/c")
        assert store.get_with_etag("a/b/c") == (CONTENT, etag)
        info = store.head("a/b/c")
        assert (info.key, info.size, info.etag) == ("a/b/c", len(CONTENT), etag)
        assert info.modified.tzinfo is UTC
        assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=2)
        assert [info] == [*store.list("")]
        assert store.exists("a/b/c")

    def test_overwrite_changes_the_etag(self, store: ObjectStore, peek: Callable[[str], bytes]) -> None:
        assert store.put("k", b"one") != store.put("k", b"two")
        assert store.get("k") == b"two" == peek("k")
        assert len([*store.list("")]) == 1

    def test_missing_object(self, store: ObjectStore) -> None:
        store.put("there/x", b"x")
        reads: list[Callable[[str], object]] = [
            store.get,
            store.get_with_etag,
            store.head,
            lambda key: store.get_range(key, 0, 1),
            lambda key: store.get_range(key, 0, 0),
            lambda key: [*store.read_stream(key)],
        ]
        for key in ("gone", "there", "there/x/y", "there/y"):
            assert not store.exists(key)
            for read in reads:
                with pytest.raises(NotFound) as caught:
                    read(key)
                assert caught.value.reason == "OBJECT_NOT_FOUND"
                assert key in caught.value.message

    def test_empty_object(self, store: ObjectStore, peek: Callable[[str], bytes]) -> None:
        etag = store.put("empty", b"")
        assert store.get_with_etag("empty") == (b"", etag)
        assert store.head("empty").size == 0
        assert store.get_range("empty", 0, 5) == b""
        assert [*store.read_stream("empty")] == []
        assert peek("empty") == b""

    @pytest.mark.parametrize(
        ("offset", "length"),
        [(0, 1), (0, 10_240), (5, 7), (10_239, 1), (10_239, 50), (10_240, 5), (99_999, 5), (3, 0)],
    )
    def test_range_is_a_slice(self, store: ObjectStore, offset: int, length: int) -> None:
        store.put("k", CONTENT)
        assert store.get_range("k", offset, length) == CONTENT[offset : offset + length]

    @pytest.mark.parametrize("offset", [0, 1, 4096, 10_239, 10_240, 20_000])
    def test_stream_from_an_offset(self, store: ObjectStore, offset: int) -> None:
        store.put("k", CONTENT)
        chunks = [*store.read_stream("k", offset, chunk_size=1000)]
        assert b"".join(chunks) == CONTENT[offset:]
        assert all(0 < len(chunk) <= 1000 for chunk in chunks)

    def test_a_stream_may_be_left_early(self, store: ObjectStore) -> None:
        store.put("k", CONTENT * 300)
        stream = store.read_stream("k", chunk_size=1000)
        assert next(stream) == CONTENT[:1000]
        del stream
        assert store.get_range("k", 0, 3) == CONTENT[:3]

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1)])
    def test_negative_range_is_refused(self, store: ObjectStore, offset: int, length: int) -> None:
        store.put("k", b"x")
        with pytest.raises(RequestError):
            store.get_range("k", offset, length)

    def test_invalid_keys_are_refused_everywhere(self, store: ObjectStore) -> None:
        for call in (store.get, store.head, store.exists, store.delete, lambda key: store.put(key, b"")):
            for key in ("", "/a", "a/", "a//b", "../a", "a/./b", "a\\b", "a\0b", ".seedzoo/tmp", "x" * 901):
                with pytest.raises(RequestError):
                    call(key)
        assert [*store.list("")] == []

    def test_unicode_keys(self, store: ObjectStore, peek: Callable[[str], bytes]) -> None:
        for key in UNICODE_KEYS:
            store.put(key, key.encode())
        assert [info.key for info in store.list("")] == sorted(UNICODE_KEYS)
        for key in UNICODE_KEYS:
            assert store.get(key) == key.encode() == peek(key)
        assert [*store.list_folders("")] == ["emoji", "snow", "ä"]
        assert store.delete_prefix("ä") == 1
        assert not store.exists("ä/ö/ü")

    def test_longest_key(self, store: ObjectStore) -> None:
        key = "/".join(["k" * 224] * 4)
        store.put(key, b"x")
        assert store.get(key) == b"x"

    def test_listing_is_sorted_by_key_and_a_prefix_is_a_folder(self, store: ObjectStore) -> None:
        keys = ["a/b/1", "a/b/2/x", "a/b-", "a/b.c", "a/bc", "a/bc/d"[:4] + "z", "A", "b/1", "é/1"]
        for key in keys:
            store.put(key, key.encode())
        assert [info.key for info in store.list("")] == sorted(keys)
        assert [info.key for info in store.list("a/b")] == ["a/b/1", "a/b/2/x"]
        assert [info.key for info in store.list("a/b/")] == ["a/b/1", "a/b/2/x"]
        assert [*store.list("a/b/1")] == [*store.list("nothing")] == []
        assert [*store.list_folders("")] == ["a", "b", "é"]
        assert [*store.list_folders("a")] == ["b"]
        assert [*store.list_folders("a/b/")] == ["2"]
        assert [*store.list_folders("nothing")] == []

    def test_delete_prefix_takes_the_folder_and_nothing_else(self, store: ObjectStore) -> None:
        for key in ("a/b/1", "a/b/2/3", "a/bc", "a/bcd/1", "c"):
            store.put(key, b"x")
        assert store.delete_prefix("a/b") == 2
        assert store.delete_prefix("a/b") == 0
        assert [info.key for info in store.list("")] == ["a/bc", "a/bcd/1", "c"]
        assert [*store.list_folders("a")] == ["bcd"]
        with pytest.raises(RequestError):
            store.delete_prefix("")

    def test_delete_is_idempotent_and_leaves_no_folder(self, store: ObjectStore) -> None:
        store.put("a/b/c", b"x")
        store.delete("a/b/c")
        store.delete("a/b/c")
        store.delete("never")
        assert not store.exists("a/b/c")
        assert [*store.list("")] == [*store.list_folders("")] == []
        store.put("a/b", b"the folder's name is free again")
        assert store.get("a/b") == b"the folder's name is free again"

    def test_more_keys_than_a_page(self, store: ObjectStore) -> None:
        keys = [f"many/{n % 3}/{n:05}" for n in range(1010)]
        with ThreadPoolExecutor(8) as pool:
            [*pool.map(lambda key: store.put(key, b"x"), keys)]
        assert [info.key for info in store.list("many")] == sorted(keys)
        assert store.delete_prefix("many") == 1010
        assert [*store.list("")] == []

    def test_put_file(self, store: ObjectStore, peek: Callable[[str], bytes], tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(hashlib.shake_256(b"model").digest(20 << 20))
        etag = store.put_file("models/m.onnx", path, if_absent=True)
        info = store.head("models/m.onnx")
        assert (info.size, info.etag) == (20 << 20, etag)
        assert hashlib.sha256(peek("models/m.onnx")).hexdigest() == sha256_file(path)
        content = b"".join(stream_verified(store, "models/m.onnx", size=info.size, sha256=sha256_file(path)))
        assert content == path.read_bytes()
        assert store.get_range("models/m.onnx", (16 << 20) - 2, 4) == content[(16 << 20) - 2 :][:4]
        path.write_bytes(content[::-1])
        with pytest.raises(Conflict):
            store.put_file("models/m.onnx", path, if_absent=True)
        assert store.get_with_etag("models/m.onnx") == (content, etag)
        assert store.put_file("models/m.onnx", path) != etag
        path.write_bytes(b"small")
        with pytest.raises(Conflict):
            store.put_file("models/m.onnx", path, if_absent=True)
        store.put_file("models/small", path, if_absent=True)
        assert peek("models/small") == b"small"

    def test_put_file_needs_a_file(self, store: ObjectStore, tmp_path: Path) -> None:
        for path in (tmp_path / "gone", tmp_path):
            with pytest.raises(LocalFailure):
                store.put_file("k", path)
        assert not store.exists("k")

    def test_conditional_writes(self, store: ObjectStore) -> None:
        require_conditional_writes(store)
        assert [*store.list("")] == []
        first = store.put("k", b"1", if_absent=True)
        for condition in ({"if_absent": True}, {"if_match": "0" * 32}):
            with pytest.raises(Conflict) as caught:
                store.put("k", b"no", **condition)  # type: ignore[arg-type]
            assert caught.value.reason == "PRECONDITION_FAILED"
        second = store.put("k", b"2", if_match=first)
        with pytest.raises(Conflict):
            store.put("k", b"no", if_match=first)
        with pytest.raises(Conflict):
            store.put("absent", b"no", if_match=first)
        with pytest.raises(RequestError):
            store.put("k", b"no", if_match=first, if_absent=True)
        assert store.get_with_etag("k") == (b"2", second)
        assert not store.exists("absent")
        store.delete("k")
        with pytest.raises(Conflict):
            store.put("k", b"no", if_match=second)
        store.put("k", b"3", if_absent=True)

    def test_a_race_to_create_has_one_winner(self, store: ObjectStore) -> None:
        def create(key: str, number: int, gate: threading.Barrier) -> int | None:
            gate.wait()
            try:
                store.put(key, str(number).encode(), if_absent=True)
            except Conflict:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            for number in range(self.rounds):
                gate = threading.Barrier(8)
                key = f"race/{number}/winner"
                outcomes = [*pool.map(lambda n, key=key, gate=gate: create(key, n, gate), range(8))]
                (winner,) = [outcome for outcome in outcomes if outcome is not None]
                assert store.get(key) == str(winner).encode()

    def test_compare_and_set_loses_no_update(self, store: ObjectStore) -> None:
        store.put("counter", b"0")

        def add(_: int) -> None:
            while True:
                data, etag = store.get_with_etag("counter")
                with suppress(Conflict):
                    store.put("counter", str(int(data) + 1).encode(), if_match=etag)
                    return

        with ThreadPoolExecutor(4) as pool:
            [*pool.map(add, range(4 * self.rounds))]
        assert int(store.get("counter")) == 4 * self.rounds

    def test_tampering_is_noticed(self, store: ObjectStore) -> None:
        store.put("m", CONTENT)
        good = {"size": len(CONTENT), "sha256": sha256_hex(CONTENT)}
        assert get_verified(store, "m", **good) == CONTENT  # type: ignore[arg-type]
        resumed = stream_verified(store, "m", offset=1500, chunk_size=1000, **good)  # type: ignore[arg-type]
        assert b"".join(resumed) == CONTENT[1500:]
        for tampered in (CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"x", b""):
            store.put("m", tampered)
            with pytest.raises(IntegrityError, match="'m'"):
                get_verified(store, "m", **good)  # type: ignore[arg-type]
            seen: list[bytes] = []
            with pytest.raises(IntegrityError):
                seen.extend(stream_verified(store, "m", chunk_size=1000, **good))  # type: ignore[arg-type]
            assert len(b"".join(seen)) < len(CONTENT)


class TestMemoryStore(ObjectStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def peek(self, store: MemoryStore) -> Callable[[str], bytes]:
        return lambda key: store._objects[key].data

    def test_a_key_cannot_be_a_folder_of_another(self, store: MemoryStore) -> None:
        store.put("a/b", b"x")
        for key in ("a", "a/b/c"):
            with pytest.raises(RequestError, match="folder"):
                store.put(key, b"x")


class TestScopedStore(ObjectStoreContract):
    @pytest.fixture
    def whole(self) -> MemoryStore:
        store = MemoryStore()
        store.put("tenants/other/secret", b"not yours")
        store.put("tenants/acmeandmore/secret", b"not yours either")
        return store

    @pytest.fixture
    def store(self, whole: MemoryStore) -> ScopedStore:
        return ScopedStore(whole, "tenants/acme")

    @pytest.fixture
    def peek(self, whole: MemoryStore) -> Callable[[str], bytes]:
        return lambda key: whole._objects[f"tenants/acme/{key}"].data

    def test_longest_key(self, store: ScopedStore) -> None:
        # The folder takes its part of the 900 bytes.
        segment = "k" * 200
        key = "/".join([segment] * 4)
        store.put(key, b"x")
        assert [info.key for info in store.list("")] == [key]

    def test_nothing_outside_can_be_named(self, store: ScopedStore, whole: MemoryStore) -> None:
        store.put("own", b"x")
        assert [info.key for info in store.list("")] == ["own"]
        assert list(store.list_folders("")) == []
        for key in ("../other/secret", "/tenants/other/secret", "..", "a/../../other/secret", ""):
            for action in (store.get, store.head, store.exists, store.delete, store.delete_prefix):
                with pytest.raises(RequestError):
                    action(key)
            with pytest.raises(RequestError):
                store.put(key, b"x")
        assert whole.get("tenants/other/secret") == b"not yours"
        store.close()
        assert whole.get("tenants/acme/own") == b"x"


class TestLocalStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "store")

    @pytest.fixture
    def peek(self, tmp_path: Path) -> Callable[[str], bytes]:
        return lambda key: (tmp_path / "store" / key).read_bytes()

    test_a_key_cannot_be_a_folder_of_another = TestMemoryStore.test_a_key_cannot_be_a_folder_of_another


class S3Contract(ObjectStoreContract):
    """The S3 store, with the plain client as the second path."""

    @pytest.fixture
    def peek(self, store: S3Store) -> Iterator[Callable[[str], bytes]]:
        credentials = store._client._request_signer._credentials  # type: ignore[attr-defined]
        client = boto3.session.Session(
            aws_access_key_id=credentials.access_key, aws_secret_access_key=credentials.secret_key
        ).client("s3", endpoint_url=store._client.meta.endpoint_url, region_name="us-east-1")

        def read(key: str) -> bytes:
            with client.get_object(Bucket=store._bucket, Key=store._prefix + key)["Body"] as body:
                return body.read()

        yield read
        client.close()

    @pytest.fixture
    def lose_answer(self, store: S3Store) -> Iterator[Callable[[str], list[str]]]:
        """Makes the first request of an operation reach the server and its answer get lost."""
        sender = URLLib3Session()

        def arrange(operation: str) -> list[str]:
            sent: list[str] = []

            def send(request: AWSPreparedRequest, **_: object) -> None:
                sent.append(request.method)
                if len(sent) == 1:
                    sender.send(request)
                    raise ConnectionClosedError(endpoint_url=request.url)

            store._client.meta.events.register(f"before-send.s3.{operation}", send)
            return sent

        yield arrange
        sender.close()

    def test_a_repeated_create_knows_its_own_write(
        self, store: S3Store, lose_answer: Callable[[str], list[str]]
    ) -> None:
        sent = lose_answer("PutObject")
        etag = store.put("k", b"mine", if_absent=True)
        assert len(sent) == 2
        assert store.get_with_etag("k") == (b"mine", etag)
        assert store.put("k", b"next", if_match=etag) != etag

    def test_a_repeated_replace_knows_its_own_write(
        self, store: S3Store, lose_answer: Callable[[str], list[str]]
    ) -> None:
        first = store.put("k", b"1")
        sent = lose_answer("PutObject")
        second = store.put("k", b"2", if_match=first)
        assert len(sent) == 2
        assert store.get_with_etag("k") == (b"2", second)

    def test_a_repeated_create_does_not_claim_an_equal_object(
        self, store: S3Store, lose_answer: Callable[[str], list[str]]
    ) -> None:
        store.put("k", b"same", if_absent=True)
        sent = lose_answer("PutObject")
        with pytest.raises(Conflict):
            store.put("k", b"same", if_absent=True)
        assert len(sent) == 2

    def test_a_repeated_completion_knows_its_own_write(
        self, store: S3Store, lose_answer: Callable[[str], list[str]], tmp_path: Path
    ) -> None:
        path = tmp_path / "big"
        path.write_bytes(CONTENT * 1700)
        sent = lose_answer("CompleteMultipartUpload")
        etag = store.put_file("big", path, if_absent=True)
        assert len(sent) == 2
        assert store.head("big").etag == etag
        assert store.get("big") == path.read_bytes()

    def test_a_failed_upload_leaves_no_parts(self, store: S3Store, tmp_path: Path) -> None:
        path = tmp_path / "big"
        path.write_bytes(CONTENT * 1700)
        store.put("big", b"taken")
        with pytest.raises(Conflict):
            store.put_file("big", path, if_absent=True)
        uploads = store._client.list_multipart_uploads(Bucket=store._bucket, Prefix=store._prefix)
        assert uploads.get("Uploads", []) == []

    def test_missing_bucket(self, store: S3Store, tmp_path: Path) -> None:
        credentials = store._client._request_signer._credentials  # type: ignore[attr-defined]
        calls: list[Callable[[S3Store], object]] = [
            lambda lost: lost.get("k"),
            lambda lost: lost.head("k"),
            lambda lost: lost.exists("k"),
            lambda lost: lost.put("k", b"x"),
            lambda lost: lost.put("k", b"x", if_match="0" * 32),
            lambda lost: [*lost.list("")],
        ]
        for call in calls:
            with (
                S3Store(
                    f"no-such-{uuid.uuid4().hex}",
                    endpoint_url=store._client.meta.endpoint_url,
                    access_key=credentials.access_key,
                    secret_key=credentials.secret_key,
                ) as lost,
                pytest.raises(StoreError) as caught,
            ):
                call(lost)
            assert caught.value.reason == "BUCKET_MISSING"


class TestMoto(S3Contract):
    @pytest.fixture
    def store(self, moto_store: S3Store) -> S3Store:
        return moto_store


@pytest.mark.seaweed
class TestSeaweed(S3Contract):
    rounds = 3  # threads that create the same key wait for each other in steps of whole seconds there

    @pytest.fixture
    def store(self, seaweed: EmbeddedS3) -> Iterator[S3Store]:
        with seaweed.store(uuid.uuid4().hex) as store:
            yield store

    def test_presigned_url_downloads_and_a_forged_one_does_not(self, store: S3Store) -> None:
        store.put("dir/ü model", CONTENT)
        url = store.presign_get("dir/ü model", 60)
        assert url is not None
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == CONTENT
        forged = url[:-1] + ("0" if url[-1] != "0" else "1")
        other = url.replace("model?", "other?")
        for bad in (forged, other):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(bad)
            caught.value.close()
            assert caught.value.code == 403
        for seconds in (0, 7 * 24 * 3600 + 1):
            with pytest.raises(RequestError):
                store.presign_get("dir/ü model", seconds)

    def test_wrong_secret(self, seaweed: EmbeddedS3) -> None:
        wrong = "not-the-secret-at-all"
        url = f"s3://{seaweed.bucket}/x?endpoint={seaweed.endpoint_url}"
        with open_store(url, access_key=seaweed.access_key, secret_key=wrong) as store:  # type: ignore[attr-defined]
            for call in (store.get, store.exists, lambda key: store.put(key, b""), store.delete_prefix):
                with pytest.raises(StoreError) as caught:
                    call("k")
                assert caught.value.reason == "STORE_DENIED"
                assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint
                assert wrong not in f"{caught.value!r}{caught.value.hint}{store!r}"


class _Careless(MemoryStore):
    """Ignores one of the conditions, as some S3 servers do."""

    def __init__(self, ignored: str) -> None:
        super().__init__()
        self._ignored = ignored

    def put(self, key: str, data: bytes, **conditions: Any) -> str:
        conditions.pop(self._ignored, None)
        return super().put(key, data, **conditions)


@pytest.mark.parametrize(("ignored", "header"), [("if_absent", "If-None-Match"), ("if_match", "If-Match")])
def test_a_store_that_ignores_conditions_is_refused(ignored: str, header: str) -> None:
    store = _Careless(ignored)
    with pytest.raises(StoreUnsafe, match=header) as caught:
        require_conditional_writes(store)
    assert caught.value.hint
    assert [*store.list("")] == []
