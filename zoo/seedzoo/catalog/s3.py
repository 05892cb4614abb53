"""An object store in a bucket of Amazon S3 or anything that speaks its protocol, through boto3.

A conditional write carries a nonce in the object's metadata. boto3 repeats a request whose answer got lost;
if the first try had arrived, the repetition meets our own object and is refused. The nonce tells our own from
somebody else's. What it cannot tell is a write that arrived and was replaced before the repetition: that is
reported as Conflict, like any write that is not known to be in force.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from seedzoo.catalog.s3_errors import (
    BOTO_ERRORS,
    error_code,
    is_missing,
    is_refused,
    status,
    translate,
)
from seedzoo.catalog.s3_transfer import PART_SIZE, ResumingBody, add_content_md5, bare_etag, md5, put_parts
from seedzoo.catalog.store import (
    ClosingStore,
    ObjectInfo,
    check_conditions,
    check_folder_to_delete,
    check_key,
    check_prefix,
    check_range,
    check_source,
    key_missing,
    precondition_failed,
)
from seedzoo.errors import Conflict, LocalFailure, NotFound, RequestError, StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, ListObjectsV2OutputTypeDef

__all__ = ["S3Store"]

_NONCE = "seedzoo-write"
_READ_SIZE = 1 << 20
_LONGEST_PRESIGN_S = 7 * 24 * 3600
_DELETE_BATCH = 1000


def _info(key: str, size: int, answer: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(key, size, bare_etag(answer["ETag"]), answer["LastModified"].astimezone(UTC))


class S3Store(ClosingStore):
    """An ObjectStore in a bucket.

    Args:
        bucket: Name of an existing bucket.
        prefix: Folder in it that holds the store; ``""`` for the whole bucket.
        endpoint_url: Where the server is; boto3's own choice when omitted.
        region: Region of the bucket; boto3's own choice, else us-east-1, when omitted.
        access_key: Access key id; boto3's chain (environment, profile, instance role) when omitted.
        secret_key: Its secret; goes with ``access_key``.
        connect_timeout_s: For one try to connect.
        read_timeout_s: Longest silence of the server.
        max_attempts: Tries of one request, the first included.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 60.0,
        max_attempts: int = 4,
    ) -> None:
        if (access_key is None) != (secret_key is None):
            raise RequestError("access_key and secret_key go together", hint="Give both or neither.")
        if endpoint_url is not None and "@" in endpoint_url:
            raise RequestError("the endpoint must not hold credentials", hint="Set AWS_ACCESS_KEY_ID instead.")
        self._bucket = bucket
        self._prefix = check_prefix(prefix)
        self._bucket_seen = False
        self._url = f"s3://{bucket}/{self._prefix}"
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=connect_timeout_s,
            read_timeout=read_timeout_s,
            retries={"total_max_attempts": max_attempts, "mode": "standard"},
            # Content-MD5 and our own SHA-256 do the same for servers that do not know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=32,
            user_agent_extra="seedzoo",
        )
        try:
            session = boto3.session.Session(
                aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region
            )
            self._client: S3Client = session.client(
                "s3",
                endpoint_url=endpoint_url,
                region_name=session.region_name or "us-east-1",
                config=config,
            )
        except ValueError as error:
            raise RequestError(
                f"the endpoint of {self._url} is not a URL",
                hint="Write it as http://host:port or https://host.",
                field="endpoint_url",
            ) from error
        except BotoCoreError as error:
            raise translate(error, "opening the store", self._url) from error
        host = self._client.meta.endpoint_url.rstrip("/")
        self._url += f" at {host}"
        # Servers that keep objects as files list folders after their last object is gone; Amazon has none.
        self._hollow_folders = not host.endswith(".amazonaws.com")
        self._client.meta.events.register("before-sign.s3.DeleteObjects", add_content_md5)

    def __repr__(self) -> str:
        return f"S3Store({self._url!r})"

    @property
    def url(self) -> str:
        """Where the store is, for people."""
        return self._url

    def close(self) -> None:
        """See :meth:`ObjectStore.close`."""
        self._client.close()

    def _full(self, key: str) -> str:
        return self._prefix + check_key(key)

    @contextmanager
    def _calling(self, what: str, key: str = "") -> Iterator[None]:
        """Translate what boto3 raises; with a key, a missing object is NotFound."""
        try:
            yield
        except BOTO_ERRORS as error:
            if key and is_missing(error):
                self._require_bucket()
                raise key_missing(key, self._url) from error
            raise translate(error, what, self._url) from error
        self._bucket_seen = True

    def _require_bucket(self) -> None:
        """Tell a missing bucket from a missing object once; the answer to HEAD is 404 for both."""
        if self._bucket_seen:
            return
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if status(error) == 404:
                raise StoreError(
                    f"the bucket of {self._url} does not exist",
                    hint="Check its name and the endpoint, or create it.",
                    reason="BUCKET_MISSING",
                ) from error
        except BotoCoreError as error:
            raise translate(error, "looking for the bucket", self._url) from error
        self._bucket_seen = True

    def get(self, key: str) -> bytes:
        """See :meth:`ObjectStore.get`."""
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """See :meth:`ObjectStore.get_with_etag`."""
        body, chunks = self._read(key, _READ_SIZE)
        data = b"".join(chunks)
        return data, body.etag

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """See :meth:`ObjectStore.get_range`."""
        check_range(offset, length)
        if length == 0:
            self.head(key)
            return b""
        return b"".join(self._read(key, _READ_SIZE, offset, offset + length)[1])

    def read_stream(self, key: str, offset: int = 0, chunk_size: int = 1 << 20) -> Iterator[bytes]:
        """See :meth:`ObjectStore.read_stream`."""
        check_range(offset, chunk_size, least=1)
        yield from self._read(key, chunk_size, offset)[1]

    def _read(
        self, key: str, chunk_size: int, offset: int = 0, stop: int | None = None
    ) -> tuple[ResumingBody, Iterator[bytes]]:
        body = ResumingBody(lambda start, etag: self._open(key, start, stop, etag), offset=offset, stop=stop)

        def chunks() -> Iterator[bytes]:
            with self._calling(f"reading {key!r}", key):
                yield from body.chunks(chunk_size)

        return body, chunks()

    def _open(self, key: str, offset: int, stop: int | None, etag: str) -> GetObjectOutputTypeDef | None:
        """Ask for a part of one version of an object; None where nothing lies at or after the offset."""
        wanted: dict[str, Any] = {"Bucket": self._bucket, "Key": self._full(key)}
        ranged = offset > 0 or stop is not None
        if ranged:
            wanted["Range"] = f"bytes={offset}-{'' if stop is None else stop - 1}"
        if etag:
            wanted["IfMatch"] = f'"{etag}"'
        try:
            response = self._client.get_object(**wanted)
        except ClientError as error:
            if status(error) == 416:
                return None
            if is_refused(error):
                raise Conflict(
                    f"object {key!r} in {self._url} changed while it was read", hint="Read it again."
                ) from error
            raise
        if ranged and response["ResponseMetadata"]["HTTPStatusCode"] != 206:
            response["Body"].close()
            raise StoreError(
                f"{self._url} ignores ranges and sends whole objects",
                hint="Use a store that supports range requests.",
            )
        return response

    def head(self, key: str) -> ObjectInfo:
        """See :meth:`ObjectStore.head`."""
        with self._calling(f"looking up {key!r}", key):
            found = self._client.head_object(Bucket=self._bucket, Key=self._full(key))
        return _info(key, found["ContentLength"], found)

    def exists(self, key: str) -> bool:
        """See :meth:`ObjectStore.exists`."""
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """See :meth:`ObjectStore.put`."""
        check_conditions(if_absent=if_absent, if_match=if_match)
        nonce = secrets.token_hex(16)
        wanted: dict[str, Any] = {"Bucket": self._bucket, "Key": self._full(key), "Body": data}
        wanted["ContentMD5"] = md5(data)
        if if_absent:
            wanted["IfNoneMatch"] = "*"
        if if_match is not None:
            wanted["IfMatch"] = f'"{if_match}"'
        if if_absent or if_match is not None:
            wanted["Metadata"] = {_NONCE: nonce}
        with self._calling(f"writing {key!r}"):
            try:
                return bare_etag(self._client.put_object(**wanted)["ETag"])
            except ClientError as error:
                if not is_refused(error) and not (if_match is not None and is_missing(error)):
                    raise
                etag = self._own_write(key, nonce)
                if etag is None:
                    raise precondition_failed(key, if_absent=if_absent) from error
                return etag

    def _own_write(self, key: str, nonce: str) -> str | None:
        """The etag of the object if it is the one written under this nonce, else None."""
        self._require_bucket()  # SeaweedFS answers a conditional write to a missing bucket with 412
        try:
            found = self._client.head_object(Bucket=self._bucket, Key=self._full(key))
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        return bare_etag(found["ETag"]) if found.get("Metadata", {}).get(_NONCE) == nonce else None

    def put_file(self, key: str, path: Path, *, if_absent: bool = False) -> str:
        """See :meth:`ObjectStore.put_file`."""
        size = check_source(path)
        if size <= PART_SIZE:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise LocalFailure(f"cannot read {path}: {error.strerror}") from error
            return self.put(key, data, if_absent=if_absent)
        nonce = secrets.token_hex(16)
        with self._calling(f"writing {key!r}"):
            try:
                return put_parts(
                    self._client,
                    self._bucket,
                    self._full(key),
                    path,
                    size=size,
                    metadata={_NONCE: nonce},
                    if_absent=if_absent,
                )
            except ClientError as error:
                refused = is_refused(error)
                # A completion that is repeated because its answer got lost finds no upload any more.
                if not refused and error_code(error) != "NoSuchUpload":
                    raise
                etag = self._own_write(key, nonce)
                if etag is not None:
                    return etag
                if refused:
                    raise precondition_failed(key, if_absent=if_absent) from error
                raise

    def delete(self, key: str) -> None:
        """See :meth:`ObjectStore.delete`."""
        with self._calling(f"deleting {key!r}"):
            try:
                self._client.delete_object(Bucket=self._bucket, Key=self._full(key))
            except ClientError as error:
                if not is_missing(error):
                    raise

    def delete_prefix(self, prefix: str) -> int:
        """See :meth:`ObjectStore.delete_prefix`."""
        check_folder_to_delete(prefix)
        keys = [self._full(found.key) for found in self.list(prefix)]
        for start in range(0, len(keys), _DELETE_BATCH):
            batch = keys[start : start + _DELETE_BATCH]
            with self._calling(f"deleting {prefix!r}"):
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
                )
            if failed := answer.get("Errors"):
                raise StoreError(
                    f"{len(failed)} objects in {prefix!r} of {self._url} were not deleted "
                    f"({failed[0].get('Code', 'no reason given')})",
                    hint="Check that the credentials may delete, and retry.",
                )
        return len(keys)

    def _pages(self, prefix: str, delimiter: str = "") -> Iterator[ListObjectsV2OutputTypeDef]:
        paginator = self._client.get_paginator("list_objects_v2")
        with self._calling(f"listing {prefix!r}"):
            yield from paginator.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix, Delimiter=delimiter)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See :meth:`ObjectStore.list`.

        All pages are fetched before the first object is yielded, since SeaweedFS orders by folder: ``a/x``
        before ``a-b``, against S3's order of keys.
        """
        skip = len(self._prefix)
        found = (
            _info(entry["Key"][skip:], entry["Size"], entry)
            for page in self._pages(check_prefix(prefix))
            for entry in page.get("Contents", ())
            if not entry["Key"].endswith("/")  # some tools write markers for empty folders
        )
        yield from sorted(found, key=lambda info: info.key)

    def list_folders(self, prefix: str, *, hollow: bool = False) -> Iterator[str]:
        """See :meth:`ObjectStore.list_folders`."""
        start = check_prefix(prefix)
        skip = len(self._prefix) + len(start)
        names = {
            found["Prefix"][skip:].rstrip("/")
            for page in self._pages(start, delimiter="/")
            for found in page.get("CommonPrefixes", ())
        }
        for name in sorted(filter(None, names)):
            if hollow or not self._hollow_folders or self._holds_objects(f"{start}{name}/"):
                yield name

    def _holds_objects(self, start: str) -> bool:
        with self._calling(f"listing {start!r}"):
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix + start, MaxKeys=2)
        # Two, for the first may be the folder's own marker.
        return any(not found["Key"].endswith("/") for found in page.get("Contents", ()))

    def presign_get(self, key: str, expires_s: int) -> str | None:
        """See :meth:`ObjectStore.presign_get`; ``expires_s`` is 1 s to 7 days."""
        if not 1 <= expires_s <= _LONGEST_PRESIGN_S:
            raise RequestError(
                f"a presigned URL cannot live for {expires_s} s",
                hint=f"Use 1 to {_LONGEST_PRESIGN_S} seconds.",
                field="expires_s",
            )
        with self._calling(f"signing for {key!r}"):
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": self._full(key)}, ExpiresIn=expires_s
            )
