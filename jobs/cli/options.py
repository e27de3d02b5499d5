"""What the parser is made of: commands with the options that all have, and the validation of option values."""

import argparse
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from jobs.domain.errors import ConfigError
from jobs.domain.wording import MOST_BYTES, is_name, is_text

T = TypeVar("T")
EARLIEST, LATEST = date(1970, 1, 1), date(9000, 12, 31)
MOST = 10**9
CONFIG_HELP = "settings file (default: USAGE_JOBS_CONFIG, else settings.toml, else config/settings.toml)"
SUPABASE_ROLES = ("public", "postgres", "anon", "authenticated", "authenticator", "service_role", "supabase_admin")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ConfigErrors (exit 2) and name the remedy."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. See: {self.prog} --help")


def add_command(commands: Any, name: str, text: str, example: str) -> argparse.ArgumentParser:
    """Adds a command with the options that every command has. ``text``: what it does; ``example``: for its help."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[:1].upper()}{text[1:]}.", epilog=f"Example: {example}"
    )
    command.add_argument("--config", type=Path, metavar="PATH", help=CONFIG_HELP)
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    command.set_defaults(command=name)
    return command


def parse_as(parse: Callable[[str], T], what: str) -> Callable[[str], T]:
    """``parse``, with an error that says ``what`` was expected where it raises ValueError."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None

    return parsed


def _matching(is_valid: Callable[[str], object]) -> Callable[[str], str]:
    def checked(text: str) -> str:
        if not is_valid(text):
            raise ValueError
        return text

    return checked


def _in_range(day: date) -> date:
    if not EARLIEST <= day <= LATEST:
        raise argparse.ArgumentTypeError(f"{day} is out of range; expected a day from {EARLIEST} to {LATEST}")
    return day


parse_text = parse_as(_matching(is_text), "UTF-8 text; set the terminal to UTF-8")
parse_day = parse_as(lambda text: _in_range(date.fromisoformat(text)), "a day; expected one such as 2026-01-31")
parse_month = parse_as(
    lambda text: _in_range(date.fromisoformat(f"{text}-01")), "a month; expected one such as 2026-01"
)
parse_cluster = parse_as(
    lambda text: None if text == "none" else UUID(text), "a cluster's id; expected a uuid, or none"
)
parse_hash = parse_as(
    _matching(re.compile("[0-9a-f]{24}").fullmatch), "a plan's hash; expected the 24 characters of --dry-run"
)
_counted = _matching(lambda text: text.isdecimal() and 1 <= int(text[:20]) <= MOST)
parse_count = parse_as(lambda text: int(_counted(text)), f"a count; expected a whole number from 1 to {MOST}")
_name = parse_as(_matching(is_name), f"a role's name; expected at most {MOST_BYTES} bytes, no $")


def parse_role(text: str) -> str:
    """The name of a role of the job's own."""
    if _name(text) in SUPABASE_ROLES or text.startswith("pg_"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a role of the job's own; expected a new name: usage_jobs")
    return text
