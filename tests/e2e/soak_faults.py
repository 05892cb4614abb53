"""The servers of a soak test, and who kills them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from seedzoo_server.embedded_s3 import EmbeddedS3

if TYPE_CHECKING:
    from tests.e2e.soak import Ledger

__all__ = ["GAVE_UP", "Chaos", "Server"]

GAVE_UP = "servers that gave up starting"
_LEASE_S = 2.0
_START_S = 90.0


class Server:
    """One `zoo serve` that is started again on the same port."""

    def __init__(self, name: str, folder: Path, port: int, store: str, environment: dict[str, str]) -> None:
        self.name, self.folder, self.address = name, folder / name, f"127.0.0.1:{port}"
        (self.folder / "tmp").mkdir(parents=True)
        self._command = [sys.executable, "-m", "seedzoo_client", "serve", "--store", store, "--port", str(port)]
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SEEDZOO_")},
            **environment,
            "SEEDZOO_SERVER_LEASE_S": str(_LEASE_S),
            "SEEDZOO_HOME": str(self.folder / "home"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "TMPDIR": str(self.folder / "tmp"),
        }
        self._starts = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def _said(self) -> Path:
        return self.folder / f"start-{self._starts}.json"

    @property
    def ready(self) -> bool:
        return self.running and b'"address"' in self._said.read_bytes()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self._starts += 1
        with self.log.open("ab") as log, self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [*self._command, "--json"], cwd=self.folder, env=self._environment, stdout=said, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def end(self, number: signal.Signals) -> int | None:
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(number)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Chaos:
    """Injects faults until it is stopped, and starts again whatever is down."""

    def __init__(
        self, servers: list[Server], s3: EmbeddedS3, ledger: Ledger, *, seed: int, store_faults: bool, pause_s: float
    ) -> None:
        self._servers, self._s3, self._ledger = servers, s3, ledger
        self._random = random.Random(f"chaos {seed}")
        self.kinds = {"servers killed": 6, "servers stopped": 2, "store killed": 2 if store_faults else 0}
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._outage_ended = 0.0
        self._thread = threading.Thread(target=self._run, name="chaos")

    def __enter__(self) -> Chaos:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._random.uniform(0.3, 1.7) * self._pause_s):
            (kind,) = self._random.choices(list(self.kinds), weights=list(self.kinds.values()))
            if kind == "store killed":
                self._outage()
            else:
                self._restart(self._random.choice(self._servers), kind)
            self._ledger.add(kind)
            self.revive()

    def _outage(self) -> None:
        endpoint = self._s3.endpoint_url
        self._s3.kill()
        self._stopping.wait(self._random.uniform(0.0, 6.0))
        self._s3.start()
        self._outage_ended = time.monotonic()
        if self._s3.endpoint_url != endpoint:
            self._ledger.problem(f"the store came back at {self._s3.endpoint_url}: the run says nothing")

    def _restart(self, server: Server, kind: str) -> None:
        # Not by the process's return code: a stop may find a process that has not started fully.
        was_ready = server.ready
        code = server.end(signal.SIGKILL if kind == "servers killed" else signal.SIGTERM)
        if code == -signal.SIGTERM:
            # `zoo serve` says its address before it handles signals: a stop in between ends it as a kill does.
            self._ledger.add("stops before signals are handled")
        elif was_ready and kind == "servers stopped" and code not in (0, None):
            self._ledger.problem(f"{server.name} ended with {code} when it was told to stop")
        self._stopping.wait(self._random.uniform(0.0, 1.5))
        server.start()

    def revive(self) -> None:
        """Start what ended by itself: a server that starts while the store is away gives up."""
        for server in self._servers:
            if not server.running:
                if time.monotonic() - self._outage_ended > 30.0:
                    self._ledger.problem(f"{server.name} ended by itself")
                self._ledger.add(GAVE_UP)
                server.start()

    def calm(self) -> None:
        """Wait until all servers serve."""
        deadline = time.monotonic() + _START_S
        while not all(server.ready for server in self._servers):
            if time.monotonic() > deadline:
                raise TimeoutError("a server does not come up")
            self.revive()
            time.sleep(0.2)
