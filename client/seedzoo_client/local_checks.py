"""What `zoo doctor` finds out about this machine: the cache folder, versions, installed extras."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from seedzoo.errors import LocalFailure, RequestError

__all__ = ["check_cache", "check_versions", "extras"]

_LEAST_FREE = 100_000_000
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*;.*\bextra\s*==\s*['\"]([^'\"]+)['\"]")


def check_cache(home: Path | None) -> tuple[str, Mapping[str, Any]]:
    """Whether models can be kept.

    Args:
        home: Folder of the cache; None where the settings cannot be read.

    Raises:
        LocalFailure: It cannot be written, or the disk is nearly full.
        RequestError: The settings do not say where it is.
    """
    if home is None:
        raise RequestError("not known where the cache is: the settings cannot be read")
    # A folder that does not exist yet is made by the first download, not by a check.
    there = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise LocalFailure(
            f"the cache folder {home} cannot be written: {error.strerror or error}",
            hint="Choose another one with SEEDZOO_HOME, or change its permissions.",
            reason="CACHE_NOT_WRITABLE",
        ) from error
    if free < _LEAST_FREE:
        raise LocalFailure(
            f"only {free / 1e6:.0f} MB are free for the cache {home}",
            hint="Free some space, or choose another disk with SEEDZOO_HOME.",
            reason="DISK_FULL",
        )
    made = "" if there == home else ", made by the first download"
    return f"{home} is writable{made}; {free / 1e9:.1f} GB free", {"home": home, "free_bytes": free}


def check_versions() -> tuple[str, Mapping[str, Any]]:
    """Versions of what talks, and which extras are complete."""
    found: dict[str, Any] = {name: _version(name) for name in ("seedzoo", "grpcio", "protobuf")}
    found["python"] = platform.python_version()
    missing = extras()
    installed = [extra for extra, absent in missing.items() if not absent]
    told = ", ".join(f"{name} {number or 'unknown'}" for name, number in found.items())
    return (
        f"{told}; extras: {', '.join(installed) or 'none'}",
        {**found, "extras": installed, "missing": {extra: absent for extra, absent in missing.items() if absent}},
    )


def extras() -> dict[str, list[str]]:
    """For each extra of seedzoo the packages that it lacks here."""
    try:
        wanted = requires("seedzoo") or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        return {}
    found: dict[str, list[str]] = {}
    for line in wanted:
        if (match := _REQUIREMENT.match(line)) is not None:
            absent = found.setdefault(match[2], [])
            if _version(match[1]) is None:
                absent.append(match[1])
    return dict(sorted(found.items()))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
