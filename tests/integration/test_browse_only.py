"""Families for browsing only, twins, crossed designs and model cards: over a real server, and as `zoo` shows them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from click.testing import CliRunner, Result
from real_server import Caller, examples, fault, serving
from tests.bundles import edit_family, published_bundle, rich_bundle
from tests.support import example_files, small_bundle

from seedzoo.catalog.bundle import FAMILY_FILE, int8_path, model_path
from seedzoo.catalog.catalog import Catalog, release_key, release_prefix
from seedzoo.catalog.codec import encode_json
from seedzoo.catalog.integrity import sha256_hex
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.names import FamilyRef
from seedzoo.catalog.publish import publish
from seedzoo.errors import DataError, NotFound, RequestError
from seedzoo.records import FileEntry
from seedzoo_client import Client
from seedzoo_client.cli import main
from seedzoo_protos.v1 import selection_pb2


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    published_bundle(folder / "papers")
    rich_bundle(folder / "rich")
    small_bundle(folder / "mini")
    small_bundle(folder / "open", variants=2, name="open")
    edit_family(folder / "open", lambda family: replace(family, certificate=None))
    return folder


@pytest.fixture(scope="module")
def store(bundles: Path) -> MemoryStore:
    store = MemoryStore()
    for folder in bundles.iterdir():
        publish(store, folder)
    return store


@pytest.fixture(scope="module")
def port(store: MemoryStore) -> Iterator[int]:
    with serving(store) as found:
        yield found


@pytest.fixture(scope="module")
def caller(port: int) -> Iterator[Caller]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Caller(channel)


@pytest.fixture
def client(port: int, tmp_path: Path) -> Iterator[Client]:
    with Client(f"127.0.0.1:{port}", home=tmp_path / "home", offline=False) as found:
        yield found


@pytest.fixture
def zoo(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("SEEDZOO_SERVER", f"127.0.0.1:{port}")
    monkeypatch.setenv("SEEDZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A few labelled images in a folder."""
    folder = tmp_path / "images"
    for path, name in example_files(per_class=2):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / path.name).write_bytes(path.read_bytes())
    return folder


def refusal(caller: Caller, name: str, /, **fields: object) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        caller(name, **fields)
    return fault(caught.value)


def test_results_are_listed_shown_and_compared(client: Client, zoo: Callable[..., Result]) -> None:
    marks = {family.name: family.browse_only for family in client.families()}
    assert marks == {"mini": False, "open": True, "papers": True, "rich": False}
    family, profile = client.family("papers"), client.profile("papers")
    assert (family.certificate, family.provenance) == (None, "Table 3 of a paper")
    assert family.model_bytes == 0
    assert np.isnan(profile.row("b")[1])
    assert [(entry.n_examples, entry.measured) for entry in profile.conditions] == [(1000, 3), (0, 2)]
    assert profile.conditions[1].mean == pytest.approx(0.5)
    assert client.variant("papers/a").model_sha256 == ""

    listed = zoo("families").stdout
    assert [("browse only" in line) for line in listed.splitlines()[1:]] == [False, True, True, False]
    shown = zoo("show", "papers").stdout
    assert "For browsing only: no variant can be selected, as it is not certified" in shown
    assert "Results from: Table 3 of a paper" in shown
    assert "certified equally accurate: within" not in shown
    assert "recomputes the certificate" not in shown
    assert "the server recomputes the certificate before it selects, not to show it here" in " ".join(
        zoo("show", "rich").stdout.split()
    )
    checked = zoo("doctor").stdout
    assert "mini, open (browse only), papers (browse only), rich" in checked
    assert "Classes" not in shown
    assert next(line for line in shown.splitlines() if line.startswith("hard")).split()[:3] == ["hard", "2", "50.0"]
    one = zoo("show", "papers/b")
    assert one.exit_code == 0
    assert "no model: for browsing only" in one.stdout
    assert next(line for line in one.stdout.splitlines() if line.startswith("hard")).split() == [
        "hard", "50.0", "±", "14.1", "%",
    ]  # fmt: skip
    document = json.loads(zoo("show", "papers/b", "--json").stdout)
    assert document["profile"][1]["accuracy"] is None
    compared = zoo("compare", "papers/a", "papers/c")
    assert "zoo select" not in compared.stderr
    both = compared.stdout
    assert "Clear on 0 of 2 conditions" in both
    assert "number of images not known" in both
    assert "hard" not in zoo("compare", "papers/a", "papers/b").stdout
    assert zoo("compare", "papers/a", "papers/a").exit_code == 3


def test_variants_with_gaps_are_filtered_and_ordered(client: Client, zoo: Callable[..., Result]) -> None:
    assert [variant.tag for variant in client.variants("papers", order_by="accuracy[hard] desc")] == ["c", "a", "b"]
    assert [variant.tag for variant in client.variants("papers", filter="accuracy[hard] <= 1")] == ["a", "c"]
    table = zoo("variants", "papers", "--order-by", "accuracy[hard]").stdout.splitlines()
    assert table[0].split() == ["variant", "model", "held-out", "accuracy", "hard", "SHA-256"]
    assert table[3].split() == ["papers/b", "Net", "b", "90.0", "%"]


def test_nothing_is_selected_from_them(caller: Caller, client: Client, images: Path) -> None:
    family = caller("GetFamily", name="mini")
    contents, labels = examples(family.task.classes)
    dataset = caller.upload(contents, labels, family.task.classes)
    fields = {"request_id": uuid.uuid4().hex, "dataset_id": dataset}
    for name in ("papers", "open"):
        code, reason, message = refusal(caller, "StartSelection", family=name, **fields)
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FAMILY_BROWSE_ONLY")
        assert f"family {name} is for browsing only" in message
        labelling = selection_pb2.Labelling(audit=2)
        assert refusal(caller, "StartSelection", family=name, labelling=labelling, **fields)[1] == "FAMILY_BROWSE_ONLY"
        for call in (client.select, lambda data, family: client.label(data, budget=5, family=family)):
            with pytest.raises(RequestError) as refused:
                call(images, family=name)
            assert refused.value.reason == "FAMILY_BROWSE_ONLY"
            assert refused.value.hint == "Families to select from: mini, rich."
    # Nothing of it was sent before the family was found to be wrong.
    assert client.last_dataset_id is None
    assert caller("ListSelections").selections == []
    # Those for browsing only are no candidates where no family is named.
    with pytest.raises(RequestError, match="the data fit several families: mini, rich"):
        client.select(images)


def test_models_are_downloaded_where_there_are_any(
    caller: Caller, client: Client, zoo: Callable[..., Result], bundles: Path, tmp_path: Path
) -> None:
    code, reason, message = refusal(caller, "DownloadModel", variant="papers/a")
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FAMILY_BROWSE_ONLY")
    assert "it holds results" in message
    with pytest.raises(RequestError) as refused:
        client.download("papers/a")
    assert refused.value.reason == "FAMILY_BROWSE_ONLY"
    failed = zoo("download", "papers/a", "--to", tmp_path / "a.onnx")
    assert failed.exit_code == 3
    assert "Families to select from: mini, rich." in failed.stderr
    # Without certificate, a model is still a model.
    assert client.download("open/s000").read_bytes() == (bundles / "open" / model_path("s000")).read_bytes()


def test_twin_is_downloaded_only_when_asked_for(
    caller: Caller, client: Client, zoo: Callable[..., Result], bundles: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model = (bundles / "rich" / model_path("s000")).read_bytes()
    twin = (bundles / "rich" / int8_path("s000")).read_bytes()
    assert client.download("rich/s000").read_bytes() == model
    assert client.download("rich/s000", int8=True).read_bytes() == twin
    assert client.variant("rich/s000").int8_sha256 == sha256_hex(twin)
    got = caller.all("DownloadModel", _download("rich/s000", int8=True, offset=7))
    assert got[0].header.sha256 == sha256_hex(twin)
    assert b"".join(part.chunk for part in got[1:]) == twin[7:]
    with pytest.raises(DataError) as refused:
        client.download("rich/s002", int8=True)
    assert refused.value.reason == "INT8_MISSING"
    assert refusal(caller, "DownloadModel", variant="rich/s002", int8=True)[1] == "INT8_MISSING"
    assert refusal(caller, "DownloadModel", variant="papers/a", int8=True)[1] == "FAMILY_BROWSE_ONLY"

    done = zoo("download", "rich/s000", "--int8", "--to", f"{tmp_path}/models/")
    assert (tmp_path / "models" / "rich-s000.int8.onnx").read_bytes() == twin, done.output
    assert zoo("download", "rich/s002", "--int8").exit_code == 3
    monkeypatch.setenv("SEEDZOO_OFFLINE", "1")
    assert Path(zoo("download", "rich/s000", "--int8").stdout.strip()).read_bytes() == twin
    assert Path(zoo("download", "rich/s000").stdout.strip()).read_bytes() == model
    absent = zoo("download", "rich/s002", "--int8")
    assert absent.exit_code == 4
    assert "zoo download rich/s002 --int8" in absent.stderr


def _download(variant: str, **fields: object) -> object:
    from real_server import message_of

    return message_of("DownloadModel", variant=variant, **fields)


def test_twin_stands_in_a_column_of_its_own_and_in_no_summary(client: Client, zoo: Callable[..., Result]) -> None:
    rich, plain = client.profile("rich"), client.profile("mini")
    assert np.array_equal(rich.accuracy, plain.accuracy)
    for first, second in zip(rich.conditions, plain.conditions, strict=True):
        assert (first.mean, first.sd, first.measured) == (second.mean, second.sd, second.measured)
    assert list(rich.int8_accuracy) == ["s000"]
    assert np.array_equal(rich.int8_accuracy["s000"], plain.accuracy[3])
    page = zoo("show", "rich/s000").stdout
    assert "int8 twin: 301 KB" in page
    own, twin = (f"{100 * profile[0]:.1f}" for profile in (rich.row("s000"), rich.int8_accuracy["s000"]))
    row = next(line for line in page.splitlines() if line.startswith("id ")).split()
    assert (row[1], row[3]) == (own, twin)
    assert "int8" not in zoo("show", "rich/s002").stdout
    rows = json.loads(zoo("show", "rich/s000", "--json").stdout)["profile"]
    assert rows[0]["int8_accuracy"] == pytest.approx(rich.int8_accuracy["s000"][0])


def test_factors_of_a_crossed_design_are_shown(client: Client, zoo: Callable[..., Result]) -> None:
    assert client.family("rich").factors == {"pretraining": ("p0", "p1"), "finetuning": ("f0", "f1")}
    assert client.variant("rich/s003").factors == {"finetuning": "f0", "pretraining": "p1"}
    assert client.family("mini").factors == {}
    shown = zoo("show", "rich").stdout
    assert "Varied: finetuning (2 levels: f0, f1) x pretraining (2 levels: p0, p1)" in shown
    assert "certified equally accurate" in shown
    assert "Factors: finetuning f0, pretraining p1" in zoo("show", "rich/s003").stdout
    table = zoo("variants", "rich").stdout.splitlines()
    assert table[0].split()[:3] == ["variant", "finetuning", "pretraining"]
    assert table[2].split()[:3] == ["rich/s002", "f1", "p0"]


def test_other_metrics_are_shown_where_measured(client: Client, zoo: Callable[..., Result]) -> None:
    profile = client.profile("rich")
    assert set(profile.metrics) == {"log_loss", "ece", "brier", "top5", "worst_class"}
    assert profile.metrics["worst_class"][0, 0] == 0.5
    assert np.isnan(profile.metrics["ece"][1]).all()
    assert np.isfinite(profile.metrics["log_loss"]).all()
    page = zoo("show", "rich/s000", "--metrics").stdout
    row = next(line for line in page.splitlines() if line.startswith("id ")).split()
    assert row[3:5] + row[5:6] == ["50.0", "99.0", "5.0"]
    assert next(line for line in page.splitlines() if line.startswith("pixelate-1 ")).split()[3:] == [
        f"{profile.metrics['log_loss'][0, 1]:.3f}"
    ]
    assert "Means over the variants" in zoo("show", "rich", "--metrics").stdout
    assert "No other metrics" in zoo("show", "papers", "--metrics").stdout
    assert json.loads(zoo("show", "rich/s000", "--json").stdout)["profile"][0]["worst_class"] == 0.5


def test_cards_are_shown(caller: Caller, client: Client, zoo: Callable[..., Result]) -> None:
    assert client.card("rich") == "---\nlicense: mit\n---\n# rich\n\nThe whole family.\n"
    assert client.variant("rich/s000").has_card
    assert not client.variant("rich/s002").has_card
    assert zoo("show", "rich", "--card").stdout == client.card("rich")
    # What a terminal would act on is shown, not sent.
    assert "One variant \\x1b[2J of it." in zoo("show", "rich/s000", "--card").stdout
    assert json.loads(zoo("show", "rich/s000", "--card", "--json").stdout)["card"] == client.card("rich/s000")
    for name in ("mini", "rich/s002"):
        code, reason, _ = refusal(caller, "GetCard", name=name)
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "CARD_MISSING")
        assert zoo("show", name, "--card").exit_code == 4
    for name, code in (("", 3), ("rich/", 3), ("rich/nobody", 4), ("nobody", 4), ("a/b/c", 3)):
        assert zoo("show", name, "--card").exit_code == code
    with pytest.raises(NotFound):
        client.card("nobody")
    assert zoo("show", "rich", "--card", "--metrics").exit_code == 2


def test_certificate_that_does_not_hold_stops_selections_and_nothing_else(tmp_path: Path) -> None:
    """The manifest of a published release is forged by somebody who can write to the store."""
    store = MemoryStore()
    publish(store, small_bundle(tmp_path / "bundle"))
    family, release = Catalog(store).family(FamilyRef("mini"))
    raw = encode_json(
        replace(family, variants=tuple(replace(each, held_out_accuracy=0.99) for each in family.variants))
    )
    store.put(f"{release_prefix('mini', release.id)}/{FAMILY_FILE}", raw)
    files = tuple(
        FileEntry(FAMILY_FILE, len(raw), sha256_hex(raw)) if entry.path == FAMILY_FILE else entry
        for entry in release.files
    )
    store.put(release_key("mini", release.id), encode_json(replace(release, files=files)))
    with serving(store) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        caller = Caller(channel)
        assert caller("GetFamily", name="mini").held_out_mean == pytest.approx(0.99)
        contents, labels = examples(family.task.classes)
        dataset = caller.upload(contents, labels, family.task.classes)
        code, reason, message = refusal(
            caller, "StartSelection", request_id=uuid.uuid4().hex, dataset_id=dataset, family="mini"
        )
        assert (code, reason) == (grpc.StatusCode.DATA_LOSS, "CERTIFICATE_INVALID")
        assert "the held-out accuracy of s000 is not the family mean plus its difference" in message


def test_selection_is_made_where_the_certificate_holds(client: Client, images: Path) -> None:
    """Beside twins and factors: the variant itself is recommended, never its twin."""
    report = client.select(images, family="rich")
    recommended = client.variant(report.recommended)
    assert report.model_sha256 == recommended.model_sha256
    assert len(report.scores) == 4
