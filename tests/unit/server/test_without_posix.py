"""Modules that only POSIX systems have: without them client and server start, and say what they cannot do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_WITHOUT = """
import sys
for name in ("fcntl", "grp", "posix_ipc", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
"""


def run(code: str) -> str:
    """What the code prints where Python has none of these modules."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT + code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["seedzoo_client.cli", "seedzoo_server.commands", "seedzoo_server.app"])
def test_it_can_be_imported(module: str) -> None:
    assert run(f"import {module}; print('imported')") == "imported\n"


def test_a_server_decodes_in_threads_and_says_so() -> None:
    said = run(
        """
import asyncio, logging
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import RequestError
from seedzoo_server.app import ZooServer
from seedzoo_server.settings import ServerSettings

async def main():
    server = ZooServer(MemoryStore(), ServerSettings(port=0))
    print(type(server._decoder).__name__, await server.start() > 0)
    await server.stop()
    try:
        ZooServer(MemoryStore(), ServerSettings(port=0, decoder_processes=2))
    except RequestError as error:
        print(error.field, error.hint)

asyncio.run(main())
"""
    )
    assert "images are decoded in threads of the server" in said
    assert "ThreadDecoder True" in said
    assert "decoder_processes Set it to 0" in said


def test_a_directory_is_no_store_there(tmp_path: Path) -> None:
    said = run(
        f"""
from seedzoo.catalog.open import open_store
from seedzoo.errors import LocalFailure
try:
    open_store({str(tmp_path)!r})
except LocalFailure as error:
    print(error.reason, error.hint)
"""
    )
    assert said.startswith("NO_FILE_LOCKS Use a store of the kind s3://")
