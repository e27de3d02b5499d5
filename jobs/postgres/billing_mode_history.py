"""``rollup.billing_modes``: how each user has paid since when, because users.billing_mode only says how now."""

from collections.abc import Collection, Sequence
from datetime import date

from psycopg import sql

from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import CreditCapabilities
from jobs.postgres.sql_loader import app_table, compose, job_table, text_array
from jobs.settings import Settings

Entry = tuple[str, date, str | None]
"""A user, the first day on which it holds, how he pays."""


def pending_query(
    settings: Settings, credits: CreditCapabilities, day: date | None, users: Collection[str] | None = None
) -> sql.Composed:
    """The query (user_id, valid_from, mode) of the entries that rollup.billing_modes lacks: of ``users``, or of all,
    who pay otherwise than it says, from ``day`` on. Without a day there are none.

    Days that no run has covered until now, after an outage, keep the billing mode in which they were used.
    """
    if not credits.modes or day is None:
        return sql.SQL(
            "SELECT NULL::text AS user_id, NULL::date AS valid_from, NULL::text AS mode WHERE false"
        ).format()
    flag = settings.credits.feature_flag
    effective = (
        sql.SQL("billing_mode::text").format()
        if flag is None
        else compose("billing_modes.effective_mode", flag=sql.Literal(flag))
    )
    return compose(
        "billing_modes.pending",
        modes=job_table(settings, "billing_modes"),
        users=app_table(settings, "users"),
        effective=effective,
        day=sql.Literal(day),
        some=_of_users(users),
    )


def entries_query(
    settings: Settings, credits: CreditCapabilities, day: date | None, users: Collection[str] | None = None
) -> sql.Composed:
    """The query (user_id, valid_from, mode, is_new) of all entries of ``users``, or of everybody: those of
    rollup.billing_modes, and those ``pending``."""
    stored = sql.SQL("SELECT user_id, valid_from, mode, false AS is_new FROM {} WHERE {}")
    return sql.SQL("{} UNION ALL SELECT user_id, valid_from, mode, true FROM ({}) AS p").format(
        stored.format(job_table(settings, "billing_modes"), _of_users(users)),
        pending_query(settings, credits, day, users),
    )


def unknown_modes(connection: Connection, settings: Settings, credits: CreditCapabilities) -> list[str]:
    """Notes on billing modes that are none of the three."""
    if not credits.modes:
        return []
    rows = connection.execute(compose("billing_modes.unknown", users=app_table(settings, "users")))
    return [
        f"users.billing_mode {mode!r} of {count:,} users (such as {first}): expected prepaid, postpaid, free or null; "
        "their usage counts as due"
        for mode, count, first in rows
    ]


def _of_users(users: Collection[str] | None) -> sql.Composed:
    return sql.SQL("true").format() if users is None else sql.SQL("user_id = ANY({})").format(text_array(users))


def count_entries(connection: Connection, entries: sql.Composable) -> int:
    """How many ``entries`` (as of ``pending_query``) there are."""
    row = connection.execute(sql.SQL("SELECT count(*) FROM ({}) AS e").format(entries)).fetchone()
    return 0 if row is None else int(row[0])


def append_entries(connection: Connection, settings: Settings, entries: sql.Composable, run_id: int) -> int:
    """Adds ``entries`` (as of ``pending_query``), in the caller's transaction. Returns how many."""
    modes = job_table(settings, "billing_modes")
    return connection.execute(
        compose("billing_modes.append", modes=modes, entries=entries, run_id=sql.Literal(run_id))
    ).rowcount


def listed_entries(entries: Sequence[Entry]) -> sql.Composed:
    """The query of ``entries`` that are known."""
    columns = (list(column) for column in zip(*entries, strict=True)) if entries else ([], [], [])
    arrays = [sql.Literal(column) for column in columns]
    return sql.SQL("SELECT * FROM unnest({}::text[], {}::date[], {}::text[]) AS e(user_id, valid_from, mode)").format(
        *arrays
    )
