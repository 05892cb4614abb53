"""Session-wide fixtures: real object stores to test against."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from seedzoo_server.embedded_s3 import EmbeddedS3

# No example has to be fast: what else the machine does is not the code's fault.
settings.register_profile("seedzoo", deadline=None)
settings.load_profile("seedzoo")

if TYPE_CHECKING:
    from seedzoo.catalog.s3 import S3Store


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    """A running SeaweedFS; tests share its bucket, so each works under a prefix of its own."""
    with EmbeddedS3(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """The URL of moto's in-process S3 server, with the bucket ``zoo`` and any credentials accepted."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.session.Session(
        aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1"
    ).client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="zoo")
    client.close()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto_store(moto_endpoint: str, request: pytest.FixtureRequest) -> Iterator[S3Store]:
    """An S3Store on moto, empty for each test."""
    from seedzoo.catalog.s3 import S3Store

    with S3Store("zoo", uuid.uuid4().hex, endpoint_url=moto_endpoint, access_key="any", secret_key="any") as store:
        yield store
