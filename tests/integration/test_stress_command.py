"""`zoo stress` on a real bundle: measured, merged, refused, resumed after a kill, listed and drawn."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support import EXAMPLES, png, small_bundle

from seedzoo.alone import alone_in
from seedzoo.catalog.bundle import open_bundle
from seedzoo.stress import read_profile, suite
from seedzoo.stress.signature_table import read_signature_table

DATA = EXAMPLES / "mydata"


def zoo(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "seedzoo_client", "stress", *map(str, arguments)]


def run(*arguments: str | Path, code: int = 0) -> tuple[dict, str]:
    done = subprocess.run(zoo(*arguments, "--json"), capture_output=True, check=False, text=True)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A bundle of two variants whose profile was measured anew on the example images."""
    bundle = small_bundle(tmp_path_factory.mktemp("zoo") / "bundle", variants=2)
    return bundle, run(bundle, "--data", DATA, "--conditions", "pixelate-3", "--replace")[0]


def test_measured_on_a_folder_of_classes_and_merged(measured: tuple[Path, dict], tmp_path: Path) -> None:
    bundle, answer = measured
    assert [entry["condition"] for entry in answer["measured"]] == ["id", "pixelate-3"]
    before = read_profile(bundle / "profile.parquet")
    assert before.dataset == "mydata, 300 test examples"
    assert {row.n for row in before.rows} == {300}
    shifted = tmp_path / "shifted"
    for name in ("bag", "coat"):
        (shifted / name).mkdir(parents=True)
        for number, path in enumerate(sorted((DATA / name).glob("*.png"))[:4]):
            pixels = 255 - np.asarray(Image.open(path).convert("L"))
            (shifted / name / f"{number}.png").write_bytes(png(pixels))
    (shifted / "bag" / "broken.png").write_bytes(b"broken")
    natural = f"{shifted}?complete=false"
    told, _ = run(bundle, "--data", DATA, "--conditions", "flip", "--natural", natural, code=3)
    assert "broken.png" in told["error"]["message"]
    assert read_profile(bundle / "profile.parquet") == before
    answer, said = run(
        bundle, "--data", DATA, "--conditions", "flip,pixelate-3", "--natural", natural, "--skip-unreadable"
    )
    assert "1 images of natural/shifted cannot be read and were left out: bag/broken.png" in said
    assert answer["skipped"]["natural/shifted"][0]["name"] == "bag/broken.png"
    after = read_profile(bundle / "profile.parquet")
    assert after.conditions == ("id", "pixelate-3", "flip", "natural/shifted")
    assert {row.n for row in after.rows if row.condition == "natural/shifted"} == {8}
    assert "1 unreadable images left out" in after.dataset
    assert after.rows[: len(before.rows)] == before.rows
    found = open_bundle(bundle)  # whole, and signatures for all of it
    assert read_signature_table((found.folder / "signatures.npz").read_bytes(), where="").conditions == after.conditions


def test_other_data_are_refused_before_anything_is_lost(measured: tuple[Path, dict], tmp_path: Path) -> None:
    bundle = measured[0]
    before = (bundle / "profile.parquet").read_bytes()
    told, _ = run(bundle, "--data", EXAMPLES / "later", "--conditions", "flip", code=3)
    assert told["error"]["reason"] == "PROFILE_MISMATCH"
    assert "--replace" in told["error"]["hint"]
    # Of the same name and size, but other pixels.
    same = tmp_path / "mydata"
    for path in DATA.glob("*/*.png"):
        (same / path.parent.name).mkdir(parents=True, exist_ok=True)
        (same / path.parent.name / path.name).write_bytes(png(255 - np.asarray(Image.open(path).convert("L"))))
    told, _ = run(bundle, "--data", same, "--conditions", "flip", code=3)
    assert told["error"]["reason"] == "PROFILE_MISMATCH"
    assert "images right" in told["error"]["message"]
    assert (bundle / "profile.parquet").read_bytes() == before


def test_a_limit_is_told(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle", variants=2)
    run(bundle, "--data", DATA, "--limit", "50", "--conditions", "flip", "--replace")
    profile = read_profile(bundle / "profile.parquet")
    assert profile.dataset == "mydata, 300 test examples, at most 50 images of each set, drawn at random"
    assert {row.n for row in profile.rows} == {50}


def test_two_runs_at_one_bundle_or_work_folder_are_refused(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle", variants=2)
    before = (bundle / "profile.parquet").read_bytes()
    for taken, arguments in ((tmp_path / "stress", ()), (tmp_path / "mine", ("--work", tmp_path / "mine"))):
        with alone_in(taken):
            told, _ = run(bundle, "--data", DATA, "--conditions", "flip", "--replace", *arguments, code=11)
        assert told["error"]["reason"] == "FOLDER_IN_USE"
        assert str(taken) in told["error"]["message"]
    assert (bundle / "profile.parquet").read_bytes() == before


def test_what_somebody_else_laid_into_the_bundle_stays_and_empty_slices_are_told(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle", variants=2)
    (bundle / "extra").mkdir()
    (bundle / "extra" / "weights.bin").write_bytes(b"hours of work")
    (bundle / "link").symlink_to("nowhere")
    manifest = tmp_path / "own.csv"
    manifest.write_text(
        "path,label,site\n" + "".join(f"{path},bag,\n" for path in sorted((DATA / "bag").glob("*.png")))
    )
    _, said = run(
        bundle, "--data", DATA, "--limit", "20", "--replace", "--natural", f"{manifest}?complete=false",
        "--slices", "site",
    )  # fmt: skip
    assert "no image has a value in the column site, so it makes no slices" in said
    assert (bundle / "extra" / "weights.bin").read_bytes() == b"hours of work"
    assert (bundle / "link").readlink() == Path("nowhere")
    run(tmp_path / "none", "--conditions", "flip", code=3)
    assert not list(tmp_path.glob("none*"))


def test_killed_in_the_middle_it_resumes(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle", variants=4)
    names = ["id", *(condition.name for condition in suite("small-images")[1:15])]
    arguments = (bundle, "--data", DATA, "--conditions", ",".join(names), "--replace", "--workers", "1")
    process = subprocess.Popen(zoo(*arguments), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    kept = tmp_path / "stress"
    while len(list(kept.glob("*/whole"))) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {path: path.stat().st_mtime_ns for path in kept.glob("*/whole")}
    assert 3 <= len(before) < 15
    answer, _ = run(*arguments)
    assert len(answer["measured"]) == 15
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


def test_list_and_sheet_need_no_bundle(tmp_path: Path) -> None:
    listed, _ = run("--list")
    assert len(listed["suites"]["imagenet-c"]) == 76
    assert {"id", "pixelate-3", "imagenet-c-fog-5"} <= {entry["name"] for entry in listed["conditions"]}
    drawn, _ = run("--sheet", tmp_path / "sheet.png", "--conditions", "id,pixelate-3,flip")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height == 4 + 60 * len(drawn["conditions"])
    drawn, _ = run("--sheet", tmp_path / "mine.png", "--conditions", "flip", "--data", DATA)
    assert (drawn["images"], drawn["conditions"]) == (10, ["flip"])
    told, _ = run("--sheet", tmp_path / "none" / "sheet.png", code=11)
    assert "sheet.png" in told["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "name a BUNDLE"),
        (("--suite", "imagenet-c", "--conditions", "flip", "x"), 2, "exclude each other"),
        (("--suite", "imagenetc", "x"), 4, "no suite is named 'imagenetc'"),
        (("--conditions", "flipp", "x"), 4, "no condition is named 'flipp'"),
        (("--conditions", "flip", "x"), 3, "x is no bundle"),
        (("x",), 3, "nothing to measure"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], code: int, says: str) -> None:
    assert says in run(*arguments, code=code)[0]["error"]["message"]
