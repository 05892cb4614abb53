"""Models on this machine: complete or absent, named by their SHA-256, and found again without a server.

::

    <home>/models/<sha256>.onnx                     whole and verified
    <home>/models/.<sha256>.part                    a download in progress, locked by who writes it
    <home>/variants/<family>@<release>/<tag>.json   which model a variant is; of its quantised twin: <tag>.int8.json
    <home>/variants/<family>@<alias>.json           which release an alias meant when it was last asked for
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seedzoo.errors import DataError, IntegrityError, LocalFailure, NotFound, RequestError
from seedzoo.files import local_failure, write_atomically
from seedzoo_client.quoting import quoted
from seedzoo_client.views import VariantView

__all__ = ["CachedModel", "ModelCache", "VariantName", "copy_model", "file_sha256"]

DEFAULT_ALIAS = "stable"

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class VariantName:
    """``<family>/<tag>`` or ``<family>@<alias or release>/<tag>``, taken apart."""

    family: str
    version: str
    """Empty where none was given."""
    tag: str

    @classmethod
    def parse(cls, text: str) -> VariantName:
        """Read a variant's name.

        Raises:
            RequestError: It is none.
        """
        head, slash, tag = text.partition("/")
        family, at, version = head.partition("@")
        if not slash or (at and not version) or not all(_SAFE.fullmatch(part) for part in (family, tag)):
            raise RequestError(
                f"{quoted(text)} is not the name of a variant", hint="Write FAMILY/TAG, for example fashion-cnn/s007."
            )
        if version and not _SAFE.fullmatch(version):
            raise RequestError(f"{quoted(version)} is neither a release nor an alias")
        return cls(family, version, tag)

    def __str__(self) -> str:
        return f"{self.family}@{self.version}/{self.tag}" if self.version else f"{self.family}/{self.tag}"


@dataclass(frozen=True, slots=True)
class CachedModel:
    """What the cache knows of a variant, or of its quantised twin."""

    family: str
    release: str
    tag: str
    sha256: str
    size: int
    int8: bool = False

    @classmethod
    def of(cls, variant: VariantView, *, int8: bool = False) -> CachedModel:
        """From what the server says; names that could lead out of the cache's folders are refused.

        Raises:
            DataError: The twin is asked for and there is none.
            IntegrityError: The server sent a name or hash of the wrong form.
        """
        sha256, size = (variant.int8_sha256, variant.int8_size) if int8 else (variant.model_sha256, variant.model_size)
        parts = (variant.family, variant.release, variant.tag)
        named = all(_SAFE.fullmatch(part) for part in parts)
        if named and int8 and not sha256:
            raise DataError(
                f"{variant.family}/{variant.tag} has no int8 twin",
                hint="zoo variants FAMILY shows which variants have one; or ask for the variant itself.",
                reason="INT8_MISSING",
            )
        if not named or not _SHA256.fullmatch(sha256):
            raise IntegrityError(f"the server describes {quoted(variant.name)} with names that cannot be file names")
        return cls(variant.family, variant.release, variant.tag, sha256, size, int8)


class ModelCache:
    """The folder that downloads go to.

    Args:
        home: Its place; made when first needed.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def model_path(self, sha256: str) -> Path:
        """Where the whole model is or will be."""
        return self.home / "models" / f"{sha256}.onnx"

    def part_path(self, sha256: str) -> Path:
        """Where the model grows."""
        return self.home / "models" / f".{sha256}.part"

    def make_folders(self) -> None:
        """Make the folder of the models.

        Raises:
            LocalFailure: The machine refuses.
        """
        _make(self.home / "models")

    def find(self, sha256: str) -> Path | None:
        """The verified model of that hash; a damaged one is removed and counts as absent."""
        path = self.model_path(sha256)
        try:
            if file_sha256(path) == sha256:
                return path
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LocalFailure(f"cannot read {path}: {error.strerror or error}") from error
        return None

    def remember(self, model: CachedModel, *, asked: VariantName) -> None:
        """Note which model a variant is, so that it can be found offline.

        Raises:
            LocalFailure: The machine refuses.
        """
        folder = self.home / "variants"
        release = folder / f"{model.family}@{model.release}"
        _make(release)
        write_atomically(release / f"{_stem(model.tag, int8=model.int8)}.json", _as_json(asdict(model)))
        if asked.version != model.release:
            alias = folder / f"{model.family}@{asked.version or DEFAULT_ALIAS}.json"
            write_atomically(alias, _as_json({"release": model.release}))

    def resolve(self, name: VariantName, *, int8: bool = False) -> Path:
        """Find a variant, or its quantised twin, without a server.

        Raises:
            NotFound: It is not in the cache.
            IntegrityError: It was, and is damaged.
        """
        folder = self.home / "variants"
        version = name.version or DEFAULT_ALIAS
        alias = _load(folder / f"{name.family}@{version}.json")
        release = str(alias.get("release", version))
        place = folder / f"{name.family}@{release}" / f"{_stem(name.tag, int8=int8)}.json"
        entry = _load(place) if _SAFE.fullmatch(release) else {}
        sha256 = str(entry.get("sha256", ""))
        if not _SHA256.fullmatch(sha256) or not self.model_path(sha256).exists():
            raise NotFound(
                f"{'the int8 twin of ' * int8}{name} is not in the cache {self.home}, and offline mode is on",
                hint=self._offline_hint(name, int8=int8),
                reason="NOT_CACHED",
            )
        path = self.find(sha256)
        if path is None:
            raise IntegrityError(
                f"the cached model of {name} was damaged and has been removed",
                hint="Download it again with offline mode off.",
            )
        return path

    def _offline_hint(self, name: VariantName, *, int8: bool) -> str:
        others = sorted(self.home.glob(f"variants/{name.family}@*/{_stem(name.tag, int8=int8)}.json"))
        if others:
            return f"Cached is {others[-1].parent.name}/{name.tag}; or unset SEEDZOO_OFFLINE and download this one."
        return f"Unset SEEDZOO_OFFLINE and run `zoo download {name}{' --int8' * int8}` once."


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex, a block at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def copy_model(source: Path, to: str | os.PathLike[str], *, name: VariantName, int8: bool = False) -> Path:
    """Copy a model to a file, or into a folder as ``<family>-<tag>.onnx``; whole or not at all.

    A quantised twin goes into a folder as ``<family>-<tag>.int8.onnx``.

    A copy, not a link: who edits the file must not damage the cache.

    Raises:
        LocalFailure: The disk is full or refuses.
    """
    text = os.fspath(to)
    target = Path(text)
    if text.endswith(("/", os.sep)):
        _make(target)
    if target.is_dir():
        target /= f"{name.family}-{_stem(name.tag, int8=int8)}.onnx"
    if not target.parent.is_dir():
        raise LocalFailure(
            f"the folder {target.parent} does not exist", hint="Make it first, or end --to with / to have it made."
        )
    temporary: Path | None = None
    try:
        descriptor, made = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        temporary = Path(made)
        with os.fdopen(descriptor, "wb") as out, source.open("rb") as file:
            shutil.copyfileobj(file, out, _BLOCK)
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise local_failure(error, target) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return target


def _stem(tag: str, *, int8: bool) -> str:
    return f"{tag}.int8" if int8 else tag


def _umask() -> int:
    # mkstemp makes files that only their owner reads; a model should be as readable as any other file.
    current = os.umask(0o077)
    os.umask(current)
    return current


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise local_failure(error, folder) from error


def _as_json(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, indent=2) + "\n").encode()


def _load(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_bytes())
    except (OSError, ValueError):
        # Absent or damaged: either way the cache does not know.
        return {}
    return loaded if isinstance(loaded, dict) else {}
