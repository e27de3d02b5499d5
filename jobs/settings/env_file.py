"""``.env.local``: parsing its variables, and choosing the variables that name the database.

No message shows a line of the file: it may contain a password.
"""

import re
from collections.abc import Mapping
from io import StringIO

from dotenv.parser import Binding, parse_stream

from jobs.domain.errors import ConfigError

SUPABASE = ("SUPABASE_PROJECT_REF", "SUPABASE_DB_PASSWORD", "SUPABASE_REGION", "SUPABASE_CONNECTION")
_OURS = re.compile(r"^\s*(?:export\s+)?(?:DATABASE_URL|SUPABASE_\w+|USAGE_JOBS_\w+|PG[A-Z]+)(?=\s*[=:])", re.MULTILINE)


def parse_env(text: str, source: str) -> dict[str, str]:
    """The variables in ``text``. Raises ConfigError naming ``source`` and line for the first invalid line.

    Nothing is interpolated: a raw password may contain ${.
    """
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in parse_stream(StringIO(text)):
        where = f"{source} line {_first_line(binding)}"
        if binding.error or (binding.key is not None and binding.value is None):
            raise ConfigError(
                f"{where}: expected NAME=value, with any quotation mark that begins the value closed at its end; found "
                "something else. Correct the line, or take it out"
            )
        if binding.key is None or binding.value is None:
            continue  # a comment, or an empty line
        _reject_unclosed_quote(binding, binding.value, where)
        if lines.setdefault(binding.key, _first_line(binding)) != _first_line(binding) and _is_ours(binding.key):
            raise ConfigError(
                f"{where}: {binding.key} is already set in line {lines[binding.key]}; take one of them out"
            )
        found[binding.key] = binding.value
    return found


def parse_valid_lines(text: str) -> dict[str, str]:
    """The variables in the valid lines of ``text``; invalid lines are ignored."""
    return {found.key: found.value for found in parse_stream(StringIO(text)) if found.key and found.value}


def _first_line(binding: Binding) -> int:
    """The line number of a binding; python-dotenv counts the empty lines before it as part of it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _is_ours(name: str) -> bool:
    """Whether the job reads a variable of this name."""
    return _OURS.match(f"{name}=") is not None


def _reject_unclosed_quote(binding: Binding, value: str, where: str) -> None:
    """Raises ConfigError if a variable of ours has several lines, or is inside another variable's value.

    Variables of other programs, such as a private key, may have several lines.
    """
    if "\n" in value and (_is_ours(binding.key or "") or _OURS.search(value.partition("\n")[2])):
        raise ConfigError(
            f"{where}: {binding.key}: expected its quotation mark to be closed in the same line; found the next lines "
            "in its value. Close it; between double quotation marks \\n is a line break too: use single ones"
        )


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
