"""Options of commands, and the validation of their values."""

import argparse
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from jobs.domain.wording import MOST_BYTES, is_name, is_text

T = TypeVar("T")
Option = Callable[[argparse._ActionsContainer], object]
"""Adds an option, or several, to a parser."""
EARLIEST, LATEST = date(1970, 1, 1), date(9000, 12, 31)
MOST = 10**9
SUPABASE_ROLES = ("public", "postgres", "anon", "authenticated", "authenticator", "service_role", "supabase_admin")


def option(name: str, what: str, parse: Callable[[str], object] = str, metavar: str = "", **details: Any) -> Option:
    """An option with a value. ``what``: its help; ``parse``: one of the functions below, which have a metavar."""
    shown = metavar or METAVARS.get(parse, "")
    return lambda parser: parser.add_argument(name, help=what, type=parse, metavar=shown, **details)


def flag(name: str, what: str) -> Option:
    """An option without a value."""
    return lambda parser: parser.add_argument(name, help=what, action="store_true")


def one_of(*options: Option, required: bool = False) -> Option:
    """Options of which at most one may be given."""

    def add(parser: argparse._ActionsContainer) -> None:
        group = parser.add_mutually_exclusive_group(required=required)
        for add_option in options:
            add_option(group)

    return add


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


def parse_file(text: str) -> Path | None:
    """The path of a file; None for -, which is standard output."""
    return None if text == "-" else Path(text)


METAVARS = {parse_text: "TEXT", parse_day: "D", parse_month: "YYYY-MM", parse_count: "N", parse_file: "FILE"}
METAVARS |= {parse_cluster: "ID", Path: "FILE"}
USER = option("--user", "the user's id", parse_text, "ID", required=True)
MONTH = option("--month", "the month", parse_month, required=True)
NO_NAMES = flag("--no-names", "ids only: no names, no e-mail addresses")
