"""What Supabase's pooler, PgBouncer and PostgreSQL say to who may not come in, word for word; and what mends it.

Supavisor's words are of both kinds that are met: before March 2026, and since (with a code in brackets); PgBouncer's
of 1.18 to 1.25.
"""

import re
from pathlib import Path

import pytest
import strangers
from authority import Authority
from commands import Ran, pausing
from passwords import SUPABASE, WAYS
from strangers import Stranger, refusing
from told import WARNING, refused, under

pytestmark = pytest.mark.skipif(not strangers.addressable(), reason="this system has one loopback address")
WHO = (r"SUPABASE_PROJECT_REF|postgres\.<ref>", "SUPABASE_REGION", "aws-1", "paused")
FULL = ("SUPABASE_CONNECTION=pooler|pool size|close other",)
PASSWORD = ("SUPABASE_DB_PASSWORD", "reset")
TLS = ("TLS|SSL", "sslmode")
ADMITTED = ("network restrictions",)
LATER = ("run again|moment",)
SUPAVISOR = {
    "Tenant or user not found": WHO,
    "(ENOTFOUND) tenant/user postgres.abcd not found": WHO,
    "(ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname required)": (r"postgres\.<ref>",),
    "SSL connection is required": TLS,
    "(ESSLREQUIRED) SSL connection is required for user: postgres": TLS,
    "MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited to pool_size": FULL,
    "(EMAXCONNSESSION) max clients reached in session mode - max clients are limited to pool_size: 15": FULL,
    "Max client connections reached": FULL,
    "(EMAXCONN) max client connections reached, limit: 200": FULL,
    "(ECHECKOUTTIMEOUT) unable to check out connection from the pool after 60000ms in Transaction mode": FULL,
    "Address not in tenant allow_list: {203, 0, 113, 7}": ADMITTED,
    "(EADDRNOTALLOWED) address not in tenant allow_list: {203, 0, 113, 7}": ADMITTED,
    "Circuit breaker open: Too many authentication errors": ("password", "minutes"),
    "(ECIRCUITBREAKER) too many authentication failures, new connections are temporarily blocked": (
        *("password", "minutes"),
    ),
    "(ECIRCUITBREAKER) too many failed attempts to connect to the database, new connections are temporarily blocked": (
        *("paused|is up|up[?]", "minutes|moment"),
    ),
}
PGBOUNCER = {
    "no such user": ("user name",),
    "SASL authentication failed": PASSWORD,
    "password authentication failed": PASSWORD,
    "no such database: postgres": ("no such database",),
    "no more connections allowed (max_client_conn)": FULL,
    "query_wait_timeout": FULL,
    "SSL required": TLS,
    "server login has been failing, cached error: connect failed (server_login_retry)": ("up[?]|is up",),
    "pooler is shutting down": LATER,
}
POSTGRESQL = {
    ("28P01", 'password authentication failed for user "postgres"'): PASSWORD,
    ("28000", 'no pg_hba.conf entry for host "203.0.113.7", user "postgres", database "postgres", no encryption'): TLS,
    ("28000", 'no pg_hba.conf entry for host "203.0.113.7", user "postgres", database "app", SSL encryption'): ADMITTED,
    ("28000", 'role "postgres.abcd" does not exist'): ("pooler", "direct"),
    ("28000", 'role "job" is not permitted to log in'): ("LOGIN",),
    ("3D000", 'database "postgres" does not exist'): ("no such database",),
    ("42501", 'permission denied for database "postgres"'): ("GRANT CONNECT",),
    ("53300", "sorry, too many clients already"): FULL,
    ("53300", "remaining connection slots are reserved for roles with the SUPERUSER attribute"): FULL,
    ("53300", 'too many connections for role "postgres"'): FULL,
    ("57P03", "the database system is starting up"): LATER,
    ("57P03", "the database system is shutting down"): LATER,
    ("57P03", "the database system is not yet accepting connections"): LATER,
    ("57P03", "the database system is in recovery mode"): LATER,
}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two tries."""
    pausing(monkeypatch, lambda _: None)


SAID = [
    *(("pooler", "XX000", words, remedy) for words, remedy in SUPAVISOR.items()),
    *(("pooler", "08P01", words, remedy) for words, remedy in PGBOUNCER.items()),
    *(("direct", state, words, remedy) for (state, words), remedy in POSTGRESQL.items()),
]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(("way", "state", "words", "remedy"), SAID, ids=[words for _, _, words, _ in SAID])
def test_whoever_refuses_is_explained(
    tmp_path: Path, way: str, state: str, words: str, remedy: tuple[str, ...], command: str
) -> None:
    _, host, port = WAYS[way]
    given = SUPABASE | {"SUPABASE_DB_PASSWORD": "s3cret", "SUPABASE_CONNECTION": way, "PGHOSTADDR": strangers.address()}
    with Stranger(refusing(words, state), port, Authority(tmp_path).context(host)) as stranger:
        ran = under(given, command)
    refused(ran, f"{host}:{port}", re.escape(words))
    # What was said, the host's name and the warning hold some of the words that a remedy must have.
    advice = " ".join(line for line in ran.err.splitlines() if not line.startswith(WARNING))
    for said in (words, host):
        advice = advice.replace(said, "")
    refused(Ran(ran.code, "", advice), *remedy)
    tries = 5 if remedy is LATER else 1
    assert len(stranger.met) == tries, "but where the server starts tried once: more would only lock the account"
