"""The seedzoo client: pick the variant that works best on your own data.

::

    from seedzoo_client import Client

    with Client("localhost:7316") as zoo:
        report = zoo.select("mydata/")
        model = zoo.download(report.recommended, to="model.onnx")

Importing it loads no machine-learning package. Errors are :class:`seedzoo.errors.ZooError` and its subclasses.
"""

from seedzoo.errors import ZooError
from seedzoo.records import SelectionReport
from seedzoo_client.client import Client
from seedzoo_client.datasets import LocalDataset, open_dataset
from seedzoo_client.progress import Progress, Stage
from seedzoo_client.settings import RetryConfig, TLSConfig
from seedzoo_client.upload import UploadedDataset
from seedzoo_client.views import ConditionView, FamilyView, ProfileView, VariantView

__all__ = [
    "Client",
    "ConditionView",
    "FamilyView",
    "LocalDataset",
    "ProfileView",
    "Progress",
    "RetryConfig",
    "SelectionReport",
    "Stage",
    "TLSConfig",
    "UploadedDataset",
    "VariantView",
    "ZooError",
    "open_dataset",
]
