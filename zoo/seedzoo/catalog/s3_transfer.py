"""Moving bytes to and from S3: reads that survive a broken connection, files sent in parts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import HTTPClientError, IncompleteReadError, ResponseStreamingError

from seedzoo.catalog.s3_errors import BOTO_ERRORS
from seedzoo.errors import LocalFailure

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef

__all__ = ["BROKEN_READ", "PART_SIZE", "ResumingBody", "add_content_md5", "bare_etag", "md5", "put_parts"]

PART_SIZE: Final = 16 << 20
"""Files up to this many bytes are sent in one request."""
BROKEN_READ: Final = (HTTPClientError, ResponseStreamingError, IncompleteReadError)
_MOST_PARTS = 10_000
_READ_RETRIES = 3


def md5(data: bytes) -> str:
    """The value of Content-MD5, by which the server notices bytes that changed on the way."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def add_content_md5(request: Any, **_: object) -> None:
    """Event hook: give a request the Content-MD5 that servers insist on which lack the newer checksums."""
    body = request.body or b""
    request.headers["Content-MD5"] = md5(body if isinstance(body, bytes) else str(body).encode())


def bare_etag(etag: str) -> str:
    """The etag without the quotes that some answers have and others lack."""
    return etag.strip('"')


class ResumingBody:
    """The bytes ``[offset, stop)`` of one version of an object; a broken connection is taken up again.

    Args:
        ask: Called with the offset and the etag seen before (``""`` at first) for the rest of that version;
            returns None where nothing lies at or after the offset.
        offset: First byte.
        stop: End of the range, None for the object's end.
    """

    def __init__(
        self, ask: Callable[[int, str], GetObjectOutputTypeDef | None], *, offset: int, stop: int | None
    ) -> None:
        self._ask = ask
        self._offset = offset
        self._stop = stop
        self.etag = ""

    def chunks(self, chunk_size: int) -> Iterator[bytes]:
        """The bytes in chunks; raises one of BROKEN_READ when the connection breaks again and again."""
        failures = 0
        while self._stop is None or self._offset < self._stop:
            response = self._ask(self._offset, self.etag)
            if response is None:
                return
            self.etag = bare_etag(response["ETag"])
            try:
                with closing(response["Body"]) as body:
                    while chunk := body.read(chunk_size):
                        self._offset += len(chunk)
                        failures = 0
                        yield chunk
            except BROKEN_READ:
                failures += 1
                if failures > _READ_RETRIES:
                    raise
            else:
                return


def _file_parts(path: Path, size: int) -> Iterator[bytes]:
    """The file in parts; raises LocalFailure if it no longer has the size that was announced."""
    part_size = max(PART_SIZE, -(-size // _MOST_PARTS))
    seen = 0
    try:
        with path.open("rb") as file:
            while part := file.read(part_size):
                seen += len(part)
                yield part
    except OSError as error:
        raise LocalFailure(f"cannot read {path}: {error.strerror}") from error
    if seen != size:
        raise LocalFailure(f"{path} changed while it was stored", hint="Retry when nothing writes to it.")


def put_parts(
    client: S3Client,
    bucket: str,
    key: str,
    path: Path,
    *,
    size: int,
    metadata: dict[str, str],
    if_absent: bool,
) -> str:
    """Send a file as a multipart upload and return its etag; a failure leaves no parts behind."""
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, Metadata=metadata)["UploadId"]
    try:
        parts: list[CompletedPartTypeDef] = []
        for number, part in enumerate(_file_parts(path, size), start=1):
            sent = client.upload_part(
                Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=part, ContentMD5=md5(part)
            )
            parts.append({"ETag": sent["ETag"], "PartNumber": number})
        condition: Any = {"IfNoneMatch": "*"} if if_absent else {}
        done = client.complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **condition
        )
    except BaseException:
        with suppress(*BOTO_ERRORS):
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        raise
    return bare_etag(done["ETag"])
