"""Store URLs: what opens what, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.open import open_store
from seedzoo.catalog.s3 import S3Store
from seedzoo.errors import RequestError


def test_directories(tmp_path: Path) -> None:
    for url in (str(tmp_path / "a b"), f"file://{tmp_path}/a%20b", f"file://localhost{tmp_path}/a%20b"):
        store = open_store(url)
        assert isinstance(store, LocalStore)
        assert store.url == (tmp_path / "a b").as_uri()
    assert not (tmp_path / "a b").exists(), "opening must not create anything"


def test_memory_is_new_each_time() -> None:
    first, second = open_store("memory://"), open_store("memory://")
    assert isinstance(first, MemoryStore)
    first.put("k", b"x")
    assert not second.exists("k")


@pytest.mark.parametrize(
    ("url", "environment", "overrides", "expected"),
    [
        ("s3://zoo/a/b/?endpoint=http://q:1", {}, {}, "s3://zoo/a/b/ at http://q:1"),
        ("s3://zoo?endpoint=http://q:1", {"SEEDZOO_S3_ENDPOINT": "http://e:2"}, {}, "s3://zoo/ at http://q:1"),
        ("s3://zoo", {"SEEDZOO_S3_ENDPOINT": "http://e:2"}, {}, "s3://zoo/ at http://e:2"),
        ("s3://zoo", {"AWS_ENDPOINT_URL": "http://aws:3"}, {}, "s3://zoo/ at http://aws:3"),
        ("s3://zoo?endpoint=http://q:1", {}, {"endpoint_url": "http://o:4"}, "s3://zoo/ at http://o:4"),
        ("s3://zoo?region=eu-west-1", {}, {}, "s3://zoo/ at https://s3.eu-west-1.amazonaws.com"),
    ],
)
def test_where_the_endpoint_comes_from(
    url: str,
    environment: dict[str, str],
    overrides: dict[str, object],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SEEDZOO_S3_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(url, access_key="a", secret_key="b", **overrides)
    assert isinstance(store, S3Store)
    assert store.url == expected
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a\0b",
        "ftp://host/x",
        "gs://bucket",
        "s3:/bucket/x",
        "s3://",
        "s3:///key",
        "s3://bucket/../x",
        "s3://bucket?endpoint=localhost",
        "s3://bucket?secret_key=hunter2",
        "s3://id:hunter2@bucket/x",
        "s3://bucket/x#y",
        "s3://bucket?endpoint=http://id:hunter2@host",
        "file://otherhost/x",
        "file://",
        "file:x",
        "memory://named",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(RequestError) as caught:
        open_store(url)
    assert caught.value.hint
    assert "hunter2" not in caught.value.message


def test_overrides_must_fit(tmp_path: Path) -> None:
    for url in ("memory://", str(tmp_path), f"file://{tmp_path}", "s3://bucket"):
        with pytest.raises(RequestError, match="colour"):
            open_store(url, colour="blue")
    with pytest.raises(RequestError, match="go together"):
        open_store("s3://bucket", access_key="a")


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="not a directory"):
        open_store(str(tmp_path / "file"))
