"""The database's URL, from DATABASE_URL or built from the SUPABASE_… variables.

TLS is decided here: unless sslmode is given, the connection to another machine is encrypted, and the server is verified
where a root certificate is configured.
"""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from jobs.domain.errors import ConfigError
from jobs.domain.wording import is_text

SUPABASE = ("SUPABASE_PROJECT_REF", "SUPABASE_DB_PASSWORD", "SUPABASE_REGION", "SUPABASE_CONNECTION")
CONNECTIONS = ("pooler", "session", "direct")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
LINE_ENDS = "\r\n"
_QUOTES = ('""', "''", "``", "“”", "‘’")
PLACEHOLDER = re.compile(r"\[(YOUR|PROJECT|REGION|PASSWORD|DB)([-_ ][A-Z]+)*\]", re.IGNORECASE)
_HOST = r"(?:[\w.%-]*|\[[0-9A-Fa-f:.]*\])(?::\d+)?"
_HOSTS = f"{_HOST}(?:,{_HOST})*"
_NO_LOGIN = re.compile(_HOSTS + r"(?:/[^?@]*)?(?:\?.*)?")
# The password ends at the last @ …
_LOGIN = re.compile(rf"(?P<user>[^:/@?]*)(?::(?P<password>.*))?@(?P<rest>{_HOSTS}(?:/[^/@?]*)?(?:\?[^@]*)?)", re.DOTALL)
# … unless the text after the first @ could also be host, database and query.
_REST = re.compile(_HOSTS + r"(?:/[^?]*)?(?:\?.*)?")
_ENCODED = re.compile("%[0-9A-Fa-f]{2}")
_NOT_ENCODED = re.compile(r"[@/?\s]|%(?![0-9A-Fa-f]{2})")


def choose_database(env: Mapping[str, str], local: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """The variables that name the database, and a warning about variables that are not used.

    All variables of the environment (``env``) take precedence over .env.local (``local``); within one of them,
    DATABASE_URL takes precedence over SUPABASE_…. Raises ConfigError if the environment sets some SUPABASE_…
    variables, but neither place sets the rest.
    """
    both = {**local, **env}
    given = [name for name in SUPABASE if env.get(name)]
    if given and not env.get("DATABASE_URL") and local.get("DATABASE_URL"):
        if not both.get("SUPABASE_PROJECT_REF"):
            raise ConfigError(
                f"{given[0]} is set in the environment, which comes before DATABASE_URL in .env.local; expected "
                "SUPABASE_PROJECT_REF as well, found none. Set it, or give DATABASE_URL in the environment, or unset "
                f"{', '.join(given)}"
            )
        del both["DATABASE_URL"]
    place = env if env.get("DATABASE_URL") else local
    if both.get("DATABASE_URL") and place.get("SUPABASE_PROJECT_REF"):
        where = "the environment" if place is env else ".env.local"
        return both, f"{where} has DATABASE_URL and SUPABASE_PROJECT_REF: DATABASE_URL is used. Take one of them out"
    return both, None


def address(env: Mapping[str, str], root_certificate: Path | None = None) -> str | None:
    """The postgresql:// URL of the database, with a URL-encoded password and TLS options; None if ``env`` names none.

    Raises ConfigError naming the variable that is missing or invalid; the message never contains the password.
    """
    for name in ("DATABASE_URL", "SUPABASE_DB_PASSWORD"):
        if not is_text(env.get(name, "")):
            raise ConfigError(f"{name}: expected UTF-8 text; found bytes of another encoding. Save it as UTF-8")
    url = _read_url(env)
    return None if url is None else _with_tls(url, env, root_certificate)


def is_local(host: str) -> bool:
    """Whether ``host`` is this machine: a loopback address, or the directory of a unix socket."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def strip_quotes(text: str) -> str:
    """``text`` without surrounding blanks and line ends, and without surrounding quotation marks."""
    text = text.strip()
    return text[1:-1].strip() if text[:1] + text[-1:] in _QUOTES and len(text) > 1 else text


def _read_url(env: Mapping[str, str]) -> str | None:
    """The URL without TLS options."""
    if url := strip_quotes(env.get("DATABASE_URL", "")):
        return _encode_password(url)
    if not strip_quotes(env.get("SUPABASE_PROJECT_REF", "")):
        return None
    way = strip_quotes(env.get("SUPABASE_CONNECTION", "")) or "pooler"
    if way not in CONNECTIONS:
        shown = way if way.isalpha() else "something else"  # it may contain a pasted URL with a password
        raise ConfigError(f"SUPABASE_CONNECTION = {shown!r}: expected one of {', '.join(CONNECTIONS)}")
    ref, password = _host_label(env, "SUPABASE_PROJECT_REF", way), _required(env, "SUPABASE_DB_PASSWORD", way)
    if found := PLACEHOLDER.fullmatch(password):
        raise _placeholder("SUPABASE_DB_PASSWORD", found[0])
    password = quote(password, safe="")
    if way == "direct":
        return f"postgresql://postgres:{password}@db.{ref}.supabase.co:5432/postgres"
    region = _host_label(env, "SUPABASE_REGION", way)
    # Newer projects use aws-1-…: the dashboard's host shows it, and it can be given like that.
    host = f"{region if re.match('aws-[0-9]-', region) else f'aws-0-{region}'}.pooler.supabase.com"
    port = 6543 if way == "pooler" else 5432
    return f"postgresql://postgres.{ref}:{password}@{host}:{port}/postgres"


def _encode_password(url: str) -> str:
    """``url`` with its password URL-encoded. Raises ConfigError if the URL can be read in more than one way."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigError(
            "DATABASE_URL: expected an address such as postgresql://USER:PASSWORD@HOST:5432/postgres; "
            "found something that does not start with postgresql://"
        )
    if found_name := PLACEHOLDER.search(unquote(url)):
        raise _placeholder("DATABASE_URL", found_name[0])
    scheme, _, body = url.partition("://")
    found = _LOGIN.fullmatch(body)
    if _NO_LOGIN.fullmatch(body):
        # libpq takes the text before an @ for the login, unless there is a / before it.
        if "@" in body and (found is not None or "@" in body.partition("/")[0]):
            raise _ambiguous()
        return url
    if found is None or (body.count("@") > 1 and _REST.fullmatch(body.partition("@")[2])):
        raise _ambiguous()
    password = found["password"] or ""
    try:
        unquote(password, errors="strict")
    except UnicodeDecodeError:
        # The decoded bytes are not text: this % was not meant to begin an encoded character.
        raise _ambiguous() from None
    # Otherwise libpq, and our messages, would take a part of the password for the host, the port or the database.
    if not _NOT_ENCODED.search(password):
        return url
    if _ENCODED.search(password):
        raise _ambiguous()
    return f"{scheme}://{found['user']}:{quote(password, safe='')}@{found['rest']}"


def _ambiguous() -> ConfigError:
    return ConfigError(
        "DATABASE_URL: expected special characters of the password URL-encoded (%25 for %, %2F for /, %40 for @); "
        "found one that is not, in an address that can be read in more than one way. Encode it, or give the raw "
        "password in SUPABASE_DB_PASSWORD with SUPABASE_PROJECT_REF"
    )


def _placeholder(variable: str, found: str) -> ConfigError:
    return ConfigError(
        f"{variable}: expected the value of your project; found the dashboard's placeholder {found}. Replace it; a "
        "forgotten password is reset in the dashboard (Database, Settings)"
    )


def _required(env: Mapping[str, str], name: str, way: str) -> str:
    """The value of the variable ``name``. Raises ConfigError if it is not set."""
    # A secret that was created from a file or with echo ends with a line end.
    value = env.get(name, "").rstrip(LINE_ENDS)
    if not value:
        raise ConfigError(
            f"{name}: not set, but SUPABASE_PROJECT_REF is and SUPABASE_CONNECTION is {way!r}; "
            f"set {name} in the environment or in .env.local, or give DATABASE_URL instead"
        )
    return value


def _host_label(env: Mapping[str, str], name: str, way: str) -> str:
    """The value of the variable ``name``, a part of a host name. Raises ConfigError for anything else.

    A complete URL here would give another host, and the password would be sent to it.
    """
    value = strip_quotes(_required(env, name, way))
    if not re.fullmatch("[A-Za-z0-9-]+", value):
        if found := PLACEHOLDER.search(value):
            raise _placeholder(name, found[0])
        # The value is not shown: it may be a pasted URL with a password.
        raise ConfigError(
            f"{name}: expected letters, digits and - only, as in abcdefghijklmnopqrst or eu-central-1; found "
            "something else. An address belongs in DATABASE_URL"
        )
    return value


def _with_tls(url: str, env: Mapping[str, str], root_certificate: Path | None) -> str:
    """``url`` with sslmode and sslrootcert; options of the URL take precedence over PGSSLMODE and PGSSLROOTCERT."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return url  # nothing connects to a URL that libpq cannot read
    root = parts.get("sslrootcert") or env.get("PGSSLROOTCERT") or (root_certificate and str(root_certificate))
    if root and root != "system" and not Path(str(root)).is_file():
        raise ConfigError(f"root certificate {root}: expected a file with the authority's certificate; found none")
    mode = parts.get("sslmode") or env.get("PGSSLMODE")
    if mode and mode not in SSL_MODES:
        variable = "DATABASE_URL" if parts.get("sslmode") else "PGSSLMODE"
        raise ConfigError(
            f"{variable}: sslmode: expected one of {', '.join(SSL_MODES)}; found {mode!r}. To encrypt without "
            "verifying the server: require; to verify it: verify-full, with root_certificate in the settings"
        )
    # The server's identity is its host; hostaddr only replaces the name lookup.
    hosts = str(parts.get("host") or parts.get("hostaddr") or "").split(",")
    if not mode and not all(map(is_local, hosts)):
        mode = "verify-full" if root else "require"
    tls = {"sslmode": mode, "sslrootcert": root}
    added = [f"{name}={quote(str(value), safe='/')}" for name, value in tls.items() if value and not parts.get(name)]
    if not added:
        return url
    base = url.rstrip("?&")
    return base + ("&" if "?" in base else "?") + "&".join(added)
