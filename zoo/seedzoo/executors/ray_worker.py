"""What a worker of a Ray cluster runs: one attempt at a job, with what its run prepared there before."""

from __future__ import annotations

import importlib
import pickle
from typing import Any

from seedzoo.executors.protocol import attempt

__all__ = ["attempt_in_worker"]

_state: dict[str, Any] = {}
"""In a worker: the state of the run that it works for."""


def attempt_in_worker(setup: list[Any], packed: bytes, *shared: Any) -> bytes:  # pragma: no cover  (runs there)
    """Do a job.

    Args:
        setup: In a list the reference to what prepares the worker: a function and its arguments.
        packed: The job's function and arguments, pickled.
        shared: What the job shares with others.

    Returns:
        What it returned or raised, for :func:`seedzoo.executors.protocol.read_outcome`.
    """
    reference = setup[0]

    def work() -> object:
        if reference.hex() not in _state:
            _state.clear()
            prepare, arguments = importlib.import_module("ray").get(reference)
            _state[reference.hex()] = prepare(*arguments)
        function, arguments = pickle.loads(packed)
        return function(_state[reference.hex()], *shared, *arguments)

    return attempt(work)
