"""The sink: streams, modes, exit codes, and text that cannot act on the terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import EntryPoint, version
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from seedzoo import errors
from seedzoo.console import EXIT_CODES, Console, Rows, plain, to_plain_data
from seedzoo_client.cli import group as group_module
from seedzoo_client.cli import main
from seedzoo_client.cli.group import ZooGroup


@given(st.text(st.characters()))
def test_plain_text_has_nothing_that_a_terminal_acts_on(text: str) -> None:
    shown = plain(text)
    assert all(char.isprintable() or char == " " or ord(char) > 0x9F for char in shown)
    assert "\x1b" not in shown
    shown.encode("utf-8")


def test_plain_keeps_readable_text() -> None:
    assert plain("Größe ±1 日本 [bold]x[/]") == "Größe ±1 日本 [bold]x[/]"
    assert plain("a\x1b[31m\u202eb\nc") == "a\\x1b[31m\\u202eb c"


def test_plain_data() -> None:
    class Kind(StrEnum):
        A = "a"

    @dataclass
    class Record:
        kind: Kind
        path: Path
        values: tuple[float, ...]

    record = Record(Kind.A, Path("x"), (1.0, float("nan")))
    assert to_plain_data({"r": record, "n": np.array([[1.5, np.inf]]), "i": np.int64(3), "b": True}) == {
        "r": {"kind": "a", "path": "x", "values": [1.0, None]},
        "n": [[1.5, None]],
        "i": 3,
        "b": True,
    }


def test_every_error_has_a_documented_exit_code() -> None:
    def tree(cls: type[errors.ZooError]) -> list[type[errors.ZooError]]:
        return [cls, *(found for child in cls.__subclasses__() for found in tree(child))]

    assert {cls.exit_code for cls in tree(errors.ZooError)} <= set(EXIT_CODES)


@click.group(cls=ZooGroup, lazy={"later": ("no.such.module:later", "Never imported for help.")})
def zoo() -> None:
    """A zoo."""


@zoo.command()
@click.option("--what", type=click.Choice(["ok", "wrong", "bug", "stop", "resumable", "extra"]), default="ok")
def act(what: str) -> None:
    """Do something."""
    console = Console.current()
    console.note("a note")
    console.hint("a hint")
    console.warn("a [red]warning")
    if what == "wrong":
        raise errors.DataError("x.png is\x1b[31m no image", hint="Remove it.", reason="NOT_AN_IMAGE")
    if what == "bug":
        raise KeyError("oops")
    if what == "stop":
        raise KeyboardInterrupt
    if what == "resumable":
        with console.resumable("half is kept"):
            raise KeyboardInterrupt
    if what == "extra":
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
    console.result({"value": 1}, "one", Rows([["a\tb", 2]]))


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(zoo, list(arguments))


def test_data_on_stdout_and_the_rest_on_stderr() -> None:
    done = invoke("act")
    assert done.exit_code == 0
    assert done.stdout == "one\na b\t2\n"
    assert done.stderr == "a note\nhint: a hint\nwarning: a [red]warning\n"


def test_quiet_keeps_results_and_warnings() -> None:
    done = invoke("act", "--quiet")
    assert done.stdout == "one\na b\t2\n"
    assert done.stderr == "warning: a [red]warning\n"


@pytest.mark.parametrize("arguments", [("act", "--json"), ("--json", "act")])
def test_json_is_one_document(arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments)
    assert json.loads(done.stdout) == {"value": 1}
    assert "hint" not in done.stderr


def test_an_error_is_a_line_and_a_hint() -> None:
    done = invoke("act", "--quiet", "--what", "wrong")
    assert done.exit_code == 3
    assert done.stdout == ""
    assert done.stderr.splitlines()[1:] == ["error: x.png is\\x1b[31m no image", "hint: Remove it."]
    assert "Traceback" in invoke("act", "--debug", "--what", "wrong").stderr


def test_an_error_in_json() -> None:
    done = invoke("act", "--json", "--what", "wrong")
    assert json.loads(done.stdout) == {
        "error": {"reason": "NOT_AN_IMAGE", "message": "x.png is\x1b[31m no image", "hint": "Remove it."}
    }
    assert "\x1b" not in done.stdout
    assert "error: x.png" in done.stderr


@pytest.mark.parametrize(
    ("what", "code", "line"),
    [
        ("bug", 1, "error: unexpected KeyError: 'oops'"),
        ("stop", 130, "error: stopped by Ctrl-C"),
        ("resumable", 130, "error: stopped; half is kept"),
        ("extra", 10, "error: `zoo act` needs the package onnxruntime, which is not installed"),
    ],
)
def test_every_end_has_its_code_and_line(what: str, code: int, line: str) -> None:
    done = invoke("act", "--quiet", "--what", what)
    assert done.exit_code == code
    assert line in done.stderr.splitlines()
    assert "Traceback" not in done.stderr


def test_usage_errors() -> None:
    done = invoke("act", "--nope")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: no such option")
    assert "hint: See `zoo act --help`." in done.stderr
    assert json.loads(invoke("act", "--nope", "--json").stdout)["error"]["reason"] == "USAGE"
    assert "did you mean 'act'?" in invoke("actt").stderr


def test_help_lists_lazy_commands_without_importing_them() -> None:
    done = invoke("--help")
    assert done.exit_code == 0
    assert "Never imported for help." in done.stdout


@pytest.mark.parametrize(("name", "code"), [("onnxruntime", 10), ("seedzoo.nothing", 1)])
def test_a_command_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    class Broken(EntryPoint):
        def load(self) -> None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    entry = Broken("serve", "seedzoo_server.commands:serve", group_module.ENTRY_POINT_GROUP)
    monkeypatch.setattr(group_module, "_installed", lambda: {"serve": entry})
    done = invoke("serve")
    assert done.exit_code == code
    assert "Start a server." in invoke("--help").stdout
    if code == 10:
        assert "hint: pip install 'seedzoo[server]'" in done.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = (
        f"import sys; sys.path[:0] = {[*sys.path, str(Path(__file__).parent)]!r}\n"
        "from test_client_console import Console, zoo\n"
        "@zoo.command()\n"
        "def many():\n"
        "    for _ in range(50):\n"
        "        Console.current().result({}, 'x' * 10_000)\n"
        "zoo(['many'])"
    )
    command = ["bash", "-c", f'{sys.executable} -c "$1" | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}', "bash", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (141, "")


def test_version() -> None:
    found = version("seedzoo")
    assert CliRunner().invoke(main, ["--version"]).stdout == f"zoo, version {found}\n"
    for arguments in (["--version", "--json"], ["--json", "--version"]):
        assert json.loads(CliRunner().invoke(main, arguments).stdout) == {"version": found}


def test_json_without_a_command_is_an_error_document() -> None:
    done = CliRunner().invoke(main, ["--json"])
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["message"] == "a command is missing"
    assert CliRunner().invoke(main, []).stdout.startswith("Usage: ")


def test_an_error_document_says_what_the_command_adds() -> None:
    @click.group(cls=ZooGroup, lazy={})
    def group() -> None:
        pass

    @group.command()
    def fail() -> None:
        Console.current().error_details["dataset_id"] = "ds-1"
        raise errors.Unavailable("gone")

    assert json.loads(CliRunner().invoke(group, ["fail", "--json"]).stdout)["error"] == {
        "reason": "UNAVAILABLE", "message": "gone", "hint": "", "dataset_id": "ds-1",
    }  # fmt: skip
