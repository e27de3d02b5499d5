"""The history of billing modes (``rollup.billing_modes``): users.billing_mode only has the present one."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from psycopg import sql

from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import CreditCapabilities
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import bind_columns, compose, text_array
from jobs.settings import Settings

Entry = tuple[str, date, str | None]
"""User, first day on which the billing mode is valid, billing mode."""


def pending_query(scope: RunScope, users: Collection[str] | None = None) -> sql.Composed:
    """Returns the query (user_id, valid_from, mode) of the entries that are missing in rollup.billing_modes: of those
    ``users`` (None: all) whose billing mode differs from their newest entry.

    A changed billing mode is valid from ``scope.billing_modes_from`` on; without that day no entries are missing.
    So days missed in an outage keep the billing mode in which they were used.
    """
    return compose("billing_modes.missing", scope.settings, **_parts(scope, users))


def entries_query(scope: RunScope, users: Collection[str] | None = None) -> sql.Composed:
    """Returns the query (user_id, valid_from, mode, is_new) of all entries of ``users`` (None: all): stored entries and
    those of ``pending_query``."""
    return compose("billing_modes.entries", scope.settings, **_parts(scope, users))


def _parts(scope: RunScope, users: Collection[str] | None) -> dict[str, Any]:
    some = sql.SQL("true").format() if users is None else sql.SQL("user_id = ANY({})").format(text_array(users))
    if not scope.credits.has_modes or scope.billing_modes_from is None:
        return {"some": some, "pending": compose("billing_modes.nothing_pending")}
    flag = scope.settings.credits.feature_flag
    mode = compose("billing_modes.mode" if flag is None else "billing_modes.mode_by_flag", flag=flag)
    return {"some": some, "effective": mode, "day": scope.billing_modes_from}


def find_unknown_modes(connection: Connection, settings: Settings, credits: CreditCapabilities) -> list[str]:
    """Returns one note per billing mode that is not prepaid, postpaid or free."""
    if not credits.has_modes:
        return []
    rows = connection.execute(compose("billing_modes.unknown", settings))
    return [
        f"users.billing_mode {mode!r} of {count:,} users (such as {first}): expected prepaid, postpaid, free or null; "
        "their usage counts as due"
        for mode, count, first in rows
    ]


def append_entries(connection: Connection, settings: Settings, entries: sql.Composable, run_id: int) -> int:
    """Adds the rows of the query ``entries`` (of ``pending_query``), in the caller's transaction. Returns how many."""
    return connection.execute(compose("billing_modes.append", settings, entries=entries, run_id=run_id)).rowcount


def known_entries_query(entries: Sequence[Entry]) -> sql.Composed:
    """Returns the query whose rows are the given ``entries``."""
    return compose("billing_modes.known", **bind_columns("users days modes", entries))
