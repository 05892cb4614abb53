"""A publisher in another process, while clients read: what they see is whole, never goes back, and is current."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from tests.bundles import edit_family
from tests.integration.real_server import serving
from tests.support import small_bundle

from seedzoo.catalog.current import LONGEST_S, tell_change
from seedzoo.catalog.local import LocalStore
from seedzoo_protos.v1 import catalog_pb2, catalog_pb2_grpc

READERS = 4
PUBLISHER = """
import sys
from pathlib import Path
from seedzoo.catalog.garbage import collect_garbage
from seedzoo.catalog.open import open_store
from seedzoo.catalog.publish import publish

store = open_store(sys.argv[1])
for line in sys.stdin:
    release, new = publish(store, Path(line.strip()))
    collect_garbage(store)
    print(release.id, flush=True)
"""


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PUBLISHER, str(tmp_path / "store")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def published(publisher: subprocess.Popen[str], bundle: Path) -> str:
    assert publisher.stdin is not None
    assert publisher.stdout is not None
    publisher.stdin.write(f"{bundle}\n")
    publisher.stdin.flush()
    release = publisher.stdout.readline().strip()
    assert release, "the publisher failed"
    return release


def test_readers_see_whole_releases_that_follow_each_other(publisher: subprocess.Popen[str], tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    releases = [published(publisher, bundle)]
    tell_change(LocalStore(tmp_path / "store"))  # where nobody has ever told anything, servers trust nobody
    stopping = threading.Event()
    seen: list[list[str]] = [[] for _ in range(READERS)]
    faults: list[str] = []

    def read(stub: catalog_pb2_grpc.CatalogServiceStub, own: list[str]) -> None:
        while not stopping.is_set():
            try:
                listed = stub.ListVariants(
                    catalog_pb2.ListVariantsRequest(family="mini", order_by="accuracy[id] desc"), timeout=60
                )
                profile = stub.GetProfile(catalog_pb2.GetProfileRequest(family="mini"), timeout=60)
            except grpc.RpcError as error:
                faults.append(str(error))
                return
            if len({variant.release for variant in listed.variants}) != 1 or listed.total_size != 4:
                faults.append(f"a page of several releases: {listed}")
            for release in (listed.variants[0].release, profile.release):
                if not own or own[-1] != release:
                    own.append(release)

    with (
        serving(LocalStore(tmp_path / "store")) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        readers = [threading.Thread(target=read, args=(stub, own)) for own in seen]
        for reader in readers:
            reader.start()
        try:
            for number in range(2):
                shutil.copytree(bundle, again := tmp_path / f"again-{number}")
                edit_family(again, lambda family, number=number: replace(family, title=f"edition {number}"))
                releases.append(published(publisher, again))
                told = time.monotonic()
                while any(own[-1:] != releases[-1:] for own in seen) and not faults:
                    # Half of what it takes where the publisher tells nobody.
                    assert time.monotonic() - told < LONGEST_S / 2, "a release that was published is not seen"
                    time.sleep(0.02)
                family = stub.GetFamily(catalog_pb2.GetFamilyRequest(name="mini"), timeout=60)
                assert (family.release, family.title) == (releases[-1], f"edition {number}")
            small_bundle(tmp_path / "other", name="other")
            published(publisher, tmp_path / "other")
            one = stub.GetFamily(catalog_pb2.GetFamilyRequest(name="other"), timeout=60)
            assert one.name == "other"  # what nobody has asked about before is there at once
        finally:
            stopping.set()
            for reader in readers:
                reader.join()
    assert faults == []
    assert all(own == releases for own in seen)
