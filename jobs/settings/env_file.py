"""``.env.local``: the variables in its text, read whole or refused, and which of them name the database.

No message shows a line: it may hold a password.
"""

import re
from collections.abc import Mapping
from io import StringIO

from dotenv.parser import Binding, parse_stream

from jobs.domain.errors import ConfigError

SUPABASE = ("SUPABASE_PROJECT_REF", "SUPABASE_DB_PASSWORD", "SUPABASE_REGION", "SUPABASE_CONNECTION")
_OURS = re.compile(r"^\s*(?:export\s+)?(?:DATABASE_URL|SUPABASE_\w+|USAGE_JOBS_\w+|PG[A-Z]+)(?=\s*[=:])", re.MULTILINE)


def parse_env(text: str, source: str) -> dict[str, str]:
    """The variables in ``text``; ConfigError naming ``source`` and line for the first line that is none.

    Nothing is interpolated: a raw password may hold ${.
    """
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in parse_stream(StringIO(text)):
        where = f"{source} line {_first_line(binding)}"
        if binding.error or (binding.key is not None and binding.value is None):
            raise ConfigError(
                f"{where}: expected NAME=value, with any quotation mark that begins the value closed at its end; found "
                "a line that is none. Correct it, or take it out"
            )
        if binding.key is None or binding.value is None:
            continue  # a comment, or an empty line
        _reject_swallowed(binding, binding.value, where)
        if lines.setdefault(binding.key, _first_line(binding)) != _first_line(binding) and _is_ours(binding.key):
            raise ConfigError(
                f"{where}: {binding.key} stands in line {lines[binding.key]} already; take one of them out"
            )
        found[binding.key] = binding.value
    return found


def legible(text: str) -> dict[str, str]:
    """The variables that can be read in ``text``, whatever else is wrong with it."""
    return {found.key: found.value for found in parse_stream(StringIO(text)) if found.key and found.value}


def _first_line(binding: Binding) -> int:
    """The line of a binding; python-dotenv counts the empty lines before it as its own."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _is_ours(name: str) -> bool:
    return _OURS.match(f"{name}=") is not None


def _reject_swallowed(binding: Binding, value: str, where: str) -> None:
    """A value may have several lines (a key of another program's), but no setting of ours has, nor is a part of one."""
    if "\n" in value and (_is_ours(binding.key or "") or _OURS.search(value.partition("\n")[2])):
        raise ConfigError(
            f"{where}: {binding.key}: expected its quotation mark to be closed in the same line; found the next lines "
            "in its value. Close it; between double quotation marks \\n is a line break too: use single ones"
        )


def connection(env: Mapping[str, str], local: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """The variables that say where the database is: the environment as a whole comes before .env.local (``local``), and
    in one place DATABASE_URL before SUPABASE_…; and what to tell of variables that are not used.

    Raises ConfigError where the environment begins an address that neither completes.
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
