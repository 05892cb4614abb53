"""The tables of severities are those of the original code, and the suites hold what they should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seedzoo.stress import suite, suite_names
from seedzoo.stress.corruptions.imagenet_c.constants import COMMON, EXTRA, TABLES

PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "data" / "corruption_severities.json"
SECTIONS = {"imagenet-c": "imagenet_c", "cifar-c": "cifar_c", "mnist-c": "mnist_c_functions"}


def _as_published(name: str, level: dict[str, float]) -> object:
    """Our row in the form of the original's tuple."""
    if name == "zoom_blur":
        return pytest.approx([1 + level["step"] * layer for layer in range(int(level["layers"]))])
    dropped = {"elastic_transform": {"side"}, "frost": {"scale"}}.get(name, set())
    values = [value for parameter, value in level.items() if parameter not in dropped]
    return pytest.approx(values if len(values) > 1 else values[0])


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published constants are not on this machine")
@pytest.mark.parametrize("name", [*COMMON, *EXTRA])
@pytest.mark.parametrize("table", SECTIONS)
def test_constants(table, name):
    published = json.loads(PUBLISHED.read_text())[SECTIONS[table]][name]
    ours = TABLES[table][name]
    assert len(ours) == len(published) == 5
    for level, theirs in zip(ours, published, strict=True):
        assert theirs == _as_published(name, dict(level))


def test_suites():
    assert suite_names() == (
        "small-images",
        *(f"{table}{suffix}" for table in SECTIONS for suffix in ("", "-extra")),
        "mnist-c-shapes",
    )
    for table in SECTIONS:
        names = [one.name for one in suite(table)]
        assert names[:3] == ["id", f"{table}-gaussian-noise-1", f"{table}-gaussian-noise-2"]
        assert names[-1] == f"{table}-jpeg-compression-5"
        assert len(set(names)) == 1 + 15 * 5
        assert len(suite(f"{table}-extra")) == 1 + 4 * 5


def test_a_name_is_also_a_file_s_name():
    # `zoo build` writes a file of this name for each condition.
    assert all("/" not in one.name and "_" not in one.name for name in suite_names() for one in suite(name))


def test_descriptions_name_the_constants():
    (one,) = (one for one in suite("imagenet-c") if one.name == "imagenet-c-motion-blur-2")
    assert one.description == "Smeared along a line; severity 2 of 5 (radius 15, sigma 5)."
