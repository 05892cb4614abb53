"""Whatever callers send, a running server answers with an error of the right kind and goes on serving others."""

from __future__ import annotations

import hashlib
import io
import os
import random
import struct
import threading
import time
import tracemalloc
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from real_server import METHODS, Caller, examples, fault, message_of, pieces, serving, small_store

from seedzoo.catalog.scoped import ScopedStore
from seedzoo.errors import Cancelled, DataError
from seedzoo.inference.decode import decode_image
from seedzoo.records import Preprocessing
from seedzoo_protos.v1 import dataset_pb2, selection_pb2
from seedzoo_server import runner
from seedzoo_server.incoming import Incoming
from seedzoo_server.quotas import change_quota
from seedzoo_server.storage.dataset_records import DatasetRecord, DatasetState, Item

FAILED = selection_pb2.SELECTION_STATE_FAILED
SUCCEEDED = selection_pb2.SELECTION_STATE_SUCCEEDED
AWAITING = selection_pb2.SELECTION_STATE_AWAITING_LABELS

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MISSING = grpc.StatusCode.NOT_FOUND
TOO_MUCH = grpc.StatusCode.RESOURCE_EXHAUSTED
OK = grpc.StatusCode.OK
PLAUSIBLE = {OK, INVALID, MISSING, TOO_MUCH, grpc.StatusCode.ALREADY_EXISTS}
"""How a call may end that makes no sense; never INTERNAL or UNKNOWN."""

ODD_TEXTS = [
    "", "\0", "a\0b", "..", "../..", "/", "//", "a/../b", "\\", "%2e%2e%2f", "\x1b[2J", "\n", "\u202e", "\ufffe",
    "\U0010ffff", "é" * 3000, "x" * 100_000, "{}", "'; --", "nan", "-1", "9" * 5000, "*", "mini@..", "mini@stable/..",
    "mini/s000/..", "MINI", "mini ", "CON", ".seedzoo",
]  # fmt: skip
ODD_INTEGERS = [0, 1, -1, 2, 1000, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63)]
ODD_NUMBERS = [float("nan"), float("inf"), float("-inf"), -0.0, 0.0, 1.0, 5e-324, 1.8e308, -1.0, 2.0, 0.05]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    store = small_store(tmp_path_factory.mktemp("made"))
    with serving(store, max_item_bytes=1 << 20, max_dataset_items=1_000_000) as found:
        yield found


@pytest.fixture(scope="module")
def caller(port: int) -> Iterator[Caller]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Caller(channel, timeout=20)


@pytest.fixture(scope="module")
def classes(caller: Caller) -> list[str]:
    return list(caller("GetFamily", name="mini").task.classes)


@pytest.fixture(scope="module")
def dataset(caller: Caller, classes: list[str]) -> str:
    contents, labels = examples(classes)
    return caller.upload(contents, labels, classes)


@pytest.fixture(scope="module")
def done(caller: Caller, dataset: str) -> str:
    selection = caller.start(dataset)
    assert caller.settled(selection.id).state == SUCCEEDED
    return selection.id


@pytest.fixture(scope="module")
def awaiting(caller: Caller, dataset: str) -> str:
    selection = caller.start(dataset, labelling=selection_pb2.Labelling(audit=2))
    assert caller.settled(selection.id).state == AWAITING
    return selection.id


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def serves(caller: Caller) -> None:
    """The server answers others, soon."""
    before = time.monotonic()
    assert caller("GetFamily", name="mini").name == "mini"
    assert caller("ListSelections").next_page_token is not None
    assert time.monotonic() - before < 5


# --- images -----------------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bare_png(width: int, height: int, *, extra: bytes = b"", pixels: bytes | None = None) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    content = zlib.compress(bytes(height * (width + 1))) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def bare_tiff(width: int, height: int, compression: int) -> bytes:
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 1), (273, 4, 8),
               (277, 3, 1), (278, 4, height), (279, 4, 100)]  # fmt: skip
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4) + bytes(100)


def bare_gif(size: tuple[int, int], frame: tuple[int, int, int, int]) -> bytes:
    head = b"GIF89a" + struct.pack("<HH", *size) + b"\x80\0\0" + bytes(6)
    return head + b"," + struct.pack("<HHHH", *frame) + b"\0\2\2\x4c\1\0;"


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def picture(mode: str) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


REAL = [
    saved(picture(mode), kind, **options)
    for kind, mode, options in (
        ("PNG", "RGB", {}), ("PNG", "P", {}), ("JPEG", "RGB", {}), ("JPEG", "L", {"progressive": True}),
        ("WEBP", "RGB", {}), ("WEBP", "RGB", {"lossless": True}), ("BMP", "P", {}), ("GIF", "P", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "RGB", {"compression": "jpeg"}), ("PPM", "RGB", {}), ("JPEG2000", "RGB", {}), ("TGA", "RGB", {}),
    )
]  # fmt: skip


def test_bombs_are_refused_each_by_its_index(caller: Caller, classes: list[str]) -> None:
    deep = zlib.compress(bytes(100 << 20), 9)
    webp, jpeg2000 = saved(picture("RGB"), "WEBP"), saved(picture("RGB"), "JPEG2000")
    bombs = [
        bare_png(60_000, 60_000, pixels=b""),
        bare_png(8, 8, extra=chunk(b"zTXt", b"k\0\0" + deep)),
        bare_png(8, 8, extra=chunk(b"iTXt", b"k\0\1\0\0\0" + deep)),
        bare_png(8, 8, extra=chunk(b"iCCP", b"k\0\0" + deep)),
        bare_gif((60_000, 60_000), (0, 0, 60_000, 60_000)),
        bare_gif((8, 8), (0, 0, 60_000, 60_000)),
        bare_gif((8, 8), (60_000, 60_000, 8, 8)),
        bare_tiff(60_000, 60_000, 1),
        bare_tiff(60_000, 60_000, 5),
        bare_tiff(7_000, 7_000, 8),
        b"P6 60000 60000 255\n",
        webp[:40],
        webp[:30] + b"\xff" * 30,
        jpeg2000[:100],
        jpeg2000[:60] + b"\xff" * 60,
    ]
    good, labels = examples(classes, per_class=1)
    before = resident_bytes()
    dataset = caller.upload([*good, *bombs], [*labels, *[0] * len(bombs)], classes)
    ended = caller.settled(caller.start(dataset).id)
    assert (ended.state, ended.error.reason) == (FAILED, "ITEMS_INVALID")
    assert [item.index for item in ended.error.items] == list(range(len(good), len(good) + len(bombs)))
    assert resident_bytes() - before < 400 << 20
    # A stream that holds far more than its header says is read only as far as the header says.
    dataset = caller.upload([*good, bare_png(8, 8, pixels=deep)], [*labels, 0], classes)
    assert caller.settled(caller.start(dataset).id).state == SUCCEEDED


def test_a_tenants_largest_image_lowers_the_servers(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    tenant = ScopedStore(store, "tenants/default")
    with serving(store, max_pixels=3_000) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        caller = Caller(channel, timeout=20)
        classes = list(caller("GetFamily", name="mini").task.classes)
        good, labels = examples(classes, per_class=1)
        large = saved(Image.new("L", (50, 50)), "PNG")
        dataset = caller.upload([*good, large], [*labels, 0], classes)
        change_quota(tenant, {"max_image_pixels": 2_000})
        ended = caller.settled(caller.start(dataset).id)
        assert [item.index for item in ended.error.items] == [len(good)]
        assert "2,000 pixels" in ended.error.items[0].message
        change_quota(tenant, {"max_image_pixels": 1 << 40})  # more than the server takes counts for nothing
        assert caller.settled(caller.start(dataset).id).state == SUCCEEDED
        huge = caller.upload([*good, saved(Image.new("L", (60, 60)), "PNG")], [*labels, 0], classes)
        assert caller.settled(caller.start(huge).id).state == FAILED


def mutated(raw: bytes, chance: random.Random) -> bytes:
    content = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        place = chance.randrange(min(len(content), chance.choice((40, 400, 1 << 20))))
        how = chance.random()
        if how < 0.6:
            content[place] = chance.randrange(256)
        elif how < 0.8:
            content[place : place + 4] = chance.choice((bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff"))
        elif how < 0.9:
            content[place:place] = chance.randbytes(chance.randrange(1, 9))
        else:
            del content[place:]
        content = content or bytearray(b"x")
    return bytes(content)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what is odd in some of them
def test_thousands_of_broken_images_end_one_selection_and_nothing_else(caller: Caller, classes: list[str]) -> None:
    chance = random.Random(5)
    contents = [mutated(REAL[number % len(REAL)], chance) for number in range(5000)]
    before = resident_bytes()
    dataset = caller.upload(contents, [0] * len(contents), classes)
    selection = caller.start(dataset)
    serves(caller)
    ended = caller.settled(selection.id)
    assert (ended.state, ended.error.reason) == (FAILED, "ITEMS_INVALID"), ended.error
    assert len(ended.error.items) == 1000  # the first ones
    assert resident_bytes() - before < 400 << 20
    serves(caller)


@pytest.mark.filterwarnings("ignore")
def test_broken_metadata_are_the_images_fault() -> None:
    """EXIF blocks that Pillow can neither read nor write again."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x0132] = 6, "hello", "x" * 30
    whole = exif.tobytes()
    chance = random.Random(6)
    contents = [saved(picture("RGB"), "JPEG", exif=b"Exif\0\0" + mutated(whole[6:], chance)) for _ in range(1500)]
    contents += [bare_png(8, 8, extra=chunk(b"eXIf", mutated(whole[6:], chance))) for _ in range(1500)]
    task = Preprocessing(height=28, width=28, channels=1, resize="stretch", interpolation="bilinear")
    for content in contents:
        with suppress(DataError):
            decode_image(content, task)


# --- fields -----------------------------------------------------------------------------------------------------


def descriptor(**fields: Any) -> dataset_pb2.ItemDescriptor:
    return dataset_pb2.ItemDescriptor(**{"index": 0, "sha256": bytes(32), "size": 1, **fields})


def created(caller: Caller, **fields: Any) -> str:
    return str(
        caller("CreateDataset", **{"request_id": uuid.uuid4().hex, "classes": ["a", "b"], "item_count": 5, **fields}).id
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        *(({"request_id": text}, INVALID) for text in ("", "x" * 129, "x" * 1_000_000)),
        *(({"request_id": text}, OK) for text in ("\0", "../..", "é" * 128, "\n", "x" * 128)),
        ({"classes": []}, INVALID),
        ({"classes": ["a", "a"]}, INVALID),
        ({"classes": ["x" * 1_000_000]}, INVALID),
        ({"classes": [str(number) for number in range(10_001)]}, INVALID),
        ({"classes": [""] * 1_000_000}, INVALID),
        ({"item_count": 0}, INVALID),
        ({"item_count": -(2**63)}, INVALID),
        ({"item_count": 2**63 - 1}, TOO_MUCH),
        ({"item_count": 1_000_000}, OK),
        ({"slice_columns": [dataset_pb2.SliceColumn()] * 100_000}, INVALID),
        ({"slice_columns": [dataset_pb2.SliceColumn(name="a", values=["x"] * 100_000)]}, INVALID),
        ({"slice_columns": [dataset_pb2.SliceColumn(name="x" * 1_000_000, values=["x"])]}, INVALID),
        ({"slice_columns": [dataset_pb2.SliceColumn(name="a", values=["x" * 1_000_000])]}, INVALID),
        ({"slice_columns": [dataset_pb2.SliceColumn(name="\0", values=["..", "\0"])]}, OK),
    ],
)
def test_datasets_beyond_measure(fields: dict[str, Any], expected: grpc.StatusCode, caller: Caller) -> None:
    request = {"request_id": uuid.uuid4().hex, "classes": ["a"], "item_count": 1, **fields}
    assert caller.code("CreateDataset", **request) is expected
    serves(caller)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], INVALID),
        ([descriptor()], OK),
        ([descriptor(index=-1)], INVALID),
        ([descriptor(index=5)], INVALID),
        ([descriptor(index=2**63 - 1)], INVALID),
        ([descriptor(index=-(2**63))], INVALID),
        ([descriptor(), descriptor()], INVALID),
        ([descriptor(size=-1)], INVALID),
        ([descriptor(size=2**63 - 1)], TOO_MUCH),
        ([descriptor(label=2)], INVALID),
        ([descriptor(label=-2)], INVALID),
        ([descriptor(group=-2)], INVALID),
        ([descriptor(group=2**31 - 1)], OK),
        ([descriptor(sha256=b"")], INVALID),
        ([descriptor(sha256=bytes(1_000_000))], INVALID),
        ([descriptor(slices=[0])], INVALID),
        ([descriptor(slices=[-1] * 300_000)], INVALID),
        ([dataset_pb2.ItemDescriptor()] * 1_000_000, INVALID),
    ],
)
def test_items_beyond_measure(
    items: list[dataset_pb2.ItemDescriptor], expected: grpc.StatusCode, caller: Caller
) -> None:
    assert caller.code("AppendItems", dataset_id=created(caller), items=items) is expected
    serves(caller)


def test_uploads_that_break_every_rule(caller: Caller) -> None:
    dataset = created(caller)
    caller("AppendItems", dataset_id=dataset, items=[descriptor(index=index, size=index) for index in range(5)])

    def upload(*messages: dict[str, Any]) -> grpc.StatusCode:
        try:
            caller.all("UploadItems", *(message_of("UploadItems", **message) for message in messages))
        except grpc.RpcError as error:
            return fault(error)[0]
        return OK

    for messages in (
        [],
        [{"dataset_id": dataset, "index": -1}],
        [{"dataset_id": dataset, "index": 2**63 - 1, "data": b"x"}],
        [{"dataset_id": dataset, "index": 1, "data": b"xx"}],
        [{"dataset_id": dataset, "index": 1, "data": b"x"}],  # not what was described
        [{"dataset_id": dataset, "index": 4, "data": b"x"}],  # cut off
        [{"dataset_id": dataset, "index": 4, "data": b"x"}, {"index": 3, "data": b"x"}],
        [{"dataset_id": dataset, "index": 4, "data": b"x"}, {"dataset_id": dataset, "index": 4, "data": b"x"}],
        [{"dataset_id": dataset, "index": 4}],
        [{"dataset_id": dataset, "index": 4, "data": bytes((1 << 20) + 1)}],
    ):
        assert upload(*messages) is INVALID, messages
    assert upload({"index": 1, "data": b"x"}) is MISSING
    # Beyond gRPC's own limit nothing of ours sees the message.
    with pytest.raises(grpc.RpcError) as caught:
        caller("UploadItems", dataset_id=dataset, index=4, data=bytes(5 << 20))
    assert caught.value.code() is TOO_MUCH
    assert caller("GetDataset", dataset_id=dataset).received_count == 0


@pytest.mark.parametrize("number", [*ODD_NUMBERS[:4], 5e-324, 1.8e308, -1.0, 2.0])
@pytest.mark.parametrize("field", ["alpha", "delta", "class_proportions", "costs"])
def test_numbers_that_are_none(field: str, number: float, caller: Caller, dataset: str) -> None:
    more: dict[str, Any] = {field: number}
    if field == "class_proportions":
        more = {field: [number] * 10}
    elif field == "costs":
        more = {field: [number] * 100, "objective": "cost"}
        if number in (-0.0, 5e-324, 2.0):
            return  # a table of equal costs makes no sense and does no harm
    if (field, number) == ("delta", 5e-324):
        return
    code = caller.code("StartSelection", request_id=uuid.uuid4().hex, dataset_id=dataset, family="mini", **more)
    assert code is INVALID


@pytest.mark.parametrize(
    "fields",
    [
        {"requirements": ["accuracy >= .5"] * 10_000},
        {"requirements": ["accuracy >= .5"] * 21},
        {"requirements": ["x" * 1_000_000]},
        {"requirements": ["accuracy >= " + "9" * 480]},
        {"requirements": ["accuracy[" + "[" * 400 + "] >= .5"]},
        {"requirements": ["accuracy >= nan"]},
        {"requirements": ["accuracy >= inf"]},
        {"requirements": ["\0"]},
        {"objective": "x" * 1_000_000},
        {"objective": "top_k:-1"},
        {"objective": "top_k:٣"},
        {"objective": "risk_at_coverage:nan"},
        {"objective": "__class__"},
        {"objective": "accuracy\0"},
        {"class_proportions": [0.1] * 400_000},
        {"costs": [1.0] * 400_000, "objective": "cost"},
        {"evaluation": 77},
        {"evaluation": -1},
        {"labelling": selection_pb2.Labelling(audit=-1)},
        {"labelling": selection_pb2.Labelling(audit=2**63 - 1)},
        {"labelling": selection_pb2.Labelling(seed=-1)},
        *({"family": text} for text in ODD_TEXTS),
        *({"request_id": text} for text in ("", "x" * 129)),
    ],
)
def test_selections_beyond_measure(fields: dict[str, Any], caller: Caller, dataset: str) -> None:
    request = {"request_id": uuid.uuid4().hex, "dataset_id": dataset, "family": "mini", **fields}
    code = caller.code("StartSelection", **request)
    # A top_k of a few classes may be written in any digits.
    expected = {OK, INVALID} if fields.get("objective") == "top_k:٣" else {INVALID, MISSING}
    assert code in expected
    serves(caller)


def test_labels_beyond_measure(caller: Caller, awaiting: str) -> None:
    def submit(*labels: tuple[int, int], finish: bool = False) -> grpc.StatusCode:
        given = [selection_pb2.ItemLabel(index=index, label=label) for index, label in labels]
        return caller.code("SubmitLabels", selection_id=awaiting, labels=given, finish=finish)

    asked = caller("NextItems", selection_id=awaiting).items[0].index
    for index in ODD_INTEGERS:
        if index != asked and -(2**63) <= index < 2**63:
            assert submit((index, 0)) is INVALID
    for label in (-1, 10, 2**31 - 1, -(2**31)):
        assert submit((asked, label)) is INVALID
    assert submit(*[(asked, 0)] * 1001) is INVALID
    assert submit(*[(0, 0)] * 1_000_000) is INVALID
    assert caller.code("SubmitLabels", selection_id=awaiting, labels=[
        selection_pb2.ItemLabel(index=asked, label=0), selection_pb2.ItemLabel(index=asked, label=1)
    ]) in (INVALID, grpc.StatusCode.ALREADY_EXISTS)  # fmt: skip
    assert caller("NextItems", selection_id=awaiting).labelled_count == 0
    serves(caller)


TEXT_FIELDS = [
    (name, field.name)
    for name, method in METHODS.items()
    for field in method.input_type.fields
    if field.type == FieldDescriptor.TYPE_STRING
]


@pytest.mark.parametrize(("name", "field"), TEXT_FIELDS)
def test_odd_texts_in_every_field(name: str, field: str, caller: Caller, dataset: str, done: str) -> None:
    repeated = METHODS[name].input_type.fields_by_name[field].label == FieldDescriptor.LABEL_REPEATED
    known = {each.name for each in METHODS[name].input_type.fields}
    base = {"request_id": "odd", "dataset_id": dataset, "selection_id": done, "family": "mini", "name": "mini",
            "variant": "mini/s000"}  # fmt: skip
    if name == "DeleteDataset":
        base["dataset_id"] = created(caller)
    for text in ODD_TEXTS:
        fields = {**{key: value for key, value in base.items() if key in known}, field: [text] if repeated else text}
        assert caller.code(name, **fields) in PLAUSIBLE, (text, fields)
    serves(caller)


# --- anything ---------------------------------------------------------------------------------------------------


def fields_of(descriptor_: Any, pool: list[str], depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={field.name: _values(field, pool, depth) for field in descriptor_.fields if depth < 3}
    )


def _values(field: FieldDescriptor, pool: list[str], depth: int) -> st.SearchStrategy[Any]:
    one = _value(field, pool, depth)
    return st.lists(one, max_size=4) if field.label == FieldDescriptor.LABEL_REPEATED else one


def _value(field: FieldDescriptor, pool: list[str], depth: int) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        kind: Callable[..., Any] = GetMessageClass(field.message_type)
        return fields_of(field.message_type, pool, depth + 1).map(lambda values: kind(**values))
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.sampled_from([*pool, *pool, *ODD_TEXTS]) | st.text(max_size=20)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=40)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return st.sampled_from(ODD_NUMBERS) | st.floats()
    low, high = (-(2**63), 2**63 - 1) if field.type == FieldDescriptor.TYPE_INT64 else (-(2**31), 2**31 - 1)
    return st.sampled_from([each for each in ODD_INTEGERS if low <= each <= high]) | st.integers(low, high)


def ends_plausibly(caller: Caller, name: str, requests: list[bytes]) -> None:
    try:
        caller.raw(name, requests)
    except grpc.RpcError as error:
        code, _, message = fault(error)
        assert code in PLAUSIBLE, (name, requests, message)


@pytest.mark.parametrize("name", METHODS)
def test_any_message(name: str, caller: Caller, dataset: str, done: str, awaiting: str, classes: list[str]) -> None:
    pool = ["mini", "mini@stable", "mini/s000", "accuracy", "accuracy >= .5", "a", "b", *classes[:2]]
    pool += [created(caller)] if name == "DeleteDataset" else [dataset, done, awaiting]
    many = METHODS[name].client_streaming
    request = fields_of(METHODS[name].input_type, pool).map(lambda values: message_of(name, **values))

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(request, min_size=0 if many else 1, max_size=4 if many else 1))
    def check(requests: list[Any]) -> None:
        ends_plausibly(caller, name, [each.SerializeToString() for each in requests])

    check()
    serves(caller)


@pytest.mark.parametrize("name", METHODS)
def test_any_bytes(name: str, caller: Caller, dataset: str, done: str) -> None:
    known = {each.name for each in METHODS[name].input_type.fields}
    base = {"request_id": "bytes", "selection_id": done, "family": "mini", "dataset_id": dataset}
    if name == "DeleteDataset":
        base["dataset_id"] = created(caller)
    valid = message_of(name, **{key: value for key, value in base.items() if key in known}).SerializeToString()

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=60) | st.builds(lambda seed: mutated(valid or b"x", random.Random(seed)), st.integers()))
    def check(raw: bytes) -> None:
        ends_plausibly(caller, name, [raw])

    check()
    # Groups inside groups, deeper than any parser follows.
    with pytest.raises(grpc.RpcError) as caught:
        caller.raw(name, [b"\x0b" * 1_000_000])
    assert fault(caught.value)[0] is INVALID
    serves(caller)


# --- clients that take their time -------------------------------------------------------------------------------


def test_pieces_of_one_byte_take_no_more_memory_than_the_item() -> None:
    content = bytes(300_000)
    item = Item(index=0, sha256=hashlib.sha256(content).hexdigest(), size=len(content), label=-1)
    record = DatasetRecord(id="ds", classes=("a",), item_count=1, created="")
    incoming = Incoming(DatasetState(record, "", items={0: item}))
    tracemalloc.start()
    try:
        for position in range(len(content)):
            incoming.take(dataset_pb2.UploadItemsRequest(index=0, data=content[position : position + 1]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert incoming.pending == [(0, content)]
    assert peak < 4 * len(content)


def test_slow_and_silent_uploads_keep_nobody_waiting(caller: Caller, classes: list[str]) -> None:
    raw = bytes(1000)
    dataset = created(caller, item_count=1)
    caller("AppendItems", dataset_id=dataset, items=[descriptor(size=1000, sha256=hashlib.sha256(raw).digest())])
    over = threading.Event()

    def drip(first: bool) -> Iterator[bytes]:
        if first:
            yield dataset_pb2.UploadItemsRequest(dataset_id=dataset, index=0, data=b"\0").SerializeToString()
        while not over.wait(1):
            if first:
                yield dataset_pb2.UploadItemsRequest(index=0, data=b"\0").SerializeToString()

    call = caller.channel.stream_unary("/seedzoo.v1.DatasetService/UploadItems")
    before = resident_bytes()
    slow = [call.future(drip(number % 2 == 0)) for number in range(60)]
    try:
        for _ in range(3):
            serves(caller)
            assert caller("GetDataset", dataset_id=dataset).received_count == 0
            time.sleep(0.3)
        # One that is in earnest overtakes them all.
        caller.all("UploadItems", *pieces(dataset, [(0, raw)]))
        assert caller("GetDataset", dataset_id=dataset).received_count == 1
        assert not any(each.done() for each in slow)
    finally:
        over.set()
        for each in slow:
            each.cancel()
    assert resident_bytes() - before < 200 << 20
    serves(caller)


def test_streams_that_nobody_reads(caller: Caller, port: int, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def endless(**_: Any) -> Any:
        over.wait(30)
        raise Cancelled("the test is over")

    monkeypatch.setattr(runner, "run_selection", endless)
    selection = caller.start(dataset)
    before = resident_bytes()
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        download = channel.unary_stream("/seedzoo.v1.CatalogService/DownloadModel")
        watch = channel.unary_stream("/seedzoo.v1.SelectionService/WatchSelection")
        model = message_of("DownloadModel", variant="mini/s000").SerializeToString()
        watched = message_of("WatchSelection", selection_id=selection.id).SerializeToString()
        unread = [download(model) for _ in range(100)] + [watch(watched) for _ in range(100)]
        try:
            for _ in range(3):
                time.sleep(0.3)
                serves(caller)
            assert resident_bytes() - before < 300 << 20
        finally:
            for each in unread:
                each.cancel()
    caller("CancelSelection", selection_id=selection.id)
    over.set()
    serves(caller)


def test_nothing_of_all_this_failed_inside(caller: Caller) -> None:
    """Selections that some of the calls above have started."""
    token, ended = "", []
    while token or not ended:
        page = caller("ListSelections", page_size=1000, page_token=token)
        ended += [caller.settled(each.id) for each in page.selections]
        token = page.next_page_token
    wrong = {(each.error.reason, each.objective, each.error.message) for each in ended if each.state == FAILED}
    assert not [each for each in wrong if each[0] not in ("ITEMS_INVALID", "DATASET_INCOMPLETE")], wrong
