"""Decoders: threads and processes decode alike, and what happens to processes harms nobody but the image at fault."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support import example_files

from seedzoo.errors import Cancelled, DataError, LocalFailure
from seedzoo.inference.decode import FORMATS, DecodedImage
from seedzoo.inference.decoding import Decoder, ThreadDecoder
from seedzoo.inference.decoding_processes import ProcessDecoder, memory_for
from seedzoo.records import Preprocessing

GREY = Preprocessing(height=28, width=28, channels=1)
COLOUR = Preprocessing(height=20, width=30, channels=3, resize="shorter_side_center_crop", interpolation="bicubic")
TROUBLED = "decoder_parts:troubled"
LEAST = 64 << 20
GOOD = [path.read_bytes() for path, _ in example_files(per_class=1)]


@pytest.fixture(autouse=True)
def parts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes look for modules where this one does."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def troubled() -> Iterator[ProcessDecoder]:
    decoder = ProcessDecoder(2, image_s=1, memory_bytes=LEAST, function=TROUBLED)
    yield decoder
    decoder.close()


def decoded(decoder: Decoder, contents: list[bytes], task: Preprocessing = GREY, **more: Any) -> list[Any]:
    """Outcomes, images as True."""
    block = decoder.decode(contents, task, max_pixels=1_000_000, **more)
    assert block.pixels.shape == (len(contents), task.height, task.width, task.channels)
    return [True if isinstance(outcome, DecodedImage) else outcome for outcome in block.outcomes]


def encoded(kind: str, mode: str, **options: Any) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format=kind, **options)
    return buffer.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def kinds() -> list[bytes]:
    """Files of every format, in what forms Pillow decodes by different ways."""
    found = [encoded(kind, "RGB") for kind in FORMATS]
    found += [encoded("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")]
    found += [encoded("TIFF", "RGB", compression=name) for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "zstd")]
    found += [encoded("TIFF", "1", compression="group4"), encoded("TIFF", "CMYK"), encoded("TIFF", "LAB")]
    found += [encoded("JPEG", "L", progressive=True), encoded("JPEG", "CMYK"), encoded("JPEG", "RGB", exif=turned())]
    found += [encoded("WEBP", "RGBA", lossless=True), encoded("WEBP", "RGB", exif=turned()), encoded("GIF", "P")]
    found += [encoded("PNG", "RGB", exif=turned()), encoded("TIFF", "RGB", exif=turned()), encoded("TIFF", "F")]
    return found


@pytest.mark.filterwarnings("ignore")  # Pillow finds some of them odd
@pytest.mark.parametrize("task", [GREY, COLOUR])
def test_processes_decode_as_threads_do(task: Preprocessing) -> None:
    files = kinds()
    contents = [*GOOD, *files, b"", b"no image", *[raw[: len(raw) // 2] for raw in files], encoded("PNG", "L")]
    threads, processes = ThreadDecoder(2), ProcessDecoder(2)
    try:
        one, other = (each.decode(contents, task, max_pixels=2000) for each in (threads, processes))
    finally:
        threads.close()
        processes.close()
    good = 0
    for index, (here, there) in enumerate(zip(one.outcomes, other.outcomes, strict=True)):
        if isinstance(here, DataError):
            assert isinstance(there, DataError)
            assert (there.message, there.hint, there.reason) == (here.message, here.hint, here.reason)
        else:
            assert isinstance(here, DecodedImage)
            assert isinstance(there, DecodedImage)
            assert (there.colour_change, there.resized_from) == (here.colour_change, here.resized_from)
            assert np.array_equal(one.pixels[index], other.pixels[index])
            assert np.array_equal(there.pixels, other.pixels[index])
            good += 1
    assert good >= len(GOOD) + len(files) - 1  # all but pixels of floating point
    assert not processes.pids


def test_nothing_to_decode_and_too_large(troubled: ProcessDecoder) -> None:
    assert decoded(troubled, []) == []
    assert troubled.pids == []  # not even a process
    outcome = troubled.decode(GOOD[:1], GREY, max_pixels=10).outcomes[0]
    assert isinstance(outcome, DataError)
    assert outcome.reason == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize(
    ("order", "reason", "message"),
    [
        (b"crash", "IMAGE_CRASHES_DECODER", "SIGSEGV"),
        (b"leave", "IMAGE_CRASHES_DECODER", "ended with code 3"),
        (b"eat all", "IMAGE_CRASHES_DECODER", "SIGKILL, probably for lack of memory"),
        (b"eat", "IMAGE_DAMAGED", "more memory than one image gets"),
        (b"loop", "IMAGE_TOO_SLOW", "more than 1 seconds"),
        (b"sleep", "IMAGE_TOO_SLOW", "more than 1 seconds"),
        (b"lie", "IMAGE_CRASHES_DECODER", "make no sense"),
        (b"say the unheard of", "IMAGE_CRASHES_DECODER", "make no sense"),
        (b"talk nonsense", "IMAGE_CRASHES_DECODER", "make no sense"),
    ],
)
def test_one_image_is_to_blame_and_the_others_are_decoded(
    order: bytes, reason: str, message: str, troubled: ProcessDecoder
) -> None:
    contents = [*GOOD, order, *GOOD]
    outcomes = decoded(troubled, contents)
    culprit = outcomes.pop(len(GOOD))
    assert isinstance(culprit, DataError)
    assert culprit.reason == reason
    assert message in culprit.message
    assert outcomes == [True] * 2 * len(GOOD)
    assert decoded(troubled, GOOD) == [True] * len(GOOD)
    assert len(troubled.pids) <= 2


def test_an_image_that_suffers_from_another_is_tried_again(troubled: ProcessDecoder) -> None:
    # It is no image: the process of its own in which it is tried again says so.
    outcomes = decoded(troubled, [*GOOD[:3], b"crash later", *GOOD])
    assert outcomes.pop(3).reason == "IMAGE_UNKNOWN"
    assert outcomes == [True] * (3 + len(GOOD))


def test_no_more_than_a_few_crashes(troubled: ProcessDecoder) -> None:
    outcomes = decoded(troubled, [b"crash"] * 40)
    blamed = [outcome for outcome in outcomes if outcome is not None]
    assert 5 <= len(blamed) <= 6  # two processes may each be at one
    assert all(outcome.reason == "IMAGE_CRASHES_DECODER" for outcome in blamed)
    assert decoded(troubled, GOOD) == [True] * len(GOOD)


def test_mistakes_of_ours_are_not_the_images(troubled: ProcessDecoder) -> None:
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        decoded(troubled, [b"fail", *GOOD])
    assert decoded(troubled, GOOD) == [True] * len(GOOD)


def test_processes_reach_nothing(troubled: ProcessDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("SEEDZOO_TOKEN", "secret")
    outcome = troubled.decode([b"look"], GREY, max_pixels=100).outcomes[0]
    assert isinstance(outcome, DecodedImage)
    assert outcome.resized_from == (0, 1) or outcome.resized_from is None
    for pid in troubled.pids:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"PYTHONPATH" in environment
        assert b"secret" not in environment
        opened = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
        assert sum(each.startswith("socket:") for each in opened) == 1
        assert all(each == "/dev/null" or each.startswith("socket:") for each in opened)


def pid_of(decoder: ProcessDecoder) -> int:
    outcome = decoder.decode([b"pid"], GREY, max_pixels=100).outcomes[0]
    assert isinstance(outcome, DecodedImage)
    assert outcome.resized_from is not None
    return outcome.resized_from[0]


def test_processes_are_kept_and_replaced_after_their_share() -> None:
    decoder = ProcessDecoder(1, batches=2, function=TROUBLED)
    try:
        pids = [pid_of(decoder) for _ in range(4)]
    finally:
        decoder.close()
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_process_killed_while_it_idles_is_replaced() -> None:
    decoder = ProcessDecoder(1, function=TROUBLED)
    try:
        first = pid_of(decoder)
        os.kill(first, signal.SIGKILL)
        assert pid_of(decoder) != first
    finally:
        decoder.close()


def test_stopping_and_closing_do_not_wait_for_an_image() -> None:
    decoder = ProcessDecoder(1, image_s=3600, function=TROUBLED)
    try:
        assert decoded(decoder, GOOD)
        stop = threading.Event()
        result = started(lambda: decoded(decoder, [b"sleep"], should_stop=stop.is_set))
        stop.set()
        assert isinstance(result(), Cancelled)
        result = started(lambda: decoded(decoder, [b"sleep"]))
    finally:
        decoder.close()
    assert isinstance(result(), Cancelled)
    with pytest.raises(Cancelled):
        decoded(decoder, GOOD)
    assert decoder.pids == []


def started(action: Callable[[], Any]) -> Callable[[], Any]:
    """Begin something in a thread; what it returns or raises."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(action())
        except Exception as error:  # noqa: BLE001  (it is what the test looks at)
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def ended() -> Any:
        thread.join(60)
        return found[0]

    return ended


def test_what_does_not_start_says_why() -> None:
    for function in ("no_such_module:f", "decoder_parts:no_such_function"):
        decoder = ProcessDecoder(1, function=function)
        with pytest.raises(LocalFailure, match="no_such") as caught:
            decoded(decoder, GOOD)
        assert caught.value.reason == "DECODER_FAILED"
        assert decoder.pids == []
        decoder.close()


def test_processes_end_with_a_killed_parent() -> None:
    script = """
import sys, threading
from seedzoo.inference.decoding_processes import ProcessDecoder
from seedzoo.records import Preprocessing
decoder = ProcessDecoder(1, image_s=3600, function="decoder_parts:troubled")
task = Preprocessing(height=28, width=28, channels=1)
decoder.decode([b""], task, max_pixels=1)
threading.Thread(target=decoder.decode, args=([b"sleep"], task), kwargs={"max_pixels": 1}, daemon=True).start()
print(*decoder.pids, flush=True)
sys.stdin.read()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        watched = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert select.select([watched], [], [], 0) == ([], [], [])
            parent.kill()
            assert select.select([watched], [], [], 60)[0] == [watched]
        finally:
            os.close(watched)


def test_room_for_the_largest_image() -> None:
    """White pictures of 4 million pixels in every format fit into what their pixels get, without the base."""
    side = 2000
    contents = []
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "JPEG2000"):
        buffer = io.BytesIO()
        options: dict[str, Any] = {"exif": turned()} if kind in ("PNG", "JPEG", "WEBP") else {}
        Image.new("RGB", (side, side), (200, 30, 90)).save(buffer, format=kind, **options)
        contents.append(buffer.getvalue())
    decoder = ProcessDecoder(1, memory_bytes=memory_for(side**2) - memory_for(0))
    try:
        block = decoder.decode(contents, COLOUR, max_pixels=side**2)
    finally:
        decoder.close()
    assert [type(outcome) for outcome in block.outcomes] == [DecodedImage] * len(contents)
