"""What the pages say exists: links, files, scripts, commands and their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from seedzoo_client.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "examples" / "README.md")
}
FOLDERS = "bench|client|deploy|docs|examples|protos|recipes|server|tests|tools|zoo"
OF_THE_READER = {"deploy/.env", "recipes/yours.toml"}


def commands(text: str) -> Iterator[list[str]]:
    """The words of every `zoo …` in a block of code or in a line; comments and other programs are left out."""
    lines = re.findall(r"^(?: {4}|\| )?(?: *)(?:[A-Z_]+=\S+ )?(zoo .*)$", re.sub(r"\\\n\s*", "", text), re.MULTILINE)
    for found in (*lines, *re.findall(r"`(?:[A-Z_]+=\S+ )?(zoo [^`]+)`", text.replace("\n", " "))):
        words = shlex.split(re.sub(r"\s#\s.*", "", found))
        yield words[1:]


COMMANDS = sorted({(page, tuple(words)) for page, text in PAGES.items() for words in commands(text)})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]) if "://" not in link]
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    named = set(re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*\w)", re.sub(r"\]\([^)]*\)", "", PAGES[page])))
    assert [name for name in sorted(named - OF_THE_READER) if not (ROOT / name).exists()] == []


def test_benchmarks_are_told_of() -> None:
    scripts = {path.name for path in ROOT.glob("bench/*.py") if '"--quick"' in path.read_text()}
    told = "\n".join(((ROOT / "Makefile").read_text(), *PAGES.values()))
    assert len(scripts) > 10
    assert scripts - set(re.findall(r"bench/(\w+\.py)", told)) == set()


@pytest.mark.parametrize(("page", "words"), COMMANDS)
def test_commands_and_their_options_exist(page: str, words: tuple[str, ...]) -> None:
    command: click.Command = main
    rest = list(words)
    with click.Context(main) as ctx:
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            found = command.get_command(ctx, rest.pop(0))
            assert found is not None, (page, words)
            command = found
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in rest if re.match("--[a-z]", word)} <= known


def test_commands_were_found() -> None:
    assert {"select", "label", "serve", "publish", "stress", "profile", "token"} <= {words[0] for _, words in COMMANDS}


def test_each_command_has_a_line_of_its_own_in_the_help() -> None:
    assert "An installed extension" not in CliRunner().invoke(main, ["--help"]).output
