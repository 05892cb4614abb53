"""The client is light: importing it loads no machine-learning package and no server."""

from __future__ import annotations

import subprocess
import sys

import pytest

import seedzoo_client

HEAVY = (
    "PIL", "boto3", "botocore", "msgspec", "onnx", "onnxruntime", "pyarrow", "pydantic", "scipy", "seedzoo_server",
    "seedzoo.catalog", "seedzoo.inference", "seedzoo.selection", "timm", "torch",
)  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    ["import seedzoo_client", "import seedzoo_client.cli.select, seedzoo_client.cli.predict, seedzoo.console"],
)
def test_heavy_packages_stay_out(statement: str) -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}; {statement}; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_imports_neither_grpc_nor_commands() -> None:
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; from seedzoo_client.cli import main; "
        "main(['--help'], standalone_mode=False); "
        "print(sorted({'seedzoo_client.cli.select', 'seedzoo_server', 'seedzoo.commands'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Exit codes:" in done.stdout


def test_exported_names() -> None:
    assert sorted(seedzoo_client.__all__) == [
        "Client", "ConditionView", "FamilyView", "LocalDataset", "ProfileView", "Progress", "RetryConfig",
        "SelectionReport", "Stage", "TLSConfig", "UploadedDataset", "VariantView", "ZooError", "open_dataset",
    ]  # fmt: skip
    assert all(hasattr(seedzoo_client, name) for name in seedzoo_client.__all__)
