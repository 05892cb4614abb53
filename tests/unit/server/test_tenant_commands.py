"""`zoo tenant` and `zoo gc`, as operators call them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from seedzoo.catalog.catalog import release_prefix
from seedzoo.catalog.local import LocalStore
from seedzoo_client.cli import main
from seedzoo_server.quotas import Quota
from seedzoo_server.storage.datasets import Item
from seedzoo_server.tenant_commands import parse_count, parse_size
from seedzoo_server.tenants import Tenants


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def zoo(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def answer(*arguments: object) -> Any:
    done = zoo(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_set_then_show(folder: Path) -> None:
    done = zoo("tenant", "set", "acme", "--max-bytes", "10GB", "--max-items", "10,000", "--store", folder)
    assert done.exit_code == 0
    assert "bytes\t0 bytes\tof 10.00 GB" in done.stdout
    assert "datasets\t0\tof the server's default" in done.stdout
    assert "within 60 seconds" in done.stderr
    assert answer("tenant", "set", "acme", "--max-bytes", "default", "--max-datasets", "none", "--store", folder) == {
        "tenant": "acme",
        "quota": {"max_bytes": None, "max_datasets": 0, "max_items": 10_000, "max_image_pixels": None},
        "used": {"datasets": 0, "items": 0, "bytes": 0},
    }
    assert "datasets\t0\tof any number" in zoo("tenant", "show", "acme", "--store", folder).stdout
    # The server reads the same.
    quota = Tenants(LocalStore(folder), max_items=10, max_item_bytes=10, default_quota=Quota(1, 2, 3))
    quota.of("acme").datasets.create("1", ("a",), 4)


def test_show_tells_what_is_used_and_what_is_too_much(folder: Path) -> None:
    datasets = Tenants(LocalStore(folder), max_items=10, max_item_bytes=1000).of("acme").datasets
    dataset = datasets.create("1", ("a",), 3).record.id
    datasets.append(dataset, [Item(0, hashlib.sha256(b"x").hexdigest(), 700, -1)])
    assert answer("tenant", "show", "acme", "--store", folder)["used"] == {"datasets": 1, "items": 3, "bytes": 700}
    done = zoo("tenant", "set", "acme", "--max-bytes", "500", "--max-items", "2", "--store", folder)
    assert "more than its quota of bytes and items" in done.stderr


def test_what_operators_get_wrong(folder: Path) -> None:
    zoo("tenant", "set", "acme", "--max-bytes", "1", "--store", folder)
    unknown = zoo("tenant", "show", "acne", "--store", folder)
    assert (unknown.exit_code, "Did you mean acme?" in unknown.stderr) == (4, True)
    for bad in ("ten", "-1", "1.5", "1_000"):
        refused = zoo("tenant", "set", "acme", "--max-items", bad, "--store", folder)
        assert (refused.exit_code, "none or default" in refused.stderr) == (2, True), bad
    assert zoo("tenant", "set", "acme", "--store", folder).exit_code == 2
    assert zoo("tenant", "set", "Acme", "--max-items", "1", "--store", folder).exit_code == 3
    assert zoo("tenant", "set", "../x", "--max-items", "1", "--store", folder).exit_code == 3
    assert zoo("tenant", "set", "acme", "--max-items", "1", "--store", "memory://").exit_code == 3
    assert zoo("tenant", "set", "acme", "--max-bytes", "9999999999PB", "--store", folder).exit_code == 3
    assert [info.key for info in LocalStore(folder).list("")] == ["tenants/acme/tenant.json"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("none", 0), ("NONE", 0), ("default", None), ("1", 1), ("1b", 1), ("10GB", 10**10), ("10 gb", 10**10),
        ("10G", 10**10), ("1.5KiB", 1536), ("2MiB", 2 << 20), ("1tb", 10**12), ("3PiB", 3 << 50),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "10XB", "-1", "1e9", "10 G B", "5iB", "0.5", "0.0001kB", "nan", "inf"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is no limit"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("7", 7), ("1,000,000", 1_000_000), ("none", 0), ("Default", None)]
)
def test_counts(text: str, count: int | None) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "1,00", "1.0", "-3", "1k", "١"])
def test_no_counts(text: str) -> None:
    with pytest.raises(ValueError, match="is no limit"):
        parse_count(text)


def left_behind(folder: Path, *, hours: float) -> None:
    store = LocalStore(folder)
    prefix = release_prefix("mini", "01OLD")
    store.put(f"{prefix}/family.json", b"12345")
    path = folder / prefix / "family.json"
    old = path.stat().st_mtime - hours * 3600
    os.utime(path, (old, old))


def test_gc_deletes_what_an_unfinished_publish_left(folder: Path) -> None:
    left_behind(folder, hours=23)
    assert answer("gc", "--store", folder) == {"releases": [], "bytes": 0, "dry_run": False}
    left_behind(folder, hours=25)
    would = zoo("gc", "--store", folder, "--dry-run")
    assert "mini@01OLD\t1 objects\t5 bytes\tlast written 20" in would.stdout
    assert "would be deleted" in would.stderr
    done = answer("gc", "--store", folder)
    assert [(found["family"], found["id"], found["objects"]) for found in done["releases"]] == [("mini", "01OLD", 1)]
    assert list(LocalStore(folder).list("")) == []


def test_gc_makes_no_store(folder: Path) -> None:
    done = zoo("gc", "--store", folder)
    assert done.exit_code == 0
    assert "is it the right store?" in done.stderr
    assert not folder.exists()


def test_both_are_in_the_list_of_commands() -> None:
    listed = zoo("--help").stdout
    assert "Show and set what tenants may keep on a server." in listed
    assert "Delete what unfinished publishes left in a store." in listed
