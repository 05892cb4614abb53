"""Stress runs and selections by the workers of a real Ray cluster of this machine: bit for bit those of threads."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from real_server import Caller, examples, serving, small_store
from tests.integration import evaluation_jobs as jobs
from tests.support import EXAMPLES, Engine, MemoryExamples, png, small_bundle, subset_images

from seedzoo.catalog.bundle import open_bundle
from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.publish import publish
from seedzoo.engine import SelectionSettings
from seedzoo.engine.spread_evaluator import SpreadEvaluator, evaluators_on
from seedzoo.engine.spread_parts import PartScores, SpreadScores
from seedzoo.errors import Cancelled, DataError, MissingExtra, RequestError
from seedzoo.executors import Executor, Job, LocalExecutor
from seedzoo.inference.evaluate import Evaluator
from seedzoo.inference.sources import ArrayImages, FileImages
from seedzoo.records import Evaluation, Preprocessing, ProgressUpdate, SelectionPhase
from seedzoo.stress import get_condition
from seedzoo.stress.condition import Condition
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.measure import Measurement, VariantModel, measure
from seedzoo.stress.spread import group_size
from seedzoo_client import LocalZoo
from seedzoo_protos.v1 import selection_pb2
from seedzoo_server.app import ZooServer
from seedzoo_server.evaluators import Evaluators
from seedzoo_server.settings import ServerSettings

IMAGES = 700


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(open_bundle(small_bundle(tmp_path_factory.mktemp("spread") / "mini", variants=6)))


@pytest.fixture(scope="module")
def many() -> tuple[list[bytes], NDArray[np.int64]]:
    contents, labels = subset_images()
    unique = dict(zip(contents, labels.tolist(), strict=True))
    return list(unique), np.array(list(unique.values()))


@pytest.fixture(scope="module")
def variants(zoo: Engine) -> list[VariantModel]:
    return [
        VariantModel(tag=one.tag, sha256=one.model.sha256, read=functools.partial(zoo.load, one), twin=number == 5)
        for number, one in enumerate(zoo.family.variants)
        if one.model is not None
    ]


@pytest.fixture(scope="module")
def sets(many: tuple[list[bytes], NDArray[np.int64]], tmp_path_factory: pytest.TempPathFactory) -> list[EvaluationSet]:
    """Images in memory with slices, and files of which one is broken."""
    labels = many[1][:IMAGES]
    pixels = jobs.pixels(many[0][:IMAGES])
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for number in range(30):
        paths.append(folder / f"{number}.png")
        paths[-1].write_bytes(png(255 - pixels[number, :, :, 0]) if number != 7 else b"broken")
    files = FileImages(paths=paths, labels=labels[:30], preprocessing=Preprocessing(28, 28, 1), root=folder)
    cameras = tuple("ab"[row % 2] for row in range(IMAGES))
    return [
        EvaluationSet(name="id", kind="id", images=ArrayImages(pixels, labels), slices={"camera": cameras}),
        EvaluationSet(name="natural/files", images=files),
    ]


def measured(variants: list[VariantModel], folder: Path, sets: list[EvaluationSet], **more: Any) -> Measurement:
    given = {"conditions": [get_condition(name) for name in ("id", "gaussian-noise-2")], "slices": ["camera"], **more}
    return measure(variants, classes=10, sets=sets, folder=folder, skip_unreadable=True, **given)


@pytest.fixture(scope="module")
def by_threads(
    variants: list[VariantModel], sets: list[EvaluationSet], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Measurement, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("threads")
    return measured(variants, folder, sets, threads=2), kept(folder)


def kept(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same(found: Measurement, expected: Measurement) -> None:
    assert found.rows == expected.rows
    assert (found.sum_squares, found.skipped) == (expected.sum_squares, expected.skipped)
    assert found.signatures is not None
    assert expected.signatures is not None
    assert found.signatures.conditions == expected.signatures.conditions
    assert found.signatures.cot.tobytes() == expected.signatures.cot.tobytes()
    assert found.signatures.nuclear.tobytes() == expected.signatures.nuclear.tobytes()


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
def test_stress_table_is_that_of_threads(
    executor: Executor,
    variants: list[VariantModel],
    sets: list[EvaluationSet],
    by_threads: tuple[Measurement, dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seedzoo.stress.spread._MOST_VARIANTS", 4)  # two groups
    moved: list[tuple[int, int]] = []
    found = measured(
        variants, tmp_path, sets, executor=executor, on_progress=lambda at: moved.append((at.all_done, at.all_total))
    )
    assert_same(found, by_threads[0])
    assert kept(tmp_path) == by_threads[1]
    assert moved[-1] == (2 * IMAGES + 30, 2 * IMAGES + 30)
    assert len(found.skipped["natural/files"]) == 1


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
def test_stress_that_was_stopped_goes_on_anywhere(
    executor: Executor,
    variants: list[VariantModel],
    sets: list[EvaluationSet],
    by_threads: tuple[Measurement, dict[str, bytes]],
    tmp_path: Path,
) -> None:
    moved: list[str] = []
    with pytest.raises(Cancelled):
        measured(
            variants, tmp_path, sets, executor=executor, on_progress=lambda at: moved.append(at.condition),
            should_stop=lambda: len(moved) >= 2,
        )  # fmt: skip
    finished = kept(tmp_path)
    assert finished
    assert finished.keys() != by_threads[1].keys()
    read: list[int] = []

    def reading(one: VariantModel) -> bytes:
        read.append(1)
        return one.read()

    again = [dataclasses.replace(one, read=functools.partial(reading, one)) for one in variants]
    assert_same(measured(again, tmp_path, sets, threads=1), by_threads[0])
    assert len(read) == len(variants)
    assert kept(tmp_path) == by_threads[1]


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
def test_killed_worker_changes_nothing(
    executor: Executor, variants: list[VariantModel], sets: list[EvaluationSet], tmp_path: Path
) -> None:
    honest = get_condition("gaussian-noise-2")

    def condition(folder: Path | None) -> list[Condition]:
        transform = functools.partial(jobs.die_once, folder, honest.transform)
        return [get_condition("id"), dataclasses.replace(honest, transform=transform)]

    expected = measured(variants, tmp_path / "a", sets[:1], conditions=condition(None), threads=2)
    said: list[str] = []
    found = measured(
        variants, tmp_path / "b", sets[:1], conditions=condition(tmp_path), executor=executor, on_notice=said.append
    )
    assert_same(found, expected)
    assert (tmp_path / "died").exists()
    assert any("starts again (1 of 3 retries)" in one for one in said)


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
def test_what_a_worker_refuses_is_the_error_that_it_is(
    executor: Executor, variants: list[VariantModel], sets: list[EvaluationSet], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"7\.png"):
        measure(variants, classes=10, sets=sets, conditions=[], folder=tmp_path, executor=executor)
    bad = [dataclasses.replace(variants[0], read=lambda: b"no model")]
    with pytest.raises(DataError, match="is not a usable ONNX model") as caught:
        measured(bad, tmp_path, sets[:1], executor=executor)
    assert caught.value.reason == "MODEL_INVALID"


def test_jobs_on_large_images_are_of_few_variants() -> None:
    assert group_size(512 * 28 * 28) == 25
    assert group_size(32 << 20) == 2
    assert group_size(1 << 40) == 1


def files_of(zoo: Engine) -> list[tuple[str, Callable[[], bytes]]]:
    return [(one.tag, functools.partial(zoo.load, one)) for one in zoo.family.variants]


def test_blocks_are_those_of_the_evaluator(
    executor: Executor, zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]]
) -> None:
    images, labels = jobs.pixels(many[0][:200]), many[1][:200].copy()
    labels[::3] = -1
    files = files_of(zoo)
    files = [*files, files[0], files[1]]  # copies: two against two makes exact ties more likely
    with (
        Evaluator([functools.partial(jobs.opened, *file) for file in files]) as threads,
        SpreadEvaluator(files, executor) as workers,
    ):
        for keep, asked, count in (
            (None, None, 200),
            ([5, 199, 0], [4, 1, 1], 200),
            (np.arange(200), None, 200),
            ([], [2], 64),
            ([0], [0, 3], 1),
        ):
            some, of_some = images[:count], labels[:count]
            expected = threads.run(some, of_some, keep_probabilities=keep, variants=asked)
            found = workers.run(some, of_some, keep_probabilities=keep, variants=asked)
            for name in ("predicted", "label_probability", "ensemble", "probabilities"):
                theirs, ours = getattr(expected, name), getattr(found, name)
                assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes()), name
        with pytest.raises(ValueError, match="no models"):
            workers.run(images, labels, variants=[])


def test_sums_too_near_to_tell_are_added_in_the_order_of_threads(
    zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every example unsure, the classes come from the probabilities alone."""
    images, labels = jobs.pixels(many[0][:70]), many[1][:70]
    files = files_of(zoo)
    with Evaluator([functools.partial(jobs.opened, *file) for file in files]) as threads:
        expected = threads.run(images, labels)
    wrong = lambda self, _: np.ones(len(self.total), dtype=np.bool_)  # noqa: E731
    monkeypatch.setattr(SpreadScores, "unsure", wrong)
    original = SpreadScores.put
    asked: list[int] = []

    def misled(self: SpreadScores, part: PartScores, examples: range, variants: range) -> None:
        original(self, part, examples, variants)
        asked.append(len(self.keep))
        self.total[:] = 0

    monkeypatch.setattr(SpreadScores, "put", misled)
    with SpreadEvaluator(files, LocalExecutor(cpus=1)) as workers:
        assert np.array_equal(workers.run(images, labels).ensemble, expected.ensemble)
        assert [kept for kept, _ in itertools.groupby(asked)] == [0, 70]
        asked.clear()
        assert np.array_equal(workers.run(images, labels, keep_probabilities=np.arange(70)).ensemble, expected.ensemble)
        assert set(asked) == {70}


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
@pytest.mark.parametrize("how", ["exhaustive", "race", "unlabelled"])
def test_report_is_that_of_threads(
    executor: Executor, zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]], how: str
) -> None:
    count = 1300 if how == "race" else 300
    contents, labels = many[0][:count], many[1][:count]
    if how == "unlabelled":
        labels = np.full(count, -1)
    settings = SelectionSettings(evaluation=Evaluation.RACE if how == "race" else Evaluation.AUTO)
    said: list[ProgressUpdate] = []
    expected_said: list[ProgressUpdate] = []
    expected = zoo.select(MemoryExamples(contents, labels), settings, on_progress=expected_said.append)
    found = zoo.select(
        MemoryExamples(contents, labels), settings, on_progress=said.append, open_evaluator=evaluators_on(executor)
    )
    assert dataclasses.replace(found, seconds=0.0) == dataclasses.replace(expected, seconds=0.0)
    assert found.provider == expected.provider == "CPUExecutionProvider"
    assert said == expected_said
    assert any(one.phase is SelectionPhase.EVALUATING for one in said)


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
def test_cancelled_inside_a_block(executor: Executor, zoo: Engine, many: tuple[list[bytes], NDArray[np.int64]]) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    images, labels = jobs.pixels(many[0][:200]), many[1][:200]
    with SpreadEvaluator(files_of(zoo), executor, should_stop=stop) as workers, pytest.raises(Cancelled):
        workers.run(images, labels)
    assert len(asked) > 3


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
def test_worker_killed_during_a_selection(
    executor: Executor,
    zoo: Engine,
    many: tuple[list[bytes], NDArray[np.int64]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, labels = jobs.pixels(many[0][:128]), many[1][:128]
    files = files_of(zoo)
    said: list[str] = []
    with Evaluator([functools.partial(jobs.opened, *file) for file in files]) as threads:
        expected = threads.run(images, labels)
    with SpreadEvaluator(files, executor, on_notice=said.append) as workers:
        original = workers._workers.results

        def killing(batch: Iterator[Job[Any]], **more: Any) -> Iterator[Any]:
            first = next(batch)
            arguments = (*first.arguments, tmp_path, first.function)
            killer = dataclasses.replace(first, function=jobs.killed_once, arguments=arguments)
            return original(itertools.chain([killer], batch), **more)

        monkeypatch.setattr(workers._workers, "results", killing)
        found = workers.run(images, labels)
    assert found.label_probability.tobytes() == expected.label_probability.tobytes()
    assert np.array_equal(found.ensemble, expected.ensemble)
    assert len(said) == 1
    assert "starts again (1 of 3 retries)" in said[0]


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
def test_server_evaluates_on_ray(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    made: list[int] = []
    original = SpreadScores.put

    def counted(self: SpreadScores, *given: Any) -> None:
        made.append(1)
        original(self, *given)

    monkeypatch.setattr(SpreadScores, "put", counted)
    store = small_store(tmp_path)
    reports = {}
    for where in ("ray", "local"):
        with (
            serving(store, evaluate_on=where, decoder_processes=0) as port,
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            caller = Caller(channel)
            classes = list(caller("GetFamily", name="mini").task.classes)
            contents, labels = examples(classes)
            # Other data each time, or the second server would find what the first one predicted.
            count = len(contents)
            dataset = caller.upload(contents[:count], labels[:count], classes)
            ended = caller.settled(caller.start(dataset).id)
            assert ended.state == selection_pb2.SELECTION_STATE_SUCCEEDED
            reports[where] = {score.variant: score.value.estimate for score in ended.report.scores}
            caller("DeleteDataset", dataset_id=dataset)
        assert bool(made) == (where == "ray")
        made.clear()
    assert reports["ray"] == reports["local"]


def test_server_without_ray_or_cluster_says_so_at_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with (
        pytest.raises(MissingExtra, match="Ray is not installed") as caught,
        serving(small_store(tmp_path), evaluate_on="ray", decoder_processes=0),
    ):
        pass
    assert "seedzoo[cluster]" in caught.value.hint


@pytest.mark.parametrize("setting", [{"provider": "cuda"}, {"calibration_folder": Path("cache")}])
def test_settings_that_mean_nothing_on_ray_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="does not go with evaluate_on ray") as caught:
        ZooServer(MemoryStore(), ServerSettings(evaluate_on="ray", decoder_processes=0, **setting))
    assert caught.value.field == next(iter(setting))


def test_the_server_s_memory_reaches_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int | None] = []
    monkeypatch.setattr(
        "seedzoo_server.evaluators.evaluators_on", lambda _, *, memory_bytes, **more: given.append(memory_bytes)
    )
    Evaluators(ServerSettings(evaluate_on="ray", model_memory_bytes=5, concurrent_selections=2))
    assert given == [5]


def test_server_on_ray_stops_when_it_is_told(tmp_path: Path) -> None:
    """Ray installs a handler that would abort the process."""
    pytest.importorskip("ray", reason="needs the [cluster] extra")
    short = tempfile.mkdtemp(dir="/tmp")  # the names of Ray's sockets must be short
    command = [sys.executable, "-m", "seedzoo_client", "serve", "--store", str(tmp_path / "store"), "--port", "0"]
    try:
        with subprocess.Popen(
            [*command, "--evaluate-on", "ray", "--log-level", "error"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": short},
        ) as server:
            assert server.stdout is not None
            assert "serving" in server.stdout.readline()
            server.terminate()
            assert server.wait(60) == 0
    finally:
        shutil.rmtree(short, ignore_errors=True)


def test_local_mode_on_ray(ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(LocalStore(tmp_path / "store"), small_bundle(tmp_path / "bundle"))
    spread: list[int] = []
    put = SpreadScores.put

    def counted(self: SpreadScores, part: PartScores, *places: range) -> None:
        spread.append(part.predicted.size)
        put(self, part, *places)

    monkeypatch.setattr(SpreadScores, "put", counted)
    reports = []
    for executor in ("threads", "ray"):
        with LocalZoo(tmp_path / "store", home=tmp_path / executor, executor=executor) as zoo:
            reports.append(dataclasses.replace(zoo.select(EXAMPLES / "mydata"), seconds=0.0))
        assert sum(spread) == (300 * 4 if executor == "ray" else 0)
    assert reports[0] == reports[1]
    assert reports[0].evaluations == 300 * 4
