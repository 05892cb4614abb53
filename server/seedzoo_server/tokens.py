"""Access tokens: made by `zoo token create`, kept as hashes only, revocable.

    tenants/<tenant>/tokens/<SHA-256 of the token>.json

A token names its tenant, so that one read of the store decides. Its secret part has 256 random bits, which need no
slow hash: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from seedzoo.catalog.codec import decode_json, encode_json
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import IntegrityError, NotFound, RequestError, Unauthenticated
from seedzoo_server.identity import TENANTS, Identity, Role, check_tenant, known_role

__all__ = ["REMEMBERED_S", "TokenRecord", "Tokens"]

_log = logging.getLogger(__name__)

_MARK = "zoo"
_SECRET_BYTES = 32
_LONGEST = 300
_LONGEST_NOTE = 200
_SHOWN_DIGITS = 12
REMEMBERED_S = 15.0
"""How long a server goes on accepting a token that was revoked, and asks the store for one token at most."""
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """``tokens/<hash>.json``."""

    tenant: str
    role: str
    created: str
    note: str = ""
    expires: str = ""
    """UTC, ISO 8601; empty for never."""
    id: str = ""
    """The first digits of the hash, by which people name a token."""


class Tokens:
    """Makes, checks and revokes tokens; safe to share between threads.

    Args:
        store: The whole store.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, tuple[float, TokenRecord | None]] = OrderedDict()

    @property
    def url(self) -> str:
        """Where they are kept, for people."""
        return self._store.url

    def create(
        self, tenant: str, role: str, *, note: str = "", expires_in: timedelta | None = None
    ) -> tuple[str, TokenRecord]:
        """Make a token; its text is returned here and never again.

        Raises:
            RequestError: The tenant is no name, there is no such role, or the note or expiry cannot be used.
        """
        check_tenant(tenant)
        if known_role(role) is None:
            raise RequestError(
                f"there is no role {role!r}",
                hint=f"There are: {', '.join(each.name.lower() for each in Role)}.",
                field="role",
            )
        if len(note) > _LONGEST_NOTE or not note.isprintable():
            raise RequestError(f"a note may have {_LONGEST_NOTE} characters, all of them printable", field="note")
        if expires_in is not None and expires_in <= timedelta(0):
            raise RequestError("a token must expire in the future", field="expires")
        text = f"{_MARK}.{tenant}.{secrets.token_urlsafe(_SECRET_BYTES)}"
        now = datetime.now(UTC)
        digest = _digest(text)
        record = TokenRecord(
            tenant=tenant,
            role=role,
            created=now.isoformat(timespec="seconds"),
            note=note,
            expires="" if expires_in is None else (now + expires_in).isoformat(timespec="seconds"),
            id=digest[:_SHOWN_DIGITS],
        )
        self._store.put(_key(tenant, digest), encode_json(record), if_absent=True)
        return text, record

    def identity(self, text: str) -> Identity:
        """Who a token stands for.

        Raises:
            Unauthenticated: It is none, was revoked, or has expired. All say the same, so that nobody learns which.
            StoreError: The store does not answer.
        """
        record = self._record(text)
        role = None if record is None else known_role(record.role)
        if record is None or role is None or _expired(record):
            raise _refused()
        return Identity(tenant=record.tenant, role=role)

    def _record(self, text: str) -> TokenRecord | None:
        mark, _, rest = text.partition(".")
        tenant, _, secret = rest.partition(".")
        if mark != _MARK or not secret or len(text) > _LONGEST:
            return None
        digest = _digest(text)
        now = time.monotonic()
        with self._lock:
            until, known = self._seen.get(digest, (0.0, None))
            if now < until:
                self._seen.move_to_end(digest)  # rubbish must not push out what is in use
                return known
        try:
            key = _key(check_tenant(tenant), digest)
            record: TokenRecord | None = decode_json(self._store.get(key), TokenRecord, where=key)
        except (RequestError, NotFound):
            record = None
        except IntegrityError as error:
            _log.error("a token is refused: %s", error.message)
            record = None
        if record is not None and record.tenant != tenant:
            record = None
        with self._lock:
            self._seen[digest] = (now + REMEMBERED_S, record)
            self._seen.move_to_end(digest)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return record

    def all(self, tenant: str) -> list[TokenRecord]:
        """A tenant's tokens, oldest first; not their text, which nobody has.

        One whose record is damaged, so that it opens nothing, has no role: it can be seen and revoked.
        """
        found = []
        for info in self._store.list(f"{TENANTS}/{check_tenant(tenant)}/tokens"):
            try:
                found.append(self._stored(tenant, info.key))
            except NotFound:
                continue  # revoked since it was listed
        return sorted(found, key=lambda record: record.created)

    def _stored(self, tenant: str, key: str) -> TokenRecord:
        token_id = key.rpartition("/")[2][:_SHOWN_DIGITS]
        try:
            record = decode_json(self._store.get(key), TokenRecord, where=key)
        except IntegrityError:
            return TokenRecord(tenant=tenant, role="", created="", note="its record is damaged", id=token_id)
        return replace(record, tenant=tenant, id=token_id)

    def revoke(self, tenant: str, token_id: str) -> TokenRecord:
        """Make a token worthless, at once here and within :data:`REMEMBERED_S` on running servers.

        Args:
            tenant: Whose token.
            token_id: The first digits of its hash; or its text, which names its tenant itself: whoever finds one that
                leaked has nothing else.

        Raises:
            NotFound: The tenant has no such token.
            RequestError: The digits fit several.
        """
        if token_id.startswith(f"{_MARK}."):
            tenant, token_id = token_id.split(".")[1], _digest(token_id)[:_SHOWN_DIGITS]
        prefix = f"{TENANTS}/{check_tenant(tenant)}/tokens"
        fitting = [
            info.key
            for info in self._store.list(prefix)
            if token_id and info.key.rpartition("/")[2].startswith(token_id)
        ]
        if not fitting:
            raise NotFound(
                f"tenant {tenant} has no token {token_id!r}", hint="zoo token list shows them.", reason="TOKEN_UNKNOWN"
            )
        if len(fitting) > 1:
            raise RequestError(f"{token_id!r} fits {len(fitting)} tokens", hint="Give more digits.", field="id")
        record = self._stored(tenant, fitting[0])
        self._store.delete(fitting[0])
        with self._lock:
            self._seen.clear()
        return record


def _expired(record: TokenRecord) -> bool:
    """Whether it is too late for it; also where nobody can tell, after somebody has changed the record by hand."""
    try:
        return bool(record.expires) and datetime.fromisoformat(record.expires) <= datetime.now(UTC)
    except (ValueError, TypeError):
        return True


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key(tenant: str, digest: str) -> str:
    return f"{TENANTS}/{tenant}/tokens/{digest}.json"


def _refused() -> Unauthenticated:
    return Unauthenticated(
        "the access token is not valid (any more)", hint="Ask whoever runs the server for a new one."
    )
