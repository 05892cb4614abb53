"""Log lines: for people, or one JSON object a line, each with the call that it belongs to."""

from __future__ import annotations

import json
import logging
import secrets
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

__all__ = ["call_id", "configure_logging", "new_call"]

_LONGEST_ID = 64
_CHATTY = ("botocore", "boto3", "urllib3", "s3transfer")

call_id: ContextVar[str] = ContextVar("seedzoo_call_id", default="")
"""Identifier of the call being served; empty outside one."""


def new_call(given: str | None) -> str:
    """Begin a call: under the caller's own request id where it has a harmless one, else under a fresh one."""
    plain = given is not None and 0 < len(given) <= _LONGEST_ID and given.isascii() and given.isprintable()
    identifier = given if given is not None and plain else secrets.token_hex(8)
    call_id.set(identifier)
    return identifier


class _Call(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Add the call to the record."""
        record.call = call_id.get()
        return True


class _Json(logging.Formatter):
    """One object a line: time, level, logger, message; call and exception where there are any."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if call := getattr(record, "call", ""):
            line["call"] = call
        line.update(getattr(record, "facts", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The line, with the call in brackets where there is one."""
        line = super().format(record)
        call = getattr(record, "call", "")
        return f"{line} [{call}]" if call else line


def configure_logging(form: Literal["text", "json"], level: str) -> None:
    """Log to stderr in this form, from this level on."""
    handler = logging.StreamHandler()
    handler.addFilter(_Call())
    handler.setFormatter(_Json() if form == "json" else _Text("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
