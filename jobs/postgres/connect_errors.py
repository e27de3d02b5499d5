"""Why no connection could be had: what a server, a pooler or the network says, and what mends it.

libpq has no SQLSTATE for a refused start-up, so that causes are told by their words. The words are those of PostgreSQL,
PgBouncer and Supabase's pooler (Supavisor); what none of them matches is shown as it is.
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

STARTS = "starting up|shutting down|in recovery mode|not yet accepting"
"""The words of SQLSTATE 57P03."""
WAITS = (
    (
        "remaining connection slots|too many (clients|connections)|max ?clients|no more connections allowed|"
        "max ?client|unable to check out|query_wait_timeout|emaxconn",
        "No connection is free: close other clients or enlarge the pool (Supabase: Database, Settings, pool size; the "
        "session pooler has few), or use the transaction pooler (SUPABASE_CONNECTION=pooler, port 6543)",
    ),
    (
        "connection refused",
        "Nothing listens there: check host and port (Supabase: 6543 transaction pooler, 5432 session pooler or direct),"
        " that the server is up, and that the project is not paused (the dashboard restores it)",
    ),
    (
        "timeout|timed out",
        "The host does not answer: check host and port, firewalls and the project's network restrictions, and that "
        "the project is not paused (the dashboard restores it)",
    ),
    (
        "server closed the connection unexpectedly|connection reset|eof detected|server login|invalid response|"
        "expected authentication request",
        "Whoever answers there is no PostgreSQL server, or ended the connection: check the port, and that the server "
        "behind a pooler is up",
    ),
    (
        "connect to the database",
        "The pooler does not reach the database: is the project up, or paused (the dashboard restores it)? Wait some "
        "minutes, then run again",
    ),
)
"""Causes that may pass by themselves."""

STAYS = (
    (
        "allow_list",
        "The project does not admit this machine: add its address to the network restrictions (Database, Settings)",
    ),
    (
        "circuit ?breaker.*authenticat|authenticat.*circuit ?breaker|too many authentication",
        "Too many wrong passwords: correct the password (SUPABASE_DB_PASSWORD raw, or in DATABASE_URL URL-encoded), "
        "wait some minutes, then run again",
    ),
    (
        "no tenant identifier|enoidentifier",
        "A pooler takes the user name postgres.<ref>: give SUPABASE_PROJECT_REF, or that user in DATABASE_URL",
    ),
    ("not permitted to log in", "The role needs LOGIN: ALTER ROLE … LOGIN"),
    ("permission denied for database", "The role needs CONNECT: GRANT CONNECT ON DATABASE … TO the role"),
    (
        'authentication failed for user "postgres\\.',
        "The password is wrong; or, on a direct connection, the user: postgres.<ref> is for the pooler, a direct one "
        "takes postgres. Give the password raw in SUPABASE_DB_PASSWORD, or URL-encoded in DATABASE_URL",
    ),
    (
        "tenant or user not found|tenant/user .* not found|enotfound|no such user",
        "The pooler knows no such project or user: check SUPABASE_PROJECT_REF (the user name is postgres.<ref>) and "
        "SUPABASE_REGION (the dashboard's Connect shows the pooler's host; of aws-1-REGION… give aws-1-REGION), and "
        "that the project is not paused (the dashboard restores it)",
    ),
    (
        "password authentication failed|sasl authentication failed|wrong password|authentication failed|auth failed|"
        "invalid password",
        "The password (or the user) is wrong: give it raw in SUPABASE_DB_PASSWORD, or URL-encoded in DATABASE_URL; a "
        "forgotten one is reset in the dashboard (Database, Settings)",
    ),
    ("no password supplied", "Give a password: SUPABASE_DB_PASSWORD (raw), or in DATABASE_URL (URL-encoded)"),
    (
        'role "postgres\\.[^"]*" does not exist',
        "postgres.<ref> is a user name for the pooler: on a direct connection the user is postgres",
    ),
    ('role ".*" does not exist', "There is no such role: check the user name in the address"),
    ('database ".*" does not exist|no such database', "There is no such database: Supabase's is called postgres"),
    (
        "translate host name|name or service not known|nodename nor servname|name resolution|no address associated|"
        "name does not resolve",
        "There is no host of this name: check SUPABASE_PROJECT_REF (or the host in DATABASE_URL), that this machine "
        "resolves names, and that the project still exists",
    ),
    (
        "does not support ssl|ssl (connection is )?required|esslrequired|no ssl encryption|no encryption",
        "TLS and the server do not go together: one demands it and the other does not offer it. Check host and port; "
        "on a network of your own, without TLS, add ?sslmode=disable to DATABASE_URL",
    ),
    (
        "does not match host name",
        "The server shows another host's certificate: use the host that the certificate names, and check that no other "
        "server answers in its place",
    ),
    ("pg_hba.conf", "The server does not admit this user from this machine: check its network restrictions"),
    (
        "unrecognized configuration parameter|invalid value for parameter|unsupported startup parameter",
        "The server does not take a setting that the address gives it: correct options=… in DATABASE_URL (or "
        "PGOPTIONS), or take it out",
    ),
    ("root certificate file", "Give the file of the authority's certificate: root_certificate in the settings"),
)
"""Causes that another try does not mend."""

INVALID = 'invalid (integer value|port number)|invalid [\\w"]+ value:|could not match \\d+ '
"""What libpq says of a parameter's value before it goes anywhere."""
NO_WAY = "unreachable|no route to host|cannot assign|address family|no address associated|translate host name"
"""What a machine without IPv6 says of an address that is one."""
IPV6 = (
    "The host has only an IPv6 address, and this machine cannot reach one: use a pooler, which has IPv4 "
    "(SUPABASE_CONNECTION=session, or pooler, with SUPABASE_REGION), or buy the project's IPv4 add-on"
)
OTHERWISE = (
    "Check host, port, user and password in DATABASE_URL (or the SUPABASE_… variables), and that the server is up"
)


def explain_connect_error(error: psycopg.OperationalError, address: Address) -> UsageJobsError:
    """A refused connection as an error that says what to do; an UnreachableError where another try may succeed."""
    reason = " ".join(address.scrubbed(str(error)).split())
    words = reason.lower()
    if re.search(INVALID, words):
        return ConfigError(f"DATABASE_URL: expected parameters as libpq takes them; found: {reason}. Correct the value")
    kind, remedy = _judged(words, address)
    return kind(f"cannot reach the database {address!r}: {reason}. {remedy}")


def _judged(words: str, address: Address) -> tuple[type[PreflightError], str]:
    if "certificate verify failed" in words:
        return PreflightError, _certificate(address)
    if re.search(NO_WAY, words) and _has_only_ipv6(address):
        return PreflightError, IPV6
    if re.search(STARTS, words):
        return StartingError, "The server is not ready yet: run again in a moment"
    for pattern, remedy in STAYS:
        if re.search(pattern, words):
            return PreflightError, remedy
    for pattern, remedy in WAITS:
        if re.search(pattern, words):
            return UnreachableError, IPV6 if _has_only_ipv6(address) and not _reaches_ipv6() else remedy
    return UnreachableError, OTHERWISE


def _has_only_ipv6(address: Address) -> bool:
    """Whether the host's name leads to IPv6 addresses alone."""
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(address.host, None, type=socket.SOCK_STREAM)
        return {family for family, *_ in found} == {socket.AF_INET6}
    return False


def _reaches_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.connect(("2001:4860:4860::8888", 9))  # sends nothing: only asks for a route
        return True
    return False


def _certificate(address: Address) -> str:
    """What is wrong with the server's certificate, which libpq does not say."""
    parts = address.parts
    root = parts.get("sslrootcert", "the root certificate")
    host, port = (parts.get("hostaddr") or parts["host"]).split(",")[0], parts.get("port", "5432").split(",")[0]
    found = _refusal(host, int(port), parts.get("sslrootcert"))
    if "expired" in found or "not yet valid" in found:
        return f"The server's certificate is not valid today ({found}): renew it there, or set this machine's clock"
    return (
        f"The server's certificate is not of the authority in {root} ({found or 'verification failed'}): download the "
        "root certificate of this very project (Supabase: Database, Settings, SSL), and check that no other server "
        "answers in its place"
    )


def _refusal(host: str, port: int, root: str | None) -> str:
    """What Python's own TLS finds wrong with the certificate; empty where it finds nothing, or cannot ask."""
    try:
        context = ssl.create_default_context(cafile=None if root in (None, "system") else root)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # libpq is not that strict
        context.check_hostname = False  # what is wrong with the name libpq says itself
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
