"""``rollup.billing_modes``: how each user has paid since when, because users.billing_mode only says how now."""

from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl
from psycopg import sql

from jobs.settings import Settings
from jobs.store import tables
from jobs.store.credit_source import CreditSource
from jobs.store.database import Connection
from jobs.store.statements import own, source, statement


def recorded(connection: Connection, settings: Settings) -> date | None:
    """The furthest last day that an earlier run recorded, whether it finished or not."""
    row = connection.execute(statement("recorded_day", runs=own(settings, "runs"))).fetchone()
    return None if row is None else row[0]


def append(
    connection: Connection, settings: Settings, held: CreditSource, before: date | None, run_id: int
) -> list[tuple[str, date, str | None]]:
    """Records how users pay who differ, from the day after ``before`` on; in the caller's transaction.

    Who, from which day, how.
    """
    if not held.modes:
        return []
    flag = settings.credits.feature_flag
    effective = (
        sql.SQL("billing_mode::text").format() if flag is None else statement("effective_mode", flag=sql.Literal(flag))
    )
    text = statement(
        "append_modes",
        modes=own(settings, "billing_modes"),
        users=source(settings, "users"),
        effective=effective,
    )
    since = date.min if before is None else before + timedelta(days=1)
    return connection.execute(text, {"since": since, "run_id": run_id}).fetchall()


def history(connection: Connection, settings: Settings, user: str | None = None) -> Iterator[pl.DataFrame]:
    """Every entry (of ``user``) as frames.MODES, in blocks; needs an open transaction."""
    of = tables.table(settings, "billing_modes")
    rows = sql.SQL("true") if user is None else sql.SQL("user_id = {}").format(sql.Literal(user))
    yield from tables.read(connection, settings, of, ["user_id", "valid_from", "mode"], rows)
