"""`zoo demo`: the whole path with the real commands, each in a process of its own, on a store that is thrown away."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seedzoo.console import Console
from seedzoo.errors import DataError, ZooError

__all__ = ["run_demo"]

_STOP_S = 30
_BASELINES = {
    "family_mean": "a variant picked at random",
    "best_held_out": "the best by held-out accuracy",
    "ensemble": "the ensemble of all variants",
}


def run_demo(console: Console, *, data: Path, later: Path) -> None:
    """Start a server on an S3 store of its own, select on ``data``, download the winner, predict on ``later``.

    Raises:
        DataError: A folder is missing.
        ZooError: One of the commands failed; its own words are on stderr.
    """
    for folder in (data, later):
        if not folder.exists():
            raise DataError(
                f"{folder} does not exist",
                hint="Run zoo demo in a checkout of seedzoo, or name labelled images with --data and --later.",
                reason="DATA_MISSING",
            )
    with tempfile.TemporaryDirectory(prefix="seedzoo-demo-") as name:
        home = Path(name)
        environment = {**os.environ, "SEEDZOO_HOME": str(home / "home")}
        with _server(console, home, environment) as address:
            zoo = _Commands(console, {**environment, "SEEDZOO_SERVER": address})
            zoo.run("families")
            zoo.run("select", "--data", str(data))
            chosen = zoo.json("select", "--data", str(data))["recommended"]
            model = home / "winner.onnx"
            zoo.run("download", chosen, "--to", str(model))
            zoo.run("predict", str(model), "--data", str(later), "--out", str(home / "predicted.csv"))
            predicted = zoo.json("predict", str(model), "--data", str(later))["accuracy"]["estimate"]
            everyone = zoo.json("select", "--data", str(later))
    baselines = {row["name"]: row["accuracy"] for row in everyone["baselines"]}
    best = everyone["scores"][0]
    lines = [f"On {everyone['n_examples']} later images of the same kind, which the choice never saw:"]
    lines.append(f"  {100 * predicted:5.1f} %  {chosen}, chosen on {data}")
    lines += [f"  {100 * baselines[key]:5.1f} %  {text}" for key, text in _BASELINES.items()]
    lines.append(f"  {100 * best['accuracy']['estimate']:5.1f} %  {best['variant']}, the best one in hindsight")
    console.result(
        {"chosen": chosen, "later_accuracy": predicted, "later_baselines": baselines, "hindsight": best}, *lines
    )
    console.hint("now yours: zoo serve --dev, and in another terminal zoo select --data YOUR_FOLDER/")


class _Commands:
    """Runs `zoo` commands as a user would."""

    def __init__(self, console: Console, environment: dict[str, str]) -> None:
        self._console = console
        self._environment = environment

    def run(self, *arguments: str) -> None:
        """Run and show a command and its output."""
        self._console.err.print(f"\n$ zoo {shlex.join(arguments)}", style="bold", soft_wrap=True)
        # In JSON mode stdout belongs to the demo's own result.
        stdout = sys.stderr if self._console.json_mode else None
        sys.stdout.flush()
        self._check(arguments, subprocess.run(_zoo(*arguments), env=self._environment, stdout=stdout, check=False))

    def json(self, *arguments: str) -> Any:
        """Run a command quietly and parse its result."""
        command = _zoo(*arguments, "--json", "--quiet")
        done = subprocess.run(command, env=self._environment, stdout=subprocess.PIPE, check=False)
        self._check(arguments, done)
        return json.loads(done.stdout)

    def _check(self, arguments: tuple[str, ...], done: subprocess.CompletedProcess[Any]) -> None:
        if done.returncode:
            raise ZooError(f"zoo {shlex.join(arguments)} ended with code {done.returncode}", reason="DEMO_FAILED")


def _zoo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "seedzoo_client", *arguments]


@contextmanager
def _server(console: Console, home: Path, environment: dict[str, str]) -> Iterator[str]:
    """A `zoo serve --dev` on a free port; yields its address."""
    arguments = ("serve", "--dev", "--dev-dir", str(home / "store"), "--port", "0")
    console.err.print(f"$ zoo {shlex.join(arguments)} &", style="bold", soft_wrap=True)
    log = home / "server.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            _zoo(*arguments, "--json"), env=environment, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
    try:
        if process.stdout is None:
            raise TypeError("the server was started without a pipe")
        answer = _first_document(process)
        if "address" not in answer:
            raise ZooError(
                f"the server did not start: {answer.get('error', {}).get('message') or log.read_text()[-500:]}",
                reason="DEMO_FAILED",
            )
        yield str(answer["address"])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _first_document(process: subprocess.Popen[bytes]) -> Any:
    """The JSON document that the server prints once it listens; an empty one if it ends before."""
    text = b""
    for line in process.stdout or ():
        text += line
        try:
            return json.loads(text)
        except ValueError:
            continue
    return {}
