"""What the command `zoo` starts: imports the rest so that Ctrl-C meanwhile ends in one line.

Imports nothing of seedzoo at the top, and :mod:`seedzoo_client` is lazy, so this runs a few milliseconds after Python.
"""

from __future__ import annotations

import os
import signal
import sys

# Type checkers take it for true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

__all__ = ["main"]

_STOPPED = 130


def main() -> None:
    """Run `zoo`."""
    before = signal.getsignal(signal.SIGINT)
    # A KeyboardInterrupt inside an import may turn into any other error; nothing has begun that needs cleaning up.
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    try:
        from seedzoo_client.cli import main as zoo  # noqa: PLC0415

        if "--json" not in sys.argv:
            # Loaded here rather than while an error is shown, where Ctrl-C would cut that off.
            import seedzoo.terminal  # noqa: F401, PLC0415
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
    zoo(prog_name="zoo")


def _leave(_signal: int, _frame: FrameType | None) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"error: stopped by Ctrl-C\n")
    os._exit(_STOPPED)
