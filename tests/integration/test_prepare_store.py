"""deploy/prepare_store.py against a real S3 server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import boto3
import pytest
from tests.support import small_bundle

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.names import FamilyRef
from seedzoo.catalog.open import open_store
from seedzoo.catalog.publish import publish

SCRIPT = Path(__file__).parents[2] / "deploy" / "prepare_store.py"
SERVE = [sys.executable, "-c", "print('serving')"]


def environment(store: str, endpoint: str) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**os.environ, **keys, "SEEDZOO_SERVER_STORE": store, "SEEDZOO_S3_ENDPOINT": endpoint}


def test_it_makes_the_bucket_and_publishes_into_an_empty_store_only(
    moto_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"made-{uuid.uuid4().hex[:8]}"
    url = f"s3://{bucket}/zoo"
    for name, value in environment(url, moto_endpoint).items():
        monkeypatch.setenv(name, value)

    def prepare() -> str:
        return subprocess.run([sys.executable, SCRIPT, *SERVE], check=True, capture_output=True, text=True).stdout

    client = boto3.client("s3", endpoint_url=moto_endpoint)
    client.create_bucket(Bucket=bucket)
    store = open_store(url)
    # A family of the operator's own, under the starter's name: its alias must not be moved by a restart.
    own, _ = publish(store, small_bundle(tmp_path / "own", name="fashion-cnn"))
    assert prepare() == "serving\n"
    assert Catalog(store).release(FamilyRef("fashion-cnn")).id == own.id

    monkeypatch.setenv("SEEDZOO_SERVER_STORE", f"s3://{bucket}-new/zoo")
    assert prepare() == "serving\n"
    assert Catalog(open_store(f"s3://{bucket}-new/zoo")).family_names() == ["fashion-cnn"]


def test_it_ends_when_it_is_told_to_stop_while_the_store_is_away() -> None:
    away = environment("s3://nowhere/zoo", "http://127.0.0.1:1")
    process = subprocess.Popen([sys.executable, SCRIPT, *SERVE], env=away, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "waiting for the store\n"
    process.send_signal(signal.SIGTERM)
    process.communicate()
    # Not -SIGTERM: the default action does not end the first process of a container.
    assert process.returncode == 128 + signal.SIGTERM
