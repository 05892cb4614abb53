"""Emoji: pinned packages from a real HTTP registry, what of them is used, and the shift to another vendor."""

from __future__ import annotations

import base64
import errno
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from PIL import Image

from seedzoo.errors import AlreadyExists, DataError, IntegrityError, LocalFailure, RequestError
from seedzoo.training.data import emoji as emoji_module
from seedzoo.training.data import load_data, packages
from seedzoo.training.data.emoji import CLASSES, write_shift
from seedzoo.training.data.packages import Archive, Package, fetched, registry_url
from seedzoo.training.recipe import DataSection, load_recipe

SECTION = DataSection(source="emoji", test_share=0.5, reserve_test=8)
EACH = 6


def drawing(value: int) -> bytes:
    """A square of one colour on a transparent ground whose hidden colour is black."""
    pixels = np.zeros((64, 64, 4), dtype=np.uint8)
    pixels[16:48, 16:48] = (value, 0, 0, 255)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def index() -> list[dict[str, object]]:
    def entry(unified: str, category: str, subcategory: str = "x", **has: bool) -> dict[str, object]:
        drawn = {"has_img_google": True, "has_img_twitter": True, **has}
        name = unified.lower()
        return {
            "unified": unified,
            "image": f"{name}.png",
            "category": category,
            "subcategory": subcategory,
            "name": "?",
            **drawn,
        }

    used = [
        entry(f"1F{place}{number}0", category)
        for place, category in enumerate(emoji_module._CATEGORIES)
        for number in range(EACH)
    ]
    left_out = [
        entry("1F1E6-1F1E8", "Flags"),
        entry("1F3FB", "Component"),
        entry("1F9DC-200D-2640-FE0F", "People & Body"),
        entry("1F46A", "People & Body", "family"),
        entry("1FAE9", "Objects", has_img_twitter=False),
    ]
    return left_out + used[::-1]  # in use they are in order of code points, whatever the file's


def tarball(vendor: str, *, offset: int) -> bytes:
    files = {"package/emoji.json": json.dumps(index()).encode(), "package/LICENSE": b"MIT", "package/README.md": b"x"}
    for number, item in enumerate(index()):
        files[f"package/img/{vendor}/64/{item['image']}"] = drawing(offset + number)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        # As npm packs them: pictures may stand before the index.
        for name, content in sorted(files.items(), reverse=True):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


TARBALLS = {"google": tarball("google", offset=0), "twitter": tarball("twitter", offset=100)}


def pinned(vendor: str) -> Package:
    digest = base64.b64encode(hashlib.sha512(TARBALLS[vendor]).digest()).decode()
    return Package(name=f"emoji-datasource-{vendor}", version="16.0.0", integrity=f"sha512-{digest}")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A registry with the two packages: its URL, and what it was asked for."""
    asked: list[str] = []

    class Registry(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "registry"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    for vendor, raw in TARBALLS.items():
        package = pinned(vendor)
        path = tmp_path / "registry" / package.name / "-" / f"{package.name}-16.0.0.tgz"
        path.parent.mkdir(parents=True)
        path.write_bytes(raw)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path, served: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, with the small packages pinned and their registry set."""
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", served[0])
    monkeypatch.delenv("SEEDZOO_OFFLINE", raising=False)
    monkeypatch.setattr(packages.platformdirs, "user_cache_path", lambda _: tmp_path / "cache")
    monkeypatch.setattr(emoji_module, "_GOOGLE", pinned("google"))
    monkeypatch.setattr(emoji_module, "_TWITTER", pinned("twitter"))
    return tmp_path / "cache"


def value_of(image: np.ndarray) -> int:
    """Which drawing it is."""
    return int(image[32, 32, 0])


def test_google_trains_and_held_out_emoji_are_apart(cache: Path, served: tuple[str, list[str]]) -> None:
    data = load_data(SECTION)
    assert data.classes == CLASSES
    assert [len(part.labels) for part in (data.train, data.test, data.reserved)] == [24, 16, 8]
    seen = [
        value_of(image)
        for part in (data.train, data.test, data.reserved)
        for image in part.read(range(len(part.labels)))
    ]
    assert sorted(seen) == list(range(5, 5 + 48))
    assert np.array_equal(data.train.read([0])[0, 0, 0], (255, 255, 255))  # white ground, not the hidden black
    kept = {path.name for path in (cache / "emoji-datasource-google-16.0.0").rglob("*") if path.is_file()}
    assert len(kept) == 48 + 2  # the drawings in use, the index and the licence
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]
    before = len(served[1])
    assert load_data(SECTION).test.digest == data.test.digest
    assert len(served[1]) == before  # from the cache


def test_the_shift_shows_the_same_held_out_emoji_by_the_other_vendor(cache: Path, tmp_path: Path) -> None:
    data = load_data(SECTION)
    assert write_shift(SECTION, tmp_path / "shift") == 16
    assert write_shift(SECTION, tmp_path / "reserved", part="reserved") == 8
    section = DataSection(source="image-folder", path=str(tmp_path / "shift"), height=64, test_share=0.5)
    shifted = load_data(section)
    assert shifted.classes == CLASSES
    drawn = [value_of(image) for part in (shifted.train, shifted.test) for image in part.read(range(8))]
    held_out = [value_of(image) for image in data.test.read(range(16))]
    assert sorted(drawn) == sorted(100 + value for value in held_out)
    labels = {
        value_of(image): int(label) for image, label in zip(data.test.read(range(16)), data.test.labels, strict=True)
    }
    for part in (shifted.train, shifted.test):
        for image, label in zip(part.read(range(8)), part.labels, strict=True):
            assert labels[value_of(image) - 100] == int(label)
    with pytest.raises(AlreadyExists, match="shift exists already"):
        write_shift(SECTION, tmp_path / "shift")
    with pytest.raises(RequestError, match="neither test nor reserved"):
        write_shift(SECTION, tmp_path / "other", part="train")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "registry", "reserved", "shift"]


def test_a_folder_with_the_packages_takes_the_place_of_the_registry(
    cache: Path, served: tuple[str, list[str]], tmp_path: Path
) -> None:
    for vendor, raw in TARBALLS.items():
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            tar.extractall(tmp_path / "node_modules" / vendor, filter="data")
        package = tmp_path / "node_modules" / f"emoji-datasource-{vendor}"
        (tmp_path / "node_modules" / vendor / "package").rename(package)
    section = replace(SECTION, path="node_modules")
    assert (
        load_data(section, base=tmp_path).test.digest
        == load_data(replace(section, path=str(tmp_path / "node_modules"))).test.digest
    )
    assert write_shift(section, tmp_path / "shift", base=tmp_path) == 16
    assert served[1] == []
    google = tmp_path / "node_modules" / "emoji-datasource-google"
    victim = next(path for path in (google / "img/google/64").iterdir() if path.name.startswith("1f0"))
    victim.write_bytes(drawing(1)[:60])
    with pytest.raises(DataError, match=f"cannot use .*{victim.name}"):
        load_data(section, base=tmp_path)
    (google / "emoji.json").write_text("[1]")
    with pytest.raises(DataError, match="is no list of emoji"):
        load_data(section, base=tmp_path)
    with pytest.raises(DataError, match=r"cannot read .*emoji\.json"):
        load_data(replace(SECTION, path=str(tmp_path)))


def test_an_index_cannot_name_files_elsewhere(cache: Path, tmp_path: Path) -> None:
    package = tmp_path / "emoji-datasource-google"
    package.mkdir()
    entries = index()
    entries[7]["image"] = "../../secret.png"
    (package / "emoji.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match="is no name of an image file"):
        load_data(replace(SECTION, path=str(tmp_path)))


def test_what_is_not_the_pinned_package_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emoji_module, "_GOOGLE", replace(pinned("google"), integrity=pinned("twitter").integrity))
    with pytest.raises(IntegrityError, match=r"is not emoji-datasource-google 16\.0\.0"):
        load_data(SECTION)
    assert list(cache.iterdir()) == []


def test_offline_and_unreachable_registries_are_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDZOO_OFFLINE", "1")
    with pytest.raises(DataError, match="offline mode is on") as caught:
        load_data(SECTION)
    assert caught.value.reason == "OFFLINE"
    monkeypatch.delenv("SEEDZOO_OFFLINE")
    for registry in ("http://127.0.0.1:9", "nonsense"):
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry)
        with pytest.raises(DataError, match="cannot download emoji-datasource-google") as caught:
            load_data(SECTION)
        assert "npm install emoji-datasource-google@16.0.0" in caught.value.hint
    assert list(cache.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Path.write_bytes
    written = 0

    def until_full(path: Path, raw: bytes) -> int:
        nonlocal written
        written += len(raw)
        if written > 5_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, raw)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", until_full)
        with pytest.raises(LocalFailure, match="the disk is full at") as caught:
            load_data(SECTION)
    assert caught.value.reason == "DISK_FULL"
    assert list(cache.iterdir()) == []
    assert len(load_data(SECTION).train.labels) == 24

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(LocalFailure, match="the disk is full"):
        write_shift(SECTION, tmp_path / "shift")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "registry"]


def test_many_at_once_end_with_one_whole_package(cache: Path) -> None:
    package = pinned("google")
    barrier = threading.Barrier(4)

    def pick(archive: Archive) -> frozenset[str]:
        barrier.wait(timeout=30)  # nobody has finished when everybody unpacks
        return frozenset({"emoji.json", "LICENSE"}) if archive.read("LICENSE") else frozenset()

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: fetched(package, pick), range(4)))
    assert folders == {cache / "emoji-datasource-google-16.0.0"}
    assert sorted(path.name for path in folders.pop().iterdir()) == ["LICENSE", "emoji.json"]
    assert len(list(cache.iterdir())) == 1


def test_damaged_and_incomplete_tarballs_are_errors(tmp_path: Path) -> None:
    (tmp_path / "cut.tgz").write_bytes(TARBALLS["google"][:-4_000])
    with pytest.raises(IntegrityError, match="damaged"):
        Archive(tmp_path / "cut.tgz").extract(frozenset({"none"}), tmp_path)
    (tmp_path / "whole.tgz").write_bytes(TARBALLS["google"])
    with pytest.raises(IntegrityError, match=r"has no file none"):
        Archive(tmp_path / "whole.tgz").extract(frozenset({"LICENSE", "none"}), tmp_path)
    with pytest.raises(IntegrityError, match=r"has no file none"):
        Archive(tmp_path / "whole.tgz").read("none")


def test_the_registry_comes_from_the_environment_then_the_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # without npm
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.delenv("npm_config_registry", raising=False)
    assert registry_url() == "https://registry.npmjs.org/"
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho https://from-npm.example/\n")
    npm.chmod(0o755)
    assert registry_url() == "https://from-npm.example/"
    npm.write_text("#!/bin/sh\necho broken; exit 3\n")
    assert registry_url() == "https://registry.npmjs.org/"
    (tmp_path / ".npmrc").write_text(
        '; mine\n@scope:registry=https://other.example/\nregistry = "https://file.example"\n'
    )
    assert registry_url() == "https://file.example/"
    monkeypatch.setenv("npm_config_registry", "https://environment.example/npm")
    assert registry_url() == "https://environment.example/npm/"


def test_the_shipped_recipe_fits_the_data() -> None:
    recipe, _ = load_recipe(Path(__file__).resolve().parents[3] / "recipes" / "emoji.toml")
    assert recipe.data.source == "emoji"
    assert recipe.model.kwargs["num_classes"] == len(CLASSES)
    assert recipe.model.kwargs["img_size"] == 64


def test_the_real_packages_give_the_known_set(tmp_path: Path) -> None:
    cached = platformdirs.user_cache_path("seedzoo") / "emoji-datasource-google-16.0.0"
    if not cached.is_dir():
        pytest.skip(f"the package is not in the cache ({cached})")
    data = load_data(replace(SECTION, test_share=0.4, reserve_test=0))
    counts = np.bincount(np.concatenate([data.train.labels, data.test.labels]))
    assert dict(zip(data.classes, counts.tolist(), strict=True)) == {
        "activities": 85,
        "animals-nature": 159,
        "food-drink": 131,
        "objects": 264,
        "people-body": 241,
        "smileys-emotion": 169,
        "symbols": 222,
        "travel-places": 218,
    }
    assert data.origin.files[0].sha256 == "2ee489abdd3000a8575eef30370c54945a4738d1d82892dd38b5b5a842134412"
