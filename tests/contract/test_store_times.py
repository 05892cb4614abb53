"""Ages on a store that speaks S3: its times are UTC, and expiry and garbage collection go by them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from seedzoo.catalog.catalog import release_key, release_prefix
from seedzoo.catalog.garbage import collect_garbage, store_now
from seedzoo.catalog.s3 import S3Store
from seedzoo_server.storage.keys import dataset_prefix
from seedzoo_server.sweeper import Sweeper, Swept
from seedzoo_server.tenants import Tenants


@pytest.fixture(params=["UTC", "Pacific/Kiritimati"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine's own zone must not matter; one is 14 hours ahead."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
def test_the_store_tells_the_time_in_utc(moto_store: S3Store) -> None:
    assert os.environ["TZ"]
    now = store_now(moto_store)
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=2)
    assert list(moto_store.list("")) == []
    moto_store.put("k", b"x")
    (listed,) = moto_store.list("")
    assert listed.modified == moto_store.head("k").modified
    assert timedelta(0) <= listed.modified - now < timedelta(minutes=2)


@pytest.mark.usefixtures("zone")
def test_garbage_goes_after_a_day(moto_store: S3Store) -> None:
    moto_store.put(f"{release_prefix('mini', '01OLD')}/family.json", b"{}")
    moto_store.put(f"{release_prefix('mini', '02NEW')}/family.json", b"{}")
    moto_store.put(release_key("mini", "02NEW"), b"{}")
    assert collect_garbage(moto_store) == []
    later = store_now(moto_store) + timedelta(hours=23, minutes=55)
    assert collect_garbage(moto_store, clock=lambda: later) == []
    later += timedelta(minutes=10)
    assert [found.id for found in collect_garbage(moto_store, clock=lambda: later)] == ["01OLD"]
    assert {info.key.split("/")[3] for info in moto_store.list("")} == {"02NEW"}


@pytest.mark.usefixtures("zone")
def test_datasets_expire_after_their_days(moto_store: S3Store) -> None:
    tenants = Tenants(moto_store, max_items=10, max_item_bytes=10)
    acme = tenants.of("acme")
    dataset = acme.datasets.create("d", ("a",), 2).record.id
    acme.datasets.mark_selection(dataset, "sel-1")
    acme.store.put(f"{dataset_prefix(dataset)}/packs/01ALONE.bin", b"x")
    later = [store_now(moto_store)]
    sweeper = Sweeper(tenants, moto_store, dataset_days=7, clock=lambda: later[0])
    assert sweeper.sweep() == Swept()
    later[0] += timedelta(days=1, minutes=5)
    assert sweeper.sweep() == Swept(packs=1, marks=1)
    later[0] += timedelta(days=5, hours=23)
    assert acme.datasets.state(dataset).record.id == dataset
    assert sweeper.sweep() == Swept()
    later[0] += timedelta(hours=1)
    assert sweeper.sweep() == Swept(datasets=1)
    assert list(moto_store.list("")) == []
    assert Sweeper(tenants, moto_store, dataset_days=7).sweep() == Swept()  # by the store's own clock
