"""The address of the database, as libpq parses it. Printing an address never shows its password."""

from dataclasses import dataclass
from itertools import takewhile
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from jobs.domain.errors import ConfigError
from jobs.settings.database_url import is_local

SUPABASE_POOLERS = ".pooler.supabase.com"
FOREIGN = {
    "pgbouncer": "a pooler is recognised by itself",
    "schema": "source_schema in the settings names the schema of usage_daily",
}
"""Parameters of other libraries that people paste, and what to use instead."""


@dataclass(frozen=True, slots=True)
class Address:
    """A database's address: a URL that includes how TLS is used (``settings.database_url``)."""

    url: str

    @property
    def parts(self) -> dict[str, str]:
        """The parameters that libpq reads in the URL. Raises ConfigError where it cannot parse the URL."""
        try:
            return {key: str(value) for key, value in conninfo_to_dict(self.url).items() if value is not None}
        except psycopg.ProgrammingError:
            raise ConfigError(self._explain_mistake()) from None

    def _explain_mistake(self) -> str:
        known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
        names = [part.partition("=")[0] for part in self.url.partition("?")[2].split("&") if "=" in part]
        # The text after "password=" may be a part of the password.
        foreign = [name for name in takewhile(lambda name: name != "password", names) if name not in known]
        if not foreign:
            return (
                "DATABASE_URL: expected an address that PostgreSQL understands, such as "
                "postgresql://USER:PASSWORD@HOST:5432/postgres, special characters of the password URL-encoded"
            )
        hints = "; ".join(FOREIGN[name] for name in foreign if name in FOREIGN)
        return (
            "DATABASE_URL: expected parameters that libpq knows, such as sslmode or connect_timeout; found "
            f"{', '.join(foreign)}, of another library. Remove what libpq does not know{hints and f' ({hints})'}"
        )

    @property
    def host(self) -> str:
        return self.parts.get("host", "")

    @property
    def place(self) -> str:
        return f"{self.host or 'the local socket'}:{self.parts.get('port', '5432')}"

    @property
    def has_pooler_port(self) -> bool:
        """Whether the port is that of Supabase's transaction pooler."""
        return self.parts.get("port") == "6543"

    @property
    def is_session_pooler(self) -> bool:
        """Whether it is Supabase's session pooler, which behaves like a direct connection."""
        return self.host.endswith(SUPABASE_POOLERS) and self.parts.get("port", "5432") == "5432"

    @property
    def warning(self) -> str | None:
        """What is unsafe about the connection to another machine; None where nothing is."""
        mode = self.parts.get("sslmode", "")
        if mode == "verify-full" or all(map(is_local, self.host.split(","))):
            return None
        what = {
            "verify-ca": "any server with a certificate of that authority would be taken for it (sslmode=verify-ca)",
            "require": "encrypted, but any server is accepted: no one checks its certificate",
        }.get(mode, f"neither encryption nor the server's identity is certain (sslmode={mode or 'prefer'})")
        if "sslrootcert" in self.parts:
            return f"{self.place}: {what}. root_certificate is set: take sslmode out, or make it verify-full"
        return (
            f"{self.place}: {what}. Download the project's root certificate (Supabase: Database, Settings, SSL) and "
            'name it: root_certificate = "…" in the settings, or USAGE_JOBS_ROOT_CERTIFICATE'
        )

    def __repr__(self) -> str:
        parts = self.parts
        return f"{parts.get('user', '')}@{self.place}/{parts.get('dbname', '')}"

    def hide_password(self, text: str) -> str:
        """Returns ``text`` with the password, encoded or not, replaced by ***."""
        password = self.parts.get("password", "")
        written = self.url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        for secret in (self.url, written, quote(password, safe=""), quote(password), password):
            text = text.replace(secret, "***") if secret else text
        return text
