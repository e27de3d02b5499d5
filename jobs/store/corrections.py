"""``rollup.corrections``: every change to a closed month, with its cause; the database refuses to change one."""

import polars as pl

from jobs.settings import Settings
from jobs.store import tables
from jobs.store.database import Connection
from jobs.store.faults import writing
from jobs.store.statements import columns, own, statement


def append(connection: Connection, settings: Settings, rows: pl.DataFrame, reason: str | None, run_id: int) -> None:
    """Adds ``rows`` (compute.causes) in the caller's transaction."""
    if rows.is_empty():
        return
    stage = tables.staged(connection, settings, tables.table(settings, "corrections"), rows)
    text = statement(
        "append_corrections", corrections=own(settings, "corrections"), columns=columns(rows.columns), stage=stage
    )
    with writing(f"{settings.rollup_schema}.corrections"):
        connection.execute(text, {"reason": reason, "run_id": run_id})
