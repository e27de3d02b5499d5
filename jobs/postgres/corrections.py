"""Reads and writes the corrections of closed months (``rollup.corrections``)."""

from collections.abc import Collection
from datetime import date
from typing import TYPE_CHECKING

from psycopg import sql

from jobs.postgres import table_io
from jobs.postgres.connections import Connection
from jobs.postgres.errors import name_refusals
from jobs.postgres.sql_loader import column_list, compose, text_array
from jobs.settings import Settings

if TYPE_CHECKING:
    import polars as pl


def read_corrections(
    connection: Connection, settings: Settings, month: date, users: Collection[str] | None
) -> "pl.DataFrame":
    """Returns the corrections of ``month`` (of ``users``; None: all), with the ``billing_mode`` of the user's month.

    Amounts are units of 10^-10, null where an old version did not store them. Needs an open transaction.
    """
    condition = sql.SQL("true") if users is None else sql.SQL("c.user_id = ANY({})").format(text_array(users))
    text = compose("corrections.of_month", settings, month=month.isoformat(), users=condition)
    of = table_io.find_table(settings, "corrections")
    amounts = [
        f"{when}_{name}" for name in ("total", "uncovered", "amount_due", "amount_reported") for when in ("old", "new")
    ]
    texts = table_io.frame_schema(table_io.find_table(settings, "user_monthly"), ["billing_mode"])
    schema = table_io.frame_schema(of, ["user_id", "run_id", "cause", "reason"]) | texts
    return table_io.read_frame(connection, text, schema | table_io.frame_schema(of, amounts))


def append_corrections(
    connection: Connection, settings: Settings, rows: "pl.DataFrame", reason: str | None, run_id: int
) -> None:
    """Adds ``rows`` (rollups.causes) to rollup.corrections, in the caller's transaction."""
    if rows.is_empty():
        return
    stage = table_io.stage_rows(connection, "corrections", rows)
    text = compose("corrections.append", settings, columns=column_list(rows.columns), stage=stage)
    with name_refusals(f"{settings.rollup_schema}.corrections"):
        connection.execute(text, {"reason": reason, "run_id": run_id})
