"""Every setting of the server stands in the help of its command and in one page of the docs, and no other does."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from seedzoo_server.commands import serve
from seedzoo_server.settings import ServerSettings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operators.md"
NAMES = {f"SEEDZOO_SERVER_{name.upper()}" for name in ServerSettings.model_fields}


def test_in_the_help() -> None:
    shown = CliRunner().invoke(serve, ["--help"]).output
    assert set(re.findall(r"^ *(SEEDZOO_SERVER_[A-Z_]+)  \[", shown, re.MULTILINE)) == NAMES
    for name, field in ServerSettings.model_fields.items():
        assert field.description, name
        assert " ".join(field.description.split()) in " ".join(shown.split()), name
    assert "SEEDZOO_SERVER_MAX_QUEUE  [1000]" in shown


def test_in_the_docs() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "`SEEDZOO_SERVER_" in line]
    told = [(cells[1].split(", "), re.findall(r"`(\w+)`", cells[2])) for cells in (row.split("|") for row in rows)]
    assert {name for _, names in told for name in names} == NAMES
    for settings, names in told:
        assert [f"SEEDZOO_SERVER_{setting.strip().upper()}" for setting in settings] == names
