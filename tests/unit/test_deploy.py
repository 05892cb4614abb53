"""The files in deploy/ name settings, flags and files that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Command

from seedzoo_server.commands import serve
from seedzoo_server.settings import DEFAULT_PORT, ServerSettings
from seedzoo_server.weed_process import find_weed

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = {f"SEEDZOO_SERVER_{name.upper()}" for name in ServerSettings.model_fields}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


@pytest.mark.parametrize(
    "name", ["Containerfile", "compose.yaml", "seedzoo.service", "healthcheck.py", "prepare_store.py"]
)
def test_settings_that_are_named_exist(name: str) -> None:
    named = set(re.findall(r"SEEDZOO_SERVER_[A-Z_]*[A-Z]", (DEPLOY / name).read_text()))
    assert named, name
    assert named <= SETTINGS


def test_values_of_compose_are_valid_settings(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = compose["services"]["zoo"]["environment"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = ServerSettings()
    assert (settings.auth, settings.port) == ("tokens", DEFAULT_PORT)
    assert compose["services"]["zoo"]["ports"] == [f"127.0.0.1:{DEFAULT_PORT}:{settings.port}"]
    # The store answers at the name of its service, at the port of its command line.
    assert environment["SEEDZOO_S3_ENDPOINT"] == "http://store:8333"
    assert "-s3.port=8333" in compose["services"]["store"]["command"]


def test_flags_of_the_server_exist(compose: dict[str, Any]) -> None:
    in_unit = re.search(r"^ExecStart=/opt/seedzoo/bin/zoo (.*)$", (DEPLOY / "seedzoo.service").read_text(), re.M)
    in_image = re.search(r"^CMD \[(.*)\]$", (DEPLOY / "Containerfile").read_text(), re.M)
    assert in_unit is not None
    assert in_image is not None
    for words in (
        shlex.split(in_unit[1]),
        shlex.split(in_image[1].replace(",", " ")),
        compose["services"]["zoo"]["command"],
    ):
        assert words[0] == "serve"
        assert isinstance(serve, Command)
        serve.make_context("serve", list(words[1:]))


def test_flags_of_the_store_exist(compose: dict[str, Any]) -> None:
    told = subprocess.run([find_weed(), "help", "server"], capture_output=True, text=True, check=False)
    known = set(re.findall(r"^\s+-([\w.]+)", told.stdout + told.stderr, re.M))
    words = compose["services"]["store"]["command"]
    assert words[0] == "server"
    assert {word.lstrip("-").partition("=")[0] for word in words[1:]} <= known


def test_files_that_the_image_copies_are_in_its_context() -> None:
    told = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in told if line.startswith("!")}
    copied = re.findall(r"^COPY (deploy/.*) /", (DEPLOY / "Containerfile").read_text(), re.M)
    assert {path for line in copied for path in line.split()} <= {
        str(path.relative_to(ROOT)) for pattern in kept for path in ROOT.glob(pattern)
    }
    assert all(list(ROOT.glob(pattern)) for pattern in kept)
