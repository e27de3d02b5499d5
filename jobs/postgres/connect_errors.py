"""Explains failed connections: the cause, by the error text of server, pooler or network, and the remedy.

libpq gives no SQLSTATE for a failed start-up, so causes are recognised by the text of the message: of PostgreSQL,
PgBouncer and Supabase's pooler (Supavisor). A message that no pattern matches is shown as it is.
"""

import re
import socket
import ssl
import struct
from contextlib import suppress

import psycopg

from jobs.domain.errors import ConfigError, PreflightError, StartingError, UnreachableError, UsageJobsError
from jobs.postgres.conninfo import Address

PROBE_SECONDS = 5
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

STARTING = "starting up|shutting down|in recovery mode|not yet accepting"
"""Messages of SQLSTATE 57P03: the server is starting or stopping."""
PAUSED = "that the project is not paused (the dashboard restores it)"
PERMANENT = {
    "circuit ?breaker.*authenticat|authenticat.*circuit ?breaker|too many authentication": "Too many wrong "
    "passwords: correct the password (SUPABASE_DB_PASSWORD raw, or in DATABASE_URL URL-encoded), wait some minutes, "
    "then run again",
    "not permitted to log in|permission denied for database": "The role needs LOGIN and CONNECT: ALTER ROLE … LOGIN; "
    "GRANT CONNECT ON DATABASE … TO the role",
    r'no tenant identifier|enoidentifier|role "postgres\.[^"]*" does not exist': "The user postgres.<ref> is for a "
    "pooler, which takes no other: give SUPABASE_PROJECT_REF, or that user in DATABASE_URL; on a direct connection "
    "the user is postgres",
    "tenant or user not found|tenant/user .* not found|enotfound|no such user": "The pooler knows no such project or "
    "user: check SUPABASE_PROJECT_REF (the user name is postgres.<ref>) and SUPABASE_REGION (the dashboard's Connect "
    f"shows the pooler's host; of aws-1-REGION… give aws-1-REGION), and {PAUSED}",
    "authentication failed|auth failed|wrong password|invalid password|no password supplied": "The password is missing "
    "or wrong, or the user is (a pooler takes postgres.<ref>, a direct connection postgres): give the password raw in "
    "SUPABASE_DB_PASSWORD, or URL-encoded in DATABASE_URL; a forgotten one is reset in the dashboard (Database, "
    "Settings)",
    '(role|database) ".*" does not exist|no such database': "There is no such role, or no such database: check both in "
    "the address (Supabase's database is postgres)",
    "translate host name|name or service not known|nodename nor servname|name resolution|no address associated|"
    "name does not resolve": "There is no host of this name: check SUPABASE_PROJECT_REF (or the host in "
    "DATABASE_URL), that this machine resolves names, and that the project still exists",
    "does not support ssl|ssl (connection is )?required|esslrequired|no ssl encryption|no encryption": "Server and "
    "address disagree about TLS: one requires it and the other does not offer it. Check host and port; on a network "
    "of your own, without TLS, add ?sslmode=disable to DATABASE_URL",
    "does not match host name": "The server shows another host's certificate: use the host that the certificate "
    "names, and check that no other server answers in its place",
    "pg_hba.conf|allow_list": "This user is not admitted from this machine: add its address to the network "
    "restrictions (Supabase: Database, Settings)",
    "unrecognized configuration parameter|invalid value for parameter|unsupported startup parameter": "The server "
    "does not take a setting that the address gives it: correct options=… in DATABASE_URL (or PGOPTIONS), or take it "
    "out",
    "root certificate file": "Give the file of the authority's certificate: root_certificate in the settings",
}
"""Causes that a retry does not change: remedy by pattern. The first that matches counts."""
TRANSIENT = {
    "remaining connection slots|too many (clients|connections)|max ?client|no more connections allowed|"
    "unable to check out|query_wait_timeout|emaxconn": "No connection is free: close other clients or enlarge the pool "
    "(Supabase: Database, Settings, pool size; the session pooler has few), or use the transaction pooler "
    "(SUPABASE_CONNECTION=pooler, port 6543)",
    "connection refused": "Nothing listens there: check host and port (Supabase: 6543 transaction pooler, 5432 "
    f"session pooler or direct), that the server is up, and {PAUSED}",
    "timeout|timed out": "The host does not answer: check host and port, firewalls and the project's network "
    f"restrictions, and {PAUSED}",
    "server closed the connection unexpectedly|connection reset|eof detected|server login|invalid response|"
    "expected authentication request": "What answers there is not a PostgreSQL server, or it closed the connection: "
    "check the port, and that the server behind a pooler is up",
    "connect to the database": f"The pooler does not reach the database: wait some minutes, and check {PAUSED}",
    "": "Check host, port, user and password in DATABASE_URL (or the SUPABASE_… variables), and that the server is up",
}
"""Causes that may go away by themselves."""

INVALID_VALUE = 'invalid (integer value|port number)|invalid [\\w"]+ value:|could not match \\d+ '
"""Messages of libpq about an invalid parameter value, before it connects."""
NO_IPV6_ROUTE = "unreachable|no route to host|cannot assign|address family|no address associated|translate host name"
"""Messages of a machine without IPv6 about an IPv6 address."""
IPV6_REMEDY = (
    "The host has only an IPv6 address, and this machine cannot reach one: use a pooler, which has IPv4 "
    "(SUPABASE_CONNECTION=session, or pooler, with SUPABASE_REGION), or buy the project's IPv4 add-on"
)


def explain_connect_error(error: psycopg.OperationalError, address: Address) -> UsageJobsError:
    """Translates a failed connection into an error that says what to do; UnreachableError where a retry may succeed."""
    reason = " ".join(address.hide_password(str(error)).split())
    words = reason.lower()
    if re.search(INVALID_VALUE, words):
        return ConfigError(f"DATABASE_URL: expected parameters as libpq takes them; found: {reason}. Correct the value")
    kind, remedy = _classify(words, address)
    return kind(f"cannot reach the database {address!r}: {reason}. {remedy}")


def _classify(words: str, address: Address) -> tuple[type[PreflightError], str]:
    """Returns the class of the error and the remedy for a message in lower case."""
    if "certificate verify failed" in words:
        return PreflightError, _explain_certificate(address)
    if re.search(NO_IPV6_ROUTE, words) and _has_only_ipv6(address):
        return PreflightError, IPV6_REMEDY
    if re.search(STARTING, words):
        return StartingError, "The server is not ready yet: run again in a moment"
    kinds = ((PERMANENT, PreflightError), (TRANSIENT, UnreachableError))
    return next((kind, table[of]) for table, kind in kinds for of in table if re.search(of, words))


def _has_only_ipv6(address: Address) -> bool:
    """Whether the host's name resolves to IPv6 addresses only."""
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(address.host, None, type=socket.SOCK_STREAM)
        return {family for family, *_ in found} == {socket.AF_INET6}
    return False


def _explain_certificate(address: Address) -> str:
    """Returns what is wrong with the server's certificate: libpq does not say it."""
    parts = address.parts
    root = parts.get("sslrootcert", "the root certificate")
    host, port = (parts.get("hostaddr") or parts["host"]).split(",")[0], parts.get("port", "5432").split(",")[0]
    found = _verification_error(host, int(port), parts.get("sslrootcert"))
    if "expired" in found or "not yet valid" in found:
        return f"The server's certificate is not valid today ({found}): renew it there, or set this machine's clock"
    return (
        f"The server's certificate is not of the authority in {root} ({found or 'verification failed'}): download the "
        "root certificate of this very project (Supabase: Database, Settings, SSL), and check that no other server "
        "answers in its place"
    )


def _verification_error(host: str, port: int, root: str | None) -> str:
    """Returns the error that Python's TLS finds in the certificate; "" where it finds none, or cannot connect."""
    try:
        context = ssl.create_default_context(cafile=None if root in (None, "system") else root)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # libpq is not that strict
        context.check_hostname = False  # libpq reports a wrong host name itself
        with socket.create_connection((host, port), PROBE_SECONDS) as plain:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                return ""
            with context.wrap_socket(plain, server_hostname=host):
                return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        return ""
