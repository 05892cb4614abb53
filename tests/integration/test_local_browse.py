"""A store looked at without a server, beside a real server over the same store: the same families, word for word."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real_server import serving
from tests.bundles import published_bundle, rich_bundle
from tests.support import EXAMPLES, small_bundle

from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.publish import publish
from seedzoo.errors import NotFound, RequestError, ZooError
from seedzoo_client import Client, LocalZoo
from seedzoo_client.cli import main
from seedzoo_client.views import ProfileView


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


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("SEEDZOO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEEDZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "home"


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
]


@pytest.mark.parametrize("ask", range(len(REFUSED)))
def test_the_same_errors(ask: int, remote: Client, local: LocalZoo) -> None:
    faults = []
    for zoo in (remote, local):
        with pytest.raises((NotFound, RequestError)) as caught:
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
    for command in (*COMMANDS, ("predict", "mini/s000", "--data", str(EXAMPLES / "mydata"))):
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
