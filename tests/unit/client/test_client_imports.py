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
        "print(sorted({'grpc', 'numpy', 'seedzoo_client.cli.select', 'seedzoo_server', 'seedzoo.commands'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Exit codes:" in done.stdout


def test_exported_names() -> None:
    assert sorted(seedzoo_client.__all__) == [
        "AsyncClient", "AsyncLabellingSession", "Client", "ConditionView", "FamilyView", "LabellingSession",
        "LocalDataset", "ProfileView", "Progress", "RetryConfig", "SelectionReport", "Stage", "TLSConfig",
        "UploadedDataset", "VariantView", "ZooError", "open_dataset",
    ]  # fmt: skip
    assert all(hasattr(seedzoo_client, name) for name in seedzoo_client.__all__)
    assert set(seedzoo_client.__all__) <= set(dir(seedzoo_client))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = seedzoo_client.Nothing


def test_the_entry_point_is_light() -> None:
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import seedzoo_client.entry; "
        "print(sorted({'click', 'grpc', 'numpy', 'rich', 'seedzoo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["seedzoo_client.cli", "rich.text", "click"])
def test_ctrl_c_while_it_still_imports(module: str) -> None:
    code = f"""
import signal, sys
sys.path[:0] = {sys.path!r}
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["zoo", "families"]
from seedzoo_client.entry import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: stopped by Ctrl-C\n")
