"""A store looked at without a server, beside a real server over the same store: the same families, word for word."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real_server import serving
from tests.bundles import published_bundle, rich_bundle
from tests.support import EXAMPLES, small_bundle

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.open import open_store
from seedzoo.catalog.publish import publish
from seedzoo.errors import (
    DataError,
    IntegrityError,
    LocalFailure,
    NotFound,
    RequestError,
    StoreError,
    Unavailable,
    ZooError,
)
from seedzoo_client import Client, LocalZoo
from seedzoo_client.cli import main
from seedzoo_client.local_catalog import LocalCatalog
from seedzoo_client.views import ProfileView

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a store: a small family, one for browsing only, and a crossed design with a twin and cards."""
    made = tmp_path_factory.mktemp("browse")
    store = LocalStore(made / "store")
    publish(store, small_bundle(made / "mini"))
    publish(store, published_bundle(made / "papers"))
    publish(store, rich_bundle(made / "rich"))
    return made / "store"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with serving(LocalStore(folder), decoder_processes=0) as port:
        yield f"localhost:{port}"


@pytest.fixture
def remote(server: str) -> Iterator[Client]:
    with Client(server) as client:
        yield client


@pytest.fixture
def local(folder: Path) -> Iterator[LocalZoo]:
    with LocalZoo(folder) as zoo:
        yield zoo


def plain(value: Any) -> Any:
    """A view as what can be compared, NaN included; numbers bit for bit."""
    if isinstance(value, ProfileView):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes(), value.flags.writeable
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return repr(value)


ASKED: list[Callable[[Client | LocalZoo], Any]] = [
    lambda zoo: zoo.families(),
    lambda zoo: [zoo.family(name) for name in ("mini", "papers", "rich", "mini@stable")],
    lambda zoo: zoo.family(f"rich@{zoo.family('rich').release}"),
    lambda zoo: [zoo.variants(name) for name in ("mini", "papers", "rich")],
    lambda zoo: zoo.variants("mini", filter="accuracy[pixelate-3] >= 0.6 AND accuracy[id] > .5"),
    lambda zoo: zoo.variants("mini", order_by="accuracy[contrast-3] desc", limit=3),
    lambda zoo: zoo.variants("mini", filter="accuracy[id] > 1"),
    lambda zoo: [zoo.variant(found.name) for name in ("mini", "papers", "rich") for found in zoo.variants(name)],
    lambda zoo: [plain(zoo.profile(name)) for name in ("mini", "papers", "rich")],
    lambda zoo: [zoo.card("rich"), zoo.card(next(one.name for one in zoo.variants("rich") if one.has_card))],
]


@pytest.mark.parametrize("ask", range(len(ASKED)))
def test_the_same_views(ask: int, remote: Client, local: LocalZoo) -> None:
    theirs, ours = ASKED[ask](remote), ASKED[ask](local)
    assert ours or ask == 6
    assert repr(ours) == repr(theirs)
    assert ours == theirs


REFUSED: list[Callable[[Client | LocalZoo], Any]] = [
    lambda zoo: zoo.family("nothing"),
    lambda zoo: zoo.family("mini@nothing"),
    lambda zoo: zoo.family(""),
    lambda zoo: zoo.family("../mini"),
    lambda zoo: zoo.family(3),  # type: ignore[arg-type]
    lambda zoo: zoo.variant("mini"),
    lambda zoo: zoo.variant("mini/none"),
    lambda zoo: zoo.variants("mini", filter="accuracy[none] > 1"),
    lambda zoo: zoo.variants("mini", filter="nonsense"),
    lambda zoo: zoo.variants("mini", order_by="sideways"),
    lambda zoo: zoo.variants("mini", limit=0),
    lambda zoo: zoo.profile("none"),
    lambda zoo: zoo.card("papers"),
    lambda zoo: zoo.card("mini/none"),
    lambda zoo: zoo.download("papers/none"),
    lambda zoo: zoo.download(zoo.variants("papers")[0].name),
    lambda zoo: zoo.download("mini/s000", int8=True),
    lambda zoo: zoo.download("mini"),
]


@pytest.mark.parametrize("ask", range(len(REFUSED)))
def test_the_same_errors(ask: int, remote: Client, local: LocalZoo) -> None:
    faults = []
    for zoo in (remote, local):
        with pytest.raises((DataError, NotFound, RequestError)) as caught:
            REFUSED[ask](zoo)
        fault: ZooError = caught.value
        faults.append((type(fault), fault.message, fault.hint, fault.reason, fault.field))
    assert faults[0] == faults[1]


COMMANDS = [
    ("families",),
    ("variants", "mini", "--filter", "accuracy[pixelate-3] >= .6", "--order-by", "accuracy[id] desc", "--limit", "2"),
    ("variants", "rich"),
    ("show", "mini"),
    ("show", "papers"),
    ("show", "rich", "--metrics"),
    ("show", "mini/s000"),
    ("show", "rich", "--card"),
    ("compare", "mini/s000", "mini/s002"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_print_the_same(
    command: tuple[str, ...], folder: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for style in ((), ("--json",)):
        shown = []
        for way in (("--server", server), ("--store", str(folder))):
            assert main([*command, *style, *way], standalone_mode=False) == 0
            shown.append(capsys.readouterr())
        assert shown[1].out == shown[0].out
        # What to do next names the store too.
        for theirs, ours in zip(shown[0].err.splitlines(), shown[1].err.splitlines(), strict=True):
            assert ours == (f"{theirs} --store {folder}" if "zoo " in theirs else theirs)
    assert json.loads(shown[1].out)


def test_predict_takes_a_variant_from_the_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = sorted((EXAMPLES / "mydata" / "bag").glob("*.png"))[0]
    code = main(["predict", "mini/s002", "--data", str(image), "--store", str(folder), "--json"], standalone_mode=False)
    assert code == 0
    assert json.loads(capsys.readouterr().out)["n_images"] == 1


def test_server_and_store_exclude_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict = [("predict", model, "--data", str(EXAMPLES / "mydata")) for model in ("mini/s000", "mine.onnx")]
    for command in (*COMMANDS, *predict):
        assert main([*command, "--store", str(folder), "--server", "localhost:1"], standalone_mode=False) == 2
        assert "give one of them" in capsys.readouterr().err


def test_a_damaged_family_hides_no_other(tmp_path: Path) -> None:
    publish(LocalStore(tmp_path / "store"), small_bundle(tmp_path / "a", name="good"))
    publish(LocalStore(tmp_path / "store"), small_bundle(tmp_path / "b", name="bad"))
    (manifest,) = (tmp_path / "store").glob("families/bad/releases/*/family.json")
    manifest.write_bytes(manifest.read_bytes()[:-3])
    said: list[str] = []
    with LocalZoo(tmp_path / "store", on_notice=said.append) as zoo:
        assert [family.name for family in zoo.families()] == ["good"]
    assert len(said) == 1
    assert "family bad is left out" in said[0]


def two_families(tmp_path: Path) -> tuple[Path, Path]:
    """The directory of a store with the families ``good`` and ``bad``, and the folder of ``bad``."""
    for name in ("good", "bad"):
        publish(LocalStore(tmp_path / "store"), small_bundle(tmp_path / name, name=name))
    return tmp_path / "store", tmp_path / "store" / "families" / "bad"


def test_an_alias_that_leads_elsewhere_hides_no_other_family(tmp_path: Path) -> None:
    store, bad = two_families(tmp_path)
    alias = bad / "aliases" / "stable.json"
    alias.write_text(json.dumps({**json.loads(alias.read_bytes()), "release": "../../good/releases/1"}))
    said: list[str] = []
    with LocalZoo(store, on_notice=said.append) as zoo:
        assert [family.name for family in zoo.families()] == ["good"]
        with pytest.raises(IntegrityError, match=r"bad/aliases/stable\.json names no release"):
            zoo.family("bad")
    assert len(said) == 1
    with serving(LocalStore(store), decoder_processes=0) as port, Client(f"localhost:{port}") as zoo:
        assert [family.name for family in zoo.families()] == ["good"]


def test_a_lost_release_is_not_taken_for_a_lost_alias(tmp_path: Path) -> None:
    store, bad = two_families(tmp_path)
    (record,) = bad.glob("releases/*/release.json")
    record.unlink()
    with LocalZoo(store) as zoo, pytest.raises(NotFound) as caught:
        zoo.family("bad")
    assert caught.value.message == f"family bad has lost release {record.parent.name}, which its alias stable means"
    assert caught.value.hint == "Publish the family again."


def test_commands_that_an_error_proposes_name_the_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "mini/none", "--store", str(folder)], standalone_mode=False) == 4
    assert f"zoo variants mini --store {folder} lists them." in capsys.readouterr().err
    assert main(["show", "papers", "--card", "--store", str(folder)], standalone_mode=False) == 4
    assert f"zoo show papers --store {folder} shows what is known." in capsys.readouterr().err


def test_a_directory_without_families_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["families", "--store", str(tmp_path)], standalone_mode=False) == 0
    out, err = capsys.readouterr()
    assert "offers no families" in out
    assert "nothing was published there" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("store", "kind", "said"),
    [
        ("~nobody-is-called-so/zoo", RequestError, "home directory of a user that this machine does not know"),
        ("a" * 300, StoreError, "cannot open the store .*File name too long"),
    ],
)
def test_a_store_that_cannot_be_opened(store: str, kind: type[ZooError], said: str) -> None:
    with LocalZoo(store) as zoo, pytest.raises(kind, match=said) as caught:
        zoo.families()
    assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_store_that_must_not_be_read(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "store").mkdir(parents=True)
    closed.chmod(0)
    try:
        for store in (closed, closed / "store"):
            with LocalZoo(store) as zoo, pytest.raises(LocalFailure, match="Permission denied"):
                zoo.families()
    finally:
        closed.chmod(0o700)


def test_families_are_read_several_at_a_time(folder: Path) -> None:
    both = threading.Barrier(2)

    class Meeting(LocalStore):
        """Answers about an alias only when two were asked for."""

        def get_with_etag(self, key: str) -> tuple[bytes, str]:
            if key in {"families/mini/aliases/stable.json", "families/papers/aliases/stable.json"}:
                both.wait(30)
            return super().get_with_etag(key)

    found = LocalCatalog(Catalog(Meeting(folder)), on_notice=pytest.fail).families()
    assert [family.name for family in found] == ["mini", "papers", "rich"]


def test_offline_the_cache_answers_for_a_bucket(
    folder: Path, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = f"s3://zoo/{uuid.uuid4().hex}?endpoint={moto_endpoint}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    with open_store(bucket) as store:
        publish(store, small_bundle(tmp_path / "mini"))
    with LocalZoo(bucket) as zoo:
        path = zoo.download("mini/s002")
    with LocalZoo(bucket.replace(moto_endpoint, "http://127.0.0.1:9"), offline=True) as zoo:
        assert zoo.download("mini/s002") == path
        assert zoo.download("mini/s002", to=tmp_path / "mine.onnx").read_bytes() == path.read_bytes()
        with pytest.raises(NotFound, match="not in the cache"):
            zoo.download("mini/s000")
        with pytest.raises(Unavailable, match="offline mode"):
            zoo.families()


def test_a_proposed_command_can_be_pasted(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "my model.onnx"
    code = main(["download", "mini/s002", "--store", str(folder), "--to", str(target)], standalone_mode=False)
    assert code == 0
    assert f"zoo predict '{target}' --data" in capsys.readouterr().err
