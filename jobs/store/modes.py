"""``rollup.billing_modes``: how each user has paid since when, because users.billing_mode only says how now."""

from datetime import date, timedelta

from psycopg import sql

from jobs.settings import Settings
from jobs.store.credit_source import CreditSource
from jobs.store.database import Connection
from jobs.store.statements import own, source, statement

Entry = tuple[str, date, str | None]
"""A user, the first day on which it holds, how he pays."""


def recorded(connection: Connection, settings: Settings) -> date | None:
    """The furthest last day that an earlier run recorded, whether it finished or not."""
    row = connection.execute(statement("recorded_day", runs=own(settings, "runs"))).fetchone()
    return None if row is None else row[0]


def pending(connection: Connection, settings: Settings, held: CreditSource, before: date | None) -> list[Entry]:
    """The entries that a run adds: of users who pay otherwise than the history says, from the day after ``before``."""
    if not held.modes:
        return []
    flag = settings.credits.feature_flag
    effective = (
        sql.SQL("billing_mode::text").format()
        if flag is None
        else statement("effective_mode", flag=sql.Literal(flag.replace("%", "%%")))
    )
    text = statement(
        "pending_modes", modes=own(settings, "billing_modes"), users=source(settings, "users"), effective=effective
    )
    since = date.min if before is None else before + timedelta(days=1)
    return connection.execute(text, {"since": since}).fetchall()


def append(connection: Connection, settings: Settings, entries: list[Entry], run_id: int) -> None:
    """Adds entries, in the caller's transaction."""
    if entries:
        users, days, modes = zip(*entries, strict=True)
        values = {"users": list(users), "days": list(days), "modes": list(modes), "run_id": run_id}
        connection.execute(statement("append_modes", modes=own(settings, "billing_modes")), values)
