"""Reads what a statement needs beside the usage: entries of accounts, corrections, debts, names of clusters.

Months are given as their first day. A day or a moment is UTC.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg import sql

from jobs.domain.billing_periods import next_month
from jobs.postgres.catalog import find_readable_columns
from jobs.postgres.connections import Connection, read_dicts
from jobs.postgres.people import Person, read_people
from jobs.postgres.sql_loader import compose
from jobs.postgres.user_state import our_transactions_condition
from jobs.settings import Settings

Row = Mapping[str, Any]
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


@dataclass(slots=True)
class UserFacts:
    """What is known of a user beside the usage.

    - ``entries``: of the month, the oldest first; ``balances``: what the entries up to its end state (None: no entry)
    - ``late``: the credits that were taken for usage of the month after it had ended
    - ``corrections``: of the month itself, and those of earlier months that were made in it: month, day, currency,
      cause, reason, and amounts before (old_) and after (new_), None: not recorded
    - ``debt``: amount, settled and written_off of the month, if it is closed; None: it left nothing uncovered
    """

    person: Person = field(default_factory=Person)
    entries: list[Entry] = field(default_factory=list)
    balances: Balances | None = None
    late: Decimal = Decimal(0)
    corrections: list[Row] = field(default_factory=list)
    debt: Row | None = None


def may_read_entries(connection: Connection, settings: Settings) -> bool:
    """Whether credit_transactions exists and this role may read the columns of READ_OF_ENTRIES."""
    return find_readable_columns(connection, settings, "credit_transactions") >= READ_OF_ENTRIES


def read_users(
    connection: Connection, settings: Settings, month: date, users: Collection[str], *, has_entries: bool, names: bool
) -> dict[str, UserFacts]:
    """Returns what is known of ``users`` in ``month``.

    ``has_entries``: whether entries of accounts may be read; ``names``: also names and e-mail addresses.
    """
    values: dict[str, Any] = {"users": sorted(users), "first": month, "next": next_month(month)}
    found = {user: UserFacts() for user in users}

    def read(query: str, **parts: sql.Composable) -> Iterator[tuple[UserFacts, dict[str, Any]]]:
        for row in read_dicts(connection, compose(f"statements.{query}", settings, **parts), **values):
            yield found[row["user_id"]], row

    if has_entries:
        for facts, row in read("entries", ours=our_transactions_condition(settings)):
            facts.entries.append(Entry(**row))
        for facts, row in read("balances"):
            facts.balances = Balances(**row)
    for facts, row in read("late_draws"):
        facts.late = row["amount"]
    for facts, row in read("corrections"):
        facts.corrections.append(row)
    for facts, row in read("debts"):
        facts.debt = row
    for user, person in read_people(connection, settings, users if names else ()).items():
        found[user].person = person
    return found


def read_cluster_names(connection: Connection, settings: Settings, month: date) -> dict[UUID, str]:
    """Returns the names of the clusters of ``month``, as of the last run that wrote it."""
    return dict(connection.execute(compose("statements.cluster_names", settings), {"first": month}).fetchall())
