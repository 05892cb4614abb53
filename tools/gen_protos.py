"""Generate the committed protobuf stubs, or check that they are current.

python tools/gen_protos.py            write them
python tools/gen_protos.py --check    exit 1 and name the files that differ
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "protos"
PACKAGE = "seedzoo_protos/v1"
# Stubs of newer generators refuse to run beside older protobuf and grpcio, which users may have pinned.
GENERATOR = "1.71.2"


def generate(target: Path) -> None:
    """Write all stubs below ``target``."""
    from grpc_tools import protoc  # noqa: PLC0415  (told apart from a wrong version)

    if (found := version("grpcio-tools")) != GENERATOR:
        sys.exit(f"stubs are made with grpcio-tools {GENERATOR}, found {found}: pip install grpcio-tools=={GENERATOR}")
    # protoc looks for its plugins on PATH, and a virtual environment need not be activated.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    bundled = Path(protoc.__file__).parent / "_proto"
    protos = sorted(str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).glob("*.proto"))
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python")]
    typed = [f"--mypy_out={target}", f"--mypy_grpc_out={target}"]
    if protoc.main(["protoc", f"-I{ROOT}", f"-I{bundled}", *outputs, *typed, *protos]):
        sys.exit("protoc failed")


def stubs(folder: Path) -> dict[str, bytes]:
    """Relative path to content of every stub below ``folder``."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*_pb2*.py*"))
            if path.suffix in (".py", ".pyi")}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        generate(ROOT)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, committed = stubs(Path(folder)), stubs(ROOT)
    differing = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
    if differing:
        sys.exit(f"stubs are not current: {', '.join(differing)}; run make protos")


if __name__ == "__main__":
    main()
