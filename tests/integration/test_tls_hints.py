"""What somebody reads whose client and server disagree about TLS: tried with both clients on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from real_server import serving, small_store

from seedzoo.errors import Unavailable
from seedzoo_client import AsyncClient, Client, TLSConfig

Shown = tuple[str, str, str]
"""Reason, message and hint, with the address left out."""


class Servers:
    """Ports of servers of several kinds, and authorities."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = small_store(folder)
        ours, other = trustme.CA(), trustme.CA()
        self.ca, self.other_ca, self.rubbish = folder / "ca.pem", folder / "other.pem", folder / "rubbish.pem"
        ours.cert_pem.write_to_path(self.ca)
        other.cert_pem.write_to_path(self.other_ca)
        self.rubbish.write_text("no certificate")
        self.files = {
            "tls": ours.issue_cert("127.0.0.1"),
            "named": ours.issue_cert("elsewhere.example"),
            "expired": ours.issue_cert(
                "127.0.0.1",
                not_before=datetime(2019, 1, 1, tzinfo=UTC),
                not_after=datetime(2020, 1, 1, tzinfo=UTC),
            ),
        }
        for name, issued in self.files.items():
            issued.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")

    def settings(self, kind: str) -> dict[str, Path]:
        """Of a server of that kind."""
        if kind == "plain":
            return {}
        file = self.folder / f"{'tls' if kind == 'mutual' else kind}.pem"
        more = {"tls_client_ca": self.ca} if kind == "mutual" else {}
        return {"tls_certificate": file, "tls_key": file, **more}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Servers:
    return Servers(tmp_path_factory.mktemp("certificates"))


def asked(address: str, tls: TLSConfig | None) -> None:
    with Client(address, tls=tls, timeout=20, offline=False) as client:
        client.families()


def asked_async(address: str, tls: TLSConfig | None) -> None:
    async def families() -> None:
        async with AsyncClient(address, tls=tls, timeout=20, offline=False) as client:
            await client.families()

    asyncio.run(families())


def shown(ask: Callable[[str, TLSConfig | None], None], address: str, tls: TLSConfig | None) -> Shown:
    """What a call to that address fails with."""
    with pytest.raises(Unavailable) as caught:
        ask(address, tls)
    error, place = caught.value, address.removeprefix("https://")
    return error.reason, error.message.replace(place, "HERE"), error.hint.replace(place, "HERE")


@pytest.mark.parametrize(
    ("kind", "scheme", "ca", "reason", "message", "hint"),
    [
        ("tls", "", None, "CONNECTION_CLOSED", "HERE closes connections", "use --server https://HERE;"),
        ("mutual", "https://", "ca", "CONNECTION_CLOSED", "HERE closes connections", "may also want a certificate"),
        ("plain", "https://", "ca", "TLS_FAILED", "HERE does not speak TLS", "write --server without https://"),
        ("tls", "https://", None, "CERTIFICATE_INVALID", "an authority that is not known here", "SEEDZOO_CA="),
        ("tls", "https://", "other_ca", "CERTIFICATE_INVALID", "an authority that is not known here", "SEEDZOO_CA="),
        ("named", "https://", "ca", "CERTIFICATE_INVALID", "is for another name", "as its certificate does"),
        ("expired", "https://", "ca", "CERTIFICATE_INVALID", "has expired", "renewed"),
        ("tls", "https://", "rubbish", "TLS_FILES", "with these TLS files", "Check SEEDZOO_CA"),
    ],
)
def test_each_mismatch_has_a_remedy(
    kind: str, scheme: str, ca: str | None, reason: str, message: str, hint: str, servers: Servers
) -> None:
    tls = TLSConfig(ca=getattr(servers, ca)) if ca else None
    with serving(servers.store, **servers.settings(kind)) as port:
        told = [shown(asked, f"{scheme}127.0.0.1:{port}", tls)]
        if kind == "tls":
            told.append(shown(asked_async, f"{scheme}127.0.0.1:{port}", tls))
    for each in told:
        assert each[0] == reason
        assert message in each[1]
        assert hint in each[2]
        assert len(each[1]) < 120, "nothing of gRPC's own words"
