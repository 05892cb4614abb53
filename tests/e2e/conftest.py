"""A real `zoo serve --dev` (SeaweedFS, starter family, gRPC server) in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Served:
    """The running server and how to run `zoo` against it."""

    process: subprocess.Popen[bytes]
    address: str
    environment: dict[str, str]

    def zoo(self, *arguments: str | Path, code: int = 0, **extra: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "seedzoo_client", *map(str, arguments)],
            env={**self.environment, **extra}, capture_output=True, text=True, check=False, timeout=280,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str | Path, **extra: str) -> Any:
        return json.loads(self.zoo(*arguments, "--json", **extra).stdout)

    def fails(self, *arguments: str | Path, code: int, **extra: str) -> str:
        """The one error of a command that must fail, and its hint."""
        done = self.zoo(*arguments, code=code, **extra)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, done.stderr
        return done.stderr


def start(folder: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], str, dict[str, str]]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SEEDZOO_")},
        "SEEDZOO_HOME": str(folder / "home"),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    log = (folder / "server.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "seedzoo_client", "serve", *arguments, "--port", "0", "--json"],
        env=environment, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
    )  # fmt: skip
    log.close()
    assert process.stdout is not None
    text = b""
    for line in process.stdout:
        text += line
        if line.startswith(b"}"):
            break
    answer = json.loads(text or b"{}")
    assert "address" in answer, (folder / "server.log").read_text()
    return process, answer["address"], {**environment, "SEEDZOO_SERVER": answer["address"]}


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    code = process.wait(60)
    assert process.stdout is not None
    process.stdout.close()
    return code


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`zoo serve --dev`, stopped with SIGTERM at the end; it must stop cleanly."""
    folder = tmp_path_factory.mktemp("dev")
    process, address, environment = start(folder, "--dev", "--dev-dir", str(folder / "data"))
    yield Served(process, address, environment)
    assert stop(process) == 0


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers with the given arguments; what still runs at the end is killed."""
    running: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str) -> Served:
        process, address, environment = start(tmp_path, *arguments)
        running.append(process)
        return Served(process, address, environment)

    yield run
    for process in running:
        if process.poll() is None:
            stop(process, signal.SIGKILL)
