"""Sessions within a memory budget, by real models."""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support import example_files

from seedzoo.catalog.bundle import open_bundle
from seedzoo.errors import Cancelled, DataError, RequestError
from seedzoo.inference import Evaluator, decode_image, open_models
from seedzoo.inference.session import Model
from seedzoo.inference.sessions import Sessions, session_bytes
from seedzoo.inference.settings import InferenceSettings
from seedzoo.starter import starter_bundle

BUNDLE = open_bundle(starter_bundle())
RAW = [(BUNDLE.folder / variant.model.path).read_bytes() for variant in BUNDLE.family.variants[:8] if variant.model]
COST = max(session_bytes(len(raw)) for raw in RAW)
IMAGES = np.stack(
    [decode_image(path.read_bytes(), BUNDLE.family.task.preprocessing).pixels for path, _ in example_files(per_class=3)]
)
LABELS = np.full(len(IMAGES), -1, dtype=np.int64)


def loader(index: int, opened: list[int]) -> Callable[[], Model]:
    def load() -> Model:
        opened.append(index)
        return Model(RAW[index], name=str(index))

    return load


def evaluator(opened: list[int], *, room: int, threads: int, **more: object) -> Evaluator:
    return Evaluator(
        [loader(index, opened) for index in range(8)],
        threads=threads,
        file_bytes=[len(raw) for raw in RAW],
        settings=InferenceSettings(memory_bytes=room * COST),
        **more,  # type: ignore[arg-type]
    )


def plain() -> NDArray[np.float32]:
    opened: list[int] = []
    with evaluator(opened, room=8, threads=1) as whole:
        assert whole.sessions_fit
        assert opened == []  # not before something is asked
        found = [whole.run(IMAGES, LABELS, keep_probabilities=range(len(IMAGES))) for _ in range(2)]
        assert opened == list(range(8))
    return found[1].probabilities


def test_eight_models_in_room_for_three_open_as_rarely_as_possible() -> None:
    opened: list[int] = []
    with evaluator(opened, room=3, threads=1) as small:
        assert not small.sessions_fit
        for block in range(4):
            found = small.run(IMAGES, LABELS, keep_probabilities=range(len(IMAGES)))
            assert np.array_equal(found.probabilities, plain())
            assert len(opened) == 8 + 5 * block
        assert small.opened == len(opened)


@pytest.mark.parametrize("room", [1, 3])
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_wait_for_room(room: int, threads: int) -> None:
    opened: list[int] = []
    expected = plain()
    with evaluator(opened, room=room, threads=threads) as small:
        for _ in range(3):
            found = small.run(IMAGES, LABELS, keep_probabilities=range(len(IMAGES)))
            assert np.array_equal(found.probabilities, expected)
    assert 8 <= len(opened) <= 24


def test_the_budget_is_kept_while_threads_borrow() -> None:
    sessions = Sessions([loader(index, []) for index in range(8)], [COST] * 8, 3 * COST)
    lock, held, most = threading.Lock(), Counter[int](), 0

    def use(index: int) -> None:
        nonlocal most
        with sessions.borrow(index) as model:
            with lock:
                held[index] += 1
                most = max(most, sum(count > 0 for count in held.values()))  # threads may share a session
            model.logits(IMAGES[:1])
            with lock:
                held[index] -= 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(use, [index * 5 % 8 for index in range(64)]))
    assert 1 <= most <= 3
    assert len(sessions._open) <= 3


def test_a_model_larger_than_the_budget_still_runs() -> None:
    sessions = Sessions([loader(0, []), loader(1, [])], [COST, COST], 1)
    for index in (0, 1, 0):
        with sessions.borrow(index) as model:
            assert model.logits(IMAGES[:2]).shape == (2, 10)


def test_a_model_that_does_not_open_fails_the_block_and_is_tried_again() -> None:
    attempts = 0

    def broken() -> Model:
        nonlocal attempts
        attempts += 1
        return Model(b"nothing" if attempts == 1 else RAW[1], name="late")

    with Evaluator([loader(0, []), broken], threads=2) as both:
        with pytest.raises(DataError, match="late is not a usable ONNX model"):
            both.run(IMAGES, LABELS)
        assert both.run(IMAGES, LABELS).predicted.shape == (len(IMAGES), 2)


def test_a_block_stops_between_batches() -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    many = np.repeat(IMAGES, 20, axis=0)
    with (
        evaluator([], room=8, threads=1, should_stop=stop) as stopping,
        pytest.raises(Cancelled, match="stopped"),
    ):
        stopping.run(many, np.full(len(many), -1))
    assert asked <= 2 + 6 + 2 * 4  # of 80 batches: tasks that wait ask once, six of them for whole columns


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_what_models_took_goes_back_to_the_system() -> None:
    with Evaluator([loader(index % 8, []) for index in range(200)], threads=2) as many:
        before = resident()
        many.run(IMAGES, LABELS)
        taken = resident() - before
        assert many.opened == 200
    assert resident() - before < taken / 5


def test_nothing_is_opened_once_the_work_is_stopped() -> None:
    opened: list[int] = []
    with evaluator(opened, room=8, threads=2, should_stop=lambda: True) as stopped, pytest.raises(Cancelled):
        stopped.run(IMAGES, LABELS)
    assert opened == []


def test_a_small_budget_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with evaluator([], room=8, threads=1):
        assert not caplog.records
    with evaluator([], room=3, threads=1):
        assert "of 8 models about 3 may be open at a time" in caplog.text


@pytest.mark.parametrize(("memory", "room"), [(2, 1), (2 * 3 * COST, 3), (None, 8)])
def test_a_worker_keeps_to_its_share(monkeypatch: pytest.MonkeyPatch, memory: int | None, room: int) -> None:
    monkeypatch.setattr("seedzoo.inference.open_models.usable_cores", lambda: 2)
    monkeypatch.setattr("seedzoo.inference.open_models._open", OrderedDict())
    open_models.share_of_memory.cache_clear()
    for index, raw in enumerate([*RAW, RAW[0]]):
        file = open_models.model_file(str(index), raw)
        assert open_models.opened(file, memory_bytes=memory) is open_models.opened(file, memory_bytes=memory)
    assert len(open_models._open) == room
    open_models.share_of_memory.cache_clear()


def test_settings_are_checked() -> None:
    with pytest.raises(RequestError, match="none of auto, cpu, cuda"):
        InferenceSettings(provider="gpu")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="hold no model"):
        InferenceSettings(memory_bytes=0)
    assert InferenceSettings().budget() > 1 << 26
