"""The asynchronous client with a real server: all of its calls, broken connections, cancelled tasks, many at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from tests.integration.cut_proxy import CutProxy, cut_proxy
from tests.integration.real_server import Caller, serving, small_store
from tests.integration.test_replicas import Hold
from tests.support import example_files

from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import Cancelled, LimitExceeded, LocalFailure, NotFound, Unauthenticated, Unavailable
from seedzoo_client import AsyncClient, Client, Progress, RetryConfig, Stage, TLSConfig
from seedzoo_protos.v1 import selection_pb2
from seedzoo_server.dataset_service import DatasetServicer
from seedzoo_server.selection_service import SelectionServicer
from seedzoo_server.tokens import Tokens

CANCELLED = selection_pb2.SELECTION_STATE_CANCELLED
PATIENT = RetryConfig(total_seconds=30, initial_seconds=0.01, maximum_seconds=0.05)


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    return small_store(tmp_path)


@pytest.fixture
def port(store: MemoryStore) -> Iterator[int]:
    with serving(store) as found:
        yield found


@pytest.fixture
def proxy(port: int) -> Iterator[CutProxy]:
    with cut_proxy(port) as found:
        yield found


@pytest.fixture
def rpc(port: int) -> Iterator[Caller]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Caller(channel)


def pairs(per_class: int = 2, start: int = 0) -> list[tuple[Path, str]]:
    return list(example_files(per_class=per_class))[start:]


def client(port: int | str, home: Path, **more: Any) -> AsyncClient:
    address = port if isinstance(port, str) else f"127.0.0.1:{port}"
    return AsyncClient(address, **{"home": home, "offline": False, "retry": PATIENT, **more})


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def test_both_clients_tell_the_same(port: int, tmp_path: Path) -> None:
    with Client(f"127.0.0.1:{port}", home=tmp_path / "one", offline=False) as original:
        expected = {
            "families": original.families(),
            "family": original.family("mini"),
            "variants": original.variants("mini", order_by="accuracy[id] desc", limit=2),
            "profile": original.profile("mini"),
        }
        name = expected["variants"][0].name
        expected["variant"] = original.variant(name)
        with pytest.raises(NotFound) as missing:
            original.card(name)
        report = original.select(pairs(), request_id="same")

    async def work() -> None:
        seen: list[Progress] = []
        async with client(port, tmp_path / "two") as zoo:
            assert await zoo.families() == expected["families"]
            assert await zoo.family("mini") == expected["family"]
            assert await zoo.variants("mini", order_by="accuracy[id] desc", limit=2) == expected["variants"]
            assert await zoo.variant(name) == expected["variant"]
            assert repr(await zoo.profile("mini")) == repr(expected["profile"])
            with pytest.raises(NotFound) as caught:
                await zoo.card(name)
            assert str(caught.value) == str(missing.value)
            # The same data are found again, and so is the selection.
            assert await zoo.select(pairs(), request_id="same", progress=seen.append) == report
            assert zoo.last_dataset_id is not None
            model = await zoo.download(report.recommended, to=tmp_path / "model.onnx", progress=seen.append)
            await zoo.delete_dataset(zoo.last_dataset_id)
            with pytest.raises(NotFound):
                await zoo.delete_dataset(zoo.last_dataset_id)
        assert {Stage.READING, Stage.UPLOADING, Stage.DONE, Stage.DOWNLOADING} <= {report.stage for report in seen}
        async with AsyncClient(home=tmp_path / "two", offline=True) as away:
            kept = await away.download(report.recommended)
        assert kept.read_bytes() == model.read_bytes()

    run(work)


def test_an_upload_goes_on_where_the_connection_broke(proxy: CutProxy, tmp_path: Path) -> None:
    async def work() -> None:
        async with client(proxy.address, tmp_path) as zoo:

            def cut(report: Progress) -> None:
                if report.stage is Stage.UPLOADING and proxy.cuts == 0:
                    proxy.cut_after(3_000)

            uploaded = await zoo.upload(pairs(4), progress=cut)
            assert proxy.cuts == 1
            assert proxy.connections == 2
            report = await zoo.select(uploaded)
        assert report.n_examples == len(pairs(4))

    run(work)


def test_a_selection_is_seen_again_after_its_stream_broke(
    proxy: CutProxy, rpc: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Hold(monkeypatch)

    async def work() -> None:
        async with client(proxy.address, tmp_path) as zoo:

            def cut(report: Progress) -> None:
                if report.stage is Stage.EVALUATING and proxy.cuts == 0:
                    proxy.cut()
                    hold.let_go.set()

            report = await zoo.select(pairs(), progress=cut)
        assert report.recommended
        assert (proxy.cuts, proxy.connections) == (1, 2)

    run(work)
    assert len(rpc("ListSelections").selections) == 1, "it was followed, not started again"


def test_many_selections_at_once_in_one_loop(port: int, rpc: Caller, tmp_path: Path) -> None:
    async def work() -> None:
        async with client(port, tmp_path) as zoo:
            reports = await asyncio.gather(*(zoo.select(pairs(1, start=number % 3)) for number in range(12)))
            paths = await asyncio.gather(*(zoo.download(report.recommended) for report in reports))
        for number, report in enumerate(reports):
            assert report.n_examples == len(pairs(1, start=number % 3))
            assert report.recommended == reports[number % 3].recommended
        assert all(path.stat().st_size for path in paths)
        assert not list(tmp_path.rglob("*.part"))

    run(work)
    assert len(rpc("ListSelections").selections) == 12


def test_a_cancelled_task_cancels_its_selection(
    port: int, rpc: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Hold(monkeypatch)

    async def work() -> None:
        async with client(port, tmp_path) as zoo:
            task = asyncio.create_task(zoo.select(pairs()))
            assert await asyncio.to_thread(hold.entered.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (selection,) = rpc("ListSelections").selections
            assert selection.state == CANCELLED
            hold.let_go.set()
            # The images are kept, and the client goes on.
            assert (await zoo.select(pairs())).recommended

    run(work)


def test_progress_that_fails_cancels_the_selection(
    port: int, rpc: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hold(monkeypatch)

    async def work() -> None:
        def refuse(report: Progress) -> None:
            if report.stage is Stage.EVALUATING:
                raise ZeroDivisionError

        async with client(port, tmp_path) as zoo:
            with pytest.raises(ZeroDivisionError):
                await zoo.select(pairs(), progress=refuse)

    run(work)
    assert [selection.state for selection in rpc("ListSelections").selections] == [CANCELLED]


def test_a_selection_whose_start_was_cancelled_does_not_run_on(
    port: int, rpc: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = threading.Event(), threading.Event()
    original = SelectionServicer._create

    def slow(self: SelectionServicer, *arguments: Any) -> Any:
        entered.set()
        assert go_on.wait(30)
        return original(self, *arguments)

    monkeypatch.setattr(SelectionServicer, "_create", slow)

    async def work() -> None:
        async with client(port, tmp_path) as zoo:
            task = asyncio.create_task(zoo.select(pairs()))
            assert await asyncio.to_thread(entered.wait, 30)
            task.cancel()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(work)
    for selection in rpc("ListSelections").selections:
        assert rpc.settled(selection.id).state == CANCELLED


def test_a_deadline_ends_what_nobody_answers(proxy: CutProxy, tmp_path: Path) -> None:
    async def work() -> None:
        proxy.flowing.clear()
        async with client(proxy.address, tmp_path, timeout=0.3) as zoo:
            with pytest.raises(Unavailable) as caught:
                await zoo.families()
            assert caught.value.reason == "DEADLINE_EXCEEDED"
        async with client(proxy.address, tmp_path) as zoo:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await zoo.families()
            proxy.flowing.set()
            assert [family.name for family in await zoo.families()] == ["mini"]

    run(work)


def test_closing_ends_the_calls_of_other_tasks(proxy: CutProxy, tmp_path: Path) -> None:
    async def work() -> None:
        proxy.flowing.clear()
        zoo = client(proxy.address, tmp_path)
        tasks = [asyncio.create_task(call) for call in (zoo.families(), zoo.download("mini/s000"), zoo.upload(pairs()))]
        while not proxy.connections:
            await asyncio.sleep(0.01)
        await zoo.close()
        proxy.flowing.set()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, Cancelled), ended
        assert await zoo.families(), "a later call opens it again"
        await zoo.close()

    run(work)


@pytest.mark.parametrize("text", ["zoo.acme.no-such-token", "nonsense"])
def test_a_wrong_token_is_refused_on_every_kind_of_call(store: MemoryStore, tmp_path: Path, text: str) -> None:
    valid, _ = Tokens(store).create("acme", "selector")

    async def work(port: int) -> None:
        async with client(port, tmp_path / "one", token=text) as zoo:
            for call in (zoo.families(), zoo.select(pairs()), zoo.download("mini/s000"), zoo.delete_dataset("ds-1")):
                with pytest.raises(Unauthenticated):
                    await call
        async with client(port, tmp_path / "two", token=valid) as zoo:
            assert (await zoo.select(pairs())).recommended
            assert (await zoo.download((await zoo.variants("mini"))[0].name)).is_file()

    with serving(store, auth="tokens") as port:
        asyncio.run(work(port))


def test_a_labelling_session(port: int, tmp_path: Path) -> None:
    truth = dict(pairs(4))

    async def work() -> None:
        async with client(port, tmp_path) as zoo:
            session = await zoo.label([(path, None) for path in truth], budget=6, audit=3)
            while questions := await session.next():
                labels: dict[int, int | str] = {question.index: truth[question.path] for question in questions}
                await session.submit(labels)
                assert await session.knows(*next(iter(labels.items())))
            report = await session.finish()
            assert session.labelled <= 6
            again = await zoo.label([(path, None) for path in truth], budget=6, audit=3)
            assert again.report == report
            assert await again.next() == ()

    run(work)


def test_a_file_that_changes_stops_the_upload(port: int, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(pairs(1)[0][0].read_bytes())

    async def work() -> None:
        def change(report: Progress) -> None:
            if report.stage is Stage.UPLOADING:
                path.write_bytes(path.read_bytes() + b"more")

        async with client(port, tmp_path / "home") as zoo:
            with pytest.raises(Exception, match="changed while it was being uploaded"):
                await zoo.upload([(path, None), *pairs(1)], progress=change)
            assert zoo.last_dataset_id is not None

    run(work)


def test_a_refusal_in_the_middle_of_a_stream_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """grpc.aio reports a failed write where the server said why it takes no more."""
    large = tmp_path / "large.png"
    large.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(12 << 20))

    async def refuse(self: DatasetServicer, requests: Any, context: Any) -> Any:
        async for _ in requests:
            raise LimitExceeded("no room for more", reason="QUOTA")

    monkeypatch.setattr(DatasetServicer, "UploadItems", refuse)

    async def work(port: int) -> None:
        async with client(port, tmp_path / "home") as zoo:
            for _ in range(5):
                with pytest.raises(LimitExceeded, match="no room for more"):
                    await zoo.upload([(large, None)])

    with serving(small_store(tmp_path / "other")) as port:
        asyncio.run(work(port))


def test_a_deletion_whose_connection_broke_is_tried_again(proxy: CutProxy, rpc: Caller, tmp_path: Path) -> None:
    async def work() -> None:
        async with client(proxy.address, tmp_path) as zoo:
            uploaded = await zoo.upload(pairs(1))
            proxy.cut_after(0)
            await zoo.delete_dataset(uploaded.id)
            assert proxy.cuts == 1
            with pytest.raises(NotFound):
                await zoo.delete_dataset(uploaded.id)

    run(work)
    with Client(proxy.address, home=tmp_path, offline=False, retry=PATIENT) as zoo:
        uploaded = zoo.upload(pairs(1))
        proxy.cut_after(0)
        zoo.delete_dataset(uploaded.id)
        assert proxy.cuts == 2
    assert rpc.code("GetDataset", dataset_id=uploaded.id) is grpc.StatusCode.NOT_FOUND


def test_mutual_tls(store: MemoryStore, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, issued in (("server", authority.issue_cert("localhost")), ("client", authority.issue_cert("me@acme"))):
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        for pem in issued.cert_chain_pems:
            pem.write_to_path(tmp_path / f"{name}.pem", append=True)
    token, _ = Tokens(store).create("acme", "reader")
    ours = TLSConfig(
        ca=tmp_path / "ca.pem", client_certificate=tmp_path / "client.pem", client_key=tmp_path / "client.key"
    )

    async def work(port: int) -> None:
        async with client(f"https://localhost:{port}", tmp_path, tls=ours, token=token) as zoo:
            assert [family.name for family in await zoo.families()] == ["mini"]
        stranger = TLSConfig(ca=tmp_path / "ca.pem")
        async with client(f"https://localhost:{port}", tmp_path, tls=stranger, token=token) as zoo:
            with pytest.raises(Unavailable):
                await zoo.families()
        async with client(f"https://localhost:{port}", tmp_path, tls=TLSConfig(ca=tmp_path / "none.pem")) as zoo:
            with pytest.raises(LocalFailure, match=r"none\.pem"):
                await zoo.families()

    with serving(
        store,
        auth="tokens",
        tls_certificate=tmp_path / "server.pem",
        tls_key=tmp_path / "server.key",
        tls_client_ca=tmp_path / "ca.pem",
    ) as port:
        asyncio.run(work(port))
