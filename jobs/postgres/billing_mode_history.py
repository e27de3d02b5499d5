"""The history of billing modes (``rollup.billing_modes``): users.billing_mode only has the present one."""

from collections.abc import Collection, Sequence
from datetime import date

from psycopg import sql

from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import CreditCapabilities
from jobs.postgres.sql_loader import compose, text_array
from jobs.settings import Settings

Entry = tuple[str, date, str | None]
"""User, first day on which the billing mode is valid, billing mode."""


def pending_query(
    settings: Settings, credits: CreditCapabilities, day: date | None, users: Collection[str] | None = None
) -> sql.Composed:
    """Returns the query (user_id, valid_from, mode) of the entries that are missing in rollup.billing_modes: of those
    ``users`` (None: all) whose billing mode differs from their newest entry. Without a day there are none.

    ``day``: the first day on which a changed billing mode is valid. Earlier days that no run has covered, after an
    outage, so keep the billing mode in which they were used.
    """
    if not credits.has_modes or day is None:
        return compose("billing_modes.nothing_pending")
    flag = settings.credits.feature_flag
    mode = compose("billing_modes.mode" if flag is None else "billing_modes.mode_by_flag", flag=sql.Literal(flag))
    some = _users_condition(users)
    return compose("billing_modes.pending", settings, effective=mode, day=sql.Literal(day), some=some)


def entries_query(
    settings: Settings, credits: CreditCapabilities, day: date | None, users: Collection[str] | None = None
) -> sql.Composed:
    """Returns the query (user_id, valid_from, mode, is_new) of all entries of ``users`` (None: all): stored entries and
    those of ``pending_query``."""
    pending = pending_query(settings, credits, day, users)
    return compose("billing_modes.entries", settings, some=_users_condition(users), pending=pending)


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


def _users_condition(users: Collection[str] | None) -> sql.Composed:
    return sql.SQL("true").format() if users is None else sql.SQL("user_id = ANY({})").format(text_array(users))


def append_entries(connection: Connection, settings: Settings, entries: sql.Composable, run_id: int) -> int:
    """Adds the rows of the query ``entries`` (of ``pending_query``), in the caller's transaction. Returns how many."""
    return connection.execute(
        compose("billing_modes.append", settings, entries=entries, run_id=sql.Literal(run_id))
    ).rowcount


def known_entries_query(entries: Sequence[Entry]) -> sql.Composed:
    """Returns the query whose rows are the given ``entries``."""
    columns = zip(*entries, strict=True) if entries else ((), (), ())
    users, days, modes = (sql.Literal(list(column)) for column in columns)
    return compose("billing_modes.known", users=users, days=days, modes=modes)
