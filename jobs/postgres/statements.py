"""Reads what a statement needs beside the usage: entries of accounts, corrections, debts, names of clusters.

Months are given as their first day. A day or a moment is UTC.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row

from jobs.domain.billing_periods import next_month
from jobs.postgres.catalog import find_readable_columns
from jobs.postgres.connections import Connection
from jobs.postgres.sql_loader import compose
from jobs.postgres.user_state import our_transactions_condition
from jobs.settings import Settings

T = TypeVar("T")
READ_OF_ENTRIES = frozenset({"user_id", "type", "amount", "balance_before", "balance_after", "created_at", "metadata"})
"""Columns of credit_transactions that a statement shows, or needs to compute what it shows."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of an account, or all of a month that were taken for the usage of one month.

    - ``kind``: the type of the transaction, such as purchase, grant or usage
    - ``day``: None for usage, whose entries are added up by ``usage_month`` (None: not known)
    - ``free``, ``purchased``: what was taken of either kind of credit; None: not known
    """

    user_id: str
    kind: str
    day: date | None
    usage_month: date | None
    amount: Decimal
    free: Decimal | None
    purchased: Decimal | None


@dataclass(frozen=True, slots=True)
class Balances:
    """The sum of a user's entries of a month, and the balances that entries state, each of all entries of one moment.

    - ``earlier_before``, ``earlier_after``: of the last moment before the month
    - ``first_before``: of the first moment in the month; ``last_after``: of the last one
    """

    user_id: str
    amount: Decimal
    earlier_before: list[Decimal] | None
    earlier_after: list[Decimal] | None
    first_before: list[Decimal] | None
    last_after: list[Decimal] | None


@dataclass(frozen=True, slots=True)
class Correction:
    """A change of a closed month: when it was made, why, and the amounts before and after; None: not recorded."""

    user_id: str
    month: date
    day: date
    currency: str | None
    cause: str
    reason: str | None
    old_total: Decimal | None
    new_total: Decimal | None
    old_credits_deducted: Decimal | None
    new_credits_deducted: Decimal | None
    old_uncovered: Decimal | None
    new_uncovered: Decimal | None
    old_amount_due: Decimal | None
    new_amount_due: Decimal | None


@dataclass(frozen=True, slots=True)
class DebtSum:
    """What was not covered when a month closed, and how much of it was settled or written off since."""

    user_id: str
    amount: Decimal
    settled: Decimal
    written_off: Decimal


def may_read_entries(connection: Connection, settings: Settings) -> bool:
    """Whether credit_transactions exists and this role may read the columns of READ_OF_ENTRIES."""
    return find_readable_columns(connection, settings, "credit_transactions") >= READ_OF_ENTRIES


def read_entries(
    connection: Connection, settings: Settings, month: date, users: Collection[str]
) -> dict[str, list[Entry]]:
    """Returns by user the entries of ``month``, the oldest first."""
    text = compose("statements.entries", settings, ours=our_transactions_condition(settings))
    return _by_user(_read(connection, text, Entry, month, users))


def read_balances(
    connection: Connection, settings: Settings, month: date, users: Collection[str]
) -> dict[str, Balances]:
    """Returns by user what the entries up to the end of ``month`` state."""
    found = _read(connection, compose("statements.balances", settings), Balances, month, users)
    return {each.user_id: each for each in found}


def read_late_draws(
    connection: Connection, settings: Settings, month: date, users: Collection[str]
) -> dict[str, Decimal]:
    """Returns by user the credits that were taken for usage of ``month`` after it had ended."""
    text = compose("statements.late_draws", settings)
    return dict(connection.execute(text, _values(month, users)).fetchall())


def read_corrections(
    connection: Connection, settings: Settings, month: date, users: Collection[str]
) -> dict[str, list[Correction]]:
    """Returns by user the corrections of ``month`` itself, and those of earlier months that were made in it."""
    return _by_user(_read(connection, compose("statements.corrections", settings), Correction, month, users))


def read_debts(connection: Connection, settings: Settings, month: date, users: Collection[str]) -> dict[str, DebtSum]:
    """Returns by user the debts of ``month``, if it is closed."""
    found = _read(connection, compose("statements.debts", settings), DebtSum, month, users)
    return {each.user_id: each for each in found}


def read_cluster_names(connection: Connection, settings: Settings, month: date) -> dict[UUID, str]:
    """Returns the names of the clusters of ``month``, as of the last run that wrote it."""
    return dict(connection.execute(compose("statements.cluster_names", settings), {"first": month}).fetchall())


def _read(connection: Connection, text: sql.Composed, of: type[T], month: date, users: Collection[str]) -> list[T]:
    with connection.cursor(row_factory=class_row(of)) as cursor:
        return cursor.execute(text, _values(month, users)).fetchall()


def _values(month: date, users: Collection[str]) -> dict[str, Any]:
    return {"users": sorted(users), "first": month, "next": next_month(month)}


def _by_user(rows: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.user_id, []).append(row)
    return found
