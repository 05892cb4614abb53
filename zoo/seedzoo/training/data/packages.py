"""Files out of pinned npm packages: fetched once into the cache, verified, complete or not at all.

The registry is, in this order: NPM_CONFIG_REGISTRY or npm_config_registry in the environment, ``registry=`` in
``~/.npmrc``, what an installed npm says, the public one. Nothing but the tarball of the pinned version is asked for.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from seedzoo.errors import DataError, IntegrityError
from seedzoo.files import local_failure

__all__ = ["Archive", "Package", "fetched", "registry_url"]

_PUBLIC = "https://registry.npmjs.org/"
_VARIABLES = ("NPM_CONFIG_REGISTRY", "npm_config_registry")
_CHUNK = 1 << 20
_TOO_LARGE = 512 << 20
_SECONDS = 60
_DAMAGED = (tarfile.TarError, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package, pinned by the registry's integrity value (``sha512-<base64>``)."""

    name: str
    version: str
    integrity: str


@dataclass(frozen=True, slots=True)
class Archive:
    """A verified tarball; names of members are below its folder ``package/``."""

    path: Path

    def read(self, name: str) -> bytes:
        """One file's contents.

        Raises:
            IntegrityError: It is not in the tarball.
        """
        for member, content in self._files():
            if member == name:
                return content()
        raise IntegrityError(f"the package has no file {name}", reason="PACKAGE_DAMAGED")

    def extract(self, names: frozenset[str], folder: Path) -> None:
        """Write these files below the folder.

        Raises:
            IntegrityError: One of them is not in the tarball.
            OSError: The disk is full or refuses.
        """
        missing = set(names)
        for member, content in self._files():
            if member in missing:
                target = folder / member
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content())
                missing.discard(member)
        if missing:
            raise IntegrityError(f"the package has no file {min(missing)}", reason="PACKAGE_DAMAGED")

    def _files(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        try:
            with tarfile.open(self.path, "r|gz") as tar:
                for member in tar:
                    if member.isfile() and member.name.startswith("package/"):
                        yield member.name.removeprefix("package/"), lambda found=member: _content(tar, found)  # type: ignore[misc]
        except _DAMAGED as error:
            raise IntegrityError(f"the package's tarball is damaged: {error}", reason="PACKAGE_DAMAGED") from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


def fetched(package: Package, pick: Callable[[Archive], frozenset[str]], *, cache: Path | None = None) -> Path:
    """The folder with the picked files of a package, from the cache or the registry.

    Processes may ask for the same at once: each unpacks into a folder of its own, and the first to finish wins.

    Args:
        package: What to fetch.
        pick: Names of the files to keep.
        cache: The user's cache folder when omitted.

    Raises:
        DataError: The registry cannot be reached, or offline mode is on.
        IntegrityError: What it sent is not the pinned package.
        LocalFailure: The disk is full or refuses; nothing is left behind.
    """
    cache = cache or platformdirs.user_cache_path("seedzoo")
    final = cache / f"{package.name}-{package.version}"
    if final.is_dir():
        return final
    with _scratch(cache, final) as scratch:
        archive = Archive(_downloaded(package, scratch))
        fresh = scratch / "files"
        fresh.mkdir()
        archive.extract(pick(archive), fresh)
        try:
            fresh.rename(final)
        except OSError:
            if not final.is_dir():  # else another process was first, with the same files
                raise
    return final


@contextmanager
def _scratch(cache: Path, final: Path) -> Iterator[Path]:
    scratch: Path | None = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=cache, prefix=f".{final.name}."))
        yield scratch
    except OSError as error:
        raise local_failure(error, final) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _downloaded(package: Package, folder: Path) -> Path:
    url = f"{registry_url()}{package.name}/-/{package.name}-{package.version}.tgz"
    if os.environ.get("SEEDZOO_OFFLINE", "").lower() in ("1", "true", "yes"):
        raise DataError(
            f"offline mode is on, and {package.name} {package.version} is not in the cache",
            hint="Unset SEEDZOO_OFFLINE, or name a folder with the unpacked package: [data] path, or --data.",
            reason="OFFLINE",
        )
    target = folder / "package.tgz"
    digest, received = hashlib.sha512(), 0
    try:
        response = urllib.request.urlopen(url, timeout=_SECONDS)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise _unreachable(package, error) from error
    with response, target.open("wb") as file:
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (http.client.HTTPException, OSError) as error:
                raise _unreachable(package, error) from error
            received += len(chunk)
            if not chunk or received > _TOO_LARGE:
                break
            digest.update(chunk)
            file.write(chunk)
    if "sha512-" + base64.b64encode(digest.digest()).decode("ascii") != package.integrity:
        raise IntegrityError(
            f"what the registry sent is not {package.name} {package.version}: its SHA-512 differs "
            f"({received:,} bytes received)",
            hint="Try again, or another registry (npm_config_registry).",
        )
    return target


def _unreachable(package: Package, error: Exception) -> DataError:
    return DataError(
        f"cannot download {package.name} {package.version} from the npm registry: {error}",
        hint=f"Check the network and npm_config_registry; or run `npm install {package.name}@{package.version}` where "
        "there is one, and name its node_modules folder: [data] path, or --data.",
        reason="TRAINING_DATA_MISSING",
    )


def registry_url() -> str:
    """The npm registry to ask, with a slash at the end."""
    stated = next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), "")
    url = stated or _from_npmrc(Path.home() / ".npmrc") or _from_npm() or _PUBLIC
    return url.rstrip("/") + "/"


def _from_npmrc(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # most people have none
        return ""
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "registry":
            return value.strip().strip("\"'")
    return ""


def _from_npm() -> str:
    npm = shutil.which("npm")
    if npm is None:
        return ""
    try:
        done = subprocess.run(
            [npm, "config", "get", "registry"], capture_output=True, check=False, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):  # a broken npm says no more than a missing one
        return ""
    answer = done.stdout.strip()
    return answer if done.returncode == 0 and answer.startswith(("http://", "https://")) else ""
