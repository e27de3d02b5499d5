"""An authority made in the test, and the certificates that it issues."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """Issues certificates; ``file`` is its own, which a client trusts as sslrootcert."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._authority = trustme.CA(organization_name=name)
        self.file = folder / f"{name}.crt"
        self._authority.cert_pem.write_to_path(self.file)

    def certificate(self, *names: str, expired: bool = False) -> trustme.LeafCert:
        """For these host names and addresses; ``expired``: until yesterday."""
        today = datetime.now(UTC)
        since, until = (today - timedelta(days=400), today - timedelta(days=1)) if expired else (None, None)
        return self._authority.issue_cert(*names, not_before=since, not_after=until)

    def context(self, *names: str) -> ssl.SSLContext:
        """What a server of these names, written in Python, speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate(*names).configure_cert(context)
        return context


def files(certificate: trustme.LeafCert) -> dict[str, bytes]:
    """The certificate and its key under the names that PostgreSQL looks for."""
    chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
    return {"server.crt": chain, "server.key": certificate.private_key_pem.bytes()}
