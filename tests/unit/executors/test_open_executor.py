"""The options of a command name an executor, or one clear error says why not."""

from __future__ import annotations

import importlib
import socket
import sys

import pytest
from tests.unit.executors import executor_jobs as jobs

from seedzoo.cpu import usable_cores
from seedzoo.errors import MissingExtra, RequestError, Unavailable
from seedzoo.executors import Job, LocalExecutor, Setup, open_executor


def test_local_uses_what_this_machine_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aa,GPU-bb,GPU-cc")
    executor = open_executor("local")
    assert isinstance(executor, LocalExecutor)
    assert executor.gpus == 3
    assert open_executor("local", gpus=2).gpus == 2
    assert usable_cores() >= 1
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert open_executor("local").gpus == 0
    with pytest.raises(RequestError, match="1 GPUs are asked for"):
        open_executor("local", gpus=1)
    with pytest.raises(RequestError, match="this machine offers 0"), executor_without_gpus_runs_one_that_wants_one():
        pass


def executor_without_gpus_runs_one_that_wants_one():  # type: ignore[no-untyped-def]
    return LocalExecutor(gpus=0).run([Job("j", jobs.square, (1,), gpus=1)], setup=Setup(jobs.prepare))


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(RequestError, match="'slurm' is not known"):
        open_executor("slurm")
    with pytest.raises(RequestError, match="goes with the executor ray"):
        open_executor("local", address="auto")
    with pytest.raises(RequestError, match="its own number of cores"):
        open_executor("ray", address="10.0.0.1:6379", cpus=4)


def test_missing_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "ray" or name.startswith("ray.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    executor = open_executor("ray", cpus=1)
    with (
        pytest.raises(MissingExtra, match="Ray is not installed") as caught,
        executor.run([Job("j", jobs.square, (1,))], setup=Setup(jobs.prepare)),
    ):
        pass
    assert "seedzoo[cluster]" in caught.value.hint


def test_cluster_that_does_not_answer_is_told_at_once() -> None:
    pytest.importorskip("ray", reason="needs the [cluster] extra")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with (
            pytest.raises(Unavailable, match=f"cannot connect to the Ray cluster {address}"),
            open_executor("ray", address=address).run([Job("j", jobs.square, (1,))], setup=Setup(jobs.prepare)),
        ):
            pass


def test_importing_the_executors_imports_no_ray_and_no_torch() -> None:
    module = importlib.import_module("seedzoo.executors.cluster")
    assert "ray" not in vars(module)
    assert "torch" not in vars(module)
