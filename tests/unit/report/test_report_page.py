"""The report as text: everything is escaped, every section appears when it can, numbers are those of the profile."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from seedzoo.catalog.bundle import open_bundle
from seedzoo.catalog.local import LocalStore
from seedzoo.catalog.publish import publish_bundle
from seedzoo.errors import DataError, NotFound, RequestError
from seedzoo.published import read_published, write_published
from seedzoo.report import load_profiled, render_report
from seedzoo.report.figures import diverging, interval, number, p_text, percent, points, ticks
from seedzoo.report.markup import Markup, tag
from seedzoo.starter import starter_bundle
from seedzoo.stress.corruptions.imagenet_c.constants import COMMON

EVIL = '"><script>alert(1)</script>&<img src=https://example.org/x onerror=alert(2)>'


class _Page(HTMLParser):
    """Tags, attributes and text of a page; counts what is open."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], []
        self.feed(page)

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += attributes
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def starter():
    return load_profiled(str(starter_bundle()))


def _sound(page):
    found = _Page(page)
    assert found.open == []
    assert not {"script", "iframe", "object", "embed"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    links = [value for name, value in found.attributes if name in ("src", "href", "srcset", "action")]
    assert all(value.startswith(("data:", "#")) for value in links)
    assert "url(" not in page
    return found


def test_starter(starter):
    page = render_report(starter)
    found = _sound(page)
    assert re.findall(r'<section id="(\w+)"', page) == ["spread", "heat", "scatter", "correlations", "certificate"]
    text = "".join(found.text)
    for name in (*starter.matrix.conditions, *starter.matrix.variants):
        assert name in text
    assert f"{100 * starter.matrix.column('id').mean():.1f} %" in text
    assert "2 failed, 4 passed and were not needed, 50 are published" in text
    assert render_report(starter) == page


def test_words_claim_no_more_than_the_numbers(starter):
    text = "".join(_sound(render_report(starter)).text)
    assert "certified: each within 1 point(s) of the mean of all trained" in text
    assert "foretold" not in text.split("Spread under every condition")[0]
    assert "crossed design" not in text
    variants = tuple(
        replace(variant, factors={"pre": f"p{k % 5}"}) for k, variant in enumerate(starter.family.variants)
    )
    crossed = replace(starter, family=replace(starter.family, variants=variants))
    assert "cells of a crossed design" in "".join(_sound(render_report(crossed)).text)


def test_everything_is_escaped(tmp_path):
    lines = [f'"{name}",.9,.5,.4' for name in ("x" + EVIL.replace('"', '""'), "y<b>", "z", "w")]
    path = tmp_path / "evil.csv"
    path.write_text('model,id,"' + EVIL.replace('"', '""') + '","<i>"\n' + "\n".join(lines))
    done = write_published(
        read_published([path]), tmp_path / "out", name="evil", provenance=EVIL, title=EVIL, licence=EVIL
    )
    page = render_report(load_profiled(str(done.folder)))
    found = _sound(page)
    assert "<script" not in page
    assert "<img" not in page
    assert EVIL in "".join(found.text)


def _published(folder, models, *, holes=()):
    suite = [f"imagenet-c.{name}.{severity}_in-memory" for name in COMMON for severity in range(1, 6)]
    names = ["val", "objectnet-1.0-beta", "val-on-objectnet-classes", *suite]
    rng = np.random.default_rng(0)
    lines = [
        ",".join([f"m{i}", *("" if (i, k) in holes else f"{value:.2f}" for k, value in enumerate(row))])
        for i, row in enumerate(rng.uniform(20, 80, (models, len(names))))
    ]
    path = folder / "grid.csv"
    path.write_text("\n".join([",".join(["model", *names]), *lines]))
    done = write_published(read_published([path]), folder / "out", name="grid", provenance="made up", n={"val": 500})
    return load_profiled(str(done.folder))


def test_published_results(tmp_path):
    found = _published(tmp_path, 130, holes={(3, 9)})
    page = render_report(found)
    _sound(page)
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections == ["spread", "heat", "scatter", "correlations", "mce", "robustness", "certificate"]
    assert "AlexNet" in page
    assert "over the 129 variants with all severities" in page
    assert "data:image/png;base64," in page  # 130 x 78 cells are a picture
    assert "none can be selected" in page
    assert "≥ " in page


def test_two_variants_and_one_condition(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text("model,id\na,.5\nb,.5\n")
    done = write_published(read_published([path]), tmp_path / "out", name="small", provenance="made up")
    page = render_report(load_profiled(str(done.folder)))
    _sound(page)
    assert re.findall(r'<section id="(\w+)"', page) == ["spread", "heat", "certificate"]


def test_sums_make_the_test_sharper(starter):
    n = 8000
    counts = starter.matrix.column("id") * n
    # As if the variants were right on the same examples as far as their counts allow.
    squares = int(sum(round(count) * (2 * k + 1) for k, count in enumerate(sorted(counts, reverse=True))))
    page = render_report(replace(starter, sum_squares={"id": squares}))
    row = re.search(r'<tr class="base">.*?</tr>', page)[0]
    assert "≥" not in row
    assert "&lt; .001" in row


def test_from_a_store(tmp_path):
    store = str(tmp_path / "store")
    with LocalStore(tmp_path / "store") as opened:
        release, _ = publish_bundle(opened, open_bundle(starter_bundle()))
    found = load_profiled("fashion-cnn", store=store)
    assert release.id in found.origin
    assert len(found.matrix.variants) == 50
    with pytest.raises(NotFound, match="fashion-cn"):
        load_profiled("fashion-cn", store=store)


def test_what_is_no_family(tmp_path):
    with pytest.raises(RequestError, match="no store"):
        load_profiled("fashion-cnn")
    with pytest.raises(NotFound, match="no folder"):
        load_profiled("build/absent/bundle")
    with pytest.raises(DataError, match="no bundle"):
        load_profiled(str(tmp_path))


def test_markup():
    assert tag("b", "<&", Markup("<i>"), title='"', data_x=1.256, id=None) == (
        '<b title="&quot;" data-x="1.26">&lt;&amp;<i></b>'
    )
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_numbers():
    assert (percent(0.9056), points(-0.0123), number(float("nan")), p_text(0.0005), p_text(0.0312)) == (
        "90.6", "−1.23", "–", "< .001", ".031",
    )  # fmt: skip
    assert interval(-0.1, float("nan")) == ""
    assert ticks(9.8, 61.2) == [10, 20, 30, 40, 50, 60]
    assert ticks(90.42, 91.31) == pytest.approx([90.6, 90.8, 91.0, 91.2])
    assert ticks(3, 3) == [3]
    assert [diverging(value) for value in (-1, 0, 1, 9)] == ["#8a3b00", "#f7f7f7", "#0b3c73", "#0b3c73"]
    assert diverging(float("nan")) == "#ffffff"
