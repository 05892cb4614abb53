"""A real S3 server for demonstrations and tests: SeaweedFS as a child of this process, on loopback.

Not for production: one copy of the data on one disk, and any local user can reach SeaweedFS's inner ports,
which ask for no credentials.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from seedzoo.errors import LocalFailure, RequestError
from seedzoo.flock import flock, require_flock
from seedzoo_server.weed_process import HOST, Ports, WeedProcess, find_weed, pick_ports, remove_sockets

if TYPE_CHECKING:
    from seedzoo.catalog.s3 import S3Store

__all__ = ["EmbeddedS3"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_PORT_CLASHES = 5
_POLL_S = 0.05
_LOG_LINES = 15
_PROBE = "probes/embedded-s3-ready"


class EmbeddedS3:
    """A SeaweedFS server that runs as long as this context.

    The directory keeps data, credentials and ports, so a later start on it finds everything again. It can be
    used by one server at a time. If this process dies, the server dies too (on Linux; elsewhere it stays).

    Args:
        data_dir: Directory for everything; created where missing, readable by the owner only.
        bucket: Name of the bucket to make, at least 3 characters.
        start_timeout_s: How long the server may take until it answers.
        stop_grace_s: How long running requests may go on after :meth:`stop`.

    Attributes:
        endpoint_url: Where the S3 API is.
        access_key: Access key id of the administrator.
        secret_key: Its secret.
        bucket: Name of the bucket.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        bucket: str = "seedzoo",
        start_timeout_s: float = 60.0,
        stop_grace_s: float = 1.0,
    ) -> None:
        if not _BUCKET.fullmatch(bucket):
            raise RequestError(
                f"{bucket!r} cannot be the name of a bucket", hint="Use 3 to 63 of a-z, 0-9 and '-'.", field="bucket"
            )
        self.bucket = bucket
        self.access_key = ""
        self.secret_key = ""
        self.endpoint_url = ""
        self._dir = Path(data_dir).expanduser().absolute()
        self._start_timeout_s = start_timeout_s
        self._stop_grace_s = stop_grace_s
        self._process: WeedProcess | None = None
        self._lock = -1

    def __repr__(self) -> str:
        return f"EmbeddedS3({str(self._dir)!r}, endpoint_url={self.endpoint_url!r})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log_file(self) -> Path:
        """What the server says."""
        return self._dir / "weed.log"

    @property
    def pid(self) -> int | None:
        """Process id of the server, None while it does not run."""
        return self._process.pid if self._process is not None and self._process.running else None

    def start(self) -> None:
        """Start the server and wait until the bucket takes objects.

        Raises:
            MissingExtra: SeaweedFS is not installed.
            LocalFailure: The directory is in use or cannot be written, or the server does not come up.
        """
        if self._process is not None:
            raise LocalFailure("this embedded store is already running", hint="Stop it first.")
        weed = find_weed()
        try:
            self._prepare()
            self._start(weed)
        except OSError as error:
            self.stop()
            raise LocalFailure(
                f"cannot use {self._dir} for the embedded store: {error.strerror or error}",
                hint="Check its owner, its permissions and the space on the disk.",
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server; does nothing when it does not run."""
        if self._process is not None:
            self._process.stop(self._stop_grace_s)
            self._process = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def kill(self) -> None:
        """End the server as a crash would, then clean up; for tests of durability."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def store(self, prefix: str = "") -> S3Store:
        """A new store on the bucket; the caller closes it."""
        from seedzoo.catalog.s3 import S3Store  # noqa: PLC0415  (loads boto3, which takes 0.3 s)

        return S3Store(
            self.bucket,
            prefix,
            endpoint_url=self.endpoint_url,
            region="us-east-1",
            access_key=self.access_key,
            secret_key=self.secret_key,
        )

    def _prepare(self) -> None:
        require_flock()
        (self._dir / "data").mkdir(parents=True, exist_ok=True)
        self._dir.chmod(0o700)
        self._lock = os.open(self._dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            flock(self._lock, wait=False)
        except BlockingIOError as error:
            raise LocalFailure(
                f"another embedded store runs on {self._dir}", hint="Stop it or use another directory."
            ) from error
        self._read_credentials()

    def _read_credentials(self) -> None:
        path = self._dir / "s3.json"
        if not path.exists():
            self._write_private(path, _identities(secrets.token_hex(10).upper(), secrets.token_urlsafe(32)))
        try:
            (credentials,) = json.loads(path.read_text())["identities"][0]["credentials"]
            self.access_key, self.secret_key = str(credentials["accessKey"]), str(credentials["secretKey"])
        except (ValueError, LookupError, TypeError) as error:
            raise LocalFailure(f"cannot read the credentials in {path}", hint="Delete that file.") from error

    def _write_private(self, path: Path, content: str) -> None:
        temp = path.with_suffix(".new")
        temp.unlink(missing_ok=True)
        with os.fdopen(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
        temp.replace(path)

    def _kept_ports(self) -> Ports | None:
        """The ports of the last start if they are free; applications may still have the old endpoint."""
        try:
            ports = Ports(**json.loads((self._dir / "ports.json").read_text()))
            remove_sockets(ports)  # left behind if this process was killed
            return None if ports.taken() is not None else ports
        except (OSError, ValueError, TypeError, OverflowError):
            return None

    def _start(self, weed: Path) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        for attempt in range(_PORT_CLASHES):
            ports = (self._kept_ports() if attempt == 0 else None) or pick_ports()
            self._write_private(self._dir / "ports.json", json.dumps(asdict(ports)))
            self.log_file.write_bytes(b"")
            self._process = WeedProcess(
                weed,
                data=self._dir / "data",
                config=self._dir / "s3.json",
                log=self.log_file,
                ports=ports,
            )
            self.endpoint_url = f"http://{HOST}:{ports.s3}"
            if self._wait_ready(deadline):
                return
            clash = "address already in use" in self._log_text()
            self._process.stop(0.0)
            self._process = None
            if not clash:
                break
        raise LocalFailure(
            f"the embedded store did not come up within {self._start_timeout_s:g} s; its last words:\n"
            + "\n".join(self._log_text().splitlines()[-_LOG_LINES:]),
            hint=f"Read {self.log_file}; look for a full disk or a port that is taken.",
        )

    def _log_text(self) -> str:
        with suppress(OSError):
            return self.log_file.read_text(errors="replace")
        return ""

    def _wait_ready(self, deadline: float) -> bool:
        """Whether the server answers before the deadline; False as soon as it has ended."""
        import boto3.session  # noqa: PLC0415  (takes 0.3 s to load)
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        client = boto3.session.Session(
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key, region_name="us-east-1"
        ).client(
            "s3",
            endpoint_url=self.endpoint_url,
            config=Config(
                connect_timeout=2,
                read_timeout=10,
                retries={"total_max_attempts": 1},
                proxies={},
                s3={"addressing_style": "path"},
            ),
        )
        with closing(client):
            while time.monotonic() < deadline and self._process is not None and self._process.running:
                try:
                    with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                        client.create_bucket(Bucket=self.bucket)
                    client.put_object(Bucket=self.bucket, Key=_PROBE, Body=b"ready")
                    client.delete_object(Bucket=self.bucket, Key=_PROBE)
                except (ClientError, BotoCoreError):
                    time.sleep(_POLL_S)
                else:
                    return True
        return False


def _identities(access_key: str, secret_key: str) -> str:
    return json.dumps(
        {
            "identities": [
                {
                    "name": "admin",
                    "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        }
    )
