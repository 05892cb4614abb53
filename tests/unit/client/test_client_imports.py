"""The client is light: importing it loads no machine-learning package and no server."""

from __future__ import annotations

import subprocess
import sys

import pytest

import seedzoo_client

HEAVY = (
    "PIL", "boto3", "botocore", "msgspec", "onnx", "onnxruntime", "pyarrow", "pydantic", "scipy", "seedzoo_server",
    "seedzoo.catalog", "seedzoo.engine", "seedzoo.executors", "seedzoo.inference", "seedzoo.selection", "timm", "torch",
)  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    [
        "import seedzoo_client",
        "import seedzoo_client.cli.select, seedzoo_client.cli.predict, seedzoo_client.local, seedzoo.console",
    ],
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


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("seedzoo_client.cli.main(['--version'], standalone_mode=False)", ("grpc", "numpy", "google.protobuf")),
        ("import seedzoo_client.client", ("numpy", "rich", "seedzoo_client.labelling", "seedzoo_client.download")),
        # What is wrong with the data is told before gRPC is loaded.
        ("import seedzoo_client.cli.select", ("grpc", "numpy", "rich", "importlib.metadata")),
        # With the answer as JSON nothing is drawn, and a known command needs no look at what is installed.
        (
            "seedzoo_client.cli.main(['families', '--json', '--server', 'no/address'], standalone_mode=False)",
            ("numpy", "importlib.metadata"),
        ),
    ],
)
def test_what_is_not_needed_is_not_loaded(statement: str, absent: tuple[str, ...]) -> None:
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import seedzoo_client.cli; {statement}; "
        f"print(sorted(set({absent!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_exported_names() -> None:
    assert sorted(seedzoo_client.__all__) == [
        "AsyncClient", "AsyncLabellingSession", "Client", "ConditionView", "FamilyView", "LabellingSession",
        "LocalDataset", "LocalZoo", "ProfileView", "Progress", "ReadDataset", "RetryConfig", "SelectionReport", "Stage",
        "TLSConfig", "UploadedDataset", "VariantView", "ZooError", "open_dataset",
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
