"""The database's address, from DATABASE_URL or built of the SUPABASE_… variables (DESIGN section 6)."""

import re
from collections.abc import Mapping
from urllib.parse import quote

from jobs.model.errors import ConfigError

WAYS = ("pooler", "session", "direct")


def address(env: Mapping[str, str]) -> str | None:
    """A postgresql:// URL, its password URL-encoded; None where ``env`` names no database.

    Raises ConfigError naming the variable that is missing or not understood; never with the password.
    """
    if env.get("DATABASE_URL"):
        return _checked(env["DATABASE_URL"])
    if not env.get("SUPABASE_PROJECT_REF"):
        return None
    way = env.get("SUPABASE_CONNECTION") or "pooler"
    if way not in WAYS:
        raise ConfigError(f"SUPABASE_CONNECTION = {way!r}: expected one of {', '.join(WAYS)}")
    ref, password = env["SUPABASE_PROJECT_REF"], quote(_needed(env, "SUPABASE_DB_PASSWORD", way), safe="")
    if way == "direct":
        return f"postgresql://postgres:{password}@db.{ref}.supabase.co:5432/postgres"
    host = f"aws-0-{_needed(env, 'SUPABASE_REGION', way)}.pooler.supabase.com"
    port = 6543 if way == "pooler" else 5432
    return f"postgresql://postgres.{ref}:{password}@{host}:{port}/postgres"


def _checked(url: str) -> str:
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigError(
            "DATABASE_URL: expected an address such as postgresql://USER:PASSWORD@HOST:5432/postgres; "
            "found something that does not start with postgresql://"
        )
    authority, _, path = url.partition("://")[2].partition("/")
    # libpq would take a part of the password for the host, the port or the database, and so would our messages.
    if authority.count("@") > 1 or "@" in path.partition("?")[0] or re.search("%(?![0-9A-Fa-f]{2})", authority):
        raise ConfigError(
            "DATABASE_URL: expected special characters of the password URL-encoded (%25 for %, %2F for /, %40 for @); "
            "found one that is not. Encode it, or give the raw password in SUPABASE_DB_PASSWORD"
        )
    return url


def _needed(env: Mapping[str, str], name: str, way: str) -> str:
    if not env.get(name):
        raise ConfigError(
            f"{name}: not set, but SUPABASE_PROJECT_REF is and SUPABASE_CONNECTION is {way!r}; "
            f"set {name} in the environment or in .env.local, or give DATABASE_URL instead"
        )
    return env[name]
