"""``rollup.billing_modes``: how each user has paid since when, because users.billing_mode only says how now."""

from datetime import date

from psycopg import sql

from jobs.settings import Settings
from jobs.store.credit_source import CreditSource
from jobs.store.database import Connection
from jobs.store.statements import own, source, statement

Entry = tuple[str, date, str | None]
"""A user, the first day on which it holds, how he pays."""


def pending(connection: Connection, settings: Settings, held: CreditSource, day: date) -> list[Entry]:
    """The entries that a run adds up to ``day``: of users who pay otherwise than the history says, from that day on.

    Days that no run has covered until now, after an outage, keep the billing mode in which they were used.
    """
    if not held.modes:
        return []
    flag = settings.credits.feature_flag
    effective = (
        sql.SQL("billing_mode::text").format() if flag is None else statement("effective_mode", flag=sql.Literal(flag))
    )
    text = statement(
        "pending_modes", modes=own(settings, "billing_modes"), users=source(settings, "users"), effective=effective
    )
    return connection.execute(text, {"day": day}).fetchall()


def append(connection: Connection, settings: Settings, entries: list[Entry], run_id: int) -> None:
    """Adds entries, in the caller's transaction."""
    if entries:
        users, days, modes = zip(*entries, strict=True)
        values = {"users": list(users), "days": list(days), "modes": list(modes), "run_id": run_id}
        connection.execute(statement("append_modes", modes=own(settings, "billing_modes")), values)
