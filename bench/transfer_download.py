"""A model fetched: through the client library, by presigned URL, with boto3, and with the aws command line."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import onnx
from onnx import TensorProto

from seedzoo.catalog.bundle import FAMILY_FILE, model_path
from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.integrity import sha256_file
from seedzoo.records import Family, FileEntry
from seedzoo_client import Client
from seedzoo_protos.v1 import catalog_pb2, catalog_pb2_grpc

__all__ = ["WAYS", "aws_command", "measure_downloads", "padded_bundle"]

WAYS = {
    "api": "`Client.download`, verified",
    "url": "presigned URL, verified",
    "boto3": "boto3 `download_file`",
    "aws": "`aws s3 cp`",
}
"""What is measured, and how it is called in the table."""


def padded_bundle(source: Path, folder: Path, *, name: str, size: int) -> Path:
    """A copy of a bundle under another name, whose first variant's model carries ``size`` more bytes."""
    shutil.copytree(source, folder)
    record = folder / FAMILY_FILE
    family = decode_json(record.read_bytes(), Family, where=str(record))
    first = family.variants[0]
    path = folder / model_path(first.tag)
    model = onnx.load(path)
    model.graph.initializer.append(
        TensorProto(name="padding", data_type=TensorProto.UINT8, dims=[size], raw_data=os.urandom(size))
    )
    onnx.save(model, path)
    entry = FileEntry(path=model_path(first.tag), size=path.stat().st_size, sha256=sha256_file(path))
    variants = (replace(first, model=entry), *family.variants[1:])
    record.write_bytes(encode_json(replace(family, name=name, variants=variants)))
    return folder


def aws_command(folder: Path) -> tuple[list[str], str]:
    """The aws command line in a virtual environment of its own, or no words and why it is not there."""
    command = folder / "bin" / "aws"
    if not command.exists():
        steps = ([sys.executable, "-m", "venv", str(folder)], [str(folder / "bin" / "pip"), "install", "-q", "awscli"])
        for step in steps:
            done = subprocess.run(step, capture_output=True, check=False, text=True)
            if done.returncode:
                return [], f"awscli could not be installed: {done.stderr.strip().splitlines()[-1:]}"
    version = subprocess.run([command, "--version"], capture_output=True, check=False, text=True)
    return ([str(command)], version.stdout.split()[0]) if not version.returncode else ([], "aws --version fails")


def measure_downloads(
    variant: str,
    *,
    address: str,
    home: Path,
    s3: Any,
    bucket: str,
    key: str,
    aws: list[str],
    environment: Mapping[str, str],
    rounds: int,
) -> dict[str, list[float]]:
    """Seconds of each way in each round; each time into a folder where nothing is yet.

    Args:
        variant: Whose model.
        address: Of the server.
        home: Folder for what is fetched.
        s3: boto3's client for the server's store.
        bucket: The store's bucket.
        key: Of the model there.
        aws: The aws command and what goes before its subcommand; empty where there is none.
        environment: For the command.
        rounds: How often each is measured.
    """
    with grpc.insecure_channel(address) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        wanted = catalog_pb2.GetVariantRequest(name=variant, with_download_url=True)
        sha256 = stub.GetVariant(wanted).model_sha256

        def api(folder: Path) -> Path:
            with Client(address, home=folder) as zoo:
                return zoo.download(variant)

        def url(folder: Path) -> Path:
            target, digest = folder / "model.onnx", hashlib.sha256()
            with urllib.request.urlopen(stub.GetVariant(wanted).download_url) as answer, target.open("wb") as file:
                while block := answer.read(1 << 20):
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != sha256:
                raise SystemExit("the presigned URL gives other bytes")
            return target

        def boto3(folder: Path) -> Path:
            s3.download_file(bucket, key, str(folder / "model.onnx"))
            return folder / "model.onnx"

        def command(folder: Path) -> Path:
            words = [*aws, "s3", "cp", "--quiet", f"s3://{bucket}/{key}", str(folder / "model.onnx")]
            subprocess.run(words, env=dict(environment), check=True)
            return folder / "model.onnx"

        ways: dict[str, Callable[[Path], Path]] = {"api": api, "url": url, "boto3": boto3}
        if aws:
            ways["aws"] = command
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        order = list(ways)
        for turn in range(rounds):
            random.Random(turn).shuffle(order)
            for name in order:
                folder = home / f"{name}-{turn}"
                folder.mkdir(parents=True)
                started = time.perf_counter()
                found = ways[name](folder)
                seconds[name].append(time.perf_counter() - started)
                if sha256_file(found) != sha256:
                    raise SystemExit(f"{name} fetched other bytes")
                shutil.rmtree(folder)
            print(turn, {name: round(values[-1], 3) for name, values in seconds.items()}, flush=True)
    return seconds
