"""Settings of the client: flags, then environment, then config.toml, then defaults.

============  ====================  ========================================================================
key           environment           meaning
============  ====================  ========================================================================
``server``    ``SEEDZOO_SERVER``    ``host:port``, ``https://host:port`` (TLS) or ``unix:/path``
``token``     ``SEEDZOO_TOKEN``     access token, sent over TLS or to this machine only
``home``      ``SEEDZOO_HOME``      folder of the model cache
``offline``   ``SEEDZOO_OFFLINE``   1: connect to nothing, use the cache
``ca``        ``SEEDZOO_CA``        PEM file with the certificate authority of the server; implies TLS
============  ====================  ========================================================================

Servers that ask for a certificate get that of ``client_certificate`` and ``client_key`` (PEM files; in the environment
``SEEDZOO_CLIENT_CERTIFICATE`` and ``SEEDZOO_CLIENT_KEY``).

``config.toml`` lies in the user's configuration folder (``~/.config/seedzoo`` on Linux) or where ``SEEDZOO_CONFIG``
says.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from seedzoo.errors import LocalFailure, RequestError
from seedzoo_client.pairs_file import why
from seedzoo_client.quoting import quoted

__all__ = ["DEFAULT_SERVER", "RetryConfig", "Settings", "TLSConfig", "load_settings", "setting_sources"]

DEFAULT_SERVER = "localhost:7316"

_KEYS = ("server", "token", "home", "offline", "ca", "client_certificate", "client_key")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSConfig:
    """How to talk TLS."""

    ca: Path | None = None
    """PEM file with the authority that signed the server's certificate; the system's authorities when None."""
    client_certificate: Path | None = None
    """PEM file with a certificate chain of ours, for servers that ask for one."""
    client_key: Path | None = None
    """PEM file with its private key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """How a broken stream is taken up again."""

    total_seconds: float = 90.0
    """How long we go on without any progress before we give up; long enough for a server to be restarted."""
    initial_seconds: float = 0.25
    """First pause; each further one is twice as long."""
    maximum_seconds: float = 2.0
    """Longest pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the client goes by, after all sources have been heard."""

    server: str
    home: Path
    offline: bool
    tls: TLSConfig | None
    """None: plain text unless the server's address starts with https://."""
    token: str | None = field(repr=False)


def load_settings(
    *,
    server: str | None = None,
    token: str | None = None,
    home: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    tls: TLSConfig | bool | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Settle every setting; what is given here wins over the environment, and that over config.toml.

    Raises:
        RequestError: A setting that cannot be used, with the place where it was found.
    """
    environment = os.environ if environ is None else environ
    stored, stored_at = _read_config(environment)

    def find(key: str) -> tuple[Any, str]:
        name = f"SEEDZOO_{key.upper()}"
        if environment.get(name):
            return environment[name], name
        return stored.get(key), f"{key} in {stored_at}"

    if tls is None:
        files = {key: find(key)[0] for key in ("ca", "client_certificate", "client_key")}
        if bool(files["client_certificate"]) != bool(files["client_key"]):
            raise RequestError("client_certificate and client_key go together", hint="Give both or neither.")
        given = {key: Path(path).expanduser() for key, path in files.items() if path}
        tls = TLSConfig(**given) if given else None
    elif isinstance(tls, bool):
        tls = TLSConfig() if tls else None
    chosen_home = home or find("home")[0] or platformdirs.user_cache_path("seedzoo")
    return Settings(
        server=server or find("server")[0] or DEFAULT_SERVER,
        home=Path(chosen_home).expanduser(),
        offline=_as_bool(*find("offline")) if offline is None else offline,
        tls=tls,
        token=token or find("token")[0],
    )


def setting_sources(*, server: str | None = None, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Where :func:`load_settings` finds each setting: a flag, an environment variable, a file or "default".

    Args:
        server: What ``--server`` says.
        environ: The environment; that of the process when None.

    Raises:
        RequestError: config.toml cannot be used.
    """
    environment = os.environ if environ is None else environ
    stored, stored_at = _read_config(environment)
    found = {}
    for key in _KEYS:
        name = f"SEEDZOO_{key.upper()}"
        found[key] = name if environment.get(name) else str(stored_at) if key in stored else "default"
    if server:
        found["server"] = "--server"
    return found


def _read_config(environment: Mapping[str, str]) -> tuple[dict[str, Any], Path]:
    named = environment.get("SEEDZOO_CONFIG")
    path = Path(named).expanduser() if named else platformdirs.user_config_path("seedzoo") / "config.toml"
    try:
        stored = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise RequestError(f"SEEDZOO_CONFIG names {path}, which does not exist") from None
        return {}, path
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is not valid TOML: {why(error)}", hint="Correct or remove the file.") from error
    except OSError as error:
        raise LocalFailure(f"cannot read {path}: {error.strerror or error}") from error
    for key, value in stored.items():
        if key not in _KEYS:
            raise RequestError(f"{path} has the unknown setting {quoted(key)}", hint=f"Known: {', '.join(_KEYS)}.")
        if not isinstance(value, bool if key == "offline" else str):
            kind = "true or false" if key == "offline" else "a string"
            raise RequestError(f"{path}: {key} must be {kind}, not {quoted(value)}")
    return stored, path


def _as_bool(value: Any, source: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    lowered = str(value).strip().lower()
    if lowered in _TRUE or lowered in _FALSE:
        return lowered in _TRUE
    raise RequestError(f"{source} must be 1 or 0, not {quoted(value)}", field="offline")
