"""`zoo profile import` and `zoo profile report`, as processes, and the page in a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from seedzoo.commands.profile import profile
from seedzoo.console import Console, run_guarded
from seedzoo.starter import starter_bundle

CSV = "model,id,blur\nplain,75.9,40\n<b>bold</b>,80,41.5\nthird,70.5,39\nfourth,71,\n"


def _zoo(*arguments, folder):
    command = [sys.executable, "-m", "seedzoo_client", "profile", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_import_and_report(tmp_path):
    (tmp_path / "results.csv").write_text(CSV)
    done = _zoo("import", "results.csv", "--name", "mine", "--out", "bundle", "--n", "id=1000", "--json",
                folder=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["variants"], told["conditions"], told["results"], told["left_out"]) == (4, 2, 7, [])
    family = json.loads((tmp_path / "bundle" / "family.json").read_text())
    assert family["provenance"] == "imported from results.csv"
    page = _zoo("report", "bundle", "--out", "page.html", folder=tmp_path)
    assert page.returncode == 0, page.stderr
    assert "4 variants under 2 conditions" in page.stdout
    text = (tmp_path / "page.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "<b>bold" not in text


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("import", "absent.csv", "--name", "a", "--out", "b"), 3, "cannot read absent.csv"),
        (("import", "results.csv", "--name", "a", "--out", "."), 5, "not empty"),
        (("import", "results.csv", "--name", "a", "--out", "b", "--id", "idd"), 3, "Did you mean id"),
        (("import", "results.csv", "--name", "a", "--out", "b", "--n", "id"), 2, "CONDITION=COUNT"),
        (("import", "results.csv", "--name", "a", "--out", "b", "--factors", "results.csv"), 3, "no JSON"),
        (("import", "results.csv", "--name", "a", "--out", "b", "--factors", "list.json"), 3, "must map models"),
        (("report", "nothing", "--out", "x.html"), 3, "no store was named"),
        (("report", "nothing", "--out", "x.html", "--store", "store"), 4, "no family nothing"),
    ],
)
def test_errors(tmp_path, monkeypatch, capsys, arguments, code, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEEDZOO_STORE", raising=False)
    (tmp_path / "results.csv").write_text(CSV)
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "store").mkdir()
    assert run_guarded(Console(), lambda: profile.main(list(arguments), standalone_mode=False)) == code
    assert text in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(tmp_path, width):
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    done = _zoo("report", starter_bundle(), "--out", "page.html", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    address = (tmp_path / "page.html").as_uri()
    requests, complaints = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        assert "stress profile" in page.title()
        # Wide parts scroll by themselves; the page never does sideways.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        sizes = page.evaluate(
            "[...document.querySelectorAll('svg')].map(s => [s.getBoundingClientRect().width, s.childElementCount])"
        )
        assert len(sizes) > 100
        assert all(shown > 50 and children > 0 for shown, children in sizes)
        colour = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert colour == ["rgb(27, 31, 36)", "rgb(255, 255, 255)"]
        browser.close()
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert complaints == []
