"""The seedzoo client: pick the variant that works best on your own data.

::

    from seedzoo_client import Client

    with Client("localhost:7316") as zoo:
        report = zoo.select("mydata/")
        model = zoo.download(report.recommended, to="model.onnx")

:class:`AsyncClient` is the same for asyncio, and :class:`LocalZoo` works without a server. Importing this loads no
machine-learning package, and gRPC only when a client is first named. Errors are :class:`seedzoo.errors.ZooError` and
its subclasses.
"""

from __future__ import annotations

# Type checkers take it for true; importing typing would double the time in which Ctrl-C ends `zoo` with a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from seedzoo.errors import ZooError
    from seedzoo.records import SelectionReport
    from seedzoo_client.aio.client import AsyncClient
    from seedzoo_client.aio.labelling import AsyncLabellingSession
    from seedzoo_client.client import Client
    from seedzoo_client.datasets import LocalDataset, open_dataset
    from seedzoo_client.labelling import LabellingSession
    from seedzoo_client.local import LocalZoo, ReadDataset
    from seedzoo_client.progress import Progress, Stage
    from seedzoo_client.settings import RetryConfig, TLSConfig
    from seedzoo_client.upload import UploadedDataset
    from seedzoo_client.views import ConditionView, FamilyView, ProfileView, VariantView

__all__ = [
    "AsyncClient",
    "AsyncLabellingSession",
    "Client",
    "ConditionView",
    "FamilyView",
    "LabellingSession",
    "LocalDataset",
    "LocalZoo",
    "ProfileView",
    "Progress",
    "ReadDataset",
    "RetryConfig",
    "SelectionReport",
    "Stage",
    "TLSConfig",
    "UploadedDataset",
    "VariantView",
    "ZooError",
    "open_dataset",
]

_HOME_OF = {
    "AsyncClient": "seedzoo_client.aio.client",
    "AsyncLabellingSession": "seedzoo_client.aio.labelling",
    "Client": "seedzoo_client.client",
    "ConditionView": "seedzoo_client.views",
    "FamilyView": "seedzoo_client.views",
    "LabellingSession": "seedzoo_client.labelling",
    "LocalDataset": "seedzoo_client.datasets",
    "LocalZoo": "seedzoo_client.local",
    "ProfileView": "seedzoo_client.views",
    "Progress": "seedzoo_client.progress",
    "ReadDataset": "seedzoo_client.local",
    "RetryConfig": "seedzoo_client.settings",
    "SelectionReport": "seedzoo.records",
    "Stage": "seedzoo_client.progress",
    "TLSConfig": "seedzoo_client.settings",
    "UploadedDataset": "seedzoo_client.upload",
    "VariantView": "seedzoo_client.views",
    "ZooError": "seedzoo.errors",
    "open_dataset": "seedzoo_client.datasets",
}


def __getattr__(name: str) -> Any:
    # PEP 562: the command line runs before gRPC is loaded, and `zoo --help` does without it.
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
