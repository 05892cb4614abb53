"""The wheel: complete, light, and without names that belong to nobody."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "timm", "onnx", "onnxruntime", "boto3", "scipy", "PIL", "pyarrow", "msgspec", "pydantic_settings")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        check=True,
    )
    (found,) = folder.glob("*.whl")
    return found


def test_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "seedzoo", "seedzoo_client", "seedzoo_protos", "seedzoo_server",
    }  # fmt: skip
    assert sum(name.startswith("seedzoo/starter/fashion-cnn/models/") for name in names) == 50
    for needed in ("family.json", "profile.parquet", "recipe.toml"):
        assert f"seedzoo/starter/fashion-cnn/{needed}" in names
    assert "seedzoo_protos/v1/catalog.proto" in names
    assert all(f"{package}/py.typed" in names for package in ("seedzoo", "seedzoo_client", "seedzoo_server"))
    assert wheel.stat().st_size < 20e6


def test_light_install(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(wheel)],
        check=True,
    )
    script = (
        "import importlib.util, sys, seedzoo_client;"
        f"present = [name for name in {HEAVY!r} if importlib.util.find_spec(name)];"
        "assert not present, present;"
        "from seedzoo_client import Client; print(Client)"
    )
    subprocess.run([str(python), "-W", "error", "-c", script], check=True, cwd=tmp_path)
    zoo = environment / "bin" / "zoo"
    helped = subprocess.run([str(zoo), "--help"], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "select" in helped.stdout
    for command, extra in (("serve", "server"), ("build", "train"), ("publish", "local"), ("demo", "demo")):
        failed = subprocess.run(
            [str(zoo), command, "x"] if command == "build" else [str(zoo), command],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert failed.returncode == 10, failed.stderr
        assert f"seedzoo[{extra}]" in failed.stderr
        assert "Traceback" not in failed.stderr
