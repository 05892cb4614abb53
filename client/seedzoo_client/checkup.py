"""One check after the other of what stands between a user and an answer of the server, each with what to do.

A check that cannot be made because of an earlier trouble is skipped; what concerns this machine is always checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from seedzoo.errors import ZooError
from seedzoo_client.channel import Address, parse_address
from seedzoo_client.local_checks import check_cache, check_versions
from seedzoo_client.server_checks import OF_SERVER, Finding, Skipped, Visit
from seedzoo_client.settings import Settings, load_settings, setting_sources

__all__ = ["Check", "Outcome", "checkup", "first_exit_code"]


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    TROUBLE = "trouble"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a check found."""

    name: str
    outcome: Outcome
    message: str
    hint: str = ""
    reason: str = ""
    """Code of the error; empty without trouble."""
    exit_code: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


class _Checks:
    """Runs checks one after the other; those of the server until one of them that the rest needs fails."""

    def __init__(self) -> None:
        self.made: list[Check] = []
        self._blocked = ""

    def run(self, name: str, work: Callable[[], Finding], *, server: bool = True, needed: bool = False) -> None:
        """Make a check.

        Args:
            name: Of the check.
            work: Returns a sentence and details.
            server: Whether it needs what ``needed`` checks before it found.
            needed: Whether later checks of the server are pointless without it.
        """
        if server and self._blocked:
            self.made.append(Check(name=name, outcome=Outcome.SKIPPED, message=self._blocked))
            return
        try:
            message, details = work()
        except Skipped as skipped:
            self.made.append(Check(name=name, outcome=Outcome.SKIPPED, message=str(skipped)))
        except ZooError as error:
            self.made.append(
                Check(
                    name=name, outcome=Outcome.TROUBLE, message=error.message, hint=error.hint, reason=error.reason,
                    exit_code=error.exit_code,
                )
            )  # fmt: skip
            if needed:
                self.block(f"pointless without {name}")
        else:
            self.made.append(Check(name=name, outcome=Outcome.OK, message=message, details=details))

    def block(self, why: str) -> None:
        """Skip what needs the server from here on."""
        self._blocked = why


def checkup(*, server: str | None = None, timeout: float = 5.0) -> list[Check]:
    """Make all checks.

    Args:
        server: What ``--server`` says; None for the settings' one.
        timeout: Seconds that a connection or an answer may take.
    """
    checks = _Checks()
    found: list[Settings] = []
    addresses: list[Address] = []

    def settings() -> Finding:
        sources = setting_sources(server=server)
        found.append(load_settings(server=server))
        return _settings_told(found[0], sources)

    def address() -> Finding:
        addresses.append(parse_address(found[0].server))
        return f"{addresses[0].label}{', with TLS' if addresses[0].tls or found[0].tls else ''}", {}

    checks.run("settings", settings, needed=True)
    checks.run("address", address, needed=True)
    if found and found[0].offline:
        checks.block("offline mode is on: unset SEEDZOO_OFFLINE to have the server checked")
    # Without an address there is nothing to visit, and every check of the server is skipped.
    visit = Visit(addresses[0], found[0], timeout=timeout) if addresses else None
    for name, check, needed in OF_SERVER:
        checks.run(name, partial(_of, visit, check), needed=needed)
    if visit is not None:
        visit.close()
    checks.run("cache", lambda: check_cache(found[0].home if found else None), server=False)
    checks.run("versions", check_versions, server=False)
    return checks.made


def _of(visit: Visit | None, check: Callable[[Visit], Finding]) -> Finding:
    assert visit is not None
    return check(visit)


def _settings_told(settings: Settings, sources: Mapping[str, str]) -> Finding:
    values: dict[str, Any] = {
        # Who writes a password into the address is told that it is none; it must not be shown here.
        "server": re.sub(r"[^/]*@", "…@", settings.server),
        "home": settings.home,
        "offline": settings.offline,
        "token": "set" if settings.token else "not set",
    }
    if settings.tls is not None:
        for key in ("ca", "client_certificate", "client_key"):
            if (value := getattr(settings.tls, key)) is not None:
                values[key] = value
    told = "; ".join(f"{key} {_shown(value)} ({sources[key]})" for key, value in values.items())
    return told, {key: {"value": value, "from": sources[key]} for key, value in values.items()}


def _shown(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def first_exit_code(checks: list[Check]) -> int:
    """Exit code of the first trouble; 0 where all is well."""
    return next((check.exit_code for check in checks if check.outcome is Outcome.TROUBLE), 0)
